/* reader_page: pages of frames by keyset.
 *
 * A page begins behind (utc, seq) of the row before it, so a deep page costs what the first costs
 * and rows that come or go in between are neither repeated nor skipped. Every combination of
 * filters ("shape") has its own statement, made at its first use, and names the index whose order
 * the page has ("driver"): the planner is not asked.
 *
 * Invariant: a page looks at no more than READER_LOOKS entries of its driver. Where a filter picks
 * a few frames out of many, the page ends there with what it found, perhaps nothing, says `more`
 * and where it came to. So each page takes milliseconds, whatever is asked for and however much is
 * kept. Rejected: an index for each combination, which every frame would pay for when it is kept.
 * What is rare and counted (quarantined, waiting, or confirmed frames, while they are few) is found
 * from its own table and sorted.
 */
#include "daemon/base/mem.h"
#include "store/reader.h"
#include <stdlib.h>
#include <string.h>

#define SQL_MAX 4096
#define FEW_MAX 1000 /* blobs that are worth sorting */

enum shape {
    SHAPE_TIER = 1,
    SHAPE_CAMERA = 2,
    SHAPE_LABEL = 4,
    SHAPE_CONFIDENCE = 8,
    SHAPE_OLDEST = 16,
    SHAPE_SYNC_SHIFT = 5, /* two bits: enum store_sync_filter */
    SHAPE_FEW = 128,      /* the sync state's own table drives */
    SHAPE_PINNED = 256,
    SHAPE_JUDGED = 512, /* by label state */
    SHAPE_RULE = 1024,
    SHAPE_UNJUDGED = 2048,
};

enum {
    BIND_UTC = 1,
    BIND_SEQ,
    BIND_FAR,
    BIND_LIMIT,
    BIND_TIER,
    BIND_CAMERA,
    BIND_LABEL,
    BIND_CONFIDENCE,
    BIND_JUDGED,
    BIND_RULE,
};

static unsigned shape_judged(const struct store_filter *filter) {
    if (!filter->by_label_state) {
        return 0;
    }
    return filter->label_state == STORE_LABEL_NONE ? SHAPE_UNJUDGED : SHAPE_JUDGED;
}

static unsigned shape_of(const struct store_filter *filter) {
    return (filter->by_tier ? SHAPE_TIER : 0) | (filter->camera[0] ? SHAPE_CAMERA : 0) |
           (filter->label[0] ? SHAPE_LABEL : 0) |
           (filter->confidence_min > 0 ? SHAPE_CONFIDENCE : 0) |
           (filter->oldest_first ? SHAPE_OLDEST : 0) |
           ((unsigned)filter->sync & 3u) << SHAPE_SYNC_SHIFT | (filter->pinned ? SHAPE_PINNED : 0) |
           (filter->rule[0] ? SHAPE_RULE : 0) | shape_judged(filter);
}

static enum store_sync_filter shape_sync(unsigned shape) {
    return shape >> SHAPE_SYNC_SHIFT & 3u;
}

/* ---- what drives a page ---- */

enum driver { /* the most selective first */
              DRIVER_FEW,
              DRIVER_PINNED,
              DRIVER_JUDGED,
              DRIVER_LABEL,
              DRIVER_CAMERA,
              DRIVER_TIER,
              DRIVER_UTC,
};

static const struct {
    unsigned shape;    /* the bits that ask for it, and that it answers by itself */
    const char *table; /* NULL: by the sync state */
    const char *where; /* what its order begins with */
} drivers[] = {
    [DRIVER_FEW] = {SHAPE_FEW, NULL, ""},
    [DRIVER_PINNED] = {SHAPE_PINNED, "frame f INDEXED BY frame_pinned", " AND f.pinned = 1"},
    [DRIVER_JUDGED] = {SHAPE_JUDGED, "frame f INDEXED BY frame_judged",
                       " AND f.label_state = ?9 AND f.label_state > 0"},
    [DRIVER_LABEL] = {SHAPE_LABEL, "frame_label l",
                      " AND l.label = (SELECT id FROM name WHERE kind = 2 AND text = ?7)"},
    [DRIVER_CAMERA] = {SHAPE_CAMERA, "frame f INDEXED BY frame_camera",
                       " AND f.camera = (SELECT id FROM name WHERE kind = 1 AND text = ?6)"},
    [DRIVER_TIER] = {SHAPE_TIER, "frame f INDEXED BY frame_tier", " AND f.tier = ?5"},
    [DRIVER_UTC] = {0, "frame f INDEXED BY frame_utc", ""},
};

