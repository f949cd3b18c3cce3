/* order: what the caller of a pushed picture wants, and what the picture is said to be.
 *
 * Read from the address and the Content-Type alone, so that a wrong request is refused before its
 * body is taken. Pure. Thread: any.
 */
#ifndef CREEL_WEBUI_ORDER_H
#define CREEL_WEBUI_ORDER_H

#include "daemon/base/err.h"
#include "schemas/frame.h"
#include "webui/multipart.h"
#include "webui/webui.h"
#include <stdbool.h>
#include <stddef.h>

#define WEBUI__CLASSES_MAX 512   /* bytes of object=, with the NUL */
#define WEBUI__SIDE_MAX    65500 /* pixels of width= and height=: what a JPEG can have */

enum webui__door { DOOR_SCORE = 1, DOOR_ANNOTATE = 2, DOOR_IMAGE = 4 };

struct webui__order {
    enum webui__door door;
    double threshold;
    char classes[WEBUI__CLASSES_MAX]; /* comma-separated; "": all */
    char camera[FRAME_NAME_MAX + 1];
    bool wait_stored;
    bool whole_picture, never_keep; /* set by who knows the path */
    enum webui_pixels pixels;       /* WEBUI_FILE: an image file, and what follows is 0 */
    uint32_t width, height;
    bool full_range;
    bool unnamed; /* no Content-Type says that it is a picture: its first bytes have to */
    char boundary[WEBUI__BOUNDARY_SIZE]; /* multipart/form-data; "": the body is the picture */
};

/* The value of a parameter, "" when it is absent. */
typedef const char *webui__order_arg(void *ctx, const char *name);

/* `threshold` is what holds without confidence=; `type` is the Content-Type, or NULL. ERR_INVALID:
 * err->http_status is 400 or 415, and the text names the parameter, its bounds and the way out. */
int webui__order_read(enum webui__door door, double threshold, webui__order_arg *arg, void *ctx,
                      const char *type, struct webui__order *out, struct err *err);

/* Judges the body's first bytes; a form's picture is moved to the front of `body`, and `*size`
 * becomes its size. ERR_INVALID as above. */
int webui__order_body(const struct webui__order *order, char *body, size_t *size, struct err *err);

#endif
