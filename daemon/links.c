#include "daemon/base/clock.h"
#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include "daemon/requests.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *kind_name(enum sync_kind kind) {
    switch (kind) {
    case SYNC_DIRECTORY:
        return "directory";
    case SYNC_AZURE:
        return "azure";
    case SYNC_S3:
        return "s3";
    }
    return "unknown";
}

int link_mint(const struct config_values *values, struct sync *sync, struct store_reader *reader,
              const struct store_row *row, int ttl_s, char out[SYNC_LINK_MAX], const char **kind,
              struct err *err) {
    int code = err_set(err, ERR_NOT_FOUND,
                       "the frame is at no remote yet; `creel status` shows the backlog");
    for (size_t i = 0; i < values->sync.remote_count; i++) {
        const struct sync_remote_config *remote = &values->sync.remotes[i];
        struct store_receipt receipt;
        struct err tried = {0};
        int found = store_receipt_get(reader, remote->name, row->record.tier, &row->record.blob,
                                      &receipt, &tried);
        if (found == ERR_NOT_FOUND) {
            continue;
        }
        code = found  ? found
               : sync ? sync_link_get(sync, remote->name, row->record.tier, receipt.key, ttl_s, out,
                                      &tried)
                      : sync_link_create(remote, row->record.tier, receipt.key, ttl_s, out, &tried);
        if (!code) {
            code = sync_link_try(remote, out, &tried);
        }
        if (!code) {
            *kind = kind_name(remote->kind);
            return 0;
        }
        if (err) {
            *err = tried;
        }
    }
    return code;
}

void link_origins(const struct config_values *values, char out[LINK_ORIGINS_MAX]) {
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < values->sync.remote_count; i++) {
        char origin[SYNC_ORIGIN_MAX];
        if (sync_link_origin(&values->sync.remotes[i], origin, NULL) == 0 && origin[0]) {
            used += (size_t)snprintf(out + used, LINK_ORIGINS_MAX - used, "%s%s", used ? " " : "",
                                     origin);
        }
    }
}

void link_host(const char *listen, char out[LINK_HOST_MAX]) {
    static const char *const everywhere[] = {"", "0.0.0.0", "[::]", "::"};
    const char *colon = strrchr(listen, ':');
    snprintf(out, LINK_HOST_MAX, "%.*s", (int)(colon ? colon - listen : 0), listen);
    for (size_t i = 0; i < ARRAY_LENGTH(everywhere); i++) {
        if (strcmp(out, everywhere[i]) == 0) {
            char name[LINK_HOST_MAX] = "";
            bool named = gethostname(name, sizeof(name) - 1) == 0 && name[0];
            snprintf(out, LINK_HOST_MAX, "%s", named ? name : "localhost");
            return;
        }
    }
}

int link_key_get(struct store *store, uint8_t key[32], struct err *err) {
    static const char name[] = "hmac-sha256";
    size_t size;
    int code = store_state_get(store, "link", name, sizeof(name) - 1, key, 32, &size, err);
    if (code == 0 && size == 32) {
        return 0;
    }
    if (code && code != ERR_NOT_FOUND) {
        return code;
    }
    hash_random(key, 32);
    return store_state_put(store, "link", name, sizeof(name) - 1, key, 32, err);
}
