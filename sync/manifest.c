/* manifest: the books. See manifest.h.
 *
 * Goal: each event in exactly one part, whatever crashes, and no part that ever changes. So:
 *   1. Where a book is (the store's position, the numbers of its next part and row) is one value in
 * state.db; it moves only when a part is sealed.
 *   2. A part is sealed in this order: the file durable in the spool, the value durable, offered.
 * Rows that were not sealed are in memory only; after a crash they are made again from the same
 * position. A file in the spool with a number that the value does not know was never offered to
 * anybody and is thrown away; its number is not used again.
 *   3. A sealed part stays in the spool until the remote has it. Uploading it twice is harmless:
 * its name holds its number and its hash.
 * The thread waits for a poke (receipts were written), for the age of the oldest row it holds, or,
 * holding none, for as long again: labels poke nobody. A poke is answered at most once a second.
 * Rejected: parts as rows of state.db (a value there is small, and its daily copy would carry
 * them); sealing what is held at every stop (a device that restarts often would make as many
 * parts).
 */
#include "sync/manifest.h"
#include "daemon/base/clock.h"
#include "daemon/base/fs.h"
#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include "sync/engine.h"
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCH         64                /* events of one look */
#define LOOK_EACH_US  INT64_C(1000000)  /* at most, while receipts keep coming */
#define TROUBLE_US    INT64_C(10000000) /* pause after the store or the disk failed */
#define LOG_MS        60000
#define POSITION_SIZE 160

struct book {
    struct lane *lane;
    char dir[FS_PATH_MAX / 2]; /* its spool */
    struct store_reader *reader;
    struct store_events_at at; /* behind the rows in `bytes` */
    uint64_t part, row;        /* the next ones' */
    struct buf bytes;          /* rows that are not sealed */
    uint64_t rows;
    int64_t oldest_utc_us; /* of their events */
    bool ready, more;
    struct log_gate gate;

    /* under manifests->lock */
    struct manifest_name *parts; /* sealed, oldest first; MANIFEST_PARTS_MAX */
    size_t part_count;
    uint64_t counted; /* rows of parts that were sealed in this run, and of `bytes` */
};

struct manifests {
    struct sync *sync;
    struct frame_id store;
    struct book books[SYNC_REMOTES_MAX];
    unsigned rows_max;
    int64_t age_us;
    pthread_t thread;
    bool thread_runs;

    pthread_mutex_t lock;
    pthread_cond_t wanted;
    bool poked, stopping;
};

/* ---- where a book is ---- */

static int position_put(const struct book *book, uint64_t part, uint64_t row, struct err *err) {
    char text[POSITION_SIZE];
    const struct remote *remote = book->lane->remote;
    int size =
        snprintf(text, sizeof text, "1 %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64,
                 part, row, book->at.lsn, book->at.seq, book->at.within);
    return store_state_put(book->lane->sync->store, MANIFEST_SPACE, remote->identity.bytes,
                           sizeof remote->identity.bytes, text, (size_t)size, err);
}

static int position_get(struct book *book, struct err *err) {
    char text[POSITION_SIZE] = "";
    size_t size = 0;
    const struct remote *remote = book->lane->remote;
    book->part = book->row = 1;
    book->at = (struct store_events_at){0};
    int code = store_state_get(book->lane->sync->store, MANIFEST_SPACE, remote->identity.bytes,
                               sizeof remote->identity.bytes, text, sizeof text - 1, &size, err);
    if (code != 0) {
        return code == ERR_NOT_FOUND ? 0 : code;
    }
    return sscanf(text, "1 %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64, &book->part,
                  &book->row, &book->at.lsn, &book->at.seq, &book->at.within) == 5
               ? 0
               : err_set(err, ERR_CORRUPT,
                         "state.db has no readable position of the manifest of %s", remote->name);
}

/* ---- the spool ---- */

static int part_path(const struct book *book, const struct manifest_name *name,
                     char out[FS_PATH_MAX], struct err *err) {
    char file[MANIFEST_NAME_MAX];
    sync__manifest_name_format(name, file);
    return fs_join(out, FS_PATH_MAX, book->dir, file, err);
}

static int part_drop(const struct book *book, const struct manifest_name *name, struct err *err) {
    char path[FS_PATH_MAX];
    int code = part_path(book, name, path, err);
    return code != 0 ? code : fs_unlink(path, err);
}

