/* ls, show, get, link: looking at what was kept. */
#include "daemon/base/fs.h"
#include "daemon/base/mem.h"
#include "daemon/commands.h"
#include "daemon/document.h"
#include "daemon/options.h"
#include "daemon/requests.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int commands_ask(const struct options *options, bool secrets, json_t *request,
                 commands_show_fn *show, void *ctx) {
    struct err err = {0};
    struct config *config = NULL;
    if (options_config(options, secrets, &config, &err)) {
        json_decref(request);
        return commands_fail(&err);
    }
    json_t *reply = NULL;
    struct control_bytes bytes = {0};
    int code = requests_ask(config_values(config), request, &reply, &bytes, &err);
    int status = code ? commands_fail(&err) : show(options, reply, &bytes, ctx);
    if (code == ERR_INVALID) { /* the daemon judges what the options hold */
        status = EXIT_USAGE;
    }
    free(bytes.data);
    json_decref(reply);
    config_destroy(config);
    return status;
}

int commands_output_end(void) {
    if (fflush(stdout) || ferror(stdout)) {
        fprintf(stderr, "creel: cannot write the output: %s\n", strerror(errno));
        return EXIT_FAILED;
    }
    return EXIT_OK;
}

static const char *text_of(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "-";
}

/* ---- ls ---- */

static const char ls_usage[] =
    "usage: creel ls [--tier annotated|unannotated] [--camera NAME] [--class LABEL]\n"
    "                [--confidence MIN] [--since TIME] [--until TIME] [--pinned]\n"
    "                [--sync pending|done|quarantined]\n"
    "                [--label-state accepted|rejected|wrong-class|missed|wanted]\n"
    "                [--limit N] [--after CURSOR]\n"
    "                [--json] [--config FILE] [--set KEY=VALUE]...\n"
    "Lists kept frames, newest first. TIME is UTC: 2026-11-20 or 2026-11-20T08:00:00Z.\n";

static void best_detection(const json_t *frame, char *out, size_t size) {
    const json_t *best = json_array_get(json_object_get(frame, "detections"), 0);
    snprintf(out, size, "-");
    if (best) {
        snprintf(out, size, "%s %.2f", text_of(best, "class"),
                 json_number_value(json_object_get(best, "confidence")));
    }
}

static int show_list(const struct options *options, const json_t *reply,
                     const struct control_bytes *bytes, void *ctx) {
    (void)bytes;
    (void)ctx;
    size_t index;
    json_t *frame;
    json_array_foreach(json_object_get(reply, "frames"), index, frame) {
        if (options->json) {
            document_print(frame);
            continue;
        }
        char best[80];
        best_detection(frame, best, sizeof(best));
        const char *place = text_of(frame, "place");
        printf("%s  %s  %-11s  %-12s  %-12s  %s%s\n", text_of(frame, "id"),
               text_of(frame, "captured"), text_of(frame, "tier"), text_of(frame, "camera"),
               text_of(frame, "rule"), best,
               strcmp(place, "remote") == 0 ? "  (at a remote only)"
               : strcmp(place, "gone") == 0 ? "  (gone)"
                                            : "");
    }
    if (json_is_true(json_object_get(reply, "more"))) {
        fprintf(stderr, "more: --after %s\n", text_of(reply, "next"));
    }
    return commands_output_end();
}

#define NUMBER_MOST 1e9 /* far beyond what any option means, and still a whole number's */

static int set_number(json_t *request, const char *key, const char *text) {
    if (!text) {
        return EXIT_OK;
    }
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !(value >= -NUMBER_MOST && value <= NUMBER_MOST)) { /* NaN neither */
        fprintf(stderr, "creel: --%s takes a number, not \"%s\"\n", key, text);
        return EXIT_USAGE;
    }
    json_object_set_new(request, key,
                        strcmp(key, "limit") == 0 ? json_integer((json_int_t)value)
                                                  : json_real(value));
    return EXIT_OK;
}

int cmd_ls(int argc, char **argv) {
    const char *tier = NULL, *camera = NULL, *label = NULL, *since = NULL, *until = NULL,
               *after = NULL, *limit = NULL, *confidence = NULL, *sync = NULL, *judged = NULL;
    bool pinned = false;
    const struct option_spec own[] = {
        {"tier", NULL, &tier},          {"camera", NULL, &camera},         {"class", NULL, &label},
        {"since", NULL, &since},        {"until", NULL, &until},           {"after", NULL, &after},
        {"limit", NULL, &limit},        {"confidence", NULL, &confidence}, {"sync", NULL, &sync},
        {"label-state", NULL, &judged}, {"pinned", &pinned, NULL}};
    struct options options;
    bool done;
    int status = options_parse(argc, argv, ls_usage, own, ARRAY_LENGTH(own), 0, 0, &options, &done);
    if (done) {
        return status;
    }
    json_t *request =
        json_pack("{s:s,s:s*,s:s*,s:s*,s:s*,s:s*,s:s*,s:s*,s:s*,s:b}", "request", "ls", "tier",
                  tier, "camera", camera, "class", label, "since", since, "until", until, "after",
                  after, "sync", sync, "label-state", judged, "pinned", (int)pinned);
    if (set_number(request, "limit", limit) || set_number(request, "confidence", confidence)) {
        json_decref(request);
        return EXIT_USAGE;
    }
    return commands_ask(&options, false, request, show_list, NULL);
}

