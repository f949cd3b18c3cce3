/* A whole remote against the index, on Azurite, a Ceph RADOS gateway and a directory: what the
 * engine uploaded is damaged behind its back, found, and mended.
 */
#include "daemon/base/mem.h"
#include "sync/ask.h"
#include "sync/cloud.h"
#include "sync/directory_list.h"
#include "tests/contract/engine_case.h"
#include "tests/suite.h"
#include <stdio.h>
#include <unistd.h>

#define FRAMES 30

static const enum sync_kind kinds[] = {SYNC_DIRECTORY, SYNC_AZURE, SYNC_S3};
static const char *const names[] = {
    [SYNC_DIRECTORY] = "disk", [SYNC_AZURE] = "azure", [SYNC_S3] = "s3"};

#define ck_code(code, wanted, err)                                                                 \
    do {                                                                                           \
        char text_[1024];                                                                          \
        int code_ = (code);                                                                        \
        ck_assert_msg(code_ == (wanted), "%d, not %d: %s", code_, (wanted),                        \
                      err_text(&(err), text_, sizeof text_));                                      \
    } while (0)

/* ---- the store as an index ---- */

static const char *remote_name;
static unsigned acts;

static int index_receipts(void *ctx, int64_t *after, struct store_receipt_row *rows, size_t limit,
                          size_t *count, struct err *err) {
    (void)ctx;
    return store_receipts_read(f.reader, remote_name, after, rows, limit, count, err);
}

static int index_look(void *ctx, const struct store_blob_name *blobs, size_t count,
                      unsigned *states, struct err *err) {
    (void)ctx;
    return store_blobs_look(f.reader, remote_name, blobs, count, states, err);
}

static int index_act(void *ctx, enum store_outbox_action action,
                     const struct store_blob_name *blobs, size_t count, struct err *err) {
    (void)ctx;
    acts++;
    return store_outbox_act(f.store, remote_name, action, blobs, count, NULL, err);
}

static const struct sync_index store_index = {
    .receipts = index_receipts, .look = index_look, .act = index_act};

/* ---- findings ---- */

struct finding {
    enum sync_finding finding;
    char key[STORE_KEY_MAX + 1], detail[200];
};
static struct finding found[100];
static size_t found_count;

static void on_found(void *ctx, enum sync_finding finding, const char *key, const char *detail) {
    (void)ctx;
    ck_assert_uint_lt(found_count, ARRAY_LENGTH(found));
    found[found_count].finding = finding;
    snprintf(found[found_count].key, sizeof found[0].key, "%s", key);
    snprintf(found[found_count].detail, sizeof found[0].detail, "%s", detail);
    found_count++;
}

static const struct finding *finding_of(enum sync_finding finding) {
    for (size_t i = 0; i < found_count; i++) {
        if (found[i].finding == finding) {
            return &found[i];
        }
    }
    ck_abort_msg("nothing of kind %d was found", (int)finding);
}

static int fsck(bool repair, bool force, struct sync_fsck *out, struct err *err) {
    found_count = 0;
    return sync_fsck(&f.config.remotes[0], f.config.device, &store_index, repair, force, on_found,
                     NULL, out, err);
}

/* Reports nothing at all. */
static void fsck_clean(uint64_t objects) {
    struct sync_fsck out;
    struct err err = {0};
    ck_code(fsck(false, false, &out, &err), 0, err);
    ck_assert_msg(found_count == 0, "%d: %s (%s)", (int)found[0].finding, found[0].key,
                  found[0].detail);
    ck_assert_uint_eq(out.objects, objects);
    ck_assert_uint_eq(out.receipts, objects);
    ck_assert_uint_eq(out.elsewhere, 0);
}

/* ---- behind the engine's back ---- */

