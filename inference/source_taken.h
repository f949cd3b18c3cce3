/* source_taken: which files a directory source is done with.
 *
 * A thin layer over `struct source_memory`: a key is one state of one file (inode, size, time of
 * change, name) under a verdict. Beside it, a bounded set in memory of states already seen, which
 * keeps counters and log from counting a file twice, and stands in where there is no memory at all.
 * Thread: the source's. Private to this folder.
 */
#ifndef CREEL_INFERENCE_SOURCE_TAKEN_H
#define CREEL_INFERENCE_SOURCE_TAKEN_H

#include "inference/source.h"
#include "inference/source_flight.h"

/* The first byte of a key; these values are on disk. */
enum source__verdict {
    SOURCE__UNKNOWN = 0,
    SOURCE__LEFT = 'L', /* done with under after: leave; stays whatever `after` becomes */
    SOURCE__OWED = 'O', /* done with, to be moved or deleted */
    SOURCE__BAD = 'B',  /* no image that can be decoded */
};

struct source__taken;

/* `memory` and `camera` are borrowed; `dir` is synced before keys are forgotten. NULL: no memory
 * left. */
struct source__taken *source__taken_create(const struct source_memory *memory, const char *camera,
                                           const char *dir);
void source__taken_destroy(struct source__taken *taken); /* forgets what is due; NULL accepted */

enum source__verdict source__taken_get(struct source__taken *taken,
                                       const struct source__file *file);
/* Durable when it returns 0 (as far as the memory is). */
int source__taken_add(struct source__taken *taken, const struct source__file *file,
                      enum source__verdict verdict, struct err *err);

/* The file has gone from the directory by our hand. Forgotten in groups, after the directory is
 * synced: were the key to go first, a power cut could bring the file back, and it would be taken
 * twice. */
void source__taken_forget(struct source__taken *taken, const struct source__file *file,
                          enum source__verdict verdict);
/* When source__taken_flush should be called; INT64_MAX: no need. */
int64_t source__taken_due(const struct source__taken *taken);
void source__taken_flush(struct source__taken *taken);

/* True the first time for a state of a file (and again once the set was full and emptied). */
bool source__taken_notice(struct source__taken *taken, const struct source__file *file);

#endif
