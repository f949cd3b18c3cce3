/* notify: what systemd wants to hear (sd_notify(3)); does nothing where libsystemd is not built in
 * or nobody listens. */
#ifndef CREEL_DAEMON_NOTIFY_H
#define CREEL_DAEMON_NOTIFY_H

void notify_ready(void);
void notify_reloading(void);
void notify_alive(void); /* the watchdog's keep-alive */
void notify_stopping(void);

#endif
