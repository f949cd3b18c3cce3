#include "webui/order.h"
#include "daemon/base/mem.h"
#include "webui/text.h"
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define CAMERA_DEFAULT "http"
#define FILES          "JPEG, PNG or BMP"
#define FILE_TYPES     "image/jpeg, image/png, image/bmp"
#define PART           "imageData"

#define EVERY_DOOR     (DOOR_SCORE | DOOR_ANNOTATE | DOOR_IMAGE)

static int wrong(struct err *err, int status, const char *text) {
    err_set(err, ERR_INVALID, "%s", text);
    if (err) {
        err->http_status = status;
    }
    return ERR_INVALID;
}

/* ---- the address ---- */

/* The readers of one parameter each: what is wrong with its value, or NULL. */

static const char *read_confidence(const char *value, struct webui__order *order) {
    return webui__number_parse(value, 0, 1, &order->threshold)
               ? NULL
               : "confidence= must be a number from 0 to 1";
}

static const char *read_object(const char *value, struct webui__order *order) {
    if (strlen(value) >= sizeof(order->classes)) {
        return "object= is too long: name fewer classes, at most 511 bytes of them";
    }
    snprintf(order->classes, sizeof(order->classes), "%s", value);
    return NULL;
}

static const char *read_stream(const char *value, struct webui__order *order) {
    if (!webui__name_valid(value)) {
        return "stream= must be a camera name: a-z, 0-9 and -, at most 32 letters, not beginning "
               "with -";
    }
    snprintf(order->camera, sizeof(order->camera), "%s", value);
    return NULL;
}

static const char *read_wait(const char *value, struct webui__order *order) {
    order->wait_stored = strcmp(value, "stored") == 0;
    return order->wait_stored ? NULL : "wait= can only be \"stored\"";
}

static const char *read_pixel_format(const char *value, struct webui__order *order) {
    static const struct {
        const char *name;
        enum webui_pixels pixels;
    } formats[] = {{"yuv420p", WEBUI_YUV420P}, {"rgb24", WEBUI_RGB24}, {"bgr24", WEBUI_BGR24}};
    for (size_t i = 0; i < ARRAY_LENGTH(formats); i++) {
        if (strcmp(formats[i].name, value) == 0) {
            order->pixels = formats[i].pixels;
            return NULL;
        }
    }
    return "pixelFormat= must be yuv420p, rgb24 or bgr24; other pixels can be sent as a PNG";
}

static bool read_side(const char *value, uint32_t *out) {
    int64_t side = 0;
    if (!webui__integer_parse(value, 1, WEBUI__SIDE_MAX, &side)) {
        return false;
    }
    *out = (uint32_t)side;
    return true;
}

static const char *read_width(const char *value, struct webui__order *order) {
    return read_side(value, &order->width) ? NULL : "width= must be a number of pixels, 1 to 65500";
}

static const char *read_height(const char *value, struct webui__order *order) {
    return read_side(value, &order->height) ? NULL
                                            : "height= must be a number of pixels, 1 to 65500";
}

static const char *read_range(const char *value, struct webui__order *order) {
    order->full_range = strcmp(value, "full") == 0;
    return order->full_range || strcmp(value, "video") == 0
               ? NULL
               : "range= must be video (Y from 16 to 235) or full (Y from 0 to 255)";
}

static const struct {
    const char *name;
    unsigned doors;
    const char *(*read)(const char *value, struct webui__order *order);
} parameters[] = {
    {"confidence", EVERY_DOOR, read_confidence},
    {"object", EVERY_DOOR, read_object},
    {"stream", EVERY_DOOR, read_stream},
    {"wait", DOOR_SCORE | DOOR_IMAGE, read_wait},
    {"pixelFormat", EVERY_DOOR, read_pixel_format},
    {"width", EVERY_DOOR, read_width},
    {"height", EVERY_DOOR, read_height},
    {"range", EVERY_DOOR, read_range},
};

static int read_parameters(webui__order_arg *arg, void *ctx, struct webui__order *order,
                           struct err *err) {
    for (size_t i = 0; i < ARRAY_LENGTH(parameters); i++) {
        const char *value = arg(ctx, parameters[i].name);
        if (!value[0]) {
            continue;
        }
        const char *fault = parameters[i].doors & order->door
                                ? parameters[i].read(value, order)
                                : "wait= is taken by /score and /image only";
        if (fault) {
            return wrong(err, 400, fault);
        }
    }
    return 0;
}

