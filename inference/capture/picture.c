/* From what was read to a slot: rate, size, motion, colours.
 *
 * A motion-JPEG's picture is kept as it came, byte for byte: it is decoded only when it must be
 * made smaller or the motion gate must see it (then at an eighth of its size). Everything else
 * becomes yuv420p, BT.601, full range, which is what a JPEG has and the worker takes.
 *
 * Invariants: 1. Order of the tests, cheapest first: rate, room, motion. 2. A live picture that
 * finds no free slot is left out; a file's waits. 3. swscale writes into a picture of our own,
 * because it writes beyond the ends of rows that are not aligned; the slot gets a copy without
 * gaps.
 */
#include "daemon/base/mem.h"
#include "inference/capture/capture.h"
#include "inference/motion.h"
#include <libavcodec/avcodec.h>
#include <libavutil/imgutils.h>
#include <libavutil/opt.h>
#include <libavutil/pixdesc.h>
#include <libswscale/swscale.h>
#include <math.h>
#include <string.h>

enum { EIGHTH = 3 }; /* of lowres: a power of two */

/* What a scaler is made for. */
struct shape {
    int width, height, format, full;
    const int *colours;
    int out_width, out_height;
};

struct picture {
    struct motion motion;
    bool ever;            /* a picture has been due */
    double due_at;        /* timestamp from which the next one is */
    int64_t last_us;      /* when the last one was */
    AVCodecContext *jpeg; /* for encoded pictures that must be seen; made when first needed */
    enum AVCodecID jpeg_id;
    AVFrame *seen, *made;
    AVPacket *packet;
    struct SwsContext *scaler;
    struct shape shape; /* of the scaler */
};

int picture_open(struct capture *capture, struct err *err) {
    struct picture *self = mem_alloc(sizeof(*self));
    if (self != NULL) {
        self->seen = av_frame_alloc();
        self->made = av_frame_alloc();
        self->packet = av_packet_alloc();
    }
    if (self == NULL || self->seen == NULL || self->made == NULL || self->packet == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for a picture");
    }
    capture->picture = self;
    return 0;
}

/* ---- rate ---- */

/* A camera's timestamps may stand still or jump: after twice the time that one picture may take, a
 * live one is due whatever they say. */
bool picture_due(struct capture *capture, double at) {
    struct picture *self = capture->picture;
    int64_t now_us = capture_now_us();
    bool live = capture->start.source != CAPTURE_FILE;
    double now = at >= 0 ? at : (double)now_us / 1e6;
    if (capture->start.fps <= 0) {
        return true;
    }
    double period = 1 / capture->start.fps;
    bool jumped = now < self->due_at - 2 * period - 1;
    bool waited = live && (double)(now_us - self->last_us) / 1e6 > 2 * period + 1;
    if (self->ever && now < self->due_at - period / 100 && !jumped && !waited) {
        return false;
    }
    bool on_time = self->ever && !jumped && now < self->due_at + period;
    self->due_at = (on_time ? self->due_at : now) + period;
    self->ever = true;
    self->last_us = now_us;
    return true;
}

/* ---- sizes and colours ---- */

/* The largest size within the wanted one, with the picture's shape; never more than it has. */
static void fit(const struct capture_start *start, int width, int height, int *out_width,
                int *out_height) {
    double scale = 1;
    if (start->width != 0) {
        scale = fmin(scale, (double)start->width / width);
    }
    if (start->height != 0) {
        scale = fmin(scale, (double)start->height / height);
    }
    int even = scale < 1 ? ~1 : ~0; /* what is made smaller gets whole chroma samples */
    *out_width = (int)lround(width * scale) & even;
    *out_height = (int)lround(height * scale) & even;
    *out_width = *out_width > 0 ? *out_width : 1;
    *out_height = *out_height > 0 ? *out_height : 1;
}

static bool full_range(const AVFrame *frame) {
    switch (frame->format) {
    case AV_PIX_FMT_YUVJ420P:
    case AV_PIX_FMT_YUVJ422P:
    case AV_PIX_FMT_YUVJ444P:
    case AV_PIX_FMT_YUVJ440P:
    case AV_PIX_FMT_YUVJ411P:
        return true;
    default:
        return frame->color_range == AVCOL_RANGE_JPEG;
    }
}

static bool as_a_jpeg_has_it(const AVFrame *frame) {
    bool planar = frame->format == AV_PIX_FMT_YUV420P || frame->format == AV_PIX_FMT_YUVJ420P;
    return planar && full_range(frame) && frame->colorspace != AVCOL_SPC_BT709 &&
           frame->colorspace != AVCOL_SPC_BT2020_NCL;
}

static const int *colours_of(const AVFrame *frame) {
    switch (frame->colorspace) {
    case AVCOL_SPC_BT709:
        return sws_getCoefficients(SWS_CS_ITU709);
    case AVCOL_SPC_BT2020_NCL:
    case AVCOL_SPC_BT2020_CL:
        return sws_getCoefficients(SWS_CS_BT2020);
    default:
        return sws_getCoefficients(SWS_CS_ITU601);
    }
}

