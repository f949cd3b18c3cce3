/* cloud: how commands for a whole remote ask the index: the running daemon, page by page over the
 * control socket, or a store that the command opened itself and keeps until it is done.
 *
 * Each question carries the identity of the remote as the command's configuration has it: where the
 * store knows another place under that name, nothing is compared and nothing changed. Life cycle:
 * open -> the slots -> close. Thread: one.
 */
#ifndef CREEL_DAEMON_CLOUD_H
#define CREEL_DAEMON_CLOUD_H

#include "daemon/commands.h"
#include "daemon/requests.h"
#include "sync/sync.h"

struct cloud {
    const struct config_values *values;
    const struct sync_remote_config *remote;
    char identity[65];
    struct requests_session session;
    struct sync_index index;
};

/* ERR_NOT_FOUND: neither daemon nor store. */
int cloud_open(const struct config_values *values, struct cloud *out, struct err *err);
void cloud_close(struct cloud *cloud);
/* Which remote the slots are about. */
int cloud_use(struct cloud *cloud, const struct sync_remote_config *remote, struct err *err);
/* Any request, to the daemon or to the store at hand. Consumes `request`. */
int cloud_ask(struct cloud *cloud, json_t *request, json_t **reply, struct err *err);

typedef int cloud_each_fn(struct cloud *cloud, const struct sync_remote_config *remote, void *ctx);
/* For the named remote, or for each that is configured: the worst exit code. */
int cloud_each(const struct options *options, const char *name, cloud_each_fn *each, void *ctx);

#endif
