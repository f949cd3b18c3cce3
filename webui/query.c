#include "webui/query.h"
#include "daemon/base/clock.h"
#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include "webui/form.h"
#include "webui/text.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *const sync_names[] = {"", "pending", "done", "quarantined"};

const char *webui__sync_filter_name(enum store_sync_filter sync) {
    return (size_t)sync < ARRAY_LENGTH(sync_names) ? sync_names[sync] : "";
}

static const char *const label_states[STORE_LABEL_STATES] = {
    [STORE_LABEL_NONE] = "none",         [STORE_LABEL_ACCEPTED] = "accepted",
    [STORE_LABEL_REJECTED] = "rejected", [STORE_LABEL_WRONG_CLASS] = "wrong-class",
    [STORE_LABEL_MISSED] = "missed",     [STORE_LABEL_WANTED] = "wanted",
};

const char *webui__label_state_name(enum store_label_state state) {
    return (size_t)state < STORE_LABEL_STATES ? label_states[state] : label_states[0];
}

bool webui__label_state_parse(const char *text, enum store_label_state *out) {
    for (size_t i = 0; i < STORE_LABEL_STATES; i++) {
        if (strcmp(text, label_states[i]) == 0) {
            *out = (enum store_label_state)i;
            return true;
        }
    }
    return false;
}

void webui__cursor_write(struct buf *out, const struct store_cursor *cursor) {
    buf_printf(out, "%" PRId64 "-%" PRIu64, cursor->utc_us, cursor->seq);
}

bool webui__cursor_parse(const char *text, struct store_cursor *out) {
    char utc[24];
    int64_t seq = 0;
    size_t size = strcspn(text, "-");
    if (text[size] != '-' || size >= sizeof(utc)) {
        return false;
    }
    memcpy(utc, text, size);
    utc[size] = '\0';
    struct store_cursor cursor = {0};
    if (!webui__integer_parse(utc, 0, INT64_MAX, &cursor.utc_us) ||
        !webui__integer_parse(text + size + 1, 1, INT64_MAX, &seq)) {
        return false;
    }
    cursor.seq = (uint64_t)seq;
    *out = cursor;
    return true;
}

int webui__ids_parse(const char *text, struct frame_id *ids, size_t most, size_t *count,
                     struct err *err) {
    char one[HASH_ID_SIZE];
    size_t found = 0;
    while (text[0]) {
        size_t size = strcspn(text, ",");
        snprintf(one, sizeof(one), "%.*s", size < sizeof(one) ? (int)size : 0, text);
        if (found == most || !frame_id_parse(one, &ids[found])) {
            return err_set(err, ERR_INVALID, "frames: expected 1 to %zu ids of frames", most);
        }
        found++;
        text += size + (text[size] == ',');
    }
    *count = found;
    return found ? 0 : err_set(err, ERR_INVALID, "frames: expected 1 to %zu ids of frames", most);
}

/* ---- reading: one small function a parameter, behind one table ---- */

static bool read_tier(const char *text, struct webui__query *out) {
    out->filter.by_tier = webui__tier_parse(text, &out->filter.tier);
    return out->filter.by_tier;
}

static bool read_camera(const char *text, struct webui__query *out) {
    snprintf(out->filter.camera, sizeof(out->filter.camera), "%s", text);
    return webui__name_valid(text);
}

static bool read_class(const char *text, struct webui__query *out) {
    snprintf(out->filter.label, sizeof(out->filter.label), "%s", text);
    return strlen(text) <= FRAME_LABEL_MAX;
}

static bool read_min(const char *text, struct webui__query *out) {
    return webui__number_parse(text, 0, 1, &out->filter.confidence_min);
}

static bool read_sync(const char *text, struct webui__query *out) {
    for (size_t i = 1; i < ARRAY_LENGTH(sync_names); i++) {
        if (strcmp(text, sync_names[i]) == 0) {
            out->filter.sync = (enum store_sync_filter)i;
            return true;
        }
    }
    return false;
}

static bool read_rule(const char *text, struct webui__query *out) {
    snprintf(out->filter.rule, sizeof(out->filter.rule), "%s", text);
    return webui__name_valid(text);
}

static bool read_label(const char *text, struct webui__query *out) {
    out->filter.by_label_state = webui__label_state_parse(text, &out->filter.label_state);
    return out->filter.by_label_state;
}

static bool read_pinned(const char *text, struct webui__query *out) {
    out->filter.pinned = strcmp(text, "yes") == 0;
    return out->filter.pinned;
}

static bool read_since(const char *text, struct webui__query *out) {
    out->filter.since_us = webui__time_parse(text);
    return out->filter.since_us >= 0;
}

