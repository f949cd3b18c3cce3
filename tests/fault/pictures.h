/* pictures: good pictures of every kind that creel knows, and what becomes of one in transit.
 *
 * Everything follows from a number, so that a picture that did harm can be made again.
 */
#ifndef CREEL_TESTS_FAULT_PICTURES_H
#define CREEL_TESTS_FAULT_PICTURES_H

#include "daemon/base/mem.h"
#include <png.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <turbojpeg.h>

#define PICTURE_WIDTH  83
#define PICTURE_HEIGHT 61
#define PICTURE_ROOM   (256u << 10)

struct picture {
    uint8_t bytes[PICTURE_ROOM];
    size_t size;
};

struct dice {
    uint64_t state;
};

static inline uint32_t dice_below(struct dice *dice, size_t bound) {
    dice->state = dice->state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)((dice->state >> 33) % (bound > 0 ? bound : 1));
}

/* ---- good ones ---- */

static inline uint8_t *picture_pixels(void) {
    uint8_t *rgba = mem_array((size_t)PICTURE_WIDTH * PICTURE_HEIGHT, 8);
    for (size_t i = 0; i < (size_t)PICTURE_WIDTH * PICTURE_HEIGHT * 8; i++) {
        rgba[i] = (uint8_t)(i * 7 + (i / 97) * 31 + (i * i >> 9));
    }
    return rgba;
}

struct jpeg_kind {
    int sampling, format, flags;
};

static inline void picture_jpeg(struct picture *out, struct jpeg_kind kind) {
    uint8_t *pixels = picture_pixels();
    unsigned char *bytes = NULL;
    unsigned long size = 0;
    tjhandle turbo = tjInitCompress();
    tjCompress2(turbo, pixels, PICTURE_WIDTH, 0, PICTURE_HEIGHT, kind.format, &bytes, &size,
                kind.sampling, 80, kind.flags);
    memcpy(out->bytes, bytes, size);
    out->size = size;
    tjFree(bytes);
    tjDestroy(turbo);
    free(pixels);
}

static inline void picture_png(struct picture *out, uint32_t format) {
    uint8_t *pixels = picture_pixels(), map[256 * 4];
    png_image png = {.version = PNG_IMAGE_VERSION,
                     .width = PICTURE_WIDTH,
                     .height = PICTURE_HEIGHT,
                     .format = format,
                     .colormap_entries = 256};
    memcpy(map, pixels, sizeof(map));
    png_alloc_size_t size = sizeof(out->bytes);
    png_image_write_to_memory(&png, out->bytes, &size, 0, pixels, 0, map);
    out->size = size;
    free(pixels);
}

static inline void picture_put32(uint8_t *at, uint32_t value) {
    for (size_t i = 0; i < 4; i++) {
        at[i] = (uint8_t)(value >> (8 * i));
    }
}

static inline void picture_bmp(struct picture *out, unsigned bits, bool top_down, bool masks) {
    uint8_t *pixels = picture_pixels();
    size_t header = masks ? 108 : 40, stride = ((size_t)PICTURE_WIDTH * bits / 8 + 3) / 4 * 4;
    out->size = 14 + header + stride * PICTURE_HEIGHT;
    memset(out->bytes, 0, 14 + header);
    memcpy(out->bytes, "BM", 2);
    picture_put32(out->bytes + 10, (uint32_t)(14 + header));
    picture_put32(out->bytes + 14, (uint32_t)header);
    picture_put32(out->bytes + 18, PICTURE_WIDTH);
    picture_put32(out->bytes + 22, (uint32_t)(top_down ? -PICTURE_HEIGHT : PICTURE_HEIGHT));
    out->bytes[26] = 1;
    out->bytes[28] = (uint8_t)bits;
    out->bytes[30] = masks ? 3 : 0;
    for (size_t i = 0; masks && i < 3; i++) {
        picture_put32(out->bytes + 54 + 4 * i, 0xffu << (8 * i));
    }
    memcpy(out->bytes + 14 + header, pixels, stride * PICTURE_HEIGHT);
    free(pixels);
}

