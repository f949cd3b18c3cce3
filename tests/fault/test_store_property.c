/* Random lives against a model in memory: frames, some with the bytes of earlier ones, pins,
 * receipts, quarantine and release, files copied forward; each life ends by closing or by kill -9,
 * and sometimes the index is thrown away. Then the store must be what the model says: every frame,
 * byte for byte, its pin and its receipts, and every counter.
 *
 * In some lives frames may leave: by age, or displaced under a small quota. Which and when is the
 * clock's and the file system's business; the model says which may not (pinned ones, owed ones of
 * an age, ones worth more than all that came), takes over what it sees, and says all that follows.
 *
 * A life runs in a child; the parent takes the same dice to the model. CREEL_PROPERTY_ROUNDS:
 * stores; CREEL_SEED: of the first. A failure prints its seed.
 */
#include "tests/fault/store_calls.h"
#include "tests/suite.h"
#include "tests/unit/store_case.h"
#include "tests/unit/store_tidy.h"
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define FRAMES_MAX 400
#define LIVES      6
#define OPS        40
#define PRECIOUS   0.9 /* frames worth more: none that comes may displace them */

enum life { LIFE_STRICT, LIFE_AGE, LIFE_QUOTA };

struct model_blob { /* of one tier */
    bool there, receipted, quarantined;
    size_t size;
};

struct model_frame {
    unsigned blob;
    enum frame_tier tier;
    bool pinned;
};

struct model {
    enum life life;
    struct model_frame frames[FRAMES_MAX];
    struct model_blob blobs[TIER_COUNT][FRAMES_MAX];
    uint64_t frame_count;
    unsigned blob_count;
};

static uint64_t *seed_shared;

static uint64_t roll(uint64_t *dice, uint64_t sides) {
    *dice ^= *dice << 13;
    *dice ^= *dice >> 7;
    *dice ^= *dice << 17;
    return (*dice >> 11) % sides;
}

static size_t size_of(unsigned blob) {
    return 500 + (size_t)blob * 3701 % 27000;
}

static void require(int code, const char *what) {
    if (code) {
        fprintf(stderr, "seed %llu: %s: code %d\n", (unsigned long long)*seed_shared, what, code);
        _exit(2);
    }
}

/* ---- the steps: on the model always, on the store where there is one ---- */

static double value_of(uint64_t n) {
    return n % 25 == 2 ? 0.95 : (double)(n % 90) / 100;
}

static struct store_frame frame_of(const struct model *model, uint64_t n) {
    const struct model_frame *kept = &model->frames[n];
    struct store_frame frame = case_frame(n, 1);
    frame.record.value = value_of(n);
    free(frame.blob);
    frame.blob = case_blob(1000 + kept->blob, size_of(kept->blob));
    frame.record.blob_bytes = size_of(kept->blob);
    frame.record.tier = kept->tier;
    return frame;
}

static void hash_of(const struct model *model, uint64_t n, struct frame_hash *out) {
    struct store_frame frame = frame_of(model, n);
    hash_sha256(frame.blob, frame.record.blob_bytes, out);
    case_frame_free(&frame);
}

static struct model_blob *blob_of(struct model *model, uint64_t n) {
    return &model->blobs[model->frames[n].tier][model->frames[n].blob];
}

static void step_put(struct store *store, struct model *model, uint64_t *dice) {
    if (model->frame_count == FRAMES_MAX) {
        return;
    }
    uint64_t n = model->frame_count++;
    bool again = model->blob_count && roll(dice, 3) == 0;
    unsigned blob = again ? (unsigned)roll(dice, model->blob_count) : model->blob_count++;
    model->frames[n] =
        (struct model_frame){.blob = blob, .tier = (enum frame_tier)roll(dice, TIER_COUNT)};
    bool known = blob_of(model, n)->there;
    blob_of(model, n)->there = true;
    if (store) {
        struct store_ack ack = case_put_frame(store, frame_of(model, n));
        require(ack.code, ack.code ? ack.err.msg : "put");
        require(model->life == LIFE_STRICT && ack.duplicate != known, "put: duplicate");
    }
}

