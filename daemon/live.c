#include "daemon/live.h"
#include "daemon/base/clock.h"
#include "daemon/base/mem.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINE_EVERY_S 5 /* where nothing can be overwritten */
#define POLL_MS      100
#define GB           1e9
#define DAY_S        86400.0

/* Counts as they are now; all zero when the index cannot be read (the log says why). */
static struct store_counts *counts_now(const struct rooms *rooms) {
    struct store_counts *counts = mem_alloc(sizeof(*counts));
    if (counts && store_counts_read(rooms->reader, counts, NULL)) {
        *counts = (struct store_counts){0};
    }
    return counts;
}

static uint64_t pending_of(const struct store_counts *counts) {
    uint64_t pending = 0;
    for (size_t i = 0; i < counts->remote_count; i++) {
        pending += counts->remotes[i].pending;
    }
    return pending;
}

static void print_gallery(const struct rooms *rooms) {
    uint16_t web, ingest;
    webui_ports(rooms->webui, &web, &ingest);
    if (!web) {
        return;
    }
    const char *listen = rooms->values->webui.listen;
    const char *wanted = strrchr(listen, ':') + 1;
    char got[8];
    snprintf(got, sizeof(got), "%u", web);
    if (strcmp(wanted, got) != 0) {
        printf("port %s is taken; using the next free one, %s\n", wanted, got);
    }
    char host[LINK_HOST_MAX];
    link_host(listen, host);
    printf("gallery: http://%s:%s/\n", host, got);
    if (getenv("SSH_CONNECTION")) {
        printf("from your own machine: ssh -L %s:127.0.0.1:%s <this host>, then open "
               "http://127.0.0.1:%s/\n",
               got, got, got);
    }
}

void live_start(struct live *live, const struct rooms *rooms) {
    live->terminal = isatty(STDOUT_FILENO);
    live->started_boot_us = clock_boot_us();
    CLEANUP(mem_free_at) struct store_counts *counts = counts_now(rooms);
    for (int tier = 0; counts && tier < TIER_COUNT; tier++) {
        live->kept_before[tier] = counts->frames[tier];
    }
    print_gallery(rooms);
    fflush(stdout);
}

void live_line(struct live *live, const struct rooms *rooms) {
    if (!live->terminal && live->lines++ % LINE_EVERY_S) {
        return;
    }
    CLEANUP(mem_free_at) struct store_counts *counts = counts_now(rooms);
    if (!counts) {
        return;
    }
    struct pipeline_stats stats;
    pipeline_stats_get(rooms->pipeline, &stats);
    double seconds = (double)(clock_boot_us() - live->started_boot_us) / 1e6;
    printf("%sseen %llu (%.1f/s) | annotated kept %llu replicated %llu | unannotated kept %llu "
           "replicated %llu | waiting %llu | %.0f ms a frame%s",
           live->terminal ? "\r\033[K" : "", (unsigned long long)stats.seen,
           seconds > 0 ? (double)stats.seen / seconds : 0,
           (unsigned long long)counts->frames[TIER_ANNOTATED],
           (unsigned long long)counts->replicated[TIER_ANNOTATED],
           (unsigned long long)counts->frames[TIER_UNANNOTATED],
           (unsigned long long)counts->replicated[TIER_UNANNOTATED],
           (unsigned long long)pending_of(counts), stats.detect_ms_mean,
           live->terminal ? "" : "\n");
    fflush(stdout);
}

void live_wait_uploads(const struct rooms *rooms, int deadline_ms) {
    int64_t deadline_us = clock_boot_us() + (int64_t)deadline_ms * 1000;
    for (bool waiting = true; waiting && clock_boot_us() < deadline_us;) {
        CLEANUP(mem_free_at) struct store_counts *counts = counts_now(rooms);
        waiting = counts && pending_of(counts) > 0;
        if (waiting) {
            clock_sleep_ms(POLL_MS);
        }
    }
}

static void print_where(const struct rooms *rooms) {
    printf("the frames are in %s", rooms->values->store.dir);
    CLEANUP(mem_free_at) struct sync_status *status = mem_alloc(sizeof(*status));
    if (status && rooms->sync) {
        sync_status_get(rooms->sync, status);
        for (size_t i = 0; i < status->remote_count; i++) {
            printf("%s%s", i ? ", " : ", replicated to ", status->remotes[i].where);
        }
    }
    printf("\n");
}

void live_summary(const struct live *live, const struct rooms *rooms) {
    static const char *const names[TIER_COUNT] = {"annotated", "unannotated"};
    CLEANUP(mem_free_at) struct store_counts *counts = counts_now(rooms);
    if (!counts) {
        return;
    }
    struct pipeline_stats stats;
    pipeline_stats_get(rooms->pipeline, &stats);
    double seconds = (double)(clock_boot_us() - live->started_boot_us) / 1e6;
    printf("%sframes seen: %llu in %.0f s\n", live->terminal ? "\r\033[K" : "",
           (unsigned long long)stats.seen, seconds);
    for (int tier = 0; tier < TIER_COUNT; tier++) {
        printf("%s: kept %llu replicated %llu (this run: kept %llu)\n", names[tier],
               (unsigned long long)counts->frames[tier],
               (unsigned long long)counts->replicated[tier], (unsigned long long)stats.kept[tier]);
    }
    double kept = (double)(stats.kept[TIER_ANNOTATED] + stats.kept[TIER_UNANNOTATED]);
    double stayed = kept > 0 ? 1 - (double)stats.displaced / kept : 0;
    if (stats.displaced > 0) {
        printf("of these %llu gave way to better ones of the same moments\n",
               (unsigned long long)stats.displaced);
    }
    print_where(rooms);
    printf("projected: %.2f GB a day at this rate\n",
           seconds > 0 ? (double)stats.kept_bytes * stayed / seconds * DAY_S / GB : 0);
    printf("next: run it again and it continues; point it at your own camera and bucket as "
           "README.md shows\n");
    fflush(stdout);
}
