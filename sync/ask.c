/* ask: see ask.h.
 *
 *   waiting --start--> running --2xx--> over
 *      ^                  |  \--denied, refused, attempts used up--> the call fails
 *      \--busy, network---/
 * Invariants:
 *   1. A request starts only with a credential; while one is fetched, nothing else starts.
 *   2. Every attempt is signed anew, by the server's clock once that had to be adopted.
 *   3. What a person must mend ends the call at once and names the right that is missing.
 */
#include "sync/ask.h"
#include "daemon/base/clock.h"
#include "daemon/base/mem.h"
#include "sync/engine.h"
#include <stdlib.h>
#include <string.h>

#define ASK_BACKOFF_MS 500

/* ---- a request ---- */

void sync__ask_query(struct remote_ask *ask, const char *name, const char *value) {
    if (ask->query_count < ASK_QUERY_MAX) {
        ask->query[ask->query_count++] = (struct sign_field){name, value};
    }
}

void sync__ask_header(struct remote_ask *ask, const char *name, const char *value) {
    if (ask->header_count < ASK_HEADERS_MAX) {
        ask->headers[ask->header_count++] = (struct sign_field){name, value};
    }
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct sign_field *)a)->name, ((const struct sign_field *)b)->name);
}

void sync__ask_query_sort(struct remote_ask *ask) {
    qsort(ask->query, ask->query_count, sizeof ask->query[0], by_name);
}

/* ---- life ---- */

int sync__asker_open(const struct sync_remote_config *config, struct asker **out, struct err *err) {
    struct asker *asker = mem_alloc(sizeof *asker);
    if (asker == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for a remote");
    }
    const struct http_limits limits = {.transfers = ASK_WINDOW + 1};
    int code = sync__remote_open(config, &asker->remote, err);
    if (code == 0 && asker->remote->ops->ask != NULL) {
        code = sync__http_create(&limits, &asker->http, err);
    }
    if (code != 0) {
        sync__asker_close(asker);
        return code;
    }
    *out = asker;
    return 0;
}

void sync__asker_close(struct asker *asker) {
    if (asker != NULL) {
        sync__http_destroy(asker->http);
        sync__remote_close(asker->remote);
        free(asker);
    }
}

/* ---- the credential ---- */

struct run {
    struct asker *asker;
    struct remote_ask *asks;
    size_t count, over, running;
    asker_done_fn *done;
    void *ctx;
    unsigned credential_failures;
    int64_t credential_at_us;
};

static int64_t pause_us(unsigned attempts, int retry_after_ms) {
    int64_t wait_ms = sync__backoff_ms(ASK_BACKOFF_MS, ASK_WAIT_MS, attempts, sync__random());
    wait_ms = retry_after_ms > wait_ms ? retry_after_ms : wait_ms;
    return (wait_ms < ASK_WAIT_MS ? wait_ms : ASK_WAIT_MS) * 1000;
}

static int credential_step(struct run *run, enum credential_verdict verdict,
                           struct http_request *request, struct err *err) {
    struct credential *credential = run->asker->remote->credential;
    credential->asking = verdict == CREDENTIAL_AGAIN;
    if (verdict == CREDENTIAL_AGAIN) {
        return sync__http_start(run->asker->http, request, NULL, err);
    }
    if (verdict == CREDENTIAL_READY) {
        run->credential_failures = 0;
        return 0;
    }
    run->credential_failures++;
    run->credential_at_us =
        clock_boot_us() + pause_us(run->credential_failures, err->retry_after_ms);
    bool usable = sync__credential_get(credential, clock_boot_us()) != NULL;
    if (usable || (verdict == CREDENTIAL_RETRY && run->credential_failures < ASK_ATTEMPTS_MAX)) {
        return 0;
    }
    err_wrap(err, "remote %s", run->asker->remote->name);
    return err->code;
}

/* True in *ready: requests can be signed. */
static int credential_ready(struct run *run, bool *ready, struct err *err) {
    struct credential *credential = run->asker->remote->credential;
    int64_t now_us = clock_boot_us();
    int code = 0;
    *ready = true;
    if (credential == NULL) {
        return 0;
    }
    if (sync__credential_due(credential, now_us) && now_us >= run->credential_at_us) {
        struct http_request request = {0};
        code =
            credential_step(run, sync__credential_begin(credential, &request, err), &request, err);
    }
    *ready = code == 0 && sync__credential_get(credential, clock_boot_us()) != NULL;
    return code;
}

static int credential_reply(struct run *run, const struct http_reply *reply, struct err *err) {
    struct http_request request = {0};
    enum credential_verdict verdict =
        sync__credential_judge(run->asker->remote->credential, reply, &request, err);
    return credential_step(run, verdict, &request, err);
}

/* ---- requests ---- */

static int start(struct run *run, struct remote_ask *ask, struct err *err) {
    struct remote *remote = run->asker->remote;
    struct http_request request = {0};
    ask->object = (struct remote_object){.tier = ask->tier,
                                         .key = ask->key != NULL ? ask->key : remote->where};
    ask->put.object = &ask->object;
    int code = remote->ops->ask(remote, ask, clock_utc_us(), &request, err);
    request.proxy = remote->proxy;
    code = code != 0 ? code : sync__http_start(run->asker->http, &request, ask, err);
    if (code == 0) {
        ask->running = true;
        run->running++;
        run->asker->requests++;
    }
    return code;
}

