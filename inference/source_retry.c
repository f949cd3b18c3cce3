/* See source_retry.h. Few files wait at a time, so the table is searched from end to end. */
#include "inference/source_retry.h"

#include <string.h>

int64_t source__backoff(int64_t first_us, unsigned times, int64_t longest_us) {
    return times > 30 || first_us << times > longest_us ? longest_us : first_us << times;
}

struct source__retry *source__retry_find(struct source__retries *retries, const char *name) {
    for (size_t i = 0; i < retries->count; i++) {
        if (strcmp(retries->entries[i].file.name, name) == 0) {
            return &retries->entries[i];
        }
    }
    return NULL;
}

struct source__retry *source__retry_next(struct source__retries *retries, int64_t now_us) {
    for (size_t i = 0; i < retries->count; i++) {
        if (retries->entries[i].due_us <= now_us) {
            return &retries->entries[i];
        }
    }
    return NULL;
}

int64_t source__retry_due(const struct source__retries *retries) {
    int64_t due = INT64_MAX;

    for (size_t i = 0; i < retries->count; i++) {
        due = retries->entries[i].due_us < due ? retries->entries[i].due_us : due;
    }
    return due;
}

struct source__retry *source__retry_put(struct source__retries *retries,
                                        const struct source__file *file, int64_t due_us) {
    struct source__retry *retry = source__retry_find(retries, file->name);

    if (!retry && retries->count == SOURCE__RETRY_MAX) {
        return NULL;
    }
    if (!retry || !source__file_equal(&retry->file, file)) {
        retry = retry ? retry : &retries->entries[retries->count++];
        retry->attempts = 0;
    }
    retry->file = *file;
    retry->due_us = due_us;
    retry->trying = false;
    return retry;
}

struct source__retry *source__retry_later(struct source__retries *retries,
                                          const struct source__file *file, int64_t now_us,
                                          int64_t *due_us) {
    struct source__retry *known = source__retry_find(retries, file->name);
    unsigned attempts = known && source__file_equal(&known->file, file) ? known->attempts : 0;

    *due_us = now_us + source__backoff(SOURCE__RETRY_FIRST_US, attempts, SOURCE__RETRY_LONGEST_US);
    struct source__retry *retry = source__retry_put(retries, file, *due_us);
    if (retry) {
        retry->attempts = attempts + 1;
    }
    return retry;
}

void source__retry_drop(struct source__retries *retries, struct source__retry *retry) {
    if (retry) {
        *retry = retries->entries[--retries->count];
    }
}

bool source__retry_waits(struct source__retries *retries, const struct source__file *file,
                         int64_t now_us) {
    const struct source__retry *retry = source__retry_find(retries, file->name);

    return retry && !retry->trying && source__file_equal(&retry->file, file) &&
           retry->due_us > now_us;
}
