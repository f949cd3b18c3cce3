/* why: what became of one frame, and for which reasons. */
#include "daemon/commands.h"
#include "daemon/document.h"
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

static int show_why(const struct options *options, const json_t *reply,
                    const struct control_bytes *bytes, void *ctx) {
    (void)bytes;
    (void)ctx;
    if (options->json) {
        document_print(reply);
        return commands_output_end();
    }
    printf("frame %s\n", document_text(json_object_get(reply, "frame"), "id"));
    size_t index;
    json_t *event;
    json_array_foreach(json_object_get(reply, "life"), index, event) {
        printf("%-24s  %-14s  %s\n", document_text(event, "at"), document_text(event, "what"),
               document_text(event, "detail"));
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