static int start_all(struct run *run, int64_t *next_us, struct err *err) {
    int64_t now_us = clock_boot_us();
    int code = 0;
    for (size_t i = 0; code == 0 && i < run->count && run->running < ASK_WINDOW; i++) {
        struct remote_ask *ask = &run->asks[i];
        if (ask->over || ask->running) {
            continue;
        }
        if (ask->start_us <= now_us) {
            code = start(run, ask, err);
        } else if (ask->start_us < *next_us) {
            *next_us = ask->start_us;
        }
    }
    return code;
}

static bool is_good(const struct remote_ask *ask, const struct http_reply *reply) {
    bool absent = reply->status == 404 && ask->absent_ok && ask->key != NULL &&
                  strcmp(reply->error_code, "ContainerNotFound") != 0 &&
                  strcmp(reply->error_code, "NoSuchBucket") != 0;
    return (reply->status >= 200 && reply->status < 300) || absent;
}

/* "You may not", and not "who are you?": the hint of a PUT would name the wrong right. */
static bool says_forbidden(const struct http_reply *reply) {
    static const char *const codes[] = {"AuthorizationPermissionMismatch", "AccessDenied",
                                        "AuthorizationResourceTypeMismatch",
                                        "InsufficientAccountPermissions", "Forbidden"};
    bool found = reply->status == 403 && reply->error_code[0] == '\0';
    for (size_t i = 0; i < ARRAY_LENGTH(codes); i++) {
        found = found || strcmp(reply->error_code, codes[i]) == 0;
    }
    return found;
}

static int refused(const struct remote *remote, const struct remote_ask *ask,
                   const struct http_reply *reply, struct err *err) {
    if (says_forbidden(reply) && ask->right != NULL) {
        err_set(err, ERR_DENIED, "the credential may not do this: %s needs %s (answered %d %s)",
                ask->doing, ask->right, reply->status, reply->error_code);
        err_wrap(err, "remote %s", remote->name);
    }
    return err->code;
}

static int settle(struct run *run, struct remote_ask *ask, const struct http_reply *reply,
                  struct err *err) {
    struct remote *remote = run->asker->remote;
    ask->running = false;
    run->running--;
    if (is_good(ask, reply)) {
        ask->over = true;
        run->over++;
        return run->done != NULL ? run->done(run->ctx, ask, reply, err) : 0;
    }
    enum remote_verdict verdict = remote->ops->judge_ask(remote, ask, reply, err);
    if (verdict == REMOTE_AGAIN && ++ask->put.steps < REMOTE_STEPS_MAX) {
        return 0;
    }
    if (verdict == REMOTE_RETRY && ++ask->attempts < ASK_ATTEMPTS_MAX) {
        ask->start_us = clock_boot_us() + pause_us(ask->attempts, err->retry_after_ms);
        return 0;
    }
    return refused(remote, ask, reply, err);
}

static int take_done(struct run *run, struct err *err) {
    struct http_done done;
    int code = 0;
    while (code == 0 && sync__http_next_done(run->asker->http, &done)) {
        code = done.ctx == NULL ? credential_reply(run, &done.reply, err)
                                : settle(run, done.ctx, &done.reply, err);
        sync__reply_finish(&done.reply);
    }
    return code;
}

static void abandon(struct run *run) {
    struct http_done done;
    sync__http_cancel_all(run->asker->http);
    while (sync__http_next_done(run->asker->http, &done)) {
        sync__reply_finish(&done.reply);
    }
    if (run->asker->remote->credential != NULL) {
        run->asker->remote->credential->asking = false;
    }
}

int sync__asker_each(struct asker *asker, struct remote_ask *asks, size_t count,
                     asker_done_fn *done, void *ctx, struct err *err) {
    struct run run = {.asker = asker, .asks = asks, .count = count, .done = done, .ctx = ctx};
    struct err own = {0};
    int code = 0;
    err = err != NULL ? err : &own;
    while (code == 0 && run.over < count) {
        int64_t next_us = clock_boot_us() + ASK_WAIT_MS * INT64_C(1000);
        bool ready = false;
        code = credential_ready(&run, &ready, err);
        if (code == 0 && ready) {
            code = start_all(&run, &next_us, err);
        } else if (run.credential_at_us > clock_boot_us() && run.credential_at_us < next_us) {
            next_us = run.credential_at_us;
        }
        int64_t wait_us = next_us - clock_boot_us();
        code = code != 0 ? code
                         : sync__http_wait(asker->http, NULL, 0,
                                           wait_us > 0 ? (int)(wait_us / 1000 + 1) : 0, err);
        code = code != 0 ? code : take_done(&run, err);
    }
    if (code != 0) {
        abandon(&run);
    }
    return code;
}

static int keep_reply(void *ctx, struct remote_ask *ask, const struct http_reply *reply,
                      struct err *err) {
    struct http_reply *kept = ctx;
    (void)ask;
    *kept = *reply;
    kept->body = (struct buf)BUF_INIT(reply->body.max);
    buf_append(&kept->body, reply->body.data != NULL ? reply->body.data : "", reply->body.len);
    return kept->body.failed ? err_set(err, ERR_NOMEM, "no memory for a reply") : 0;
}

int sync__asker_call(struct asker *asker, struct remote_ask *ask, struct http_reply *out,
                     struct err *err) {
    struct http_reply reply = {0};
    int code = sync__asker_each(asker, ask, 1, keep_reply, &reply, err);
    if (code != 0) {
        sync__reply_finish(&reply);
        return code;
    }
    *out = reply;
    return 0;
}