static enum driver driver_of(unsigned shape) {
    enum driver driver = DRIVER_FEW;
    while (driver < DRIVER_UTC && !(shape & drivers[driver].shape)) {
        driver++;
    }
    return driver;
}

/* Does the driver alone pick the rows, all in order? Then nothing is looked at in vain. */
static bool driver_is_all(unsigned shape) {
    unsigned answered = SHAPE_OLDEST | drivers[driver_of(shape)].shape;
    return !(shape & ~answered) || driver_of(shape) == DRIVER_FEW;
}

#define ACTIVE_ROWS                                                                                \
    "FROM remote CROSS JOIN outbox o ON o.remote = remote.id WHERE remote.active = 1 AND o.state "

static const char *const few_tables[] = {
    [STORE_SYNC_PENDING] = "(SELECT DISTINCT o.blob " ACTIVE_ROWS "IN (0, 2)) q",
    [STORE_SYNC_DONE] = "(SELECT DISTINCT blob FROM receipt) q",
    [STORE_SYNC_QUARANTINED] = "(SELECT DISTINCT o.blob " ACTIVE_ROWS "= 1) q",
};

#define OUTBOX_HAS                                                                                 \
    "EXISTS (SELECT 1 FROM outbox o JOIN remote ON remote.id = o.remote WHERE o.blob = f.blob AND" \
    " remote.active = 1"

static const char *const sync_conditions[] = {
    [STORE_SYNC_ANY] = "",
    [STORE_SYNC_PENDING] = " AND " OUTBOX_HAS " AND o.state <> 1)",
    [STORE_SYNC_DONE] = " AND b.receipts > 0 AND NOT " OUTBOX_HAS ")",
    [STORE_SYNC_QUARANTINED] = " AND " OUTBOX_HAS " AND o.state = 1)",
};

/* Are there so few blobs in the state that is asked for that they can be sorted? */
static int sync_is_few(struct store_reader *reader, unsigned *shape, struct err *err) {
    sqlite3_stmt *statement;
    uint64_t counts[STORE_SYNC_QUARANTINED + 1] = {0};
    if (shape_sync(*shape) == STORE_SYNC_ANY) {
        return 0;
    }
    int code = store__db_bind(&reader->db, READER_SYNC_COUNTS, &statement, err, "");
    code = code ? code : store__db_step(&reader->db, statement, err);
    if (code) {
        return code;
    }
    store__db_columns(statement, "uuu", &counts[STORE_SYNC_PENDING], &counts[STORE_SYNC_DONE],
                      &counts[STORE_SYNC_QUARANTINED]);
    sqlite3_reset(statement);
    *shape |= counts[shape_sync(*shape)] <= FEW_MAX ? SHAPE_FEW : 0;
    return 0;
}

/* ---- statements ---- */

static void sql_from(unsigned shape, struct buf *sql) {
    enum driver driver = driver_of(shape);
    if (driver == DRIVER_FEW) {
        buf_printf(sql, "%s CROSS JOIN frame f INDEXED BY frame_blob ON f.blob = q.blob",
                   few_tables[shape_sync(shape)]);
    } else {
        buf_puts(sql, drivers[driver].table);
    }
}

/* The driver's own condition and its range. One bound of the range is the cursor, the other the far
 * end of the time asked for. The near end is in the cursor too (page_start): with both on one side
 * SQLite would start at the wrong one and walk. */
static void sql_range(unsigned shape, struct buf *sql) {
    const char *key = driver_of(shape) == DRIVER_LABEL ? "l" : "f";
    bool oldest = shape & SHAPE_OLDEST;
    buf_printf(sql, " WHERE (%s.utc, %s.seq) %s (?1, ?2) AND %s.utc %s ?3%s", key, key,
               oldest ? ">" : "<", key, oldest ? "<=" : ">=", drivers[driver_of(shape)].where);
}

static void sql_order(unsigned shape, struct buf *sql) {
    const char *key = driver_of(shape) == DRIVER_LABEL ? "l" : "f";
    const char *order = shape & SHAPE_OLDEST ? "ASC" : "DESC";
    buf_printf(sql, " ORDER BY %s.utc %s, %s.seq %s LIMIT ", key, order, key, order);
}

