/* timetable: how fast the link may be used, by the hour of the week.
 *
 *   "mon-fri 08:00 512KiB/s, 19:00 off"     off: as fast as it goes; stop: not at all
 *   "256KiB/s"                              always
 *
 * Each entry holds from its time on, until the next of any day. Days go on from the entry before
 * (every day for the first). Times are local: people keep hours by the clock on the wall, which is
 * why a change of its offset moves them along. Pure but for the time zone. Thread: any.
 */
#ifndef CREEL_SYNC_TIMETABLE_H
#define CREEL_SYNC_TIMETABLE_H

#include "daemon/base/err.h"
#include <stddef.h>
#include <stdint.h>

#define TIMETABLE_MAX      128        /* entries, one for each day they hold on */
#define TIMETABLE_NO_LIMIT UINT64_MAX /* bytes a second */

struct timetable {
    struct timetable_entry {
        uint16_t minute;      /* of the week, from Monday 00:00 */
        uint64_t rate;        /* bytes a second; 0: nothing goes */
    } entries[TIMETABLE_MAX]; /* sorted; none: no limit, ever */
    size_t count;
};

/* NULL, "" and "off": no limit. ERR_CONFIG says what is wrong with which entry. */
int sync__timetable_parse(const char *text, struct timetable *out, struct err *err);

/* Bytes a second at `utc_us`; `*until_utc_us` is when that may change, INT64_MAX: never. */
uint64_t sync__timetable_rate(const struct timetable *table, int64_t utc_us, int64_t *until_utc_us);

#endif
