/* The power goes: at random moments of a store's life, images of the disk are built in which what
 * was not synced is dropped or torn (store_disk.h), and the store is opened on each. What had been
 * acknowledged before the cut must be there byte for byte, nothing half-written may be visible, and
 * fsck must be clean before and after.
 *
 * Three lives: one with receipts and state, one whose frames leave when they are uploaded, one with
 * a quota that is too small. Every run has its seed; a failure prints it.
 * CREEL_POWER_ROUNDS: runs of each life. CREEL_SEED: of the first run.
 * Built with STORE_MUTANT, the store has a planted fault (store_mutate.sh), or the disk lies about
 * fdatasync; then the campaign must fail, and passes when it does.
 */
#include "tests/fault/store_disk.h"
#include "tests/suite.h"
#include "tests/unit/store_case.h"
#include "tests/unit/store_tidy.h"
#include <sys/mman.h>

#define FRAMES_MAX 700
#define IMAGES_MAX 12
#define SESSIONS   3

enum life { LIFE_PLAIN, LIFE_UPLOADED, LIFE_QUOTA, LIFE_COUNT };

static const struct {
    const char *name;
    uint64_t frames, size;
    unsigned group;
} lives[LIFE_COUNT] = {
    [LIFE_PLAIN] = {"plain", 36, 3000, 3},
    [LIFE_UPLOADED] = {"uploaded", 30, 9000, 4},
    [LIFE_QUOTA] = {"quota", FRAMES_MAX, 2500, 16},
};

/* What others had been told; under the disk's lock while the store runs. */
struct told {
    bool acked[FRAMES_MAX];
    bool tried[FRAMES_MAX]; /* a receipt was on its way */
    bool receipted[FRAMES_MAX];
    bool pinned[FRAMES_MAX];
    uint64_t stated;
};

struct image {
    char path[300];
    struct told told;
};

struct run {
    enum life life;
    struct case_dir root;
    struct frame_hash blobs[FRAMES_MAX];
    struct told told;
    uint64_t dice;
    struct image images[IMAGES_MAX];
    uint64_t moments[2]; /* at which the power could have gone: any, and hot ones */
};

static struct run *now;

struct score { /* shared with the parent, which prints it */
    uint64_t seed, runs, images, frames, receipts;
    bool inside; /* a run has begun and not ended: left behind by one that failed */
    int life;
};
static struct score *tally;

static void locked_set(bool *flag) {
    pthread_mutex_lock(&disk->lock);
    *flag = true;
    pthread_mutex_unlock(&disk->lock);
}

/* ---- the frames ---- */

static size_t size_of(uint64_t n) {
    return n % 6 == 1 ? lives[now->life].size * 9 : lives[now->life].size;
}

/* The few of great value are worth less and less: none of them may displace another. */
static double value_of(uint64_t n) {
    return n % 40 == 3 ? 0.99 - (double)n / 10000 : 0.5;
}

static struct store_frame frame_of(uint64_t n) {
    struct store_frame frame = case_frame(n, size_of(n));
    frame.record.value = value_of(n);
    return frame;
}

static uint64_t number_of(const struct frame_hash *blob) {
    for (uint64_t n = 0; n < lives[now->life].frames; n++) {
        if (memcmp(&now->blobs[n], blob, sizeof(*blob)) == 0) {
            return n;
        }
    }
    ck_abort_msg("a blob that nobody put");
    return 0;
}

static struct store_config config_of(const char *dir, const char *state_dir) {
    struct store_config config = {.dir = dir,
                                  .state_dir = state_dir,
                                  .segment_bytes = 64u << 10,
                                  .index_floor = 0.25,
                                  .group_frames = lives[now->life].group};
    return config;
}

/* ---- the life ---- */

static void acked(void *ctx, const struct store_ack *ack) {
    (void)ctx;
    uint64_t n;
    memcpy(&n, ack->id.bytes + 8, sizeof(n));
    if (ack->code == 0 && n < FRAMES_MAX) {
        locked_set(&now->told.acked[n]);
    }
}

