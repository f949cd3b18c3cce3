/* score: the doors for pushed pictures: POST /score, /annotate and /image. What waits and for how
 * long is in ticket.c.
 *
 * A door has two halves. The first runs when a request's headers are here (on_headers): it reads
 * the order and refuses what cannot become an answer, before the body is taken. The second (push)
 * runs when the body is, hands the picture to the pipeline, and runs again when the ticket has its
 * answer.
 */
#include "daemon/base/mem.h"
#include "webui/json.h"
#include "webui/pages.h"
#include "webui/paint.h"
#include "webui/prediction.h"
#include "webui/state.h"
#include "webui/ticket.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the verdict; on the pipeline's threads ---- */

/* Takes the reference; NULL: out of memory. */
static int json_answer(json_t *json, struct webui__answer *out) {
    out->status = MHD_HTTP_OK;
    out->type = WEBUI__JSON_TYPE;
    out->bytes = json ? json_dumps(json, FRAME_JSON_DUMP) : NULL;
    out->size = out->bytes ? strlen(out->bytes) : 0;
    json_decref(json);
    return out->bytes ? 0 : ERR_NOMEM;
}

/* The LVA answer as text; 204 when nothing was found. */
static int score_answer(const struct webui__order *order, const struct frame_record *record,
                        struct webui__answer *out) {
    json_t *json = NULL;
    size_t count = 0;
    int code = webui__lva_format(record, order->threshold, order->classes, &json, &count);
    if (code || !json) {
        out->status = MHD_HTTP_NO_CONTENT;
        return code;
    }
    return json_answer(json, out);
}

/* An empty list is an answer to callers of Custom Vision. */
static int image_answer(const struct webui__order *order, const struct frame_record *record,
                        struct webui__answer *out) {
    size_t count = 0;
    json_t *json = webui__prediction_format(record, order->threshold, order->classes,
                                            order->whole_picture, &count);
    out->empty = count == 0;
    return json_answer(json, out);
}

static int verdict(const struct webui__order *order, const struct webui_reply *reply,
                   struct webui__answer *out) {
    if (reply->code) {
        err_text(&reply->err, out->reason, sizeof(out->reason));
        return reply->code;
    }
    if (order->wait_stored && reply->kept && !reply->stored) {
        snprintf(out->reason, sizeof(out->reason), "the frame was detected, but not stored");
        return ERR_BUSY;
    }
    snprintf(out->reason, sizeof(out->reason), "out of memory");
    int code = order->door == DOOR_IMAGE ? image_answer(order, &reply->record, out)
                                         : score_answer(order, &reply->record, out);
    if (!code && order->wait_stored && reply->stored) {
        frame_id_format(&reply->record.id, out->frame);
    }
    return code;
}

/* What the daemon does not find, or may not open, is not the caller's to mend. */
static int status_of(int code) {
    return code == ERR_NOT_FOUND || code == ERR_DENIED ? MHD_HTTP_INTERNAL_SERVER_ERROR
                                                       : webui__status_of(code);
}

/* The answer is made before the lock is taken. */
static void on_reply(void *ctx, const struct webui_reply *reply) {
    struct webui__ticket *ticket = ctx;
    struct webui__answer answer = {0};
    int code = verdict(&ticket->order, reply, &answer);
    answer.status = code ? status_of(code) : answer.status;
    pthread_mutex_lock(&ticket->lock);
    webui__ticket_answer(ticket, &answer);
    pthread_mutex_unlock(&ticket->lock);
    webui__ticket_release(ticket);
}

/* Hands the pipeline's hold on to the thread that draws. */
static bool have_drawn(struct webui__ticket *ticket, const struct webui_reply *reply) {
    struct webui__paint_job *job = webui__paint_job_create(ticket, reply);
    bool put = false;
    pthread_mutex_lock(&ticket->lock); /* while it has no answer, webui is there */
    if (job && !ticket->answer.status) {
        put = webui__paint_put(ticket->webui, job);
    }
    pthread_mutex_unlock(&ticket->lock);
    if (!put) {
        webui__paint_job_destroy(job);
    }
    return put;
}

