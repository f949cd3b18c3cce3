/* source: where frames come from.
 *
 * A source owns one thread and hands frames to a sink. Kinds behind one table: "demo:" (rendered
 * scenes), "directory:PATH" (existing files and inotify), and what a process of its own opens,
 * sealed away from ours (creel-capture): "video:PATH", "rtsp://", "rtmp://", "http://" (a stream),
 * "snapshot:http://", "v4l2:/dev/video0". What POSTs to /score enters through the web server
 * instead.
 * Life cycle: source_start -> frames flow into the sink -> [source_quiesce] -> source_stop. Then
 * nothing is submitted and no memory slot is called any more; a frame that settles later does no
 * harm, but is not remembered.
 * Thread: any, one at a time for a source.
 */
#ifndef CREEL_INFERENCE_SOURCE_H
#define CREEL_INFERENCE_SOURCE_H

#include "daemon/base/err.h"
#include "inference/frame.h"
#include <stdbool.h>

#define SOURCE_CAMERAS_MAX 64
#define SOURCE_TIMEOUT_MS  10000
#define SOURCE_KEY_MAX     296 /* bytes of a key of struct source_memory */

enum source_after { SOURCE_LEAVE = 0, SOURCE_MOVE, SOURCE_DELETE };

enum source_rtmp { SOURCE_RTMP_PULL = 0, SOURCE_RTMP_LISTEN };

struct source_config {
    char name[FRAME_NAME_MAX + 1]; /* of the camera */
    const char *source;            /* "demo:", "directory:/srv/inbox", "rtsp://host/path" */
    double fps;                    /* frames a second to take; 0: the source's own default */
    enum source_after after;       /* directory: what happens to a file that is done with */
    const char *move_to;           /* directory, SOURCE_MOVE: NULL means "<dir>/done" */
    uint64_t seed;                 /* demo: which world is rendered */
    struct view view;

    /* Of cameras and videos, that is, of all that creel-capture opens. */
    const char *user, *password; /* instead of those in the address; NULL: those */
    const char *size;            /* "1280x720": larger pictures are made to fit; NULL: none is */
    const char *schedule;        /* "mon-fri 07:00-19:00, sat"; NULL: always */
    double motion;               /* share of the picture that must have changed; 0: none */
    int timeout_ms;              /* without a picture, after which the camera counts as lost; 0:
                                    SOURCE_TIMEOUT_MS */
    bool loop;                   /* video: plays again and again, at its own pace */
    bool tls_any;                /* takes any certificate */
    enum source_rtmp rtmp;       /* whether to call a server, or to be called by a publisher */
    const char *capture_path;    /* NULL: creel-capture beside this program, then libexec */
};

/* Durable memory of what was taken. Slots may block briefly on disk; only the source's own thread
 * calls them. NULL table: remembers nothing. */
struct source_memory {
    void *ctx;
    bool (*has)(void *ctx, const char *camera, const void *key, size_t size);
    int (*add)(void *ctx, const char *camera, const void *key, size_t size, struct err *err);
    /* The key will not be asked for again: its file was moved or deleted. NULL: kept for ever. */
    void (*forget)(void *ctx, const char *camera, const void *key, size_t size);
};

/* Where frames go. `submit` takes the frame in any case: it settles it (FRAME_DROPPED) if it cannot
 * pass it on. A frame with live = false may make it wait until the queue has room; it
 * returns when that queue is closed. */
struct source_sink {
    void *ctx;
    void (*submit)(void *ctx, struct frame *frame);
};

struct source_stats {
    uint64_t frames;  /* handed to the sink */
    uint64_t skipped; /* directory: entries that are no regular file, empty, or too big; cameras:
                         frames beyond the rate that is wanted */
    uint64_t errors;
    char last_error[ERR_TEXT_MAX];
};

struct source;
int source_start(const struct source_config *config, const struct source_memory *memory,
                 const struct source_sink *sink, struct source **out, struct err *err);
/* Asks it to take nothing more and returns at once. What is on its way may still settle and is
 * remembered: call this on every source, let the pipeline run dry, then source_stop. */
void source_quiesce(struct source *source);
/* NULL accepted. Wakes it at once and waits a few seconds at most for frames on their way. */
void source_stop(struct source *source);
void source_stats_get(struct source *source, struct source_stats *out);

/* The URI without password, user and query, for people to see; returns `out`. */
const char *source_redact(const char *uri, char *out, size_t size);

/* Checks the URI's scheme and form without starting anything (for `creel config check`). */
int source_check(const struct source_config *config, struct err *err);

#endif