/* ---- show ---- */

static const char show_usage[] =
    "usage: creel show FRAME [--json] [--config FILE] [--set KEY=VALUE]...\n"
    "FRAME is an id, 8 or more hex digits of the hash, or @last.\n";

static void print_value(const char *key, const json_t *value) {
    CLEANUP(mem_free_at)
    char *text = json_is_string(value)
                     ? mem_strdup(json_string_value(value))
                     : json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));
    printf("%-14s %s\n", key, text ? text : "");
}

static int show_frame(const struct options *options, const json_t *reply,
                      const struct control_bytes *bytes, void *ctx) {
    (void)bytes;
    (void)ctx;
    if (options->json) {
        document_print(reply);
        return commands_output_end();
    }
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)reply, key, value) {
        if (!json_is_array(value)) {
            print_value(key, value);
        }
    }
    json_object_foreach((json_t *)reply, key, value) {
        size_t index;
        json_t *item;
        json_array_foreach(value, index, item) {
            print_value(key, item);
        }
    }
    return commands_output_end();
}

int cmd_show(int argc, char **argv) {
    struct options options;
    bool done;
    int status = options_parse(argc, argv, show_usage, NULL, 0, 1, 1, &options, &done);
    if (done) {
        return status;
    }
    return commands_ask(&options, false,
                        json_pack("{s:s,s:s}", "request", "show", "frame", options.operands[0]),
                        show_frame, NULL);
}

/* ---- get ---- */

static const char get_usage[] =
    "usage: creel get FRAME [--output FILE] [--config FILE] [--set KEY=VALUE]...\n"
    "Writes the exact bytes that came in to FILE, or to standard output.\n";

static int write_bytes(const struct options *options, const json_t *reply,
                       const struct control_bytes *bytes, void *ctx) {
    (void)reply;
    (void)options;
    const char *output = *(const char **)ctx;
    if (!output && isatty(STDOUT_FILENO)) {
        fprintf(stderr,
                "creel: not writing an image to a terminal; give --output FILE or a pipe\n");
        return EXIT_USAGE;
    }
    if (!output) {
        fwrite(bytes->data, 1, bytes->size, stdout);
        return commands_output_end();
    }
    struct err err;
    return fs_write_file_atomic(output, bytes->data, bytes->size, 0644, &err) ? commands_fail(&err)
                                                                              : EXIT_OK;
}

int cmd_get(int argc, char **argv) {
    const char *output = NULL;
    const struct option_spec own[] = {{"output", NULL, &output}};
    struct options options;
    bool done;
    int status =
        options_parse(argc, argv, get_usage, own, ARRAY_LENGTH(own), 1, 1, &options, &done);
    if (done) {
        return status;
    }
    return commands_ask(&options, false,
                        json_pack("{s:s,s:s}", "request", "get", "frame", options.operands[0]),
                        write_bytes, &output);
}

/* ---- link ---- */

static const char link_usage[] =
    "usage: creel link FRAME [--ttl TIME] [--json] [--config FILE] [--set KEY=VALUE]...\n"
    "Prints a read-only link to the frame: Azure SAS or S3 presigned URL where it is replicated,\n"
    "else creel's own link to the local copy while the gallery runs. TIME is 900, 15m or 2h; by\n"
    "default 15m, at most 7d (6d where Azure lends the key).\n";

static int show_link(const struct options *options, const json_t *reply,
                     const struct control_bytes *bytes, void *ctx) {
    (void)bytes;
    (void)ctx;
    if (options->json) {
        document_print(reply);
    } else {
        puts(text_of(reply, "url"));
    }
    const char *note = json_string_value(json_object_get(reply, "note"));
    if (note) {
        fprintf(stderr, "creel: not a link into the cloud: %s\n", note);
    }
    return commands_output_end();
}

/* Seconds, or a duration with its units. */
static bool read_ttl(const char *text, json_int_t *out_s) {
    char *end;
    int64_t ms;
    *out_s = strtol(text, &end, 10);
    if (end != text && !*end) {
        return true;
    }
    if (!config_duration_parse(text, &ms)) {
        return false;
    }
    *out_s = ms / 1000;
    return true;
}

int cmd_link(int argc, char **argv) {
    const char *ttl = "900";
    const struct option_spec own[] = {{"ttl", NULL, &ttl}};
    struct options options;
    bool done;
    int status =
        options_parse(argc, argv, link_usage, own, ARRAY_LENGTH(own), 1, 1, &options, &done);
    if (done) {
        return status;
    }
    json_int_t seconds;
    if (!read_ttl(ttl, &seconds)) {
        fprintf(stderr, "creel: --ttl takes a time such as 15m, not \"%s\"\n", ttl);
        return EXIT_USAGE;
    }
    return commands_ask(&options, true,
                        json_pack("{s:s,s:s,s:I}", "request", "link", "frame", options.operands[0],
                                  "ttl_s", seconds),
                        show_link, NULL);
}
