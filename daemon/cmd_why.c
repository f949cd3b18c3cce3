/* why: what became of one frame, and for which reasons. */
#include "daemon/commands.h"
#include "daemon/options.h"
#include "daemon/requests.h"
#include <stdio.h>

static const char why_usage[] =
    "usage: creel why FRAME [--json] [--config FILE] [--set KEY=VALUE]...\n"
    "A kept frame's life: captured, kept by which rule, uploaded where and with which receipt, "
    "pinned,\n"
    "set aside and why, evicted and why. FRAME is an id, 8 or more hex digits of the hash, or "
    "@last.\n"
    "A frame that was rejected: what was detected, and which rule or budget let it go, as far as "
    "the ring of\n"
    "outcomes reaches back; @rejected is the last one.\n";

static const char *text(const json_t *object, const char *key) {
    const char *value = json_string_value(json_object_get(object, key));
    return value ? value : "";
}

static int show_why(const struct options *options, const json_t *reply,
                    const struct control_bytes *bytes, void *ctx) {
    (void)bytes;
    (void)ctx;
    if (options->json) {
        json_dumpf(reply, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
        putchar('\n');
        return commands_output_end();
    }
    printf("frame %s\n", text(json_object_get(reply, "frame"), "id"));
    size_t index;
    json_t *event;
    json_array_foreach(json_object_get(reply, "life"), index, event) {
        printf("%-24s  %-14s  %s\n", text(event, "at"), text(event, "what"), text(event, "detail"));
    }
    return commands_output_end();
}

int cmd_why(int argc, char **argv) {
    struct options options;
    bool done;
    int status = options_parse(argc, argv, why_usage, NULL, 0, 1, 1, &options, &done);
    if (done) {
        return status;
    }
    return commands_ask(&options, false,
                        json_pack("{s:s,s:s}", "request", "why", "frame", options.operands[0]),
                        show_why, NULL);
}
