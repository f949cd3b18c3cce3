/* Large objects on real servers: a process that is killed in the middle of an upload, and another
 * one that goes on. How many parts were sent is counted in the servers' own logs.
 */
#include "daemon/base/mem.h"
#include "sync/parts.h"
#include "tests/contract/remote_case.h"
#include "tests/suite.h"
#include <signal.h>

#define BLOCKS     9 /* in Azure; a last one that is smaller */
#define BLOCK_SIZE (BLOCKS * CASE_BLOCK_BYTES - 777)
#define PARTS      3
#define PARTS_SIZE (PARTS * PARTS_BYTES_MIN - 777)

/* ---- what a remote remembers, in a file: it must outlive the process ---- */

static char memory_path[400];
static int memory_forgets; /* the state was lost */

static int recall(void *ctx, const char *key, char *upload, size_t room, struct err *err) {
    struct buf text = BUF_INIT(room - 1);
    (void)ctx, (void)key;
    if (memory_forgets || fs_read_file(memory_path, &text, NULL) != 0) {
        return err_set(err, ERR_NOT_FOUND, "none");
    }
    snprintf(upload, room, "%s", text.len > 0 ? text.data : "");
    buf_finish(&text);
    return 0;
}

static int remember(void *ctx, const char *key, const char *upload, struct err *err) {
    (void)ctx, (void)key;
    return fs_write_file_atomic(memory_path, upload, strlen(upload), 0600, err);
}

static struct remote *remote_with_memory(int fixture) {
    struct sync_remote_config config = config_of(fixture);
    struct remote *remote = remote_new(&config);
    remote->memory = (struct remote_memory){.upload_get = recall, .upload_put = remember};
    return remote;
}

/* ---- the servers' logs ---- */

/* Requests for this key that put a part, by what the server says it answered. */
static unsigned logged(int fixture, const char *key, const char *words) {
    char path[400], command[1200];
    snprintf(path, sizeof path, "%s", is_s3(fixture) ? "log/client.admin.log" : "log");
    snprintf(command, sizeof command, "grep -F '%s' '%s/%s' | grep -cE '%s'", key,
             is_s3(fixture) ? rgw_dir : azurite_dir, path, words);
    FILE *pipe = popen(command, "r");
    unsigned count = 0;
    ck_assert_ptr_nonnull(pipe);
    ck_assert_int_eq(fscanf(pipe, "%u", &count), 1);
    pclose(pipe);
    return count;
}

static unsigned parts_logged(int fixture, const char *key) {
    clock_sleep_ms(200); /* they write behind the answer */
    return logged(fixture, key,
                  is_s3(fixture) ? "PUT [^ ]*partNumber=[^ ]* HTTP/1.1\" 200 "
                                 : "PUT [^ ]*comp=block&[^ ]* HTTP/1.1\" 201 ");
}

/* ---- a process that does not live to the end ---- */

/* Kills this process when `parts` are there and the next one is on its way. */
static void put_and_die(int fixture, const char *key, const uint8_t *bytes, size_t size,
                        unsigned parts) {
    struct talk talk = {.remote = remote_with_memory(fixture),
                        .object = object_of(key, bytes, size)};
    struct http *http = NULL;
    struct http_done done;
    sync__http_create(NULL, &http, NULL);
    talk.put.object = &talk.object;
    talk_ask(http, &talk);
    for (;;) {
        sync__http_wait(http, NULL, 0, 100, NULL);
        while (sync__http_next_done(http, &done)) {
            talk.verdict = talk.remote->ops->judge(talk.remote, &talk.put, &done.reply, &talk.err);
            sync__reply_finish(&done.reply);
            if (talk.verdict != REMOTE_AGAIN) {
                exit(1);
            }
            talk_ask(http, &talk);
        }
        if (talk.parts > parts && talk.put.step == REMOTE_PART) {
            raise(SIGKILL);
        }
    }
}

