#include "daemon/requests.h"
#include "daemon/base/clock.h"
#include "daemon/base/mem.h"
#include "daemon/document.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LS_DEFAULT 50
#define LS_LOOKS   500 /* about a second */

static int no_memory(struct err *err) {
    return err_set(err, ERR_NOMEM, "no memory for the answer");
}

/* ---- one frame ---- */

static int find_row(const struct rooms *rooms, const json_t *request, struct store_row **out,
                    struct err *err) {
    struct frame_id id;
    int code = store_resolve(rooms->reader, document_text(request, "frame"), &id, err);
    return code ? code : store_frame_get(rooms->reader, &id, out, err);
}

static json_t *receipts_json(const struct rooms *rooms, const struct store_row *row) {
    json_t *list = json_array();
    for (size_t i = 0; i < rooms->values->sync.remote_count; i++) {
        struct store_receipt receipt;
        if (store_receipt_get(rooms->reader, rooms->values->sync.remotes[i].name, row->record.tier,
                              &row->record.blob, &receipt, NULL)) {
            continue;
        }
        char when[CLOCK_RFC3339_SIZE];
        json_array_append_new(list, json_pack("{s:s,s:s,s:s,s:s}", "remote", receipt.remote, "key",
                                              receipt.key, "etag", receipt.etag, "at",
                                              clock_format_rfc3339(receipt.utc_us, when)));
    }
    return list;
}

static int answer_show(const struct rooms *rooms, const json_t *request, json_t **reply,
                       struct control_bytes *bytes, struct err *err) {
    (void)bytes;
    struct store_row *row;
    int code = find_row(rooms, request, &row, err);
    if (code) {
        return code;
    }
    *reply = webui_frame_json(row);
    if (*reply) {
        json_object_set_new(*reply, "replicas", receipts_json(rooms, row));
    }
    store_row_destroy(row);
    return *reply ? 0 : no_memory(err);
}

static int answer_get(const struct rooms *rooms, const json_t *request, json_t **reply,
                      struct control_bytes *bytes, struct err *err) {
    struct store_row *row;
    int code = find_row(rooms, request, &row, err);
    if (code) {
        return code;
    }
    code = store_blob_read(rooms->reader, row->record.tier, &row->record.blob, &bytes->data,
                           &bytes->size, err);
    if (!code) {
        *reply = json_pack("{s:s}", "media",
                           row->record.media == MEDIA_PNG ? "image/png" : "image/jpeg");
    }
    store_row_destroy(row);
    return code;
}

static int local_link(const struct rooms *rooms, const struct store_row *row, int ttl_s,
                      char out[SYNC_LINK_MAX], struct err *err) {
    uint16_t web = 0, ingest = 0;
    if (row->place != STORE_PLACE_LOCAL) {
        return err_set(err, ERR_REFUSED, "the frame is no longer on this device");
    }
    if (rooms->webui) {
        webui_ports(rooms->webui, &web, &ingest);
    }
    if (!web) {
        return err_set(err, ERR_REFUSED,
                       "the frame is only in the local store, and no gallery runs to serve a link");
    }
    char path[WEBUI_LINK_MAX];
    int64_t expires_s = clock_utc_us() / 1000000 + ttl_s;
    int code = webui_local_link(rooms->link_key, row->record.tier, &row->record.blob, expires_s,
                                path, err);
    if (!code) {
        char host[LINK_HOST_MAX];
        link_host(rooms->values->webui.listen, host);
        snprintf(out, SYNC_LINK_MAX, "%s://%s:%u%s",
                 rooms->values->webui.tls_certificate ? "https" : "http", host, web, path);
    }
    return code;
}

static int answer_link(const struct rooms *rooms, const json_t *request, json_t **reply,
                       struct control_bytes *bytes, struct err *err) {
    (void)bytes;
    json_int_t ttl_s = json_integer_value(json_object_get(request, "ttl_s"));
    if (ttl_s < 1 || ttl_s > LINK_TTL_MAX_S) {
        return err_set(err, ERR_INVALID, "a link lives between 1 second and 7 days");
    }
    struct store_row *row;
    int code = find_row(rooms, request, &row, err);
    if (code) {
        return code;
    }
    char url[SYNC_LINK_MAX];
    const char *kind = "local";
    char why[ERR_TEXT_MAX * 2] = ""; /* there is a copy in the cloud, but no link to it */
    code = link_mint(rooms->values, rooms->sync, rooms->reader, row, (int)ttl_s, url, &kind, err);
    if (code) {
        struct err cloud = *err;
        if (code != ERR_NOT_FOUND) {
            err_text(&cloud, why, sizeof(why));
        }
        code = local_link(rooms, row, (int)ttl_s, url, err);
        if (code && why[0]) {
            *err = cloud;
        }
    }
    store_row_destroy(row);
    if (!code) {
        char when[CLOCK_RFC3339_SIZE];
        clock_format_rfc3339(clock_utc_us() + ttl_s * 1000000, when);
        *reply = json_pack("{s:s,s:s,s:s,s:s*}", "url", url, "kind", kind, "expires", when, "note",
                           why[0] ? why : NULL);
    }
    return code ? err->code : 0;
}

