/* bench-sync: what the sync moves in a second and what it costs, beside a bare libcurl loop and
 * rclone, to the same servers in the same run.
 *
 *   bench-sync [--frames N] [--bytes N] [--rounds N] [--transfers N] [--dir DIR] [--json FILE]
 *              [--only null,latency,azurite,rgw,backlog,idle] [--many N]
 *
 * The contestants take turns, round by round; the median of each is printed. tests/bench/sync.sh
 * builds and runs it.
 */
#include "daemon/base/mem.h"
#include "tests/bench/sync_bench.h"
#include "tests/servers/servers.h"
#include <fcntl.h>
#include <ftw.h>
#include <getopt.h>
#include <jansson.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>

#define ROUNDS_MAX  15
#define LATENCY_MS  50
#define BACKLOG_S   5.0
#define ROWS_MAX    32
#define SMALL_BYTES 256 /* of a frame where it is their number that counts */

static const char help[] =
    "usage: bench-sync [--frames N] [--bytes N] [--rounds N] [--transfers N] [--dir DIR]\n"
    "                  [--json FILE] [--only null,latency,azurite,rgw,backlog,idle] [--many N]\n";

static struct options {
    const char *dir, *json, *only;
    uint64_t frames, many;
    size_t bytes;
    unsigned rounds, transfers;
} options = {.dir = NULL,
             .only = "null,latency,azurite,rgw,backlog,idle",
             .frames = 2000,
             .many = 1000000,
             .bytes = 60000,
             .rounds = 5,
             .transfers = 16};

static char scratch[256];
static json_t *results;

/* ---- measuring ---- */

double bench_clock_s(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

double bench_cpu_s(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

void bench_memory_reset(void) {
    int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
        ssize_t written = write(fd, "5", 1);
        (void)written;
        close(fd);
    }
}

double bench_memory_mib(void) {
    char line[256];
    double mib = 0;
    FILE *status = fopen("/proc/self/status", "re");
    while (status != NULL && fgets(line, sizeof line, status) != NULL) {
        if (strncmp(line, "VmHWM:", 6) == 0) {
            mib = strtod(line + 6, NULL) / 1024;
        }
    }
    if (status != NULL) {
        fclose(status);
    }
    return mib;
}

/* ---- one contestant, once, in a child ---- */

enum who { WHO_CREEL, WHO_BARE, WHO_RCLONE, WHO_RCLONE_PLAIN, WHO_MAKE, WHO_IDLE };

struct turn {
    enum who who;
    struct bench_work work;
    struct bench_server server;
    unsigned transfers; /* 0: auto */
    double seconds;
    bool files, receipts;
};

static int turn_run(const struct turn *turn, struct bench_result *out, struct err *err) {
    switch (turn->who) {
    case WHO_CREEL:
        return bench_creel(&turn->work, &turn->server, turn->transfers, turn->seconds, out, err);
    case WHO_BARE:
        return bench_bare(&turn->work, &turn->server, turn->transfers, out, err);
    case WHO_RCLONE:
    case WHO_RCLONE_PLAIN:
        return bench_rclone(&turn->work, &turn->server, turn->transfers, turn->who == WHO_RCLONE,
                            out, err);
    case WHO_MAKE:
        return bench_work_make(&turn->work, &turn->server, turn->files, turn->receipts, err);
    case WHO_IDLE:
        return bench_idle(&turn->work, &turn->server, out, err);
    }
    return 0;
}

static void turn_take(const struct turn *turn, struct bench_result *out) {
    struct bench_result *shared =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int status = 0;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        struct err err = {0};
        char text[2 * ERR_TEXT_MAX];
        int code = turn_run(turn, shared, &err);
        if (code != 0) {
            fprintf(stderr, "bench-sync: %s\n", err_text(&err, text, sizeof text));
        }
        _exit(code != 0);
    }
    if (child < 0 || waitpid(child, &status, 0) < 0 || status != 0) {
        fprintf(stderr, "bench-sync: a turn failed (wait status 0x%x)\n", (unsigned)status);
        *shared = (struct bench_result){0};
    }
    *out = *shared;
    munmap(shared, sizeof *shared);
}

