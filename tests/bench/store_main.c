/* bench-store: what the store does in a second, and what it costs to have many frames in it.
 *
 *   bench-store [--frames N,N...] [--dir DIR] [--rounds N] [--only rates|scale]
 *               [--without rebuild] [--json FILE]
 *
 * Prints tables and writes the same as JSON. tests/bench/store.sh builds and runs it.
 */
#include "daemon/base/clock.h"
#include "tests/bench/store_bench.h"
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#define FRAMES_MIN 4000 /* fewer give pages and eviction nothing to do */
#define FRAMES_MAX 100000000

static const char usage[] =
    "usage: bench-store [--frames N,N...] [--dir DIR] [--rounds N] [--only rates|scale]"
    " [--without rebuild] [--json FILE]\n";

/* ---- options ---- */

static bool number_parse(const char *text, char **end, uint64_t low, uint64_t high, uint64_t *out) {
    unsigned long long value = strtoull(text, end, 10);
    *out = value;
    return *end != text && value >= low && value <= high;
}

static int frames_parse(const char *text, struct bench_options *options, struct err *err) {
    char *end = NULL;
    options->frames_count = 0;
    for (const char *at = text; at; at = *end ? end + 1 : NULL) {
        uint64_t *next = &options->frames[options->frames_count];
        if (options->frames_count == BENCH_SIZES_MAX ||
            !number_parse(at, &end, FRAMES_MIN, FRAMES_MAX, next) || (*end && *end != ',')) {
            return err_set(err, ERR_INVALID,
                           "--frames %s: wanted up to %d numbers from %d to %d, with commas", text,
                           BENCH_SIZES_MAX, FRAMES_MIN, FRAMES_MAX);
        }
        options->frames_count++;
    }
    return 0;
}

static int rounds_parse(const char *text, struct bench_options *options, struct err *err) {
    char *end = NULL;
    uint64_t rounds = 0;
    if (!number_parse(text, &end, 1, BENCH_ROUNDS_MAX, &rounds) || *end) {
        return err_set(err, ERR_INVALID, "--rounds %s: wanted a number from 1 to %d", text,
                       BENCH_ROUNDS_MAX);
    }
    options->rounds = (unsigned)rounds;
    return 0;
}

static int only_parse(const char *text, struct bench_options *options, struct err *err) {
    options->rates = strcmp(text, "rates") == 0;
    options->scale = strcmp(text, "scale") == 0;
    if (!options->rates && !options->scale) {
        return err_set(err, ERR_INVALID, "--only %s: wanted rates or scale", text);
    }
    return 0;
}

static int option_take(int option, struct bench_options *options, struct err *err) {
    switch (option) {
    case 'f':
        return frames_parse(optarg, options, err);
    case 'r':
        return rounds_parse(optarg, options, err);
    case 'o':
        return only_parse(optarg, options, err);
    case 'w':
        options->rebuild = false;
        return strcmp(optarg, "rebuild") == 0
                   ? 0
                   : err_set(err, ERR_INVALID, "--without %s: wanted rebuild", optarg);
    case 'd':
        options->dir = optarg;
        return 0;
    case 'j':
        options->json = optarg;
        return 0;
    default:
        return err_set(err, ERR_INVALID, "not an option of bench-store");
    }
}

static int options_parse(int argc, char **argv, struct bench_options *options, struct err *err) {
    static const struct option known[] = {
        {"frames", required_argument, NULL, 'f'},
        {"dir", required_argument, NULL, 'd'},
        {"rounds", required_argument, NULL, 'r'},
        {"only", required_argument, NULL, 'o'},
        {"without", required_argument, NULL, 'w'},
        {"json", required_argument, NULL, 'j'},
        {0},
    };
    int option, code = 0;
    while (!code && (option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        code = option_take(option, options, err);
    }
    if (!code && optind < argc) {
        code = err_set(err, ERR_INVALID, "%s is not an option", argv[optind]);
    }
    return code;
}

/* ---- the file ---- */

static json_t *host_json(void) {
    struct utsname system = {0};
    char now[CLOCK_RFC3339_SIZE];
    uname(&system);
    return json_pack("{s:s, s:s, s:s, s:I}", "utc", clock_format_rfc3339(clock_utc_us(), now),
                     "kernel", system.release, "machine", system.machine, "cores",
                     (json_int_t)sysconf(_SC_NPROCESSORS_ONLN));
}

static int json_write(const struct bench_options *options, const json_t *root, struct err *err) {
    if (json_dump_file(root, options->json, JSON_INDENT(2) | JSON_REAL_PRECISION(6)) != 0) {
        return err_set(err, ERR_SYS, "cannot write %s: name another file with --json",
                       options->json);
    }
    printf("\nwritten to %s\n", options->json);
    return 0;
}

static int run(const struct bench_options *options, json_t *root, struct err *err) {
    json_t *rates = NULL, *scale = NULL;
    int code = options->rates ? bench_rates(options, &rates, err) : 0;
    if (rates) {
        json_object_set_new(root, "rates", rates);
    }
    code = code || !options->scale ? code : bench_scale(options, &scale, err);
    if (scale) {
        json_object_set_new(root, "scale", scale);
    }
    return code ? code : json_write(options, root, err);
}

int main(int argc, char **argv) {
    const char *dir = getenv("TMPDIR");
    struct bench_options options = {.dir = dir ? dir : "/tmp",
                                    .json = "bench-store.json",
                                    .frames = {10000, 100000},
                                    .frames_count = 2,
                                    .rounds = 7,
                                    .rates = true,
                                    .scale = true,
                                    .rebuild = true};
    struct err err = {0};
    char text[2 * ERR_TEXT_MAX];
    clock_trust(true); /* where nobody tells the kernel, ages rest */
    if (options_parse(argc, argv, &options, &err)) {
        fprintf(stderr, "bench-store: %s\n%s", err_text(&err, text, sizeof(text)), usage);
        return 2;
    }
    signal(SIGINT, SIG_IGN); /* the child dies of it, and what it leaves is removed */
    json_t *root = json_object();
    json_object_set_new(root, "host", host_json());
    int code = run(&options, root, &err);
    json_decref(root);
    if (code) {
        fprintf(stderr, "bench-store: %s\n", err_text(&err, text, sizeof(text)));
    }
    return code ? EXIT_FAILURE : EXIT_SUCCESS;
}
