/* export: frames as a data set, sent as a tar file while it is made.
 *
 * The pictures come first, as they lie in the store, one at a time; what was found in them is
 * gathered meanwhile and comes behind them in the files of the format, when all classes are known.
 * Nothing is written to disk. Bounds: EXPORTS_MAX downloads at once, WEBUI_EXPORT_MAX frames each,
 * one picture in memory. Whoever reads slowly holds memory and a connection, no reader and no
 * thread. A filter that picks more frames ends with a note that says where the next part begins.
 * States: PICTURES -> FILES -> NOTE -> END. What fails on the way cuts the download off, so that
 * half a data set never looks whole. A tar needs no look ahead and no table at its end; a zip has
 * both.
 */
#include "daemon/base/clock.h"
#include "daemon/base/hash.h"
#include "daemon/base/log.h"
#include "daemon/base/mem.h"
#include "webui/form.h"
#include "webui/pages.h"
#include "webui/query.h"
#include "webui/state.h"
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORTS_MAX 4
#define PICKED_MAX  1000 /* frames by name; their form is within the server's bound for a body */
#define PICKED_TEXT (PICKED_MAX * HASH_ID_SIZE)
#define PIECE_MAX   (256u << 20)
#define NOTE_MAX    (1u << 20)
#define BLOCK       (256u << 10)
#define PAGE        200
#define TURNS       8 /* looks at the store between two looks at the socket */

struct export {
    struct webui *webui;
    const struct webui_dataset_ops *ops;
    void *set;
    struct store_filter filter;
    struct store_cursor after;
    struct frame_id *ids; /* owned; NULL: by the filter */
    size_t id_count, id_at;
    struct store_page *page;
    size_t page_at, seen, left_out;
    bool more; /* the filter picks frames beyond the bound */
    struct archive *tar;
    struct buf note;  /* the frames that are left out */
    struct buf piece; /* what is being sent */
    size_t sent;
    enum { PICTURES, FILES, NOTE, END } state;
};

/* ---- tar ---- */

static la_ssize_t tar_take(struct archive *tar, void *ctx, const void *bytes, size_t size) {
    struct export *export = ctx;
    buf_append(&export->piece, bytes, size);
    if (export->piece.failed) {
        archive_set_error(tar, ENOMEM, "a piece is larger than %u bytes", PIECE_MAX);
        return -1;
    }
    return (la_ssize_t)size;
}

static int tar_fault(struct export *export, struct err *err) {
    return err_set(err, ERR_NOMEM, "a data set cannot be written: %s",
                   archive_error_string(export->tar));
}

/* Unbuffered: what was written is in the piece. */
static int tar_open(struct export *export, struct err *err) {
    export->tar = archive_write_new();
    if (!export->tar) {
        return err_set(err, ERR_NOMEM, "no memory for a data set");
    }
    bool open = archive_write_set_format_ustar(export->tar) == ARCHIVE_OK &&
                archive_write_set_bytes_per_block(export->tar, 0) == ARCHIVE_OK &&
                archive_write_open(export->tar, export, NULL, tar_take, NULL) == ARCHIVE_OK;
    return open ? 0 : tar_fault(export, err);
}

static int tar_add(struct export *export, const char *name, const void *bytes, size_t size,
                   int64_t utc_us, struct err *err) {
    struct archive_entry *entry = archive_entry_new();
    if (!entry) {
        return err_set(err, ERR_NOMEM, "no memory for a data set");
    }
    archive_entry_set_pathname(entry, name);
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, 0644);
    archive_entry_set_size(entry, (la_int64_t)size);
    archive_entry_set_mtime(entry, utc_us / 1000000, 0);
    bool written = archive_write_header(export->tar, entry) == ARCHIVE_OK &&
                   archive_write_data(export->tar, bytes, size) == (la_ssize_t)size &&
                   archive_write_finish_entry(export->tar) == ARCHIVE_OK;
    archive_entry_free(entry);
    return written ? 0 : tar_fault(export, err);
}

/* ---- the frames ---- */

static void leave_out(struct export *export, const struct frame_id *id) {
    char name[HASH_ID_SIZE];
    buf_printf(&export->note, "%s\n", frame_id_format(id, name));
    export->left_out++;
}

