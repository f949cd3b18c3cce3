/* sorter: many records of one size in order, in bounded memory: runs are sorted and spilled into an
 * unnamed file, then merged.
 *
 * Records are ordered by the bytes of their first `key` bytes (memcmp): whoever fills them writes
 * numbers big end first. Life cycle: create -> add, add, … -> sort -> next until ERR_NOT_FOUND, and
 * from the start again after rewind -> destroy. Thread: one at a time.
 */
#ifndef CREEL_SYNC_SORTER_H
#define CREEL_SYNC_SORTER_H

#include "daemon/base/err.h"
#include <stddef.h>
#include <stdint.h>

#define SORTER_RUN   32768u /* records sorted in memory */
#define SORTER_AHEAD 64u    /* records of each run read at once while merging */
#define SORTER_RUNS  1024u  /* 33 million records */

struct sorter;

int sync__sorter_create(size_t record, size_t key, struct sorter **out, struct err *err);
void sync__sorter_destroy(struct sorter *sorter); /* NULL is accepted */

int sync__sorter_add(struct sorter *sorter, const void *record, struct err *err);
int sync__sorter_sort(struct sorter *sorter, struct err *err); /* no add after it */
int sync__sorter_next(struct sorter *sorter, void *record, struct err *err);
void sync__sorter_rewind(struct sorter *sorter);
uint64_t sync__sorter_count(const struct sorter *sorter);

#endif