static void on_annotate_reply(void *ctx, const struct webui_reply *reply) {
    struct webui__ticket *ticket = ctx;
    if (reply->code) {
        on_reply(ctx, reply);
    } else if (!have_drawn(ticket, reply)) {
        webui__ticket_refuse(ticket, MHD_HTTP_SERVICE_UNAVAILABLE,
                             "too many pictures wait to be drawn on: try again in a moment");
        webui__ticket_release(ticket);
    }
}

/* ---- the request ---- */

static const char *order_arg(void *ctx, const char *name) {
    return webui__arg(ctx, name);
}

static void on_headers(struct webui__request *request, enum webui__door door) {
    struct err err = {0};
    struct webui__ticket *ticket = webui__ticket_create(request);
    if (!ticket) {
        webui__refuse(request, MHD_HTTP_SERVICE_UNAVAILABLE, "out of memory");
        return;
    }
    double threshold = door == DOOR_IMAGE ? 0 : request->webui->score_threshold;
    if (webui__order_read(door, threshold, order_arg, request,
                          webui__header(request, "Content-Type"), &ticket->order, &err) != 0) {
        webui__refuse(request, err.http_status, "%s", err.msg);
    }
}

/* The body as a picture; NULL: answered. */
static uint8_t *body_take(struct webui__request *request, const struct webui__order *order,
                          size_t *size) {
    char none[1] = "";
    struct err err = {0};
    *size = request->body.len;
    if (webui__order_body(order, *size ? request->body.data : none, size, &err) != 0) {
        webui__reply_problem(request, err.http_status, "%s", err.msg);
        return NULL;
    }
    size_t taken = 0;
    char *bytes = buf_take(&request->body, &taken);
    if (!bytes) {
        webui__reply_problem(request, MHD_HTTP_SERVICE_UNAVAILABLE, "out of memory");
    }
    return (uint8_t *)bytes;
}

/* The ticket is answered, and nobody writes to it any more. */
static void answer(struct webui__request *request, struct webui__ticket *ticket) {
    struct webui__score_counts *counts = &request->webui->scored;
    struct webui__answer *given = &ticket->answer;
    pthread_mutex_lock(&ticket->lock); /* what was written before the wake is seen here */
    pthread_mutex_unlock(&ticket->lock);
    bool empty = given->empty || given->status == MHD_HTTP_NO_CONTENT;
    atomic_ullong *const counter = empty                          ? &counts->empty
                                   : given->status == MHD_HTTP_OK ? &counts->found
                                                                  : &counts->failed;
    atomic_fetch_add(counter, 1);
    if (given->frame[0]) {
        webui__set_header(request, "creel-frame", "%s", given->frame);
    }
    if (given->status == MHD_HTTP_OK) {
        webui__reply_bytes(request, MHD_HTTP_OK, given->type, TAKE_PTR(given->bytes), 0,
                           given->size);
    } else if (given->status == MHD_HTTP_NO_CONTENT) {
        webui__reply_static(request, MHD_HTTP_NO_CONTENT, WEBUI__JSON_TYPE, "", 0);
    } else {
        webui__reply_problem(request, given->status, "%s", given->reason);
    }
}

/* From webui__ticket_park on the ticket may be answered at any moment. The request stays: it is
 * resumed on this thread. */
static void submit(struct webui__request *request, struct webui__ticket *ticket, uint8_t *bytes,
                   size_t size) {
    struct webui *webui = request->webui;
    const struct webui__order *order = &ticket->order;
    const bool drawn = order->door == DOOR_ANNOTATE;
    const struct webui_push push = {.camera = order->camera,
                                    .bytes = bytes,
                                    .size = size,
                                    .pixels = order->pixels,
                                    .width = order->width,
                                    .height = order->height,
                                    .full_range = order->full_range,
                                    .wait_stored = order->wait_stored,
                                    .want_picture = drawn,
                                    .never_keep = order->never_keep,
                                    .reply = drawn ? on_annotate_reply : on_reply,
                                    .reply_ctx = ticket};
    struct err err = {0};
    if (!webui__ticket_park(request)) {
        free(bytes);
        if (!request->parked) {
            answer(request, ticket);
        }
        return;
    }
    atomic_fetch_add(&webui->scored.frames, 1);
    int code = webui->hooks.submit_frame(webui->hooks.ctx, &push, &err);
    if (code) {
        char reason[ERR_TEXT_MAX * 2];
        webui__ticket_refuse(ticket, status_of(code), err_text(&err, reason, sizeof(reason)));
        webui__ticket_release(ticket);
    }
}

