/* The front of the sources: kinds by scheme, one thread each, counters. See source.h and
 * source_kinds.h. */
#include "inference/source.h"

#include "daemon/base/buf.h"
#include "daemon/base/clock.h"
#include "daemon/base/mem.h"
#include "inference/source_kinds.h"
#include <errno.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define THREAD_NAME_SIZE 16 /* the kernel's, with the NUL */

struct source {
    struct source__host host;
    const struct source_ops *ops;
    void *kind; /* owned: what ops->open made */
    pthread_t thread;
    bool running;
    char *uri;     /* owned */
    char *move_to; /* owned, or NULL */
};

static const struct source_ops *const kinds[] = {
    &source__demo,       &source__directory,  &source__streams[0], &source__streams[1],
    &source__streams[2], &source__streams[3], &source__streams[4], &source__streams[5],
    &source__streams[6], &source__streams[7], &source__streams[8],
};

static const struct source_ops *kind_find(const char *uri) {
    for (size_t i = 0; i < ARRAY_LENGTH(kinds); i++) {
        if (strncmp(uri, kinds[i]->scheme, strlen(kinds[i]->scheme)) == 0) {
            return kinds[i];
        }
    }
    return NULL;
}

static int kind_unknown(const struct source_config *config, struct err *err) {
    CLEANUP(buf_finish) struct buf known = BUF_INIT(ERR_TEXT_MAX);

    for (size_t i = 0; i < ARRAY_LENGTH(kinds); i++) {
        if (kinds[i]->form) {
            buf_printf(&known, "%s%s", i ? ", " : "", kinds[i]->form);
        }
    }
    int scheme = (int)strcspn(config->source, ":/@ ");
    return err_set(err, ERR_CONFIG, "camera %s: source '%.*s' is of no known kind; known are: %s",
                   config->name, scheme < 40 ? scheme : 40, config->source,
                   known.data ? known.data : "");
}

/* What only means something where a capture process is at work. */
static const char *capture_only(const struct source_config *config) {
    return config->user || config->password     ? "user and password are"
           : config->size                       ? "size is"
           : config->schedule                   ? "schedule is"
           : config->motion > 0                 ? "motion is"
           : config->loop                       ? "loop is"
           : config->rtmp == SOURCE_RTMP_LISTEN ? "rtmp is"
                                                : NULL;
}

/* A URI may hold a password: what follows the scheme is printed only by kinds that know better. */
int source_check(const struct source_config *config, struct err *err) {
    if (!frame_name_valid(config->name)) {
        return err_set(err, ERR_CONFIG,
                       "camera '%.40s': a name is 1 to %d of a-z, 0-9 and '-', and does not start "
                       "with '-'",
                       config->name, FRAME_NAME_MAX);
    }
    if (!config->source || !config->source[0]) {
        return err_set(err, ERR_CONFIG, "camera %s has no source", config->name);
    }
    if (!isfinite(config->fps) || config->fps < 0) {
        return err_set(err, ERR_CONFIG,
                       "camera %s: fps is %g: it is a number above 0, or 0 for the "
                       "source's own pace",
                       config->name, config->fps);
    }
    const struct source_ops *ops = kind_find(config->source);
    if (!ops) {
        return kind_unknown(config, err);
    }
    const char *stray = ops->captures ? NULL : capture_only(config);
    if (stray) {
        return err_set(err, ERR_CONFIG, "camera %s: %s for cameras and videos, not for '%s'",
                       config->name, stray, ops->scheme);
    }
    return ops->check(config, config->source + strlen(ops->scheme), err);
}

enum source__phase source__phase(struct source__host *host) {
    return (enum source__phase)atomic_load(&host->phase);
}

void source__wait(struct source__host *host, int other_fd, int64_t until_boot_us) {
    struct pollfd fds[] = {{.fd = host->wake_fd, .events = POLLIN},
                           {.fd = other_fd, .events = POLLIN}};
    struct timespec limit;
    struct timespec *timeout = NULL;

    if (until_boot_us >= 0) {
        int64_t left_us = until_boot_us - clock_boot_us();
        left_us = left_us > 0 ? left_us : 0;
        limit = (struct timespec){.tv_sec = left_us / 1000000, .tv_nsec = left_us % 1000000 * 1000};
        timeout = &limit;
    }
    int ready = ppoll(fds, other_fd >= 0 ? 2 : 1, timeout, NULL);
    if (ready > 0 && fds[0].revents) {
        uint64_t wakes;
        ssize_t got = read(host->wake_fd, &wakes, sizeof wakes);
        (void)got; /* EAGAIN: somebody else's wake-up was read with an earlier one */
    }
}

