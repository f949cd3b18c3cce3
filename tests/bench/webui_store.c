/* bench-webui-store: makes the store that the gallery's benchmark looks at.
 *
 *   bench-webui-store DIR [FRAMES]
 *
 * A new store in DIR with FRAMES frames (1000000 unless said), a second apart, the last of them
 * now: eight cameras, both tiers, eighty classes, three rules, and among the newest some that are
 * pinned and some that are judged. The newest have a thumbnail, as many as the cache keeps, and the
 * newest of those a picture of 1280x720 for a blob; the others' blobs are small, and no picture.
 * tests/bench/webui.sh builds and runs it.
 */
#include "daemon/base/clock.h"
#include "daemon/base/mem.h"
#include "inference/demo/scene.h"
#include "inference/image_summary.h"
#include "tests/bench/store_bench.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FRAMES_MIN 10000
#define FRAMES_MAX 100000000
#define BLOB_BYTES 4096
#define WIDTH      1280
#define HEIGHT     720
#define QUALITY    80
#define THUMB_W    320
#define VIEWS      64    /* pictures that differ; the frames' differ by a comment in the JPEG */
#define THUMBS     20000 /* newest frames with a thumbnail */
#define PICTURES   2000  /* newest frames with a picture */
#define JUDGED     500   /* frames with a word of a person: each tenth of the newest */
#define MARK       12    /* bytes of a JPEG's comment segment that holds a number */
#define PROGRESS   100000

struct view {
    uint8_t *picture;
    size_t picture_bytes;
    struct image_summary summary;
};

struct maker {
    struct store *store;
    struct view views[VIEWS];
    uint64_t frames;
    int64_t now_us;
    struct bench_acks acks;
};

/* ---- pictures ---- */

static int view_draw(struct scene *scene, uint64_t n, struct view *view, struct err *err) {
    struct image_pixels pixels = {.width = WIDTH, .height = HEIGHT, .orientation = 1};
    CLEANUP(mem_free_at) uint8_t *rgb = mem_array((size_t)WIDTH * HEIGHT, 3);
    if (!rgb) {
        return err_set(err, ERR_NOMEM, "no memory for a picture");
    }
    scene_render(scene, n, rgb, NULL);
    pixels.rgb = rgb;
    int code = image_encode(rgb, WIDTH, HEIGHT, QUALITY, &view->picture, &view->picture_bytes, err);
    return code ? code : image_summarise(&pixels, THUMB_W, &view->summary, err);
}

static int views_draw(struct maker *maker, struct err *err) {
    struct scene *scene = NULL;
    struct scene_config config = {.seed = 6, .width = WIDTH, .height = HEIGHT, .mode = SCENE_LIVE};
    int code =
        scene_create(&config, &scene) ? err_set(err, ERR_NOMEM, "no memory for the pictures") : 0;
    for (uint64_t i = 0; !code && i < VIEWS; i++) {
        code = view_draw(scene, i, &maker->views[i], err);
    }
    scene_destroy(scene);
    return code;
}

static void views_finish(struct maker *maker) {
    for (size_t i = 0; i < VIEWS; i++) {
        free(maker->views[i].picture);
        image_summary_finish(&maker->views[i].summary);
    }
}

/* A JPEG with the number in a comment behind its first marker. */
static uint8_t *jpeg_marked(const uint8_t *jpeg, size_t size, uint64_t n) {
    uint8_t *out = size > 2 ? malloc(size + MARK) : NULL;
    if (out) {
        memcpy(out, jpeg, 2);
        memcpy(out + 2, (const uint8_t[]){0xff, 0xfe, 0, MARK - 2}, 4);
        memcpy(out + 6, &n, sizeof(n));
        memcpy(out + 2 + MARK, jpeg + 2, size - 2);
    }
    return out;
}

/* ---- frames ---- */

static int looks_set(const struct maker *maker, uint64_t n, struct store_frame *frame,
                     struct err *err) {
    const struct view *view = &maker->views[n % VIEWS];
    uint64_t age = maker->frames - n;
    if (age <= THUMBS) {
        frame->thumb_bytes = view->summary.thumb_bytes + MARK;
        frame->thumb = jpeg_marked(view->summary.thumb, view->summary.thumb_bytes, n);
    }
    if (age <= PICTURES) {
        free(frame->blob);
        frame->record.blob_bytes = view->picture_bytes + MARK;
        frame->blob = jpeg_marked(view->picture, view->picture_bytes, n);
    }
    return frame->blob && (age > THUMBS || frame->thumb)
               ? 0
               : err_set(err, ERR_NOMEM, "no memory for the pictures of a frame");
}