static void push(struct webui__request *request) {
    struct webui__ticket *ticket = request->ticket;
    if (ticket->submitted) {
        answer(request, ticket);
        return;
    }
    size_t size = 0;
    uint8_t *bytes = body_take(request, &ticket->order, &size);
    if (bytes) {
        ticket->submitted = true;
        submit(request, ticket, bytes, size);
    }
}

static void on_annotate_headers(struct webui__request *request) {
    if (!request->webui->hooks.draw) {
        webui__refuse(request, MHD_HTTP_NOT_IMPLEMENTED, "nothing here can draw");
        return;
    }
    on_headers(request, DOOR_ANNOTATE);
}

static void on_score_headers(struct webui__request *request) {
    on_headers(request, DOOR_SCORE);
}

/* "…/classify/iterations/NAME/image" asks of the picture as a whole, ".../nostore" that it is
 * forgotten. Without confidence= Custom Vision's callers expect everything, and choose themselves.
 */
static void on_image_headers(struct webui__request *request) {
    static const char nostore[] = "/nostore";
    size_t size = strlen(request->path), tail = sizeof(nostore) - 1;
    on_headers(request, DOOR_IMAGE);
    if (request->ticket) {
        request->ticket->order.whole_picture =
            strstr(request->path, "/classify/iterations/") != NULL;
        request->ticket->order.never_keep =
            size > tail && strcmp(request->path + size - tail, nostore) == 0;
    }
}

static void on_url(struct webui__request *request) {
    webui__reply_problem(request, MHD_HTTP_NOT_IMPLEMENTED,
                         "creel fetches nothing from an address that a request names, since it "
                         "stands where others cannot reach: send the picture's bytes to /image");
}

/* ---- the rest of the server ---- */

static void on_root(struct webui__request *request) {
    static const char text[] =
        "creel takes frames here.\n"
        "\n"
        "POST /score with a picture as the body and its Content-Type: image/jpeg, image/png,\n"
        "image/bmp; or image/x-raw, with ?pixelFormat=yuv420p|rgb24|bgr24&width=640&height=480.\n"
        "  200 and JSON: what was found; 204: nothing was found; 400: not an image;\n"
        "  503 with Retry-After: too busy, send it again later.\n"
        "  ?confidence=0.5   report detections from this confidence up\n"
        "  ?object=car,dog   report these classes only\n"
        "  ?stream=dock      the camera's name (a-z 0-9 -), \"http\" by default\n"
        "  ?wait=stored      answer once the frame is durable; header creel-frame has its id\n"
        "  ?range=full       raw yuv420p has Y from 0 to 255, and not from 16 to 235\n"
        "\n"
        "POST /annotate takes the same (but for wait=) and answers with the picture as a JPEG, "
        "what\n"
        "was found drawn on it.\n"
        "\n"
        "POST /trigger?camera=dock keeps that camera's frames around this moment, where a rule of "
        "kind\n"
        "  trigger looks at it; 404: none does.\n"
        "\n"
        "POST /image takes the same, or a form with a file imageData, and answers as Custom "
        "Vision\n"
        "does, with all that was found; /image/nostore looks and keeps nothing.\n"
        "\n"
        "curl -H 'Content-Type: image/jpeg' --data-binary @frame.jpg http://HOST:PORT/score\n";
    webui__reply_static(request, MHD_HTTP_OK, "text/plain; charset=utf-8", text, sizeof(text) - 1);
}

const struct webui__route webui__ingest_routes[] = {
    {METHOD_GET, "/", on_root, ROUTE_OPEN, NULL},
    {METHOD_POST, "/score", push, ROUTE_BODY, on_score_headers},
    {METHOD_POST, "/annotate", push, ROUTE_BODY, on_annotate_headers},
    {METHOD_POST, "/trigger", webui__on_trigger, 0, NULL},
    {METHOD_POST, "**/image", push, ROUTE_BODY, on_image_headers},
    {METHOD_POST, "**/image/nostore", push, ROUTE_BODY, on_image_headers},
    {METHOD_POST, "**/url", on_url, 0, NULL},
    {METHOD_POST, "**/url/nostore", on_url, 0, NULL},
};
const size_t webui__ingest_route_count = ARRAY_LENGTH(webui__ingest_routes);