static void tamper(const char *method, enum frame_tier tier, const char *key, size_t size) {
    struct sync_remote_config *config = &f.config.remotes[0];
    struct err err = {0};
    if (config->kind == SYNC_DIRECTORY) {
        char path[2048];
        snprintf(path, sizeof path, "%s/%s/%s", config->path, config->prefix, key);
        ck_assert(unlink(path) == 0 || strcmp(method, "PUT") == 0);
        FILE *file = strcmp(method, "PUT") == 0 ? fopen(path, "w") : NULL;
        for (size_t i = 0; file != NULL && i < size; i++) {
            fputc('x', file);
        }
        ck_assert(file == NULL || fclose(file) == 0);
        return;
    }
    struct asker *asker = NULL;
    struct http_reply reply;
    uint8_t *bytes = case_noise(size + 1, 77);
    struct remote_ask ask = {.method = method,
                             .tier = tier,
                             .key = key,
                             .body = bytes,
                             .body_size = size,
                             .doing = "tampering"};
    if (strcmp(method, "PUT") == 0) {
        sync__ask_header(&ask, "content-type", "image/jpeg");
        if (config->kind == SYNC_AZURE) {
            sync__ask_header(&ask, "x-ms-blob-type", "BlockBlob");
        }
    }
    ck_code(sync__asker_open(config, &asker, &err), 0, err);
    ck_code(sync__asker_call(asker, &ask, &reply, &err), 0, err);
    sync__reply_finish(&reply);
    sync__asker_close(asker);
    free(bytes);
}

static struct store_receipt receipt_of(unsigned number) {
    enum frame_tier tier = number % 3 == 0 ? TIER_ANNOTATED : TIER_UNANNOTATED;
    uint8_t *bytes = case_noise(size_of(number), number + 1);
    struct store_receipt receipt;
    struct frame_hash hash;
    hash_sha256(bytes, size_of(number), &hash);
    free(bytes);
    ck_assert_int_eq(store_receipt_get(f.reader, remote_name, tier, &hash, &receipt, NULL), 0);
    return receipt;
}

static void drop(unsigned number) {
    struct store_receipt receipt = receipt_of(number);
    tamper("DELETE", receipt.tier, receipt.key, 0);
}

static void uploaded(int kind) {
    remote_name = names[kinds[kind]];
    remote_add(kinds[kind]);
    start();
    frames_put(FRAMES);
    wait_done(remote_name, FRAMES);
    stop(2000);
}

/* ---- fsck ---- */

START_TEST(what_was_uploaded_is_found_as_it_is) {
    uploaded(_i);
    fsck_clean(FRAMES);
}
END_TEST

START_TEST(what_differs_is_told_and_what_is_missing_goes_again) {
    struct sync_fsck out;
    struct err err = {0};
    uploaded(_i);
    struct store_receipt receipt = receipt_of(4), wrong = receipt_of(6);
    char key[STORE_KEY_MAX + 1], odd[STORE_KEY_MAX + 1];
    drop(4);
    drop(9);
    tamper("PUT", wrong.tier, wrong.key, 17);
    snprintf(key, sizeof key, "%s", receipt.key); /* another hash, in the same folder */
    memset(strrchr(key, '/') + 1, 'a', 64);
    tamper("PUT", receipt.tier, key, 5);
    snprintf(odd, sizeof odd, "%.*s/notes.txt", (int)(strrchr(key, '/') - key), key);
    tamper("PUT", receipt.tier, odd, 5);

    ck_code(fsck(false, false, &out, &err), 0, err);
    ck_assert_uint_eq(out.objects, FRAMES);
    ck_assert_uint_eq(out.receipts, FRAMES);
    ck_assert_uint_eq(out.found[SYNC_FOUND_MISSING], 2);
    ck_assert_uint_eq(out.found[SYNC_FOUND_WRONG], 1);
    ck_assert_uint_eq(out.found[SYNC_FOUND_UNKNOWN], 2);
    ck_assert_uint_eq(found_count, 5);
    ck_assert_str_eq(finding_of(SYNC_FOUND_WRONG)->key, wrong.key);
    ck_assert_ptr_nonnull(strstr(finding_of(SYNC_FOUND_WRONG)->detail, "17 bytes there"));
    ck_assert_uint_eq(counts_of(remote_name).done, FRAMES); /* looking changes nothing */
    ck_assert_uint_eq(acts, 0);

    ck_code(fsck(true, false, &out, &err), 0, err);
    ck_assert_uint_eq(out.queued, 2);
    ck_assert_uint_eq(out.lost, 0);
    ck_assert_uint_eq(counts_of(remote_name).pending, 2);
    ck_assert_uint_eq(counts_of(remote_name).done, FRAMES - 2);
    start();
    wait_done(remote_name, FRAMES);
    stop(2000);
    tamper("DELETE", receipt.tier, key, 0);
    tamper("DELETE", receipt.tier, odd, 0);
    ck_code(fsck(false, false, &out, &err), 0, err);
    ck_assert_uint_eq(found_count, 1); /* what is wrong is never overwritten */
    ck_assert_uint_eq(out.found[SYNC_FOUND_WRONG], 1);
}
END_TEST

