#include "sync/cloud.h"
#include "daemon/base/clock.h"
#include "daemon/base/mem.h"
#include <stdio.h>
#include <string.h>

static const char *const roots[CLOUD_ROOTS] = {"frames", "sidecars", "overlays"};
static const char *const tiers[TIER_COUNT] = {"annotated", "unannotated"};
static const char *const endings[CLOUD_ENDINGS] = {"jpg", "json", "png"};

int sync_remote_identity(const struct sync_remote_config *config, struct frame_hash *out,
                         struct err *err) {
    struct remote *remote = NULL;
    int code = sync__remote_open(config, &remote, err);
    if (code == 0) {
        *out = remote->identity;
        sync__remote_close(remote);
    }
    return code;
}

/* ---- names ---- */

void sync__cloud_prefix(const char *device, enum cloud_root root, enum frame_tier tier,
                        char out[STORE_KEY_MAX + 1]) {
    snprintf(out, STORE_KEY_MAX + 1, "%s/tier=%s/device=%s/", roots[root], tiers[tier], device);
}

static void day_put(struct cloud_entry *entry, uint32_t day) {
    for (size_t i = 0; i < sizeof entry->day; i++) {
        entry->day[i] = (uint8_t)(day >> (24 - 8 * i));
    }
}

int64_t sync__cloud_day_utc_us(const struct cloud_entry *entry) {
    uint32_t day = 0;
    for (size_t i = 0; i < sizeof entry->day; i++) {
        day = day << 8 | entry->day[i];
    }
    return day * CLOUD_DAY_US;
}

struct store_blob_name sync__cloud_blob(const struct cloud_entry *entry) {
    struct store_blob_name name = {.tier = (enum frame_tier)entry->tier};
    memcpy(name.blob.bytes, entry->sha, sizeof name.blob.bytes);
    return name;
}

void sync__cloud_format(const char *device, const struct cloud_entry *entry,
                        char out[STORE_KEY_MAX + 1]) {
    char date[CLOCK_DATE_SIZE], hex[HASH_HEX_SIZE];
    clock_format_date(sync__cloud_day_utc_us(entry), date);
    hash_hex(entry->sha, sizeof entry->sha, hex);
    snprintf(out, STORE_KEY_MAX + 1, "%s/tier=%s/device=%s/date=%s/%s.%s", roots[entry->root],
             tiers[entry->tier], device, date, hex, endings[entry->ending]);
}

static bool ending_parse(const char *text, struct cloud_entry *out) {
    for (size_t i = 0; i < CLOUD_ENDINGS; i++) {
        if (text[0] == '.' && strcmp(text + 1, endings[i]) == 0) {
            out->ending = (uint8_t)i;
            return true;
        }
    }
    return false;
}

/* "2026-11-20/<64 hex>.jpg" */
static bool rest_parse(const char *rest, struct cloud_entry *out) {
    char date[CLOCK_DATE_SIZE], hex[HASH_HEX_SIZE], again[CLOCK_DATE_SIZE];
    if (strlen(rest) < sizeof date + sizeof hex || rest[sizeof date - 1] != '/') {
        return false;
    }
    snprintf(date, sizeof date, "%s", rest);
    snprintf(hex, sizeof hex, "%s", rest + sizeof date);
    int64_t utc_us = clock_parse_rfc3339(date);
    if (utc_us < 0 || strcmp(clock_format_date(utc_us, again), date) != 0 ||
        strspn(hex, "0123456789abcdef") != sizeof hex - 1 ||
        !hash_parse_hex(hex, out->sha, sizeof out->sha)) {
        return false;
    }
    day_put(out, (uint32_t)(utc_us / CLOUD_DAY_US));
    return ending_parse(rest + sizeof date + sizeof hex - 1, out);
}

bool sync__cloud_parse(const char *device, const char *key, struct cloud_entry *out) {
    char prefix[STORE_KEY_MAX + 1];
    for (size_t i = 0; i < (size_t)CLOUD_ROOTS * TIER_COUNT; i++) {
        *out = (struct cloud_entry){.root = (uint8_t)(i / TIER_COUNT),
                                    .tier = (uint8_t)(i % TIER_COUNT)};
        sync__cloud_prefix(device, out->root, out->tier, prefix);
        size_t length = strlen(prefix);
        if (strncmp(key, prefix, length) == 0) {
            return strncmp(key + length, "date=", 5) == 0 && rest_parse(key + length + 5, out);
        }
    }
    return false;
}

uint64_t sync__cloud_etag(const char *etag) {
    struct frame_hash hash;
    uint64_t digest = 0;
    if (etag[0] == '\0') {
        return 0;
    }
    hash_sha256(etag, strlen(etag), &hash);
    memcpy(&digest, hash.bytes, sizeof digest);
    return digest | 1; /* never "not known" */
}
