/* hasher: works out the SHA-256 of frames that wait, while the writer waits for the disk.
 *
 * Goal: a group costs the longer of hashing and writing, not their sum.
 * Invariants:
 *   1. Each frame is hashed once, by whoever marked it HASH_RUNNING under the lock.
 *   2. The hasher touches only frames that it found in the queue; a frame that the writer takes
 * while it is being hashed stays valid, because the writer waits for HASH_DONE before it looks at
 * it.
 *   3. While the writer is idle the hasher sleeps: a lone frame is hashed by the writer, without
 * the latency of a second thread.
 * Rejected: hashing in store_put, on the callers' threads. That is the pipeline's path, and one
 * source would pay for it frame by frame.
 */
#include "daemon/base/hash.h"
#include "store/store_impl.h"

static void hash(struct request *request) {
    struct frame_record *frame = &request->frame.record;
    hash_sha256(request->frame.blob, frame->blob_bytes, &frame->blob);
}

/* The first frame in the queue that nobody has hashed. */
static struct request *next_wanted(const struct store *store) {
    struct request *request = store->writer_busy ? store->first : NULL;
    while (request && (request->kind != REQUEST_PUT || request->hashed != HASH_WANTED)) {
        request = request->next;
    }
    return request;
}

static void *run(void *arg) {
    struct store *store = arg;
    pthread_mutex_lock(&store->lock);
    while (!store->closing) {
        struct request *request = next_wanted(store);
        if (!request) {
            pthread_cond_wait(&store->hash_wanted, &store->lock);
            continue;
        }
        request->hashed = HASH_RUNNING;
        pthread_mutex_unlock(&store->lock);
        hash(request);
        pthread_mutex_lock(&store->lock);
        request->hashed = HASH_DONE;
        pthread_cond_signal(&store->hash_done);
    }
    pthread_mutex_unlock(&store->lock);
    return NULL;
}

void store__hasher_finish(struct store *store, struct request *request) {
    pthread_mutex_lock(&store->lock);
    while (request->hashed == HASH_RUNNING) {
        pthread_cond_wait(&store->hash_done, &store->lock);
    }
    bool wanted = request->hashed == HASH_WANTED;
    request->hashed = HASH_DONE; /* out of the queue it is the writer's alone */
    pthread_mutex_unlock(&store->lock);
    if (wanted) {
        hash(request);
    }
}

int store__hasher_start(struct store *store, struct err *err) {
    int failed = pthread_create(&store->hasher_thread, NULL, run, store);
    if (failed) {
        return err_sys(err, failed, "cannot start the hasher thread");
    }
    store->hasher_started = true;
    return 0;
}

void store__hasher_stop(struct store *store) {
    if (!store->hasher_started) {
        return;
    }
    pthread_mutex_lock(&store->lock);
    store->closing = true;
    pthread_cond_broadcast(&store->hash_wanted);
    pthread_mutex_unlock(&store->lock);
    pthread_join(store->hasher_thread, NULL);
    store->hasher_started = false;
}
