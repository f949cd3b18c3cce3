/* progress: how far the remotes are, as text: a line or two each, with a bar on a terminal, and a
 * plain line from time to time where the output goes to a log.
 *
 * What is shown comes from the status document's "sync". Thread: one.
 */
#ifndef CREEL_DAEMON_PROGRESS_H
#define CREEL_DAEMON_PROGRESS_H

#include "sync/sync.h"
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

struct progress_remote {
    char name[STORE_REMOTE_NAME_MAX + 1];
    json_int_t first_pending, first_bytes; /* when it was seen first, or grew beyond that */
    int said;                              /* tenths that a log was told of; -1: nothing yet */
};

struct progress { /* zero-initialise, then set to, terminal and columns */
    FILE *to;
    bool terminal;
    int columns; /* of the terminal */
    int lines;   /* that the last picture took */
    int64_t said_us;
    struct progress_remote remotes[SYNC_REMOTES_MAX];
    size_t remote_count;
};

/* Where `to` leads, and how wide that is. */
void progress_init(struct progress *progress, FILE *to);

/* Draws over the last picture on a terminal; adds a line a remote to a log, each tenth of the way
 * or every PROGRESS_LOG_US. `now_us` is CLOCK_BOOTTIME. */
#define PROGRESS_LOG_US INT64_C(30000000)
void progress_show(struct progress *progress, const json_t *sync, int64_t now_us);

/* The remotes of a status document, for a person; with a bar where `to` is a terminal. */
void progress_remotes_print(FILE *to, const json_t *sync);

#endif