START_TEST(same_size_and_other_bytes_are_found) {
    struct sync_fsck out;
    struct err err = {0};
    uploaded(_i);
    struct store_receipt receipt = receipt_of(7);
    tamper("PUT", receipt.tier, receipt.key, size_of(7));
    ck_code(fsck(false, false, &out, &err), 0, err);
    if (kinds[_i] == SYNC_S3) {
        ck_assert_uint_eq(out.found[SYNC_FOUND_WRONG], 1);
    } else if (kinds[_i] == SYNC_AZURE) { /* its receipt has no MD5, but an ETag */
        ck_assert_uint_eq(out.found[SYNC_FOUND_ALTERED], 1);
    }
    ck_assert_uint_eq(found_count, kinds[_i] == SYNC_DIRECTORY ? 0 : 1);
}
END_TEST

START_TEST(too_much_missing_waits_for_force) {
    struct sync_fsck out;
    struct err err = {0};
    uploaded(_i);
    for (unsigned i = 0; i < FRAMES / 2; i++) {
        drop(i);
    }
    ck_code(fsck(true, false, &out, &err), ERR_REFUSED, err);
    ck_assert_uint_eq(counts_of(remote_name).done, FRAMES);
    ck_assert_uint_eq(acts, 0);
    ck_code(fsck(true, true, &out, &err), 0, err);
    ck_assert_uint_eq(out.queued, FRAMES / 2);
    ck_assert_uint_eq(counts_of(remote_name).done, FRAMES - FRAMES / 2);
}
END_TEST

START_TEST(what_is_neither_there_nor_here_is_lost) {
    struct sync_fsck out;
    struct err err = {0};
    struct store_page *page = NULL;
    struct store_filter filter = {.oldest_first = true};
    struct store_removal removal;
    uploaded(_i);
    ck_assert_int_eq(
        store_page_read(f.reader, &filter, &(struct store_cursor){0}, 1, 100, &page, NULL), 0);
    ck_code(store_remove(f.store, &page->rows[0].record.id, 1, false, false, &removal, &err), 0,
            err);
    store_page_destroy(page);
    drop(0);
    drop(1);
    ck_code(fsck(true, false, &out, &err), 0, err);
    ck_assert_uint_eq(out.queued, 1);
    ck_assert_uint_eq(out.lost, 1);
    fsck_clean(FRAMES - 2);
}
END_TEST

START_TEST(a_frame_that_waits_is_not_missing) {
    struct sync_fsck out;
    struct err err = {0};
    uploaded(_i);
    frames_put(5);
    ck_code(fsck(true, false, &out, &err), 0, err);
    ck_assert_uint_eq(found_count, 0);
    ck_assert_uint_eq(out.receipts, FRAMES);
}
END_TEST

START_TEST(another_device_is_left_alone) {
    struct sync_fsck out;
    struct err err = {0};
    uploaded(_i);
    found_count = 0;
    ck_code(sync_fsck(&f.config.remotes[0], "edge-10", &store_index, true, false, on_found, NULL,
                      &out, &err),
            0, err);
    ck_assert_uint_eq(out.objects, 0);
    ck_assert_uint_eq(out.elsewhere, FRAMES);
    ck_assert_uint_eq(found_count, 0);
}
END_TEST

