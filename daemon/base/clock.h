/* clock: the three clocks of a device that may boot in 1970.
 *
 * A stamp carries UTC, CLOCK_BOOTTIME, the boot id and whether the kernel says that UTC is
 * synchronised (adjtimex(2), STA_UNSYNC clear), so that a wrong UTC can be repaired later through
 * the boot-time offset. Thread: any.
 */
#ifndef CREEL_BASE_CLOCK_H
#define CREEL_BASE_CLOCK_H

#include "schemas/frame.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CLOCK_RFC3339_SIZE 25 /* "2026-11-20T21:35:08.123Z" and the NUL */
#define CLOCK_HTTP_SIZE    30 /* "Fri, 20 Nov 2026 21:35:08 GMT" and the NUL (RFC 9110 5.6.7) */
#define CLOCK_DATE_SIZE    11 /* "2026-11-20" and the NUL */
#define CLOCK_AMZ_SIZE     17 /* "20261120T213508Z" and the NUL */

void clock_stamp_now(struct clock_stamp *out);
int64_t clock_utc_us(void);
int64_t clock_boot_us(void); /* CLOCK_BOOTTIME: never jumps, counts sleep */

enum clock_state clock_state_now(void);

/* Takes UTC for synchronised whatever the kernel says (config device.clock: trusted), for hosts
 * whose time is kept by something that does not tell the kernel: many containers and virtual
 * machines. */
void clock_trust(bool trust);

/* All write UTC and return `out`, which has the size named above. */
char *clock_format_rfc3339(int64_t utc_us, char *out);
char *clock_format_http(int64_t utc_us, char *out);
char *clock_format_date(int64_t utc_us, char *out);
char *clock_format_amz(int64_t utc_us, char *out);

/* Parses what clock_format_http writes (a Date header); -1 if it is not of that form. */
int64_t clock_parse_http(const char *text);

/* Parses RFC 3339 in UTC ("Z"), with or without fraction, or a bare date; -1 if it is not of that
 * form. */
int64_t clock_parse_rfc3339(const char *text);

void clock_sleep_ms(int ms);

#endif
