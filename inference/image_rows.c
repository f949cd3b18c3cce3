/* Over libjpeg's own interface, because TurboJPEG's only gives whole pictures.
 *
 * The library reports an error by a jump out of it; so everything that must be freed lives in a
 * struct reader, which outlives the jump. Whatever it warns of (a scan that ends early, a marker
 * that cannot be) is damage, but for bytes between markers, as image_decode.c has it; and the
 * number of scans is bounded as there, so that a small file cannot take hours. */
#include "inference/image_rows.h"
#include "daemon/base/mem.h"
#include "inference/image_decode.h"
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

#include <jerror.h>

enum {
    STRIP = 8 /* rows handed over at once: at 1080p they fit into the first cache */,
    SCANS_MAX = 500
};

struct reader {
    struct jpeg_decompress_struct turbo;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf failed;
    char text[JMSG_LENGTH_MAX]; /* of the error, or of the last warning that is damage */
    bool stray;                 /* bytes between markers */
    uint8_t *strip;
};

static struct reader *reader_of(j_common_ptr turbo) {
    return turbo->client_data;
}

static void on_error(j_common_ptr turbo) {
    struct reader *reader = reader_of(turbo);
    turbo->err->format_message(turbo, reader->text);
    longjmp(reader->failed, 1);
}

static void on_message(j_common_ptr turbo, int level) {
    struct reader *reader = reader_of(turbo);
    if (level >= 0) {
        return; /* of use to those who debug the library */
    }
    if (turbo->err->msg_code == JWRN_EXTRANEOUS_DATA) {
        reader->stray = true;
    } else {
        turbo->err->format_message(turbo, reader->text);
    }
}

static void on_progress(j_common_ptr turbo) {
    struct reader *reader = reader_of(turbo);
    if (reader->turbo.input_scan_number > SCANS_MAX) {
        snprintf(reader->text, sizeof(reader->text), "more than %d scans", SCANS_MAX);
        longjmp(reader->failed, 1);
    }
}

static void reader_open(struct reader *reader) {
    reader->turbo.err = jpeg_std_error(&reader->errors);
    reader->errors.error_exit = on_error;
    reader->errors.emit_message = on_message;
    reader->progress.progress_monitor = on_progress;
    reader->turbo.client_data = reader;
}

static void reader_close(struct reader *reader) {
    jpeg_destroy_decompress(&reader->turbo);
    free(reader->strip);
}

static int damaged(const struct reader *reader, size_t size, struct err *err) {
    return err_set(err, ERR_INVALID, "damaged or cut off JPEG (%zu bytes): %s", size,
                   reader->text[0] != '\0' ? reader->text : "bytes between markers, and no end");
}

/* The inverse transform of a block can give 8 x 8, 4 x 4, 2 x 2 or one pixel of it. */
static void scale_choose(struct reader *reader, const struct image_rows *rows) {
    struct jpeg_decompress_struct *turbo = &reader->turbo;
    uint32_t least[2];
    rows->least(rows->ctx, turbo->image_width, turbo->image_height, least);
    unsigned by = 1;
    while (by < 8 && turbo->image_width / (2 * by) >= least[0] &&
           turbo->image_height / (2 * by) >= least[1]) {
        by *= 2;
    }
    turbo->scale_num = 1;
    turbo->scale_denom = by;
}

static int begin(struct reader *reader, const struct image_rows *rows, struct err *err) {
    struct jpeg_decompress_struct *turbo = &reader->turbo;
    int code = image_size_check(turbo->image_width, turbo->image_height, err);
    if (code != 0) {
        return code;
    }
    if (rows->least != NULL) {
        scale_choose(reader, rows);
    }
    jpeg_calc_output_dimensions(turbo);
    reader->strip = mem_array((size_t)turbo->output_width * 3, STRIP);
    if (reader->strip == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for rows of %u pixels", turbo->output_width);
    }
    return rows->begin(rows->ctx, turbo->output_width, turbo->output_height, err);
}

/* A strip is handed over when it is full, or the picture ends. */
static void read_rows(struct reader *reader, const struct image_rows *rows) {
    struct jpeg_decompress_struct *turbo = &reader->turbo;
    size_t stride = (size_t)turbo->output_width * 3;
    while (turbo->output_scanline < turbo->output_height) {
        uint32_t filled = 0;
        while (filled < STRIP && turbo->output_scanline < turbo->output_height) {
            JSAMPROW places[STRIP];
            for (uint32_t i = filled; i < STRIP; i++) {
                places[i] = reader->strip + i * stride;
            }
            filled += jpeg_read_scanlines(turbo, places + filled, STRIP - filled);
        }
        rows->take(rows->ctx, reader->strip, filled);
    }
}

int image_rows_jpeg(const uint8_t *bytes, size_t size, const struct image_rows *rows,
                    struct err *err) {
    CLEANUP(reader_close) struct reader reader = {0};
    reader_open(&reader);
    if (setjmp(reader.failed) != 0) {
        return damaged(&reader, size, err);
    }
    jpeg_create_decompress(&reader.turbo);
    reader.turbo.progress = &reader.progress;
    jpeg_mem_src(&reader.turbo, bytes, size);
    jpeg_read_header(&reader.turbo, TRUE);
    if (reader.turbo.num_components > 3) {
        return err_set(err, ERR_REFUSED, "a JPEG of %d colours", reader.turbo.num_components);
    }
    reader.turbo.out_color_space = JCS_RGB;
    reader.turbo.dct_method = JDCT_ISLOW;
    int code = begin(&reader, rows, err);
    if (code != 0) {
        return code;
    }
    jpeg_start_decompress(&reader.turbo);
    read_rows(&reader, rows);
    jpeg_finish_decompress(&reader.turbo);
    bool bad = reader.text[0] != '\0' || (reader.stray && !image_jpeg_has_end(bytes, size));
    return bad ? damaged(&reader, size, err) : 0;
}
