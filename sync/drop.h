/* drop: the removal of objects, many at once. For commands alone. Thread: that of the asker. */
#ifndef CREEL_SYNC_DROP_H
#define CREEL_SYNC_DROP_H

#include "sync/ask.h"

#define DROP_MAX 1000 /* names of one call; AWS, "DeleteObjects" */

/* By the kind's own way. ERR_DENIED names the right that is missing. */
int sync__drop(struct asker *asker, enum frame_tier tier, const char *const *keys, size_t count,
               struct err *err);

/* Asks to remove a name that creel never gives: ERR_DENIED where the credential may not remove. */
int sync__drop_try(struct asker *asker, enum frame_tier tier, const char *prefix, struct err *err);

/* ---- of the kinds ---- */

int sync__azure_drop(struct asker *asker, enum frame_tier tier, const char *const *keys,
                     size_t count, struct err *err);
int sync__s3_drop(struct asker *asker, enum frame_tier tier, const char *const *keys, size_t count,
                  struct err *err);
int sync__directory_all_drop(struct asker *asker, enum frame_tier tier, const char *const *keys,
                             size_t count, struct err *err);

#endif