/* ---- gc ---- */

#define DAYS(n) ((n)*INT64_C(86400))

static size_t expired_count, expired_pinned;

static void on_expired(void *ctx, const char *key, uint64_t bytes, bool pinned) {
    (void)ctx;
    ck_assert_uint_gt(bytes, 0);
    ck_assert_ptr_nonnull(strstr(key, "/device=edge-1/"));
    expired_count++;
    expired_pinned += pinned;
}

static int gc(bool dry_run, bool force, int64_t ahead_days, struct sync_gc *out, struct err *err) {
    expired_count = expired_pinned = 0;
    return sync__gc_ahead(&f.config.remotes[0], f.config.device, &store_index, dry_run, force,
                          on_expired, NULL, DAYS(ahead_days) * 1000000, out, err);
}

/* Objects of this device that will not expire, so that the guard has a whole to compare with. */
static void fill(size_t count, const char *device, const char *date) {
    for (size_t i = 0; i < count; i++) {
        char key[STORE_KEY_MAX + 1];
        snprintf(key, sizeof key, "frames/tier=annotated/device=%s/date=%s/%064zx.jpg", device,
                 date, i);
        if (f.config.remotes[0].kind == SYNC_DIRECTORY) {
            char path[2048];
            snprintf(path, sizeof path, "%s/%s/%s", f.config.remotes[0].path,
                     f.config.remotes[0].prefix, key);
            *strrchr(path, '/') = '\0';
            ck_assert_int_eq(fs_mkdirs(path, NULL), 0);
        }
        tamper("PUT", TIER_ANNOTATED, key, 3);
    }
}

static void pin_first(void) {
    struct store_page *page = NULL;
    struct store_filter filter = {.oldest_first = true};
    ck_assert_int_eq(
        store_page_read(f.reader, &filter, &(struct store_cursor){0}, 1, 100, &page, NULL), 0);
    ck_assert_int_eq(store_pin_set(f.store, &page->rows[0].record.id, true, NULL), 0);
    store_page_destroy(page);
}

START_TEST(what_outlives_its_ttl_goes_and_pinned_frames_stay) {
    struct sync_gc out;
    struct sync_fsck checked;
    struct err err = {0};
    uploaded(_i);
    fill(30, "edge-1", "2099-01-01");
    fill(3, "edge-10", "2020-01-01");
    pin_first(); /* of tier annotated */
    ck_code(gc(true, false, 10, &out, &err), 0, err);
    ck_assert(!out.any_ttl);
    ck_assert_uint_eq(out.requests, 0);
    f.config.remotes[0].ttl_ms[TIER_ANNOTATED] = DAYS(5) * 1000;
    ck_code(gc(true, false, 10, &out, &err), 0, err);
    ck_assert_uint_eq(out.objects, FRAMES / 3 + 30);
    ck_assert_uint_eq(out.expired, FRAMES / 3);
    ck_assert_uint_eq(out.removed, 0);
    ck_assert_uint_eq(expired_count, FRAMES / 3);
    ck_assert_uint_eq(acts, 0);
    ck_code(gc(false, false, 4, &out, &err), 0, err); /* not yet */
    ck_assert_uint_eq(out.expired, 0);
    ck_code(gc(false, false, 0, &out, &err), 0, err);
    ck_assert_uint_eq(out.expired, 0);
    ck_code(gc(false, false, 10, &out, &err), 0, err);
    ck_assert_uint_eq(out.pinned, 1);
    ck_assert_uint_eq(expired_pinned, 1);
    ck_assert_uint_eq(out.removed, FRAMES / 3 - 1);
    ck_assert_uint_eq(counts_of(remote_name).done, FRAMES - (FRAMES / 3 - 1));
    ck_assert_uint_eq(counts_of(remote_name).pending, 0); /* and does not come back */
    ck_code(fsck(false, false, &checked, &err), 0, err);
    ck_assert_uint_eq(checked.found[SYNC_FOUND_MISSING], 0);
    ck_assert_uint_eq(checked.objects, FRAMES - (FRAMES / 3 - 1) + 30);
    ck_assert_uint_eq(checked.found[SYNC_FOUND_UNKNOWN], 30);
    ck_code(gc(false, false, 10, &out, &err), 0, err); /* again: the pinned one is left */
    ck_assert_uint_eq(out.removed, 0);
    f.config.device = "edge-10";
    ck_code(fsck(false, false, &checked, &err), 0, err);
    ck_assert_uint_eq(checked.objects, 3); /* of another device: still there */
}
END_TEST

