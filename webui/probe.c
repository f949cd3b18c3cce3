/* probe: what machines ask: is it alive, is it ready, how is it doing. */
#include "daemon/base/mem.h"
#include "webui/pages.h"
#include "webui/state.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_TYPE    "text/plain; charset=utf-8"
#define METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* 0, or the reply is made. */
static int health(struct webui__request *request, bool ready) {
    const struct webui_hooks *hooks = &request->webui->hooks;
    struct err err = {0};
    char text[2 * ERR_TEXT_MAX];
    int code = hooks->health ? hooks->health(hooks->ctx, ready, &err) : 0;
    if (code) {
        webui__reply_problem(request, MHD_HTTP_SERVICE_UNAVAILABLE, "%s",
                             err_text(&err, text, sizeof(text)));
    }
    return code;
}

/* Alive: the daemon's own loop goes round. It touches neither disk nor store: what they have is no
 * reason to be restarted. */
void webui__on_healthz(struct webui__request *request) {
    if (health(request, false)) {
        return;
    }
    webui__reply_static(request, MHD_HTTP_OK, TEXT_TYPE, "ok\n", 3);
}

/* Ready: frames are looked at, and the store answers. */
void webui__on_readyz(struct webui__request *request) {
    struct err err = {0};
    struct store_counts counts;
    if (webui__counts_read(request->webui, &counts, &err) != 0) {
        webui__reply_problem(request, MHD_HTTP_SERVICE_UNAVAILABLE, "the store does not answer: %s",
                             err.msg);
        return;
    }
    if (health(request, true)) {
        return;
    }
    webui__reply_static(request, MHD_HTTP_OK, TEXT_TYPE, "ready\n", 6);
}

/* ---- metrics (Prometheus text format 0.0.4) ---- */

struct metrics {
    struct buf *out;
    const char *others; /* what the rest of creel says of itself: no family may come twice */
    bool skip;
};

