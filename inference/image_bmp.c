/* BMP of 24 and 32 bits a pixel, uncompressed: what cameras' SDKs and test tools write.
 *
 * The header names sizes and places; each is checked against `size` before it is used. Alpha is
 * ignored, as most writers leave it 0. Palettes and run lengths are refused with a word: nobody
 * sends photographs in them. */
#include "inference/image_bmp.h"

enum {
    FILE_HEADER = 14,
    INFO_HEADER = 40, /* BITMAPINFOHEADER; later versions begin with the same fields */
    PLAIN = 0,        /* BI_RGB */
    MASKS = 3,        /* BI_BITFIELDS */
    MASKS_ALPHA = 6,  /* BI_ALPHABITFIELDS */
};

struct bmp {
    const uint8_t *pixels; /* of the row that comes first in the file */
    size_t stride;
    uint32_t width, height;
    bool bottom_up;
    size_t bytes_per_pixel;
    size_t place[3]; /* of red, green, blue within a pixel */
};

static uint32_t u16_at(const uint8_t *bytes, size_t at) {
    return (uint32_t)(bytes[at] | bytes[at + 1] << 8);
}

static uint32_t u32_at(const uint8_t *bytes, size_t at) {
    return u16_at(bytes, at) | u16_at(bytes, at + 2) << 16;
}

/* Which byte of a pixel a mask picks; false where it is not one whole byte. */
static bool mask_place(uint32_t mask, size_t *place) {
    for (size_t i = 0; i < 4; i++) {
        if (mask == 0xffu << (8 * i)) {
            *place = i;
            return true;
        }
    }
    return false;
}

static int places_read(const uint8_t *bytes, size_t size, uint32_t compression, struct bmp *out,
                       struct err *err) {
    static const size_t usual[3] = {2, 1, 0};
    size_t masks = FILE_HEADER + INFO_HEADER;
    for (size_t i = 0; i < 3; i++) {
        out->place[i] = usual[i];
    }
    if (compression == PLAIN) {
        return 0;
    }
    bool known = (compression == MASKS || compression == MASKS_ALPHA) &&
                 out->bytes_per_pixel == 4 && size >= masks + 12;
    for (size_t i = 0; known && i < 3; i++) {
        known = mask_place(u32_at(bytes, masks + 4 * i), &out->place[i]);
    }
    return known ? 0
                 : err_set(err, ERR_INVALID,
                           "a BMP with compression %u, or with colours that are not whole bytes; "
                           "send one of 24 or 32 plain bits, a PNG or a JPEG",
                           compression);
}

static int header_read(const uint8_t *bytes, size_t size, struct bmp *out, struct err *err) {
    if (size < FILE_HEADER + INFO_HEADER) {
        return err_set(err, ERR_INVALID, "cut off BMP (%zu bytes)", size);
    }
    uint32_t start = u32_at(bytes, 10), header = u32_at(bytes, 14), bits = u16_at(bytes, 28);
    int32_t width = (int32_t)u32_at(bytes, 18), height = (int32_t)u32_at(bytes, 22);
    if (header < INFO_HEADER || header > size - FILE_HEADER || (bits != 24 && bits != 32)) {
        return err_set(err, ERR_INVALID,
                       "a BMP of %u bits with a header of %u bytes; 24 and 32 bits are known", bits,
                       header);
    }
    if (width <= 0 || height == 0 || height == INT32_MIN) {
        return err_set(err, ERR_INVALID, "damaged BMP: %d x %d pixels", width, height);
    }
    *out = (struct bmp){.width = (uint32_t)width,
                        .height = (uint32_t)(height < 0 ? -height : height),
                        .bottom_up = height > 0,
                        .bytes_per_pixel = bits / 8};
    out->stride = ((size_t)out->width * out->bytes_per_pixel + 3) / 4 * 4;
    if (start < FILE_HEADER + header || start > size ||
        (size - start) / out->stride < out->height) {
        return err_set(err, ERR_INVALID,
                       "damaged or cut off BMP (%zu bytes): %u x %u pixels do not fit in", size,
                       out->width, out->height);
    }
    out->pixels = bytes + start;
    return places_read(bytes, size, u32_at(bytes, 30), out, err);
}

static void row_read(const struct bmp *bmp, const uint8_t *from, uint8_t *rgb) {
    const size_t red = bmp->place[0], green = bmp->place[1], blue = bmp->place[2];
    for (uint32_t x = 0; x < bmp->width; x++) {
        rgb[0] = from[red];
        rgb[1] = from[green];
        rgb[2] = from[blue];
        rgb += 3;
        from += bmp->bytes_per_pixel;
    }
}

int image_bmp_decode(const uint8_t *bytes, size_t size, struct image_pixels *out, struct err *err) {
    struct bmp bmp = {0};
    int code = header_read(bytes, size, &bmp, err);
    if (code == 0) {
        code = image_pixels_reserve(out, bmp.width, bmp.height, 3, err);
    }
    for (uint32_t y = 0; code == 0 && y < bmp.height; y++) {
        size_t row = bmp.bottom_up ? bmp.height - 1 - y : y;
        row_read(&bmp, bmp.pixels + row * bmp.stride, out->rgb + (size_t)y * bmp.width * 3);
    }
    out->media = MEDIA_NONE;
    out->orientation = 1;
    return code;
}