START_TEST(more_than_a_quarter_waits_for_force) {
    struct sync_gc out;
    struct err err = {0};
    uploaded(_i);
    fill(10, "edge-1", "2099-01-01");
    f.config.remotes[0].ttl_ms[TIER_ANNOTATED] = DAYS(5) * 1000;
    ck_code(gc(false, false, 10, &out, &err), ERR_REFUSED, err);
    ck_assert_uint_eq(out.removed, 0);
    ck_assert_uint_eq(acts, 0);
    fsck(false, false, &(struct sync_fsck){0}, &err);
    ck_assert_uint_eq(found_count, 10);
    ck_code(gc(false, true, 10, &out, &err), 0, err);
    ck_assert_uint_eq(out.removed, FRAMES / 3);
    fsck(false, false, &(struct sync_fsck){0}, &err);
    ck_assert_uint_eq(found_count, 10);
}
END_TEST

START_TEST(an_old_name_that_was_written_today_has_its_time) {
    struct sync_gc out;
    struct err err = {0};
    uploaded(_i);
    fill(3, "edge-1", "2020-01-01");
    f.config.remotes[0].ttl_ms[TIER_ANNOTATED] = DAYS(5) * 1000;
    ck_code(gc(false, true, 0, &out, &err), 0, err);
    ck_assert_uint_eq(out.expired, 0);
}
END_TEST

static char sas_list[1024], sas_create[1024];

static void sas_make(const char *permissions, char out[1024]) {
    uint8_t key[SIGN_AZURE_KEY_MAX];
    size_t size = 0;
    struct buf text = BUF_INIT(1023);
    struct sign_sas sas = {.account = AZURITE_ACCOUNT,
                           .container = "annotated",
                           .permissions = permissions,
                           .resource = "c",
                           .protocol = "",
                           .expires_utc_us = clock_utc_us() + INT64_C(3600000000)};
    hash_parse_base64(AZURITE_KEY, key, sizeof key, &size);
    sync__sign_azure_sas(&sas, key, size, &text);
    memcpy(out, text.data, text.len + 1);
    buf_finish(&text);
}

START_TEST(without_the_right_nothing_changes_and_it_is_named) {
    struct sync_gc out;
    struct sync_fsck checked;
    struct err err = {0};
    char text[1024];
    struct sync_remote_config *remote = &f.config.remotes[0];
    uploaded(1);
    remote->ttl_ms[TIER_ANNOTATED] = DAYS(5) * 1000;
    remote->account_key = NULL;
    sas_make("cl", sas_list);
    sas_make("c", sas_create);
    remote->sas = sas_create;
    ck_code(fsck(false, false, &checked, &err), ERR_DENIED, err);
    ck_assert_ptr_nonnull(strstr(err_text(&err, text, sizeof text), "sp=l"));
    ck_code(gc(false, true, 10, &out, &err), ERR_DENIED, err);
    ck_assert_ptr_nonnull(strstr(err_text(&err, text, sizeof text), "sp=l"));
    remote->sas = sas_list;
    ck_code(gc(false, true, 10, &out, &err), ERR_DENIED, err);
    ck_assert_ptr_nonnull(strstr(err_text(&err, text, sizeof text), "sp=d"));
    ck_assert_uint_eq(acts, 0); /* no receipt went before the right was proven */
    ck_assert_uint_eq(counts_of(remote_name).done, FRAMES);
}
END_TEST

