/* act: what a person does to frames: pins them, says what is right or wrong, removes them from
 * here.
 *
 * The store's writer carries it out and has made it durable when the answer goes out. Thread:
 * microhttpd's.
 */
#ifndef CREEL_WEBUI_ACT_H
#define CREEL_WEBUI_ACT_H

#include "webui/http.h"

#define WEBUI__ACT_FRAMES_MAX 100 /* of one request: the server's thread waits for the disk */

/* POST {"act": "accepted", "frames": ["…"], "class": "…", "note": "…"}, as openapi.json has it. */
void webui__on_act(struct webui__request *request);
/* Refuses, before the body is taken, what a form of another site could send. */
void webui__on_act_headers(struct webui__request *request);

/* "frames" of a body: 1 to WEBUI__ACT_FRAMES_MAX ids; ERR_INVALID. */
int webui__frames_read(const json_t *body, struct frame_id ids[WEBUI__ACT_FRAMES_MAX],
                       size_t *count, struct err *err);
/* {"frame", "status", "detail"}: what did not become of it. */
json_t *webui__failure_json(const struct frame_id *id, const struct err *err);

#endif
