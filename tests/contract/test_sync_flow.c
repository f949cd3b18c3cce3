/* Which frame goes when, where to, and how much of the link it may take: orders, tiers in
 * containers of their own, several remotes at once, pauses and budgets, on real servers. */
#include "tests/contract/engine_case.h"
#include "tests/suite.h"
#include <sys/resource.h>
#include <sys/stat.h>

/* ---- orders ---- */

#define ORDER_FRAMES 24

struct arrival {
    unsigned number;
    int64_t ns; /* when the file got its name */
};

static void put_valued(unsigned number, double value) {
    struct store_frame frame = {.record = {.media = MEDIA_JPEG,
                                           .width = 640,
                                           .height = 480,
                                           .orientation = 1,
                                           .blob_bytes = size_of(number),
                                           .tier = TIER_ANNOTATED,
                                           .value = value}};
    snprintf(frame.record.camera, sizeof frame.record.camera, "dock");
    snprintf(frame.record.rule, sizeof frame.record.rule, "unsure");
    clock_stamp_now(&frame.record.captured);
    frame_id_create(frame.record.captured.utc_us, &frame.record.id);
    frame.blob = case_noise(size_of(number), number + 1);
    ck_assert_int_eq(store_put(f.store, &frame, NULL), 0);
    ck_assert_int_eq(store_flush(f.store, NULL), 0);
}

static int64_t arrived_ns(unsigned number) {
    struct store_receipt receipt;
    struct frame_hash hash;
    struct stat info;
    char path[2048];
    uint8_t *bytes = case_noise(size_of(number), number + 1);
    hash_sha256(bytes, size_of(number), &hash);
    free(bytes);
    ck_assert_int_eq(store_receipt_get(f.reader, "disk", TIER_ANNOTATED, &hash, &receipt, NULL), 0);
    snprintf(path, sizeof path, "%s/%s/%s", f.disk, f.config.remotes[0].prefix, receipt.key);
    ck_assert_int_eq(stat(path, &info), 0);
    return info.st_ctim.tv_sec * INT64_C(1000000000) + info.st_ctim.tv_nsec;
}

static double value_of(unsigned number) {
    return (double)(number * 7 % ORDER_FRAMES) / ORDER_FRAMES;
}

START_TEST(each_order_is_kept) {
    struct arrival arrivals[ORDER_FRAMES];
    f.config.order = (enum store_order)_i;
    remote_add(SYNC_DIRECTORY);
    start();
    stop(1000); /* the store knows the remote now, and queues for it */
    for (unsigned n = 0; n < ORDER_FRAMES; n++) {
        put_valued(n, value_of(n));
    }
    start();
    wait_done("disk", ORDER_FRAMES);
    for (unsigned n = 0; n < ORDER_FRAMES; n++) {
        arrivals[n] = (struct arrival){n, arrived_ns(n)};
    }
    unsigned told_apart = 0;
    for (unsigned i = 0; i < ORDER_FRAMES; i++) {
        for (unsigned j = 0; j < ORDER_FRAMES; j++) {
            if (arrivals[i].ns >= arrivals[j].ns) { /* a file system's clock ticks slowly */
                continue;
            }
            told_apart++;
            bool right = f.config.order == STORE_OLDEST   ? i < j
                         : f.config.order == STORE_NEWEST ? i > j
                                                          : value_of(i) >= value_of(j);
            ck_assert_msg(right, "order %d: frame %u came before %u", _i, i, j);
        }
    }
    ck_assert_uint_gt(told_apart, ORDER_FRAMES);
}
END_TEST

/* With "newest" a frame that comes in goes before those that were read already. */
START_TEST(what_is_newest_overtakes) {
    enum { MANY = 400 };
    f.config.order = STORE_NEWEST;
    remote_add(SYNC_DIRECTORY);
    start();
    stop(1000);
    for (unsigned n = 0; n < MANY; n++) {
        put_valued(n, 0.5);
    }
    start();
    wait_done("disk", 10);
    put_valued(MANY, 0.5);
    wait_done("disk", MANY + 1);
    int64_t newest = arrived_ns(MANY);
    unsigned after = 0;
    for (unsigned n = 0; n < MANY; n++) {
        after += arrived_ns(n) > newest;
    }
    ck_assert_uint_gt(after, 0);
}
END_TEST