/* Without a flush before: receipts and frames shall share a group. */
static void receipts_put(struct store *store, struct store_reader *reader) {
    struct store_outbox_row rows[4];
    size_t count = 0;
    ck_assert_int_eq(store_outbox_read(reader, "cloud", STORE_OLDEST, 4, rows, &count, NULL, NULL),
                     0);
    for (size_t i = 0; i < count; i++) {
        uint64_t n = number_of(&rows[i].blob);
        locked_set(&now->told.tried[n]);
        ck_assert_int_eq(case_receipt(store, "cloud", &rows[i], NULL), 0);
        locked_set(&now->told.receipted[n]);
    }
}

static void pin_put(struct store *store, uint64_t n) {
    struct store_frame frame = frame_of(n);
    ck_assert_int_eq(store_flush(store, NULL), 0);
    if (store_pin_set(store, &frame.record.id, true, NULL) == 0) {
        locked_set(&now->told.pinned[n]);
    }
    case_frame_free(&frame);
}

static void state_put(struct store *store) {
    uint64_t next = now->told.stated + 1;
    ck_assert_int_eq(store_state_put(store, "power", "n", 1, &next, sizeof(next), NULL), 0);
    pthread_mutex_lock(&disk->lock);
    now->told.stated = next;
    pthread_mutex_unlock(&disk->lock);
}

/* Files in which nothing is alive any more go with their history, an hour each time. */
static int history_run(struct store *store, void *arg, struct err *err) {
    bool more = true;
    (void)arg;
    store->writer.history_next_us = 0;
    return store__retain_slice(store, &more, err);
}

static void frames_put(struct store *store, struct store_reader *reader, uint64_t first,
                       uint64_t end) {
    for (uint64_t n = first; n < end; n++) {
        struct store_frame frame = frame_of(n);
        hash_sha256(frame.blob, frame.record.blob_bytes, &now->blobs[n]);
        frame.on_ack = acked;
        ck_assert_int_eq(store_put(store, &frame, NULL), 0);
        if (now->life != LIFE_QUOTA && n % 6 == 5) {
            receipts_put(store, reader);
            state_put(store);
        }
        if (now->life == LIFE_PLAIN && n % 7 == 3) {
            pin_put(store, n);
        }
        if (now->life == LIFE_QUOTA && n % 9 == 8) {
            ck_assert_int_eq(store__writer_call(store, history_run, NULL, NULL), 0);
        }
        if (now->life != LIFE_QUOTA && n % 9 == 8) {
            ck_assert_int_eq(tidy_oldest(store, n % 2 ? TIER_ANNOTATED : TIER_UNANNOTATED, NULL),
                             0);
        }
    }
}

static void session(unsigned number) {
    char dir[300], state_dir[300];
    struct store_remote cloud = case_remote("cloud", true);
    snprintf(dir, sizeof(dir), "%s/store", now->root.path);
    snprintf(state_dir, sizeof(state_dir), "%s/state", now->root.path);
    struct store_config config = config_of(dir, state_dir);
    for (int tier = 0; now->life == LIFE_UPLOADED && tier < TIER_COUNT; tier++) {
        config.tiers[tier].keep_after_upload_ms = 1;
    }
    config.meta_bytes = 4096; /* so that it is compacted */
    config.quota_bytes = now->life == LIFE_QUOTA ? 4u << 20 : 0;
    config.history_max_age_ms = now->life == LIFE_QUOTA ? 1 : 0;
    struct store *store = case_open(&config);
    struct store_reader *reader = case_reader(store);
    if (now->life != LIFE_QUOTA) {
        ck_assert_int_eq(store_remotes_set(store, &cloud, 1, NULL), 0);
    }
    uint64_t frames = lives[now->life].frames;
    frames_put(store, reader, frames * number / SESSIONS, frames * (number + 1) / SESSIONS);
    store_reader_close(reader);
    store_close(store);
}

