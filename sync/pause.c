/* pause: what a person has told to wait. A row of the store's state for each paused remote, and one
 * for all of them, so that it survives restarts, whoever wrote it. */
#include "daemon/base/mem.h"
#include "sync/engine.h"
#include <string.h>

#define PAUSE_SPACE "sync-pause"
#define PAUSE_ALL   "*" /* no remote can have that name */

static int row_get(struct store *store, const char *name, bool *paused, struct err *err) {
    char mark;
    size_t size = 0;
    int code =
        store_state_get(store, PAUSE_SPACE, name, strlen(name), &mark, sizeof mark, &size, err);
    *paused = code == 0;
    return code == ERR_NOT_FOUND ? 0 : code;
}

int sync_pause_get(struct store *store, const char *remote, bool *paused, struct err *err) {
    bool all = false, one = false;
    int code = row_get(store, PAUSE_ALL, &all, err);
    code = code != 0 ? code : row_get(store, remote, &one, err);
    if (code == 0) {
        *paused = all || one;
    }
    return code;
}

static int row_put(struct store *store, const char *name, bool paused, struct err *err) {
    return paused ? store_state_put(store, PAUSE_SPACE, name, strlen(name), "1", 1, err)
                  : store_state_drop(store, PAUSE_SPACE, name, strlen(name), err);
}

/* One remote resumes where all were paused: the others stay paused, each by itself. */
static int all_split(struct store *store, const char *remote, const char *const *remotes,
                     size_t count, struct err *err) {
    bool all = false;
    int code = row_get(store, PAUSE_ALL, &all, err);
    for (size_t i = 0; code == 0 && all && i < count; i++) {
        code = row_put(store, remotes[i], strcmp(remotes[i], remote) != 0, err);
    }
    return code == 0 && all ? row_put(store, PAUSE_ALL, false, err) : code;
}

int sync_pause_set(struct store *store, const char *remote, const char *const *remotes,
                   size_t count, bool paused, struct err *err) {
    int code = 0;
    if (remote == NULL) {
        code = row_put(store, PAUSE_ALL, paused, err);
        for (size_t i = 0; code == 0 && !paused && i < count; i++) {
            code = row_put(store, remotes[i], false, err);
        }
        return code;
    }
    if (!paused) {
        code = all_split(store, remote, remotes, count, err);
    }
    return code != 0 ? code : row_put(store, remote, paused, err);
}

int sync_pause_reload(struct sync *sync, struct err *err) {
    int code = 0;
    for (size_t i = 0; code == 0 && i < sync->lane_count; i++) {
        bool paused = false;
        code = sync_pause_get(sync->store, sync->lanes[i].remote->name, &paused, err);
        if (code == 0) {
            atomic_store(&sync->lanes[i].paused, paused);
        }
    }
    if (sync->loop_runs) {
        sync__http_wake(sync->http);
    }
    return code;
}
