/* control: commands to a running daemon, over a Unix socket (0660, group creel where there is one).
 *
 * One request a connection: a line of JSON, answered by a line of JSON, which may announce
 * "attached_bytes": N raw bytes that follow. The same requests are served in-process when no daemon
 * runs (see requests.h), so a command does not care. Thread: the server has one thread and serves
 * one connection at a time, each under a deadline.
 */
#ifndef CREEL_DAEMON_CONTROL_H
#define CREEL_DAEMON_CONTROL_H

#include "daemon/base/err.h"
#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#define CONTROL_REQUEST_MAX (64u << 10)
#define CONTROL_REPLY_MAX   (8u << 20)
#define CONTROL_DEADLINE_MS 10000

/* Raw bytes behind a reply. Free with free(). */
struct control_bytes {
    uint8_t *data;
    size_t size;
};

/* Answers `request` with a new reference in *reply; bytes may stay empty. On failure err becomes
 * the reply. */
typedef int control_handler(void *ctx, const json_t *request, json_t **reply,
                            struct control_bytes *bytes, struct err *err);

struct control;
/* ERR_EXISTS: another daemon listens there. A socket that nobody listens on is replaced. */
int control_start(const char *path, control_handler *handler, void *ctx, struct control **out,
                  struct err *err);
void control_stop(struct control *control);

/* Sends one request. ERR_NOT_FOUND: nobody listens; ERR_DENIED: not in group creel. An error of the
 * daemon comes back with its own code and text. */
int control_call(const char *path, const json_t *request, json_t **reply,
                 struct control_bytes *bytes, struct err *err);

#endif
