/* webui: start and stop.
 *
 * Order of stopping: say so (new requests get 503), stop accepting, answer everybody who waits for
 * a verdict with 503, let running replies finish for a while, then end the daemons. Only then may
 * the readers and the struct go: a verdict that comes later finds its ticket closed and touches
 * nothing of ours (ticket.c).
 */
#include "webui/webui.h"
#include "daemon/base/clock.h"
#include "daemon/base/log.h"
#include "daemon/base/mem.h"
#include "webui/paint.h"
#include "webui/policy.h"
#include "webui/state.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BODY_MAX_DEFAULT   (16u << 20)
#define WEB_BODY_MAX       (64u << 10)
#define TIMEOUT_DEFAULT_S  15
#define LINK_TTL_DEFAULT_S 900
#define THRESHOLD_DEFAULT  0.25
#define SWEEP_EVERY_MS     250
#define COUNTS_EVERY_US    INT64_C(5000000)
#define STOP_GRACE_MS      3000
#define STOP_LOOK_MS       5

static void *sweep_main(void *arg) {
    struct webui *webui = arg;
    int64_t counted_us = clock_boot_us();
    pthread_mutex_lock(&webui->sweep_lock);
    while (!webui->sweep_stop) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += SWEEP_EVERY_MS * 1000000L;
        until.tv_sec += until.tv_nsec / 1000000000L;
        until.tv_nsec %= 1000000000L;
        pthread_cond_timedwait(&webui->sweep_wake, &webui->sweep_lock, &until);
        pthread_mutex_unlock(&webui->sweep_lock);
        webui__server_sweep(&webui->web);
        webui__server_sweep(&webui->ingest);
        webui__waiting_sweep(webui, false);
        if (clock_boot_us() - counted_us > COUNTS_EVERY_US) {
            webui__shares_flush(&webui->shares, webui->store);
            counted_us = clock_boot_us();
        }
        webui__viewers_sweep(webui, false);
        pthread_mutex_lock(&webui->sweep_lock);
    }
    pthread_mutex_unlock(&webui->sweep_lock);
    return NULL;
}

static void sweep_finish(struct webui *webui) {
    if (webui->sweeping) {
        pthread_mutex_lock(&webui->sweep_lock);
        webui->sweep_stop = true;
        pthread_cond_signal(&webui->sweep_wake);
        pthread_mutex_unlock(&webui->sweep_lock);
        pthread_join(webui->sweeper, NULL);
        webui->sweeping = false;
    }
}

static int sweep_start(struct webui *webui, struct err *err) {
    int code = pthread_create(&webui->sweeper, NULL, sweep_main, webui);
    if (code != 0) {
        return err_sys(err, code, "cannot start a thread of the web server");
    }
    webui->sweeping = true;
    return 0;
}

static void locks_init(struct webui *webui) {
    pthread_condattr_t attr;
    webui__access_init(&webui->access);
    webui__shares_init(&webui->shares);
    webui__removals_init(&webui->removals);
    pthread_mutex_init(&webui->readers.lock, NULL);
    pthread_mutex_init(&webui->names.lock, NULL);
    pthread_mutex_init(&webui->waiting.lock, NULL);
    pthread_mutex_init(&webui->charts.lock, NULL);
    pthread_mutex_init(&webui->expiry.lock, NULL);
    pthread_mutex_init(&webui->viewers.lock, NULL);
    pthread_mutex_init(&webui->sweep_lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&webui->sweep_wake, &attr);
    pthread_condattr_destroy(&attr);
}

static void destroy(struct webui *webui) {
    webui__readers_finish(webui);
    webui__shares_finish(&webui->shares);
    webui__removals_finish(&webui->removals);
    webui__access_finish(&webui->access);
    pthread_cond_destroy(&webui->sweep_wake);
    pthread_mutex_destroy(&webui->sweep_lock);
    buf_finish(&webui->charts.text);
    buf_finish(&webui->expiry.text);
    pthread_mutex_destroy(&webui->charts.lock);
    pthread_mutex_destroy(&webui->expiry.lock);
    pthread_mutex_destroy(&webui->viewers.lock);
    pthread_mutex_destroy(&webui->waiting.lock);
    free(webui->alerts);
    free(webui->policy);
    pthread_mutex_destroy(&webui->names.lock);
    pthread_mutex_destroy(&webui->readers.lock);
    explicit_bzero(webui->link_key, sizeof(webui->link_key));
    free(webui);
}

static int start_web(struct webui *webui, const struct webui_config *config, int timeout_s,
                     struct err *err) {
    struct webui__server_config server = {
        .name = "web",
        .listen = config->listen,
        .option = "web.password",
        .next_free_port = config->next_free_port,
        .timeout_s = timeout_s,
        .body_max = WEB_BODY_MAX,
        .password = config->password,
        .certificate = config->tls_certificate,
        .key = config->tls_key,
        .people = true,
        .routes = webui__web_routes,
        .route_count = webui__web_route_count,
        .threads = WEBUI__WEB_THREADS,
        .connections = WEBUI__CONNECTIONS,
    };
    return config->listen ? webui__server_start(&webui->web, webui, &server, err) : 0;
}