/* Of all moments of a kind, IMAGES_MAX / 2 are kept, each with the same chance. */
static void cut(void *ctx, bool hot) {
    (void)ctx;
    uint64_t slot = now->moments[hot]++;
    if (slot >= IMAGES_MAX / 2) {
        slot = dice_roll(&now->dice) % now->moments[hot];
    }
    if (slot >= IMAGES_MAX / 2) {
        return;
    }
    slot += hot ? IMAGES_MAX / 2 : 0;
    struct image *image = &now->images[slot];
    if (image->path[0]) {
        case_dir_remove(image->path);
    }
    snprintf(image->path, sizeof(image->path), "%s-image-%u", now->root.path, (unsigned)slot);
    ck_assert_int_eq(mkdir(image->path, 0750), 0);
    image->told = now->told;
    disk_image(image->path, &now->dice);
}

/* ---- the check ---- */

static bool must_be_local(const struct told *told, uint64_t n) {
    switch (now->life) {
    case LIFE_UPLOADED:
        return !told->tried[n];
    case LIFE_QUOTA:
        return value_of(n) > 0.9;
    default:
        return true;
    }
}

static bool has_receipt(struct store_reader *reader, uint64_t n) {
    struct store_receipt receipt;
    enum frame_tier tier = n % 2 ? TIER_UNANNOTATED : TIER_ANNOTATED;
    return store_receipt_get(reader, "cloud", tier, &now->blobs[n], &receipt, NULL) == 0;
}

static void check_frame(struct store_reader *reader, const struct told *told, uint64_t n) {
    struct store_frame want = frame_of(n);
    struct store_row *row = NULL;
    int code = store_frame_get(reader, &want.record.id, &row, NULL);
    if (must_be_local(told, n) || (row && row->place == STORE_PLACE_LOCAL)) {
        case_check_valued(reader, n, size_of(n), value_of(n));
    } else if (now->life == LIFE_UPLOADED) {
        ck_assert_msg(code == 0 && has_receipt(reader, n),
                      "frame %llu left the disk and no receipt says where it is",
                      (unsigned long long)n);
    }
    if (told->pinned[n]) {
        ck_assert_msg(row && row->pinned, "frame %llu is not pinned any more",
                      (unsigned long long)n);
    }
    ck_assert_msg(!told->receipted[n] || has_receipt(reader, n),
                  "the receipt of frame %llu is gone", (unsigned long long)n);
    store_row_destroy(row);
    case_frame_free(&want);
}

/* Whatever can be seen can be read. */
static uint64_t check_visible(struct store_reader *reader) {
    struct store_filter all = {0};
    struct store_cursor after = {0};
    uint64_t seen = 0;
    for (bool more = true; more;) {
        struct store_page *page = NULL;
        ck_assert_int_eq(store_page_read(reader, &all, &after, 200, 1, &page, NULL), 0);
        for (size_t i = 0; i < page->count; i++) {
            const struct store_row *row = &page->rows[i];
            uint8_t *bytes = NULL;
            size_t size;
            struct err err = {0};
            int code = row->place != STORE_PLACE_LOCAL
                           ? 0
                           : store_blob_read(reader, row->record.tier, &row->record.blob, &bytes,
                                             &size, &err);
            ck_assert_msg(code == 0, "a frame is to be seen, but: %s", err.msg);
            free(bytes);
            seen++;
        }
        more = page->more;
        after = page->next;
        store_page_destroy(page);
    }
    return seen;
}

static void check_state(struct store *store, uint64_t stated) {
    uint64_t found = 0;
    size_t size = 0;
    int code = store_state_get(store, "power", "n", 1, &found, sizeof(found), &size, NULL);
    ck_assert_msg(!stated || (code == 0 && found >= stated), "state %llu is %llu",
                  (unsigned long long)stated, (unsigned long long)found);
}

static uint64_t told_count(const bool *flags) {
    uint64_t count = 0;
    for (size_t i = 0; i < FRAMES_MAX; i++) {
        count += flags[i];
    }
    return count;
}

static void check_fsck(const char *dir, bool begun, const char *when) {
    struct store_fsck fsck = {0};
    struct err err = {0};
    int code = store_fsck(dir, NULL, NULL, &fsck, &err);
    ck_assert_msg(code == 0 || (code == ERR_NOT_FOUND && !begun), "fsck %s: %s: %s", when, err.msg,
                  err.cause);
}

/* An index that is made from the log alone must know as much. */
static void index_drop(const char *dir) {
    static const char *const names[] = {"index.db", "index.db-wal", "index.db-shm"};
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        char path[400];
        snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        unlink(path);
    }
}

