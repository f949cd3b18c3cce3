/* hostile_worker: a worker program that speaks the protocol and then misbehaves. It is what a
 * worker would be in which a stranger's JPEG took over. A suite becomes it when it is started with
 * a worker's descriptors (is_worker); how it misbehaves is the detector's thumb_width, the one
 * number that reaches it. */
#ifndef CREEL_TESTS_HOSTILE_WORKER_H
#define CREEL_TESTS_HOSTILE_WORKER_H

#include "inference/worker_protocol.h"
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum hostile {
    HOSTILE_FIRST = 900, /* thumb_width */
    HONEST = HOSTILE_FIRST,
    DIES,
    DIES_ON_POISON, /* dies on frames whose last byte is 'P' */
    HANGS,
    ANSWERS_NAN,
    ANSWERS_COUNT,
    ANSWERS_OLD_PACKET,
    ANSWERS_OLD_MEMORY,
    ANSWERS_SHORT,
    ANSWERS_TWICE,
    THUMB_IS_NO_JPEG,
    WRITES_INPUT, /* tries to; honest where it cannot */
    SEES_SECRETS, /* looks for the parent's environment and descriptors; honest where there are none
                   */
    NOISY,
    NEVER_READY,
    FAILS_READY,
    DIES_LOADING,
    SPINS,
    STOPS_ITSELF,
    CLOSES_EARLY, /* and lives on */
    FLOODS,
    ANSWERS_LONG,
    ANSWERS_OTHER_SLOT,
    ANSWERS_OTHER_KIND,
    BOX_NAN,
    BOX_HUGE,
    BOX_NEGATIVE,
    BOX_BEYOND,
    CONFIDENCE_INFINITE,
    CLASS_BEYOND,
    ORDER_RISES,
    THUMB_BEYOND,
    THUMB_HUGE,
    THUMB_SHORT,
    SIZE_NONE,
    SIZE_HUGE,
    ORIENTATION_NONE,
    SHARPNESS_NAN,
    CODE_UNKNOWN,
    CODE_WITHOUT_TEXT,
    MEDIA_OTHER,
    PICTURE_BEYOND,
    PICTURE_GIVEN, /* a JPEG that takes the frame's place */
    PICTURE_IS_NO_JPEG,
    OUT_OF_MEMORY,  /* says so, and goes on */
    REWRITES,       /* a thread that never stops writing over the verdict */
    LEAVES_A_CHILD, /* which holds the socket and goes on answering, while the worker dies */
    NOISE_UNENDING, /* a megabyte without a line's end */
    LAST_WORDS,     /* speaks, and dies */
    SPINS_LOADING,
    HELLO_SHORT,
    HELLO_OF_ANOTHER, /* version */
};

static void hostile_result(struct worker_result *result, uint64_t generation) {
    memset(result, 0, sizeof(*result));
    result->generation = generation;
    result->media = MEDIA_JPEG;
    result->width = result->height = 8;
    result->orientation = 1;
    result->detection_count = 1;
    result->detections[0] = (struct worker_detection){0.1, 0.1, 0.2, 0.2, 0.5f, 0};
    result->thumb_bytes = 4;
    memcpy(result + 1, "\xff\xd8\xff\xd9", 4);
}

static bool input_writable(void) {
    int again = open("/proc/self/fd/4", O_RDWR);
    return mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, WORKER_FD_INPUT, 0) != MAP_FAILED ||
           mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, again, 0) != MAP_FAILED ||
           pwrite(WORKER_FD_INPUT, "x", 1, 0) == 1 || pwrite(again, "x", 1, 0) == 1 ||
           ftruncate(WORKER_FD_OUTPUT, 0) == 0;
}

static bool secrets_seen(void) {
    struct stat stat;
    bool seen = getenv("CREEL_TEST_SECRET") != NULL || getenv("HOME") != NULL;
    for (int fd = WORKER_FD_END; fd < 200; fd++) {
        seen = seen || fstat(fd, &stat) == 0;
    }
    return seen;
}

