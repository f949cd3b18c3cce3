/* manifests: what a sync writes beside the frames, against a directory, Azurite and Ceph. */
#include "daemon/base/mem.h"
#include "sync/companion.h"
#include "sync/manifest.h"
#include "tests/contract/engine_case.h"
#include "tests/suite.h"
#include <dirent.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char spool[400];

static void manifest_on(unsigned rows, int age_ms) {
    snprintf(spool, sizeof spool, "%s/spool", f.dir);
    f.config.spool_dir = spool;
    f.config.manifest_rows = rows;
    f.config.manifest_age_ms = age_ms;
    for (size_t i = 0; i < f.config.remote_count; i++) {
        f.config.remotes[i].manifest = true;
    }
}

/* ---- what lies in the directory remote ---- */

struct parts {
    char names[2048][80];
    size_t count;
    json_t *rows; /* of all parts, in their order */
};

static int by_name(const void *a, const void *b) {
    return strcmp(a, b);
}

static void parts_list(struct parts *parts, const char *folder) {
    DIR *dir = opendir(folder);
    for (const struct dirent *day = dir ? readdir(dir) : NULL; day; day = readdir(dir)) {
        char path[900];
        snprintf(path, sizeof path, "%s/%s", folder, day->d_name);
        DIR *in = strncmp(day->d_name, "date=", 5) == 0 ? opendir(path) : NULL;
        for (const struct dirent *part = in ? readdir(in) : NULL; part; part = readdir(in)) {
            if (part->d_name[0] != '.') {
                ck_assert_uint_lt(parts->count, ARRAY_LENGTH(parts->names));
                snprintf(parts->names[parts->count++], sizeof parts->names[0], "%.16s/%.60s",
                         day->d_name, part->d_name);
            }
        }
        if (in) {
            closedir(in);
        }
    }
    if (dir) {
        closedir(dir);
    }
    qsort(parts->names, parts->count, sizeof parts->names[0], by_name);
}

static void part_read(struct parts *parts, const char *path) {
    struct buf text = BUF_INIT(64u << 20);
    ck_assert_int_eq(fs_read_file(path, &text, NULL), 0);
    char *rest = text.data, *line;
    for (line = strsep(&rest, "\n"); rest != NULL; line = strsep(&rest, "\n")) {
        json_error_t error;
        json_t *row = json_loads(line, 0, &error);
        ck_assert_msg(row != NULL, "%s: %s in %s", path, error.text, line);
        json_array_append_new(parts->rows, row);
    }
    ck_assert_str_eq(line, ""); /* the last line ends too */
    buf_finish(&text);
}

/* Each part's name says its hash, its number and whose it is. */
static void part_check(const char *name, const char *path, uint64_t number) {
    struct manifest_name is;
    struct buf bytes = BUF_INIT(64u << 20);
    struct frame_hash sha;
    struct frame_id store;
    char text[160], hex[HASH_HEX_SIZE];
    snprintf(text, sizeof text, "%.10s_%s", name + strlen("date="), strchr(name, '/') + 1);
    ck_assert_msg(sync__manifest_name_parse(text, &is), "not a part's name: %s", name);
    ck_assert_uint_eq(is.number, number);
    ck_assert_int_eq(fs_read_file(path, &bytes, NULL), 0);
    hash_sha256(bytes.data, bytes.len, &sha);
    ck_assert_int_eq(strncmp(hash_hex(sha.bytes, sizeof sha.bytes, hex), is.sha, 8), 0);
    store_uuid(f.store, &store);
    ck_assert_int_eq(strncmp(hash_hex(store.bytes, sizeof store.bytes, hex), is.store, 8), 0);
    buf_finish(&bytes);
}

/* All rows at the directory remote; parts are numbered without a gap, but for `skipped`. */
static struct parts parts_read(uint64_t skipped) {
    static struct parts parts;
    char folder[700];
    parts = (struct parts){.rows = json_array()};
    snprintf(folder, sizeof folder, "%s/%s/manifests/v1/device=edge-1", f.disk, f.container);
    parts_list(&parts, folder);
    for (size_t i = 0; i < parts.count; i++) {
        char path[900];
        uint64_t number = i + 1;
        snprintf(path, sizeof path, "%s/%s", folder, parts.names[i]);
        part_check(parts.names[i], path, skipped && number >= skipped ? number + 1 : number);
        part_read(&parts, path);
    }
    return parts;
}