static bool read_until(const char *text, struct webui__query *out) {
    out->filter.until_us = webui__time_parse(text);
    return out->filter.until_us >= 0;
}

static bool read_order(const char *text, struct webui__query *out) {
    out->filter.oldest_first = strcmp(text, "oldest") == 0;
    return out->filter.oldest_first || strcmp(text, "newest") == 0;
}

static bool read_after(const char *text, struct webui__query *out) {
    return webui__cursor_parse(text, &out->after);
}

static bool read_limit(const char *text, struct webui__query *out) {
    int64_t limit = 0;
    bool right = webui__integer_parse(text, 1, STORE_PAGE_MAX, &limit);
    out->limit = right ? (size_t)limit : out->limit;
    return right;
}

static const struct {
    const char *name, *expected;
    bool (*read)(const char *text, struct webui__query *out);
} parameters[] = {
    {"tier", "annotated or unannotated", read_tier},
    {"camera", "a camera's name", read_camera},
    {"class", "a class of at most 47 bytes", read_class},
    {"min", "a confidence from 0 to 1", read_min},
    {"sync", "pending, done or quarantined", read_sync},
    {"rule", "the name of a rule of triage", read_rule},
    {"label", "none, accepted, rejected, wrong-class, missed or wanted", read_label},
    {"pinned", "yes", read_pinned},
    {"since", "a UTC time such as 2026-11-20T21:35:00Z or a date", read_since},
    {"until", "a UTC time such as 2026-11-20T21:35:00Z or a date", read_until},
    {"order", "newest or oldest", read_order},
    {"after", "the cursor of a page before", read_after},
    {"limit", "a number of frames from 1 to 500", read_limit},
};

/* The value of a parameter, "" when absent; valid until the next call. */
typedef const char *get_fn(void *ctx, const char *name);

static int read_all(get_fn *get, void *ctx, size_t limit_default, struct webui__query *out,
                    struct err *err) {
    struct webui__query query = {.limit = limit_default};
    for (size_t i = 0; i < ARRAY_LENGTH(parameters); i++) {
        const char *text = get(ctx, parameters[i].name);
        if (text[0] && !parameters[i].read(text, &query)) {
            return err_set(err, ERR_INVALID, "%s=%.60s: expected %s", parameters[i].name, text,
                           parameters[i].expected);
        }
    }
    *out = query;
    return 0;
}

static const char *get_arg(void *request, const char *name) {
    return webui__arg(request, name);
}

int webui__query_read(struct webui__request *request, size_t limit_default,
                      struct webui__query *out, struct err *err) {
    return read_all(get_arg, request, limit_default, out, err);
}

struct written {
    const char *text;
    char value[WEBUI__URI_MAX];
};

static const char *get_written(void *ctx, const char *name) {
    struct written *written = ctx;
    webui__form_get(written->text, strlen(written->text), name, written->value,
                    sizeof(written->value));
    return written->value;
}

int webui__query_parse(const char *text, size_t limit_default, struct webui__query *out,
                       struct err *err) {
    struct written written = {.text = text};
    return read_all(get_written, &written, limit_default, out, err);
}

/* ---- writing ---- */

static void add(struct buf *out, const char *name, const char *value) {
    if (value[0]) {
        buf_printf(out, "%s%s=", out->len ? "&" : "", name);
        buf_puts_url(out, value, false);
    }
}

static void add_time(struct buf *out, const char *name, int64_t utc_us) {
    char text[CLOCK_RFC3339_SIZE];
    if (utc_us > 0) {
        add(out, name, clock_format_rfc3339(utc_us, text));
    }
}

void webui__query_write(struct buf *out, const struct store_filter *filter) {
    char min[32] = "";
    if (filter->confidence_min > 0) {
        snprintf(min, sizeof(min), "%g", filter->confidence_min);
    }
    add(out, "tier", filter->by_tier ? webui__tier_name(filter->tier) : "");
    add(out, "camera", filter->camera);
    add(out, "class", filter->label);
    add(out, "min", min);
    add(out, "rule", filter->rule);
    add(out, "sync", webui__sync_filter_name(filter->sync));
    add(out, "label", filter->by_label_state ? webui__label_state_name(filter->label_state) : "");
    add(out, "pinned", filter->pinned ? "yes" : "");
    add_time(out, "since", filter->since_us);
    add_time(out, "until", filter->until_us);
    add(out, "order", filter->oldest_first ? "oldest" : "");
}

bool webui__query_empty(const struct store_filter *filter) {
    return !filter->by_tier && !filter->camera[0] && !filter->label[0] &&
           filter->confidence_min <= 0 && filter->sync == STORE_SYNC_ANY && !filter->since_us &&
           !filter->until_us && !filter->rule[0] && !filter->by_label_state && !filter->pinned;
}
