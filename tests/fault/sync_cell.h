/* sync_cell: one fault at one remote: the device that suffers it, and what must be true of its
 * frames afterwards. What both matrices of faults (test_sync_matrix.c, test_sync_disk.c) share; the
 * four invariants are named at the top of the first.
 */
#ifndef CREEL_TESTS_SYNC_CELL_H
#define CREEL_TESTS_SYNC_CELL_H

#include "tests/fault/sync_device.h"
#include "tests/fault/sync_proxy.h"
#include <stdarg.h>

#define FRAMES    10
#define WAIT_MS   20000
#define SETTLE_MS 300 /* of a fault that lasts: whoever errs, errs in this time */

enum outcome { HOLDS, ARRIVES, EITHER }; /* while the fault lasts */
enum extra { NO_EXTRA, SKEWED, RETRY_1, RETRY_DATE };
struct fault {
    const char *name;
    enum proxy_how how;
    enum outcome outcome;
    const char *words; /* of the reason, for either cloud: "azure|s3" where they differ */
    int at;
    bool puts, full; /* of objects only; not in CI */
    int status;
    const char *azure, *s3; /* error codes */
    enum extra extra;
};

enum way { PASSING = 0, LASTING, KILLED, CELL_WAYS, SERVER = CELL_WAYS, WAYS };

static const char *const way_names[WAYS] = {"passes", "lasts", "kill -9", "restart"};

/* ---- a cell ---- */

struct cell {
    const struct fault *fault;
    enum sync_kind kind;
    enum way way;
    unsigned number, requests;
    char dir[300];
    struct device_place place, direct; /* as the device knows it; as it is */
    struct device_place mended;        /* where a person changed the configuration */
    struct proxy proxy;
    struct device device;
    unsigned pending, done, quarantined;
    char reason[ERR_TEXT_MAX];
    char outcome[160]; /* while the fault lasted */
    char trouble[512]; /* "": none */
};

__attribute__((format(printf, 2, 3))) static inline bool failed(struct cell *cell, const char *fmt,
                                                                ...) {
    va_list args;
    va_start(args, fmt);
    if (cell->trouble[0] == '\0') {
        vsnprintf(cell->trouble, sizeof cell->trouble, fmt, args);
    }
    va_end(args);
    return false;
}

/* "azure|s3" or one for both. */
static inline bool has_words(const struct cell *cell, const char *text) {
    char words[128];
    snprintf(words, sizeof words, "%s", cell->fault->words);
    char *second = strchr(words, '|');
    if (second != NULL) {
        *second++ = '\0';
    }
    const char *wanted = second != NULL && cell->kind == SYNC_S3 ? second : words;
    return strstr(text, wanted) != NULL;
}

/* ---- what lies there, seen by a client of the test's own ---- */

static inline bool fetched(const char *link, const uint8_t *wanted, size_t size) {
    char request[SYNC_LINK_MAX + 128];
    const char *host = link + strlen("http://"), *path = strchr(host, '/');
    const char *port = strchr(host, ':');
    struct proxy_message reply = {0};
    int fd = port != NULL && path != NULL ? proxy_connect(atoi(port + 1)) : -1;
    if (fd < 0) {
        return false;
    }
    int length = snprintf(request, sizeof request,
                          "GET %s HTTP/1.1\r\nHost: %.*s\r\nConnection: close\r\n\r\n", path,
                          (int)(path - host), host);
    bool same = proxy_send(fd, request, (size_t)length);
    while (same && proxy_more(fd, &reply, PROXY_MESSAGE_MAX)) {
    }
    close(fd);
    const char *end = reply.size > 0 ? memmem(reply.bytes, reply.size, "\r\n\r\n", 4) : NULL;
    reply.head = end != NULL ? (size_t)(end - reply.bytes) + 4 : 0;
    same = reply.head > 0 && strncmp(reply.bytes + 9, "200", 3) == 0 &&
           reply.size - reply.head == size && memcmp(reply.bytes + reply.head, wanted, size) == 0;
    free(reply.bytes);
    return same;
}

static inline bool lies_in_folder(const struct cell *cell, unsigned frame, const char *key) {
    char path[STORE_KEY_MAX + 512], bytes[32768];
    snprintf(path, sizeof path, "%s/%s/%s", cell->place.url, cell->place.prefix, key);
    FILE *file = fopen(path, "re");
    size_t size = file != NULL ? fread(bytes, 1, sizeof bytes, file) : 0;
    if (file != NULL) {
        fclose(file);
    }
    uint8_t *wanted = device_bytes(frame);
    bool same = size == device_size(frame) && memcmp(bytes, wanted, size) == 0;
    free(wanted);
    return same;
}

static inline bool lies_there(const struct cell *cell, unsigned frame, const char *key) {
    char link[SYNC_LINK_MAX];
    struct sync_remote_config remote;
    if (cell->kind == SYNC_DIRECTORY) {
        return lies_in_folder(cell, frame, key);
    }
    device_remote(&cell->direct, &remote);
    if (sync_link_create(&remote, device_tier(frame), key, 300, link, NULL) != 0) {
        return false;
    }
    uint8_t *wanted = device_bytes(frame);
    bool same = fetched(link, wanted, device_size(frame));
    free(wanted);
    return same;
}

/* ---- what the device says ---- */

static inline bool ask(struct cell *cell, const char *line) {
    return device_ask(&cell->device, line) || failed(cell, "the device does not answer %s", line);
}

static inline bool counts_ask(struct cell *cell) {
    if (!ask(cell, "counts")) {
        return false;
    }
    char *at = cell->device.answer;
    cell->pending = (unsigned)strtoul(at, &at, 10);
    cell->done = (unsigned)strtoul(at, &at, 10);
    cell->quarantined = (unsigned)strtoul(at, &at, 10);
    at[strcspn(at, "\n")] = '\0';
    snprintf(cell->reason, sizeof cell->reason, "%s", at + 1);
    return true;
}