void source__submit(struct source__host *host, struct frame *frame) {
    pthread_mutex_lock(&host->lock);
    host->stats.frames++;
    pthread_mutex_unlock(&host->lock);
    host->sink.submit(host->sink.ctx, frame);
}

void source__skipped(struct source__host *host) {
    pthread_mutex_lock(&host->lock);
    host->stats.skipped++;
    pthread_mutex_unlock(&host->lock);
}

void source__failed(struct source__host *host, const struct err *err) {
    char text[2 * ERR_TEXT_MAX];

    err_text(err, text, sizeof text);
    text[ERR_TEXT_MAX - 1] = '\0';
    for (char *c = text; *c; c++) { /* a file's name may be any bytes; the status page is JSON */
        *c = *c >= ' ' && *c <= '~' ? *c : '?';
    }
    pthread_mutex_lock(&host->lock);
    host->stats.errors++;
    memcpy(host->stats.last_error, text, ERR_TEXT_MAX);
    pthread_mutex_unlock(&host->lock);
}

static void phase_set(struct source__host *host, enum source__phase phase) {
    const uint64_t one = 1;

    if (atomic_load(&host->phase) >= (int)phase) {
        return;
    }
    atomic_store(&host->phase, (int)phase);
    ssize_t put = write(host->wake_fd, &one, sizeof one);
    (void)put; /* EAGAIN would mean that it is readable already */
}

static void *thread_main(void *arg) {
    struct source *source = arg;

    source->ops->run(source->kind);
    return NULL;
}

static void source_free(struct source *source) {
    if (!source) {
        return;
    }
    if (source->ops) {
        source->ops->close(source->kind);
    }
    fd_close_at(&source->host.wake_fd);
    pthread_mutex_destroy(&source->host.lock);
    free(source->uri);
    free(source->move_to);
    free(source);
}

static void source_free_at(struct source **source) {
    source_free(*source);
}

static struct source *source_create(const struct source_config *config,
                                    const struct source_memory *memory,
                                    const struct source_sink *sink) {
    CLEANUP(source_free_at) struct source *source = mem_alloc(sizeof *source);

    if (!source) {
        return NULL;
    }
    struct source__host *host = &source->host;
    pthread_mutex_init(&host->lock, NULL);
    host->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    source->uri = mem_strdup(config->source);
    source->move_to = config->move_to ? mem_strdup(config->move_to) : NULL;
    if (host->wake_fd < 0 || !source->uri || (config->move_to && !source->move_to)) {
        return NULL;
    }
    host->config = *config;
    host->config.source = source->uri;
    host->config.move_to = source->move_to;
    host->memory = memory ? *memory : (struct source_memory){0};
    host->sink = *sink;
    return TAKE_PTR(source);
}

/* Signals stay with the main thread. */
static int thread_start(struct source *source, struct err *err) {
    sigset_t all;
    sigset_t before;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int code = pthread_create(&source->thread, NULL, thread_main, source);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (code) {
        return err_sys(err, code, "camera %s: cannot start a thread", source->host.config.name);
    }
    char name[THREAD_NAME_SIZE];
    snprintf(name, sizeof name, "src-%.11s", source->host.config.name);
    pthread_setname_np(source->thread, name);
    source->running = true;
    return 0;
}

int source_start(const struct source_config *config, const struct source_memory *memory,
                 const struct source_sink *sink, struct source **out, struct err *err) {
    int code = source_check(config, err);
    if (code) {
        return code;
    }
    CLEANUP(source_free_at) struct source *source = source_create(config, memory, sink);
    if (!source) {
        return err_set(err, ERR_NOMEM, "camera %s: no memory or descriptors left", config->name);
    }
    const struct source_ops *ops = kind_find(source->uri);
    source->host.rest = source->uri + strlen(ops->scheme);
    code = ops->open(&source->host, &source->kind, err);
    if (code) {
        return code;
    }
    source->ops = ops;
    code = thread_start(source, err);
    if (code) {
        return code;
    }
    *out = TAKE_PTR(source);
    return 0;
}

void source_quiesce(struct source *source) {
    phase_set(&source->host, SOURCE__QUIESCE);
}

void source_stop(struct source *source) {
    if (!source) {
        return;
    }
    phase_set(&source->host, SOURCE__STOP);
    if (source->running) {
        pthread_join(source->thread, NULL);
    }
    source_free(source);
}

void source_stats_get(struct source *source, struct source_stats *out) {
    pthread_mutex_lock(&source->host.lock);
    *out = source->host.stats;
    pthread_mutex_unlock(&source->host.lock);
}
