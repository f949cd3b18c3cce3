/* model: is a model right, which one looks, and another one in its place. */
#include "daemon/base/clock.h"
#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include "daemon/commands.h"
#include "daemon/document.h"
#include "inference/inference.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POLL_MS 200

static const char usage[] =
    "usage: creel model check [DIR] [--json] [--config FILE] [--set KEY=VALUE]...\n"
    "       creel model show  [DIR] [--json]\n"
    "       creel model use    DIR  [--json]\n"
    "`check` reads a model directory (default: model.dir) completely, then loads it in a worker\n"
    "process and runs it once. `show` prints the model that the daemon looks with, or the one in "
    "DIR.\n"
    "`use` lets the running daemon change to another model without losing a frame; until its end, "
    "or\n"
    "until model.dir changes. A model that cannot be used is refused, and the old one goes on.\n"
    "Exit 4 when no daemon runs.\n";

/* ---- check ---- */

static json_t *facts(const struct model *model) {
    char hex[HASH_HEX_SIZE];
    hash_hex(model->hash.bytes, sizeof(model->hash.bytes), hex);
    return json_pack("{s:s,s:s,s:s,s:i,s:i,s:i}", "name", model->name, "version", model->version,
                     "hash", hex, "width", (int)model->input_width, "height",
                     (int)model->input_height, "classes", (int)model->class_count);
}

static void print_facts(const struct model *model, const char *verdict) {
    char hex[HASH_HEX_SIZE];
    printf("%s %s, hash %s, input %ux%u, %zu classes%s%s\n", model->name, model->version,
           hash_hex(model->hash.bytes, sizeof(model->hash.bytes), hex), model->input_width,
           model->input_height, model->class_count, *verdict ? ": " : "", verdict);
}

/* What the files cannot say: that the library loads the network and computes numbers with it. */
static int probe(const struct config_values *values, const struct model *model, struct err *err) {
    struct detector *detector = NULL;
    int code = detector_start(&values->detector, model, &detector, err);
    detector_stop(detector);
    return code;
}

static int check(const struct options *options, const struct config_values *values,
                 const char *dir) {
    struct err err = {0};
    struct model *model = NULL;
    int code = model_open(dir ? dir : values->model_dir, &model, &err);
    if (!code) {
        code = probe(values, model, &err);
    }
    if (!code && options->json) {
        document_print_taken(facts(model));
    } else if (!code) {
        print_facts(model, "good");
    }
    model_close(model);
    return code ? commands_fail(&err) : commands_output_end();
}

/* ---- asking the daemon ---- */

/* Consumes `request`. */
static int ask(const struct config_values *values, json_t *request, json_t **reply,
               struct err *err) {
    struct control_bytes bytes = {0};
    int code = request ? control_call(values->control_socket, request, reply, &bytes, err)
                       : err_set(err, ERR_INVALID, "the path is not UTF-8 text");
    json_decref(request);
    free(bytes.data);
    return code;
}

static int fail(const struct err *err) {
    int status = commands_fail(err);
    bool absent = err->code == ERR_NOT_FOUND && strstr(err->msg, "no daemon listens") != NULL;
    return absent ? EXIT_NO_DAEMON : status;
}

static void print_state(const json_t *model) {
    printf("%s %s, hash %s, input %lldx%lld, %lld classes, from %s\n", document_text(model, "name"),
           document_text(model, "version"), document_text(model, "hash"),
           json_integer_value(json_object_get(model, "input_width")),
           json_integer_value(json_object_get(model, "input_height")),
           json_integer_value(json_object_get(model, "classes")), document_text(model, "dir"));
    const json_t *change = json_object_get(model, "change");
    if (change) {
        printf("latest change: to %s: %s%s%s\n", document_text(change, "dir"),
               document_text(change, "state"), *document_text(change, "text") ? ": " : "",
               document_text(change, "text"));
    }
}

/* ---- show ---- */

static int show_files(const struct options *options, const char *dir) {
    struct err err = {0};
    struct model *model = NULL;
    if (model_open(dir, &model, &err)) {
        return commands_fail(&err);
    }
    json_t *labels = json_array();
    for (size_t i = 0; i < model->class_count; i++) {
        json_array_append_new(labels, json_string(model->labels[i]));
    }
    json_t *all = facts(model);
    json_object_set_new(all, "threshold", json_real(model->threshold));
    json_object_set_new(all, "nms", json_real(model->nms));
    json_object_set_new(all, "labels", labels);
    if (options->json) {
        document_print_taken(all);
    } else {
        print_facts(model, "");
        printf("threshold %g, nms %g, %s\n", model->threshold, model->nms,
               model->resize == MODEL_STRETCH ? "stretched" : "letterboxed");
        for (size_t i = 0; i < model->class_count; i++) {
            printf("%4zu %s\n", i, model->labels[i]);
        }
        json_decref(all);
    }
    model_close(model);
    return commands_output_end();
}