/* Replaces self->made by a picture of this size. */
static int made_size(struct picture *self, int width, int height, struct err *err) {
    AVFrame *made = self->made;
    if (made->data[0] != NULL && made->width == width && made->height == height) {
        return 0;
    }
    av_frame_unref(made);
    made->format = AV_PIX_FMT_YUV420P;
    made->width = width;
    made->height = height;
    return av_frame_get_buffer(made, 0) < 0
               ? err_set(err, ERR_NOMEM, "no memory for a picture of %dx%d", width, height)
               : 0;
}

static bool option_set(struct SwsContext *scaler, const char *name, int value) {
    return av_opt_set_int(scaler, name, value, 0) >= 0;
}

/* The ranges must be known before sws_init_context: it decides then whether rows may be copied. */
static struct SwsContext *scaler_make(const struct shape *shape) {
    bool same_size = shape->width == shape->out_width && shape->height == shape->out_height;
    const int neutral = 1 << 16;
    struct SwsContext *scaler = sws_alloc_context();
    bool fine = scaler != NULL && option_set(scaler, "srcw", shape->width) &&
                option_set(scaler, "srch", shape->height) &&
                option_set(scaler, "src_format", shape->format) &&
                option_set(scaler, "src_range", shape->full) &&
                option_set(scaler, "dstw", shape->out_width) &&
                option_set(scaler, "dsth", shape->out_height) &&
                option_set(scaler, "dst_format", AV_PIX_FMT_YUV420P) &&
                option_set(scaler, "dst_range", 1) &&
                option_set(scaler, "sws_flags", same_size ? SWS_BILINEAR : SWS_AREA) &&
                sws_init_context(scaler, NULL, NULL) >= 0;
    if (!fine) {
        sws_freeContext(scaler);
        return NULL;
    }
    sws_setColorspaceDetails(scaler, shape->colours, shape->full,
                             sws_getCoefficients(SWS_CS_ITU601), 1, 0, neutral, neutral);
    return scaler;
}

static int scaler_ready(struct picture *self, const AVFrame *frame, int width, int height,
                        struct err *err) {
    struct shape shape = {.width = frame->width,
                          .height = frame->height,
                          .format = frame->format,
                          .full = full_range(frame),
                          .colours = colours_of(frame),
                          .out_width = width,
                          .out_height = height};
    if (self->scaler != NULL && memcmp(&shape, &self->shape, sizeof(shape)) == 0) {
        return 0;
    }
    sws_freeContext(self->scaler);
    self->scaler = scaler_make(&shape);
    self->shape = shape;
    return self->scaler != NULL
               ? 0
               : err_set(err, ERR_INVALID, "pictures of the format %s cannot be converted",
                         av_get_pix_fmt_name((enum AVPixelFormat)frame->format));
}

static int convert(struct picture *self, const AVFrame *frame, int width, int height,
                   struct err *err) {
    int code = made_size(self, width, height, err);
    code = code != 0 ? code : scaler_ready(self, frame, width, height, err);
    if (code != 0) {
        return code;
    }
    if (sws_scale(self->scaler, (const uint8_t *const *)frame->data, frame->linesize, 0,
                  frame->height, self->made->data, self->made->linesize) != height) {
        return err_set(err, ERR_INVALID, "a picture of %dx%d cannot be converted", frame->width,
                       frame->height);
    }
    return 0;
}

/* ---- out ---- */

static bool waits(const struct capture *capture) {
    return capture->start.source == CAPTURE_FILE && !capture->start.loop;
}

static bool moved(struct capture *capture, const AVFrame *frame) {
    return capture->start.motion <= 0 ||
           motion_passes(&capture->picture->motion, frame->data[0], (size_t)frame->linesize[0],
                         (uint32_t)frame->width, (uint32_t)frame->height, capture->start.motion);
}