/* ---- many frames ---- */

static const char *const label_state_names[STORE_LABEL_STATES] = {
    [STORE_LABEL_ACCEPTED] = "accepted",       [STORE_LABEL_REJECTED] = "rejected",
    [STORE_LABEL_WRONG_CLASS] = "wrong-class", [STORE_LABEL_MISSED] = "missed",
    [STORE_LABEL_WANTED] = "wanted",
};

static int time_of(const json_t *request, const char *key, int64_t *out, struct err *err) {
    const char *text = document_text(request, key);
    *out = *text ? clock_parse_rfc3339(text) : 0;
    return *out < 0
               ? err_set(err, ERR_INVALID,
                         "--%s: \"%s\" is no time; expected 2026-11-20 or 2026-11-20T08:00:00Z",
                         key, text)
               : 0;
}

static int state_of(const json_t *request, const char *key, const char *const *names, size_t count,
                    unsigned *out, struct err *err) {
    const char *text = document_text(request, key);
    *out = 0;
    for (unsigned i = 1; *text && i < count; i++) {
        *out = strcmp(text, names[i]) == 0 ? i : *out;
    }
    return *text && !*out ? err_set(err, ERR_INVALID,
                                    "--%s: \"%s\" is no such state, see the manual", key, text)
                          : 0;
}

static int states_of(const json_t *request, struct store_filter *out, struct err *err) {
    static const char *const syncs[] = {[STORE_SYNC_PENDING] = "pending",
                                        [STORE_SYNC_DONE] = "done",
                                        [STORE_SYNC_QUARANTINED] = "quarantined"};
    unsigned sync = 0, label = 0;
    int code = state_of(request, "sync", syncs, ARRAY_LENGTH(syncs), &sync, err);
    code = code ? code
                : state_of(request, "label-state", label_state_names,
                           ARRAY_LENGTH(label_state_names), &label, err);
    out->sync = (enum store_sync_filter)sync;
    out->by_label_state = label != 0;
    out->label_state = (enum store_label_state)label;
    out->pinned = json_is_true(json_object_get(request, "pinned"));
    return code;
}

static int filter_of(const json_t *request, struct store_filter *out, struct err *err) {
    *out = (struct store_filter){.confidence_min =
                                     json_number_value(json_object_get(request, "confidence"))};
    const char *tier = document_text(request, "tier");
    out->by_tier = *tier != '\0';
    if (strcmp(tier, "unannotated") == 0) {
        out->tier = TIER_UNANNOTATED;
    } else if (*tier && strcmp(tier, "annotated") != 0) {
        return err_set(err, ERR_INVALID, "--tier: \"%s\" is neither annotated nor unannotated",
                       tier);
    }
    const char *camera = document_text(request, "camera"), *label = document_text(request, "class");
    if (strlen(camera) >= sizeof(out->camera) || strlen(label) >= sizeof(out->label)) {
        return err_set(err, ERR_INVALID,
                       "no camera's name is longer than %d bytes, no class's than %d",
                       FRAME_NAME_MAX, FRAME_LABEL_MAX);
    }
    int code = states_of(request, out, err);
    if (code) {
        return code;
    }
    snprintf(out->camera, sizeof(out->camera), "%s", camera);
    snprintf(out->label, sizeof(out->label), "%s", label);
    code = time_of(request, "since", &out->since_us, err);
    return code ? code : time_of(request, "until", &out->until_us, err);
}

static json_t *page_json(const struct store_page *page) {
    json_t *frames = json_array();
    for (size_t i = 0; i < page->count; i++) {
        json_array_append_new(frames, webui_frame_json(&page->rows[i]));
    }
    json_t *reply = json_pack("{s:o,s:b}", "frames", frames, "more", page->more);
    if (page->more) {
        char next[64];
        snprintf(next, sizeof(next), "%" PRId64 ".%" PRIu64, page->next.utc_us, page->next.seq);
        json_object_set_new(reply, "next", json_string(next));
    }
    return reply;
}

static int answer_ls(const struct rooms *rooms, const json_t *request, json_t **reply,
                     struct control_bytes *bytes, struct err *err) {
    (void)bytes;
    struct store_filter filter;
    struct store_cursor after = {0};
    int code = filter_of(request, &filter, err);
    if (code) {
        return code;
    }
    const char *cursor = document_text(request, "after");
    if (*cursor && sscanf(cursor, "%" SCNd64 ".%" SCNu64, &after.utc_us, &after.seq) != 2) {
        return err_set(err, ERR_INVALID, "--after: \"%s\" is not what an earlier page gave as next",
                       cursor);
    }
    json_int_t limit = json_integer_value(json_object_get(request, "limit"));
    if (limit < 0 || limit > STORE_PAGE_MAX) {
        return err_set(err, ERR_INVALID, "--limit: a page has 1 to %d frames", STORE_PAGE_MAX);
    }
    struct store_page *page;
    code = store_page_read(rooms->reader, &filter, &after, limit ? (size_t)limit : LS_DEFAULT,
                           LS_LOOKS, &page, err);
    if (code) {
        return code;
    }
    *reply = page_json(page);
    store_page_destroy(page);
    return *reply ? 0 : no_memory(err);
}

