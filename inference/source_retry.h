/* source_retry: files that wait for another try, in a bounded table by name.
 *
 * An entry belongs to one state of a file: a rewritten file starts anew. While a file is in the air
 * its entry stays, with no due time, so that the next failure waits longer. Thread: the source's.
 * Private to this folder.
 */
#ifndef CREEL_INFERENCE_SOURCE_RETRY_H
#define CREEL_INFERENCE_SOURCE_RETRY_H

#include "inference/source_flight.h"

#define SOURCE__RETRY_MAX        256
#define SOURCE__RETRY_FIRST_US   INT64_C(1000000)
#define SOURCE__RETRY_LONGEST_US (300 * INT64_C(1000000))

struct source__retry {
    struct source__file file;
    int64_t due_us; /* INT64_MAX while the file is in the air */
    unsigned attempts;
    bool trying; /* being considered right now */
};

struct source__retries { /* zero-initialise */
    struct source__retry entries[SOURCE__RETRY_MAX];
    size_t count;
};

/* first * 2^times, at most `longest`. */
int64_t source__backoff(int64_t first_us, unsigned times, int64_t longest_us);

/* Borrowed until the next put or drop; NULL: none. */
struct source__retry *source__retry_find(struct source__retries *retries, const char *name);
struct source__retry *source__retry_next(struct source__retries *retries, int64_t now_us);
int64_t source__retry_due(const struct source__retries *retries); /* INT64_MAX: none */

/* NULL: the table is full. A new state of the file starts with no attempts. */
struct source__retry *source__retry_put(struct source__retries *retries,
                                        const struct source__file *file, int64_t due_us);
/* The same, due after a wait that grows with each attempt, which it counts. `*due_us` is set in any
 * case. */
struct source__retry *source__retry_later(struct source__retries *retries,
                                          const struct source__file *file, int64_t now_us,
                                          int64_t *due_us);
void source__retry_drop(struct source__retries *retries, struct source__retry *retry);

/* True when this state of the file must still wait. */
bool source__retry_waits(struct source__retries *retries, const struct source__file *file,
                         int64_t now_us);

#endif
