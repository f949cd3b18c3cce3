/* paint: the thread that has boxes drawn on pictures, for /annotate.
 *
 * Drawing takes a process of its own and a moment (webui_hooks.draw), which neither microhttpd's
 * threads nor the pipeline's have. Its queue is bounded: what finds no room is answered with 503.
 * Life cycle: webui__paint_start -> webui__paint_put -> webui__paint_stop, after all tickets are
 * answered. Thread: put from any.
 */
#ifndef CREEL_WEBUI_PAINT_H
#define CREEL_WEBUI_PAINT_H

#include "webui/ticket.h"

struct webui__paint_job;

/* A copy of the reply's picture and of those of its detections that the order asks for. NULL: no
 * memory. */
struct webui__paint_job *webui__paint_job_create(struct webui__ticket *ticket,
                                                 const struct webui_reply *reply);
void webui__paint_job_destroy(struct webui__paint_job *job);

int webui__paint_start(struct webui *webui, struct err *err);
/* Moves the job in, and with it a hold on its ticket. False: the queue is full. */
bool webui__paint_put(struct webui *webui, struct webui__paint_job *job);
void webui__paint_stop(struct webui *webui);

#endif
