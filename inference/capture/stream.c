/* Video files, RTSP, RTMP, HTTP streams and V4L2 devices, through FFmpeg's libraries.
 *
 * Invariants: 1. A kind may use only the protocols and formats of its row in `kinds`: a camera
 * cannot make us open a file, another host by another protocol, or a playlist. 2. Every blocking
 * call of the library asks on_interrupt, which knows the daemon's end and our own deadline. 3. The
 * deadline is moved by pictures alone: headers that never end, or packets that hold no picture, do
 * not move it. 4. A packet that cannot be decoded is skipped; a stream of them runs into the
 * deadline. 5. One thread decodes: a sealed process makes no others but those of look-ups.
 */
#include "inference/capture/capture.h"
#include <dlfcn.h>
#include <errno.h>
#include <libavcodec/avcodec.h>
#include <libavdevice/version_major.h>
#include <libavformat/avformat.h>
#include <libavutil/opt.h>
#include <libavutil/time.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    READ_PART = 32768, /* bytes of the buffer before a file */
    PROBE_BYTES = 1 << 20,
    PROBE_US = 3000000,
    PROBE_RTMP_US = 800000, /* whose header never says that all streams have begun */
    LISTENER_FDS = 64,
    PEER_EVERY_US = 200000,
    STREAMS_MAX = 64,
};

struct kind {
    const char *protocols;
    const char *formats;
    const char *format; /* NULL: by its first bytes */
};

static const struct kind kinds[] = {
    [CAPTURE_FILE] = {"", "mov,matroska,avi,mpegts,mpeg,flv,mjpeg,h264,hevc,ivf,ogg,asf,mpjpeg",
                      NULL},
    [CAPTURE_RTSP] = {"rtsp,rtp,tcp,tls,crypto", "rtsp,sdp,rtp", "rtsp"},
    [CAPTURE_RTMP] = {"rtmp,rtmps,tcp,tls,crypto", "flv,live_flv", "live_flv"},
    [CAPTURE_LISTEN] = {"rtmp,tcp", "flv,live_flv", "live_flv"},
    [CAPTURE_HTTP] = {"http,https,tcp,tls,crypto", "mpjpeg,mjpeg,flv,live_flv,mpegts,matroska,mov",
                      NULL},
    [CAPTURE_DEVICE] = {"", "video4linux2,v4l2", "video4linux2"},
};

struct stream {
    struct capture *capture;
    const struct kind *kind;
    AVFormatContext *format;
    AVCodecContext *codec;
    AVPacket *packet;
    AVFrame *frame;
    int index;           /* of the video stream */
    int64_t deadline_us; /* INT64_MAX: none yet */
    int64_t peer_us;     /* when it was last looked for a publisher */
    bool passes;         /* motion-JPEG: pictures go on as they came */
    bool untimed;        /* its timestamps are the library's guess at a rate */
    int64_t began_us;    /* loop: when the first picture of this round was due */
    double began_at;     /* and its timestamp; negative: not known */
    uint64_t pictures;   /* of this round */
};

static struct stream stream = {.index = -1};

static void deadline_move(struct stream *self) {
    self->deadline_us = capture_now_us() + (int64_t)self->capture->start.timeout_ms * 1000;
}

/* Whether a publisher is connected: FFmpeg waits for it and its first bytes in one call. */
static bool peer_there(void) {
    for (int fd = CAPTURE_FD_FILE; fd < LISTENER_FDS; fd++) {
        struct sockaddr_storage address;
        socklen_t size = sizeof(address);
        if (getpeername(fd, (struct sockaddr *)&address, &size) == 0 &&
            (address.ss_family == AF_INET || address.ss_family == AF_INET6)) {
            return true;
        }
    }
    return false;
}

static void listener_look(struct stream *self) {
    int64_t now = capture_now_us();
    if (self->deadline_us != INT64_MAX || now - self->peer_us < PEER_EVERY_US) {
        return;
    }
    self->peer_us = now;
    if (peer_there()) {
        capture_note(self->capture, CAPTURE_CONNECTED, 0, "");
        deadline_move(self);
    }
}

static int on_interrupt(void *ctx) {
    struct stream *self = ctx;
    listener_look(self);
    return capture_over(self->capture) || capture_now_us() > self->deadline_us;
}

/* What a container asks to be opened besides itself: nothing. */
static int on_open(AVFormatContext *format, AVIOContext **io, const char *url, int flags,
                   AVDictionary **options) {
    (void)format, (void)io, (void)url, (void)flags, (void)options;
    return AVERROR(EACCES);
}

static int on_file_read(void *ctx, uint8_t *bytes, int size) {
    (void)ctx;
    ssize_t got = read(CAPTURE_FD_FILE, bytes, (size_t)size);
    return got > 0 ? (int)got : got == 0 ? AVERROR_EOF : AVERROR(errno);
}

