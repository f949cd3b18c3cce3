/* Who may come in at the gallery and at ingest. A running server hears of every change at once. */
#include "daemon/base/mem.h"
#include "daemon/document.h"
#include "daemon/requests.h"
#include <string.h>

#define DAYS_MAX 36500

/* The end of every change. */
static int changed(const struct rooms *rooms, int code, json_t *done, json_t **reply,
                   struct err *err) {
    code = code || !rooms->webui ? code : webui_access_reload(rooms->webui, err);
    if (!code && !done) {
        code = err_set(err, ERR_NOMEM, "no memory for the answer");
    }
    if (code) {
        json_decref(done);
        return code;
    }
    *reply = done;
    return 0;
}

static int listed(json_t *list, const char *key, json_t **reply, struct err *err) {
    *reply = list ? json_pack("{s:o}", key, list) : NULL;
    return *reply ? 0 : err->code ? err->code : err_set(err, ERR_NOMEM, "no memory for the answer");
}

int answer_user_add(const struct rooms *rooms, const json_t *request, json_t **reply,
                    struct control_bytes *bytes, struct err *err) {
    enum webui_role role = WEBUI_NOBODY;
    (void)bytes;
    const char *name = document_text(request, "name");
    if (!webui_role_parse(document_text(request, "role"), &role)) {
        return err_set(err, ERR_INVALID, "a role is viewer or admin");
    }
    int code = webui_user_add(rooms->store, name, role, document_text(request, "password"), err);
    return changed(rooms, code, json_pack("{s:s}", "name", name), reply, err);
}

int answer_user_passwd(const struct rooms *rooms, const json_t *request, json_t **reply,
                       struct control_bytes *bytes, struct err *err) {
    (void)bytes;
    const char *name = document_text(request, "name");
    int code = webui_user_passwd(rooms->store, name, document_text(request, "password"), err);
    return changed(rooms, code, json_pack("{s:s}", "name", name), reply, err);
}

int answer_user_rm(const struct rooms *rooms, const json_t *request, json_t **reply,
                   struct control_bytes *bytes, struct err *err) {
    (void)bytes;
    const char *name = document_text(request, "name");
    int code = webui_user_drop(rooms->store, name, err);
    return changed(rooms, code, json_pack("{s:s}", "name", name), reply, err);
}

int answer_user_ls(const struct rooms *rooms, const json_t *request, json_t **reply,
                   struct control_bytes *bytes, struct err *err) {
    (void)bytes;
    (void)request;
    return listed(webui_users_json(rooms->store, err), "users", reply, err);
}

int answer_token_add(const struct rooms *rooms, const json_t *request, json_t **reply,
                     struct control_bytes *bytes, struct err *err) {
    char token[WEBUI_TOKEN_SIZE] = "";
    unsigned scopes = 0;
    (void)bytes;
    const char *name = document_text(request, "name");
    json_int_t days = json_integer_value(json_object_get(request, "days"));
    if (!webui_scopes_parse(document_text(request, "scope"), &scopes)) {
        return err_set(err, ERR_INVALID,
                       "--scope takes read, write, ingest, or several with "
                       "commas between them");
    }
    if (days < 0 || days > DAYS_MAX) {
        return err_set(err, ERR_INVALID, "--days takes 1 to %d", DAYS_MAX);
    }
    int code = webui_token_add(rooms->store, name, scopes, (int)days, token, err);
    code = changed(rooms, code, json_pack("{s:s,s:s}", "name", name, "token", token), reply, err);
    explicit_bzero(token, sizeof(token));
    return code;
}

int answer_token_rm(const struct rooms *rooms, const json_t *request, json_t **reply,
                    struct control_bytes *bytes, struct err *err) {
    (void)bytes;
    const char *name = document_text(request, "name");
    int code = webui_token_drop(rooms->store, name, err);
    return changed(rooms, code, json_pack("{s:s}", "name", name), reply, err);
}

int answer_token_ls(const struct rooms *rooms, const json_t *request, json_t **reply,
                    struct control_bytes *bytes, struct err *err) {
    (void)bytes;
    (void)request;
    return listed(webui_tokens_json(rooms->store, err), "tokens", reply, err);
}
