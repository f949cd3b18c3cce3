/* cloud_writers: which stores tell of themselves under a device's name.
 *
 * The names of a manifest's parts hold the store's uuid, so a listing of the last days is enough.
 * Two stores that both write there have been given one device id: their frames mix, and each takes
 * the other's objects for its own. Where listing is not allowed, nobody can tell.
 */
#include "daemon/base/clock.h"
#include "sync/cloud.h"
#include "sync/manifest.h"
#include <stdio.h>
#include <string.h>

static int note(const struct manifest_name *name, struct sync_writer *writers, size_t *count) {
    size_t i = 0;
    while (i < *count && strcmp(writers[i].store, name->store) != 0) {
        i++;
    }
    if (i == SYNC_WRITERS_MAX) {
        return ERR_FULL; /* enough to know */
    }
    if (i == *count) {
        writers[(*count)++] = (struct sync_writer){0};
        memcpy(writers[i].store, name->store, sizeof writers[i].store);
    }
    writers[i].parts++;
    if (strcmp(name->date, writers[i].last) > 0) {
        memcpy(writers[i].last, name->date, sizeof writers[i].last);
    }
    return 0;
}

static int day_look(struct asker *asker, const char *device, const char *date,
                    struct sync_writer *writers, size_t *count, struct err *err) {
    char prefix[STORE_KEY_MAX + 1], text[MANIFEST_NAME_MAX];
    struct listing *listing = NULL;
    struct listed listed;
    snprintf(prefix, sizeof prefix, "manifests/v1/device=%s/date=%s/", device, date);
    int code = sync__listing_open(asker, TIER_NONE, prefix, &listing, err);
    while (code == 0 && (code = sync__listing_next(listing, &listed, err)) == 0) {
        struct manifest_name name;
        const char *file = strrchr(listed.key, '/') + 1;
        int size = snprintf(text, sizeof text, "%s_%s", date, file);
        if (size > 0 && (size_t)size < sizeof text && sync__manifest_name_parse(text, &name)) {
            code = note(&name, writers, count);
        }
    }
    sync__listing_close(listing);
    return code == ERR_NOT_FOUND || code == ERR_FULL ? 0 : code;
}

int sync_writers(const struct sync_remote_config *config, const char *device, int64_t now_utc_us,
                 struct sync_writer writers[SYNC_WRITERS_MAX], size_t *count, struct err *err) {
    struct asker *asker = NULL;
    size_t found = 0;
    int code = sync__asker_open(config, &asker, err);
    for (int64_t day = -1; code == 0 && day < SYNC_WRITERS_DAYS; day++) { /* clocks differ */
        char date[CLOCK_DATE_SIZE];
        clock_format_date(now_utc_us - day * CLOUD_DAY_US, date);
        code = day_look(asker, device, date, writers, &found, err);
    }
    sync__asker_close(asker);
    if (code == 0) {
        *count = found;
    }
    return code;
}