static void family(struct metrics *metrics, const char *name, const char *type, const char *help) {
    char mark[128];
    snprintf(mark, sizeof(mark), "# TYPE %s ", name);
    metrics->skip = metrics->others && strstr(metrics->others, mark);
    if (!metrics->skip) {
        buf_printf(metrics->out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
    }
}

static void sample(struct metrics *metrics, const char *name, const char *label, const char *value,
                   uint64_t number) {
    if (metrics->skip) {
        return;
    }
    if (label) { /* camera, tier and remote names need no escaping */
        buf_printf(metrics->out, "%s{%s=\"%s\"} %" PRIu64 "\n", name, label, value, number);
    } else {
        buf_printf(metrics->out, "%s %" PRIu64 "\n", name, number);
    }
}

static void plain(struct metrics *metrics, const char *name, const char *type, const char *help,
                  uint64_t number) {
    family(metrics, name, type, help);
    sample(metrics, name, NULL, NULL, number);
}

static void by_tier(struct metrics *metrics, const char *name, const char *help,
                    const uint64_t numbers[TIER_COUNT]) {
    family(metrics, name, "gauge", help);
    for (size_t i = 0; i < TIER_COUNT; i++) {
        sample(metrics, name, "tier", webui__tier_name((enum frame_tier)i), numbers[i]);
    }
}

static void store_metrics(struct metrics *metrics, struct webui *webui) {
    struct store_counts counts = {0};
    struct store_stats stats = {0};
    if (webui__counts_read(webui, &counts, NULL) == 0) {
        by_tier(metrics, "creel_store_frames", "Frames in the index.", counts.frames);
        by_tier(metrics, "creel_store_blob_bytes", "Bytes of frames on this device.",
                counts.blob_bytes);
        by_tier(metrics, "creel_store_replicated_frames",
                "Frames that every required remote has confirmed.", counts.replicated);
        by_tier(metrics, "creel_store_evicted_frames", "Frames whose blob was removed.",
                counts.evicted);
        plain(metrics, "creel_store_disk_bytes", "gauge", "What the quota counts.",
              counts.disk_bytes);
        plain(metrics, "creel_store_quota_bytes", "gauge", "The quota, 0 for none.",
              counts.quota_bytes);
        family(metrics, "creel_sync_pending_objects", "gauge", "Blobs that wait for the remote.");
        for (size_t i = 0; i < counts.remote_count; i++) {
            sample(metrics, "creel_sync_pending_objects", "remote", counts.remotes[i].name,
                   counts.remotes[i].pending);
        }
        family(metrics, "creel_sync_quarantined_objects", "gauge", "Blobs that were set aside.");
        for (size_t i = 0; i < counts.remote_count; i++) {
            sample(metrics, "creel_sync_quarantined_objects", "remote", counts.remotes[i].name,
                   counts.remotes[i].quarantined);
        }
    }
    store_stats_get(webui->store, &stats);
    plain(metrics, "creel_store_puts_total", "counter", "Frames handed to the store.", stats.puts);
    plain(metrics, "creel_store_acked_total", "counter", "Frames made durable.", stats.acked);
    plain(metrics, "creel_store_failed_total", "counter", "Frames the store could not keep.",
          stats.failed);
    plain(metrics, "creel_store_syncs_total", "counter", "Calls of fdatasync.", stats.syncs);
    plain(metrics, "creel_store_written_bytes_total", "counter", "Bytes appended.",
          stats.bytes_written);
    plain(metrics, "creel_store_index_lag_frames", "gauge", "Durable frames not yet in the index.",
          stats.index_lag);
}

static void by_server(struct metrics *metrics, const char *name, const char *type, const char *help,
                      uint64_t web, uint64_t ingest) {
    family(metrics, name, type, help);
    sample(metrics, name, "server", "web", web);
    sample(metrics, name, "server", "ingest", ingest);
}

static void own_metrics(struct metrics *metrics, struct webui *webui) {
    struct webui__server *web = &webui->web, *ingest = &webui->ingest;
    struct webui__score_counts *scored = &webui->scored;
    by_server(metrics, "creel_http_requests_total", "counter", "Requests begun.",
              atomic_load(&web->requests), atomic_load(&ingest->requests));
    by_server(metrics, "creel_http_refused_total", "counter", "Answers of 400 and above.",
              atomic_load(&web->refused), atomic_load(&ingest->refused));
    by_server(metrics, "creel_http_cut_total", "counter", "Connections ended for being slow.",
              atomic_load(&web->watches.cut), atomic_load(&ingest->watches.cut));
    by_server(metrics, "creel_http_pushed_out_total", "counter",
              "Silent connections ended to make room for others.",
              atomic_load(&web->watches.pushed_out), atomic_load(&ingest->watches.pushed_out));
    by_server(metrics, "creel_http_active", "gauge", "Requests under way.",
              atomic_load(&web->active), atomic_load(&ingest->active));
    pthread_mutex_lock(&webui->viewers.lock);
    size_t viewers = webui->viewers.count;
    pthread_mutex_unlock(&webui->viewers.lock);
    plain(metrics, "creel_live_viewers", "gauge", "Streams of the live view that are open.",
          viewers);
    plain(metrics, "creel_live_viewers_max", "gauge", "So many may be.", WEBUI__VIEWERS);
    plain(metrics, "creel_score_waiting", "gauge", "Callers that wait for a verdict.",
          atomic_load(&scored->waiting));
    plain(metrics, "creel_score_frames_total", "counter", "Frames pushed to /score.",
          atomic_load(&scored->frames));
    family(metrics, "creel_score_answers_total", "counter", "Answers of /score.");
    sample(metrics, "creel_score_answers_total", "answer", "found", atomic_load(&scored->found));
    sample(metrics, "creel_score_answers_total", "answer", "empty", atomic_load(&scored->empty));
    sample(metrics, "creel_score_answers_total", "answer", "failed", atomic_load(&scored->failed));
}

void webui__on_metrics(struct webui__request *request) {
    struct webui *webui = request->webui;
    CLEANUP(buf_finish) struct buf text = BUF_INIT(WEBUI__PAGE_MAX);
    CLEANUP(mem_free_at)
    char *others = webui->hooks.metrics ? webui->hooks.metrics(webui->hooks.ctx) : NULL;
    struct metrics metrics = {.out = &text, .others = others};
    buf_puts(&text, others ? others : "");
    if (text.len && text.data[text.len - 1] != '\n') {
        buf_puts(&text, "\n");
    }
    store_metrics(&metrics, webui);
    own_metrics(&metrics, webui);
    webui__reply_text(request, MHD_HTTP_OK, METRICS_TYPE, &text);
}
