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
#include "tests/fault/sync_faults.h"
#include <sys/mman.h>

#define JOBS 12

struct front { /* TLS before one of the servers */
    char dir[300], ca[400];
    int tls, old;
};

static char scratch[256];
static char dirs[SYNC_S3 + 1][300]; /* of the servers */
static int ports[SYNC_S3 + 1];
static struct front fronts[SYNC_S3 + 1];

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

/* ---- the plan ---- */

static bool is_tls(const struct fault *fault) {
    return strncmp(fault->name, "TLS", 3) == 0;
}

static bool is_dns(const struct fault *fault) {
    return strncmp(fault->name, "DNS", 3) == 0;
}

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
    device_large = device_parts() && cell->kind == SYNC_S3;
    snprintf(cell->dir, sizeof cell->dir, "%s/cell-%u", scratch, cell->number);
    proxy_start(&cell->proxy, target_of(cell));
    cell->proxy.tunnel = is_tls(cell->fault);
    place_make(cell);
    snprintf(line, sizeof line, "put 0 %d", FRAMES);
    made = device_up(cell) && ask(cell, line);
    bool passed = made && ways[cell->way](cell) && ask(cell, "quit");
    cell->requests = atomic_load(&cell->proxy.requests);
    device_end(&cell->device);
    servers_run("rm -rf '%s'", cell->dir);
    return passed;
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
        !is_wanted("CREEL_FAULT_REMOTE", kind == SYNC_AZURE ? "azure" : "s3") ||
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