static int64_t on_file_seek(void *ctx, int64_t at, int whence) {
    (void)ctx;
    if ((whence & AVSEEK_SIZE) != 0) {
        off_t here = lseek(CAPTURE_FD_FILE, 0, SEEK_CUR);
        off_t end = lseek(CAPTURE_FD_FILE, 0, SEEK_END);
        return here < 0 || end < 0 || lseek(CAPTURE_FD_FILE, here, SEEK_SET) < 0 ? -1 : end;
    }
    return lseek(CAPTURE_FD_FILE, at, whence & ~AVSEEK_FORCE);
}

static int av_fail(struct err *err, int code, int av_code, const char *what) {
    char why[AV_ERROR_MAX_STRING_SIZE];
    if (av_code == AVERROR_EXIT) {
        return err_set(err, ERR_TIMEOUT, "%s took too long", what);
    }
    return err_set(err, code, "%s failed: %s", what,
                   av_make_error_string(why, sizeof(why), av_code));
}

/* ---- options ---- */

static bool url_make(const struct capture_start *start, char *out, size_t size) {
    const char *at = strstr(start->url, "://");
    if (at == NULL || start->user[0] == '\0') {
        return snprintf(out, size, "%s", start->url) < (int)size;
    }
    return snprintf(out, size, "%.*s%s:%s@%s", (int)(at - start->url) + 3, start->url, start->user,
                    start->password, at + 3) < (int)size;
}

static AVDictionary *options_make(const struct stream *self) {
    const struct capture_start *start = &self->capture->start;
    AVDictionary *options = NULL;
    int64_t timeout_us = (int64_t)start->timeout_ms * 1000;
    if (self->kind->protocols[0] != '\0') {
        av_dict_set(&options, "protocol_whitelist", self->kind->protocols, 0);
    }
    av_dict_set(&options, "format_whitelist", self->kind->formats, 0);
    av_dict_set_int(&options, "probesize", PROBE_BYTES, 0);
    bool rtmp = start->source == CAPTURE_RTMP || start->source == CAPTURE_LISTEN;
    av_dict_set_int(&options, "analyzeduration", rtmp ? PROBE_RTMP_US : PROBE_US, 0);
    av_dict_set_int(&options, "fpsprobesize", 0,
                    0); /* the rate is of no interest: no wait for it */
    av_dict_set_int(&options, "max_streams", STREAMS_MAX, 0);
    av_dict_set_int(&options, "tls_verify", start->tls_verify, 0);
    switch (start->source) {
    case CAPTURE_RTSP:
        av_dict_set(&options, "rtsp_transport", "tcp", 0);
        av_dict_set(&options, "allowed_media_types", "video", 0);
        av_dict_set_int(&options, "timeout", timeout_us, 0);
        break;
    case CAPTURE_LISTEN:
        av_dict_set(&options, "listen", "1", 0);
        break;
    case CAPTURE_RTMP:
        av_dict_set(&options, "rtmp_live", "live", 0);
        av_dict_set(&options, "rtmp_buffer", "100", 0);
        break;
    case CAPTURE_HTTP:
        av_dict_set_int(&options, "rw_timeout", timeout_us, 0);
        break;
    case CAPTURE_DEVICE:
        if (start->width != 0 && start->height != 0) {
            char size[32];
            snprintf(size, sizeof(size), "%ux%u", start->width, start->height);
            av_dict_set(&options, "video_size", size, 0);
        }
        break;
    default:
        break;
    }
    return options;
}

/* ---- opening ---- */

static int file_wire(struct stream *self) {
    unsigned char *buffer = av_malloc(READ_PART);
    AVIOContext *io = buffer != NULL ? avio_alloc_context(buffer, READ_PART, 0, self, on_file_read,
                                                          NULL, on_file_seek)
                                     : NULL;
    if (io == NULL) {
        return AVERROR(ENOMEM);
    }
    self->format->pb = io;
    self->format->io_open = on_open;
    return 0;
}

static int open_input(struct stream *self, struct err *err) {
    const struct capture_start *start = &self->capture->start;
    char url[CAPTURE_URL_SIZE + CAPTURE_USER_SIZE + CAPTURE_SECRET_SIZE];
    self->format = avformat_alloc_context();
    self->packet = av_packet_alloc();
    self->frame = av_frame_alloc();
    if (self->format == NULL || self->packet == NULL || self->frame == NULL ||
        !url_make(start, url, sizeof(url))) {
        return err_set(err, ERR_NOMEM, "no memory for a stream");
    }
    self->format->interrupt_callback = (AVIOInterruptCB){.callback = on_interrupt, .opaque = self};
    self->deadline_us = INT64_MAX;
    if (start->source != CAPTURE_LISTEN) {
        deadline_move(self);
    }
    int code = start->source == CAPTURE_FILE ? file_wire(self) : 0;
    const AVInputFormat *format =
        self->kind->format != NULL ? av_find_input_format(self->kind->format) : NULL;
    AVDictionary *options = options_make(self);
    if (code == 0) {
        code = avformat_open_input(&self->format, url, format, &options);
    }
    av_dict_free(&options);
    return code == 0 ? 0 : av_fail(err, ERR_NET, code, "opening it");
}