/* ---- the rest ---- */

static int answer_status(const struct rooms *rooms, const json_t *request, json_t **reply,
                         struct control_bytes *bytes, struct err *err) {
    (void)request;
    (void)bytes;
    *reply = status_json(rooms);
    return *reply ? 0 : no_memory(err);
}

static int answer_state_backup(const struct rooms *rooms, const json_t *request, json_t **reply,
                               struct control_bytes *bytes, struct err *err) {
    (void)request;
    *reply = json_object();
    return *reply ? store_state_backup(rooms->store, &bytes->data, &bytes->size, err)
                  : no_memory(err);
}

static const struct {
    const char *name;
    answer_fn *answer;
} answers[] = {
    {"status", answer_status},
    {"ls", answer_ls},
    {"show", answer_show},
    {"get", answer_get},
    {"link", answer_link},
    {"sync-quarantine", answer_sync_quarantine},
    {"sync-retry", answer_sync_retry},
    {"sync-drop", answer_sync_drop},
    {"sync-pause", answer_sync_pause},
    {"sync-backfill", answer_sync_backfill},
    {"pin", answer_pin},
    {"gc", answer_gc},
    {"why", answer_why},
    {"model-use", answer_model_use},
    {"model-state", answer_model_state},
    {"recorded", answer_recorded},
    {"rm", answer_rm},
    {"user-add", answer_user_add},
    {"user-passwd", answer_user_passwd},
    {"user-rm", answer_user_rm},
    {"user-ls", answer_user_ls},
    {"token-add", answer_token_add},
    {"token-rm", answer_token_rm},
    {"token-ls", answer_token_ls},
    {"state-backup", answer_state_backup},
    {"cloud-receipts", answer_cloud_receipts},
    {"cloud-look", answer_cloud_look},
    {"cloud-act", answer_cloud_act},
    {"cloud-frames", answer_cloud_frames},
};

int requests_handle(void *rooms, const json_t *request, json_t **reply, struct control_bytes *bytes,
                    struct err *err) {
    const char *name = document_text(request, "request");
    for (size_t i = 0; i < ARRAY_LENGTH(answers); i++) {
        if (strcmp(answers[i].name, name) == 0) {
            return answers[i].answer(rooms, request, reply, bytes, err);
        }
    }
    return err_set(err, ERR_INVALID, "unknown request \"%s\"; the daemon may be of another version",
                   name);
}

/* Without a daemon: the same answers, from a store that is opened here. */
static int open_here(struct requests_session *session, struct err *err) {
    const struct config_values *values = session->rooms.values;
    if (access(values->store.dir, F_OK) < 0) {
        return err_set(
            err, ERR_NOT_FOUND,
            "no daemon runs and there is no store at %s (store.dir); `creel run` makes one",
            values->store.dir);
    }
    struct store_config looking = values->store;
    looking.at_rest = true;
    clock_trust(values->clock_trusted);
    int code = store_open(&looking, &session->rooms.store, err);
    return code ? code : store_reader_open(session->rooms.store, &session->rooms.reader, err);
}

/* While another process holds the store, which may be a daemon that starts, both ways are tried. */
static int ask_or_open(struct requests_session *session, json_t *request, json_t **reply,
                       struct control_bytes *bytes, struct err *err) {
    int64_t end_us = clock_boot_us() + STORE_WAIT_MS * INT64_C(1000);
    for (;;) {
        int code = control_call(session->rooms.values->control_socket, request, reply, bytes, err);
        session->answered = session->answered || !code;
        if (code != ERR_NOT_FOUND || session->answered || !strstr(err->msg, "no daemon listens")) {
            return code;
        }
        code = open_here(session, err);
        if (code != ERR_BUSY || session->rooms.store || clock_boot_us() >= end_us) {
            return code;
        }
        clock_sleep_ms(STORE_POLL_MS);
    }
}

int requests_session_ask(struct requests_session *session, json_t *request, json_t **reply,
                         struct control_bytes *bytes, struct err *err) {
    int code = request ? 0 : err_set(err, ERR_INVALID, "what was asked for is not UTF-8 text");
    if (!code && !session->rooms.store) {
        code = ask_or_open(session, request, reply, bytes, err);
    }
    if (!code && session->rooms.reader) {
        code = requests_handle(&session->rooms, request, reply, bytes, err);
    }
    json_decref(request);
    return code;
}

void requests_session_close(struct requests_session *session) {
    store_reader_close(session->rooms.reader);
    store_close(session->rooms.store);
    session->rooms = (struct rooms){0};
}

int requests_ask(const struct config_values *values, json_t *request, json_t **reply,
                 struct control_bytes *bytes, struct err *err) {
    struct requests_session session = {.rooms.values = values};
    int code = requests_session_ask(&session, request, reply, bytes, err);
    requests_session_close(&session);
    return code;
}
