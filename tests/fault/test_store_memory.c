/* The Nth allocation of the store fails, SQLite's among them, for every N until none fires: through
 * opening, frames, a page, a receipt, a state row, a check and closing. Afterwards nothing has
 * crashed or leaked (the sanitizers look), what was acknowledged is there byte for byte, and fsck
 * is clean. CREEL_FAULT_STEP: every how many-th allocation (1: all).
 */
#include "tests/fault/store_calls.h"
#include "tests/suite.h"
#include "tests/unit/store_case.h"

#define FRAMES 8
#define SIZE   2500

struct outcome {
    bool acked[FRAMES];
    bool receipted, stated;
    struct err err;         /* the last refusal */
    struct frame_hash blob; /* of the receipt */
    enum frame_tier tier;
};

static void read_some(struct store *store, struct outcome *out) {
    struct store_reader *reader = NULL;
    struct store_filter filter = {.by_tier = true, .tier = TIER_ANNOTATED};
    struct store_page *page = NULL;
    struct store_outbox_row row;
    size_t count = 0;
    if (store_reader_open(store, &reader, NULL)) {
        return;
    }
    if (!store_page_read(reader, &filter, NULL, 10, 1, &page, NULL)) {
        store_page_destroy(page);
    }
    if (!store_outbox_read(reader, "cloud", STORE_OLDEST, 1, &row, &count, NULL, NULL) && count) {
        uint8_t *bytes = NULL;
        size_t size;
        if (!store_blob_read(reader, row.tier, &row.blob, &bytes, &size, NULL)) {
            free(bytes);
        }
        out->blob = row.blob;
        out->tier = row.tier;
        out->receipted = !case_receipt(store, "cloud", &row, NULL);
    }
    store_reader_close(reader);
}

/* What is refused is not asked for again: a camera does not wait either. */
static void live(const struct store_config *config, struct outcome *out) {
    struct store *store = NULL;
    struct store_remote cloud = case_remote("cloud", true);
    struct store_fsck fsck;
    if (store_open(config, &store, &out->err) == 0) {
        store_remotes_set(store, &cloud, 1, NULL);
        for (uint64_t n = 0; n < FRAMES; n++) {
            struct store_frame frame = case_frame(n, SIZE);
            struct case_wait wait = {.lock = PTHREAD_MUTEX_INITIALIZER,
                                     .rang = PTHREAD_COND_INITIALIZER};
            frame.on_ack = case_rang;
            frame.ctx = &wait;
            if (store_put(store, &frame, NULL)) {
                case_frame_free(&frame);
                continue;
            }
            pthread_mutex_lock(&wait.lock);
            while (!wait.done) {
                pthread_cond_wait(&wait.rang, &wait.lock);
            }
            pthread_mutex_unlock(&wait.lock);
            out->acked[n] = wait.ack.code == 0;
            out->err = wait.ack.code ? wait.ack.err : out->err;
        }
        store_flush(store, NULL);
        read_some(store, out);
        out->stated = !store_state_put(store, "memory", "k", 1, "v", 1, NULL);
        store_close(store);
    }
    store_fsck(config->dir, NULL, NULL, &fsck, NULL);
}

static void check(const struct store_config *config, const struct case_dir *dir,
                  const struct outcome *out) {
    struct store *store = case_open(config);
    struct store_reader *reader = case_reader(store);
    struct store_receipt receipt;
    char value[4];
    size_t size;
    ck_assert_int_eq(store_flush(store, NULL), 0);
    for (uint64_t n = 0; n < FRAMES; n++) {
        struct store_frame want = case_frame(n, SIZE);
        struct store_row *row = NULL;
        if (out->acked[n]) {
            case_check(reader, n, SIZE);
        } else {
            ck_assert_int_eq(store_frame_get(reader, &want.record.id, &row, NULL), ERR_NOT_FOUND);
        }
        case_frame_free(&want);
    }
    ck_assert_msg(!out->receipted ||
                      !store_receipt_get(reader, "cloud", out->tier, &out->blob, &receipt, NULL),
                  "the receipt is gone");
    ck_assert_msg(!out->stated ||
                      !store_state_get(store, "memory", "k", 1, value, sizeof(value), &size, NULL),
                  "the state row is gone");
    store_reader_close(reader);
    store_close(store);
    case_fsck(dir, 0);
}

/* False when there were fewer than `n` allocations. */
static bool round_run(long n) {
    struct case_dir dir;
    struct outcome out = {0};
    case_dir_make_fast(&dir);
    struct store_config config = case_config(&dir);
    config.segment_bytes = 64u << 10;
    config.meta_bytes = 4096; /* so that it is compacted */
    mem_fail_after(n);
    live(&config, &out);
    bool fired = mem_fail_after(-1) < 0;
    unsigned refused = 0;
    for (unsigned i = 0; i < FRAMES; i++) {
        refused += !out.acked[i];
    }
    ck_assert_msg(fired || refused == 0, "nothing failed and %u frames were refused: %s", refused,
                  out.err.msg);
    ck_assert_msg(refused <= 1 || refused == FRAMES, "allocation %ld refused %u frames", n,
                  refused);
    check(&config, &dir, &out);
    case_dir_remove(dir.path);
    return fired;
}

START_TEST(every_allocation_may_fail) {
    long n = 0, rounds = 0, step = calls_number("CREEL_FAULT_STEP", 127);
    clock_trust(true);
    for (; round_run(n); n += step) {
        rounds++;
    }
    printf("store, memory: %ld of about %ld allocations failed, nothing acknowledged lost\n",
           rounds, n);
    ck_assert_int_gt(n, 500);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("store_memory");
    TCase *tests = tcase_create("allocations");
    tcase_set_timeout(tests, 7200);
    tcase_add_test(tests, every_allocation_may_fail);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