static const char *text_of(const json_t *row, const char *key) {
    const char *text = json_string_value(json_object_get(row, key));
    ck_assert_msg(text != NULL, "a row has no %s", key);
    return text;
}

static int64_t whole_of(const json_t *row, const char *key) {
    return (int64_t)json_integer_value(json_object_get(row, key));
}

/* Every frame of the store has one "kept" row, and the rows are numbered 1, 2, 3, … */
static void rows_check(const struct parts *parts, size_t frames, size_t others) {
    CLEANUP(mem_free_at) bool *seen = mem_array(frames + 1, sizeof *seen);
    size_t kept = 0;
    ck_assert_uint_eq(json_array_size(parts->rows), frames + others);
    for (size_t i = 0; i < frames + others; i++) {
        const json_t *row = json_array_get(parts->rows, i);
        struct frame_id id;
        struct store_row *frame;
        ck_assert_int_eq(whole_of(row, "row"), (int64_t)i + 1);
        ck_assert_str_eq(text_of(row, "schema"), "creel.frame/1");
        ck_assert(frame_id_parse(text_of(row, "id"), &id));
        ck_assert_int_eq(store_frame_get(f.reader, &id, &frame, NULL), 0);
        ck_assert_int_eq(whole_of(row, "seq"), (int64_t)frame->seq);
        ck_assert_int_eq(whole_of(row, "bytes"), (int64_t)frame->record.blob_bytes);
        if (strcmp(text_of(row, "event"), "kept") == 0) {
            ck_assert_uint_le(frame->seq, frames);
            ck_assert_msg(!seen[frame->seq], "frame %llu has two rows",
                          (unsigned long long)frame->seq);
            seen[frame->seq] = true;
            kept++;
        }
        char path[900];
        struct stat info;
        snprintf(path, sizeof path, "%s/%s/%s", f.disk, f.container, text_of(row, "key"));
        ck_assert_msg(stat(path, &info) == 0, "%s is named and not there", path);
        store_row_destroy(frame);
    }
    ck_assert_uint_eq(kept, frames);
}

/* Rows that are written may still wait for the age of their part. */
static struct parts wait_parts(size_t rows, uint64_t skipped) {
    int64_t until = clock_boot_us() + WAIT_MS * INT64_C(1000);
    for (;;) {
        struct parts parts = parts_read(skipped);
        if (json_array_size(parts.rows) >= rows) {
            return parts;
        }
        ck_assert_msg(clock_boot_us() < until, "%zu rows of %zu arrived",
                      json_array_size(parts.rows), rows);
        json_decref(parts.rows);
        clock_sleep_ms(50);
    }
}

static void again(unsigned times) { /* the same bytes once more: a frame that shares its blob */
    for (unsigned i = 0; i < times; i++) {
        unsigned frames = f.frames;
        f.frames = i;
        frames_put(1);
        f.frames = frames;
    }
}

/* ---- the tests ---- */

START_TEST(every_frame_has_one_row) {
    remote_add(SYNC_DIRECTORY);
    manifest_on(7, 300);
    start();
    frames_put(30);
    again(3); /* before or after the receipt, who knows */
    wait_done("disk", 30);
    again(5); /* after */
    struct parts parts = wait_parts(38, 0);
    clock_sleep_ms(1500);
    json_decref(parts.rows);
    parts = parts_read(0);
    rows_check(&parts, 38, 0);
    ck_assert_uint_ge(parts.count, 38 / 7);
    ck_assert_uint_eq(status_of("disk").manifest_rows, 38);
    json_decref(parts.rows);
}
END_TEST

START_TEST(a_new_remote_is_told_of_what_it_has) { /* a manifest that is switched on later */
    remote_add(SYNC_DIRECTORY);
    start();
    frames_put(20);
    wait_done("disk", 20);
    stop(2000);
    manifest_on(1000, 200);
    start();
    frames_put(5);
    struct parts parts = wait_parts(25, 0);
    rows_check(&parts, 25, 0);
    json_decref(parts.rows);
}
END_TEST

