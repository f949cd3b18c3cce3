/* Requests about uploads: what is set aside, and what a person decides about it.
 *
 * Every decision is a record of the log (store_outbox_act), at most STORE_OUTBOX_BATCH blobs each.
 * Those that may be many (a backfill, giving up a whole quarantine) stop after ROUND_US and say
 * where they are: the command asks again from there, and whoever is interrupted goes on without
 * doing anything twice.
 */
#include "daemon/base/clock.h"
#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include "daemon/document.h"
#include "daemon/requests.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE     100
#define ROUND_US INT64_C(1000000) /* of one request, then it says where it stands */

static const char *const tier_names[TIER_COUNT] = {
    [TIER_ANNOTATED] = "annotated", [TIER_UNANNOTATED] = "unannotated"};

static int no_memory(struct err *err) {
    return err_set(err, ERR_NOMEM, "no memory for the answer");
}

/* ---- which remotes, which frame ---- */

struct remotes { /* those the store knows as declared */
    struct store_counts counts;
};

static int remotes_read(const struct rooms *rooms, struct remotes **out, struct err *err) {
    CLEANUP(mem_free_at) struct remotes *remotes = mem_alloc(sizeof(*remotes));
    if (!remotes) {
        return no_memory(err);
    }
    int code = store_counts_read(rooms->reader, &remotes->counts, err);
    if (!code) {
        *out = TAKE_PTR(remotes);
    }
    return code;
}

static const struct store_remote_counts *remote_find(const struct remotes *remotes,
                                                     const char *name) {
    for (size_t i = 0; i < remotes->counts.remote_count; i++) {
        if (strcmp(remotes->counts.remotes[i].name, name) == 0) {
            return &remotes->counts.remotes[i];
        }
    }
    return NULL;
}

static int remote_missing(const struct rooms *rooms, const char *name, struct err *err) {
    for (size_t i = 0; i < rooms->values->sync.remote_count; i++) {
        if (strcmp(rooms->values->sync.remotes[i].name, name) == 0) {
            return err_set(err, ERR_NOT_FOUND,
                           "the remote \"%.40s\" is new: creel must have run once with it", name);
        }
    }
    return err_set(err, ERR_NOT_FOUND,
                   "there is no remote \"%.40s\"; `creel status` names those there are", name);
}

static int remote_need(const struct rooms *rooms, const struct remotes *remotes, const char *name,
                       struct err *err) {
    return !*name || remote_find(remotes, name) ? 0 : remote_missing(rooms, name, err);
}

/* What an operand names: a remote, or else a frame. */
static int frame_of(const struct rooms *rooms, const char *name, struct store_why **out,
                    struct err *err) {
    struct frame_id id;
    int code = store_resolve(rooms->reader, name, &id, err);
    if (code) {
        return code == ERR_INVALID || code == ERR_NOT_FOUND
                   ? err_set(err, code, "\"%.40s\" is neither a remote nor a frame that is kept",
                             name)
                   : code;
    }
    return store_why_get(rooms->reader, &id, out, err);
}

static struct store_blob_name blob_of(const struct store_why *why) {
    return (struct store_blob_name){why->row->record.tier, why->row->record.blob};
}

static void why_free(struct store_why **why) {
    store_why_destroy(*why);
}

/* ---- what is set aside ---- */

static json_t *row_json(const char *remote, const struct store_quarantined *row) {
    char id[HASH_ID_SIZE], kept[CLOCK_RFC3339_SIZE], hex[HASH_HEX_SIZE];
    return json_pack("{s:s,s:s,s:s,s:s,s:I,s:s,s:i,s:s}", "remote", remote, "frame",
                     frame_id_format(&row->frame, id), "tier", tier_names[row->tier], "sha256",
                     hash_hex(row->blob.bytes, sizeof(row->blob.bytes), hex), "bytes",
                     (json_int_t)row->blob_bytes, "kept",
                     clock_format_rfc3339(row->kept_utc_us, kept), "attempts", (int)row->attempts,
                     "reason", row->reason);
}

/* From behind (`from`, `row`) on, where the page before ended. */
static int page_of(const struct rooms *rooms, const char *remote, uint64_t after, json_t *rows,
                   uint64_t *last, struct err *err) {
    CLEANUP(mem_free_at) struct store_quarantined *page = mem_array(PAGE, sizeof(*page));
    size_t count = 0;
    int code = page ? store_quarantine_read(rooms->reader, remote, after, page,
                                            PAGE - json_array_size(rows), &count, err)
                    : no_memory(err);
    for (size_t i = 0; !code && i < count; i++) {
        json_array_append_new(rows, row_json(remote, &page[i]));
        *last = page[i].row;
    }
    return code;
}

