/* What may be asked of the model that looks: which it is, and another one in its place. */
#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include "daemon/requests.h"
#include <stdio.h>

static json_t *change_json(const struct eyes_change *change) {
    return json_pack("{s:I,s:s,s:s,s:s}", "number", (json_int_t)change->number, "state",
                     eyes_state_name(change->state), "dir", change->dir, "text", change->text);
}

json_t *model_state_json(struct eyes *eyes) {
    CLEANUP(mem_free_at) struct eyes_model *model = mem_alloc(sizeof(*model));
    CLEANUP(mem_free_at) struct eyes_change *change = mem_alloc(sizeof(*change));
    if (!model || !change) {
        return NULL;
    }
    char hex[HASH_HEX_SIZE];
    eyes_model_get(eyes, model);
    eyes_change_get(eyes, change);
    json_t *out = json_pack("{s:s,s:s,s:s,s:s,s:i,s:i,s:i}", "name", model->name, "version",
                            model->version, "dir", model->dir, "hash",
                            hash_hex(model->hash.bytes, sizeof(model->hash.bytes), hex),
                            "input_width", (int)model->input_width, "input_height",
                            (int)model->input_height, "classes", (int)model->class_count);
    if (out && change->state != EYES_NONE) {
        json_object_set_new(out, "change", change_json(change));
    }
    return out;
}

static int no_daemon(struct err *err) {
    return err_set(err, ERR_NOT_FOUND,
                   "no daemon runs; set model.dir, and the next one begins with that model");
}

int answer_model_use(const struct rooms *rooms, const json_t *request, json_t **reply,
                     struct control_bytes *bytes, struct err *err) {
    (void)bytes;
    if (!rooms->pipeline) {
        return no_daemon(err);
    }
    const char *dir = json_string_value(json_object_get(request, "dir"));
    uint64_t number = 0;
    int code = eyes_use(pipeline_eyes(rooms->pipeline), dir ? dir : "", &number, err);
    if (!code) {
        *reply = json_pack("{s:I}", "number", (json_int_t)number);
    }
    return code;
}

int answer_model_state(const struct rooms *rooms, const json_t *request, json_t **reply,
                       struct control_bytes *bytes, struct err *err) {
    (void)request;
    (void)bytes;
    if (!rooms->pipeline) {
        return no_daemon(err);
    }
    *reply = model_state_json(pipeline_eyes(rooms->pipeline));
    return *reply ? 0 : err_set(err, ERR_NOMEM, "no memory for the answer");
}