START_TEST(objects_go_by_name_with_what_belongs_to_them) {
    struct sync_fsck checked;
    struct err err = {0};
    uploaded(_i);
    struct store_receipt receipt = receipt_of(3);
    char sidecar[STORE_KEY_MAX + 1];
    const char *keys[] = {receipt.key, "frames/tier=annotated/device=edge-1/date=2020-01-01/x.jpg"};
    snprintf(sidecar, sizeof sidecar, "sidecars%.*s.json",
             (int)(strrchr(receipt.key, '.') - receipt.key - 6), receipt.key + 6);
    if (kinds[_i] == SYNC_DIRECTORY) {
        char path[2048];
        snprintf(path, sizeof path, "%s/%s/%s", f.config.remotes[0].path,
                 f.config.remotes[0].prefix, sidecar);
        *strrchr(path, '/') = '\0';
        ck_assert_int_eq(fs_mkdirs(path, NULL), 0);
    }
    tamper("PUT", receipt.tier, sidecar, 20);
    ck_code(sync_objects_remove(&f.config.remotes[0], receipt.tier, keys, 2, &err), 0, err);
    ck_code(fsck(false, false, &checked, &err), 0, err);
    ck_assert_uint_eq(found_count, 1);
    ck_assert_str_eq(finding_of(SYNC_FOUND_MISSING)->key, receipt.key);
    struct asker *asker = NULL;
    struct listing *listing = NULL;
    struct listed listed;
    ck_code(sync__asker_open(&f.config.remotes[0], &asker, &err), 0, err);
    ck_code(sync__listing_open(asker, receipt.tier, "sidecars/", &listing, &err), 0, err);
    ck_code(sync__listing_next(listing, &listed, &err), ERR_NOT_FOUND, err);
    sync__listing_close(listing);
    sync__asker_close(asker);
}
END_TEST

/* ---- the bucket's rules ---- */

static int rules_of[SYNC_RULE_DROPPED + 1];
static char rule_lines[4][400];
static size_t rule_count;

static void on_rule(void *ctx, enum sync_rule rule, const char *id, const char *before,
                    const char *after) {
    (void)ctx;
    ck_assert_uint_lt(rule_count, ARRAY_LENGTH(rule_lines));
    rules_of[rule]++;
    snprintf(rule_lines[rule_count++], sizeof rule_lines[0], "%s|%s|%s", id, before ? before : "",
             after ? after : "");
}

static bool rules_differ(bool apply) {
    struct sync_lifecycle *lifecycle = NULL;
    struct err err = {0};
    memset(rules_of, 0, sizeof rules_of);
    rule_count = 0;
    ck_code(sync_lifecycle_open(&f.config.remotes[0], &lifecycle, &err), 0, err);
    bool differs = sync_lifecycle_each(lifecycle, on_rule, NULL);
    if (apply) {
        ck_code(sync_lifecycle_apply(lifecycle, &err), 0, err);
    }
    sync_lifecycle_close(lifecycle);
    return differs;
}

static void bucket_ask(const char *method, const char *body, char *out, size_t room) {
    struct asker *asker = NULL;
    struct http_reply reply;
    struct err err = {0};
    uint8_t md5[HASH_MD5_SIZE];
    char md5_text[HASH_BASE64_SIZE(HASH_MD5_SIZE)];
    struct remote_ask ask = {.method = method,
                             .body = body,
                             .body_size = body != NULL ? strlen(body) : 0,
                             .doing = "asking"};
    sync__ask_query(&ask, "lifecycle", "");
    if (body != NULL) {
        hash_md5(body, strlen(body), md5);
        sync__ask_header(&ask, "content-md5", hash_base64(md5, sizeof md5, md5_text));
        sync__ask_header(&ask, "content-type", "application/xml");
    }
    ck_code(sync__asker_open(&f.config.remotes[0], &asker, &err), 0, err);
    ck_code(sync__asker_call(asker, &ask, &reply, &err), 0, err);
    snprintf(out, room, "%s", reply.body.len > 0 ? reply.body.data : "");
    sync__reply_finish(&reply);
    sync__asker_close(asker);
}

