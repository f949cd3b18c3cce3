/* credential_case: what the suites of fetched credentials share: an issuer that the test plays, an
 * identity provider's tokens, and the proof that a refusal cost no frame anything. The storage is
 * real, and started by the including suite.
 */
#ifndef CREEL_TESTS_CREDENTIAL_CASE_H
#define CREEL_TESTS_CREDENTIAL_CASE_H

#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include "tests/contract/engine_case.h"
#include "tests/contract/token_server.h"
#include <sys/stat.h>

static struct token_server issuer; /* of the test that runs */
static char key_dir[300], issuer_url[128], token_path[400];

/* ---- tokens ---- */

/* Signed by a key of ours; `seconds` may be negative. */
static inline void jwt(const char *from, const char *audience, int seconds, char *out,
                       size_t room) {
    char command[1024];
    snprintf(command, sizeof command, "'%s/tests/servers/identity.sh' token '%s' '%s' '%s' %d",
             CREEL_SOURCE_DIR, key_dir, from, audience, seconds);
    FILE *pipe = popen(command, "r");
    ck_assert_ptr_nonnull(pipe);
    out[fread(out, 1, room - 1, pipe)] = '\0';
    ck_assert_int_eq(pclose(pipe), 0);
    ck_assert_uint_gt(strlen(out), 100);
}

/* ---- what the issuer answers, by `mode` ---- */

enum { GOOD, SHORT, DEAD_FIRST, DEAD, BUSY, WRONG_SECRET, GARBAGE };

static inline void setup_issuer(void) {
    setup();
    token_server_start(&issuer);
    snprintf(issuer_url, sizeof issuer_url, "http://127.0.0.1:%d", issuer.port);
    snprintf(token_path, sizeof token_path, "%s/token", f.dir);
}

static inline void teardown_issuer(void) {
    teardown();
    token_server_stop(&issuer);
}

static inline void read_with_key(struct sync_remote_config *remote) {
    bool azure = remote->kind == SYNC_AZURE;
    remote->credential = SYNC_CREDENTIAL_KEY;
    remote->account_key = azure ? AZURITE_KEY : NULL;
    remote->client_secret = remote->sas_file = NULL;
    remote->access_key = azure ? NULL : RGW_ACCESS_KEY;
    remote->secret_key = azure ? NULL : RGW_SECRET_KEY;
}

static inline void write_file(const char *path, const char *text) {
    ck_assert_int_eq(fs_write_file_atomic(path, text, strlen(text), 0600, NULL), 0);
}

static inline void nothing_lost(const char *remote, size_t index) {
    struct store_outbox_row rows[STORE_PAGE_MAX];
    size_t count = 0;
    int64_t next_due = 0;
    wait_done(remote, f.frames);
    check_arrived(index);
    ck_assert_uint_eq(counts_of(remote).quarantined, 0);
    ck_assert_int_eq(store_outbox_read(f.reader, remote, STORE_OLDEST, STORE_PAGE_MAX, rows, &count,
                                       &next_due, NULL),
                     0);
    ck_assert_uint_eq(count, 0);
    ck_assert_int_eq(next_due, 0);
}

/* They wait, due at once, as if they had never been tried. */
static inline void wait_untouched(const char *remote, size_t frames) {
    struct store_outbox_row rows[STORE_PAGE_MAX];
    size_t count = 0;
    int64_t next_due = 0;
    ck_assert_uint_eq(counts_of(remote).done, 0);
    ck_assert_uint_eq(counts_of(remote).quarantined, 0);
    ck_assert_int_eq(store_outbox_read(f.reader, remote, STORE_OLDEST, STORE_PAGE_MAX, rows, &count,
                                       &next_due, NULL),
                     0);
    ck_assert_uint_eq(count, frames);
    for (size_t i = 0; i < count; i++) {
        ck_assert_uint_eq(rows[i].attempts, 0);
    }
}

/* A link that the running sync signs opens the first frame, and no other one. */
static inline void check_link(size_t index) {
    const struct sync_remote_config *remote = &f.config.remotes[index];
    struct store_receipt receipt;
    struct frame_hash hash;
    struct http_reply reply;
    struct err err = {0};
    char link[SYNC_LINK_MAX];
    uint8_t *wanted = case_noise(size_of(0), 1);
    hash_sha256(wanted, size_of(0), &hash);
    ck_assert_int_eq(
        store_receipt_get(f.reader, remote->name, TIER_ANNOTATED, &hash, &receipt, NULL), 0);
    int code = sync_link_get(f.sync, remote->name, TIER_ANNOTATED, receipt.key, 60, link, &err);
    ck_assert_msg(code == 0, "%s: %s", err.msg, err.cause);
    int status = case_get_over(link, remote->ca_file, &reply);
    ck_assert_msg(status == 200, "%d %s: %s", status, reply.error_code, reply.message);
    ck_assert_uint_eq(reply.body.len, size_of(0));
    ck_assert_mem_eq(reply.body.data, wanted, size_of(0));
    sync__reply_finish(&reply);
    char *digest = strstr(link, ".jpg") - 1;
    *digest = *digest == '0' ? '1' : '0';
    ck_assert_int_eq(case_get_over(link, remote->ca_file, &reply), 403);
    sync__reply_finish(&reply);
    free(wanted);
}

/* Manifests too: a part for every ten rows. */
static inline void manifest_add(struct sync_remote_config *remote) {
    remote->manifest = true;
    f.config.spool_dir = f.dir;
    f.config.manifest_rows = 10;
    f.config.manifest_age_ms = 200;
}

static inline void wait_parts(const char *remote, uint64_t parts) {
    int64_t until = clock_boot_us() + WAIT_MS * INT64_C(1000);
    while (status_of(remote).manifest_parts < parts) {
        ck_assert_msg(clock_boot_us() < until, "%s", status_of(remote).manifest_error);
        clock_sleep_ms(10);
    }
    ck_assert_str_eq(status_of(remote).manifest_error, "");
}

#endif
