/* account: see account.h. What a person looks for comes first and has a name of its own; what the
 * document says beyond that is shown as it comes, so that nothing is hidden that a newer daemon
 * tells.
 */
#include "webui/account.h"
#include "daemon/base/mem.h"
#include "webui/chart.h"
#include "webui/html.h"
#include "webui/json.h"
#include "webui/state.h"
#include <string.h>

struct fact {
    const char *key, *title;
    const char *unit; /* NULL, or a key whose ending says how the number is shown */
};

static bool is_part(const json_t *value) {
    return json_is_object(value) || json_is_array(value);
}

static void put_value(struct buf *page, const struct fact *fact, const json_t *value) {
    if (json_is_real(value)) {
        buf_printf(page, "%.1f", json_real_value(value));
    } else {
        webui__html_json(page, fact->unit ? fact->unit : fact->key, value);
    }
}

/* Those that are there, and not an empty text. */
static void put_facts(struct buf *page, const json_t *object, const struct fact *facts) {
    buf_puts(page, "<dl class=\"facts\">");
    for (const struct fact *fact = facts; fact->key; fact++) {
        const json_t *value = json_object_get(object, fact->key);
        const char *text = json_string_value(value);
        if (!value || (text && !text[0])) {
            continue;
        }
        buf_printf(page, "<div><dt>%s</dt><dd>", fact->title);
        put_value(page, fact, value);
        buf_puts(page, "</dd></div>");
    }
    buf_puts(page, "</dl>");
}

static void put_table(struct buf *page, const char *label, const json_t *list,
                      const struct fact *columns) {
    size_t index = 0;
    json_t *row = NULL;
    webui__html_wide_begin(page, label, "");
    buf_puts(page, "<table><thead><tr>");
    for (const struct fact *column = columns; column->key; column++) {
        bool number = json_is_number(json_object_get(json_array_get(list, 0), column->key));
        buf_printf(page, "<th scope=\"col\"%s>%s</th>", number ? " class=\"number\"" : "",
                   column->title);
    }
    buf_puts(page, "</tr></thead><tbody>");
    json_array_foreach(list, index, row) {
        buf_puts(page, "<tr>");
        for (const struct fact *column = columns; column->key; column++) {
            const json_t *value = json_object_get(row, column->key);
            buf_printf(page, "<td%s>", json_is_number(value) ? " class=\"number\"" : "");
            put_value(page, column, value);
            buf_puts(page, "</td>");
        }
        buf_puts(page, "</tr>");
    }
    buf_puts(page, "</tbody></table></div>");
}

static void panel_begin(struct buf *page, bool broad, const char *title) {
    buf_printf(page, "<section class=\"panel%s\"><h2>", broad ? " broad" : "");
    buf_puts_html(page, title);
    buf_puts(page, "</h2>");
}

/* ---- remotes ---- */

/* The first that holds says it. */
static const struct {
    const char *key, *text;
    bool alarming;
} standings[] = {
    {"paused", "Paused by hand", true},
    {"breaker_open", "Held back: it does not answer, and is tried again later", true},
    {"budget_spent", "Today's budget is spent", true},
    {"throttled", "Waits for the bandwidth", false},
};

static void put_standing(struct buf *page, const json_t *remote) {
    for (size_t i = 0; i < ARRAY_LENGTH(standings); i++) {
        if (json_is_true(json_object_get(remote, standings[i].key))) {
            buf_printf(page, "<p class=\"%s\">%s</p>", standings[i].alarming ? "alarm" : "quiet",
                       standings[i].text);
            return;
        }
    }
    bool waits = json_integer_value(json_object_get(remote, "pending")) > 0;
    bool aside = json_integer_value(json_object_get(remote, "quarantined")) > 0;
    buf_printf(page, "<p class=\"quiet\">%s</p>",
               waits   ? "Sending"
               : aside ? "Has all but what was set aside"
                       : "Has all there is");
}

static void put_rate(struct buf *page, const json_t *remote) {
    double bytes = json_number_value(json_object_get(remote, "bytes_per_second"));
    double objects = json_number_value(json_object_get(remote, "objects_per_second"));
    if (bytes >= 1) {
        buf_puts(page, "<p>");
        webui__html_bytes(page, (uint64_t)bytes);
        buf_printf(page, "/s, %.1f objects/s</p>", objects);
    }
}

static void put_remote(struct buf *page, json_t *remote) {
    static const struct fact facts[] = {
        {"pending", "Waiting", NULL},
        {"pending_bytes", "Bytes waiting", NULL},
        {"oldest_pending_seconds", "Oldest waits for", NULL},
        {"eta_seconds", "Done in about", NULL},
        {"done", "Confirmed", NULL},
        {"quarantined", "Set aside", NULL},
        {"failures", "Failed attempts", NULL},
        {"month_cost_estimate", "This month's cost, about", NULL},
        {"where", "Where", NULL},
        {"last_error", "Last error", NULL},
        {NULL, NULL, NULL},
    };
    if (json_integer_value(json_object_get(remote, "eta_seconds")) == 0) {
        json_object_del(remote, "eta_seconds"); /* not known */
    }
    buf_puts(page, "<section class=\"panel remote\"><h2>Remote ");
    buf_puts_html(page, webui__json_text(remote, "name"));
    buf_puts(page, " <small>");
    buf_puts_html(page, webui__json_text(remote, "kind"));
    buf_puts(page, "</small></h2>");
    put_standing(page, remote);
    put_rate(page, remote);
    put_facts(page, remote, facts);
    buf_puts(page, "</section>");
}

static void put_remotes(struct buf *page, const json_t *list) {
    size_t index = 0;
    json_t *remote = NULL;
    json_array_foreach(list, index, remote) {
        put_remote(page, remote);
    }
}