static int by_number(const void *a, const void *b) {
    const struct manifest_name *one = a, *other = b;
    return (one->number > other->number) - (one->number < other->number);
}

static int spool_take(struct book *book, uint64_t sealed_before, const struct manifest_name *name,
                      size_t *count, struct err *err) {
    if (name->number >= sealed_before) {
        book->part = name->number >= book->part ? name->number + 1 : book->part;
        return part_drop(book, name, err);
    }
    if (*count < MANIFEST_PARTS_MAX) {
        book->parts[(*count)++] = *name; /* nobody looks there yet */
    }
    return 0;
}

static int spool_read(struct manifests *manifests, struct book *book, struct err *err) {
    uint64_t sealed_before = book->part;
    size_t count = 0;
    int code = fs_mkdirs(book->dir, err);
    if (code != 0) {
        return code;
    }
    DIR *dir = opendir(book->dir);
    if (dir == NULL) {
        return err_sys(err, errno, "cannot list %s", book->dir);
    }
    for (const struct dirent *entry = readdir(dir); code == 0 && entry != NULL;
         entry = readdir(dir)) {
        struct manifest_name name;
        if (sync__manifest_name_parse(entry->d_name, &name)) {
            code = spool_take(book, sealed_before, &name, &count, err);
        }
    }
    closedir(dir);
    qsort(book->parts, count, sizeof book->parts[0], by_number);
    pthread_mutex_lock(&manifests->lock);
    book->part_count = code == 0 ? count : 0;
    pthread_mutex_unlock(&manifests->lock);
    sync__http_wake(manifests->sync->http);
    return code;
}

/* ---- sealing ---- */

static void part_name(const struct manifests *manifests, const struct book *book,
                      struct manifest_name *out) {
    struct frame_hash sha;
    char hex[HASH_HEX_SIZE];
    hash_sha256(book->bytes.data, book->bytes.len, &sha);
    clock_format_date(clock_utc_us(), out->date);
    snprintf(out->sha, sizeof out->sha, "%.8s", hash_hex(sha.bytes, sizeof sha.bytes, hex));
    snprintf(out->store, sizeof out->store, "%.8s",
             hash_hex(manifests->store.bytes, sizeof manifests->store.bytes, hex));
    out->number = book->part;
}

static int book_seal(struct manifests *manifests, struct book *book, struct err *err) {
    struct manifest_name name = {0};
    char path[FS_PATH_MAX];
    part_name(manifests, book, &name);
    int code = part_path(book, &name, path, err);
    code =
        code != 0 ? code : fs_write_file_atomic(path, book->bytes.data, book->bytes.len, 0640, err);
    if (code != 0) {
        return code;
    }
    code = position_put(book, book->part + 1, book->row, err);
    book->part++; /* in any case: a number that was given to a file is not given again */
    if (code != 0) {
        part_drop(book, &name, NULL);
        return code;
    }
    pthread_mutex_lock(&manifests->lock);
    book->parts[book->part_count++] = name;
    pthread_mutex_unlock(&manifests->lock);
    buf_reset(&book->bytes);
    book->rows = 0;
    sync__http_wake(manifests->sync->http);
    return 0;
}

/* ---- rows ---- */

/* A frame that was forgotten, or whose receipt is gone again, has no row. */
static int row_add(struct manifests *manifests, struct book *book, const struct store_event *event,
                   struct err *err) {
    struct store_row *frame = NULL;
    struct store_receipt receipt;
    struct store_label label = {0};
    int code = store_frame_get(book->reader, &event->id, &frame, err);
    bool gone = event->kind >= STORE_EVENT_LOST;
    if (code == 0 && !gone) {
        code = store_receipt_get(book->reader, book->lane->remote->name, frame->record.tier,
                                 &frame->record.blob, &receipt, err);
    }
    if (code == 0 && frame->label_state != STORE_LABEL_NONE) {
        code = store_label_get(book->reader, &event->id, &label, err);
    }
    if (code == 0) {
        struct manifest_row row = {.event = event->kind,
                                   .number = book->row,
                                   .written_us = clock_utc_us(),
                                   .store = &manifests->store,
                                   .frame = frame,
                                   .receipt = gone ? NULL : &receipt,
                                   .label = &label};
        code = sync__manifest_row(&row, &book->bytes, err);
    }
    if (code == 0) {
        int64_t utc_us = event->kind == STORE_EVENT_KEPT ? receipt.utc_us : clock_utc_us();
        bool older = book->rows == 0 || utc_us < book->oldest_utc_us;
        book->oldest_utc_us = older ? utc_us : book->oldest_utc_us;
        book->rows++;
        book->row++;
    }
    store_row_destroy(frame);
    return code == ERR_NOT_FOUND ? 0 : code;
}