static int start_ingest(struct webui *webui, const struct webui_config *config, int timeout_s,
                        struct err *err) {
    struct webui__server_config server = {
        .name = "ingest",
        .listen = config->ingest_listen,
        .option = "ingest.token",
        .next_free_port = config->next_free_port,
        .timeout_s = timeout_s,
        .body_max = config->body_max_bytes ? config->body_max_bytes : BODY_MAX_DEFAULT,
        .body_option = " (ingest.body_max raises that)",
        .token = config->ingest_token,
        .certificate = config->ingest_tls_certificate,
        .key = config->ingest_tls_key,
        .routes = webui__ingest_routes,
        .route_count = webui__ingest_route_count,
        .threads = WEBUI__INGEST_THREADS,
        .connections = WEBUI__CONNECTIONS,
    };
    if (!config->ingest_listen) {
        return 0;
    }
    int code = webui__server_start(&webui->ingest, webui, &server, err);
    if (code == 0) {
        snprintf(webui->ingest_shown, sizeof(webui->ingest_shown), "%s:%u", webui->ingest.gate.host,
                 (unsigned)webui->ingest.port);
    }
    return code;
}

int webui_start(const struct webui_config *config, struct store *store,
                const struct webui_hooks *hooks, struct webui **out, struct err *err) {
    if (config->body_max_bytes > FRAME_BLOB_MAX) {
        return err_set(err, ERR_CONFIG, "a pushed frame may have at most %u bytes", FRAME_BLOB_MAX);
    }
    struct webui *webui = mem_alloc(sizeof(*webui));
    if (!webui) {
        return err_set(err, ERR_NOMEM, "out of memory for the web server");
    }
    locks_init(webui);
    webui->store = store;
    webui->hooks = *hooks;
    memcpy(webui->link_key, config->link_key, sizeof(webui->link_key));
    webui->link_ttl_s = config->link_ttl_s > 0 ? config->link_ttl_s : LINK_TTL_DEFAULT_S;
    webui->score_threshold =
        config->score_threshold > 0 ? config->score_threshold : THRESHOLD_DEFAULT;
    webui->alerts = mem_strdup(config->alerts ? config->alerts : "");
    if (!webui->alerts) {
        destroy(webui);
        return err_set(err, ERR_NOMEM, "out of memory for the web server");
    }
    int timeout_s = config->request_timeout_s > 0 ? config->request_timeout_s : TIMEOUT_DEFAULT_S;

    /* The ingest first: the gallery shows its address. */
    int code = webui__policy_make(config->image_origins, &webui->policy, err);
    code = code ? code : webui__access_load(&webui->access, store, err);
    code = code ? code : webui__shares_load(&webui->shares, store, err);
    code = code ? code : webui__aside_start(webui, err);
    code = code ? code : start_ingest(webui, config, timeout_s, err);
    code = code ? code : start_web(webui, config, timeout_s, err);
    code = code ? code : sweep_start(webui, err);
    code = code || !webui->hooks.draw ? code : webui__paint_start(webui, err);
    code = code || !webui->hooks.remove_everywhere ? code : webui__removals_start(webui, err);
    if (code) {
        webui_stop(webui);
        return code;
    }
    *out = webui;
    return 0;
}

/* Running replies get a moment; whoever reads slower than that is cut off. */
static void wait_for_replies(struct webui *webui) {
    int64_t end = clock_boot_us() + STOP_GRACE_MS * 1000;
    while (atomic_load(&webui->web.active) + atomic_load(&webui->ingest.active) > 0 &&
           clock_boot_us() < end) {
        clock_sleep_ms(STOP_LOOK_MS);
    }
}

void webui_stop(struct webui *webui) {
    if (!webui) {
        return;
    }
    atomic_store(&webui->closing, true);
    webui__server_quiesce(&webui->web);
    webui__server_quiesce(&webui->ingest);
    webui__waiting_sweep(webui, true);
    webui__viewers_sweep(webui, true);
    webui__aside_stop(webui);
    wait_for_replies(webui);
    sweep_finish(webui);
    webui__server_stop(&webui->web);
    webui__server_stop(&webui->ingest);
    webui__paint_stop(webui);
    webui__removals_stop(webui);
    webui__shares_flush(&webui->shares, webui->store);
    destroy(webui);
}

int webui_certificates_reload(struct webui *webui, struct err *err) {
    struct webui__server *const servers[] = {&webui->web, &webui->ingest};
    int worst = 0;
    for (size_t i = 0; i < ARRAY_LENGTH(servers); i++) {
        struct err fault = {0};
        bool changed = false;
        int code = webui__server_renew(servers[i], &changed, &fault);
        if (changed) {
            log_info("certificate read again", "server=%s", servers[i]->name);
        }
        if (code && !worst) {
            worst = code;
            *err = fault;
        }
    }
    return worst;
}

void webui_ports(const struct webui *webui, uint16_t *web, uint16_t *ingest) {
    *web = webui->web.port;
    *ingest = webui->ingest.port;
}