/* ---- the Content-Type ---- */

enum body_kind { BODY_FILE, BODY_RAW, BODY_UNNAMED, BODY_FORM };

static const struct {
    const char *name;
    enum body_kind kind;
} types[] = {
    {"image/jpeg", BODY_FILE},
    {"image/jpg", BODY_FILE},
    {"image/png", BODY_FILE},
    {"image/bmp", BODY_FILE},
    {"image/x-ms-bmp", BODY_FILE},
    {"image/x-raw", BODY_RAW},
    {"multipart/form-data", BODY_FORM},
    {"application/octet-stream", BODY_UNNAMED},
    {"", BODY_UNNAMED},
};

static bool kind_of(const char *type, enum body_kind *out) {
    size_t size = type ? strcspn(type, "; \t") : 0;
    for (size_t i = 0; i < ARRAY_LENGTH(types); i++) {
        if (strlen(types[i].name) == size && (!size || !strncasecmp(type, types[i].name, size))) {
            *out = types[i].kind;
            return true;
        }
    }
    return false;
}

static int read_raw(struct webui__order *order, struct err *err) {
    if (order->pixels && order->width && order->height) {
        return 0;
    }
    return wrong(err, 400,
                 "raw pixels need pixelFormat=, width= and height= in the address, as in "
                 "?pixelFormat=yuv420p&width=640&height=480");
}

static int read_type(const char *type, struct webui__order *order, struct err *err) {
    enum body_kind kind = BODY_FILE;
    bool known = kind_of(type, &kind);
    if (!known || (kind == BODY_FORM && order->door != DOOR_IMAGE)) {
        char text[256];
        snprintf(text, sizeof(text),
                 "send " FILE_TYPES " or image/x-raw as Content-Type, not %.80s%s", type,
                 known ? " (which /image takes)" : "");
        return wrong(err, 415, text);
    }
    bool raw = kind == BODY_RAW || (kind == BODY_UNNAMED && order->pixels);
    order->unnamed = kind == BODY_UNNAMED;
    if (raw) {
        return read_raw(order, err);
    }
    /* A caller that always says them may send a JPEG all the same. */
    order->pixels = WEBUI_FILE;
    order->width = order->height = 0;
    order->full_range = false;
    if (kind == BODY_FORM && !webui__multipart_boundary(type, order->boundary)) {
        return wrong(err, 400,
                     "Content-Type: multipart/form-data needs a boundary= of 1 to 70 letters");
    }
    return 0;
}

int webui__order_read(enum webui__door door, double threshold, webui__order_arg *arg, void *ctx,
                      const char *type, struct webui__order *out, struct err *err) {
    struct webui__order order = {.door = door, .threshold = threshold, .camera = CAMERA_DEFAULT};
    int code = read_parameters(arg, ctx, &order, err);
    code = code ? code : read_type(type, &order, err);
    if (!code) {
        *out = order;
    }
    return code;
}

/* ---- the body ---- */

static int take_part(const struct webui__order *order, char *body, size_t *size, struct err *err) {
    const char *part = NULL;
    size_t part_size = 0;
    const char *fault =
        webui__multipart_find(body, *size, order->boundary, PART, &part, &part_size);
    if (fault) {
        return wrong(err, 400, fault);
    }
    memmove(body, part, part_size);
    *size = part_size;
    return 0;
}

/* A BMP is stored as what the worker makes of it, so that it is no frame_media. */
static bool is_picture(const char *body, size_t size) {
    return webui__media_sniff(body, size) != MEDIA_NONE ||
           (size >= 2 && memcmp(body, "BM", 2) == 0);
}

int webui__order_body(const struct webui__order *order, char *body, size_t *size, struct err *err) {
    int code = order->boundary[0] && *size ? take_part(order, body, size, err) : 0;
    if (code) {
        return code;
    }
    if (*size == 0) {
        return wrong(err, 400, "the body is empty: send the bytes of a " FILES);
    }
    if (order->pixels != WEBUI_FILE || is_picture(body, *size)) {
        return 0;
    }
    return order->unnamed ? wrong(err, 415,
                                  "send " FILE_TYPES
                                  " or image/x-raw as Content-Type: these bytes are no " FILES)
                          : wrong(err, 400, "the picture does not begin like a " FILES);
}