/* `+` keeps the planner from another index. */
static void sql_rest(unsigned shape, struct buf *sql) {
    unsigned left = shape & ~drivers[driver_of(shape)].shape;
    bool by_label = driver_of(shape) == DRIVER_LABEL;
    if (left & SHAPE_LABEL) {
        buf_puts(sql, " AND EXISTS (SELECT 1 FROM frame_label l WHERE l.label = (SELECT id FROM"
                      " name WHERE kind = 2 AND text = ?7) AND l.utc = f.utc AND l.seq = f.seq");
        buf_puts(sql, left & SHAPE_CONFIDENCE ? " AND l.confidence >= ?8)" : ")");
    } else if (left & SHAPE_CONFIDENCE) {
        buf_puts(sql, by_label ? " AND l.confidence >= ?8" : " AND f.best >= ?8");
    }
    if (left & SHAPE_CAMERA) {
        buf_puts(sql, " AND +f.camera = (SELECT id FROM name WHERE kind = 1 AND text = ?6)");
    }
    buf_puts(sql, left & SHAPE_TIER ? " AND +f.tier = ?5" : "");
    buf_puts(sql, left & SHAPE_PINNED ? " AND +f.pinned = 1" : "");
    buf_puts(sql, left & SHAPE_JUDGED ? " AND +f.label_state = ?9" : "");
    buf_puts(sql, left & SHAPE_UNJUDGED ? " AND +f.label_state = 0" : "");
    if (left & SHAPE_RULE) {
        buf_puts(sql, " AND +f.rule = (SELECT id FROM name WHERE kind = 3 AND text = ?10)");
    }
    buf_puts(sql, sync_conditions[shape_sync(shape)]);
}

static void sql_page(unsigned shape, struct buf *sql) {
    buf_puts(sql, "SELECT " READER_ROW_COLUMNS " FROM ");
    sql_from(shape, sql);
    buf_puts(sql, driver_of(shape) == DRIVER_LABEL ? " CROSS JOIN frame f ON f.seq = l.seq" : "");
    buf_puts(sql, READER_ROW_TABLES);
    sql_range(shape, sql);
    sql_rest(shape, sql);
    sql_order(shape, sql);
    buf_puts(sql, "?4");
}

/* The entry of the driver up to which a page looks. */
static void sql_edge(unsigned shape, struct buf *sql) {
    const char *key = driver_of(shape) == DRIVER_LABEL ? "l" : "f";
    buf_printf(sql, "SELECT %s.utc, %s.seq FROM ", key, key);
    sql_from(shape, sql);
    sql_range(shape, sql);
    sql_order(shape, sql);
    buf_puts(sql, "1 OFFSET ?4");
}

/* The times of the rows, in the driver's order. */
static void sql_hours(unsigned shape, struct buf *sql) {
    const char *key = driver_of(shape) == DRIVER_LABEL ? "l" : "f";
    buf_printf(sql, "SELECT %s.utc FROM ", key);
    sql_from(shape, sql);
    buf_puts(sql, driver_of(shape) == DRIVER_LABEL ? " CROSS JOIN frame f ON f.seq = l.seq" : "");
    buf_puts(sql, shape_sync(shape) ? " CROSS JOIN blob b ON b.id = f.blob" : "");
    sql_range(shape, sql);
    sql_rest(shape, sql);
    sql_order(shape, sql);
    buf_puts(sql, "?4");
}

static void kept_at_front(struct store_reader *reader, size_t at) {
    struct reader_query found = reader->queries[at];
    memmove(&reader->queries[1], &reader->queries[0], at * sizeof(found));
    reader->queries[0] = found;
}

enum asked { ASKED_PAGE, ASKED_EDGE, ASKED_HOURS };

static void (*const sql_asked[])(unsigned shape, struct buf *sql) = {sql_page, sql_edge, sql_hours};