static void die_in_the_middle(int fixture, const char *key, const uint8_t *bytes, size_t size,
                              unsigned parts) {
    fflush(NULL);
    pid_t pid = fork();
    int status = 0;
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        put_and_die(fixture, key, bytes, size, parts);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static unsigned uploads_open(const char *key) {
    struct sync_remote_config config = config_of(S3_PARTS);
    struct remote *remote = remote_new(&config);
    struct talk talk = {.remote = remote, .object = object_of(key, "x", 1)};
    struct http_request request = {0};
    struct http_reply reply;
    unsigned count = 0;
    talk.put = (struct remote_put){.object = &talk.object, .step = REMOTE_SEEK};
    ck_assert_int_eq(remote->ops->request(remote, &talk.put, clock_utc_us(), &request, NULL), 0);
    ck_assert_int_eq(case_send(request, &reply), 200);
    for (const char *at = reply.body.data; (at = strstr(at, "<UploadId>")) != NULL; at++) {
        count++;
    }
    sync__reply_finish(&reply);
    sync__remote_close(remote);
    return count;
}

/* ---- the suite ---- */

static const struct {
    int fixture;
    const char *name;
    bool forgets; /* state.db is gone */
    bool finds;   /* what is there is not sent again */
} cases[] = {
    {AZURE_BLOCKS, "azure", false, true},
    {AZURE_BLOCKS_WRITE, "azure-write-only", false, false},
    {S3_PARTS, "s3", false, true},
    {S3_PARTS, "s3-forgotten", true, true},
};

START_TEST(a_killed_upload_goes_on) {
    int fixture = cases[_i].fixture;
    bool s3 = is_s3(fixture);
    size_t size = s3 ? PARTS_SIZE : BLOCK_SIZE;
    unsigned all = s3 ? PARTS : BLOCKS, before = s3 ? 2 : 5;
    uint8_t *bytes = case_noise(size, (unsigned)_i + 77);
    char key[96];
    snprintf(key, sizeof key, "frames/device=d-%d/%s.jpg", _i, cases[_i].name);
    snprintf(memory_path, sizeof memory_path, "%s/upload-%d", scratch, _i);
    die_in_the_middle(fixture, key, bytes, size, before);
    ck_assert_uint_ge(parts_logged(fixture, cases[_i].name), before);
    unsigned there = parts_logged(fixture, cases[_i].name);

    memory_forgets = cases[_i].forgets;
    struct remote *remote = remote_with_memory(fixture);
    struct talk talk = put_one(remote, key, bytes, size);
    ck_verdict(talk, REMOTE_STORED);
    check_bytes(fixture, key, bytes, size);
    unsigned sent = parts_logged(fixture, cases[_i].name) - there;
    printf("%s: %u parts, %u there when killed, %u sent by the next process\n", cases[_i].name, all,
           there, sent);
    fflush(stdout);
    ck_assert_uint_eq(sent, cases[_i].finds ? all - there : all);
    talk = put_one(remote, key, bytes, size); /* looked for before a byte is sent */
    ck_verdict(talk, fixtures[fixture].reads ? REMOTE_COMPARED : REMOTE_EXISTS);
    ck_assert_uint_eq(talk.parts, fixtures[fixture].reads ? 0 : all);
    if (s3) {
        ck_assert_uint_eq(uploads_open(key), 0);
    }
    sync__remote_close(remote);
    free(bytes);
}
END_TEST

/* Of an object that is not wanted any more: the next large one of this device clears it away. */
START_TEST(what_nobody_goes_on_with_is_cleared_away) {
    uint8_t *bytes = case_noise(PARTS_SIZE, 5);
    snprintf(memory_path, sizeof memory_path, "%s/upload-orphan", scratch);
    die_in_the_middle(S3_PARTS, "frames/device=orphans/gone.jpg", bytes, PARTS_SIZE, 1);
    ck_assert_uint_eq(uploads_open("frames/device=orphans/x.jpg"), 1);
    ck_assert_int_eq(unlink(memory_path), 0);
    struct sync_remote_config config = config_of(S3_PARTS);
    for (int old = 0; old < 2; old++) { /* a young one may be somebody's; a second is old here */
        char key[64];
        config.abandon_after_s = old ? 1 : 0;
        snprintf(key, sizeof key, "frames/device=orphans/%d.jpg", old);
        clock_sleep_ms(1100);
        struct remote *remote = remote_new(&config);
        struct talk talk = put_one(remote, key, bytes, 1000);
        ck_verdict(talk, REMOTE_STORED);
        ck_assert_uint_eq(uploads_open("frames/device=orphans/x.jpg"), old ? 0 : 1);
        sync__remote_close(remote);
    }
    free(bytes);
}
END_TEST

/* Another writer of the same bytes got there first: nothing is left behind, and nothing replaced.
 */
/* What the head of an object must say, as another client reads it. */
static void check_head(int fixture, const char *link, const char *const *wanted, size_t count) {
    char path[400];
    snprintf(path, sizeof path, "%s/head", scratch);
    ck_assert_int_eq(servers_run("curl -sf %s --noproxy '*' -D '%s' -o '%s.body' '%s'",
                                 is_s3(fixture) ? "" : "-I", path, path, link),
                     0);
    for (size_t i = 0; i < count; i++) {
        ck_assert_msg(servers_run("grep -qi '^%s' '%s'", wanted[i], path) == 0, "%s", wanted[i]);
    }
}

static const struct {
    int fixture;
    const char *wanted[5];
} properties[] = {
    {AZURE_BLOCKS,
     {"x-ms-access-tier: Cool", "x-ms-tag-count: 2", "content-type: image/jpeg",
      "cache-control: public", "x-ms-meta-sha256: "}},
    {S3_PARTS,
     {"x-amz-meta-height: 480", "x-amz-meta-width: 640", "content-type: image/jpeg",
      "cache-control: public", "x-amz-meta-sha256: "}},
};

/* In parts and whole, they are the same. */
START_TEST(properties_are_stored) {
    static uint8_t bytes[CASE_BLOCK_BYTES * 2];
    int fixture = properties[_i].fixture;
    struct sync_remote_config config = config_of(fixture);
    config.access_tier = "cool";
    config.storage_class = "STANDARD";
    config.tags = "site=north,use=training data";
    for (int whole = 0; whole < 2; whole++) {
        char key[64], link[SYNC_LINK_MAX];
        snprintf(key, sizeof key, "properties/%d.jpg", whole);
        config.parts_above_bytes = whole ? 1u << 30 : 1;
        struct remote *remote = remote_new(&config);
        struct talk talk = put_one(remote, key, bytes, sizeof bytes);
        ck_verdict(talk, REMOTE_STORED);
        ck_assert_uint_eq(talk.parts, whole ? 0 : fixture == S3_PARTS ? 1 : 2);
        sync__remote_close(remote);
        link_of(fixture, key, 60, link);
        check_head(fixture, link, properties[_i].wanted, ARRAY_LENGTH(properties[_i].wanted));
        if (fixture == S3_PARTS && whole) { /* this gateway takes none with an upload in parts */
            static const char *const tags[] = {"x-amz-tagging-count: 2"};
            check_head(fixture, link, tags, 1);
        }
        if (fixture == AZURE_BLOCKS) {
            char md5[HASH_BASE64_SIZE(HASH_MD5_SIZE)], line[64];
            const char *lines[] = {line};
            snprintf(line, sizeof line, "content-md5: %s",
                     hash_base64(sync__object_md5(&talk.object), HASH_MD5_SIZE, md5));
            check_head(fixture, link, lines, 1); /* of the whole, also where it came in blocks */
        }
    }
}
END_TEST

/* A SAS cannot make its container. */
START_TEST(containers_are_made) {
    static const int makers[] = {AZURE_KEY, S3_PATH};
    for (size_t i = 0; i < ARRAY_LENGTH(makers); i++) {
        struct sync_remote_config config = config_of(makers[i]);
        struct remote *remote = remote_new(&config);
        struct talk talk = put_one(remote, "first.jpg", "first", 5);
        ck_verdict(talk, REMOTE_STORED);
        sync__remote_close(remote);
    }
}
END_TEST

static Suite *suite(void) {
    Suite *all = suite_create("sync: large objects on their servers");
    TCase *tests = tcase_create("all");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, containers_are_made);
    tcase_add_loop_test(tests, a_killed_upload_goes_on, 0, (int)ARRAY_LENGTH(cases));
    tcase_add_test(tests, what_nobody_goes_on_with_is_cleared_away);
    tcase_add_loop_test(tests, properties_are_stored, 0, (int)ARRAY_LENGTH(properties));
    suite_add_tcase(all, tests);
    return all;
}

int main(void) {
    setenv("AZURITE_LOG", "1", 1);
    remotes_start();
    int failed = suite_run(suite());
    remotes_stop();
    return failed;
}