static int decoder_open(struct stream *self, const AVCodec *codec, struct err *err) {
    AVCodecParameters *facts = self->format->streams[self->index]->codecpar;
    self->passes = facts->codec_id == AV_CODEC_ID_MJPEG;
    if (self->passes) {
        return 0;
    }
    if (codec == NULL) {
        return err_set(err, ERR_INVALID, "there is no decoder for %s",
                       avcodec_get_name(facts->codec_id));
    }
    self->codec = avcodec_alloc_context3(codec);
    if (self->codec == NULL || avcodec_parameters_to_context(self->codec, facts) < 0) {
        return err_set(err, ERR_NOMEM, "no memory for a decoder");
    }
    self->codec->thread_count = 1;
    self->codec->max_pixels = FRAME_PIXELS_MAX;
    self->codec->pkt_timebase = self->format->streams[self->index]->time_base;
    int code = avcodec_open2(self->codec, codec, NULL);
    return code == 0 ? 0 : av_fail(err, ERR_INVALID, code, "starting the decoder");
}

static int open_video(struct stream *self, struct err *err) {
    const AVCodec *codec = NULL;
    int code = avformat_find_stream_info(self->format, NULL);
    if (code < 0) {
        return av_fail(err, ERR_INVALID, code, "finding a video in it");
    }
    self->index = av_find_best_stream(self->format, AVMEDIA_TYPE_VIDEO, -1, -1, &codec, 0);
    if (self->index < 0) {
        return err_set(err, ERR_INVALID, "there is no video in it");
    }
    for (unsigned i = 0; i < self->format->nb_streams; i++) {
        self->format->streams[i]->discard =
            (int)i == self->index ? AVDISCARD_DEFAULT : AVDISCARD_ALL;
    }
    const char *name = self->format->iformat->name;
    self->untimed = self->capture->start.source == CAPTURE_HTTP &&
                    (strcmp(name, "mpjpeg") == 0 || strcmp(name, "mjpeg") == 0);
    return decoder_open(self, codec, err);
}

/* ---- pictures ---- */

static double seconds(const struct stream *self, int64_t pts) {
    const AVStream *video = self->format->streams[self->index];
    if (pts == AV_NOPTS_VALUE || self->untimed) {
        return -1;
    }
    int64_t start = video->start_time != AV_NOPTS_VALUE ? video->start_time : 0;
    double at = (double)(pts - start) * av_q2d(video->time_base);
    return at >= 0 ? at : 0;
}

/* A file that plays for ever keeps its own pace; false: it is over. */
static bool pace(struct stream *self, double at) {
    if (!self->capture->start.loop || at < 0) {
        return true;
    }
    if (self->began_at < 0) {
        self->began_at = at;
        self->began_us = capture_now_us();
    }
    int64_t due = self->began_us + (int64_t)((at - self->began_at) * 1e6);
    return !capture_sleep(self->capture, due - capture_now_us());
}

/* The timestamp that the rate is judged by: that of all rounds of a file, one after another. */
static bool due(struct stream *self, double at) {
    if (self->capture->start.loop) {
        at = (double)capture_now_us() / 1e6;
    }
    bool taken = picture_due(self->capture, at);
    if (!taken) {
        capture_alive(self->capture);
    }
    return taken;
}

static int take_encoded(struct stream *self, struct err *err) {
    double at = seconds(self, self->packet->pts);
    self->pictures++;
    if (!pace(self, at)) {
        return 0;
    }
    struct err bad = {0};
    int code = due(self, at) ? picture_put_encoded(self->capture, self->packet->data,
                                                   (size_t)self->packet->size, &bad)
                             : 0;
    if (code == 0) {
        deadline_move(self);
    } else {
        fprintf(stderr, "%s\n", bad.msg);
    }
    (void)err;
    return 0;
}

static int take_decoded(struct stream *self, struct err *err) {
    for (;;) {
        int got = avcodec_receive_frame(self->codec, self->frame);
        if (got < 0) {
            return 0; /* it wants more packets, or this one was bad */
        }
        double at = seconds(self, self->frame->best_effort_timestamp);
        int code = 0;
        self->pictures++;
        deadline_move(self);
        if (pace(self, at) && due(self, at)) {
            code = picture_put_decoded(self->capture, self->frame, err);
        }
        av_frame_unref(self->frame);
        deadline_move(self);
        if (code != 0 || capture_over(self->capture)) {
            return code;
        }
    }
}