static void rows_count(struct manifests *manifests, struct book *book, uint64_t more) {
    pthread_mutex_lock(&manifests->lock);
    book->counted += more;
    pthread_mutex_unlock(&manifests->lock);
}

/* The rows of one look, or none of them. */
static int book_look(struct manifests *manifests, struct book *book, struct err *err) {
    struct store_event events[BATCH];
    struct store_events_at at = book->at;
    uint64_t left = manifests->rows_max - book->rows, row = book->row, rows = book->rows;
    size_t count = 0, length = book->bytes.len;
    int64_t oldest_utc_us = book->oldest_utc_us;
    int code =
        store_events_read(book->reader, book->lane->remote->name, &at,
                          left < BATCH ? (size_t)left : BATCH, events, &count, &book->more, err);
    for (size_t i = 0; code == 0 && i < count; i++) {
        code = row_add(manifests, book, &events[i], err);
    }
    if (code != 0) {
        book->bytes.failed = false;
        book->bytes.len = length;
        book->row = row;
        book->rows = rows;
        book->oldest_utc_us = oldest_utc_us;
        return code;
    }
    book->at = at;
    rows_count(manifests, book, book->rows - rows);
    return 0;
}

static int64_t book_age_us(const struct book *book) {
    return book->rows > 0 ? clock_utc_us() - book->oldest_utc_us : 0;
}

static bool book_is_full(const struct manifests *manifests, const struct book *book) {
    return book->rows >= manifests->rows_max || book->bytes.len >= MANIFEST_PART_BYTES;
}

static bool book_has_room(struct manifests *manifests, const struct book *book) {
    pthread_mutex_lock(&manifests->lock);
    bool room = book->part_count < MANIFEST_PARTS_MAX;
    pthread_mutex_unlock(&manifests->lock);
    return room;
}

static bool is_stopping(struct manifests *manifests) {
    pthread_mutex_lock(&manifests->lock);
    bool stopping = manifests->stopping;
    pthread_mutex_unlock(&manifests->lock);
    return stopping;
}

/* All there is to know now becomes rows, and rows become parts. */
static int book_write(struct manifests *manifests, struct book *book, struct err *err) {
    int code = 0;
    do {
        if (!book_has_room(manifests, book)) {
            return 0; /* the log remembers */
        }
        code = book_look(manifests, book, err);
        bool due = book->rows > 0 &&
                   (book_is_full(manifests, book) || book_age_us(book) >= manifests->age_us);
        if (code == 0 && due && (!book->more || book_is_full(manifests, book))) {
            code = book_seal(manifests, book, err);
        }
    } while (code == 0 && book->more && !is_stopping(manifests));
    return code;
}

/* ---- the thread ---- */

static int book_open(struct manifests *manifests, struct book *book, struct err *err) {
    if (book->ready) {
        return 0;
    }
    int code =
        book->reader != NULL ? 0 : store_reader_open(book->lane->sync->store, &book->reader, err);
    code = code != 0 ? code : position_get(book, err);
    code = code != 0 ? code : spool_read(manifests, book, err);
    book->ready = code == 0;
    return code;
}

/* When to look at this book again, if nobody pokes. */
static int64_t book_next_us(const struct manifests *manifests, const struct book *book, int code,
                            int64_t now_us) {
    if (code != 0) {
        return now_us + TROUBLE_US;
    }
    int64_t left_us = manifests->age_us - book_age_us(book);
    left_us =
        left_us < manifests->age_us ? left_us : manifests->age_us; /* the clock was set back */
    return now_us + (left_us > LOOK_EACH_US ? left_us : LOOK_EACH_US);
}

