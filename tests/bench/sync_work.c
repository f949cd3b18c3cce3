/* The work: a store whose frames are queued, the same frames as files, and creel's own run over
 * them. */
#include "daemon/base/clock.h"
#include "daemon/base/fs.h"
#include "daemon/base/log.h"
#include "sync/remote.h"
#include "tests/bench/sync_bench.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RECEIPTS_AT_ONCE 128
#define LOOK_US          2000
#define IDLE_US          1000000

void bench_remote(const struct bench_server *server, struct sync_config *out) {
    *out = (struct sync_config){.device = "bench", .remote_count = 1};
    struct sync_remote_config *remote = &out->remotes[0];
    snprintf(remote->name, sizeof remote->name, "bench");
    remote->kind = server->kind;
    remote->required = true;
    remote->url = server->url;
    remote->create_containers = true;
    remote->bucket = server->bucket;
    if (server->kind == SYNC_AZURE) {
        remote->account = server->account;
        remote->account_key = server->key;
        remote->container_rest = remote->containers[0] = remote->containers[1] = server->bucket;
    } else {
        remote->access_key = server->account;
        remote->secret_key = server->key;
    }
}

static int store_start(const struct bench_work *work, struct store **out, struct err *err) {
    struct store_config config = {.dir = work->store, .group_frames = 64, .group_wait_ms = 5};
    clock_trust(true);
    log_set_level(LOG_LEVEL_WARN);
    return store_open(&config, out, err);
}

static void noise(uint64_t n, uint8_t *bytes, size_t size) {
    uint64_t state = n * 0x9e3779b97f4a7c15u + 1;
    for (size_t i = 0; i + 8 <= size; i += 8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        memcpy(bytes + i, &state, 8);
    }
}

static int frame_make(const struct bench_work *work, uint64_t n, struct store *store, bool file,
                      struct err *err) {
    struct store_frame frame = {.record = {.media = MEDIA_JPEG,
                                           .width = 640,
                                           .height = 480,
                                           .orientation = 1,
                                           .blob_bytes = work->bytes,
                                           .tier = n % 2 ? TIER_UNANNOTATED : TIER_ANNOTATED,
                                           .value = (double)(n % 97) / 97}};
    struct frame_record *record = &frame.record;
    snprintf(record->camera, sizeof record->camera, "dock");
    snprintf(record->rule, sizeof record->rule, "unsure");
    clock_stamp_now(&record->captured);
    frame_id_create(record->captured.utc_us, &record->id);
    frame.blob = calloc(1, work->bytes);
    if (frame.blob == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for a frame");
    }
    noise(n, frame.blob, work->bytes);
    int code = 0;
    if (file) {
        char path[BENCH_PATH_MAX + 32];
        snprintf(path, sizeof path, "%s/%08llu.jpg", work->files, (unsigned long long)n);
        FILE *out = fopen(path, "we");
        bool written = out != NULL && fwrite(frame.blob, 1, work->bytes, out) == work->bytes;
        written = (out == NULL || fclose(out) == 0) && written;
        code = written ? 0 : err_set(err, ERR_SYS, "cannot write %s", path);
    }
    return code != 0 ? code : store_put(store, &frame, err);
}

static int receipts_put(struct store *store, const struct store_outbox_row *rows, size_t count,
                        struct err *err) {
    static struct store_receipt receipts[RECEIPTS_AT_ONCE];
    for (size_t i = 0; i < count; i++) {
        receipts[i] = (struct store_receipt){.blob = rows[i].blob,
                                             .tier = rows[i].tier,
                                             .kind = STORE_RECEIPT_STORED,
                                             .utc_us = clock_utc_us(),
                                             .remote = "bench"};
        int code = sync_key_format("bench", &rows[i], receipts[i].key, err);
        if (code != 0) {
            return code;
        }
    }
    return store_receipt_put(store, receipts, count, err);
}

static int confirm_all(struct store *store, uint64_t frames, struct err *err) {
    struct store_outbox_row rows[RECEIPTS_AT_ONCE];
    struct store_reader *reader = NULL;
    int code = store_reader_open(store, &reader, err);
    for (uint64_t done = 0; code == 0 && done < frames;) {
        size_t count = 0;
        code = store_outbox_read(reader, "bench", STORE_OLDEST, RECEIPTS_AT_ONCE, rows, &count,
                                 NULL, err);
        code = code != 0 ? code : receipts_put(store, rows, count, err);
        done += count;
    }
    store_reader_close(reader);
    return code;
}