static void *rewrite(void *arg) {
    struct worker_result *result = arg;
    for (uint32_t i = 0;; i++) {
        __atomic_store_n(&result->detection_count, i % 2 ? UINT32_MAX : 1, __ATOMIC_RELAXED);
        __atomic_store_n(&result->thumb_bytes, i % 3 ? UINT32_MAX : 4, __ATOMIC_RELAXED);
    }
    return NULL;
}

/* What a verdict must not say; false: `kind` is another matter. */
static bool hostile_figures(enum hostile kind, struct worker_result *result) {
    struct worker_detection *first = &result->detections[0];
    switch (kind) {
    case BOX_NAN:
        first->w = (double)NAN;
        return true;
    case BOX_HUGE:
        first->h = 1e300;
        return true;
    case BOX_NEGATIVE:
        first->x = -0.1;
        return true;
    case BOX_BEYOND:
        first->x = 0.9;
        return true;
    case CONFIDENCE_INFINITE:
        first->confidence = INFINITY;
        return true;
    case CLASS_BEYOND:
        first->class_index = UINT32_MAX;
        return true;
    case ORDER_RISES:
        result->detection_count = 2;
        result->detections[1] = *first;
        result->detections[1].confidence = 0.9f;
        return true;
    case THUMB_BEYOND:
        result->thumb_bytes = FRAME_THUMB_MAX + 1;
        return true;
    case THUMB_HUGE:
        result->thumb_bytes = UINT32_MAX;
        return true;
    case THUMB_SHORT:
        result->thumb_bytes = 1;
        return true;
    case SIZE_NONE:
        result->width = 0;
        return true;
    case SIZE_HUGE:
        result->width = result->height = UINT32_MAX;
        return true;
    case ORIENTATION_NONE:
        result->orientation = 0;
        return true;
    case SHARPNESS_NAN:
        result->sharpness = NAN;
        return true;
    case MEDIA_OTHER:
        result->media = MEDIA_PNG;
        return true;
    case PICTURE_BEYOND:
        result->picture_bytes = FRAME_BLOB_MAX + 1;
        return true;
    case PICTURE_GIVEN:
        result->picture_bytes = 4;
        memcpy((char *)result + WORKER_PICTURE_AT, "\xff\xd8\xff\xd9", 4);
        return true;
    case PICTURE_IS_NO_JPEG:
        result->picture_bytes = 4;
        memcpy((char *)result + WORKER_PICTURE_AT, "<svg", 4);
        return true;
    case CODE_UNKNOWN:
        result->code = -4711;
        memcpy(result->text, "x", 2);
        return true;
    case CODE_WITHOUT_TEXT:
        result->code = -3;
        return true;
    case OUT_OF_MEMORY:
        result->code = -2;
        memset(result->text, '\n', sizeof(result->text)); /* one line, without an end */
        memcpy(result->text, "no memory", 9);
        return true;
    default:
        return false;
    }
}

static void hostile_leave(struct worker_job *job) {
    if (fork() != 0) {
        abort();
    }
    for (int i = 0; i < 600; i++) { /* and ends by itself, should nobody end it */
        send(WORKER_FD_SOCKET, job, sizeof(*job), MSG_NOSIGNAL | MSG_DONTWAIT);
        usleep(100000);
    }
    _exit(0);
}

/* Acts that need more than a wrong figure; false: `kind` is another matter. */
static bool hostile_act(enum hostile kind, struct worker_job *job, struct worker_result *result) {
    pthread_t thread;
    char line[4096];
    switch (kind) {
    case SPINS:
        for (volatile int on = 1; on;) {
        }
        return true;
    case STOPS_ITSELF:
        raise(SIGSTOP);
        return true;
    case CLOSES_EARLY:
        close(WORKER_FD_SOCKET);
        pause();
        return true;
    case FLOODS:
        for (job->generation += 1000;; job->generation++) {
            send(WORKER_FD_SOCKET, job, sizeof(*job), MSG_NOSIGNAL);
        }
    case REWRITES:
        pthread_create(&thread, NULL, rewrite, result);
        usleep(1000);
        return true;
    case LEAVES_A_CHILD:
        hostile_leave(job);
        return true;
    case NOISE_UNENDING:
        memset(line, 'x', sizeof(line));
        for (int i = 0; i < 256; i++) {
            fwrite(line, 1, sizeof(line), stderr);
        }
        return true;
    case LAST_WORDS:
        fputs("free(): invalid pointer", stderr); /* without a line's end */
        abort();
    default:
        return false;
    }
}