/* ---- rounds ---- */

struct entry {
    const char *name;
    struct turn turn;
    struct bench_result results[ROUNDS_MAX];
};

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *where) {
    (void)info, (void)type, (void)where;
    return remove(path);
}

static int by_wall(const void *left, const void *right) {
    const struct bench_result *a = left, *b = right;
    return (a->wall_s > b->wall_s) - (a->wall_s < b->wall_s);
}

static void print(const char *stage, const struct entry *entry, unsigned rounds) {
    struct bench_result sorted[ROUNDS_MAX];
    memcpy(sorted, entry->results, sizeof sorted);
    qsort(sorted, rounds, sizeof *sorted, by_wall);
    const struct bench_result *middle = &sorted[rounds / 2];
    double rate = middle->wall_s > 0 ? (double)middle->objects / middle->wall_s : 0;
    double each = middle->objects > 0 ? middle->cpu_s / (double)middle->objects * 1000 : 0;
    printf("%-28s %-14s %8.2f %9.0f %9.1f %11.3f %8.1f %8u  %s\n", stage, entry->name,
           middle->wall_s, rate, rate * (double)entry->turn.work.bytes / 1e6, each,
           middle->memory_mib, middle->widest, middle->note);
    fflush(stdout);
    json_array_append_new(
        results,
        json_pack("{s:s,s:s,s:f,s:f,s:f,s:f,s:i,s:I,s:I}", "stage", stage, "who", entry->name,
                  "wall_s", middle->wall_s, "objects_per_s", rate, "cpu_s_per_1000", each,
                  "memory_mib", middle->memory_mib, "connections", (int)middle->widest, "objects",
                  (json_int_t)middle->objects, "requests", (json_int_t)middle->requests));
}

static void heading(void) {
    printf("%-28s %-14s %8s %9s %9s %11s %8s %8s\n", "to", "who", "wall s", "objects/s", "MB/s",
           "CPU s/1,000", "MiB", "widest");
}

/* creel's store is made anew for each round: what it sent, it does not send again. The container
 * too is another, or everything would be there already. */