static void trouble_note(struct book *book, const struct err *err) {
    uint64_t missed = 0;
    char text[ERR_TEXT_MAX * 2];
    if (log_gate_open(&book->gate, LOG_MS, &missed)) {
        log_warn("the manifest waits; its rows are not lost",
                 "remote=%s error=\"%s\" more=%" PRIu64, book->lane->remote->name,
                 err_text(err, text, sizeof text), missed);
    }
}

static int64_t look_at_all(struct manifests *manifests) {
    int64_t next_us = INT64_MAX;
    for (size_t i = 0; i < manifests->sync->lane_count && !is_stopping(manifests); i++) {
        struct book *book = &manifests->books[i];
        if (book->lane == NULL) {
            continue;
        }
        struct err err = {0};
        int code = book_open(manifests, book, &err);
        code = code != 0 ? code : book_write(manifests, book, &err);
        if (code != 0 && code != ERR_NOT_FOUND && code != ERR_BUSY) { /* an index that is begun */
            trouble_note(book, &err);
        }
        int64_t at_us = book_next_us(manifests, book, code, clock_boot_us());
        next_us = at_us < next_us ? at_us : next_us;
    }
    return next_us;
}

static void wait_until(struct manifests *manifests, int64_t at_us) {
    int64_t wait_us = at_us - clock_boot_us();
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    int64_t nsec = until.tv_nsec + (wait_us > 0 ? wait_us % 1000000 * 1000 : 0);
    until.tv_sec += (wait_us > 0 ? wait_us / 1000000 : 0) + nsec / 1000000000;
    until.tv_nsec = nsec % 1000000000;
    pthread_cond_timedwait(&manifests->wanted, &manifests->lock, &until);
}

static void *books_run(void *ctx) {
    struct manifests *manifests = ctx;
    while (!is_stopping(manifests)) {
        int64_t next_us = look_at_all(manifests), soon_us = clock_boot_us() + LOOK_EACH_US;
        pthread_mutex_lock(&manifests->lock);
        while (!manifests->stopping &&
               clock_boot_us() < (manifests->poked && soon_us < next_us ? soon_us : next_us)) {
            wait_until(manifests, manifests->poked && soon_us < next_us ? soon_us : next_us);
        }
        manifests->poked = false;
        pthread_mutex_unlock(&manifests->lock);
    }
    return NULL;
}

/* ---- life ---- */

static int book_init(struct book *book, struct lane *lane, const char *spool, struct err *err) {
    char hex[HASH_HEX_SIZE];
    hash_hex(lane->remote->identity.bytes, 8, hex);
    int size = snprintf(book->dir, sizeof book->dir, "%s/%s-%.8s", spool, lane->remote->name, hex);
    if (size < 0 || (size_t)size >= sizeof book->dir) {
        return err_set(err, ERR_CONFIG, "the path %.80s… is too long", spool);
    }
    book->bytes = (struct buf)BUF_INIT(MANIFEST_PART_MAX);
    book->parts = mem_array(MANIFEST_PARTS_MAX, sizeof book->parts[0]);
    book->lane = lane;
    return book->parts != NULL ? 0 : err_set(err, ERR_NOMEM, "no memory for the manifest");
}

static void wanted_init(struct manifests *manifests) {
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&manifests->wanted, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&manifests->lock, NULL);
}

int sync__manifests_start(struct sync *sync, struct manifests **out, struct err *err) {
    const struct sync_config *config = &sync->config;
    struct manifests *manifests = mem_alloc(sizeof *manifests);
    if (manifests == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for the manifest");
    }
    wanted_init(manifests);
    manifests->sync = sync;
    manifests->rows_max = config->manifest_rows > 0 ? config->manifest_rows : MANIFEST_ROWS;
    manifests->age_us =
        (config->manifest_age_ms > 0 ? config->manifest_age_ms : MANIFEST_AGE_MS) * INT64_C(1000);
    store_uuid(sync->store, &manifests->store);
    int code = 0;
    bool any = false;
    for (size_t i = 0; code == 0 && i < sync->lane_count; i++) {
        if (config->remotes[i].manifest) {
            code = book_init(&manifests->books[i], &sync->lanes[i], config->spool_dir, err);
            any = true;
        }
    }
    if (code == 0 && any) {
        code = sync__thread_start(&manifests->thread, "creel-manifest", books_run, manifests, err);
        manifests->thread_runs = code == 0;
    }
    if (code != 0) {
        sync__manifests_destroy(manifests);
        return code;
    }
    *out = manifests;
    return 0;
}