/* The remote has to be declared before the frames come, or they are not queued. */
static int declare(const struct bench_server *server, struct store *store, struct err *err) {
    struct sync_config config;
    struct remote *remote = NULL;
    struct store_remote declared = {.required = true};
    bench_remote(server, &config);
    int code = sync__remote_open(&config.remotes[0], &remote, err);
    if (code == 0) {
        memcpy(declared.name, remote->name, sizeof declared.name);
        declared.identity = remote->identity;
        code = store_remotes_set(store, &declared, 1, err);
    }
    sync__remote_close(remote);
    return code;
}

int bench_work_make(const struct bench_work *work, const struct bench_server *server, bool files,
                    bool receipts, struct err *err) {
    struct store *store = NULL;
    int code = files ? fs_mkdirs(work->files, err) : 0;
    code = code != 0 ? code : store_start(work, &store, err);
    code = code != 0 ? code : declare(server, store, err);
    for (uint64_t n = 0; code == 0 && n < work->frames; n++) {
        code = frame_make(work, n, store, files, err);
    }
    code = code != 0 ? code : store_flush(store, err);
    if (code == 0 && receipts) {
        code = confirm_all(store, work->frames, err);
    }
    store_close(store);
    return code;
}

static struct sync_remote_status status_of(struct sync *sync) {
    struct sync_status status;
    sync_status_get(sync, &status);
    return status.remotes[0];
}

/* How long the loop's thread ran, and how long it waited for a core that others had. */
static void loop_note(char *out, size_t room) {
    DIR *tasks = opendir("/proc/self/task");
    for (struct dirent *task; tasks != NULL && (task = readdir(tasks)) != NULL;) {
        char path[300], name[32] = "";
        unsigned long long ran = 0, waited = 0;
        snprintf(path, sizeof path, "/proc/self/task/%s/comm", task->d_name);
        FILE *comm = fopen(path, "re");
        bool loop = comm != NULL && fgets(name, sizeof name, comm) != NULL &&
                    strcmp(name, "creel-sync\n") == 0;
        if (comm != NULL) {
            fclose(comm);
        }
        snprintf(path, sizeof path, "/proc/self/task/%s/schedstat", task->d_name);
        FILE *stat = loop ? fopen(path, "re") : NULL;
        if (stat != NULL && fscanf(stat, "%llu %llu", &ran, &waited) == 2) {
            snprintf(out, room, "its loop ran %.2f s and waited %.2f s for a core",
                     (double)ran / 1e9, (double)waited / 1e9);
        }
        if (stat != NULL) {
            fclose(stat);
        }
    }
    if (tasks != NULL) {
        closedir(tasks);
    }
}

int bench_creel(const struct bench_work *work, const struct bench_server *server,
                unsigned transfers, double seconds, struct bench_result *out, struct err *err) {
    struct store *store = NULL;
    struct sync *sync = NULL;
    struct sync_config config;
    bench_remote(server, &config);
    config.transfers = transfers;
    int code = store_start(work, &store, err);
    if (code != 0) {
        return code;
    }
    bench_memory_reset();
    double wall_s = bench_clock_s(), cpu_s = bench_cpu_s();
    code = sync_start(&config, store, &sync, err);
    if (code != 0) {
        store_close(store);
        return code;
    }
    struct sync_remote_status status = status_of(sync);
    while (status.uploaded + status.already_there < work->frames &&
           (seconds <= 0 || bench_clock_s() - wall_s < seconds)) {
        usleep(LOOK_US);
        status = status_of(sync);
    }
    *out = (struct bench_result){.wall_s = bench_clock_s() - wall_s,
                                 .cpu_s = bench_cpu_s() - cpu_s,
                                 .memory_mib = bench_memory_mib(),
                                 .objects = status.uploaded + status.already_there,
                                 .requests = status.requests};
    if (status.last_error[0] != '\0') {
        snprintf(out->note, sizeof out->note, "%s", status.last_error);
    } else {
        loop_note(out->note, sizeof out->note);
    }
    sync_stop(sync, 2000);
    store_close(store);
    return 0;
}

int bench_idle(const struct bench_work *work, const struct bench_server *server,
               struct bench_result *out, struct err *err) {
    struct store *store = NULL;
    struct sync *sync = NULL;
    struct sync_config config;
    bench_remote(server, &config);
    int code = store_start(work, &store, err);
    if (code != 0) {
        return code;
    }
    usleep(IDLE_US); /* what the store has to do after opening is not sync's */
    bench_memory_reset();
    double wall_s = bench_clock_s();
    code = sync_start(&config, store, &sync, err);
    *out = (struct bench_result){.wall_s = bench_clock_s() - wall_s};
    double cpu_s = bench_cpu_s();
    usleep(IDLE_US);
    if (code == 0) {
        out->cpu_s = bench_cpu_s() - cpu_s;
        out->memory_mib = bench_memory_mib();
        out->requests = status_of(sync).requests;
        out->objects = status_of(sync).uploaded;
    }
    sync_stop(sync, 1000);
    store_close(store);
    return code;
}
