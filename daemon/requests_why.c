/* why: a frame's life as a list of what happened, oldest first where the time is known. */
#include "daemon/base/clock.h"
#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include "daemon/requests.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const gone_names[] = {
    [STORE_GONE_AGE] = "store.tiers max_age",
    [STORE_GONE_UPLOADED] = "store.tiers keep_after_upload",
    [STORE_GONE_TIER_BYTES] = "store.tiers max_bytes",
    [STORE_GONE_ROOM] = "store.quota or store.min_free: it was worth less than what came, or was "
                        "replicated",
    [STORE_GONE_REMOVED] = "removed by hand",
    [STORE_GONE_DAMAGED] = "found damaged by fsck --repair",
    [STORE_GONE_DISPLACED] = "a better frame took its place in the window of triage's budget",
};

static const char *const receipt_names[] = {
    [STORE_RECEIPT_STORED] = "stored, its checksum confirmed",
    [STORE_RECEIPT_COMPARED] = "was there already, and compared equal",
    [STORE_RECEIPT_EXISTS] = "was there already, and could not be compared",
};

static void event(json_t *life, int64_t utc_us, const char *what, const char *format, ...)
    ERR_PRINTF(4, 5);

static void event(json_t *life, int64_t utc_us, const char *what, const char *format, ...) {
    char text[2048], when[CLOCK_RFC3339_SIZE] = "";
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (utc_us) {
        clock_format_rfc3339(utc_us, when);
    }
    json_array_append_new(life,
                          json_pack("{s:s,s:s,s:s}", "at", when, "what", what, "detail", text));
}

static void told_capture(json_t *life, const struct store_why *why) {
    const struct frame_record *frame = &why->row->record;
    char first[CLOCK_RFC3339_SIZE];
    bool synchronised = frame->captured.state == CLOCK_SYNCHRONISED;
    event(life, frame->captured.utc_us, "captured", "by camera %s, the clock %s", frame->camera,
          why->clock_repaired ? "was not synchronised"
          : synchronised      ? "synchronised"
                              : "not synchronised yet");
    if (why->clock_repaired) {
        event(life, 0, "clock repaired", "it was first written as %s",
              clock_format_rfc3339(why->written.utc_us, first));
    }
    event(life, why->row->kept_utc_us, "kept",
          "as %s by rule %s with value %.3f; model %s %s, %zu detections",
          frame->tier == TIER_ANNOTATED ? "annotated" : "unannotated", frame->rule, frame->value,
          frame->model_name, frame->model_version, frame->detection_count);
    if (why->sharing > 1) {
        event(life, 0, "shared", "%llu frames of the tier have these bytes, stored once",
              (unsigned long long)why->sharing);
    }
}

static const char *const withdrawn_names[] = {
    [STORE_OUTBOX_LOST] = "the object was found missing at",
    [STORE_OUTBOX_EXPIRED] = "the object was removed for its age at",
    [STORE_OUTBOX_REMOVED] = "the object was removed by hand at"};

static void told_remote(json_t *life, const struct store_why_remote *remote) {
    const char *role = remote->required ? "required" : "not required";
    switch (remote->state) {
    case STORE_WHY_DONE:
        event(life, remote->utc_us, "uploaded", "to %s%s as %s: %s%s%s", remote->name,
              remote->declared ? "" : " (no longer configured)", remote->key,
              receipt_names[remote->receipt_kind], *remote->etag ? ", etag " : "", remote->etag);
        break;
    case STORE_WHY_WAITING:
        event(life, 0, "waiting", "for %s (%s), %u attempts%s%s", remote->name, role,
              remote->attempts, *remote->reason ? ", last: " : "", remote->reason);
        break;
    case STORE_WHY_QUARANTINED:
        event(life, 0, "quarantined", "for %s (%s): %s; `creel sync retry` releases it",
              remote->name, role, remote->reason);
        break;
    case STORE_WHY_HELD:
        event(life, 0, "held", "for %s (%s), until the clock is synchronised", remote->name, role);
        break;
    case STORE_WHY_WITHDRAWN:
        event(life, remote->utc_us, "withdrawn", "%s %s", withdrawn_names[remote->withdrawn],
              remote->name);
        break;
    }
}

static const char *const label_names[STORE_LABEL_STATES] = {
    [STORE_LABEL_ACCEPTED] = "accepted",          [STORE_LABEL_REJECTED] = "rejected",
    [STORE_LABEL_WRONG_CLASS] = "wrong class",    [STORE_LABEL_MISSED] = "missed object",
    [STORE_LABEL_WANTED] = "wanted for labeling",
};