int answer_sync_quarantine(const struct rooms *rooms, const json_t *request, json_t **reply,
                           struct control_bytes *bytes, struct err *err) {
    (void)bytes;
    CLEANUP(mem_free_at) struct remotes *remotes = NULL;
    const char *only = document_text(request, "remote"), *from = document_text(request, "from");
    uint64_t after = (uint64_t)json_integer_value(json_object_get(request, "after"));
    int code = remotes_read(rooms, &remotes, err);
    code = code ? code : remote_need(rooms, remotes, only, err);
    if (code) {
        return code;
    }
    json_t *rows = json_array();
    const char *at = "";
    uint64_t last = 0;
    for (size_t i = 0; !code && i < remotes->counts.remote_count; i++) { /* sorted by name */
        const struct store_remote_counts *remote = &remotes->counts.remotes[i];
        int order = strcmp(remote->name, from);
        if ((*only && strcmp(only, remote->name) != 0) || order < 0 || !remote->quarantined ||
            json_array_size(rows) >= PAGE) {
            continue;
        }
        at = remote->name;
        last = order == 0 ? after : 0;
        code = page_of(rooms, remote->name, last, rows, &last, err);
    }
    if (code) {
        json_decref(rows);
        return code;
    }
    bool more = json_array_size(rows) >= PAGE;
    *reply = json_pack("{s:o,s:b,s:s,s:I}", "rows", rows, "more", more, "from", at, "after",
                       (json_int_t)last);
    return *reply ? 0 : no_memory(err);
}

/* ---- retry ---- */

/* The frame's blob, at each remote where it waits; `*changed` is how many rows that were. */
static int frame_act(const struct rooms *rooms, const struct store_why *why, const char *only,
                     enum store_outbox_action action, uint64_t *changed, struct err *err) {
    struct store_blob_name name = blob_of(why);
    int code = 0;
    *changed = 0;
    for (size_t i = 0; !code && i < why->remote_count; i++) {
        const struct store_why_remote *remote = &why->remotes[i];
        if (remote->declared && remote->state != STORE_WHY_DONE &&
            (!*only || strcmp(only, remote->name) == 0)) {
            uint64_t rows = 0;
            code = store_outbox_act(rooms->store, remote->name, action, &name, 1, &rows, err);
            *changed += rows;
        }
    }
    return code;
}

int answer_sync_retry(const struct rooms *rooms, const json_t *request, json_t **reply,
                      struct control_bytes *bytes, struct err *err) {
    (void)bytes;
    CLEANUP(mem_free_at) struct remotes *remotes = NULL;
    CLEANUP(why_free) struct store_why *why = NULL;
    const char *what = document_text(request, "what");
    uint64_t released = 0;
    int code = remotes_read(rooms, &remotes, err);
    if (!code && (!*what || remote_find(remotes, what))) {
        code = store_outbox_retry(rooms->store, *what ? what : NULL, &released, err);
    } else if (!code) {
        code = frame_of(rooms, what, &why, err);
        code = code ? code
                    : frame_act(rooms, why, document_text(request, "remote"), STORE_OUTBOX_RETRY,
                                &released, err);
    }
    if (!code) {
        *reply = json_pack("{s:I}", "released", (json_int_t)released);
        code = *reply ? 0 : no_memory(err);
    }
    return code;
}

/* ---- drop ---- */

static uint64_t waiting_count(const struct store_why *why, const char *only) {
    uint64_t count = 0;
    for (size_t i = 0; i < why->remote_count; i++) {
        const struct store_why_remote *remote = &why->remotes[i];
        count += remote->declared && remote->state != STORE_WHY_DONE &&
                 (!*only || strcmp(only, remote->name) == 0);
    }
    return count;
}

/* All that is set aside for the remote, as far as one round comes. */
static int quarantine_drop(const struct rooms *rooms, const char *remote, uint64_t *dropped,
                           bool *more, struct err *err) {
    enum { AT_ONCE = STORE_OUTBOX_BATCH };
    CLEANUP(mem_free_at) struct store_quarantined *page = mem_array(AT_ONCE, sizeof(*page));
    int64_t until_us = clock_boot_us() + ROUND_US;
    int code = page ? 0 : no_memory(err);
    *more = true;
    while (!code && *more && clock_boot_us() < until_us) {
        struct store_blob_name names[AT_ONCE];
        size_t count = 0;
        uint64_t changed = 0;
        code = store_quarantine_read(rooms->reader, remote, 0, page, AT_ONCE, &count, err);
        for (size_t i = 0; !code && i < count; i++) {
            names[i] = (struct store_blob_name){page[i].tier, page[i].blob};
        }
        if (!code && count) {
            code = store_outbox_act(rooms->store, remote, STORE_OUTBOX_DROP, names, count, &changed,
                                    err);
        }
        *dropped += changed;
        *more = changed > 0 && count == AT_ONCE;
    }
    return code;
}

struct drop {
    const char *what, *only;
    bool force, dry_run;
    uint64_t found, dropped;
    bool more;
};

static int drop_quarantine(const struct rooms *rooms, const struct store_remote_counts *remote,
                           struct drop *drop, struct err *err) {
    drop->found = remote->quarantined;
    if (drop->dry_run || !drop->force || !drop->found) {
        return 0;
    }
    return quarantine_drop(rooms, remote->name, &drop->dropped, &drop->more, err);
}

