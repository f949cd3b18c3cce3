/* cloud: what the commands for a whole remote share: names of objects as entries of a fixed size,
 * and batches of them. Thread: one at a time.
 */
#ifndef CREEL_SYNC_CLOUD_H
#define CREEL_SYNC_CLOUD_H

#include "sync/listing.h"
#include "sync/sorter.h"
#include "sync/sync.h"

#define CLOUD_BATCH  STORE_OUTBOX_BATCH
#define CLOUD_DAY_US (86400 * INT64_C(1000000))

enum cloud_root { CLOUD_FRAMES = 0, CLOUD_SIDECARS, CLOUD_OVERLAYS, CLOUD_ROOTS };
enum cloud_ending { CLOUD_JPG = 0, CLOUD_JSON, CLOUD_PNG, CLOUD_ENDINGS }; /* in order of names */

/* An object's name. The first CLOUD_KEY bytes order entries as the names are ordered. */
struct cloud_entry {
    uint8_t root, tier;
    uint8_t day[4]; /* since 1970, big end first */
    uint8_t sha[32];
    uint8_t ending;
    uint8_t local; /* or, in gc, whether there is a receipt */
    uint64_t bytes;
    uint64_t etag; /* a digest of it; 0: not known */
    uint8_t md5[HASH_MD5_SIZE];
    bool md5_known;
};
#define CLOUD_KEY offsetof(struct cloud_entry, local)

/* False: not a name that creel gives for this device. */
bool sync__cloud_parse(const char *device, const char *key, struct cloud_entry *out);
void sync__cloud_format(const char *device, const struct cloud_entry *entry,
                        char out[STORE_KEY_MAX + 1]);
/* "frames/tier=annotated/device=<id>/" */
void sync__cloud_prefix(const char *device, enum cloud_root root, enum frame_tier tier,
                        char out[STORE_KEY_MAX + 1]);
int64_t sync__cloud_day_utc_us(const struct cloud_entry *entry);
struct store_blob_name sync__cloud_blob(const struct cloud_entry *entry);
uint64_t sync__cloud_etag(const char *etag);

/* sync_gc, by a clock that is `ahead_us` further: for tests. */
int sync__gc_ahead(const struct sync_remote_config *remote, const char *device,
                   const struct sync_index *index, bool dry_run, bool force,
                   sync_expired_fn *expired, void *ctx, int64_t ahead_us, struct sync_gc *out,
                   struct err *err);

#endif
