#include "daemon/notify.h"

#ifdef HAVE_SYSTEMD
#include "daemon/base/clock.h"
#include <stdio.h>
#include <systemd/sd-daemon.h>
#include <time.h>

void notify_ready(void) {
    sd_notify(0, "READY=1");
}

/* Type=notify-reload wants the moment of the reload on CLOCK_MONOTONIC; Type=notify ignores it. */
void notify_reloading(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%lld",
               (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000);
}

void notify_alive(void) {
    sd_notify(0, "WATCHDOG=1");
}

void notify_stopping(void) {
    sd_notify(0, "STOPPING=1");
}
#else
void notify_ready(void) {
}
void notify_reloading(void) {
}
void notify_alive(void) {
}
void notify_stopping(void) {
}
#endif