START_TEST(rules_are_merged_and_foreign_ones_stay) {
    static const char foreign[] =
        "<LifecycleConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
        "<Rule><ID>logs &amp; more</ID><Filter><And><Prefix>logs/</Prefix><Tag><Key>a</Key>"
        "<Value>b</Value></Tag></And></Filter><Status>Enabled</Status>"
        "<Expiration><Days>3650</Days></Expiration></Rule>"
        "<Rule><ID>creel-annotated</ID><Filter><Prefix>other/frames/</Prefix></Filter>"
        "<Status>Disabled</Status><Expiration><Days>7</Days></Expiration></Rule>"
        "</LifecycleConfiguration>";
    char text[8192];
    uploaded(2);
    struct sync_remote_config *remote = &f.config.remotes[0];
    ck_assert(!rules_differ(false)); /* no rules there, none wanted */
    ck_assert_uint_eq(rule_count, 0);
    bucket_ask("PUT", foreign, text, sizeof text);
    ck_assert(!rules_differ(false));
    ck_assert_int_eq(rules_of[SYNC_RULE_FOREIGN], 2); /* "creel-annotated" is another prefix's */
    remote->ttl_ms[TIER_ANNOTATED] = DAYS(90) * 1000;
    remote->ttl_ms[TIER_UNANNOTATED] = DAYS(1) * 1000 + 1; /* a day begun counts */
    ck_assert(rules_differ(true));
    ck_assert_int_eq(rules_of[SYNC_RULE_NEW], 2);
    ck_assert(!rules_differ(false));
    ck_assert_int_eq(rules_of[SYNC_RULE_SAME], 2);
    ck_assert_int_eq(rules_of[SYNC_RULE_FOREIGN], 2);
    bucket_ask("GET", NULL, text, sizeof text);
    ck_assert_ptr_nonnull(strstr(text, "logs &amp; more"));
    ck_assert_ptr_nonnull(strstr(text, "<Days>3650</Days>"));
    ck_assert_ptr_nonnull(strstr(text, "<Days>90</Days>"));
    ck_assert_ptr_nonnull(strstr(text, "<Days>2</Days>"));
    remote->ttl_ms[TIER_ANNOTATED] = DAYS(30) * 1000;
    remote->ttl_ms[TIER_UNANNOTATED] = 0;
    ck_assert(rules_differ(true));
    ck_assert_int_eq(rules_of[SYNC_RULE_CHANGED], 1);
    ck_assert_int_eq(rules_of[SYNC_RULE_DROPPED], 1);
    ck_assert(!rules_differ(false));
    remote->ttl_ms[TIER_ANNOTATED] = 0;
    ck_assert(rules_differ(true));
    ck_assert(!rules_differ(false));
    ck_assert_int_eq(rules_of[SYNC_RULE_FOREIGN], 2);
    ck_assert_uint_eq(rule_count, 2);
    bucket_ask("DELETE", NULL, text, sizeof text);
    remote->ttl_ms[TIER_ANNOTATED] = DAYS(30) * 1000;
    ck_assert(rules_differ(true));
    remote->ttl_ms[TIER_ANNOTATED] = 0;
    ck_assert(rules_differ(true)); /* the last rule: an empty document would be refused */
    ck_assert(!rules_differ(false));
}
END_TEST

START_TEST(rules_of_the_other_kinds_are_not_ours_to_set) {
    struct sync_lifecycle *lifecycle = NULL;
    struct err err = {0};
    char *json = NULL;
    struct sync_remote_config *disk = remote_add(SYNC_DIRECTORY), *azure = remote_add(SYNC_AZURE);
    ck_code(sync_lifecycle_open(disk, &lifecycle, &err), ERR_REFUSED, err);
    ck_code(sync_lifecycle_open(azure, &lifecycle, &err), ERR_REFUSED, err);
    ck_code(sync_lifecycle_policy(azure, &json, &err), ERR_NOT_FOUND, err);
    azure->ttl_ms[TIER_UNANNOTATED] = DAYS(90) * 1000;
    ck_code(sync_lifecycle_policy(azure, &json, &err), 0, err);
    ck_assert_ptr_nonnull(strstr(json, "\"daysAfterModificationGreaterThan\": 90"));
    ck_assert_ptr_nonnull(strstr(json, "unannotated/t-"));
    ck_assert_ptr_nonnull(strstr(json, "/frames/tier=unannotated/"));
    ck_assert_ptr_null(strstr(json, "tier=annotated"));
    free(json);
}
END_TEST