static int frame_put(struct maker *maker, uint64_t n, struct err *err) {
    struct store_frame frame = {0};
    int code = bench_frame(n, BLOB_BYTES, BENCH_BOTH_TIERS, &maker->acks, &frame, err);
    if (!code) {
        int64_t age_s = (int64_t)(maker->frames - n);
        const char *rule = n % 1000 == 0 ? "audit" : n % 20 == 0 ? "empty" : "unsure";
        frame.record.captured.utc_us = maker->now_us - age_s * BENCH_STEP_US;
        snprintf(frame.record.rule, sizeof(frame.record.rule), "%s", rule);
        code = looks_set(maker, n, &frame, err);
    }
    code = code ? code : store_put(maker->store, &frame, err);
    bench_frame_finish(&frame);
    return code;
}

static int frames_put(struct maker *maker, struct err *err) {
    int code = 0;
    for (uint64_t n = 0; !code && n < maker->frames; n++) {
        code = frame_put(maker, n, err);
        if (n % PROGRESS == PROGRESS - 1) {
            fprintf(stderr, "bench-webui-store: %llu frames\n", (unsigned long long)n + 1);
        }
    }
    code = code ? code : store_flush(maker->store, err);
    if (!code && atomic_load(&maker->acks.failed)) {
        code = err_set(err, ERR_FULL, "%llu frames were refused",
                       (unsigned long long)atomic_load(&maker->acks.failed));
    }
    return code;
}

/* ---- what people did to them ---- */

static int row_judge(struct maker *maker, const struct store_row *row, uint64_t n,
                     struct err *err) {
    struct store_label label = {.state = n % 3 ? STORE_LABEL_ACCEPTED : STORE_LABEL_WANTED,
                                .utc_us = maker->now_us};
    int code = store_label_put(maker->store, &row->record.id, &label, err);
    return code || n % 5 ? code : store_pin_set(maker->store, &row->record.id, true, err);
}

static int some_judge(struct maker *maker, struct err *err) {
    struct store_reader *reader = NULL;
    struct store_filter filter = {0};
    struct store_cursor after = {0};
    int code = store_reader_open(maker->store, &reader, err);
    for (uint64_t n = 0; !code && n < JUDGED;) {
        struct store_page *page = NULL;
        code = store_page_read(reader, &filter, &after, STORE_PAGE_MAX, 1, &page, err);
        for (size_t i = 0; !code && i < page->count; i += 10) {
            code = row_judge(maker, &page->rows[i], n++, err);
        }
        if (!code) {
            after = page->next;
            store_page_destroy(page);
        }
    }
    store_reader_close(reader);
    return code ? code : store_flush(maker->store, err);
}

/* ---- main ---- */

static int make(struct maker *maker, const char *dir, struct err *err) {
    struct store_config config = {.dir = dir, .index_floor = BENCH_INDEX_FLOOR};
    int code = views_draw(maker, err);
    code = code ? code : store_open(&config, &maker->store, err);
    code = code ? code : frames_put(maker, err);
    code = code ? code : some_judge(maker, err);
    store_close(maker->store);
    views_finish(maker);
    return code;
}

int main(int argc, char **argv) {
    struct err err = {0};
    char text[2 * ERR_TEXT_MAX];
    struct maker *maker = mem_alloc(sizeof(*maker));
    if (argc < 2 || argc > 3 || !maker) {
        fputs(maker ? "usage: bench-webui-store DIR [FRAMES]\n" : "no memory\n", stderr);
        return 2;
    }
    maker->frames = argc > 2 ? strtoull(argv[2], NULL, 10) : 1000000;
    maker->now_us = clock_utc_us();
    int code = maker->frames < FRAMES_MIN || maker->frames > FRAMES_MAX
                   ? err_set(&err, ERR_INVALID, "wanted %d to %d frames", FRAMES_MIN, FRAMES_MAX)
                   : make(maker, argv[1], &err);
    free(maker);
    if (code) {
        fprintf(stderr, "bench-webui-store: %s\n", err_text(&err, text, sizeof(text)));
        return 1;
    }
    return 0;
}