static int take(struct stream *self, struct err *err) {
    if (self->packet->stream_index != self->index) {
        return 0;
    }
    if (self->passes) {
        return take_encoded(self, err);
    }
    if (avcodec_send_packet(self->codec, self->packet) < 0) {
        return 0;
    }
    return take_decoded(self, err);
}

/* What the decoder still holds; then from the beginning, if it plays for ever. 1: again. */
static int at_end(struct stream *self, struct err *err) {
    int code = 0;
    if (!self->passes && avcodec_send_packet(self->codec, NULL) >= 0) {
        code = take_decoded(self, err);
        avcodec_flush_buffers(self->codec);
    }
    if (code != 0 || !self->capture->start.loop || self->pictures == 0) {
        return code;
    }
    self->pictures = 0;
    self->began_at = -1;
    code = av_seek_frame(self->format, self->index, 0, AVSEEK_FLAG_BACKWARD);
    if (code < 0) {
        code = avformat_seek_file(self->format, -1, INT64_MIN, 0, INT64_MAX, AVSEEK_FLAG_BYTE);
    }
    return code < 0 ? av_fail(err, ERR_INVALID, code, "playing it again") : 1;
}

static int ended(struct stream *self, int av_code, struct err *err) {
    if (self->capture->start.source == CAPTURE_FILE && av_code == AVERROR_EOF) {
        return at_end(self, err);
    }
    if (av_code == AVERROR_EOF) {
        return err_set(err, ERR_NET, "the stream has ended");
    }
    return av_fail(err, ERR_NET, av_code, "reading it");
}

int stream_read(struct capture *capture, struct err *err) {
    struct stream *self = &stream;
    int code = self->format == NULL ? open_input(self, err) : 0;
    code = code != 0 ? code : open_video(self, err);
    if (code == 0 && capture->start.source == CAPTURE_LISTEN) {
        deadline_move(self);
    }
    while (code == 0 && !capture_over(capture)) {
        int got = av_read_frame(self->format, self->packet);
        if (got == AVERROR(EAGAIN)) {
            capture_sleep(capture, 5000);
            continue;
        }
        if (got < 0) {
            code = ended(self, got, err);
            if (code == 1) {
                code = 0;
                continue;
            }
            return code;
        }
        if (capture_now_us() > self->deadline_us) {
            return err_set(err, ERR_TIMEOUT, "no picture came within %u ms",
                           capture->start.timeout_ms);
        }
        code = take(self, err);
        av_packet_unref(self->packet);
    }
    return code;
}

/* Loaded only where there is a device to open: it brings ninety libraries (windows, sound) along,
 * which every camera of the network would pay for. */
static int devices_load(struct err *err) {
    static const char name[] = "libavdevice.so." AV_STRINGIFY(LIBAVDEVICE_VERSION_MAJOR);
    void *library = dlopen(name, RTLD_NOW);
    void (*fill)(void) = NULL;
    void *found = library != NULL ? dlsym(library, "avdevice_register_all") : NULL;
    if (found == NULL) {
        return err_set(err, ERR_NOT_FOUND, "V4L2 devices need FFmpeg's %s: %s", name, dlerror());
    }
    memcpy(&fill, &found, sizeof(fill));
    fill();
    return 0;
}

/* Without the object's address, which FFmpeg's own puts before each line: it says nothing to a
 * person, and makes each error look like a new one. */
ERR_PRINTF(3, 0)
static void say(void *object, int level, const char *fmt, va_list args) {
    (void)object;
    if (level <= AV_LOG_WARNING) {
        vfprintf(stderr, fmt, args);
    }
}

int stream_prepare(struct capture *capture, struct err *err) {
    struct stream *self = &stream;
    self->capture = capture;
    self->began_at = -1;
    av_log_set_callback(say);
    if (capture->start.source < CAPTURE_FILE || capture->start.source > CAPTURE_DEVICE) {
        return err_set(err, ERR_INVALID, "no such kind of source");
    }
    self->kind = &kinds[capture->start.source];
    if (capture->start.source == CAPTURE_DEVICE) {
        int code = devices_load(err);
        return code != 0 ? code : open_input(self, err); /* afterwards no file can be opened */
    }
    avformat_network_init();
    struct addrinfo *known = NULL; /* so that the C library has read what it reads once */
    if (getaddrinfo("localhost", NULL, NULL, &known) == 0) {
        freeaddrinfo(known);
    }
    return 0;
}
