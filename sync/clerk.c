#include "daemon/base/clock.h"
#include "daemon/base/mem.h"
#include "sync/engine.h"
#include <stdlib.h>
#include <string.h>

struct batch { /* the clerk's own, on its heap: receipts are large */
    struct job *jobs[CLERK_BATCH_MAX];
    size_t count;
    struct store_receipt receipts[CLERK_BATCH_MAX];
};

static void receipt_of(const struct job *job, struct store_receipt *out) {
    static const enum store_receipt_kind kinds[] = {[REMOTE_STORED] = STORE_RECEIPT_STORED,
                                                    [REMOTE_COMPARED] = STORE_RECEIPT_COMPARED,
                                                    [REMOTE_EXISTS] = STORE_RECEIPT_EXISTS};
    *out = (struct store_receipt){.blob = job->row.blob,
                                  .tier = job->row.tier,
                                  .kind = kinds[job->verdict],
                                  .utc_us = clock_utc_us()};
    memcpy(out->remote, job->lane->remote->name, sizeof out->remote);
    memcpy(out->key, job->key, sizeof out->key);
    memcpy(out->etag, job->put.etag, sizeof out->etag);
}

static void write_receipts(struct sync *sync, struct batch *batch) {
    size_t count = 0;
    for (size_t i = 0; i < batch->count; i++) {
        if (batch->jobs[i]->write == JOB_RECEIPT) {
            receipt_of(batch->jobs[i], &batch->receipts[count++]);
        }
    }
    if (count == 0) {
        return;
    }
    struct err err = {0};
    int code = store_receipt_put(sync->store, batch->receipts, count, &err);
    for (size_t i = 0; i < batch->count; i++) {
        if (batch->jobs[i]->write == JOB_RECEIPT) {
            batch->jobs[i]->store_code = code;
            batch->jobs[i]->store_err = err;
        }
    }
}

static void write_other(struct sync *sync, struct job *job) {
    const struct store_outbox_row *row = &job->row;
    const char *remote = job->lane->remote->name;
    if (job->write == JOB_DEFER) {
        job->store_code = store_outbox_defer(sync->store, remote, row->tier, &row->blob,
                                             job->delay_ms, job->reason, &job->store_err);
    } else if (job->write == JOB_QUARANTINE) {
        job->store_code = store_outbox_quarantine(sync->store, remote, row->tier, &row->blob,
                                                  job->reason, &job->store_err);
    }
}

/* Takes what is there without waiting for more: while one group is on its way to the disk, the next
 * one gathers. */
static bool batch_take(struct sync *sync, struct batch *batch) {
    batch->count = 0;
    struct job *job = queue_get(sync->to_clerk, -1);
    while (job != NULL) {
        batch->jobs[batch->count++] = job;
        job = batch->count < CLERK_BATCH_MAX ? queue_try_get(sync->to_clerk) : NULL;
    }
    return batch->count > 0;
}

static void *clerk_run(void *ctx) {
    struct sync *sync = ctx;
    struct batch *batch = mem_alloc(sizeof *batch);
    while (batch != NULL && batch_take(sync, batch)) {
        write_receipts(sync, batch);
        for (size_t i = 0; i < batch->count; i++) {
            write_other(sync, batch->jobs[i]);
            queue_put(sync->written, batch->jobs[i]); /* has room for every job there can be */
        }
        sync__http_wake(sync->http);
        sync__manifests_poke(sync->manifests);
        sync__companions_poke(sync->companions);
    }
    free(batch);
    return NULL;
}

int sync__clerk_start(struct sync *sync, struct err *err) {
    int code = sync__thread_start(&sync->clerk, "creel-clerk", clerk_run, sync, err);
    sync->clerk_runs = code == 0;
    return code;
}

void sync__clerk_stop(struct sync *sync) {
    if (sync->clerk_runs) {
        queue_close(sync->to_clerk);
        pthread_join(sync->clerk, NULL);
        sync->clerk_runs = false;
    }
}
