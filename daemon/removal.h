/* removal: frames leave this store and every configured remote.
 *
 *   may it be? (pins, rights, --force) --> here --> receipts back --> objects
 * Nothing is removed before each remote has shown that it lets us. Here goes first, so that no
 * upload begins anew; one that was under way is looked for at the end, and what it left goes too.
 * Cut off in the middle, the same call does the rest: an object's name follows from the frame.
 * Thread: one; blocks for as long as the remotes take.
 */
#ifndef CREEL_DAEMON_REMOVAL_H
#define CREEL_DAEMON_REMOVAL_H

#include "daemon/cloud.h"
#include "webui/webui.h"
#include <stdbool.h>

struct removal_target {
    struct store_blob_name name;
    const json_t *frame; /* borrowed from the reply */
};

struct removal {
    struct cloud *cloud; /* borrowed */
    json_t *names;       /* owned: ids, hashes or "@last" */
    bool force, dry_run;
    json_t *reply; /* of cloud-frames */
    struct removal_target *targets;
    size_t count;
};

/* *local gets what became of them here (a new reference), also where a remote fails. ERR_NOT_FOUND:
 * no remote, or no such frame; ERR_REFUSED: pinned or owed, without force; ERR_DENIED names the
 * right that is missing. In all these, nothing was removed. */
int removal_run(struct removal *removal, json_t **local, struct err *err);
void removal_finish(struct removal *removal);

/* The object's name at the remote; NULL: none can be given. */
const char *removal_key(const struct removal_target *target, const char *remote);

/* As webui_hooks.remove_everywhere; `rooms` has a reader of this thread. */
int removal_each(const struct rooms *rooms, const struct frame_id *ids, size_t count, bool force,
                 webui_removed_fn *each, void *ctx, struct err *err);

#endif
