/* Every fault of the network and of the servers (sync_proxy.h), against both clouds: the real sync
 * on a real store, in a process of its own (sync_device.h), and real servers, Azurite and a Ceph
 * gateway, behind a proxy that plays the fault.
 *
 * Each fault plays in three ways: it passes after a few requests; it lasts until somebody mends it;
 * the device is killed with SIGKILL while it plays, twice, and started again. Then:
 *   1. A receipt means that the object lies there, byte for byte: fetched from the server itself,
 * by a socket of the test's own.
 *   2. Bytes leave the device only when there is a receipt (here they leave as soon as they may).
 *   3. A frame has either arrived or waits, and why is said in words that fit the fault.
 *   4. In the end every frame has arrived; the server took each name once, and no other name.
 * One line a cell: fault, remote, how it played, outcome, requests. CREEL_FAULTS, CREEL_FAULT_HOW:
 * only names that hold this. CREEL_FAULT_FULL=1: rows that CI spares itself. CREEL_FAULT_JOBS:
 * cells at once. Built with SYNC_MUTANT, the sync has a planted fault (sync_mutate.sh); then a cell
 * must fail, and the program passes when one does.
 */
#include "tests/fault/sync_device.h"
#include "tests/fault/sync_faults.h"
#include <limits.h>
#include <stdarg.h>
#include <sys/mman.h>

#define FRAMES    10
#define JOBS      12
#define WAIT_MS   20000
#define SETTLE_MS 300 /* of a fault that lasts: whoever errs, errs in this time */

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

struct front { /* TLS before one of the servers */
    char dir[300], ca[400];
    int tls, old;
};

static char scratch[256];
static char dirs[SYNC_S3 + 1][300]; /* of the servers */
static int ports[SYNC_S3 + 1];
static struct front fronts[SYNC_S3 + 1];

__attribute__((format(printf, 2, 3))) static bool failed(struct cell *cell, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    if (cell->trouble[0] == '\0') {
        vsnprintf(cell->trouble, sizeof cell->trouble, fmt, args);
    }
    va_end(args);
    return false;
}

static bool is_tls(const struct fault *fault) {
    return strncmp(fault->name, "TLS", 3) == 0;
}

static bool is_dns(const struct fault *fault) {
    return strncmp(fault->name, "DNS", 3) == 0;
}

/* "azure|s3" or one for both. */
static bool has_words(const struct cell *cell, const char *text) {
    char words[128];
    snprintf(words, sizeof words, "%s", cell->fault->words);
    char *second = strchr(words, '|');
    if (second != NULL) {
        *second++ = '\0';
    }
    const char *wanted = second != NULL && cell->kind == SYNC_S3 ? second : words;
    return strstr(text, wanted) != NULL;
}

/* ---- servers ---- */

static void front_start(enum sync_kind kind) {
    struct front *front = &fronts[kind];
    front->tls = servers_free_port();
    front->old = servers_free_port();
    snprintf(front->dir, sizeof front->dir, "%s/front-%d", scratch, kind);
    snprintf(front->ca, sizeof front->ca, "%s/front-%d/ca.pem", scratch, kind);
    servers_need(
        servers_run("OWNER_PID=%d '%s/tests/servers/front.sh' start '%s' %d %d %d %d %d %d",
                    getpid(), CREEL_SOURCE_DIR, front->dir, ports[kind], ports[kind], front->tls,
                    front->old, servers_free_port(), servers_free_port()),
        "nginx");
}

/* One that is not lent to outgoing connections: a server that was away finds it free again. */
static int port_pick(unsigned round) {
    for (unsigned i = 0; i < 10000; i++) {
        unsigned port = 20000 + ((unsigned)getpid() * 7 + round * 3001 + i) % 12000;
        struct sockaddr_in name = {.sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                   .sin_port = htons((uint16_t)port)};
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        bool is_free = bind(fd, (struct sockaddr *)&name, sizeof name) == 0;
        close(fd);
        if (is_free) {
            return (int)port;
        }
    }
    return servers_free_port();
}

static bool server_stop(enum sync_kind kind) {
    return kind == SYNC_AZURE ? servers_azurite_stop(dirs[kind]) == 0
                              : servers_run("'%s/tests/servers/rgw.sh' pause '%s'",
                                            CREEL_SOURCE_DIR, dirs[kind]) == 0;
}

/* For the process that began it all. */
static bool server_start(enum sync_kind kind) {
    return servers_run("OWNER_PID=%d '%s/tests/servers/%s' '%s' %d", getppid(), CREEL_SOURCE_DIR,
                       kind == SYNC_AZURE ? "azurite.sh' 'start" : "rgw.sh' 'resume", dirs[kind],
                       ports[kind]) == 0;
}