static void step_pin(struct store *store, struct model *model, uint64_t *dice) {
    uint64_t n = roll(dice, model->frame_count);
    bool on = roll(dice, 2) && model->life == LIFE_STRICT; /* else it may be gone already */
    model->frames[n].pinned = on;
    if (store) {
        struct store_frame frame = frame_of(model, n);
        require(store_flush(store, NULL), "flush");
        require(store_pin_set(store, &frame.record.id, on, NULL), "pin");
        case_frame_free(&frame);
    }
}

static void step_receipt(struct store *store, struct model *model, uint64_t *dice) {
    uint64_t n = roll(dice, model->frame_count);
    blob_of(model, n)->receipted = true;
    blob_of(model, n)->quarantined = false;
    if (store) {
        struct store_outbox_row row = {.row = n, .tier = model->frames[n].tier};
        hash_of(model, n, &row.blob);
        require(case_receipt(store, "cloud", &row, NULL), "receipt");
    }
}

static void step_quarantine(struct store *store, struct model *model, uint64_t *dice) {
    uint64_t n = roll(dice, model->frame_count);
    if (blob_of(model, n)->receipted || model->life != LIFE_STRICT) {
        return; /* it may have left, and then nothing of it can wait */
    }
    blob_of(model, n)->quarantined = true;
    if (store) {
        struct frame_hash hash;
        hash_of(model, n, &hash);
        require(
            store_outbox_quarantine(store, "cloud", model->frames[n].tier, &hash, "poison", NULL),
            "quarantine");
    }
}

static void step_release(struct store *store, struct model *model, uint64_t *dice) {
    uint64_t released = 0, count = 0;
    (void)dice;
    if (model->life != LIFE_STRICT) {
        return;
    }
    for (int tier = 0; tier < TIER_COUNT; tier++) {
        for (unsigned blob = 0; blob < model->blob_count; blob++) {
            released += model->blobs[tier][blob].quarantined;
            model->blobs[tier][blob].quarantined = false;
        }
    }
    if (store) {
        require(store_outbox_retry(store, NULL, &count, NULL), "retry");
        require(count != released, "retry: count");
    }
}

static void step_tidy(struct store *store, struct model *model, uint64_t *dice) {
    enum frame_tier tier = (enum frame_tier)roll(dice, TIER_COUNT);
    (void)model;
    if (store) {
        require(tidy_oldest(store, tier, NULL), "copying forward");
    }
}

static void live(struct store *store, struct model *model, uint64_t *dice) {
    static void (*const steps[])(struct store *, struct model *, uint64_t *) = {
        step_put,     step_put,     step_put,        step_put,  step_put,    step_pin,
        step_receipt, step_receipt, step_quarantine, step_tidy, step_release};
    step_put(store, model, dice);
    for (unsigned i = 0; i < OPS; i++) {
        /* Few releases, so that there is something to release. */
        uint64_t step = roll(dice, ARRAY_LENGTH(steps));
        if (step == ARRAY_LENGTH(steps) - 1 && roll(dice, 3)) {
            continue;
        }
        steps[step](store, model, dice);
    }
}

/* ---- the check ---- */

/* Of all frames with these bytes in this tier. */
static void keeps(const struct model *model, uint64_t n, bool *pinned, bool *precious) {
    const struct model_frame *own = &model->frames[n];
    for (uint64_t i = 0; i < model->frame_count; i++) {
        const struct model_frame *frame = &model->frames[i];
        if (frame->blob == own->blob && frame->tier == own->tier) {
            *pinned = *pinned || frame->pinned;
            *precious = *precious || value_of(i) > PRECIOUS;
        }
    }
}