/* ---- where to ---- */

static int status_in(const char *container, const char *key) {
    struct sync_remote_config remote = f.config.remotes[0];
    char link[SYNC_LINK_MAX];
    struct http_reply reply;
    remote.containers[TIER_ANNOTATED] = container;
    ck_assert_int_eq(sync_link_create(&remote, TIER_ANNOTATED, key, 300, link, NULL), 0);
    int status = case_get(link, &reply);
    sync__reply_finish(&reply);
    return status;
}

START_TEST(tiers_have_containers_of_their_own) {
    struct sync_remote_config *remote = remote_add(SYNC_AZURE);
    char evidence[64], labeling[64];
    snprintf(evidence, sizeof evidence, "evidence-%s", f.container);
    snprintf(labeling, sizeof labeling, "labeling-%s", f.container);
    remote->containers[TIER_ANNOTATED] = evidence;
    remote->containers[TIER_UNANNOTATED] = labeling;
    start();
    frames_put(12);
    wait_done("azure", 12);
    check_arrived(0);
    for (unsigned n = 0; n < 12; n++) {
        struct store_receipt receipt;
        struct frame_hash hash;
        bool annotated = n % 3 == 0;
        uint8_t *bytes = case_noise(size_of(n), n + 1);
        hash_sha256(bytes, size_of(n), &hash);
        free(bytes);
        ck_assert_int_eq(store_receipt_get(f.reader, "azure",
                                           annotated ? TIER_ANNOTATED : TIER_UNANNOTATED, &hash,
                                           &receipt, NULL),
                         0);
        ck_assert_int_eq(status_in(evidence, receipt.key), annotated ? 200 : 404);
        ck_assert_int_eq(status_in(labeling, receipt.key), annotated ? 404 : 200);
    }
}
END_TEST

static struct sync_remote_config *remote_named(enum sync_kind kind, const char *name,
                                               const char *prefix) {
    struct sync_remote_config *remote = remote_add(kind);
    snprintf(remote->name, sizeof remote->name, "%s", name);
    remote->prefix = prefix;
    return remote;
}

START_TEST(several_remotes_at_once) {
    static const char *const names[] = {"north", "south", "bucket", "disk"};
    char north[80], south[80];
    snprintf(north, sizeof north, "%s/north", f.container);
    snprintf(south, sizeof south, "%s/south", f.container);
    remote_named(SYNC_AZURE, "north", north);
    remote_named(SYNC_AZURE, "south", south)->required = false;
    remote_named(SYNC_S3, "bucket", south);
    remote_add(SYNC_DIRECTORY);
    start();
    frames_put(60);
    for (size_t i = 0; i < 4; i++) {
        wait_counted(names[i], 60);
        check_arrived(i);
        ck_assert_uint_eq(status_of(names[i]).uploaded, 60); /* each for itself, once */
        ck_assert_uint_eq(status_of(names[i]).already_there, 0);
    }
    /* one of them moves: to its new place goes what is kept from then on */
    stop(1000);
    f.config.remotes[0].prefix = f.container;
    start();
    ck_assert_uint_eq(counts_of("north").done, 0);
    ck_assert_uint_eq(counts_of("south").done, 60);
    frames_put(3);
    wait_done("north", 3);
    ck_assert_uint_eq(counts_of("north").pending, 0);
}
END_TEST

/* ---- how much ---- */

static int64_t cpu_us(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * INT64_C(1000000) +
           usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
}