/* The statement of a shape, from those used last. */
static int query_get(struct store_reader *reader, unsigned shape, enum asked asked,
                     sqlite3_stmt **out, struct err *err) {
    size_t at = 0;
    unsigned key = shape << 2 | asked;
    while (at < READER_QUERIES - 1 && reader->queries[at].statement &&
           reader->queries[at].key != key) {
        at++;
    }
    struct reader_query *query = &reader->queries[at];
    if (!query->statement || query->key != key) {
        CLEANUP(buf_finish) struct buf sql = BUF_INIT(SQL_MAX);
        sql_asked[asked](shape, &sql);
        if (sql.failed) {
            return err_set(err, ERR_NOMEM, "no memory for a page's query");
        }
        sqlite3_finalize(query->statement);
        *query = (struct reader_query){.key = key};
        if (sqlite3_prepare_v3(reader->db.handle, sql.data, -1, SQLITE_PREPARE_PERSISTENT,
                               &query->statement, NULL) != SQLITE_OK) {
            return store__db_error(&reader->db, "cannot read", err);
        }
    }
    kept_at_front(reader, at);
    *out = reader->queries[0].statement;
    sqlite3_reset(*out);
    return 0;
}

/* ---- a page ---- */

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

/* The last time asked for, in the direction of the page. */
static int64_t page_far(const struct store_filter *filter) {
    if (filter->oldest_first) {
        return filter->until_us ? filter->until_us - 1 : INT64_MAX;
    }
    return filter->since_us ? filter->since_us : INT64_MIN;
}

static void query_bind(sqlite3_stmt *statement, const struct store_filter *filter,
                       const struct store_cursor *start, int64_t far, size_t limit) {
    int last = sqlite3_bind_parameter_count(statement);
    sqlite3_bind_int64(statement, BIND_UTC, start->utc_us);
    sqlite3_bind_int64(statement, BIND_SEQ, (int64_t)start->seq);
    sqlite3_bind_int64(statement, BIND_FAR, far);
    sqlite3_bind_int64(statement, BIND_LIMIT, (int64_t)limit);
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
    if (last >= BIND_JUDGED) {
        sqlite3_bind_int(statement, BIND_JUDGED, (int)filter->label_state);
    }
    if (last >= BIND_RULE) {
        sqlite3_bind_text(statement, BIND_RULE, filter->rule, -1, SQLITE_STATIC);
    }
}

struct span { /* of one page in its driver's order */
    struct store_cursor start, edge;
    int64_t far;
    bool has_edge; /* the page looks up to `edge` and not beyond */
};

static int edge_find(struct store_reader *reader, const struct store_filter *filter, unsigned shape,
                     size_t looks, struct span *span, struct err *err) {
    sqlite3_stmt *statement = NULL;
    if (driver_is_all(shape)) {
        return 0;
    }
    int code = query_get(reader, shape, ASKED_EDGE, &statement, err);
    if (code) {
        return code;
    }
    query_bind(statement, filter, &span->start, span->far, looks);
    code = store__db_step(&reader->db, statement, err);
    span->has_edge = !code;
    if (!code) {
        store__db_columns(statement, "iu", &span->edge.utc_us, &span->edge.seq);
        span->far = span->edge.utc_us;
        sqlite3_reset(statement);
    }
    sqlite3_clear_bindings(statement); /* they borrow the caller's filter */
    return code == ERR_NOT_FOUND ? 0 : code;
}

/* `far` is a time, and several frames may have the edge's. */
static bool is_beyond(const struct store_filter *filter, const struct span *span,
                      const struct store_row *row) {
    bool later = row->seq > span->edge.seq;
    return span->has_edge && row->record.captured.utc_us == span->edge.utc_us &&
           row->seq != span->edge.seq && later == filter->oldest_first;
}

static int page_fill(struct store_reader *reader, const struct store_filter *filter,
                     const struct span *span, sqlite3_stmt *statement, size_t limit,
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
        if (!code && is_beyond(filter, span, row)) {
            free(row->record.detections);
            row->record.detections = NULL;
            break;
        }
        if (!code) {
            page->count++;
            page->next = (struct store_cursor){row->record.captured.utc_us, row->seq};
        }
    }
    if (!page->more && span->has_edge) {
        page->more = true;
        page->next = span->edge;
    }
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
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
    if (filter->by_label_state && (unsigned)filter->label_state >= STORE_LABEL_STATES) {
        return err_set(err, ERR_INVALID, "a filter by label state %u means nothing",
                       (unsigned)filter->label_state);
    }
    return 0;
}