/* An EXIF block with an orientation, behind the start of image. */
static inline void picture_exif(struct picture *picture) {
    static const uint8_t block[] = "\xff\xe1\x00\x22"
                                   "Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0"
                                   "\x01\0\0\0\x06\0\0\0\0\0\0\0";
    size_t size = sizeof(block) - 1;
    memmove(picture->bytes + 2 + size, picture->bytes + 2, picture->size - 2);
    memcpy(picture->bytes + 2, block, size);
    picture->size += size;
}

#define PICTURE_KINDS 16

static inline void picture_good(struct picture *out, unsigned kind) {
    static const struct jpeg_kind jpegs[] = {
        {TJSAMP_420, TJPF_RGB, 0},  {TJSAMP_444, TJPF_RGB, 0},
        {TJSAMP_GRAY, TJPF_RGB, 0}, {TJSAMP_420, TJPF_RGB, TJFLAG_PROGRESSIVE},
        {TJSAMP_444, TJPF_CMYK, 0}, {TJSAMP_422, TJPF_RGB, TJFLAG_PROGRESSIVE},
        {TJSAMP_440, TJPF_RGB, 0},
    };
    static const uint32_t pngs[] = {PNG_FORMAT_RGB, PNG_FORMAT_RGBA, PNG_FORMAT_GRAY,
                                    PNG_FORMAT_RGB_COLORMAP, PNG_FORMAT_LINEAR_RGB_ALPHA};
    kind %= PICTURE_KINDS;
    if (kind < ARRAY_LENGTH(jpegs)) {
        picture_jpeg(out, jpegs[kind]);
    } else if (kind - ARRAY_LENGTH(jpegs) < ARRAY_LENGTH(pngs)) {
        picture_png(out, pngs[kind - ARRAY_LENGTH(jpegs)]);
    } else if (kind == PICTURE_KINDS - 1) {
        picture_jpeg(out, jpegs[0]);
        picture_exif(out);
    } else {
        kind -= (unsigned)(ARRAY_LENGTH(jpegs) + ARRAY_LENGTH(pngs));
        picture_bmp(out, kind == 0 ? 24 : 32, kind == 1, kind == 2);
    }
}

/* ---- what becomes of them ---- */

typedef void mutation(struct picture *picture, struct dice *dice);

static inline void mutate_cut(struct picture *picture, struct dice *dice) {
    picture->size = dice_below(dice, picture->size);
}

static inline void mutate_bits(struct picture *picture, struct dice *dice) {
    for (uint32_t left = 1 + dice_below(dice, 20); left > 0; left--) {
        picture->bytes[dice_below(dice, picture->size)] ^= (uint8_t)(1u << dice_below(dice, 8));
    }
}

static inline void mutate_bytes(struct picture *picture, struct dice *dice) {
    static const uint8_t liked[] = {0x00, 0xff, 0x7f, 0x80, 0x01, 0xd8, 0xd9, 0xda};
    for (uint32_t left = 1 + dice_below(dice, 8); left > 0; left--) {
        picture->bytes[dice_below(dice, picture->size)] = liked[dice_below(dice, sizeof(liked))];
    }
}

/* The first bytes, where sizes and tables are. */
static inline void mutate_head(struct picture *picture, struct dice *dice) {
    size_t bound = picture->size < 200 ? picture->size : 200;
    for (uint32_t left = 1 + dice_below(dice, 4); left > 0; left--) {
        picture->bytes[dice_below(dice, bound)] = (uint8_t)dice_below(dice, 256);
    }
}

static inline void mutate_drop(struct picture *picture, struct dice *dice) {
    size_t at = dice_below(dice, picture->size);
    size_t count = 1 + dice_below(dice, picture->size - at);
    memmove(picture->bytes + at, picture->bytes + at + count, picture->size - at - count);
    picture->size -= count;
}

static inline void mutate_double(struct picture *picture, struct dice *dice) {
    size_t at = dice_below(dice, picture->size);
    size_t count = 1 + dice_below(dice, picture->size - at);
    if (picture->size + count <= PICTURE_ROOM) {
        memmove(picture->bytes + at + count, picture->bytes + at, picture->size - at);
        picture->size += count;
    }
}

static inline void mutate_noise(struct picture *picture, struct dice *dice) {
    size_t at = dice_below(dice, picture->size), count = dice_below(dice, picture->size - at);
    for (size_t i = 0; i < count; i++) {
        picture->bytes[at + i] = (uint8_t)dice_below(dice, 256);
    }
}