/* Invariants 1 and 2 for a line of "frames"; `*here` counts what is still on the device. */
static inline bool frame_check(struct cell *cell, unsigned frame, const char *line, bool reachable,
                               unsigned *receipts, unsigned *here) {
    char key[STORE_KEY_MAX + 1];
    int kind = 0, local = 0;
    if (sscanf(line, "%d %d %1024s", &kind, &local, key) != 3) {
        return failed(cell, "frame %u: not understood: %s", frame, line);
    }
    if (kind == 0 && !local) {
        return failed(cell, "frame %u is gone, and there is no receipt", frame);
    }
    if (kind == STORE_RECEIPT_EXISTS) {
        return failed(cell, "frame %u has a receipt that nothing was compared for", frame);
    }
    if (kind != 0 && reachable && !lies_there(cell, frame, key)) {
        return failed(cell, "frame %u has a receipt, and its bytes are not there", frame);
    }
    *receipts += kind != 0;
    *here += local != 0;
    return true;
}

static inline bool frames_check(struct cell *cell, bool reachable, unsigned *receipts,
                                unsigned *here) {
    char *rest = NULL;
    *receipts = *here = 0;
    if (!ask(cell, "frames")) {
        return false;
    }
    char *line = strtok_r(cell->device.answer, "\n", &rest);
    for (unsigned frame = 0; frame < FRAMES; frame++) {
        if (line == NULL || !frame_check(cell, frame, line, reachable, receipts, here)) {
            return failed(cell, "frame %u: no word of it", frame);
        }
        line = strtok_r(NULL, "\n", &rest);
    }
    return true;
}

/* Invariant 3. */
static inline bool reasons_check(struct cell *cell) {
    if (!counts_ask(cell)) {
        return false;
    }
    if (cell->pending + cell->quarantined + cell->done != FRAMES) {
        return failed(cell, "%u arrived, %u wait and %u are set aside, of %u", cell->done,
                      cell->pending, cell->quarantined, FRAMES);
    }
    if (cell->quarantined == 0) {
        return true;
    }
    char *rest = NULL;
    ask(cell, "reasons");
    for (char *line = strtok_r(cell->device.answer, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        if (!has_words(cell, line)) {
            return failed(cell, "set aside for another reason: %s", line);
        }
    }
    return true;
}

/* ---- waiting ---- */

static inline int64_t deadline(void) {
    return clock_boot_us() + WAIT_MS * INT64_C(1000);
}

/* Until all arrived. What the fault made creel set aside is released, as a person would. */
static inline bool arrive_wait(struct cell *cell) {
    int64_t until = deadline();
    while (counts_ask(cell) && cell->done < FRAMES) {
        if (clock_boot_us() > until) {
            return failed(cell, "%u of %u arrived, %u are set aside; last: %s", cell->done, FRAMES,
                          cell->quarantined, cell->reason);
        }
        if (cell->quarantined > 0 && !ask(cell, "retry")) {
            return false;
        }
        clock_sleep_ms(15);
    }
    return cell->trouble[0] == '\0';
}

static inline bool writes_check(struct cell *cell) {
    struct proxy *proxy = &cell->proxy;
    if (cell->kind == SYNC_DIRECTORY) { /* hidden names, but for the mark, are left-overs */
        return servers_run("[ $(find '%s' -type f ! -name .creel-remote | wc -l) = %d ]",
                           cell->place.url, FRAMES) == 0 ||
               failed(cell, "not %d files", FRAMES);
    }
    if (proxy->tunnel) {
        return true; /* what it carried is nobody's to read */
    }
    for (size_t i = 0; i < proxy->write_count; i++) {
        if (proxy->writes[i].times != 1) {
            return failed(cell, "the server took %s %u times", proxy->writes[i].path,
                          proxy->writes[i].times);
        }
    }
    /* A server that dies may have taken what it could not answer any more. */
    return proxy->write_count == FRAMES || (cell->way == SERVER && proxy->write_count < FRAMES) ||
           failed(cell, "%zu names were written, not %u", proxy->write_count, FRAMES);
}

/* Invariant 4; and that the bytes may leave at all, or invariant 2 would say nothing. */
static inline bool end_check(struct cell *cell) {
    unsigned receipts = 0, here = FRAMES;
    int64_t until = deadline();
    if (!arrive_wait(cell) || !writes_check(cell)) {
        return false;
    }
    while (frames_check(cell, true, &receipts, &here) && here > 0) {
        if (clock_boot_us() > until) {
            return failed(cell, "%u frames have arrived and do not leave", here);
        }
        clock_sleep_ms(50);
    }
    return receipts == FRAMES || failed(cell, "%u receipts, not %u", receipts, FRAMES);
}

static inline void cell_print(const struct cell *cell, bool passed, int64_t took_us) {
    static const char *const kinds[] = {
        [SYNC_DIRECTORY] = "disk", [SYNC_AZURE] = "azure", [SYNC_S3] = "s3"};
    char line[1024];
    int length = snprintf(
        line, sizeof line, "%-6s %-34s %-5s %-7s %4u requests %5lld ms  %s%s%s\n",
        passed ? "ok" : "FAILED", cell->fault->name, kinds[cell->kind], way_names[cell->way],
        cell->requests, (long long)took_us / 1000, passed ? cell->outcome : cell->trouble,
        passed && cell->outcome[0] != '\0' ? "; then " : "", passed ? "all arrived, once" : "");
    fflush(stdout);
    if (write(1, line, (size_t)length) != length) { /* one write: cells print side by side */
        _exit(4);
    }
}

#endif
