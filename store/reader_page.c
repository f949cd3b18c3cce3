/* reader_page: pages of frames by keyset.
 *
 * A page begins behind (utc, seq) of the row before it, so a deep page costs what the first costs
 * and rows that come or go in between are neither repeated nor skipped. Every combination of
 * filters ("shape") has its own statement, made at its first use, and names the index whose order
 * the page has: the planner is not asked.
 */
#include "daemon/base/mem.h"
#include "store/reader.h"
#include <stdlib.h>
#include <string.h>

#define SQL_MAX 4096

enum shape {
    SHAPE_TIER = 1,
    SHAPE_CAMERA = 2,
    SHAPE_LABEL = 4,
    SHAPE_CONFIDENCE = 8,
    SHAPE_OLDEST = 16,
    SHAPE_SYNC_SHIFT = 5, /* two bits: enum store_sync_filter */
};

enum {
    BIND_UTC = 1,
    BIND_SEQ,
    BIND_FAR,
    BIND_LIMIT,
    BIND_TIER,
    BIND_CAMERA,
    BIND_LABEL,
    BIND_CONFIDENCE
};

static unsigned shape_of(const struct store_filter *filter) {
    return (filter->by_tier ? SHAPE_TIER : 0) | (filter->camera[0] ? SHAPE_CAMERA : 0) |
           (filter->label[0] ? SHAPE_LABEL : 0) |
           (filter->confidence_min > 0 ? SHAPE_CONFIDENCE : 0) |
           (filter->oldest_first ? SHAPE_OLDEST : 0) |
           ((unsigned)filter->sync & 3u) << SHAPE_SYNC_SHIFT;
}

#define OUTBOX_HAS                                                                                 \
    "EXISTS (SELECT 1 FROM outbox o JOIN remote ON remote.id = o.remote WHERE o.blob = f.blob AND" \
    " remote.active = 1"

static const char *const sync_conditions[] = {
    [STORE_SYNC_ANY] = "",
    [STORE_SYNC_PENDING] = " AND " OUTBOX_HAS " AND o.state <> 1)",
    [STORE_SYNC_DONE] = " AND b.receipts > 0 AND NOT " OUTBOX_HAS ")",
    [STORE_SYNC_QUARANTINED] = " AND " OUTBOX_HAS " AND o.state = 1)",
};

static void sql_write(unsigned shape, struct buf *sql) {
    bool by_label = shape & SHAPE_LABEL;
    const char *key = by_label ? "l" : "f";
    const char *order = shape & SHAPE_OLDEST ? "ASC" : "DESC";
    buf_puts(sql, "SELECT " READER_ROW_COLUMNS " FROM ");
    if (by_label) {
        buf_puts(sql, "frame_label l CROSS JOIN frame f ON f.seq = l.seq");
    } else {
        buf_printf(sql, "frame f INDEXED BY %s",
                   shape & SHAPE_CAMERA ? "frame_camera"
                   : shape & SHAPE_TIER ? "frame_tier"
                                        : "frame_utc");
    }
    buf_puts(sql, READER_ROW_TABLES);
    /* One bound of the range is the cursor, the other the far end of the time asked for. The near
     * end is in the cursor too (page_bind): with both on one side SQLite would start at the wrong
     * one and walk. */
    bool oldest = shape & SHAPE_OLDEST;
    buf_printf(sql, "WHERE (%s.utc, %s.seq) %s (?1, ?2) AND %s.utc %s ?3", key, key,
               oldest ? ">" : "<", key, oldest ? "<" : ">=");
    if (by_label) {
        buf_puts(sql, " AND l.label = (SELECT id FROM name WHERE kind = 2 AND text = ?7)");
    }
    if (shape & SHAPE_CAMERA) {
        buf_printf(sql, " AND %sf.camera = (SELECT id FROM name WHERE kind = 1 AND text = ?6)",
                   by_label ? "+" : "");
    }
    if (shape & SHAPE_TIER) {
        buf_printf(sql, " AND %sf.tier = ?5", shape & (SHAPE_LABEL | SHAPE_CAMERA) ? "+" : "");
    }
    if (shape & SHAPE_CONFIDENCE) {
        buf_printf(sql, " AND %s >= ?8", by_label ? "l.confidence" : "f.best");
    }
    buf_puts(sql, sync_conditions[shape >> SHAPE_SYNC_SHIFT]);
    buf_printf(sql, " ORDER BY %s.utc %s, %s.seq %s LIMIT ?4", key, order, key, order);
}

static int page_statement(struct store_reader *reader, unsigned shape, sqlite3_stmt **out,
                          struct err *err) {
    sqlite3_stmt **kept = &reader->pages[shape];
    if (!*kept) {
        CLEANUP(buf_finish) struct buf sql = BUF_INIT(SQL_MAX);
        sql_write(shape, &sql);
        if (sql.failed) {
            return err_set(err, ERR_NOMEM, "no memory for a page's query");
        }
        if (sqlite3_prepare_v3(reader->db.handle, sql.data, -1, SQLITE_PREPARE_PERSISTENT, kept,
                               NULL) != SQLITE_OK) {
            return store__db_error(&reader->db, "cannot read", err);
        }
    }
    sqlite3_reset(*kept);
    *out = *kept;
    return 0;
}

