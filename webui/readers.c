#include "daemon/base/clock.h"
#include "daemon/base/mem.h"
#include "webui/state.h"
#include <stdlib.h>

#define NAMES_AGE_US 5000000
#define PAGE_LOOKS   3 /* of some milliseconds each */

int webui__reader_take(struct webui *webui, struct store_reader **out, struct err *err) {
    struct webui__readers *readers = &webui->readers;
    struct store_reader *reader = NULL;
    pthread_mutex_lock(&readers->lock);
    if (readers->idle_count) {
        reader = readers->idle[--readers->idle_count];
    }
    pthread_mutex_unlock(&readers->lock);
    if (reader) {
        *out = reader;
        return 0;
    }
    return store_reader_open(webui->store, out, err);
}

void webui__reader_give(struct webui *webui, struct store_reader *reader) {
    struct webui__readers *readers = &webui->readers;
    pthread_mutex_lock(&readers->lock);
    bool room = readers->idle_count < WEBUI__READERS_MAX;
    if (room) {
        readers->idle[readers->idle_count++] = reader;
    }
    pthread_mutex_unlock(&readers->lock);
    if (!room) { /* of a thread that is about to go (webui__server_renew) */
        store_reader_close(reader);
    }
}

void webui__readers_finish(struct webui *webui) {
    struct webui__readers *readers = &webui->readers;
    while (readers->idle_count) {
        store_reader_close(readers->idle[--readers->idle_count]);
    }
    free(webui->names.cameras);
    free(webui->names.labels);
    free(webui->names.rules);
}

int webui__page_read(struct webui *webui, const struct store_filter *filter,
                     const struct store_cursor *after, size_t limit, struct store_page **out,
                     struct err *err) {
    struct store_reader *reader = NULL;
    int code = webui__reader_take(webui, &reader, err);
    if (code) {
        return code;
    }
    code = store_page_read(reader, filter, after, limit, PAGE_LOOKS, out, err);
    webui__reader_give(webui, reader);
    return code;
}

int webui__counts_read(struct webui *webui, struct store_counts *out, struct err *err) {
    struct store_reader *reader = NULL;
    int code = webui__reader_take(webui, &reader, err);
    if (code) {
        return code;
    }
    code = store_counts_read(reader, out, err);
    webui__reader_give(webui, reader);
    return code;
}

/* Under the lock. A store that cannot say leaves the names of before. */
static void names_refresh(struct webui *webui, struct webui__names *names) {
    struct store_reader *reader = NULL;
    char **cameras = NULL, **labels = NULL, **rules = NULL;
    int64_t now = clock_boot_us();
    if (names->cameras && now - names->read_boot_us < NAMES_AGE_US) {
        return;
    }
    if (webui__reader_take(webui, &reader, NULL) != 0) {
        return;
    }
    if (store_names_read(reader, &cameras, &labels, NULL) == 0) {
        free(names->cameras);
        free(names->labels);
        names->cameras = cameras;
        names->labels = labels;
        names->read_boot_us = now;
    }
    if (store_rules_read(reader, &rules, NULL) == 0) {
        free(names->rules);
        names->rules = rules;
    }
    webui__reader_give(webui, reader);
}

void webui__names_use(struct webui *webui,
                      void (*use)(void *ctx, const struct webui__names_now *names), void *ctx) {
    static char *const none[] = {NULL};
    struct webui__names *names = &webui->names;
    pthread_mutex_lock(&names->lock);
    names_refresh(webui, names);
    use(ctx, &(struct webui__names_now){.cameras = names->cameras ? names->cameras : none,
                                        .labels = names->labels ? names->labels : none,
                                        .rules = names->rules ? names->rules : none});
    pthread_mutex_unlock(&names->lock);
}