/* What is not there any more was allowed to go. */
static void check_leave(struct model *model, uint64_t n) {
    struct model_blob *blob = blob_of(model, n);
    bool pinned = false, precious = false;
    keeps(model, n, &pinned, &precious);
    ck_assert_msg(model->life != LIFE_STRICT && !pinned, "frame %llu left", (unsigned long long)n);
    ck_assert_msg(model->life != LIFE_AGE || blob->receipted, "frame %llu left before its receipt",
                  (unsigned long long)n);
    ck_assert_msg(model->life != LIFE_QUOTA || !precious || blob->receipted,
                  "frame %llu was displaced by one that is worth less", (unsigned long long)n);
    blob->there = false;
    blob->quarantined = false;
}

static void check_frame(struct store_reader *reader, struct model *model, uint64_t n) {
    struct store_frame want = frame_of(model, n);
    struct model_blob *blob = blob_of(model, n);
    struct store_row *row = NULL;
    uint8_t *bytes = NULL;
    size_t size = 0;
    ck_assert_int_eq(store_frame_get(reader, &want.record.id, &row, NULL), 0);
    ck_assert_uint_eq(row->seq, n + 1);
    ck_assert_uint_eq(row->record.tier, want.record.tier);
    if (blob->there && row->place != STORE_PLACE_LOCAL) {
        check_leave(model, n);
    }
    ck_assert_int_eq(row->place, blob->there       ? STORE_PLACE_LOCAL
                                 : blob->receipted ? STORE_PLACE_REMOTE
                                                   : STORE_PLACE_GONE);
    ck_assert_int_eq(row->pinned, model->frames[n].pinned);
    ck_assert_uint_eq(row->receipts, blob->receipted);
    ck_assert_uint_eq(row->owed, blob->there && !blob->receipted);
    ck_assert_int_eq(row->quarantined, blob->quarantined);
    ck_assert_uint_eq(row->record.detection_count, 3);
    if (!blob->there) {
        store_row_destroy(row);
        case_frame_free(&want);
        return;
    }
    ck_assert_int_eq(
        store_blob_read(reader, row->record.tier, &row->record.blob, &bytes, &size, NULL), 0);
    ck_assert_uint_eq(size, want.record.blob_bytes);
    ck_assert_int_eq(memcmp(bytes, want.blob, size), 0);
    free(bytes);
    store_row_destroy(row);
    case_frame_free(&want);
}

static void check_counts(struct store *store, struct model *model) {
    struct store_counts got = case_counts(store);
    uint64_t frames[TIER_COUNT] = {0}, replicated[TIER_COUNT] = {0}, bytes[TIER_COUNT] = {0};
    uint64_t evicted[TIER_COUNT] = {0};
    uint64_t done = 0, pending = 0, quarantined = 0;
    for (uint64_t n = 0; n < model->frame_count; n++) {
        const struct model_blob *blob = blob_of(model, n);
        frames[model->frames[n].tier] += blob->there || blob->receipted;
        evicted[model->frames[n].tier] += !blob->there;
        replicated[model->frames[n].tier] += blob_of(model, n)->receipted;
    }
    for (int tier = 0; tier < TIER_COUNT; tier++) {
        for (unsigned i = 0; i < model->blob_count; i++) {
            const struct model_blob *blob = &model->blobs[tier][i];
            done += blob->receipted;
            quarantined += blob->quarantined;
            pending += blob->there && !blob->receipted && !blob->quarantined;
            bytes[tier] += blob->there ? size_of(i) : 0;
        }
        ck_assert_uint_eq(got.frames[tier], frames[tier]);
        ck_assert_uint_eq(got.replicated[tier], replicated[tier]);
        ck_assert_uint_eq(got.blob_bytes[tier], bytes[tier]);
        ck_assert_uint_eq(got.evicted[tier], evicted[tier]);
    }
    ck_assert_uint_eq(got.remote_count, 1);
    ck_assert_uint_eq(got.remotes[0].done, done);
    ck_assert_uint_eq(got.remotes[0].pending, pending);
    ck_assert_uint_eq(got.remotes[0].quarantined, quarantined);
    ck_assert_uint_eq(got.seq, model->frame_count);
}

