#include "sync/sorter.h"
#include "daemon/base/fs.h"
#include "daemon/base/mem.h"
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct run {
    uint64_t at, end; /* in the file: what was not read yet */
    uint64_t begin;
    uint8_t *ahead;
    size_t next, count; /* records in it */
};

struct sorter {
    size_t record, key;
    uint8_t *gathered; /* SORTER_RUN records */
    size_t gathered_count, gathered_next;
    int fd; /* -1: all is in memory */
    uint64_t size, count;
    struct run *runs;
    size_t run_count;
    size_t heap[SORTER_RUNS]; /* runs, the one with the smallest record first */
    size_t heap_count;
    bool merging;
};

int sync__sorter_create(size_t record, size_t key, struct sorter **out, struct err *err) {
    struct sorter *sorter = mem_alloc(sizeof *sorter);
    if (sorter != NULL) {
        sorter->record = record;
        sorter->key = key;
        sorter->fd = -1;
        sorter->gathered = mem_array(SORTER_RUN, record);
        sorter->runs = mem_array(SORTER_RUNS, sizeof *sorter->runs);
    }
    if (sorter == NULL || sorter->gathered == NULL || sorter->runs == NULL) {
        sync__sorter_destroy(sorter);
        return err_set(err, ERR_NOMEM, "no memory to sort");
    }
    *out = sorter;
    return 0;
}

void sync__sorter_destroy(struct sorter *sorter) {
    if (sorter != NULL) {
        for (size_t i = 0; i < sorter->run_count; i++) {
            free(sorter->runs[i].ahead);
        }
        fd_close_at(&sorter->fd);
        free(sorter->runs);
        free(sorter->gathered);
        free(sorter);
    }
}

uint64_t sync__sorter_count(const struct sorter *sorter) {
    return sorter->count;
}

/* ---- gathering ---- */

static int by_key(const void *a, const void *b, void *ctx) {
    return memcmp(a, b, ((const struct sorter *)ctx)->key);
}

static int file_open(struct sorter *sorter, struct err *err) {
    const char *dir = getenv("TMPDIR");
    dir = dir != NULL && dir[0] != '\0' ? dir : "/var/tmp";
    int code = fs_open(dir, O_TMPFILE | O_RDWR, 0600, &sorter->fd, err);
    return code != 0 ? (err_wrap(err, "sorting needs room in %s (TMPDIR)", dir), code) : 0;
}

static int spill(struct sorter *sorter, struct err *err) {
    size_t bytes = sorter->gathered_count * sorter->record;
    if (sorter->run_count == SORTER_RUNS) {
        return err_set(err, ERR_FULL, "more than %u million records to sort",
                       SORTER_RUNS * SORTER_RUN / 1000000u);
    }
    int code = sorter->fd < 0 ? file_open(sorter, err) : 0;
    qsort_r(sorter->gathered, sorter->gathered_count, sorter->record, by_key, sorter);
    code = code != 0 ? code
                     : fs_pwrite_all(sorter->fd, sorter->gathered, bytes, sorter->size,
                                     "what is sorted", err);
    if (code == 0) {
        sorter->runs[sorter->run_count++] =
            (struct run){.begin = sorter->size, .end = sorter->size + bytes};
        sorter->size += bytes;
        sorter->gathered_count = 0;
    }
    return code;
}

int sync__sorter_add(struct sorter *sorter, const void *record, struct err *err) {
    if (sorter->gathered_count == SORTER_RUN) {
        int code = spill(sorter, err);
        if (code != 0) {
            return code;
        }
    }
    memcpy(sorter->gathered + sorter->gathered_count++ * sorter->record, record, sorter->record);
    sorter->count++;
    return 0;
}

/* ---- merging ---- */

static int run_fill(struct sorter *sorter, struct run *run, struct err *err) {
    uint64_t left = (run->end - run->at) / sorter->record;
    run->count = left < SORTER_AHEAD ? (size_t)left : SORTER_AHEAD;
    run->next = 0;
    int code = fs_pread_all(sorter->fd, run->ahead, run->count * sorter->record, run->at,
                            "what is sorted", err);
    run->at += run->count * sorter->record;
    return code;
}

static const uint8_t *head_of(const struct sorter *sorter, size_t run) {
    return sorter->runs[run].ahead + sorter->runs[run].next * sorter->record;
}

static bool is_less(const struct sorter *sorter, size_t a, size_t b) {
    int order = memcmp(head_of(sorter, a), head_of(sorter, b), sorter->key);
    return order < 0 || (order == 0 && a < b);
}

static void sift_down(struct sorter *sorter, size_t at) {
    for (;;) {
        size_t least = at, left = 2 * at + 1, right = left + 1;
        least =
            left < sorter->heap_count && is_less(sorter, sorter->heap[left], sorter->heap[least])
                ? left
                : least;
        least =
            right < sorter->heap_count && is_less(sorter, sorter->heap[right], sorter->heap[least])
                ? right
                : least;
        if (least == at) {
            return;
        }
        size_t swap = sorter->heap[at];
        sorter->heap[at] = sorter->heap[least];
        sorter->heap[least] = swap;
        at = least;
    }
}

static int merge_begin(struct sorter *sorter, struct err *err) {
    int code = 0;
    sorter->heap_count = 0;
    sorter->gathered_next = 0;
    sorter->merging = true;
    for (size_t i = 0; code == 0 && i < sorter->run_count; i++) {
        struct run *run = &sorter->runs[i];
        run->at = run->begin;
        if (run->ahead == NULL) {
            run->ahead = mem_array(SORTER_AHEAD, sorter->record);
        }
        code = run->ahead == NULL ? err_set(err, ERR_NOMEM, "no memory to sort")
                                  : run_fill(sorter, run, err);
        sorter->heap[sorter->heap_count++] = i;
    }
    for (size_t i = sorter->heap_count / 2; code == 0 && i > 0; i--) {
        sift_down(sorter, i - 1);
    }
    return code;
}

int sync__sorter_sort(struct sorter *sorter, struct err *err) {
    if (sorter->run_count == 0) { /* few: no file */
        qsort_r(sorter->gathered, sorter->gathered_count, sorter->record, by_key, sorter);
        return 0;
    }
    int code = sorter->gathered_count > 0 ? spill(sorter, err) : 0;
    free(sorter->gathered);
    sorter->gathered = NULL;
    return code;
}

int sync__sorter_next(struct sorter *sorter, void *record, struct err *err) {
    int code = sorter->merging ? 0 : merge_begin(sorter, err);
    if (code != 0) {
        return code;
    }
    if (sorter->gathered_next < sorter->gathered_count) {
        memcpy(record, sorter->gathered + sorter->gathered_next++ * sorter->record, sorter->record);
        return 0;
    }
    if (sorter->heap_count == 0) {
        return err_set(err, ERR_NOT_FOUND, "that was all");
    }
    struct run *run = &sorter->runs[sorter->heap[0]];
    memcpy(record, head_of(sorter, sorter->heap[0]), sorter->record);
    run->next++;
    if (run->next == run->count) {
        code = run_fill(sorter, run, err);
        if (code == 0 && run->count == 0) {
            sorter->heap[0] = sorter->heap[--sorter->heap_count];
        }
    }
    if (sorter->heap_count > 0) {
        sift_down(sorter, 0);
    }
    return code;
}

void sync__sorter_rewind(struct sorter *sorter) {
    sorter->merging = false;
}
