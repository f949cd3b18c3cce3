/* Every fault of a disk or a share, below the directory of a remote: the real sync on a real store,
 * in a process of its own, as in test_sync_matrix.c, whose four invariants hold here as well. A
 * fault lasts until the disk is well again; or the device is killed with SIGKILL in the very call
 * that fails, twice. One line a cell.
 */
#include "tests/fault/sync_cell.h"
#include <sys/stat.h>

struct disk_fault {
    struct fault fault;
    const char *call;
    int wanted; /* errno; 0: the directory is not there */
};

static const struct disk_fault faults[] = {
    {{"disk full", .outcome = HOLDS, .words = "No space left"}, "pwrite", ENOSPC},
    {{"disk full for a new file", .outcome = HOLDS, .words = "No space left"}, "open", ENOSPC},
    {{"disk full for a new folder", .outcome = HOLDS, .words = "No space left"}, "mkdir", ENOSPC},
    {{"writing fails", .outcome = HOLDS, .words = "Input/output"}, "pwrite", EIO},
    {{"syncing fails", .outcome = HOLDS, .words = "Input/output"}, "fsync", EIO},
    {{"read-only", .outcome = HOLDS, .words = "Read-only"}, "open", EROFS},
    {{"no right to write", .outcome = HOLDS, .words = "denied"}, "open", EACCES},
    {{"quota used up", .outcome = HOLDS, .words = "quota"}, "pwrite", EDQUOT},
    {{"share does not answer any more", .outcome = HOLDS, .words = "Stale"}, "open", ESTALE},
    {{"not mounted", .outcome = HOLDS, .words = "not mounted"}, "", 0},
};

#define FAULTS (sizeof faults / sizeof faults[0])

static char scratch[256];

static bool spoil(struct cell *cell, const struct disk_fault *fault, unsigned kill_at) {
    char line[64];
    snprintf(line, sizeof line, "spoil %s %d %u", fault->call, fault->wanted, kill_at);
    return ask(cell, line);
}

static bool up(struct cell *cell) {
    return device_start(&cell->device, cell->dir, &cell->place) ||
           failed(cell, "the device does not start");
}

/* The disk fails; what is said of it, and that nothing arrives. */
static bool held(struct cell *cell, unsigned arrived, bool reachable) {
    unsigned receipts = 0, here = 0;
    int64_t until = deadline();
    while (counts_ask(cell) && (cell->reason[0] == '\0' || !has_words(cell, cell->reason))) {
        if (clock_boot_us() > until) {
            return failed(cell, "not said in these words: %s", cell->reason);
        }
        clock_sleep_ms(10);
    }
    clock_sleep_ms(SETTLE_MS);
    if (!frames_check(cell, reachable, &receipts, &here) || !reasons_check(cell)) {
        return false;
    }
    snprintf(cell->outcome, sizeof cell->outcome, "%s%.60s…",
             cell->quarantined ? "set aside: " : "waited: ", cell->reason);
    return receipts == arrived || failed(cell, "%u frames arrived in spite of it", receipts);
}

/* Half of the frames arrive; the others are on the device, and the sync is not. */
static bool half_way(struct cell *cell) {
    int64_t until = deadline();
    if (!ask(cell, "put 0 5") || !ask(cell, "go")) {
        return false;
    }
    while (counts_ask(cell) && cell->done < 5) {
        if (clock_boot_us() > until) {
            return failed(cell, "not even the first arrive: %s", cell->reason);
        }
        clock_sleep_ms(10);
    }
    return ask(cell, "quit") && up(cell) && ask(cell, "put 5 10");
}

/* Where folders cannot be made, none may be there. */
static unsigned prepare(struct cell *cell, const struct disk_fault *fault) {
    if (strcmp(fault->call, "mkdir") == 0) {
        ask(cell, "put 0 10");
        return 0;
    }
    half_way(cell);
    return 5;
}

static bool lasting(struct cell *cell, const struct disk_fault *fault) {
    unsigned arrived = prepare(cell, fault);
    return spoil(cell, fault, 0) && ask(cell, "go") && held(cell, arrived, true) &&
           ask(cell, "well") && end_check(cell);
}

static bool killed(struct cell *cell, const struct disk_fault *fault) {
    unsigned receipts = 0, here = 0;
    prepare(cell, fault);
    for (unsigned kill_at = 1; kill_at <= 2; kill_at++) {
        if (!spoil(cell, fault, kill_at)) {
            return false;
        }
        device_ask(&cell->device, "go"); /* its last breath may come before its answer */
        int64_t until = deadline();
        while (waitpid(cell->device.pid, NULL, WNOHANG) == 0) {
            if (clock_boot_us() > until) {
                return failed(cell, "the fault was not felt");
            }
            clock_sleep_ms(2);
        }
        if (!up(cell) || !frames_check(cell, true, &receipts, &here) || !reasons_check(cell)) {
            return false;
        }
    }
    return ask(cell, "go") && end_check(cell);
}

/* An empty folder where the share was: the mount guard must notice. */
static bool unmounted(struct cell *cell) {
    const char *path = cell->place.url;
    if (!half_way(cell) || servers_run("mv '%s' '%s.away' && mkdir '%s'", path, path, path) != 0 ||
        !ask(cell, "go") || !held(cell, 5, false)) {
        return failed(cell, "the share cannot be taken away");
    }
    return (servers_run("rmdir '%s' && mv '%s.away' '%s'", path, path, path) == 0 ||
            failed(cell, "something was written where the share was not")) &&
           end_check(cell);
}

static bool play(const struct disk_fault *fault, enum way way, unsigned number) {
    struct cell *cell = calloc(1, sizeof *cell);
    cell->fault = &fault->fault;
    cell->kind = SYNC_DIRECTORY;
    cell->way = way;
    snprintf(cell->dir, sizeof cell->dir, "%s/store-%u", scratch, number);
    cell->place.kind = SYNC_DIRECTORY;
    snprintf(cell->place.url, sizeof cell->place.url, "%.120s/disk-%u", scratch, number);
    snprintf(cell->place.prefix, sizeof cell->place.prefix, "frames-of-1");
    mkdir(cell->place.url, 0755);
    int64_t before = clock_boot_us();
    bool passed = up(cell) && (fault->wanted == 0 ? unmounted(cell)
                               : way == LASTING   ? lasting(cell, fault)
                                                  : killed(cell, fault));
    passed = passed && ask(cell, "quit");
    device_end(&cell->device);
    cell_print(cell, passed, clock_boot_us() - before);
    free(cell);
    return passed;
}

int main(int argc, char **argv) {
    unsigned cells = 0, failures = 0;
    if (argc == 8 && strcmp(argv[1], "device") == 0) {
        return device_main(argv);
    }
    signal(SIGPIPE, SIG_IGN);
    servers_scratch(scratch, sizeof scratch);
    for (unsigned number = 0; number < FAULTS * 2; number++) {
        const struct disk_fault *fault = &faults[number / 2];
        enum way way = number % 2 == 0 ? LASTING : KILLED;
        if (fault->wanted != 0 || way == LASTING) {
            cells++;
            failures += !play(fault, way, number);
        }
    }
    servers_run("rm -rf '%s'", scratch);
    printf("sync, faults of disks: %u cells, %u failed\n", cells, failures);
    return failures > 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
