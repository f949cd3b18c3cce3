/* live: each camera's latest look as it runs: a page, a stream of server-sent events (WHATWG HTML,
 * 9.2), and the pictures that the events name.
 *
 * Goal: a viewer costs a bounded amount, and nothing of capture's time.
 *
 * A viewer's connection sleeps (suspended, no thread) until the sweep wakes it, a few times a
 * second; then an event is made for it if a look is new, or a second has passed. Whoever reads
 * slower than events come gets fewer of them: nothing is queued for anybody.
 *
 * Invariants
 * 1. At most WEBUI__VIEWERS streams, each with at most one event of at most EVENT_MAX bytes.
 * 2. `asleep` is set after the connection was suspended, under the lock under which the sweep
 * resumes it; a suspended connection is not completed, so the sweep never meets a freed viewer.
 * 3. Once closed, nobody falls asleep any more.
 * 4. A stream ends after LIFE_US; the browser comes again, and is asked again who it is.
 * Rejected: MJPEG (boxes would have to be drawn into the pixels, each frame for each viewer, and a
 * slow viewer's frames pile up in the socket), a wake-up by the pipeline (it would know its
 * viewers).
 */
#include "daemon/base/clock.h"
#include "daemon/base/frame_json.h"
#include "daemon/base/mem.h"
#include "webui/assets.h"
#include "webui/html.h"
#include "webui/json.h"
#include "webui/pages.h"
#include "webui/state.h"
#include <stdlib.h>
#include <string.h>

#define EVENT_MAX   (1u << 20)
#define BLOCK       (16u << 10)
#define LIFE_US     (600 * INT64_C(1000000))
#define AT_LEAST_US INT64_C(1000000) /* an event, even if no look is new */
#define BOXES_MAX   64               /* of a camera */

struct webui__viewer {
    struct webui *webui;
    struct MHD_Connection *connection;
    struct webui__viewer *prev, *next; /* under the lock, as the next two */
    bool asleep, due;
    int64_t end_boot_us, said_boot_us;
    uint64_t number; /* the newest look that was said */
    struct buf event;
    size_t sent; /* of it */
};

/* ---- an event ---- */

static json_t *boxes_json(const struct frame_record *record, double threshold) {
    CLEANUP(buf_finish) struct buf boxes = BUF_INIT(EVENT_MAX);
    webui__svg_boxes(&boxes, record, false, true, BOXES_MAX, threshold);
    return frame_json_text(boxes.data ? boxes.data : "");
}

static json_t *found_json(const struct webui *webui, const struct frame_record *record,
                          bool *alert) {
    json_t *list = json_array();
    for (size_t i = 0; i < record->detection_count; i++) {
        const struct frame_detection *found = &record->detections[i];
        if ((double)found->confidence < webui->score_threshold) {
            continue;
        }
        bool alarming = webui->alerts[0] && webui__list_has(webui->alerts, found->label);
        *alert = *alert || alarming;
        json_array_append_new(
            list, json_pack("{s:o,s:i,s:f,s:b}", "label", frame_json_text(found->label), "colour",
                            (int)webui__class_colour(found->class_index), "confidence",
                            frame_json_rounded((double)found->confidence), "alert", alarming));
    }
    return list;
}

struct telling {
    const struct webui *webui;
    json_t *cameras;
    uint64_t newest;
};

static void look_add(json_t *camera, const struct webui *webui, const struct webui_live *live) {
    uint32_t width, height;
    bool alert = false;
    json_t *found = found_json(webui, live->record, &alert);
    webui__shown_size(live->record, false, &width, &height);
    json_object_set_new(camera, "look",
                        json_pack("{s:I,s:i,s:i,s:o,s:b,s:o}", "number", (json_int_t)live->number,
                                  "width", (int)width, "height", (int)height, "found", found,
                                  "alert", alert, "boxes",
                                  boxes_json(live->record, webui->score_threshold)));
}

static void camera_tell(void *ctx, const struct webui_live *live) {
    struct telling *telling = ctx;
    char last[CLOCK_RFC3339_SIZE] = "";
    if (live->last_utc_us) {
        clock_format_rfc3339(live->last_utc_us, last);
    }
    /* By this clock: the viewer's may be another. */
    int64_t silent_ms = live->last_utc_us ? (clock_utc_us() - live->last_utc_us) / 1000 : -1;
    json_t *camera = json_pack(
        "{s:o,s:o,s:o,s:I,s:f,s:f,s:I,s:I,s:I,s:I,s:s}", "camera", frame_json_text(live->camera),
        "source", frame_json_text(live->source), "error",
        frame_json_text(live->error ? live->error : ""), "silent_ms",
        (json_int_t)(live->last_utc_us && silent_ms < 0 ? 0 : silent_ms), "per_second",
        frame_json_rounded(live->per_second), "latency_ms", frame_json_rounded(live->latency_ms),
        "seen", (json_int_t)live->seen, "kept", (json_int_t)live->kept, "dropped",
        (json_int_t)live->dropped, "bad", (json_int_t)live->bad, "last", last);
    if (camera && live->record) {
        look_add(camera, telling->webui, live);
    }
    telling->newest = live->number > telling->newest ? live->number : telling->newest;
    json_array_append_new(telling->cameras, camera);
}