START_TEST(labels_are_later_rows) {
    remote_add(SYNC_DIRECTORY);
    manifest_on(1000, 200);
    start();
    frames_put(3);
    struct parts parts = wait_parts(3, 0);
    struct frame_id id;
    ck_assert(frame_id_parse(text_of(json_array_get(parts.rows, 1), "id"), &id));
    ck_assert(json_is_null(json_object_get(json_array_get(parts.rows, 1), "label")));
    json_decref(parts.rows);
    struct store_label label = {.state = STORE_LABEL_WRONG_CLASS, .utc_us = clock_utc_us()};
    snprintf(label.class_name, sizeof label.class_name, "van");
    snprintf(label.note, sizeof label.note, "not a \"car\"\n");
    ck_assert_int_eq(store_label_put(f.store, &id, &label, NULL), 0);
    parts = wait_parts(4, 0);
    rows_check(&parts, 3, 1);
    const json_t *row = json_array_get(parts.rows, 3);
    const json_t *said = json_object_get(row, "label");
    struct frame_id same;
    ck_assert(frame_id_parse(text_of(row, "id"), &same));
    ck_assert_mem_eq(&same, &id, sizeof id);
    ck_assert_str_eq(text_of(row, "event"), "label");
    ck_assert_str_eq(text_of(said, "state"), "wrong-class");
    ck_assert_str_eq(text_of(said, "class"), "van");
    ck_assert_str_eq(text_of(said, "note"), "not a \"car\"\n");
    json_decref(parts.rows);
}
END_TEST

START_TEST(a_rebuilt_index_repeats_nothing) {
    remote_add(SYNC_DIRECTORY);
    manifest_on(4, 200);
    start();
    frames_put(10);
    struct parts parts = wait_parts(10, 0);
    json_decref(parts.rows);
    stop(2000);
    store_stop();
    struct store_rebuilt rebuilt;
    ck_assert_int_eq(store_rebuild(f.dir, 0, NULL, NULL, &rebuilt, NULL), 0);
    store_start();
    start();
    frames_put(6);
    parts = wait_parts(16, 0);
    clock_sleep_ms(1500);
    json_decref(parts.rows);
    parts = parts_read(0);
    rows_check(&parts, 16, 0);
    json_decref(parts.rows);
}
END_TEST

/* The file was written, and then the power went. */
START_TEST(a_part_that_was_not_sealed_is_nobodys) {
    struct manifest_name name = {
        .date = "2026-11-20", .store = "01234567", .number = 2, .sha = "89abcdef"};
    char file[MANIFEST_NAME_MAX], path[1400], folder[700];
    remote_add(SYNC_DIRECTORY);
    manifest_on(1000, 200);
    start();
    frames_put(2);
    struct parts parts = wait_parts(2, 0);
    json_decref(parts.rows);
    stop(2000);
    DIR *dir = opendir(spool);
    struct dirent *entry = readdir(dir);
    while (entry->d_name[0] == '.') {
        entry = readdir(dir);
    }
    snprintf(folder, sizeof folder, "%s/%.200s", spool, entry->d_name);
    closedir(dir);
    sync__manifest_name_format(&name, file);
    snprintf(path, sizeof path, "%s/%s", folder, file);
    ck_assert_int_eq(fs_write_file_atomic(path, "{}\n", 3, 0600, NULL), 0);
    start();
    frames_put(2);
    parts = wait_parts(4, 2);
    rows_check(&parts, 4, 0);
    ck_assert_int_ne(access(path, F_OK), 0);
    json_decref(parts.rows);
}
END_TEST

START_TEST(a_manifest_that_cannot_be_written_holds_up_no_frame) {
    char folder[700], way[800];
    remote_add(SYNC_DIRECTORY);
    manifest_on(1000, 100);
    snprintf(folder, sizeof folder, "%s/%s", f.disk, f.container);
    ck_assert_int_eq(fs_mkdirs(folder, NULL), 0);
    snprintf(way, sizeof way, "%s/manifests", folder);
    ck_assert_int_eq(fs_write_file_atomic(way, "in the way", 10, 0600, NULL), 0);
    start();
    frames_put(5);
    wait_done("disk", 5);
    int64_t until = clock_boot_us() + WAIT_MS * INT64_C(1000);
    while (status_of("disk").manifest_error[0] == '\0') {
        ck_assert_int_lt(clock_boot_us(), until);
        clock_sleep_ms(20);
    }
    frames_put(5);
    wait_done("disk", 10);
    ck_assert(!status_of("disk").breaker_open);
    ck_assert_uint_ge(status_of("disk").manifest_waiting, 1);
    ck_assert_int_eq(unlink(way), 0);
    struct parts parts = wait_parts(10, 0);
    rows_check(&parts, 10, 0);
    json_decref(parts.rows);
}
END_TEST

