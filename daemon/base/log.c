#include "daemon/base/log.h"
#include "daemon/base/clock.h"
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static atomic_int max_level = LOG_LEVEL_INFO;

void log_set_level(enum log_level level) {
    atomic_store(&max_level, (int)level);
}

enum log_level log_get_level(void) {
    return (enum log_level)atomic_load(&max_level);
}

static const char *level_name(enum log_level level) {
    switch (level) {
    case LOG_LEVEL_ERROR:
        return "error";
    case LOG_LEVEL_WARN:
        return "warning";
    case LOG_LEVEL_INFO:
        return "info";
    case LOG_LEVEL_DEBUG:
        return "debug";
    }
    return "?";
}

/* The journal takes the priority from "<N>" and stamps the time itself. */
static size_t line_head(enum log_level level, char *line, size_t size) {
    if (getenv("JOURNAL_STREAM")) {
        return (size_t)snprintf(line, size, "<%d>", (int)level);
    }
    char now[CLOCK_RFC3339_SIZE];
    return (size_t)snprintf(line, size, "%s %-7s ", clock_format_rfc3339(clock_utc_us(), now),
                            level_name(level));
}

void log_line(enum log_level level, const char *text, const char *tail, ...) {
    if ((int)level > atomic_load(&max_level)) {
        return;
    }
    char line[LOG_LINE_MAX];
    size_t room = sizeof(line) - 1; /* for the newline */
    size_t len = line_head(level, line, room);
    len += (size_t)snprintf(line + len, room - len, "%s%s", text, *tail ? " " : "");
    if (len < room) {
        va_list args;
        va_start(args, tail);
        int more = vsnprintf(line + len, room - len, tail, args);
        va_end(args);
        len += more > 0 ? (size_t)more : 0;
    }
    len = len < room ? len : room - 1;
    for (size_t i = 0; i < len; i++) {
        /* one event, one line, and no orders to the terminal, whatever a peer or a file's name says
         */
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f) {
            line[i] = ' ';
        }
    }
    line[len++] = '\n';
    ssize_t written = write(STDERR_FILENO, line, len);
    (void)written; /* a log that cannot be written has nowhere to say so */
}

void log_err(enum log_level level, const char *text, const struct err *err) {
    char why[2 * ERR_TEXT_MAX];
    log_line(level, text, "error=%s reason=\"%s\"", err_name(err->code),
             err_text(err, why, sizeof(why)));
}

int log_gate_open(struct log_gate *gate, int interval_ms, uint64_t *missed) {
    int64_t now = clock_boot_us();
    if (gate->last_boot_us && now - gate->last_boot_us < (int64_t)interval_ms * 1000) {
        gate->held++;
        return 0;
    }
    *missed = gate->held;
    gate->held = 0;
    gate->last_boot_us = now;
    return 1;
}