static int picture_add(struct export *export, struct store_reader *reader,
                       const struct store_row *row, struct err *err) {
    const struct frame_record *record = &row->record;
    char name[WEBUI_FILE_NAME];
    uint8_t *bytes = NULL;
    size_t size = 0;
    int code = row->place == STORE_PLACE_LOCAL
                   ? store_blob_read(reader, record->tier, &record->blob, &bytes, &size, err)
                   : ERR_NOT_FOUND;
    if (code == ERR_NOT_FOUND) { /* it left before, or just now */
        leave_out(export, &record->id);
        return 0;
    }
    code = code ? code : export->ops->add(export->set, record, name, err);
    if (!code && name[0]) {
        code = tar_add(export, name, bytes, size, record->captured.utc_us, err);
    }
    free(bytes);
    return code;
}

static int named_next(struct export *export, struct store_reader *reader, struct err *err) {
    struct store_row *row = NULL;
    if (export->id_at == export->id_count) {
        export->state = FILES;
        return 0;
    }
    const struct frame_id *id = &export->ids[export->id_at++];
    int code = store_frame_get(reader, id, &row, err);
    if (code == ERR_NOT_FOUND) {
        leave_out(export, id);
        return 0;
    }
    code = code ? code : picture_add(export, reader, row, err);
    store_row_destroy(row);
    return code;
}

/* The next page, when this one is used up. */
static int page_turn(struct export *export, struct store_reader *reader, struct err *err) {
    bool last = export->page && !export->page->more;
    store_page_destroy(TAKE_PTR(export->page));
    export->page_at = 0;
    export->state = last ? FILES : PICTURES;
    int code = last ? 0
                    : store_page_read(reader, &export->filter, &export->after, PAGE, 1,
                                      &export->page, err);
    if (!last && !code) {
        export->after = export->page->next;
    }
    return code;
}

static int filtered_next(struct export *export, struct store_reader *reader, struct err *err) {
    if (!export->page || export->page_at == export->page->count) {
        return page_turn(export, reader, err);
    }
    const struct store_row *row = &export->page->rows[export->page_at];
    if (export->seen == WEBUI_EXPORT_MAX) {
        export->more = true;
        export->state = FILES;
        return 0;
    }
    export->seen++;
    export->page_at++;
    /* Where the next part would begin. */
    export->after = (struct store_cursor){row->record.captured.utc_us, row->seq};
    int code = picture_add(export, reader, row, err);
    if (!code && export->page_at == export->page->count) {
        export->after = export->page->next;
    }
    return code;
}

static int picture_next(struct export *export, struct err *err) {
    struct store_reader *reader = NULL;
    int code = webui__reader_take(export->webui, &reader, err);
    if (code) {
        return code;
    }
    code = export->ids ? named_next(export, reader, err) : filtered_next(export, reader, err);
    webui__reader_give(export->webui, reader);
    return code;
}

/* ---- what comes behind them ---- */

static int file_next(struct export *export, struct err *err) {
    char name[WEBUI_FILE_NAME];
    char *bytes = NULL;
    size_t size = 0;
    int code = export->ops->file(export->set, name, &bytes, &size, err);
    if (!code && bytes) {
        code = tar_add(export, name, bytes, size, clock_utc_us(), err);
    } else if (!code) {
        export->state = NOTE;
    }
    free(bytes);
    return code;
}

static int note_add(struct export *export, struct err *err) {
    int code = 0;
    CLEANUP(buf_finish) struct buf text = BUF_INIT(NOTE_MAX + 4096);
    if (export->more) {
        CLEANUP(buf_finish) struct buf query = BUF_INIT(WEBUI__URI_MAX);
        webui__query_write(&query, &export->filter);
        buf_printf(&text, "This is a part of %d frames. The next one is at\n/export?%s%safter=",
                   WEBUI_EXPORT_MAX, query.len ? query.data : "", query.len ? "&" : "");
        webui__cursor_write(&text, &export->after);
        buf_puts(&text, "\nwith the format that you want, as in &format=yolo.\n\n");
    }
    if (export->left_out) {
        buf_printf(&text, "The pictures of %zu frames have left this device:\n", export->left_out);
        buf_append(&text, export->note.data, export->note.len);
    }
    if (text.len) {
        code = tar_add(export, "left-out.txt", text.data, text.len, clock_utc_us(), err);
    }
    export->state = END;
    return !code && archive_write_close(export->tar) != ARCHIVE_OK ? tar_fault(export, err) : code;
}

/* ---- the stream ---- */

static int piece_make(struct export *export, struct err *err) {
    buf_reset(&export->piece);
    export->sent = 0;
    return export->state == PICTURES ? picture_next(export, err)
           : export->state == FILES  ? file_next(export, err)
                                     : note_add(export, err);
}