/* What the cameras do now; NULL: that cannot be told. */
static json_t *tell(const struct webui *webui, uint64_t *newest) {
    struct telling telling = {.webui = webui, .cameras = json_array()};
    if (webui->hooks.live(webui->hooks.ctx, camera_tell, &telling, NULL)) {
        json_decref(telling.cameras);
        return NULL;
    }
    *newest = telling.newest;
    return json_pack("{s:o}", "cameras", telling.cameras);
}

/* Makes the viewer's next event, unless there is nothing to say yet. */
static void event_make(struct webui__viewer *viewer) {
    uint64_t newest = 0;
    int64_t now = clock_boot_us();
    json_t *json = tell(viewer->webui, &newest);
    if (json && (newest > viewer->number || now - viewer->said_boot_us >= AT_LEAST_US)) {
        char *text = json_dumps(json, FRAME_JSON_DUMP);
        if (text) {
            buf_puts(&viewer->event, "data: ");
            buf_puts(&viewer->event, text);
            buf_puts(&viewer->event, "\n\n");
            viewer->number = newest;
            viewer->said_boot_us = now;
        }
        free(text);
    }
    json_decref(json);
    if (viewer->event.failed) { /* too long, or no memory: this one is left out */
        buf_reset(&viewer->event);
    }
}

/* ---- the stream ---- */

static ssize_t event_send(struct webui__viewer *viewer, char *out, size_t room) {
    size_t left = viewer->event.len - viewer->sent;
    size_t size = left < room ? left : room;
    memcpy(out, viewer->event.data + viewer->sent, size);
    viewer->sent += size;
    if (viewer->sent == viewer->event.len) {
        buf_reset(&viewer->event);
        viewer->sent = 0;
    }
    return (ssize_t)size;
}

/* Sleeps until the sweep, unless it has come: then it is due. False: the stream ends. */
static bool stay(struct webui__viewer *viewer, bool *due) {
    struct webui__viewers *viewers = &viewer->webui->viewers;
    pthread_mutex_lock(&viewers->lock);
    bool open = !viewers->closed && clock_boot_us() < viewer->end_boot_us;
    *due = viewer->due;
    viewer->due = false;
    if (open && !*due) {
        MHD_suspend_connection(viewer->connection);
        viewer->asleep = true;
    }
    pthread_mutex_unlock(&viewers->lock);
    return open;
}

static ssize_t stream_read(void *ctx, uint64_t at, char *out, size_t room) {
    struct webui__viewer *viewer = ctx;
    bool due = false;
    (void)at;
    while (!viewer->event.len) {
        if (!stay(viewer, &due)) {
            return MHD_CONTENT_READER_END_OF_STREAM;
        }
        if (!due) {
            return 0;
        }
        event_make(viewer);
    }
    return event_send(viewer, out, room);
}

static void stream_done(void *ctx) {
    struct webui__viewer *viewer = ctx;
    struct webui__viewers *viewers = &viewer->webui->viewers;
    pthread_mutex_lock(&viewers->lock);
    *(viewer->prev ? &viewer->prev->next : &viewers->first) = viewer->next;
    if (viewer->next) {
        viewer->next->prev = viewer->prev;
    }
    viewers->count--;
    pthread_mutex_unlock(&viewers->lock);
    buf_finish(&viewer->event);
    free(viewer);
}

static bool enlist(struct webui__viewers *viewers, struct webui__viewer *viewer) {
    pthread_mutex_lock(&viewers->lock);
    bool room = !viewers->closed && viewers->count < WEBUI__VIEWERS;
    if (room) {
        viewer->next = viewers->first;
        if (viewer->next) {
            viewer->next->prev = viewer;
        }
        viewers->first = viewer;
        viewers->count++;
    }
    pthread_mutex_unlock(&viewers->lock);
    return room;
}