static void check_image(const struct image *image) {
    char dir[340], state_dir[340];
    const struct told *told = &image->told;
    uint64_t frames = told_count(told->acked);
    snprintf(dir, sizeof(dir), "%s/store", image->path);
    snprintf(state_dir, sizeof(state_dir), "%s/state", image->path);
    check_fsck(dir, frames > 0, "after the cut");
    if (dice_roll(&now->dice) % 2) {
        index_drop(dir);
    }
    struct store_config config = config_of(dir, state_dir);
    struct store *store = case_open(&config);
    struct store_reader *reader = case_reader(store);
    ck_assert_int_eq(store_flush(store, NULL), 0);
    for (uint64_t n = 0; n < lives[now->life].frames; n++) {
        if (told->acked[n]) {
            check_frame(reader, told, n);
        }
    }
    check_visible(reader);
    check_state(store, told->stated);
    ck_assert_int_eq(case_put(store, FRAMES_MAX + 1, 3000).code, 0); /* and it goes on */
    store_reader_close(reader);
    store_close(store);
    check_fsck(dir, true, "after the next life");
    tally->images++;
    tally->frames += frames;
    tally->receipts += told_count(told->receipted);
}

/* ---- runs ---- */

static void run_one(enum life life, uint64_t seed) {
    tally->life = (int)life;
    tally->seed = seed;
    now = calloc(1, sizeof(*now));
    ck_assert_ptr_nonnull(now);
    now->life = life;
    now->dice = dice_start(seed + 77);
    case_dir_make_fast(&now->root);
    disk_start(now->root.path, seed, cut, NULL);
#ifdef STORE_MUTANT
    disk->lies = strcmp(STORE_MUTANT, "sync_skipped") == 0;
#endif
    for (unsigned number = 0; number < SESSIONS; number++) {
        session(number);
    }
    disk_stop();
    ck_assert_uint_gt(told_count(now->told.acked), lives[life].frames / 2);
    for (size_t i = 0; i < IMAGES_MAX; i++) {
        if (now->images[i].path[0]) {
            check_image(&now->images[i]);
            case_dir_remove(now->images[i].path);
        }
    }
    case_dir_remove(now->root.path);
    free(now);
    tally->runs++;
}

static void runs(enum life life, uint64_t count) {
    uint64_t seed = (uint64_t)calls_number("CREEL_SEED", 1);
    clock_trust(true);
    for (uint64_t i = 0; i < count && !tally->inside; i++) {
        tally->inside = true;
        run_one(life, seed + i);
        tally->inside = false;
    }
}

/* A planted fault shows in some of the runs only: it gets more of them, and the first that shows it
 * ends them. */
#ifdef STORE_MUTANT
#define ROUNDS_DEFAULT 25
#else
#define ROUNDS_DEFAULT 1
#endif

START_TEST(the_power_goes) {
    static const uint64_t shares[LIFE_COUNT] = {8, 5, 2};
    uint64_t rounds = (uint64_t)calls_number("CREEL_POWER_ROUNDS", ROUNDS_DEFAULT);
    runs((enum life)_i, rounds * shares[_i]);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("store_power");
    TCase *tests = tcase_create("cut");
    tally = mmap(NULL, sizeof(*tally), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    tcase_set_timeout(tests, 7200);
    tcase_add_loop_test(tests, the_power_goes, 0, LIFE_COUNT);
    suite_add_tcase(suite, tests);
    int failed = suite_run(suite);
    printf("store, power cut: %llu runs, %llu images, %llu acknowledged frames and %llu receipts "
           "looked for; last: life %s, seed %llu\n",
           (unsigned long long)tally->runs, (unsigned long long)tally->images,
           (unsigned long long)tally->frames, (unsigned long long)tally->receipts,
           lives[tally->life].name, (unsigned long long)tally->seed);
#ifdef STORE_MUTANT
    printf("mutant %s: %s\n", STORE_MUTANT, failed ? "caught" : "NOT CAUGHT");
    return failed ? EXIT_SUCCESS : EXIT_FAILURE;
#else
    return failed;
#endif
}