/* ---- what lies there, seen by a client of the test's own ---- */

static bool fetched(const char *link, const uint8_t *wanted, size_t size) {
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

static bool lies_there(const struct cell *cell, unsigned frame, const char *key) {
    char link[SYNC_LINK_MAX];
    struct sync_remote_config remote;
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

static bool ask(struct cell *cell, const char *line) {
    return device_ask(&cell->device, line) || failed(cell, "the device does not answer %s", line);
}

static bool counts_ask(struct cell *cell) {
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
static bool frame_check(struct cell *cell, unsigned frame, const char *line, bool reachable,
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

static bool frames_check(struct cell *cell, bool reachable, unsigned *receipts, unsigned *here) {
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
static bool reasons_check(struct cell *cell) {
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

static int64_t deadline(void) {
    return clock_boot_us() + WAIT_MS * INT64_C(1000);
}

/* Until all arrived. What the fault made creel set aside is released, as a person would. */
static bool arrive_wait(struct cell *cell) {
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

static bool writes_check(struct cell *cell) {
    struct proxy *proxy = &cell->proxy;
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
static bool end_check(struct cell *cell) {
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

/* ---- the plan ---- */

static void answer_make(const struct cell *cell, char *out, size_t room) {
    const struct fault *fault = cell->fault;
    const char *code = cell->kind == SYNC_AZURE ? fault->azure : fault->s3;
    char body[256], extra[128] = "", date[CLOCK_HTTP_SIZE];
    int64_t now = clock_utc_us();
    if (fault->extra == SKEWED) {
        snprintf(extra, sizeof extra, "Date: %s\r\n",
                 clock_format_http(now + INT64_C(1200000000), date));
    } else if (fault->extra == RETRY_1) {
        snprintf(extra, sizeof extra, "Retry-After: 1\r\n");
    } else if (fault->extra == RETRY_DATE) {
        snprintf(extra, sizeof extra, "Retry-After: %s\r\n",
                 clock_format_http(now + 2 * INT64_C(1000000), date));
    }
    int length = snprintf(body, sizeof body,
                          "<Error><Code>%s</Code><Message>played</Message></Error>", code);
    snprintf(out, room,
             "HTTP/1.1 %d Played\r\nContent-Type: application/xml\r\n%s%s%s%sContent-Length: "
             "%d\r\n\r\n%s",
             fault->status, cell->kind == SYNC_AZURE ? "x-ms-error-code: " : "",
             cell->kind == SYNC_AZURE ? code : "", cell->kind == SYNC_AZURE ? "\r\n" : "", extra,
             length, body);
}

static void play(struct cell *cell, unsigned skip, unsigned count, unsigned kill_at,
                 unsigned kill_wait) {
    struct proxy_plan plan = {.how = cell->fault->how,
                              .puts = cell->fault->puts,
                              .at = cell->fault->at,
                              .skip = skip,
                              .count = count,
                              .victim = kill_at > 0 ? cell->device.pid : 0,
                              .kill_at = kill_at,
                              .kill_wait = kill_wait};
    if (cell->fault->status != 0) {
        answer_make(cell, plan.answer, sizeof plan.answer);
    }
    proxy_plan_set(&cell->proxy, &plan);
}

static void well(struct cell *cell) {
    struct proxy_plan plan = {0};
    proxy_plan_set(&cell->proxy, &plan);
}

/* What plays without a request that could be counted: nobody listens, or the configuration is
 * wrong. */
static bool is_silent(const struct fault *fault) {
    return fault->how == PROXY_REFUSE || fault->how == PROXY_PASS;
}

static bool needs_person(const struct fault *fault) {
    return is_dns(fault) || fault->how == PROXY_PASS;
}

/* ---- the three ways ---- */

static bool device_up(struct cell *cell) {
    return device_start(&cell->device, cell->dir, &cell->place) ||
           failed(cell, "the device does not start");
}

/* A person mends the configuration; the device is started again with it. */
static bool mend(struct cell *cell) {
    cell->place = cell->mended;
    if (strcmp(cell->fault->name, "TLS: certificate has ended") == 0) {
        cell->proxy.target = fronts[cell->kind].tls;
    }
    return ask(cell, "quit") && device_up(cell) && ask(cell, "go");
}

static bool passing(struct cell *cell) {
    const struct fault *fault = cell->fault;
    if (is_silent(fault)) { /* a state, not a request */
        play(cell, 0, PROXY_REST, 0, 0);
    } else {
        play(cell, 2, 5, 0, 0);
    }
    if (!ask(cell, "go")) {
        return false;
    }
    if (is_silent(fault) || cell->proxy.tunnel) {
        clock_sleep_ms(SETTLE_MS);
        well(cell);
    }
    return (!needs_person(fault) || mend(cell)) && end_check(cell);
}

/* Until the fault has been felt and is spoken of. */
static bool felt_wait(struct cell *cell) {
    int64_t until = deadline();
    bool felt = false, spoken = false;
    while (!felt || !spoken) {
        if (!counts_ask(cell)) {
            return false;
        }
        felt = is_silent(cell->fault) || atomic_load(&cell->proxy.played) >= 3 ||
               cell->fault->extra >= RETRY_1;
        spoken = cell->fault->outcome != HOLDS ||
                 (cell->reason[0] != '\0' && has_words(cell, cell->reason));
        if (cell->fault->outcome == HOLDS && cell->done > 0) {
            return failed(cell, "%u frames arrived in spite of it", cell->done);
        }
        if (clock_boot_us() > until) {
            return failed(cell, "not felt (%u times played), or not said in these words: %s",
                          atomic_load(&cell->proxy.played), cell->reason);
        }
        clock_sleep_ms(10);
    }
    return true;
}

static bool lasting(struct cell *cell) {
    const struct fault *fault = cell->fault;
    unsigned receipts = 0, here = 0;
    play(cell, 0, PROXY_REST, 0, 0);
    if (!ask(cell, "go") || !felt_wait(cell)) {
        return false;
    }
    unsigned before = atomic_load(&cell->proxy.requests);
    clock_sleep_ms(SETTLE_MS);
    unsigned more = atomic_load(&cell->proxy.requests) - before;
    if (fault->outcome == ARRIVES && !arrive_wait(cell)) {
        return false;
    }
    if (!frames_check(cell, true, &receipts, &here) || !reasons_check(cell)) {
        return false;
    }
    if (fault->outcome == HOLDS && receipts != 0) {
        return failed(cell, "%u frames arrived in spite of it", receipts);
    }
    if (fault->extra >= RETRY_1 && more > 4) {
        return failed(cell, "%u requests in %d ms: Retry-After is not honoured", more, SETTLE_MS);
    }
    snprintf(cell->outcome, sizeof cell->outcome, "%s%.*s%s",
             receipts == FRAMES  ? "arrived meanwhile"
             : cell->quarantined ? "set aside: "
                                 : "waited: ",
             receipts == FRAMES ? 0 : 60, cell->reason, receipts == FRAMES ? "" : "…");
    well(cell);
    return (!needs_person(fault) || mend(cell)) && end_check(cell);
}

static bool kill_wait(struct cell *cell) {
    int64_t until = deadline();
    if (is_silent(cell->fault)) { /* in the middle of its tries */
        clock_sleep_ms(60);
        kill(cell->device.pid, SIGKILL);
        return true;
    }
    while (!atomic_load(&cell->proxy.killed)) {
        if (clock_boot_us() > until) {
            return failed(cell, "the fault was not felt");
        }
        clock_sleep_ms(2);
    }
    return true;
}

static bool killed(struct cell *cell) {
    unsigned receipts = 0, here = 0;
    play(cell, cell->proxy.tunnel ? 0 : 1, PROXY_REST, 1, 0);
    device_ask(&cell->device, "go"); /* its last breath may come before its answer */
    if (!kill_wait(cell) || !device_up(cell) || !frames_check(cell, true, &receipts, &here)) {
        return false;
    }
    play(cell, 0, PROXY_REST, 2, 5 + cell->number % 10);
    device_ask(&cell->device, "go");
    if (!kill_wait(cell) || !device_up(cell) || !frames_check(cell, true, &receipts, &here) ||
        !reasons_check(cell)) {
        return false;
    }
    well(cell);
    return ask(cell, "go") && (!needs_person(cell->fault) || mend(cell)) && end_check(cell);
}

/* Some frames have arrived, some are half sent, some have not begun; then the server is gone for a
 * while. */
static bool server_killed(struct cell *cell) {
    unsigned receipts = 0, here = 0;
    int64_t until = deadline();
    play(cell, 7, PROXY_REST, 0, 0); /* the first may find no container yet */
    if (!ask(cell, "go")) {
        return false;
    }
    while (counts_ask(cell) && (cell->done < 2 || atomic_load(&cell->proxy.played) < 2) &&
           clock_boot_us() < until) {
        clock_sleep_ms(5);
    }
    if (!server_stop(cell->kind)) {
        return failed(cell, "the server cannot be stopped");
    }
    well(cell);
    clock_sleep_ms(SETTLE_MS);
    if (!frames_check(cell, false, &receipts, &here) || !reasons_check(cell)) {
        return false;
    }
    snprintf(cell->outcome, sizeof cell->outcome, "%u arrived, the others waited: %.60s…", receipts,
             cell->reason);
    if (!has_words(cell, cell->reason) || receipts == 0 || receipts == FRAMES) {
        return failed(cell, "not as meant: %s", cell->outcome);
    }
    return (server_start(cell->kind) || failed(cell, "the server does not start")) &&
           end_check(cell);
}

/* ---- running cells ---- */

static void place_make(struct cell *cell) {
    bool azure = cell->kind == SYNC_AZURE;
    const char *path = azure ? "/" AZURITE_ACCOUNT : "";
    struct device_place *place = &cell->place, *direct = &cell->direct;
    place->kind = cell->kind;
    snprintf(place->prefix, sizeof place->prefix, "cell-%d-%u", getpid(), cell->number);
    *direct = *place;
    snprintf(direct->url, sizeof direct->url, "http://127.0.0.1:%d%s", ports[cell->kind], path);
    snprintf(place->url, sizeof place->url, "http%s://127.0.0.1:%d%s",
             is_tls(cell->fault) ? "s" : "", cell->proxy.port, path);
    cell->mended = *place;
    if (is_tls(cell->fault)) {
        const struct front *front = &fronts[cell->kind];
        snprintf(place->ca_file, sizeof place->ca_file, "%.280s", front->ca);
        cell->mended = *place;
        if (strstr(cell->fault->name, "not trusted") != NULL) {
            place->ca_file[0] = '\0';
        }
    } else if (is_dns(cell->fault)) {
        snprintf(place->url, sizeof place->url, "http://%sstorage.invalid:8080",
                 azure ? AZURITE_ACCOUNT "." : "");
        cell->mended = *place;
        snprintf(cell->mended.proxy, sizeof cell->mended.proxy, "http://127.0.0.1:%d",
                 cell->proxy.port);
    }
}

static int target_of(const struct cell *cell) {
    const struct front *front = &fronts[cell->kind];
    bool ended = strcmp(cell->fault->name, "TLS: certificate has ended") == 0;
    return ended ? front->old : is_tls(cell->fault) ? front->tls : ports[cell->kind];
}

static bool cell_run(struct cell *cell) {
    static bool (*const ways[WAYS])(struct cell *) = {passing, lasting, killed, server_killed};
    char line[32];
    bool made = false;
    snprintf(cell->dir, sizeof cell->dir, "%s/cell-%u", scratch, cell->number);
    proxy_start(&cell->proxy, target_of(cell));
    cell->proxy.tunnel = is_tls(cell->fault);
    place_make(cell);
    snprintf(line, sizeof line, "put %d", FRAMES);
    made = device_up(cell) && ask(cell, line);
    bool passed = made && ways[cell->way](cell) && ask(cell, "quit");
    cell->requests = atomic_load(&cell->proxy.requests);
    device_end(&cell->device);
    servers_run("rm -rf '%s'", cell->dir);
    return passed;
}

static void cell_print(const struct cell *cell, bool passed, int64_t took_us) {
    char line[1024];
    int length = snprintf(
        line, sizeof line, "%-6s %-34s %-5s %-7s %4u requests %5lld ms  %s%s%s\n",
        passed ? "ok" : "FAILED", cell->fault->name, cell->kind == SYNC_AZURE ? "azure" : "s3",
        way_names[cell->way], cell->requests, (long long)took_us / 1000,
        passed ? cell->outcome : cell->trouble, passed && cell->outcome[0] != '\0' ? "; then " : "",
        passed ? "all arrived, once" : "");
    fflush(stdout);
    if (write(1, line, (size_t)length) != length) { /* one write: cells print side by side */
        _exit(4);
    }
}

struct score { /* shared by the processes that run cells */
    atomic_uint next, cells, failures, requests;
};

static struct score *score;

static bool is_wanted(const char *variable, const char *name) {
    const char *wanted = getenv(variable);
    return wanted == NULL || strstr(name, wanted) != NULL;
}

static void cell_play(const struct fault *fault, enum sync_kind kind, enum way way,
                      unsigned number) {
    const char *full = getenv("CREEL_FAULT_FULL");
    bool spare = (fault->full || way == PASSING) && (full == NULL || full[0] != '1');
    if (spare || !is_wanted("CREEL_FAULTS", fault->name) ||
        !is_wanted("CREEL_FAULT_HOW", way_names[way])) {
        return;
    }
    struct cell *cell = calloc(1, sizeof *cell); /* its proxy's threads outlive it */
    cell->fault = fault;
    cell->kind = kind;
    cell->way = way;
    cell->number = number;
    int64_t before = clock_boot_us();
    bool passed = cell_run(cell);
    atomic_fetch_add(&score->cells, 1);
    atomic_fetch_add(&score->failures, !passed);
    atomic_fetch_add(&score->requests, cell->requests);
    cell_print(cell, passed, clock_boot_us() - before);
}

static void cell_at(unsigned number) {
    cell_play(&faults[number / (2 * CELL_WAYS)], number / CELL_WAYS % 2 == 0 ? SYNC_AZURE : SYNC_S3,
              (enum way)(number % CELL_WAYS), number);
}

/* A planted fault is enough when it shows once. */
static bool is_over(void) {
#ifdef SYNC_MUTANT
    return atomic_load(&score->failures) > 0;
#else
    return false;
#endif
}

static void cells_wait(void) {
    int status = 0;
    while (wait(&status) > 0) {
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
            printf("FAILED a process that runs cells ended with status %d\n", status);
            atomic_fetch_add(&score->failures, 1);
        }
    }
}

static void servers_die(void) {
    for (int kind = SYNC_AZURE; kind <= SYNC_S3 && !is_over(); kind++) {
        if (fork() == 0) {
            cell_play(&server_dies, (enum sync_kind)kind, SERVER, FAULTS * 2 * CELL_WAYS);
            _exit(0);
        }
        cells_wait();
    }
}

static void cells_run(void) {
    const char *jobs = getenv("CREEL_FAULT_JOBS");
    int count = jobs != NULL ? atoi(jobs) : JOBS;
    fflush(stdout);
    for (int i = 0; i < count; i++) {
        if (fork() != 0) {
            continue;
        }
        for (;;) {
            unsigned number = atomic_fetch_add(&score->next, 1);
            if (number >= FAULTS * 2 * CELL_WAYS || is_over()) {
                _exit(0);
            }
            cell_at(number);
        }
    }
    cells_wait();
}

int main(int argc, char **argv) {
    static const char *const variables[] = {"http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy",
                                            "ALL_PROXY",  "no_proxy",    "NO_PROXY"};
    if (argc == 8 && strcmp(argv[1], "device") == 0) {
        return device_main(argv);
    }
    for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++) {
        unsetenv(variables[i]);
    }
    signal(SIGPIPE, SIG_IGN);
    score = mmap(NULL, sizeof *score, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    servers_scratch(scratch, sizeof scratch);
    snprintf(dirs[SYNC_AZURE], sizeof dirs[0], "%s/azurite", scratch);
    snprintf(dirs[SYNC_S3], sizeof dirs[0], "%s/rgw", scratch);
    ports[SYNC_AZURE] = port_pick(1);
    ports[SYNC_S3] = port_pick(2);
    setenv("RGW_DNS_NAME", "storage.invalid", 1);
    servers_need(servers_azurite(dirs[SYNC_AZURE], ports[SYNC_AZURE], ""), "azurite");
    servers_need(servers_rgw(dirs[SYNC_S3], ports[SYNC_S3], servers_free_port()), "the S3 server");
    front_start(SYNC_AZURE);
    front_start(SYNC_S3);
    cells_run();
    servers_die();
    unsigned failures = atomic_load(&score->failures);
    printf("sync, faults: %u cells, %u failed, %u requests\n", atomic_load(&score->cells), failures,
           atomic_load(&score->requests));
    for (int kind = SYNC_AZURE; kind <= SYNC_S3; kind++) {
        servers_run("'%s/tests/servers/front.sh' stop '%s'", CREEL_SOURCE_DIR, fronts[kind].dir);
    }
    servers_azurite_stop(dirs[SYNC_AZURE]);
    servers_rgw_stop(dirs[SYNC_S3]);
    servers_run("rm -rf '%s'", scratch);
#ifdef SYNC_MUTANT
    printf("mutant %s: %s\n", SYNC_MUTANT, failures ? "caught" : "NOT CAUGHT");
    return failures ? EXIT_SUCCESS : EXIT_FAILURE;
#else
    return failures || atomic_load(&score->cells) == 0 ? EXIT_FAILURE : EXIT_SUCCESS;
#endif
}