static size_t sidecars_there(void) {
    size_t there = 0;
    for (unsigned number = 0; number < f.frames; number++) {
        struct store_receipt receipt;
        struct frame_hash hash;
        struct stat info;
        char key[STORE_KEY_MAX + 1], path[2048];
        uint8_t *bytes = case_noise(size_of(number), number + 1);
        hash_sha256(bytes, size_of(number), &hash);
        free(bytes);
        enum frame_tier tier = number % 3 == 0 ? TIER_ANNOTATED : TIER_UNANNOTATED;
        ck_assert_int_eq(store_receipt_get(f.reader, "disk", tier, &hash, &receipt, NULL), 0);
        ck_assert(sync__companion_key(receipt.key, "sidecars", ".json", key));
        snprintf(path, sizeof path, "%s/%s/%s", f.disk, f.container, key);
        bool is = stat(path, &info) == 0;
        ck_assert_msg(!is || tier == TIER_UNANNOTATED, "%s is of the other tier", path);
        there += is;
    }
    return there;
}

/* 60 frames, 40 of them of the tier: several batches, a restart, and frames with equal bytes. */
START_TEST(sidecars_lie_beside_the_frames_of_their_tier) {
    remote_add(SYNC_DIRECTORY);
    remote_add(SYNC_AZURE);
    manifest_on(1000, 200);
    f.config.sidecars[TIER_UNANNOTATED] = true;
    start();
    frames_put(30);
    stop(10);
    start();
    frames_put(30);
    again(5);
    wait_done("disk", 60);
    int64_t until = clock_boot_us() + WAIT_MS * INT64_C(1000);
    while (sidecars_there() < 40) {
        ck_assert_msg(clock_boot_us() < until, "%zu of 40 sidecars", sidecars_there());
        clock_sleep_ms(50);
    }
    struct parts parts = wait_parts(65, 0);
    rows_check(&parts, 65, 0);
    json_decref(parts.rows);
    check_arrived(0);
}
END_TEST

/* A second machine with the same id in its configuration, or a copied disk. */
static void two_stores(enum sync_kind kind) {
    struct sync_writer writers[SYNC_WRITERS_MAX];
    size_t count = 0;
    struct err err = {0};
    remote_add(kind);
    manifest_on(2, 60000);
    const char *name = f.config.remotes[0].name;
    for (int life = 0; life < 2; life++) {
        start();
        frames_put(4);
        wait_done(name, 4);
        int64_t until = clock_boot_us() + WAIT_MS * INT64_C(1000);
        while (status_of(name).manifest_parts < 2) {
            ck_assert_int_lt(clock_boot_us(), until);
            clock_sleep_ms(20);
        }
        int code =
            sync_writers(&f.config.remotes[0], "edge-1", clock_utc_us(), writers, &count, &err);
        ck_assert_msg(code == 0, "%s", err.msg);
        ck_assert_uint_eq(count, (size_t)life + 1);
        stop(2000);
        store_stop();
        snprintf(f.dir, sizeof f.dir, "%s/other-XXXXXX", scratch);
        ck_assert_ptr_nonnull(mkdtemp(f.dir));
        snprintf(spool, sizeof spool, "%s/spool", f.dir);
        store_start();
    }
    ck_assert_uint_eq(writers[0].parts, 2);
    ck_assert_uint_eq(writers[1].parts, 2);
    ck_assert_str_ne(writers[0].store, writers[1].store);
    int64_t week_us = 8 * INT64_C(86400) * 1000000; /* what is long ago does not live any more */
    ck_assert_int_eq(sync_writers(&f.config.remotes[0], "edge-1", clock_utc_us() + week_us, writers,
                                  &count, &err),
                     0);
    ck_assert_uint_eq(count, 0);
}

START_TEST(two_stores_under_one_device_are_seen) {
    two_stores((enum sync_kind)_i);
}
END_TEST

