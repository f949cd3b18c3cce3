#include "webui/paint.h"
#include "daemon/base/mem.h"
#include "daemon/base/queue.h"
#include "webui/json.h"
#include "webui/state.h"
#include <stdio.h>
#include <stdlib.h>

#define WAITING_MAX 4 /* pictures, each of FRAME_BLOB_MAX bytes at most */

struct webui__paint_job {
    struct webui__ticket *ticket;
    uint8_t *picture; /* owned */
    size_t size;
    struct frame_detection *detections; /* owned */
    size_t count;
};

void webui__paint_job_destroy(struct webui__paint_job *job) {
    if (job) {
        free(job->picture);
        free(job->detections);
        free(job);
    }
}

struct webui__paint_job *webui__paint_job_create(struct webui__ticket *ticket,
                                                 const struct webui_reply *reply) {
    const struct webui__order *order = &ticket->order;
    const struct frame_record *record = &reply->record;
    struct webui__paint_job *job = mem_alloc(sizeof(*job));
    if (!job) {
        return NULL;
    }
    job->ticket = ticket;
    job->size = reply->picture_bytes;
    job->picture = mem_dup(reply->picture, reply->picture_bytes);
    job->detections = mem_array(record->detection_count + 1, sizeof(*job->detections));
    if (!job->picture || !job->detections) {
        webui__paint_job_destroy(job);
        return NULL;
    }
    for (size_t i = 0; i < record->detection_count; i++) {
        if (webui__detection_asked(&record->detections[i], order->threshold, order->classes)) {
            job->detections[job->count++] = record->detections[i];
        }
    }
    return job;
}

static bool is_answered(struct webui__ticket *ticket) {
    pthread_mutex_lock(&ticket->lock);
    bool answered = ticket->answer.status != 0;
    pthread_mutex_unlock(&ticket->lock);
    return answered;
}

static void draw(const struct webui *webui, struct webui__paint_job *job) {
    struct webui__answer answer = {.status = MHD_HTTP_OK, .type = "image/jpeg"};
    struct err err = {0};
    uint8_t *drawn = NULL;
    if (is_answered(job->ticket)) { /* its caller has waited too long, or creel stops */
        return;
    }
    int code = webui->hooks.draw(webui->hooks.ctx, job->picture, job->size, job->detections,
                                 job->count, &drawn, &answer.size, &err);
    answer.bytes = (char *)drawn;
    if (code) {
        answer.status = MHD_HTTP_INTERNAL_SERVER_ERROR;
        err_text(&err, answer.reason, sizeof(answer.reason));
    }
    pthread_mutex_lock(&job->ticket->lock);
    webui__ticket_answer(job->ticket, &answer);
    pthread_mutex_unlock(&job->ticket->lock);
}

static void *paint_main(void *arg) {
    struct webui *webui = arg;
    for (struct webui__paint_job *job; (job = queue_get(webui->paint.queue, -1));) {
        draw(webui, job);
        webui__ticket_release(job->ticket);
        webui__paint_job_destroy(job);
    }
    return NULL;
}

int webui__paint_start(struct webui *webui, struct err *err) {
    webui->paint.queue = queue_create(WAITING_MAX);
    if (!webui->paint.queue) {
        return err_set(err, ERR_NOMEM, "out of memory for the web server");
    }
    int code = pthread_create(&webui->paint.thread, NULL, paint_main, webui);
    webui->paint.running = code == 0;
    return code ? err_sys(err, code, "cannot start a thread of the web server") : 0;
}

bool webui__paint_put(struct webui *webui, struct webui__paint_job *job) {
    return queue_try_put(webui->paint.queue, job);
}

void webui__paint_stop(struct webui *webui) {
    if (webui->paint.queue) {
        queue_close(webui->paint.queue);
    }
    if (webui->paint.running) {
        pthread_join(webui->paint.thread, NULL);
        webui->paint.running = false;
    }
    queue_destroy(webui->paint.queue);
    webui->paint.queue = NULL;
}