json_t *why_life_json(const struct store_why *why) {
    json_t *life = json_array();
    if (!life) {
        return NULL;
    }
    told_capture(life, why);
    for (size_t i = 0; i < why->remote_count; i++) {
        told_remote(life, &why->remotes[i]);
    }
    if (why->pinned_utc_us) {
        event(life, why->pinned_utc_us, why->row->pinned ? "pinned" : "unpinned", "by hand");
    }
    if (why->label.state) {
        event(life, why->label.utc_us, "labeled", "%s%s%s%s%s", label_names[why->label.state],
              *why->label.class_name ? ": " : "", why->label.class_name,
              *why->label.who ? " by " : "", why->label.who);
    }
    if (why->gone) {
        event(life, why->gone_utc_us, "evicted", "%s", gone_names[why->gone]);
    } else if (why->row->place == STORE_PLACE_LOCAL) {
        event(life, 0, "here", "%llu bytes in this store",
              (unsigned long long)why->row->record.blob_bytes);
    }
    return life;
}

/* ---- frames that were not kept ---- */

struct search {
    const struct frame_id *id; /* NULL: the last one that was rejected */
    int64_t reach_us;          /* of the oldest note; 0: there is none */
    bool found;
    json_t *life;
    char name[HASH_ID_SIZE];
};

static void told_outcome(json_t *life, const struct store_outcome *outcome) {
    const struct frame_record *frame = &outcome->record;
    char seen[1024] = "nothing";
    size_t used = 0;
    for (size_t i = 0; i < frame->detection_count && used < sizeof(seen) - 64; i++) {
        const struct frame_detection *detection = &frame->detections[i];
        used += (size_t)snprintf(seen + used, sizeof(seen) - used, "%s%s %.2f", i ? ", " : "",
                                 detection->label, (double)detection->confidence);
    }
    event(life, frame->captured.utc_us, "captured", "by camera %s", frame->camera);
    event(life, 0, "detected", "%s; model %s %s", seen, frame->model_name, frame->model_version);
    if (outcome->kept) {
        event(life, 0, "to be kept",
              "by rule %s with value %.3f; the store does not have it (any "
              "more)",
              frame->rule, frame->value);
    } else if (outcome->over_budget) {
        event(life, 0, "not kept", "rule %s would have (value %.3f), but its budget was spent",
              frame->rule, frame->value);
    } else {
        event(life, 0, "not kept", "no rule wanted it");
    }
}

static bool search_one(void *ctx, const struct store_outcome *outcome) {
    struct search *search = ctx;
    const struct frame_id *id = &outcome->record.id;
    if (!search->reach_us) {
        search->reach_us = outcome->record.captured.utc_us;
    }
    bool wanted = search->id ? memcmp(search->id, id, sizeof(*id)) == 0 : !outcome->kept;
    if (wanted) {
        json_array_clear(search->life);
        told_outcome(search->life, outcome);
        frame_id_format(id, search->name);
        search->found = true;
    }
    return !(wanted && search->id);
}

static int why_not(const struct rooms *rooms, const struct frame_id *id, json_t **reply,
                   struct err *err) {
    struct search search = {.id = id, .life = json_array()};
    char reach[CLOCK_RFC3339_SIZE];
    int code = store_outcomes_read(rooms->store, search_one, &search, err);
    if (!code && search.found) {
        *reply = json_pack("{s:{s:s},s:O}", "frame", "id", search.name, "life", search.life);
        code = *reply ? 0 : err_set(err, ERR_NOMEM, "no memory for the answer");
    } else if (!code && search.reach_us) {
        code = err_set(err, ERR_NOT_FOUND,
                       "no such frame is kept, and none was rejected since %s, as far as the ring "
                       "of rejected frames reaches back",
                       clock_format_rfc3339(search.reach_us, reach));
    } else if (!code) {
        code = err_set(err, ERR_NOT_FOUND,
                       "no such frame is kept, and the ring of rejected frames is empty");
    }
    json_decref(search.life);
    return code;
}

static int why_kept(const struct rooms *rooms, const struct frame_id *id, json_t **reply,
                    struct err *err) {
    struct store_why *why;
    int code = store_why_get(rooms->reader, id, &why, err);
    if (code) {
        return code;
    }
    *reply =
        json_pack("{s:o,s:o}", "frame", webui_frame_json(why->row), "life", why_life_json(why));
    store_why_destroy(why);
    return *reply ? 0 : err_set(err, ERR_NOMEM, "no memory for the answer");
}

int answer_why(const struct rooms *rooms, const json_t *request, json_t **reply,
               struct control_bytes *bytes, struct err *err) {
    (void)bytes;
    const char *name = json_string_value(json_object_get(request, "frame"));
    struct frame_id id;
    if (name && strcmp(name, "@rejected") == 0) {
        return why_not(rooms, NULL, reply, err);
    }
    int code = store_resolve(rooms->reader, name ? name : "", &id, err);
    if (code == ERR_NOT_FOUND && name && frame_id_parse(name, &id)) {
        return why_not(rooms, &id, reply, err);
    }
    return code ? code : why_kept(rooms, &id, reply, err);
}