START_TEST(a_pause_holds_and_survives) {
    static const char *const names[] = {"azure", "disk"};
    remote_add(SYNC_AZURE);
    remote_add(SYNC_DIRECTORY);
    ck_assert_int_eq(sync_pause_set(f.store, "azure", names, 2, true, NULL), 0);
    start();
    frames_put(10);
    wait_done("disk", 10);
    for (int life = 0; life < 2; life++) {
        clock_sleep_ms(300);
        int64_t before = cpu_us();
        clock_sleep_ms(700);
        ck_assert_int_lt(cpu_us() - before, 100000); /* and waits without looking around */
        ck_assert(status_of("azure").paused);
        ck_assert_uint_eq(status_of("azure").requests, 0);
        ck_assert_uint_eq(counts_of("azure").pending, 10);
        stop(1000);
        start();
    }
    ck_assert_int_eq(sync_pause_set(f.store, NULL, names, 2, true, NULL), 0);
    ck_assert_int_eq(sync_pause_reload(f.sync, NULL), 0);
    ck_assert_int_eq(sync_pause_set(f.store, "azure", names, 2, false, NULL), 0);
    ck_assert_int_eq(sync_pause_reload(f.sync, NULL), 0);
    frames_put(5);
    wait_done("azure", 15);
    ck_assert_uint_eq(counts_of("disk").done, 10); /* of all that were paused one goes */
    ck_assert_int_eq(sync_pause_set(f.store, NULL, names, 2, false, NULL), 0);
    ck_assert_int_eq(sync_pause_reload(f.sync, NULL), 0);
    wait_done("disk", 15);
}
END_TEST

START_TEST(the_bandwidth_is_kept) {
    f.config.bandwidth = "300KiB/s";
    remote_add(SYNC_AZURE);
    remote_add(SYNC_DIRECTORY);
    start();
    int64_t before = clock_boot_us(), cpu = cpu_us();
    frames_put(40);
    wait_done("disk", 40); /* a directory is not the link */
    ck_assert_int_lt(clock_boot_us() - before, 3000000);
    ck_assert(status_of("azure").throttled);
    wait_counted("azure", 40);
    uint64_t bytes = status_of("azure").uploaded_bytes;
    double seconds = (double)(clock_boot_us() - before) / 1e6;
    double wanted = (double)bytes / (300 * 1024);
    ck_assert_double_ge(seconds, wanted * 0.75); /* a second of burst, and the last of the debt */
    ck_assert_double_le(seconds, wanted * 1.5 + 1);
    ck_assert_int_lt(cpu_us() - cpu, 1500000);
    check_arrived(0);
}
END_TEST

START_TEST(a_day_s_requests_are_kept) {
    struct sync_remote_config *remote = remote_add(SYNC_AZURE);
    remote_add(SYNC_DIRECTORY);
    start(); /* makes the container without a budget */
    frames_put(1);
    wait_counted("azure", 1);
    stop(1000);
    uint64_t spent = 0;
    remote->budget.day_requests = 12;
    start();
    frames_put(30);
    wait_done("disk", 31);
    int64_t until = clock_boot_us() + WAIT_MS * INT64_C(1000);
    while (!status_of("azure").budget_spent || status_of("azure").running > 0) {
        ck_assert_int_lt(clock_boot_us(), until);
        clock_sleep_ms(10);
    }
    clock_sleep_ms(300);
    spent = status_of("azure").day_requests;
    ck_assert_uint_eq(spent, 12); /* what was spent before the restart too */
    ck_assert_uint_gt(counts_of("azure").pending, 15);
    stop(1000);
    start();
    clock_sleep_ms(500);
    ck_assert_uint_eq(status_of("azure").requests, 0);
    ck_assert(status_of("azure").budget_spent);
    stop(1000);
    remote->budget.day_requests = 0;
    start();
    wait_done("azure", 31);
    check_arrived(0);
}
END_TEST

static Suite *suite(void) {
    Suite *all = suite_create("sync: flow");
    TCase *flow = tcase_create("flow");
    tcase_set_timeout(flow, 120);
    tcase_add_checked_fixture(flow, setup, teardown);
    tcase_add_loop_test(flow, each_order_is_kept, STORE_OLDEST, STORE_VALUE + 1);
    tcase_add_test(flow, what_is_newest_overtakes);
    tcase_add_test(flow, tiers_have_containers_of_their_own);
    tcase_add_test(flow, several_remotes_at_once);
    tcase_add_test(flow, a_pause_holds_and_survives);
    tcase_add_test(flow, the_bandwidth_is_kept);
    tcase_add_test(flow, a_day_s_requests_are_kept);
    suite_add_tcase(all, flow);
    return all;
}

int main(void) {
    return case_servers_run(suite);
}
