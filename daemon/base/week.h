/* week: its days as people write them in a configuration.
 *
 * Thread: any; pure.
 */
#ifndef CREEL_DAEMON_BASE_WEEK_H
#define CREEL_DAEMON_BASE_WEEK_H

#include <stddef.h>
#include <stdint.h>

#define WEEK_EVERY_DAY 0x7f

/* "mon", "mon-fri", "sat-mon" or "daily", in either case, of `size` bytes: a set of days, bit 0 for
 * Sunday, as tm_wday counts. 0: something else. */
uint8_t week_days_parse(const char *text, size_t size);

/* "sun" to "sat" for 0 to 6. */
const char *week_day_name(unsigned day);

#endif