static ssize_t export_read(void *ctx, uint64_t at, char *out, size_t room) {
    struct export *export = ctx;
    struct err err = {0};
    (void)at;
    for (int turn = 0; turn < TURNS && export->sent == export->piece.len; turn++) {
        if (export->state == END) {
            return MHD_CONTENT_READER_END_OF_STREAM;
        }
        if (atomic_load(&export->webui->closing)) {
            return MHD_CONTENT_READER_END_WITH_ERROR;
        }
        if (piece_make(export, &err)) {
            log_err(LOG_LEVEL_WARN, "a data set was cut off", &err);
            return MHD_CONTENT_READER_END_WITH_ERROR;
        }
    }
    size_t left = export->piece.len - export->sent;
    size_t size = left < room ? left : room;
    if (size) { /* else later: many frames pass by before the next that the filter picks */
        memcpy(out, export->piece.data + export->sent, size);
        export->sent += size;
    }
    return (ssize_t)size;
}

static void export_done(void *ctx) {
    struct export *export = ctx;
    atomic_fetch_sub(&export->webui->exports, 1);
    if (export->ops) {
        export->ops->close(export->set);
    }
    archive_write_free(export->tar);
    store_page_destroy(export->page);
    buf_finish(&export->note);
    buf_finish(&export->piece);
    free(export->ids);
    free(export);
}

/* ---- what is asked for ---- */

/* A form with frames by name and the format. */
static int form_read(struct webui__request *request, struct export *export, char format[16],
                     struct err *err) {
    const char *body = request->body.len ? request->body.data : "";
    CLEANUP(mem_free_at) char *text = mem_alloc(PICKED_TEXT + 1);
    if (!text) {
        return err_set(err, ERR_NOMEM, "no memory for a data set");
    }
    webui__form_get(body, request->body.len, "format", format, 16);
    webui__form_get(body, request->body.len, "frames", text, PICKED_TEXT + 1);
    export->ids = mem_array(PICKED_MAX, sizeof(*export->ids));
    return export->ids ? webui__ids_parse(text, export->ids, PICKED_MAX, &export->id_count, err)
                       : err_set(err, ERR_NOMEM, "no memory for a data set");
}

static int query_read(struct webui__request *request, struct export *export, char format[16],
                      struct err *err) {
    struct webui__query query;
    snprintf(format, 16, "%s", webui__arg(request, "format"));
    int code = webui__query_read(request, PAGE, &query, err);
    if (!code) {
        export->filter = query.filter;
        export->after = query.after;
    }
    return code;
}

static void send_set(struct webui__request *request, struct export *export, const char *format) {
    char at[CLOCK_RFC3339_SIZE];
    clock_format_rfc3339(clock_utc_us(), at);
    at[13] = at[16] = '-'; /* a colon is no part of a file's name everywhere */
    webui__set_header(request, "Content-Disposition", "attachment; filename=\"creel-%s-%.19s.tar\"",
                      format, at);
    webui__reply_stream(request, "application/x-tar", BLOCK, export_read, export, export_done);
}

void webui__on_export(struct webui__request *request) {
    struct webui *webui = request->webui;
    struct err err = {0};
    char format[16] = "";
    struct export *export = mem_alloc(sizeof(*export));
    bool room = atomic_fetch_add(&webui->exports, 1) < EXPORTS_MAX;
    if (!export) {
        atomic_fetch_sub(&webui->exports, 1);
        webui__reply_problem(request, MHD_HTTP_SERVICE_UNAVAILABLE, "out of memory");
        return;
    }
    export->webui = webui;
    export->ops = webui->hooks.dataset;
    export->note.max = NOTE_MAX;
    export->piece.max = PIECE_MAX;
    int code = export->ops ? 0 : err_set(&err, ERR_NOT_FOUND, "nothing here makes data sets");
    if (!code && !room) {
        code = err_set(&err, ERR_BUSY, "%d data sets are being downloaded already: try again later",
                       EXPORTS_MAX);
    }
    code = code            ? code
           : request->post ? form_read(request, export, format, &err)
                           : query_read(request, export, format, &err);
    code = code ? code : tar_open(export, &err);
    code = code ? code : export->ops->open(webui->hooks.ctx, format, &export->set, &err);
    if (code) {
        export_done(export);
        webui__reply_err(request, &err);
        return;
    }
    send_set(request, export, format);
}