static int page_query(struct store_reader *reader, const struct store_filter *filter,
                      const struct store_cursor *after, size_t limit, struct store_page *page,
                      struct err *err) {
    struct span span = {.start = page_start(filter, after), .far = page_far(filter)};
    sqlite3_stmt *statement = NULL;
    unsigned shape = shape_of(filter);
    int code = sync_is_few(reader, &shape, err);
    code = code ? code : edge_find(reader, filter, shape, reader->looks, &span, err);
    code = code ? code : query_get(reader, shape, ASKED_PAGE, &statement, err);
    if (code) {
        return code;
    }
    query_bind(statement, filter, &span.start, span.far, limit + 1); /* one more tells `more` */
    return page_fill(reader, filter, &span, statement, limit, page, err);
}

static int page_collect(struct store_reader *reader, const struct store_filter *filter,
                        const struct store_cursor *after, size_t limit, unsigned looks,
                        struct store_page *page, struct err *err) {
    struct store_cursor at = after ? *after : (struct store_cursor){0};
    int code;
    do {
        page->more = false;
        code = page_query(reader, filter, &at, limit, page, err);
        at = page->next;
    } while (!code && page->more && page->count < limit && --looks);
    return code;
}

int store_page_read(struct store_reader *reader, const struct store_filter *filter,
                    const struct store_cursor *after, size_t limit, unsigned looks,
                    struct store_page **out, struct err *err) {
    int code = filter_check(filter, limit, err);
    code = code ? code : store__reader_ready(reader, err);
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
    code = page_collect(reader, filter, after, limit, looks, page, err);
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

/* ---- counts by hour ---- */

#define HOUR_US INT64_C(3600000000)

struct hours_told {
    struct store_hour *hours;
    size_t limit, count;
    uint64_t rows;
};

/* False: it is of one hour too many. */
static bool tally_add(struct hours_told *tally, int64_t utc_us) {
    int64_t hour = utc_us - (utc_us % HOUR_US + HOUR_US) % HOUR_US;
    tally->rows++;
    if (!tally->count || tally->hours[tally->count - 1].utc_us != hour) {
        if (tally->count == tally->limit) {
            return false;
        }
        tally->hours[tally->count++] = (struct store_hour){hour, 0};
    }
    tally->hours[tally->count - 1].frames++;
    return true;
}

static int hours_fill(struct store_reader *reader, sqlite3_stmt *statement,
                      struct hours_told *tally, bool *more, struct err *err) {
    int code = 0;
    int64_t utc_us = 0;
    while (!code && !(code = store__db_step(&reader->db, statement, err))) {
        store__db_columns(statement, "i", &utc_us);
        if (!tally_add(tally, utc_us)) {
            *more = true;
            break;
        }
    }
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return code == ERR_NOT_FOUND ? 0 : code;
}

static int hours_query(struct store_reader *reader, const struct store_filter *filter,
                       struct hours_told *tally, bool *more, struct err *err) {
    struct span span = {.start = page_start(filter, NULL), .far = page_far(filter)};
    sqlite3_stmt *statement = NULL;
    unsigned shape = shape_of(filter);
    int code = sync_is_few(reader, &shape, err);
    code = code ? code : edge_find(reader, filter, shape, STORE_HOURS_LOOKS, &span, err);
    code = code ? code : query_get(reader, shape, ASKED_HOURS, &statement, err);
    if (code) {
        return code;
    }
    query_bind(statement, filter, &span.start, span.far, STORE_HOURS_LOOKS);
    code = hours_fill(reader, statement, tally, more, err);
    /* What it did not come to may belong to the last hour. */
    if (!code && !*more && (span.has_edge || tally->rows == STORE_HOURS_LOOKS)) {
        *more = true;
        tally->count -= tally->count > 0;
    }
    return code;
}

int store_hours_read(struct store_reader *reader, const struct store_filter *filter,
                     struct store_hour *hours, size_t limit, size_t *count, bool *more,
                     struct err *err) {
    struct hours_told tally = {.hours = hours, .limit = limit};
    bool further = false;
    int code = filter_check(filter, 1, err);
    code = code ? code : store__reader_ready(reader, err);
    code = code ? code : hours_query(reader, filter, &tally, &further, err);
    if (!code) {
        *count = tally.count;
        *more = further;
    }
    return store__reader_seen(reader, code);
}
