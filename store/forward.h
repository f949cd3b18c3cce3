/* forward: copies what is left in a segment forward, into the open one, so that the file can go.
 *
 * Life cycle: look (over all files) -> pick (begins with one) -> step, until it is not `running` ->
 * the file is forgotten, and the rules of retain.c unlink it. A crash in between leaves what was
 * copied twice in the log, of which the index knows the later one; the file is picked again. Not:
 * it frees nothing before its last step. Thread: the writer's.
 */
#ifndef CREEL_STORE_FORWARD_H
#define CREEL_STORE_FORWARD_H

#include "daemon/base/err.h"
#include "store/segment.h"
#include <stdbool.h>
#include <stdint.h>

struct store;

enum forward_cause {
    FORWARD_WASTE,   /* a file holds much that was removed and could not be punched */
    FORWARD_HISTORY, /* three of four of its frames are gone */
    FORWARD_AGE,     /* it holds history, and nothing younger than a cutoff */
    FORWARD_CAUSES,
};

struct forward_file { /* of a tier, closed */
    uint64_t number, end, allocated;
    uint64_t needed, record_bytes; /* of blobs and frame records; of the records */
    uint64_t live, frames;
    int64_t newest;
    int tier;
};

struct forward_survey { /* of all of them */
    uint64_t rows;
    uint64_t wasted, allocated, history;      /* bytes */
    struct forward_file best[FORWARD_CAUSES]; /* number 0: none */
};

struct forward {
    bool running;
    unsigned tier;
    uint64_t number;
    bool history;   /* of frames that are gone stays too */
    unsigned looks; /* at the file, from its start */
    struct segment_scan scan;
    int64_t horizon_us;    /* history kept before it has begun to go: it is not copied any more */
    uint64_t bad;          /* a file that could not be read: a repair's business */
    int64_t pause_boot_us; /* none is begun before */
    struct forward_survey survey;
};

/* Makes the survey; AGE's files were last written to before `cutoff_us`. */
int store__forward_look(struct store *store, int64_t cutoff_us, struct err *err);
/* Begins with the survey's file. `keep_history`: records of frames that are gone are copied too.
 * ERR_NOT_FOUND: no file is worth it. */
int store__forward_pick(struct store *store, enum forward_cause cause, bool keep_history,
                        struct err *err);
/* About FORWARD_BYTES further. On an error it is not running any more. ERR_BUSY: the index is
 * behind, and it goes on another time. */
int store__forward_step(struct store *store, int wait_ms, struct err *err);
/* Takes a file in which nothing stays out of the log; its unlink is for table reclaim. */
int store__forward_forget(struct store *store, unsigned tier, uint64_t number, struct err *err);
void store__forward_finish(struct store *store);

#endif