/* ---- power cuts: the whole process goes, at any moment ---- */

static void live_until_killed(void) {
    store_start();
    start();
    for (;;) {
        frames_put(1);
        again(1);
        clock_sleep_ms(3);
    }
}

START_TEST(kill_at_any_moment_loses_and_repeats_no_row) {
    remote_add(SYNC_DIRECTORY);
    manifest_on(5, 100);
    store_stop();
    for (unsigned round = 0; round < 8; round++) {
        pid_t child = fork();
        ck_assert_int_ge(child, 0);
        if (child == 0) {
            live_until_killed();
        }
        clock_sleep_ms(700 + (int)(round * 137 % 400));
        ck_assert_int_eq(kill(child, SIGKILL), 0);
        ck_assert_int_eq(waitpid(child, NULL, 0), child);
        f.frames += 1000; /* other bytes in each life */
    }
    store_start();
    start();
    struct store_counts counts;
    ck_assert_int_eq(store_counts_read(f.reader, &counts, NULL), 0);
    size_t frames = counts.frames[0] + counts.frames[1];
    ck_assert_uint_gt(frames, 50);
    int64_t until = clock_boot_us() + WAIT_MS * INT64_C(1000);
    struct parts parts = {0};
    for (;;) {
        char folder[700];
        parts = (struct parts){.rows = json_array()};
        snprintf(folder, sizeof folder, "%s/%s/manifests/v1/device=edge-1", f.disk, f.container);
        parts_list(&parts, folder);
        for (size_t i = 0; i < parts.count; i++) {
            char path[900];
            snprintf(path, sizeof path, "%s/%s", folder, parts.names[i]);
            part_read(&parts, path);
        }
        if (json_array_size(parts.rows) >= frames || clock_boot_us() > until) {
            break;
        }
        json_decref(parts.rows);
        clock_sleep_ms(200);
    }
    rows_check(&parts, frames, 0);
    json_decref(parts.rows);
}
END_TEST

/* ---- over HTTP ---- */

static void arrives_over_http(enum sync_kind kind) {
    const struct sync_remote_config *remote = remote_add(kind);
    manifest_on(4, 60000);
    start();
    frames_put(8);
    wait_done(remote->name, 8);
    int64_t until = clock_boot_us() + WAIT_MS * INT64_C(1000);
    while (status_of(remote->name).manifest_parts < 2) {
        ck_assert_msg(clock_boot_us() < until, "%s", status_of(remote->name).manifest_error);
        clock_sleep_ms(20);
    }
    ck_assert_uint_eq(status_of(remote->name).manifest_rows, 8);
    ck_assert_uint_eq(status_of(remote->name).manifest_waiting, 0);
    check_arrived(0);
}

START_TEST(parts_reach_azure) {
    arrives_over_http(SYNC_AZURE);
}
END_TEST

START_TEST(parts_reach_s3) {
    arrives_over_http(SYNC_S3);
}
END_TEST

static Suite *suite(void) {
    Suite *all = suite_create("sync: manifests");
    TCase *manifests = tcase_create("manifests");
    tcase_set_timeout(manifests, 120);
    tcase_add_checked_fixture(manifests, setup, teardown);
    tcase_add_test(manifests, every_frame_has_one_row);
    tcase_add_test(manifests, a_new_remote_is_told_of_what_it_has);
    tcase_add_test(manifests, labels_are_later_rows);
    tcase_add_test(manifests, a_rebuilt_index_repeats_nothing);
    tcase_add_test(manifests, a_part_that_was_not_sealed_is_nobodys);
    tcase_add_test(manifests, a_manifest_that_cannot_be_written_holds_up_no_frame);
    tcase_add_test(manifests, sidecars_lie_beside_the_frames_of_their_tier);
    tcase_add_loop_test(manifests, two_stores_under_one_device_are_seen, SYNC_DIRECTORY,
                        SYNC_S3 + 1);
    tcase_add_test(manifests, kill_at_any_moment_loses_and_repeats_no_row);
    tcase_add_test(manifests, parts_reach_azure);
    tcase_add_test(manifests, parts_reach_s3);
    suite_add_tcase(all, manifests);
    return all;
}

int main(void) {
    return case_servers_run(suite);
}
