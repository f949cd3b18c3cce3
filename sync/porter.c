#include "daemon/base/clock.h"
#include "daemon/base/mem.h"
#include "sync/engine.h"
#include <assert.h>
#include <stdlib.h>
#include <time.h>

struct porter {
    struct lane *lane;
    struct queue *inbox;
    pthread_t thread;
};

static void *porter_run(void *ctx) {
    struct porter *porter = ctx;
    struct sync *sync = porter->lane->sync;
    struct remote *remote = porter->lane->remote;
    for (struct job *job = queue_get(porter->inbox, -1); job != NULL;
         job = queue_get(porter->inbox, -1)) {
        if (atomic_load(&sync->stopping)) {
            err_set(&job->err, ERR_CLOSED, "creel is stopping");
            job->verdict = REMOTE_RETRY;
        } else {
            job->put.signed_utc_us = clock_utc_us();
            job->verdict = remote->ops->store(remote, &job->put, &job->err);
        }
        queue_put(sync->carried, job); /* has room for every job there can be */
        sync__http_wake(sync->http);
    }
    return NULL;
}

int sync__porter_start(struct lane *lane, struct err *err) {
    struct porter *porter = mem_alloc(sizeof *porter);
    if (porter != NULL) {
        porter->lane = lane;
        porter->inbox = queue_create(PORTER_WINDOW);
    }
    int code = porter == NULL || porter->inbox == NULL
                   ? err_set(err, ERR_NOMEM, "no memory for remote %s", lane->remote->name)
                   : sync__thread_start(&porter->thread, "creel-porter", porter_run, porter, err);
    if (code != 0) {
        queue_destroy(porter != NULL ? porter->inbox : NULL);
        free(porter);
        return code;
    }
    lane->porter = porter;
    return 0;
}

void sync__porter_give(struct porter *porter, struct job *job) {
    bool taken = queue_try_put(porter->inbox, job);
    assert(taken); /* the lane's window is the queue's bound */
    (void)taken;
}

bool sync__porter_stop(struct porter *porter, int64_t until_us) {
    if (porter == NULL) {
        return true;
    }
    queue_close(porter->inbox);
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    int64_t wait_us = until_us - clock_boot_us();
    int64_t nsec = until.tv_nsec + (wait_us > 0 ? wait_us % 1000000 * 1000 : 0);
    until.tv_sec += (wait_us > 0 ? wait_us / 1000000 : 0) + nsec / 1000000000;
    until.tv_nsec = nsec % 1000000000;
    if (pthread_timedjoin_np(porter->thread, NULL, &until) != 0) {
        return false;
    }
    queue_destroy(porter->inbox);
    free(porter);
    return true;
}
