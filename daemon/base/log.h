/* log: one line an event, to stderr.
 *
 * Text first, then a key=value tail: log_info("frame kept", "camera=%s bytes=%zu", ...). Under
 * systemd (JOURNAL_STREAM set) each line starts with its <priority>; otherwise with the UTC time
 * and the level. Libraries of ours log at debug only; whoever stops an error logs it once. Never
 * pass a secret. Thread: any; a line is one write(2).
 */
#ifndef CREEL_BASE_LOG_H
#define CREEL_BASE_LOG_H

#include "daemon/base/err.h"
#include <stdint.h>

enum log_level { LOG_LEVEL_ERROR = 3, LOG_LEVEL_WARN = 4, LOG_LEVEL_INFO = 6, LOG_LEVEL_DEBUG = 7 };

#define LOG_LINE_MAX 2048

void log_set_level(enum log_level level);
enum log_level log_get_level(void);

/* `tail` is a printf format of key=value pairs, or "" for none. */
void log_line(enum log_level level, const char *text, const char *tail, ...) ERR_PRINTF(3, 4);

#define log_error(text, ...) log_line(LOG_LEVEL_ERROR, text, __VA_ARGS__)
#define log_warn(text, ...)  log_line(LOG_LEVEL_WARN, text, __VA_ARGS__)
#define log_info(text, ...)  log_line(LOG_LEVEL_INFO, text, __VA_ARGS__)
#define log_debug(text, ...) log_line(LOG_LEVEL_DEBUG, text, __VA_ARGS__)

/* Logs `err` at `level` after `text`. */
void log_err(enum log_level level, const char *text, const struct err *err);

/* A gate for events that may come in floods: true at most once per `interval_ms`, and then
 * `*missed` holds how many were held back since. Zero-initialise; guard with your own lock if
 * shared. */
struct log_gate {
    int64_t last_boot_us;
    uint64_t held;
};
int log_gate_open(struct log_gate *gate, int interval_ms, uint64_t *missed);

#endif
