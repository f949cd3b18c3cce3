/* process: one child process of ours, from its birth to waitpid, and what it says on its way.
 *
 * The child gets the descriptors it is given and no others, an environment without ours (which may
 * hold secrets), and as stdout and stderr a pipe whose lines go into the log: at debug, and once it
 * is `ready`, when it should be silent, as warnings within a limit. It leads a process group, so
 * that what a child in wrong hands may have started ends with it. Not: what is said over its socket
 * (see detector_child.h, capture_child.h). Life cycle: PROCESS_NONE -> process_spawn ->
 * process_hear ... -> process_end, which is safe at any time. Thread: one at a time. Private to
 * this folder.
 */
#ifndef CREEL_INFERENCE_PROCESS_H
#define CREEL_INFERENCE_PROCESS_H

#include "daemon/base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PROCESS_LINE_SIZE      256
#define PROCESS_FDS_MAX        8
#define PROCESS_FDS_FIRST      3 /* number of wiring.fds[0] in the child */

#define PROCESS_NOISE_LINES    20 /* of warnings, in a window */
#define PROCESS_NOISE_WINDOW_S 60

/* How much a child's noise may fill the log; outlives the process, so that one that dies again and
 * again says no more. Zero-initialise. */
struct process_limit {
    int64_t window_boot_us;
    unsigned said;
    uint64_t held; /* lines not logged since the last that was */
};

struct process {
    const char *name;             /* "worker", for the log; borrowed */
    pid_t pid;                    /* 0: none; also the number of its process group */
    bool ready;                   /* it does its work: what it prints from now on is no chatter */
    struct process_limit *limit;  /* borrowed; NULL: all its noise goes to debug */
    int noise;                    /* owned: its stdout and stderr */
    char line[PROCESS_LINE_SIZE]; /* of the noise, not yet ended */
    size_t line_length;
    char last[PROCESS_LINE_SIZE]; /* last line since process_forget */
    /* Takes out of a line what must not be logged; NULL: nothing. At most PROCESS_LINE_SIZE bytes
     * with the NUL may be in it afterwards. */
    void (*scrub)(const void *ctx, char *line);
    const void *scrub_ctx;
};

#define PROCESS_NONE                                                                               \
    { .noise = -1 }

struct process_wiring {
    int fds[PROCESS_FDS_MAX]; /* borrowed; the child has them as 3 and up */
    size_t count;
};

/* Starts argv[0], a path. `process` has name and scrub set and is otherwise PROCESS_NONE. */
int process_spawn(char *const *argv, const struct process_wiring *wiring, struct process *process,
                  struct err *err);

/* Takes what it has said, without waiting; closes the pipe at its end. A flood is taken in parts: a
 * call ends after a bounded number of bytes. */
void process_hear(struct process *process);

/* What it said so far is not about what comes now. */
void process_forget(struct process *process);

/* Kills it and its group, waits, and writes "died of signal 11 (Segmentation fault); its last
 * words:
 * ..." and the like. The pipe stays open, empty. */
void process_autopsy(struct process *process, char *out, size_t size);
void process_end(struct process *process);

/* The program `name` beside the running one, or in the libexec directory; false: in neither. */
bool process_find(const char *name, char *out, size_t size);
const char *process_libexec(void);

#endif