/* The beginning of one and the end of another kind. */
static inline void mutate_splice(struct picture *picture, struct dice *dice) {
    struct picture *other = mem_alloc(sizeof(*other));
    picture_good(other, dice_below(dice, PICTURE_KINDS));
    size_t keep = dice_below(dice, picture->size), from = dice_below(dice, other->size);
    size_t count = other->size - from;
    count = count < PICTURE_ROOM - keep ? count : PICTURE_ROOM - keep;
    memcpy(picture->bytes + keep, other->bytes + from, count);
    picture->size = keep + count;
    free(other);
}

static inline uint32_t picture_crc(const uint8_t *bytes, size_t size) { /* PNG, annex D */
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = crc & 1 ? crc >> 1 ^ 0xedb88320u : crc >> 1;
        }
    }
    return ~crc;
}

static inline void picture_put_big(uint8_t *at, uint32_t value, size_t size) {
    for (size_t i = 0; i < size; i++) {
        at[i] = (uint8_t)(value >> (8 * (size - 1 - i)));
    }
}

/* A bomb: a header that promises far more pixels than follow, its checksum right. */
static inline void mutate_size(struct picture *picture, struct dice *dice) {
    static const uint32_t sides[] = {0,     1,     7999,     8000,      16000,
                                     65500, 65535, 1u << 24, INT32_MAX, UINT32_MAX};
    uint32_t width = sides[dice_below(dice, ARRAY_LENGTH(sides))];
    uint32_t height = sides[dice_below(dice, ARRAY_LENGTH(sides))];
    uint8_t *bytes = picture->bytes;
    if (bytes[0] == 'B' && picture->size > 26) {
        picture_put32(bytes + 18, width);
        picture_put32(bytes + 22, height);
    } else if (bytes[0] == 0x89 && picture->size > 33) {
        picture_put_big(bytes + 16, width, 4);
        picture_put_big(bytes + 20, height, 4);
        picture_put_big(bytes + 29, picture_crc(bytes + 12, 17), 4);
    }
    for (size_t i = 2; bytes[0] == 0xff && i + 9 < picture->size; i++) {
        if (bytes[i] == 0xff && (bytes[i + 1] == 0xc0 || bytes[i + 1] == 0xc2)) {
            picture_put_big(bytes + i + 5, height, 2);
            picture_put_big(bytes + i + 7, width, 2);
            return;
        }
    }
}

/* The last scan of a progressive JPEG, again and again. */
static inline void mutate_scans(struct picture *picture, struct dice *dice) {
    size_t at = picture->size;
    for (size_t i = 2; i + 1 < picture->size; i++) {
        at = picture->bytes[i] == 0xff && picture->bytes[i + 1] == 0xda ? i : at;
    }
    if (at + 2 >= picture->size) {
        mutate_bits(picture, dice);
        return;
    }
    size_t count = picture->size - 2 - at;
    while (picture->size + count <= PICTURE_ROOM) {
        memmove(picture->bytes + at + count, picture->bytes + at, picture->size - at);
        picture->size += count;
    }
}

/* Picture `number`: one in seventeen stays good. */
static inline void picture_make(struct picture *out, uint64_t number) {
    static mutation *const mutations[] = {
        mutate_cut,  mutate_cut,  mutate_bits,  mutate_bits,   mutate_bytes, mutate_bytes,
        mutate_head, mutate_head, mutate_drop,  mutate_double, mutate_noise, mutate_splice,
        mutate_size, mutate_size, mutate_scans, mutate_bits,
    };
    struct dice dice = {number * UINT64_C(0x9e3779b97f4a7c15) + 1};
    picture_good(out, dice_below(&dice, PICTURE_KINDS));
    size_t which = (size_t)(number % (ARRAY_LENGTH(mutations) + 1));
    if (which < ARRAY_LENGTH(mutations)) {
        mutations[which](out, &dice);
        if (dice_below(&dice, 4) == 0 && out->size > 0) {
            mutations[dice_below(&dice, ARRAY_LENGTH(mutations))](out, &dice);
        }
    }
}

#endif