/* ---- inference ---- */

static void put_inference(struct buf *page, const json_t *status) {
    static const struct fact speed[] = {
        {"frames_per_second", "Frames a second", NULL},
        {"queued", "In the queue", NULL},
        {"queue_bound", "Queue's bound", NULL},
        {"frames_seen", "Looked at", NULL},
        {"rejected", "Passed over", NULL},
        {"over_budget", "Over budget", NULL},
        {"dropped", "Dropped: the queue was full", NULL},
        {"bad", "Not an image", NULL},
        {"failed", "Not kept for a fault", NULL},
        {"last_error", "Last error", NULL},
        {NULL, NULL, NULL},
    };
    static const struct fact workers[] = {
        {"program", "Worker", NULL},
        {"pid", "Process", "number"},
        {"frames", "Frames", NULL},
        {"restarts", "Restarts", NULL},
        {"timeouts", "Timeouts", NULL},
        {"bad", "Refused", NULL},
        {NULL, NULL, NULL},
    };
    const json_t *pipeline = json_object_get(status, "pipeline");
    if (!pipeline) {
        return;
    }
    panel_begin(page, false, "Inference");
    put_facts(page, pipeline, speed);
    buf_puts(page, "</section>");
    webui__times_write(page, "Time in the worker", json_object_get(pipeline, "detect"));
    webui__times_write(page, "From capture to verdict", json_object_get(pipeline, "latency"));
    panel_begin(page, true, "Workers");
    put_table(page, "Workers", json_object_get(pipeline, "workers"), workers);
    buf_puts(page, "</section>");
}

static void put_model(struct buf *page, const json_t *model) {
    static const struct fact models[] = {
        {"name", "Name", NULL},         {"version", "Version", NULL},
        {"input_width", "Width", NULL}, {"input_height", "Height", NULL},
        {"classes", "Classes", NULL},   {"change", "Change", NULL},
        {"hash", "Hash", NULL},         {NULL, NULL, NULL},
    };
    if (model) {
        panel_begin(page, false, "Model");
        put_facts(page, model, models);
        buf_puts(page, "</section>");
    }
}

/* ---- cameras, triage, storage ---- */

static void put_list(struct buf *page, const json_t *status, const char *key, const char *title,
                     const struct fact *columns) {
    const json_t *list = json_object_get(status, key);
    if (json_array_size(list)) {
        panel_begin(page, true, title);
        put_table(page, title, list, columns);
        buf_puts(page, "</section>");
    }
}

static const struct fact cameras[] = {
    {"name", "Camera", NULL},
    {"source", "Source", NULL},
    {"frames_per_second", "A second", NULL},
    {"latency_ms", "Latency, ms", NULL},
    {"frames_seen", "Seen", NULL},
    {"kept", "Kept", NULL},
    {"rejected", "Passed over", NULL},
    {"dropped", "Dropped", NULL},
    {"bad", "Not an image", NULL},
    {"last_frame", "Last frame", NULL},
    {"last_error", "Last error", NULL},
    {NULL, NULL, NULL},
};

static const struct fact triage[] = {
    {"camera", "Camera", NULL},
    {"rule", "Rule", NULL},
    {"kept", "Kept", NULL},
    {"over_budget", "Over budget", NULL},
    {"rejected", "Passed over", NULL},
    {NULL, NULL, NULL},
};

static void put_storage(struct buf *page, const json_t *store) {
    static const struct fact facts[] = {
        {"disk_bytes", "Used", NULL},
        {"quota_bytes", "Quota", NULL},
        {"free_bytes", "Free on the disk", NULL},
        {"floor_bytes", "Kept free", NULL},
        {"index_lag", "Not yet in the index", NULL},
        {"failed", "Could not be kept", NULL},
        {"refused_full", "Refused for want of room", NULL},
        {"evicted_frames", "Evicted since the start", NULL},
        {"dir", "Where", NULL},
        {"last_error", "Last error", NULL},
        {NULL, NULL, NULL},
    };
    panel_begin(page, false, "Storage");
    put_facts(page, store, facts);
    buf_puts(page, "</section>");
}

/* ---- all of it ---- */

/* What has no place of its own above. */
static void put_rest(struct buf *page, const json_t *status) {
    static const char *const told[] = {"pipeline", "model", "sync",
                                       "cameras",  "store", "triage_last_hour"};
    json_t *plain = json_object(), *value = NULL;
    const char *key = NULL;
    json_object_foreach((json_t *)status, key, value) {
        bool known = false;
        for (size_t i = 0; i < ARRAY_LENGTH(told); i++) {
            known = known || strcmp(told[i], key) == 0;
        }
        if (!known && is_part(value)) {
            panel_begin(page, json_is_array(value), key);
            webui__html_json(page, key, value);
            buf_puts(page, "</section>");
        } else if (!known) {
            json_object_set(plain, key, value);
        }
    }
    if (json_object_size(plain)) {
        panel_begin(page, false, "creel");
        webui__html_json(page, "creel", plain);
        buf_puts(page, "</section>");
    }
    json_decref(plain);
}

void webui__account_write(struct buf *page, struct webui *webui) {
    json_t *status = webui->hooks.status ? webui->hooks.status(webui->hooks.ctx) : NULL;
    if (!status) {
        return;
    }
    put_remotes(page, json_object_get(status, "sync"));
    put_list(page, status, "cameras", "Cameras", cameras);
    put_inference(page, status);
    put_list(page, status, "triage_last_hour", "What triage decided in the last hour", triage);
    webui__expiry_write(page, webui);
    put_storage(page, json_object_get(status, "store"));
    put_model(page, json_object_get(status, "model"));
    put_rest(page, status);
    json_decref(status);
}