/* Where the page starts: behind the row before it, or at the near end of the time asked for. */
static struct store_cursor page_start(const struct store_filter *filter,
                                      const struct store_cursor *after) {
    bool from_start = !after || (after->utc_us == 0 && after->seq == 0);
    struct store_cursor start;
    if (filter->oldest_first) {
        start =
            (struct store_cursor){filter->since_us ? filter->since_us - 1 : INT64_MIN, INT64_MAX};
        return from_start || after->utc_us <= start.utc_us ? start : *after;
    }
    start = (struct store_cursor){filter->until_us ? filter->until_us : INT64_MAX, 0};
    return from_start || after->utc_us >= start.utc_us ? start : *after;
}

static void page_bind(sqlite3_stmt *statement, const struct store_filter *filter,
                      const struct store_cursor *after, size_t limit) {
    struct store_cursor start = page_start(filter, after);
    int64_t far = filter->oldest_first ? (filter->until_us ? filter->until_us : INT64_MAX)
                                       : (filter->since_us ? filter->since_us : INT64_MIN);
    int last = sqlite3_bind_parameter_count(statement);
    sqlite3_bind_int64(statement, BIND_UTC, start.utc_us);
    sqlite3_bind_int64(statement, BIND_SEQ, (int64_t)start.seq);
    sqlite3_bind_int64(statement, BIND_FAR, far);
    sqlite3_bind_int64(statement, BIND_LIMIT, (int64_t)limit + 1); /* one more tells `more` */
    if (last >= BIND_TIER) {
        sqlite3_bind_int(statement, BIND_TIER, (int)filter->tier);
    }
    if (last >= BIND_CAMERA) {
        sqlite3_bind_text(statement, BIND_CAMERA, filter->camera, -1, SQLITE_STATIC);
    }
    if (last >= BIND_LABEL) {
        sqlite3_bind_text(statement, BIND_LABEL, filter->label, -1, SQLITE_STATIC);
    }
    if (last >= BIND_CONFIDENCE) {
        sqlite3_bind_double(statement, BIND_CONFIDENCE, filter->confidence_min);
    }
}

static int page_fill(struct store_reader *reader, sqlite3_stmt *statement, size_t limit,
                     struct store_page *page, struct err *err) {
    int code = 0;
    while (!code && !(code = store__db_step(&reader->db, statement, err))) {
        if (page->count == limit) {
            page->more = true;
            break;
        }
        struct log_position place;
        struct store_row *row = &page->rows[page->count];
        code = store__row_read(statement, row, &place, err);
        if (!code) {
            page->count++;
            page->next = (struct store_cursor){row->record.captured.utc_us, row->seq};
        }
    }
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement); /* they borrow the caller's filter */
    return code == ERR_NOT_FOUND ? 0 : code;
}

static int filter_check(const struct store_filter *filter, size_t limit, struct err *err) {
    if (limit == 0 || limit > STORE_PAGE_MAX) {
        return err_set(err, ERR_INVALID, "a page has 1 to %d rows, not %zu", STORE_PAGE_MAX, limit);
    }
    if ((unsigned)filter->sync > STORE_SYNC_QUARANTINED ||
        (filter->by_tier && (unsigned)filter->tier >= TIER_COUNT)) {
        return err_set(err, ERR_INVALID, "a filter by tier %u or sync state %u means nothing",
                       (unsigned)filter->tier, (unsigned)filter->sync);
    }
    return 0;
}

int store_page_read(struct store_reader *reader, const struct store_filter *filter,
                    const struct store_cursor *after, size_t limit, struct store_page **out,
                    struct err *err) {
    sqlite3_stmt *statement = NULL;
    int code = filter_check(filter, limit, err);
    code = code ? code : store__reader_ready(reader, err);
    code = code ? code : page_statement(reader, shape_of(filter), &statement, err);
    if (code) {
        return store__reader_seen(reader, code);
    }
    struct store_page *page = mem_alloc(sizeof(*page));
    if (page) {
        page->rows = mem_array(limit, sizeof(*page->rows));
    }
    if (!page || !page->rows) {
        free(page);
        return err_set(err, ERR_NOMEM, "no memory for a page of %zu rows", limit);
    }
    page_bind(statement, filter, after, limit);
    code = page_fill(reader, statement, limit, page, err);
    if (code) {
        store_page_destroy(page);
        return store__reader_seen(reader, code);
    }
    *out = page;
    return 0;
}

void store_page_destroy(struct store_page *page) {
    if (!page) {
        return;
    }
    for (size_t i = 0; i < page->count; i++) {
        free(page->rows[i].record.detections);
    }
    free(page->rows);
    free(page);
}