static void check(const struct store_config *config, const struct case_dir *dir,
                  struct model *model) {
    case_fsck(dir, 0);
    struct store *store = case_open(config);
    ck_assert_int_eq(store_flush(store, NULL), 0);
    struct store_reader *reader = case_reader(store);
    for (uint64_t n = 0; n < model->frame_count; n++) {
        check_frame(reader, model, n);
    }
    store_reader_close(reader);
    check_counts(store, model);
    store_close(store);
    case_fsck(dir, 0);
}

/* ---- lives ---- */

static void child(const struct store_config *config, struct model *model, uint64_t dice,
                  bool killed) {
    struct store *store = NULL;
    struct store_remote cloud = case_remote("cloud", true);
    require(store_open(config, &store, NULL), "open");
    require(store_remotes_set(store, &cloud, 1, NULL), "remotes");
    live(store, model, &dice);
    if (killed) {
        kill(getpid(), SIGKILL);
    }
    store_close(store);
    _exit(0);
}

static void index_drop(const struct case_dir *dir) {
    static const char *const names[] = {"index.db", "index.db-wal", "index.db-shm"};
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        char path[400];
        snprintf(path, sizeof(path), "%s/%s", dir->path, names[i]);
        unlink(path);
    }
}

static void round_run(uint64_t seed) {
    struct case_dir dir;
    struct model *model = calloc(1, sizeof(*model));
    uint64_t dice = seed * 0x9e3779b97f4a7c15u + 99;
    ck_assert_ptr_nonnull(model);
    *seed_shared = seed;
    case_dir_make_fast(&dir);
    struct store_config config = case_config(&dir);
    config.segment_bytes = 64u << 10;
    config.meta_bytes = 8192; /* so that it is compacted */
    const struct store_config strict = config;
    for (unsigned number = 0; number < LIVES; number++) {
        bool killed = roll(&dice, 2), rebuilt = roll(&dice, 3) == 0;
        model->life = (enum life)(roll(&dice, 6) % (LIFE_QUOTA + 2) % (LIFE_QUOTA + 1));
        config = strict;
        config.quota_bytes = model->life == LIFE_QUOTA ? 4u << 20 : 0;
        for (int tier = 0; model->life == LIFE_AGE && tier < TIER_COUNT; tier++) {
            config.tiers[tier].max_age_ms = 1;
        }
        fflush(NULL);
        pid_t pid = fork();
        ck_assert_int_ge(pid, 0);
        if (pid == 0) {
            child(&config, model, dice, killed);
        }
        live(NULL, model, &dice);
        int status;
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert_msg(killed ? WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL
                             : WIFEXITED(status) && WEXITSTATUS(status) == 0,
                      "a life ended with status %x", (unsigned)status);
        if (rebuilt) {
            index_drop(&dir);
        }
        check(&strict, &dir, model);
    }
    case_dir_remove(dir.path);
    free(model);
}

START_TEST(the_store_is_what_the_model_says) {
    uint64_t rounds = (uint64_t)calls_number("CREEL_PROPERTY_ROUNDS", 6);
    uint64_t seed = (uint64_t)calls_number("CREEL_SEED", 1);
    clock_trust(true);
    for (uint64_t i = 0; i < rounds; i++) {
        round_run(seed + i);
    }
    printf("store, property: %llu stores of %d lives from seed %llu, as the model says\n",
           (unsigned long long)rounds, LIVES, (unsigned long long)seed);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("store_property");
    TCase *tests = tcase_create("model");
    seed_shared =
        mmap(NULL, sizeof(*seed_shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    tcase_set_timeout(tests, 7200);
    tcase_add_test(tests, the_store_is_what_the_model_says);
    suite_add_tcase(suite, tests);
    int failed = suite_run(suite);
    if (failed) {
        printf("store, property: failed at CREEL_SEED=%llu\n", (unsigned long long)*seed_shared);
    }
    return failed;
}