static void creel_prepare(struct turn *turn, unsigned round) {
    snprintf(turn->work.store, sizeof turn->work.store, "%s/store-%u", scratch, round);
    nftw(turn->work.store, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    struct turn make = *turn;
    struct bench_result none;
    make.who = WHO_MAKE;
    make.files = make.receipts = false;
    turn_take(&make, &none);
}

static void compete(const char *stage, struct entry *entries, size_t count,
                    struct bench_sink *sink) {
    for (unsigned round = 0; round < options.rounds; round++) {
        for (size_t i = 0; i < count; i++) {
            struct turn turn = entries[i].turn;
            char bucket[48];
            snprintf(bucket, sizeof bucket, "%.24s-%u-%zu", turn.server.bucket, round, i);
            memcpy(turn.server.bucket, bucket, sizeof bucket);
            if (turn.who == WHO_CREEL) {
                creel_prepare(&turn, round);
            }
            if (sink != NULL) {
                atomic_store(&sink->widest, 0);
            }
            turn_take(&turn, &entries[i].results[round]);
            if (sink != NULL) {
                entries[i].results[round].widest = atomic_load(&sink->widest);
            }
        }
    }
    for (size_t i = 0; i < count; i++) {
        print(stage, &entries[i], options.rounds);
    }
}

/* ---- stages ---- */

static struct turn turn_of(enum who who, const struct bench_server *server, unsigned transfers) {
    struct turn turn = {.who = who,
                        .work = {.frames = options.frames, .bytes = options.bytes},
                        .server = *server,
                        .transfers = transfers};
    snprintf(turn.work.files, sizeof turn.work.files, "%s/files", scratch);
    return turn;
}

static void against_sink(const char *stage, enum sync_kind kind, int delay_ms, bool peers) {
    struct bench_sink *sink =
        mmap(NULL, sizeof *sink, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct bench_server server = {.kind = kind, .bucket = "bench"};
    struct err err = {0};
    pid_t pid = 0;
    int port = 0;
    if (bench_sink_start(delay_ms, sink, &port, &pid, &err) != 0) {
        fprintf(stderr, "bench-sync: %s\n", err.msg);
        return;
    }
    bool azure = kind == SYNC_AZURE;
    server.account = azure ? AZURITE_ACCOUNT : RGW_ACCESS_KEY;
    server.key = azure ? AZURITE_KEY : RGW_SECRET_KEY;
    snprintf(server.url, sizeof server.url, "http://127.0.0.1:%d%s%s", port, azure ? "/" : "",
             azure ? AZURITE_ACCOUNT : "");
    struct entry entries[] = {
        {.name = "creel, auto", .turn = turn_of(WHO_CREEL, &server, 0)},
        {.name = "bare libcurl", .turn = turn_of(WHO_BARE, &server, options.transfers)},
        {.name = "creel, fixed", .turn = turn_of(WHO_CREEL, &server, options.transfers)},
        {.name = "rclone", .turn = turn_of(WHO_RCLONE_PLAIN, &server, options.transfers)},
    };
    compete(stage, entries, !peers ? 2 : azure ? 3 : 4, sink);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    munmap(sink, sizeof *sink);
}

static void against_server(const char *stage, const struct bench_server *server) {
    struct entry entries[] = {
        {.name = "creel, auto", .turn = turn_of(WHO_CREEL, server, 0)},
        {.name = "creel, fixed", .turn = turn_of(WHO_CREEL, server, options.transfers)},
        {.name = "rclone", .turn = turn_of(WHO_RCLONE, server, options.transfers)},
        {.name = "rclone, 4", .turn = turn_of(WHO_RCLONE, server, 4)},
    };
    compete(stage, entries, ARRAY_LENGTH(entries), NULL);
}

static void stage_null(void) {
    against_sink("null sink, Azure's words", SYNC_AZURE, 0, true);
    against_sink("null sink, S3's words", SYNC_S3, 0, true);
}

static void stage_latency(void) {
    against_sink("null sink, 50 ms away", SYNC_AZURE, LATENCY_MS, false);
}

static void stage_azurite(void) {
    char dir[300];
    struct bench_server server = {
        .kind = SYNC_AZURE, .bucket = "bench", .account = AZURITE_ACCOUNT, .key = AZURITE_KEY};
    int port = servers_free_port();
    snprintf(dir, sizeof dir, "%s/azurite", scratch);
    snprintf(server.url, sizeof server.url, "http://127.0.0.1:%d/%s", port, AZURITE_ACCOUNT);
    servers_need(servers_azurite(dir, port, ""), "azurite");
    against_server("Azurite", &server);
    servers_azurite_stop(dir);
}

static void stage_rgw(void) {
    char dir[300];
    struct bench_server server = {
        .kind = SYNC_S3, .bucket = "bench", .account = RGW_ACCESS_KEY, .key = RGW_SECRET_KEY};
    int port = servers_free_port();
    snprintf(dir, sizeof dir, "%s/rgw", scratch);
    snprintf(server.url, sizeof server.url, "http://127.0.0.1:%d", port);
    servers_need(servers_rgw(dir, port, servers_free_port()), "the S3 server");
    against_server("Ceph RGW", &server);
    servers_rgw_stop(dir);
}

/* Many rows: memory while they go, and nothing to do once all are gone. */
static void many(bool receipts) {
    struct bench_sink *sink =
        mmap(NULL, sizeof *sink, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct bench_server server = {
        .kind = SYNC_AZURE, .bucket = "bench", .account = AZURITE_ACCOUNT, .key = AZURITE_KEY};
    struct err err = {0};
    char stage[64];
    pid_t pid = 0;
    int port = 0;
    if (bench_sink_start(0, sink, &port, &pid, &err) != 0) {
        return;
    }
    snprintf(server.url, sizeof server.url, "http://127.0.0.1:%d/%s", port, AZURITE_ACCOUNT);
    struct entry entry = {.name = "creel, auto", .turn = turn_of(WHO_MAKE, &server, 0)};
    entry.turn.work.frames = options.many;
    entry.turn.work.bytes = SMALL_BYTES;
    entry.turn.receipts = receipts;
    snprintf(entry.turn.work.store, sizeof entry.turn.work.store, "%s/many-%d", scratch, receipts);
    turn_take(&entry.turn, &entry.results[0]);
    entry.turn.who = receipts ? WHO_IDLE : WHO_CREEL;
    entry.turn.seconds = BACKLOG_S;
    turn_take(&entry.turn, &entry.results[0]);
    if (receipts) {
        snprintf(entry.results[0].note, sizeof entry.results[0].note,
                 "started in %.1f ms, %.1f ms of CPU in the next second, %llu requests",
                 entry.results[0].wall_s * 1000, entry.results[0].cpu_s * 1000,
                 (unsigned long long)atomic_load(&sink->requests));
    }
    snprintf(stage, sizeof stage, "%llu %s", (unsigned long long)options.many,
             receipts ? "synced, nothing to do" : "rows of backlog");
    print(stage, &entry, 1);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    munmap(sink, sizeof *sink);
}

static void stage_backlog(void) {
    many(false);
}

static void stage_idle(void) {
    many(true);
}

static const struct {
    const char *name;
    void (*run)(void);
} stages[] = {
    {"null", stage_null}, {"latency", stage_latency}, {"azurite", stage_azurite},
    {"rgw", stage_rgw},   {"backlog", stage_backlog}, {"idle", stage_idle},
};

/* ---- main ---- */

static bool options_parse(int argc, char **argv) {
    static const struct option table[] = {
        {"frames", 1, NULL, 'f'},    {"bytes", 1, NULL, 'b'}, {"rounds", 1, NULL, 'r'},
        {"transfers", 1, NULL, 't'}, {"dir", 1, NULL, 'd'},   {"json", 1, NULL, 'j'},
        {"only", 1, NULL, 'o'},      {"many", 1, NULL, 'm'},  {NULL, 0, NULL, 0}};
    for (int opt; (opt = getopt_long(argc, argv, "", table, NULL)) != -1;) {
        uint64_t number = optarg != NULL ? strtoull(optarg, NULL, 10) : 0;
        switch (opt) {
        case 'f':
            options.frames = number;
            break;
        case 'b':
            options.bytes = (size_t)number;
            break;
        case 'r':
            options.rounds = (unsigned)number;
            break;
        case 't':
            options.transfers = (unsigned)number;
            break;
        case 'm':
            options.many = number;
            break;
        case 'd':
            options.dir = optarg;
            break;
        case 'j':
            options.json = optarg;
            break;
        case 'o':
            options.only = optarg;
            break;
        default:
            return false;
        }
    }
    return optind == argc && options.frames > 0 && options.bytes >= 8 && options.rounds > 0 &&
           options.rounds <= ROUNDS_MAX && options.transfers > 0 && options.many > 0;
}

int main(int argc, char **argv) {
    if (!options_parse(argc, argv)) {
        fputs(help, stderr);
        return 2;
    }
    if (options.dir != NULL) {
        setenv("TMPDIR", options.dir, 1);
    }
    servers_scratch(scratch, sizeof scratch);
    results = json_array();
    printf("%llu frames of %zu bytes, %u rounds, %ld cores\n", (unsigned long long)options.frames,
           options.bytes, options.rounds, sysconf(_SC_NPROCESSORS_ONLN));
    heading();
    const struct bench_server nobody = {.kind = SYNC_S3,
                                        .url = "http://127.0.0.1:1",
                                        .bucket = "nobody",
                                        .account = "a",
                                        .key = "b"};
    struct turn make = turn_of(WHO_MAKE, &nobody, 0);
    struct bench_result none;
    make.files = true;
    snprintf(make.work.store, sizeof make.work.store, "%s/store-files", scratch);
    turn_take(&make, &none);
    for (size_t i = 0; i < ARRAY_LENGTH(stages); i++) {
        if (strstr(options.only, stages[i].name) != NULL) {
            stages[i].run();
        }
    }
    if (options.json != NULL) {
        json_dump_file(results, options.json, JSON_INDENT(2));
    }
    json_decref(results);
    nftw(scratch, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return 0;
}