static void hostile_answer(enum hostile kind, struct worker_job *job, struct worker_result *result,
                           const uint8_t *input) {
    hostile_result(result, job->generation);
    job->kind = WORKER_DONE;
    char packet[2 * sizeof(*job)] = {0};
    size_t size = sizeof(*job);
    if (hostile_figures(kind, result) || hostile_act(kind, job, result)) {
        kind = HONEST;
    }
    switch (kind) {
    case DIES:
        _exit(7);
    case DIES_ON_POISON:
        if (input[job->size - 1] == 'P') {
            abort();
        }
        break;
    case HANGS:
        pause();
        break;
    case ANSWERS_NAN:
        memset(&result->detections[0].confidence, 0xff, sizeof(float));
        break;
    case ANSWERS_COUNT:
        result->detection_count = UINT32_MAX;
        break;
    case ANSWERS_OLD_PACKET:
        job->generation--;
        break;
    case ANSWERS_OLD_MEMORY:
        result->generation--;
        break;
    case ANSWERS_SHORT:
        size--;
        break;
    case ANSWERS_LONG:
        size++;
        break;
    case ANSWERS_OTHER_SLOT:
        job->slot++;
        break;
    case ANSWERS_OTHER_KIND:
        job->kind = WORKER_READY;
        break;
    case ANSWERS_TWICE:
        send(WORKER_FD_SOCKET, job, size, 0);
        break;
    case THUMB_IS_NO_JPEG:
        memcpy(result + 1, "<svg", 4);
        break;
    case NOISY:
        for (int i = 0; i < 20000; i++) {
            printf("noise %d \x1b[31m\n", i);
        }
        fflush(stdout);
        break;
    default:
        break;
    }
    memcpy(packet, job, sizeof(*job));
    send(WORKER_FD_SOCKET, packet, size, 0);
}

static void hostile_hello(enum hostile kind) {
    struct worker_hello hello = {.version = WORKER_PROTOCOL_VERSION, .kind = WORKER_READY};
    bool caught =
        (kind == WRITES_INPUT && input_writable()) || (kind == SEES_SECRETS && secrets_seen());
    if (kind == NEVER_READY) {
        pause();
    }
    if (kind == SPINS_LOADING) {
        for (volatile int on = 1; on;) {
        }
    }
    if (kind == DIES_LOADING) {
        fputs("Darknet said something\n", stderr);
        abort();
    }
    if (kind == FAILS_READY || caught) {
        hello.kind = WORKER_FAILED;
        memset(hello.text, caught ? '!' : 'x', sizeof(hello.text)); /* without an end */
    }
    hello.version += kind == HELLO_OF_ANOTHER;
    send(WORKER_FD_SOCKET, &hello, sizeof(hello) - (kind == HELLO_SHORT), 0);
}

static int hostile_main(void) {
    struct worker_start start;
    struct worker_job job;
    if (recv(WORKER_FD_SOCKET, &start, sizeof(start), 0) != (ssize_t)sizeof(start)) {
        return 9;
    }
    void *input = mmap(NULL, WORKER_INPUT_SIZE, PROT_READ, MAP_SHARED, WORKER_FD_INPUT, 0);
    void *output =
        mmap(NULL, WORKER_OUTPUT_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, WORKER_FD_OUTPUT, 0);
    hostile_hello((enum hostile)start.thumb_width);
    while (recv(WORKER_FD_SOCKET, &job, sizeof(job), 0) == (ssize_t)sizeof(job)) {
        hostile_answer((enum hostile)start.thumb_width, &job, output, input);
    }
    _exit(0);
}

static bool is_worker(void) {
    struct stat stat;
    int kind = 0;
    socklen_t size = sizeof(kind);
    return fstat(WORKER_FD_WEIGHTS, &stat) == 0 &&
           getsockopt(WORKER_FD_SOCKET, SOL_SOCKET, SO_TYPE, &kind, &size) == 0 &&
           kind == SOCK_SEQPACKET;
}

#endif