int picture_put_decoded(struct capture *capture, const AVFrame *frame, struct err *err) {
    struct picture *self = capture->picture;
    uint32_t slot;
    int width, height;
    if (frame->width < 1 || frame->height < 1 ||
        (uint64_t)frame->width * (uint64_t)frame->height > FRAME_PIXELS_MAX) {
        return err_set(err, ERR_INVALID, "a picture of %dx%d is larger than %u pixels",
                       frame->width, frame->height, FRAME_PIXELS_MAX);
    }
    fit(&capture->start, frame->width, frame->height, &width, &height);
    int size = av_image_get_buffer_size(AV_PIX_FMT_YUV420P, width, height, 1);
    if (size <= 0 || (uint64_t)size > CAPTURE_SLOT_SIZE) {
        return err_set(err, ERR_INVALID, "a picture of %dx%d is too large; set a size", width,
                       height);
    }
    uint8_t *bytes = capture_slot(capture, waits(capture), &slot);
    if (bytes == NULL) {
        capture_alive(capture);
        return 0;
    }
    bool same = width == frame->width && height == frame->height && as_a_jpeg_has_it(frame);
    int code = same ? 0 : convert(self, frame, width, height, err);
    const AVFrame *ready = same ? frame : self->made;
    if (code != 0) {
        return code;
    }
    if (!moved(capture, ready)) {
        capture_alive(capture);
        return 0;
    }
    av_image_copy_to_buffer(bytes, size, (const uint8_t *const *)ready->data, ready->linesize,
                            AV_PIX_FMT_YUV420P, width, height, 1);
    struct capture_frame told = {.slot = slot,
                                 .raw = 1,
                                 .width = (uint32_t)width,
                                 .height = (uint32_t)height,
                                 .size = (uint64_t)size};
    capture_hand(capture, &told);
    return 0;
}

static enum AVCodecID encoded_kind(const uint8_t *bytes, size_t size) {
    static const uint8_t png[] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    if (size > 4 && bytes[0] == 0xff && bytes[1] == 0xd8 && bytes[2] == 0xff) {
        return AV_CODEC_ID_MJPEG;
    }
    return size > sizeof(png) && memcmp(bytes, png, sizeof(png)) == 0 ? AV_CODEC_ID_PNG
                                                                      : AV_CODEC_ID_NONE;
}

static int decoder_open(struct picture *self, enum AVCodecID id, int lowres, struct err *err) {
    if (self->jpeg != NULL && self->jpeg_id == id) {
        return 0;
    }
    avcodec_free_context(&self->jpeg);
    const AVCodec *codec = avcodec_find_decoder(id);
    AVCodecContext *context = codec != NULL ? avcodec_alloc_context3(codec) : NULL;
    if (context == NULL) {
        return err_set(err, ERR_NOMEM, "no decoder for this kind of picture");
    }
    context->thread_count = 1;
    context->max_pixels = FRAME_PIXELS_MAX;
    context->lowres = lowres <= codec->max_lowres ? lowres : codec->max_lowres;
    self->jpeg = context;
    self->jpeg_id = id;
    return avcodec_open2(context, codec, NULL) < 0
               ? err_set(err, ERR_NOMEM, "the decoder %s does not start", codec->name)
               : 0;
}

/* Decodes into self->seen. */
static int see(struct picture *self, enum AVCodecID id, const uint8_t *bytes, size_t size,
               int lowres, struct err *err) {
    int code = decoder_open(self, id, lowres, err);
    if (code != 0) {
        return code;
    }
    if (av_new_packet(self->packet, (int)size) < 0) { /* with the padding that decoders need */
        return err_set(err, ERR_NOMEM, "no memory for a picture of %zu bytes", size);
    }
    memcpy(self->packet->data, bytes, size);
    int sent = avcodec_send_packet(self->jpeg, self->packet);
    av_packet_unref(self->packet);
    av_frame_unref(self->seen);
    if (sent < 0 || avcodec_receive_frame(self->jpeg, self->seen) < 0) {
        return err_set(err, ERR_INVALID, "a picture cannot be decoded");
    }
    return 0;
}

/* Whether what was seen is larger than the size that is wanted. */
static bool must_shrink(const struct capture *capture) {
    const AVFrame *seen = capture->picture->seen;
    int width, height;
    fit(&capture->start, seen->width, seen->height, &width, &height);
    return width != seen->width || height != seen->height;
}

int picture_put_encoded(struct capture *capture, const uint8_t *bytes, size_t size,
                        struct err *err) {
    struct picture *self = capture->picture;
    enum AVCodecID id = encoded_kind(bytes, size);
    bool sized = capture->start.width != 0 || capture->start.height != 0;
    int code = 0;
    uint32_t slot;
    if (id == AV_CODEC_ID_NONE) {
        return err_set(err, ERR_INVALID, "%zu bytes are neither a JPEG nor a PNG", size);
    }
    if (size > CAPTURE_SLOT_SIZE) {
        return err_set(err, ERR_INVALID, "a picture has %zu bytes, at most %llu are taken", size,
                       (unsigned long long)CAPTURE_SLOT_SIZE);
    }
    if (sized || capture->start.motion > 0) {
        code = see(self, id, bytes, size, sized ? 0 : EIGHTH, err);
    }
    if (code != 0) {
        return code;
    }
    if (sized && must_shrink(capture)) {
        return picture_put_decoded(capture, self->seen, err);
    }
    uint8_t *into = capture_slot(capture, waits(capture), &slot);
    if (into == NULL || !moved(capture, self->seen)) {
        capture_alive(capture);
        return 0;
    }
    memcpy(into, bytes, size);
    struct capture_frame told = {.slot = slot, .size = size};
    capture_hand(capture, &told);
    return 0;
}
