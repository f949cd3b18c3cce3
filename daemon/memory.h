/* memory: what sources and triage remember over a restart, in the store's state.
 *
 * Sources ask the store itself. What triage puts is noted here and written by memory_flush, so that
 * no verdict waits for a disk. Thread: any; only memory_flush and the sources' table block.
 */
#ifndef CREEL_DAEMON_MEMORY_H
#define CREEL_DAEMON_MEMORY_H

#include "inference/source.h"
#include "inference/triage.h"
#include "store/store.h"

struct memory;

struct memory *memory_create(struct store *store); /* borrows; NULL: no memory */
void memory_destroy(struct memory *memory);

const struct source_memory *memory_of_sources(struct memory *memory);
const struct triage_memory *memory_of_triage(struct memory *memory);

/* Writes what triage noted; what the store cannot take now stays noted. */
void memory_flush(struct memory *memory);

#endif