void sync__manifests_stop(struct manifests *manifests) {
    if (manifests == NULL || !manifests->thread_runs) {
        return;
    }
    pthread_mutex_lock(&manifests->lock);
    manifests->stopping = true;
    pthread_cond_signal(&manifests->wanted);
    pthread_mutex_unlock(&manifests->lock);
    pthread_join(manifests->thread, NULL);
    manifests->thread_runs = false;
    for (size_t i = 0; i < SYNC_REMOTES_MAX; i++) { /* before the store closes */
        store_reader_close(manifests->books[i].reader);
        manifests->books[i].reader = NULL;
    }
}

void sync__manifests_destroy(struct manifests *manifests) {
    if (manifests == NULL) {
        return;
    }
    for (size_t i = 0; i < SYNC_REMOTES_MAX; i++) {
        buf_finish(&manifests->books[i].bytes);
        free(manifests->books[i].parts);
    }
    pthread_cond_destroy(&manifests->wanted);
    pthread_mutex_destroy(&manifests->lock);
    free(manifests);
}

void sync__manifests_poke(struct manifests *manifests) {
    if (manifests == NULL) {
        return;
    }
    pthread_mutex_lock(&manifests->lock);
    if (!manifests->poked) {
        manifests->poked = true;
        pthread_cond_signal(&manifests->wanted);
    }
    pthread_mutex_unlock(&manifests->lock);
}

/* ---- what the loop asks ---- */

bool sync__manifests_offer(struct manifests *manifests, size_t lane, struct manifest_name *out) {
    if (manifests == NULL) {
        return false;
    }
    const struct book *book = &manifests->books[lane];
    pthread_mutex_lock(&manifests->lock);
    bool any = book->part_count > 0;
    if (any) {
        *out = book->parts[0];
    }
    pthread_mutex_unlock(&manifests->lock);
    return any;
}

int sync__manifests_read(struct manifests *manifests, size_t lane, const struct manifest_name *name,
                         uint8_t **bytes, size_t *size, struct err *err) {
    CLEANUP(buf_finish) struct buf text = BUF_INIT(MANIFEST_PART_MAX);
    char path[FS_PATH_MAX], hex[HASH_HEX_SIZE];
    struct frame_hash sha;
    int code = part_path(&manifests->books[lane], name, path, err);
    code = code != 0 ? code : fs_read_file(path, &text, err);
    if (code != 0) {
        return code;
    }
    hash_sha256(text.data, text.len, &sha);
    if (strncmp(hash_hex(sha.bytes, sizeof sha.bytes, hex), name->sha, 8) != 0) {
        return err_set(err, ERR_CORRUPT, "%s is not what was sealed under this name", path);
    }
    *bytes = (uint8_t *)buf_take(&text, size);
    return *bytes != NULL ? 0 : err_set(err, ERR_NOMEM, "no memory for a part of the manifest");
}

void sync__manifests_sent(struct manifests *manifests, size_t lane,
                          const struct manifest_name *name, bool there) {
    struct book *book = &manifests->books[lane];
    struct err err = {0};
    if (there && part_drop(book, name, &err) !=
                     0) { /* it is sent again after a restart, and is there then */
        log_err(LOG_LEVEL_WARN, "a part of the manifest stays in the spool", &err);
    }
    pthread_mutex_lock(&manifests->lock);
    for (size_t i = 0; i < book->part_count; i++) {
        if (book->parts[i].number == name->number) {
            memmove(&book->parts[i], &book->parts[i + 1],
                    (book->part_count - i - 1) * sizeof book->parts[0]);
            book->part_count--;
            break;
        }
    }
    bool had_no_room = book->part_count == MANIFEST_PARTS_MAX - 1;
    pthread_mutex_unlock(&manifests->lock);
    if (had_no_room) {
        sync__manifests_poke(manifests);
    }
}

void sync__manifests_count(struct manifests *manifests, size_t lane, uint64_t *rows,
                           uint64_t *waiting) {
    *rows = *waiting = 0;
    if (manifests != NULL) {
        pthread_mutex_lock(&manifests->lock);
        *rows = manifests->books[lane].counted;
        *waiting = manifests->books[lane].part_count;
        pthread_mutex_unlock(&manifests->lock);
    }
}
