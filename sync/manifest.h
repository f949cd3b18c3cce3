/* manifest: tells whoever reads the bucket what happened to the frames in it, as JSON Lines.
 *
 * One row a frame event, of frames whose receipt at that remote exists; rows are gathered into
 * parts, a part is sealed (durable in the spool, under a number that is never used again) before it
 * is offered to anybody, and then uploaded like a frame: create-only, its name fixed.
 *
 *   store's events -> book (manifest.c: rows, seal) -> spool -> parcel (parcel.c: a job of the
 * lane) -> remote
 *
 * Life cycle: start -> poke, offer, sent -> stop. Thread: a book is written by the thread of
 * manifest.c; offer and sent are the loop's.
 */
#ifndef CREEL_SYNC_MANIFEST_H
#define CREEL_SYNC_MANIFEST_H

#include "daemon/base/buf.h"
#include "sync/sync.h"
#include <stdbool.h>
#include <stdint.h>

#define MANIFEST_ROWS       10000 /* of a part; sealed at the latest then */
#define MANIFEST_AGE_MS     300000
#define MANIFEST_PART_BYTES (8u << 20)  /* a part is sealed when it has so many */
#define MANIFEST_PART_MAX   (64u << 20) /* and never has more */
#define MANIFEST_PARTS_MAX  1024        /* that wait for one remote; then no more are sealed */
#define MANIFEST_NAME_MAX   96
#define MANIFEST_SPACE      "manifest" /* of the store's state: where each book is */

struct sync;
struct lane;
struct manifests;

/* ---- rows and names: pure ---- */

struct manifest_row {
    enum store_event_kind event;
    uint64_t number; /* within store and remote, from 1, without gap */
    int64_t written_us;
    const struct frame_id *store;
    const struct store_row *frame;
    const struct store_receipt *receipt; /* NULL: the frame's bytes are not there any more */
    const struct store_label *label;
};

/* Appends the row and a newline; see schemas/manifest.schema.json. ERR_NOMEM. ERR_FULL: `out` is.
 */
int sync__manifest_row(const struct manifest_row *row, struct buf *out, struct err *err);

/* The frame's facts alone, as its sidecar has them, and a newline. The same frame gives the same
 * bytes. */
int sync__sidecar(const struct frame_id *store, const struct store_row *frame, const char *key,
                  struct buf *out, struct err *err);

struct manifest_name { /* of a part, in the spool and, behind a folder, at the remote */
    char date[11];     /* UTC day on which it was written */
    char store[9];     /* the first 8 hex digits of the store's uuid */
    uint64_t number;   /* of the part, within store and remote, from 1 */
    char sha[9];       /* the first 8 hex digits of its SHA-256 */
};

/* "2026-11-20_part-0190f3c2-000000000001-9f86d081.jsonl" */
void sync__manifest_name_format(const struct manifest_name *name, char out[MANIFEST_NAME_MAX]);
bool sync__manifest_name_parse(const char *text, struct manifest_name *out);
/* "manifests/v1/device=<id>/date=2026-11-20/part-….jsonl"; ERR_INVALID where it would not fit. */
int sync__manifest_key(const char *device, const struct manifest_name *name,
                       char out[STORE_KEY_MAX + 1], struct err *err);

/* ---- the books ---- */

int sync__manifests_start(struct sync *sync, struct manifests **out, struct err *err);
void sync__manifests_stop(struct manifests *manifests); /* the thread; NULL is accepted */
void sync__manifests_destroy(struct manifests *manifests);
void sync__manifests_poke(struct manifests *manifests); /* receipts were written; any thread */

/* The oldest sealed part of the lane that waits: its name, false where none does. */
bool sync__manifests_offer(struct manifests *manifests, size_t lane, struct manifest_name *out);
/* Its bytes, checked against its name. The caller frees. */
int sync__manifests_read(struct manifests *manifests, size_t lane, const struct manifest_name *name,
                         uint8_t **bytes, size_t *size, struct err *err);
/* The remote has it, so it leaves the spool; or (not `there`) it never will: it is not offered any
 * more in this run, and its file stays. */
void sync__manifests_sent(struct manifests *manifests, size_t lane,
                          const struct manifest_name *name, bool there);
void sync__manifests_count(struct manifests *manifests, size_t lane, uint64_t *rows,
                           uint64_t *waiting);

/* ---- parcels: a part on its way; all on the loop's thread ---- */

struct job;

void sync__parcel_fill(struct lane *lane, int64_t now_us); /* starts one where one may start */
void sync__parcel_end(struct job *job);                    /* its verdict is there; frees the job */
int64_t sync__parcel_deadline(const struct lane *lane);    /* boot time; INT64_MAX: none */

#endif
