/* expiry: what the tiers' ages take in the time to come.
 *
 * Two walks along the indexes that retention itself goes by (blob_age, blob_uploaded), oldest
 * first, each of a bounded number of blobs. A blob that both limits will take counts where it goes
 * first. What lies beyond the walk of the age is told from the files: each knows its live blobs and
 * when the last of them was kept, and there are few files; it counts what is owed or pinned too, so
 * it is said to be an estimate. Beyond the other walk nothing is known but that there is more.
 */
#include "daemon/base/clock.h"
#include "store/reader.h"
#include <sqlite3.h>
#include <string.h>

#define US_PER_MS 1000

struct expiry_walk {
    int64_t max_age_us, keep_us; /* 0: no such limit */
    int64_t now_us;
    const int64_t *within_us;
    size_t count;
    struct store_expiry *out;
    int64_t reached_us; /* when what was looked at last was kept, or uploaded */
    bool more;
};

static void count_in(struct expiry_walk *walk, int64_t goes_us, uint64_t bytes) {
    for (size_t i = 0; i < walk->count; i++) {
        if (goes_us - walk->now_us < walk->within_us[i]) {
            walk->out[i].blobs++;
            walk->out[i].bytes += bytes;
        }
    }
}

/* When each limit takes it; INT64_MAX: never. */
static void see(struct expiry_walk *walk, sqlite3_stmt *statement, bool by_age) {
    int64_t kept_us = 0, uploaded_us = 0, replicated = 0;
    uint64_t bytes = 0;
    store__db_columns(statement, "iuii", &kept_us, &bytes, &replicated, &uploaded_us);
    int64_t aged = walk->max_age_us ? kept_us + walk->max_age_us : INT64_MAX;
    int64_t spent = walk->keep_us && replicated ? uploaded_us + walk->keep_us : INT64_MAX;
    walk->reached_us = by_age ? kept_us : uploaded_us;
    if (by_age ? aged <= spent : spent < aged) {
        count_in(walk, by_age ? aged : spent, bytes);
    }
}

static int walk_index(struct store_reader *reader, struct expiry_walk *walk, int tier, bool by_age,
                      struct err *err) {
    sqlite3_stmt *statement = NULL;
    int64_t limit_us = by_age ? walk->max_age_us : walk->keep_us;
    int64_t before_us = walk->now_us - limit_us + walk->within_us[walk->count - 1];
    size_t seen = 0;
    int code = store__db_bind(&reader->db, by_age ? READER_EXPIRY_AGE : READER_EXPIRY_UPLOADED,
                              &statement, err, "nin", tier, before_us, STORE_EXPIRY_LOOKS + 1);
    while (!code && !(code = store__db_step(&reader->db, statement, err))) {
        if (seen++ == STORE_EXPIRY_LOOKS) {
            walk->more = true;
            sqlite3_reset(statement);
            return 0;
        }
        see(walk, statement, by_age);
    }
    return code == ERR_NOT_FOUND ? 0 : code;
}

/* The files whose youngest blob is older than the span's; no fewer than what was walked. */
static int estimate(struct store_reader *reader, struct expiry_walk *walk, int tier, size_t span,
                    struct err *err) {
    struct store_expiry *out = &walk->out[span];
    int64_t before_us = walk->now_us - walk->max_age_us + walk->within_us[span];
    sqlite3_stmt *statement = NULL;
    uint64_t blobs = 0, bytes = 0;
    if (before_us <= walk->reached_us) {
        return 0; /* the walk came so far */
    }
    int code =
        store__db_bind(&reader->db, READER_EXPIRY_FILES, &statement, err, "ni", tier, before_us);
    code = code ? code : store__db_step(&reader->db, statement, err);
    if (!code) {
        store__db_columns(statement, "uu", &blobs, &bytes);
        sqlite3_reset(statement);
        out->blobs = blobs > out->blobs ? blobs : out->blobs;
        out->bytes = bytes > out->bytes ? bytes : out->bytes;
        out->about = true;
    }
    return code == ERR_NOT_FOUND ? 0 : code;
}

static int by_age(struct store_reader *reader, struct expiry_walk *walk, int tier,
                  struct err *err) {
    int code = walk->max_age_us ? walk_index(reader, walk, tier, true, err) : 0;
    for (size_t i = 0; !code && walk->more && i < walk->count; i++) {
        code = estimate(reader, walk, tier, i, err);
    }
    return code;
}

static int by_upload(struct store_reader *reader, struct expiry_walk *walk, int tier,
                     struct err *err) {
    walk->more = false;
    int code = walk->keep_us ? walk_index(reader, walk, tier, false, err) : 0;
    for (size_t i = 0; !code && walk->more && i < walk->count; i++) {
        int64_t before_us = walk->now_us - walk->keep_us + walk->within_us[i];
        walk->out[i].more = before_us > walk->reached_us;
    }
    return code;
}

int store_expiry_read(struct store_reader *reader, enum frame_tier tier, const int64_t *within_us,
                      size_t count, struct store_expiry *out, struct store_tier_config *limits,
                      struct err *err) {
    const struct store_tier_config *config = &reader->store->config.tiers[tier];
    struct expiry_walk walk = {
        .max_age_us = config->max_age_ms > 0 ? config->max_age_ms * US_PER_MS : 0,
        .keep_us = config->keep_after_upload_ms > 0 ? config->keep_after_upload_ms * US_PER_MS : 0,
        .now_us = clock_utc_us(),
        .within_us = within_us,
        .count = count,
        .out = out};
    memset(out, 0, count * sizeof(*out));
    *limits = *config;
    int code = store__reader_ready(reader, err);
    code = code ? code : by_age(reader, &walk, (int)tier, err);
    code = code ? code : by_upload(reader, &walk, (int)tier, err);
    return store__reader_seen(reader, code);
}