void webui__viewers_sweep(struct webui *webui, bool closing) {
    struct webui__viewers *viewers = &webui->viewers;
    pthread_mutex_lock(&viewers->lock);
    viewers->closed = viewers->closed || closing;
    for (struct webui__viewer *viewer = viewers->first; viewer; viewer = viewer->next) {
        if (viewer->asleep) {
            viewer->asleep = false;
            viewer->due = true;
            MHD_resume_connection(viewer->connection);
        }
    }
    pthread_mutex_unlock(&viewers->lock);
}

static bool has_live(struct webui__request *request) {
    if (!request->webui->hooks.live) {
        webui__reply_problem(request, MHD_HTTP_NOT_FOUND, "nothing here has cameras to look at");
        return false;
    }
    return true;
}

void webui__on_live_events(struct webui__request *request) {
    if (!has_live(request)) {
        return;
    }
    struct webui__viewer *viewer = mem_alloc(sizeof(*viewer));
    if (!viewer) {
        webui__reply_problem(request, MHD_HTTP_SERVICE_UNAVAILABLE, "out of memory");
        return;
    }
    *viewer = (struct webui__viewer){.webui = request->webui,
                                     .connection = request->connection,
                                     .due = true,
                                     .end_boot_us = clock_boot_us() + LIFE_US,
                                     .event = BUF_INIT(EVENT_MAX)};
    if (!enlist(&request->webui->viewers, viewer)) {
        free(viewer);
        webui__reply_problem(request, MHD_HTTP_SERVICE_UNAVAILABLE,
                             "%d people look already, which is the most: try again later",
                             WEBUI__VIEWERS);
        return;
    }
    webui__reply_stream(request, "text/event-stream", BLOCK, stream_read, viewer, stream_done);
}

/* ---- pictures ---- */

void webui__on_live_picture(struct webui__request *request) {
    const struct webui_hooks *hooks = &request->webui->hooks;
    struct err err = {0};
    uint8_t *bytes = NULL;
    size_t size = 0;
    enum frame_media media = MEDIA_NONE;
    int64_t number = 0;
    const char *asked = webui__arg(request, "n");
    if (!has_live(request)) {
        return;
    }
    if (!webui__name_valid(request->capture) ||
        (asked[0] && !webui__integer_parse(asked, 0, INT64_MAX, &number))) {
        webui__reply_problem(request, MHD_HTTP_BAD_REQUEST,
                             "expected /live/picture/CAMERA?n=NUMBER, as an event names them");
        return;
    }
    if (hooks->live_picture(hooks->ctx, request->capture, (uint64_t)number, &bytes, &size, &media,
                            &err)) {
        webui__reply_err(request, &err);
        return;
    }
    webui__reply_bytes(request, MHD_HTTP_OK, webui__media_type(media), bytes, 0, size);
}

/* ---- the page ---- */

static void card(void *ctx, const struct webui_live *live) {
    struct buf *page = ctx;
    buf_puts(page, "<article class=\"camera\" data-camera=\"");
    buf_puts_html(page, live->camera);
    buf_puts(page, "\"><h2>");
    buf_puts_html(page, live->camera);
    buf_puts(page, "</h2><div class=\"view\"><p class=\"quiet\">Waits for a frame</p></div>"
                   "<p class=\"silent\" role=\"status\"></p><p class=\"found\"></p><dl "
                   "class=\"rates\"></dl></article>");
}

void webui__on_live(struct webui__request *request) {
    const struct webui_hooks *hooks = &request->webui->hooks;
    CLEANUP(buf_finish) struct buf page = BUF_INIT(WEBUI__PAGE_MAX);
    struct err err = {0};
    if (!has_live(request)) {
        return;
    }
    webui__html_begin(&page, "Live", "/live");
    buf_puts(&page, "<h1>Live</h1><noscript><p class=\"notice\">The live view needs script; the "
                    "<a href=\"/\">frames</a> do not.</p></noscript><p id=\"live-said\" "
                    "class=\"quiet\" role=\"status\"></p><div id=\"live\" class=\"live\">");
    size_t before = page.len;
    if (hooks->live(hooks->ctx, card, &page, &err)) {
        webui__reply_err(request, &err);
        return;
    }
    buf_puts(&page, "</div>");
    if (page.len == before + strlen("</div>")) {
        buf_puts(&page,
                 "<section class=\"notice\"><h2>No camera has come yet</h2><p>Name one under "
                 "<code>cameras</code> in the configuration, or push a frame to "
                 "<code>/score</code>.</p></section>");
    }
    buf_printf(&page, "<script src=\"/assets/live.js?v=%s\" defer></script>",
               webui__assets_version());
    webui__html_end(&page);
    webui__reply_text(request, MHD_HTTP_OK, WEBUI__HTML_TYPE, &page);
}