START_TEST(names_are_read_as_they_are_written) {
    static const char *const wrong[] = {
        "frames/tier=annotated/device=d/date=2026-11-20/abc.jpg",
        "frames/tier=annotated/device=d/date=2026-11-31/%s.jpg",
        "frames/tier=annotated/device=d/date=2026-11-20/%s.gif",
        "frames/tier=annotated/device=d/date=2026-11-20/x/%s.jpg",
        "frames/tier=annotated/device=e/date=2026-11-20/%s.jpg",
        "frames/tier=other/device=d/date=2026-11-20/%s.jpg",
        "frames/tier=annotated/device=d/date=2026-11-20/%s.jpgx",
        "frames/tier=annotated/device=d/date=2026-11-20/%sA.jpg",
        "x/frames/tier=annotated/device=d/date=2026-11-20/%s.jpg",
    };
    static const char *const right[] = {
        "frames/tier=annotated/device=d/date=2026-11-20/%s.jpg",
        "frames/tier=unannotated/device=d/date=1970-01-01/%s.png",
        "sidecars/tier=unannotated/device=d/date=2024-02-29/%s.json",
        "overlays/tier=annotated/device=d/date=2026-11-20/%s.jpg",
    };
    char hex[65], key[STORE_KEY_MAX + 1], again[STORE_KEY_MAX + 1];
    struct cloud_entry entry;
    memset(hex, 'b', 64);
    hex[64] = '\0';
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    for (size_t i = 0; i < ARRAY_LENGTH(wrong); i++) {
        snprintf(key, sizeof key, wrong[i], hex);
        ck_assert_msg(!sync__cloud_parse("d", key, &entry), "%s", key);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(right); i++) {
        snprintf(key, sizeof key, right[i], hex);
        ck_assert_msg(sync__cloud_parse("d", key, &entry), "%s", key);
        sync__cloud_format("d", &entry, again);
        ck_assert_str_eq(again, key);
    }
#pragma GCC diagnostic pop
}
END_TEST

static Suite *suite(void) {
    const int each = (int)ARRAY_LENGTH(kinds);
    Suite *all = suite_create("sync: cloud");
    TCase *tests = tcase_create("fsck");
    tcase_set_timeout(tests, 120);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, what_was_uploaded_is_found_as_it_is, 0, each);
    tcase_add_loop_test(tests, what_differs_is_told_and_what_is_missing_goes_again, 0, each);
    tcase_add_loop_test(tests, same_size_and_other_bytes_are_found, 0, each);
    tcase_add_loop_test(tests, too_much_missing_waits_for_force, 0, each);
    tcase_add_loop_test(tests, what_is_neither_there_nor_here_is_lost, 0, each);
    tcase_add_loop_test(tests, a_frame_that_waits_is_not_missing, 0, each);
    tcase_add_loop_test(tests, another_device_is_left_alone, 0, each);
    tcase_add_test(tests, names_are_read_as_they_are_written);
    tcase_add_loop_test(tests, what_outlives_its_ttl_goes_and_pinned_frames_stay, 0, each);
    tcase_add_loop_test(tests, more_than_a_quarter_waits_for_force, 0, each);
    tcase_add_loop_test(tests, an_old_name_that_was_written_today_has_its_time, 0, each);
    tcase_add_test(tests, rules_are_merged_and_foreign_ones_stay);
    tcase_add_test(tests, rules_of_the_other_kinds_are_not_ours_to_set);
    tcase_add_test(tests, without_the_right_nothing_changes_and_it_is_named);
    tcase_add_loop_test(tests, objects_go_by_name_with_what_belongs_to_them, 0, each);
    suite_add_tcase(all, tests);
    return all;
}

int main(void) {
    return case_servers_run(suite);
}