static int drop_frame(const struct rooms *rooms, struct drop *drop, struct err *err) {
    CLEANUP(why_free) struct store_why *why = NULL;
    int code = frame_of(rooms, drop->what, &why, err);
    if (code) {
        return code;
    }
    drop->found = waiting_count(why, drop->only);
    if (drop->dry_run || !drop->force || !drop->found) {
        return 0;
    }
    return frame_act(rooms, why, drop->only, STORE_OUTBOX_DROP, &drop->dropped, err);
}

int answer_sync_drop(const struct rooms *rooms, const json_t *request, json_t **reply,
                     struct control_bytes *bytes, struct err *err) {
    (void)bytes;
    CLEANUP(mem_free_at) struct remotes *remotes = NULL;
    struct drop drop = {.what = document_text(request, "what"),
                        .only = document_text(request, "remote"),
                        .force = json_is_true(json_object_get(request, "force")),
                        .dry_run = json_is_true(json_object_get(request, "dry_run"))};
    int code = remotes_read(rooms, &remotes, err);
    code = code ? code : remote_need(rooms, remotes, drop.only, err);
    const struct store_remote_counts *remote = code ? NULL : remote_find(remotes, drop.what);
    code = code     ? code
           : remote ? drop_quarantine(rooms, remote, &drop, err)
                    : drop_frame(rooms, &drop, err);
    if (!code && drop.found && !drop.force && !drop.dry_run) {
        code = err_set(err, ERR_REFUSED,
                       "%" PRIu64 " uploads would be given up for good; --force does it, --dry-run "
                       "only counts",
                       drop.found);
    }
    if (!code) {
        *reply =
            json_pack("{s:b,s:I,s:I,s:b}", "dry_run", drop.dry_run, "found", (json_int_t)drop.found,
                      "dropped", (json_int_t)drop.dropped, "more", drop.more);
        code = *reply ? 0 : no_memory(err);
    }
    return code;
}

/* ---- pause ---- */

int answer_sync_pause(const struct rooms *rooms, const json_t *request, json_t **reply,
                      struct control_bytes *bytes, struct err *err) {
    (void)bytes;
    const struct sync_config *sync = &rooms->values->sync;
    const char *names[SYNC_REMOTES_MAX];
    const char *remote = document_text(request, "remote");
    bool on = json_is_true(json_object_get(request, "on")), known = !*remote;
    for (size_t i = 0; i < sync->remote_count; i++) {
        names[i] = sync->remotes[i].name;
        known = known || strcmp(names[i], remote) == 0;
    }
    int code = known ? sync_pause_set(rooms->store, *remote ? remote : NULL, names,
                                      sync->remote_count, on, err)
                     : remote_missing(rooms, remote, err);
    if (!code && rooms->sync) {
        code = sync_pause_reload(rooms->sync, err);
    }
    if (!code) {
        *reply = json_pack("{s:b,s:s}", "paused", on, "remote", remote);
        code = *reply ? 0 : no_memory(err);
    }
    return code;
}

/* ---- backfill ---- */

struct backfill {
    const char *remote;
    int64_t since_us, after;
    uint64_t queued;
    bool more;
};

static int backfill_round(const struct rooms *rooms, struct backfill *backfill, struct err *err) {
    struct store_blob_name names[STORE_OUTBOX_BATCH];
    int64_t until_us = clock_boot_us() + ROUND_US;
    int code = 0;
    backfill->more = true;
    while (!code && backfill->more && clock_boot_us() < until_us) {
        size_t count = 0;
        uint64_t changed = 0;
        code = store_unqueued_read(rooms->reader, backfill->remote, backfill->since_us,
                                   &backfill->after, names, ARRAY_LENGTH(names), &count,
                                   &backfill->more, err);
        if (!code && count) {
            code = store_outbox_act(rooms->store, backfill->remote, STORE_OUTBOX_QUEUE, names,
                                    count, &changed, err);
        }
        backfill->queued += changed;
    }
    return code;
}

int answer_sync_backfill(const struct rooms *rooms, const json_t *request, json_t **reply,
                         struct control_bytes *bytes, struct err *err) {
    (void)bytes;
    CLEANUP(mem_free_at) struct remotes *remotes = NULL;
    const char *since = document_text(request, "since");
    struct backfill backfill = {.remote = document_text(request, "remote"),
                                .after = json_integer_value(json_object_get(request, "after"))};
    if (*since && !config_time_parse(since, clock_utc_us(), &backfill.since_us)) {
        return err_set(err, ERR_INVALID,
                       "--since: \"%.40s\" is no time; expected 7d, 2026-11-20 or "
                       "2026-11-20T08:00:00Z",
                       since);
    }
    int code = remotes_read(rooms, &remotes, err);
    if (!code && !remote_find(remotes, backfill.remote)) {
        code = remote_missing(rooms, backfill.remote, err);
    }
    code = code ? code : backfill_round(rooms, &backfill, err);
    if (!code) {
        *reply = json_pack("{s:I,s:I,s:b}", "queued", (json_int_t)backfill.queued, "after",
                           (json_int_t)backfill.after, "more", backfill.more);
        code = *reply ? 0 : no_memory(err);
    }
    return code;
}
