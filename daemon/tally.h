/* tally: how the frames fared, in all and by camera; the one place where a frame's end is written
 * down.
 *
 * A camera gets its row with its first frame, and keeps it. Thread: any; no call blocks on I/O.
 */
#ifndef CREEL_DAEMON_TALLY_H
#define CREEL_DAEMON_TALLY_H

#include "daemon/base/err.h"
#include "daemon/eyes.h"
#include "daemon/pace.h"
#include "inference/frame.h"
#include "inference/source.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Cameras of the config, and names that callers of /score chose. */
#define TALLY_CAMERAS_MAX (SOURCE_CAMERAS_MAX + 64)

struct pipeline_stats {
    uint64_t seen, kept[TIER_COUNT], kept_bytes, rejected, over_budget, bad, dropped, failed;
    uint64_t rescued;          /* of kept: they were rejected at first, and counted so */
    uint64_t displaced;        /* of kept: better ones took their place */
    double detect_ms_mean;     /* of the frames seen so far */
    struct pace_times detect;  /* in the worker */
    struct pace_times latency; /* from capture to verdict, of live cameras */
    struct pace_rate rate;
    size_t queued, queue_bound;
    struct detector_stats workers[EYES_ROWS_MAX];
    size_t worker_count;
    char last_error[ERR_TEXT_MAX];
};

struct pipeline_camera {
    char name[FRAME_NAME_MAX + 1];
    const char *source; /* "http" for pushed frames; else borrowed from the pipeline */
    uint64_t seen, kept, rejected, bad, dropped, failed;
    int64_t last_utc_us; /* capture of its latest frame, 0: none yet */
    double latency_ms;   /* of that frame, from capture to verdict */
    struct pace_rate rate;
    struct source_stats from;
};

struct tally;

struct tally *tally_create(void); /* NULL: no memory */
void tally_destroy(struct tally *tally);

/* A camera of the config, and where its frames come from (borrowed). */
void tally_camera_add(struct tally *tally, const char *camera, const char *source);
/* A row for a name that a caller chose; false: all are taken. */
bool tally_stream_add(struct tally *tally, const char *camera);
bool tally_has(struct tally *tally, const char *camera);

/* A worker has looked at it. */
void tally_see(struct tally *tally, const struct frame *frame, bool over_budget);
/* The frame's end: counted, said in the log where it is news, and told to its origin. Takes the
 * frame. `err` says why it was not kept; NULL where there is nothing to say. */
void tally_settle(struct tally *tally, struct frame *frame, enum frame_outcome outcome,
                  const struct err *err);
void tally_rescue(struct tally *tally);
void tally_displace(struct tally *tally);

/* Frames that are turned away from now on are no news: the doors are closing. */
void tally_close(struct tally *tally);
/* Takes the rates; about once a second. */
void tally_tick(struct tally *tally);

/* All but the queue and the workers. */
void tally_stats_get(struct tally *tally, struct pipeline_stats *out);
/* At most `room` cameras, those of the config first and in their order, without what their sources
 * say; returns how many. */
size_t tally_cameras_get(struct tally *tally, struct pipeline_camera *out, size_t room);

#endif