static int show(const struct options *options, const struct config_values *values,
                const char *dir) {
    if (dir) {
        return show_files(options, dir);
    }
    struct err err = {0};
    json_t *reply = NULL;
    if (ask(values, json_pack("{s:s}", "request", "model-state"), &reply, &err)) {
        return fail(&err);
    }
    if (options->json) {
        document_print_taken(reply);
    } else {
        print_state(reply);
        json_decref(reply);
    }
    return commands_output_end();
}

/* ---- use ---- */

/* Whether the change has ended; a later one may have overtaken it. */
static bool change_ended(const json_t *change, json_int_t number) {
    static const char *const ends[] = {"done", "unchanged", "refused"};
    bool ended = json_integer_value(json_object_get(change, "number")) > number;
    for (size_t i = 0; i < ARRAY_LENGTH(ends); i++) {
        ended = ended || strcmp(document_text(change, "state"), ends[i]) == 0;
    }
    return ended;
}

/* Waits without a limit: a large model loads for minutes, and a person can end the waiting. */
static int change_wait(const struct config_values *values, json_int_t number, json_t **out,
                       struct err *err) {
    for (;;) {
        json_t *reply = NULL;
        int code = ask(values, json_pack("{s:s}", "request", "model-state"), &reply, err);
        if (code) {
            return code;
        }
        if (change_ended(json_object_get(reply, "change"), number)) {
            *out = reply;
            return 0;
        }
        json_decref(reply);
        clock_sleep_ms(POLL_MS);
    }
}

/* Consumes `model`. */
static int change_tell(const struct options *options, json_t *model, json_int_t number) {
    const json_t *change = json_object_get(model, "change");
    const char *state = document_text(change, "state");
    bool overtaken = json_integer_value(json_object_get(change, "number")) != number;
    bool refused = overtaken || strcmp(state, "refused") == 0;
    if (overtaken) {
        fputs("creel: a later change overtook this one\n", stderr);
    } else if (refused) {
        fprintf(stderr, "creel: %s\n", document_text(change, "text"));
    }
    if (options->json) {
        document_print_taken(json_incref(model));
    } else if (!refused) {
        printf("%s %s %s\n", document_text(model, "name"), document_text(model, "version"),
               strcmp(state, "unchanged") == 0 ? "is the model that looks already"
                                               : "looks from now on; model.dir in the "
                                                 "configuration says with which one a restart "
                                                 "begins");
    }
    json_decref(model);
    int written = commands_output_end();
    return refused ? EXIT_FAILED : written;
}

static int use(const struct options *options, const struct config_values *values, const char *dir) {
    struct err err = {0};
    json_t *reply = NULL;
    CLEANUP(mem_free_at) char *real = realpath(dir, NULL);
    if (!real) {
        err_sys(&err, errno, "the model directory %s", dir);
        return commands_fail(&err);
    }
    if (ask(values, json_pack("{s:s,s:s}", "request", "model-use", "dir", real), &reply, &err)) {
        return fail(&err);
    }
    json_int_t number = json_integer_value(json_object_get(reply, "number"));
    json_decref(reply);
    int code = change_wait(values, number, &reply, &err);
    return code ? fail(&err) : change_tell(options, reply, number);
}

/* ---- the command ---- */

static const struct {
    const char *verb;
    size_t least; /* operands behind the verb */
    int (*run)(const struct options *options, const struct config_values *values, const char *dir);
} verbs[] = {{"check", 0, check}, {"show", 0, show}, {"use", 1, use}};

int cmd_model(int argc, char **argv) {
    struct options options;
    bool done;
    int status = options_parse(argc, argv, usage, NULL, 0, 1, 2, &options, &done);
    if (done) {
        return status;
    }
    size_t i = 0;
    while (i < ARRAY_LENGTH(verbs) && strcmp(options.operands[0], verbs[i].verb) != 0) {
        i++;
    }
    if (i == ARRAY_LENGTH(verbs) || options.operand_count - 1 < verbs[i].least) {
        fprintf(stderr, "creel: model knows check, show and use DIR\n%s", usage);
        return EXIT_USAGE;
    }
    struct err err = {0};
    struct config *config = NULL;
    if (options_config(&options, false, &config, &err)) {
        return commands_fail(&err);
    }
    status = verbs[i].run(&options, config_values(config),
                          options.operand_count > 1 ? options.operands[1] : NULL);
    config_destroy(config);
    return status;
}
