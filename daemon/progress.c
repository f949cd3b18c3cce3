#include "daemon/progress.h"
#include "daemon/base/mem.h"
#include "daemon/document.h"
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define COLUMNS_DEFAULT 80
#define LINE_MAX_BYTES  320
#define BAR_MIN         10
#define BAR_MAX         40

static bool is(const json_t *object, const char *key) {
    return json_is_true(json_object_get(object, key));
}

void progress_init(struct progress *progress, FILE *to) {
    struct winsize size = {0};
    *progress = (struct progress){.to = to, .columns = COLUMNS_DEFAULT};
    progress->terminal = isatty(fileno(to)) == 1;
    if (progress->terminal && ioctl(fileno(to), TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
        progress->columns = size.ws_col;
    }
}

/* ---- parts of a line ---- */

struct line {
    char text[LINE_MAX_BYTES];
    size_t len;
};

static void put(struct line *line, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(struct line *line, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int size = vsnprintf(line->text + line->len, sizeof(line->text) - line->len, format, args);
    va_end(args);
    size_t room = sizeof(line->text) - 1 - line->len;
    line->len += size > 0 ? ((size_t)size < room ? (size_t)size : room) : 0;
}

static void put_bytes(struct line *line, double bytes) {
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
    size_t unit = 0;
    while (bytes >= 1000 && unit + 1 < ARRAY_LENGTH(units)) {
        bytes /= 1000;
        unit++;
    }
    put(line, unit ? "%.1f %s" : "%.0f %s", bytes, units[unit]);
}

static void put_time(struct line *line, json_int_t seconds) {
    if (seconds >= 172800) {
        put(line, "%lldd", seconds / 86400);
    } else if (seconds >= 3600) {
        put(line, "%lldh%02lldm", seconds / 3600, seconds % 3600 / 60);
    } else if (seconds >= 60) {
        put(line, "%lldm%02llds", seconds / 60, seconds % 60);
    } else {
        put(line, "%llds", seconds);
    }
}

static void put_bar(struct line *line, double share, int width) {
    int full = (int)(share * width);
    put(line, "[");
    for (int i = 0; i < width; i++) {
        put(line, "%s", i < full ? "#" : i == full && share < 1 ? ">" : ".");
    }
    put(line, "] %3d %%", (int)(share * 100));
}

/* Rate and how long it will take, where they are known. */
static void put_pace(struct line *line, const json_t *remote) {
    double rate = json_number_value(json_object_get(remote, "bytes_per_second"));
    if (rate >= 1) {
        put(line, ", %.1f/s, ", json_number_value(json_object_get(remote, "objects_per_second")));
        put_bytes(line, rate);
        put(line, "/s");
    }
    if (document_number(remote, "eta_seconds") > 0) {
        put(line, ", ");
        put_time(line, document_number(remote, "eta_seconds"));
        put(line, " to go");
    }
}

static const char *standing(const json_t *remote) {
    static const struct {
        const char *key, *words;
    } states[] = {
        {"paused", "; paused"},
        {"breaker_open", "; resting after failures"},
        {"budget_spent", "; the day's budget is spent"},
        {"throttled", "; held to the bandwidth"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(states); i++) {
        if (is(remote, states[i].key)) {
            return states[i].words;
        }
    }
    return "";
}

/* ---- while it goes on ---- */

static struct progress_remote *remote_of(struct progress *progress, const json_t *remote) {
    const char *name = document_text(remote, "name");
    struct progress_remote *own = NULL;
    for (size_t i = 0; i < progress->remote_count; i++) {
        if (strcmp(progress->remotes[i].name, name) == 0) {
            own = &progress->remotes[i];
        }
    }
    if (!own && progress->remote_count < SYNC_REMOTES_MAX) {
        own = &progress->remotes[progress->remote_count++];
        snprintf(own->name, sizeof(own->name), "%s", name);
        own->said = -1;
    }
    if (own && document_number(remote, "pending") > own->first_pending) {
        own->first_pending = document_number(remote, "pending");
    }
    return own;
}

static double share_of(const struct progress_remote *own, const json_t *remote) {
    json_int_t left = document_number(remote, "pending");
    return own->first_pending > 0 ? 1 - (double)left / (double)own->first_pending : 1;
}

static void line_of(struct line *line, const struct progress_remote *own, const json_t *remote,
                    int bar) {
    double share = share_of(own, remote);
    if (bar > 0) {
        put(line, "%-12.12s ", own->name);
        put_bar(line, share, bar);
    } else {
        put(line, "remote %s: %d %%", own->name, (int)(share * 100));
    }
    put(line, ", %lld left", document_number(remote, "pending"));
    if (document_number(remote, "pending") > 0) {
        put(line, " (");
        put_bytes(line, (double)document_number(remote, "pending_bytes"));
        put(line, ")");
        put_pace(line, remote);
    }
    if (document_number(remote, "quarantined") > 0) {
        put(line, ", %lld set aside", document_number(remote, "quarantined"));
    }
    put(line, "%s", standing(remote));
}

static void picture(struct progress *progress, const json_t *sync) {
    int bar = progress->columns / 4;
    bar = bar < BAR_MIN ? BAR_MIN : bar > BAR_MAX ? BAR_MAX : bar;
    if (progress->lines > 0) {
        fprintf(progress->to, "\033[%dA", progress->lines);
    }
    progress->lines = 0;
    size_t index;
    json_t *remote;
    json_array_foreach(sync, index, remote) {
        struct line line = {.len = 0};
        const struct progress_remote *own = remote_of(progress, remote);
        if (own) {
            line_of(&line, own, remote, bar);
            fprintf(progress->to, "\r\033[K%.*s\n", progress->columns - 1, line.text);
            progress->lines++;
        }
    }
    fflush(progress->to);
}

static void log_lines(struct progress *progress, const json_t *sync, int64_t now_us) {
    bool again = now_us - progress->said_us >= PROGRESS_LOG_US;
    size_t index;
    json_t *remote;
    json_array_foreach(sync, index, remote) {
        struct line line = {.len = 0};
        struct progress_remote *own = remote_of(progress, remote);
        int tenths = own ? (int)(share_of(own, remote) * 10) : 0;
        if (!own || (tenths <= own->said && (!again || tenths == 10))) {
            continue;
        }
        own->said = tenths;
        progress->said_us = now_us;
        line_of(&line, own, remote, 0);
        fprintf(progress->to, "%s\n", line.text);
    }
    fflush(progress->to);
}

void progress_show(struct progress *progress, const json_t *sync, int64_t now_us) {
    if (progress->terminal) {
        picture(progress, sync);
    } else {
        log_lines(progress, sync, now_us);
    }
}

/* ---- once ---- */

static void put_backlog(struct line *line, const json_t *remote) {
    put(line, "done %lld, waiting %lld (", document_number(remote, "done"),
        document_number(remote, "pending"));
    put_bytes(line, (double)document_number(remote, "pending_bytes"));
    if (document_number(remote, "oldest_pending_seconds") > 0) {
        put(line, ", oldest ");
        put_time(line, document_number(remote, "oldest_pending_seconds"));
    }
    put(line, ")");
    put_pace(line, remote);
    put(line, ", quarantined %lld%s", document_number(remote, "quarantined"), standing(remote));
}

/* What today and this month cost, where the daemon counted it. */
static void put_spent(struct line *line, const json_t *remote) {
    const json_t *today = json_object_get(remote, "today");
    put(line, "today %lld requests", document_number(today, "requests"));
    if (document_number(today, "requests_max") > 0) {
        put(line, " of %lld", document_number(today, "requests_max"));
    }
    put(line, ", ");
    put_bytes(line, (double)document_number(today, "bytes"));
    if (document_number(today, "bytes_max") > 0) {
        put(line, " of ");
        put_bytes(line, (double)document_number(today, "bytes_max"));
    }
    const json_t *cost = json_object_get(remote, "month_cost_estimate");
    if (json_is_number(cost)) {
        put(line, "; this month about %.2f by your prices", json_number_value(cost));
    }
}

void progress_remotes_print(FILE *to, const json_t *sync) {
    struct progress progress;
    size_t index;
    json_t *remote;
    progress_init(&progress, to);
    json_array_foreach(sync, index, remote) {
        struct line line = {.len = 0}, spent = {.len = 0};
        json_int_t left =
            document_number(remote, "pending") + document_number(remote, "quarantined");
        json_int_t all = left + document_number(remote, "done");
        put(&line, "remote      %-12s ", document_text(remote, "name"));
        if (progress.terminal && all > 0) {
            put_bar(&line, (double)(all - left) / (double)all, BAR_MIN);
            put(&line, "  ");
        }
        put_backlog(&line, remote);
        fprintf(to, "%s%s%s\n", line.text,
                *document_text(remote, "last_error") ? "; last error: " : "",
                document_text(remote, "last_error"));
        if (json_object_get(remote, "today")) {
            put_spent(&spent, remote);
            fprintf(to, "            %-12s %s\n", "", spent.text);
        }
    }
}
