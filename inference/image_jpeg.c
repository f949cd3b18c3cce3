/* The few facts of a JPEG that the library does not tell: its EXIF orientation, and whether it has
 * an end. Bounded by `size` everywhere: each reader checks what is left before it looks. */
#include "inference/image_decode.h"
#include <string.h>

enum {
    MARKER_TEM = 0x01,
    MARKER_RST0 = 0xd0,
    MARKER_SOI = 0xd8,
    MARKER_EOI = 0xd9,
    MARKER_SOS = 0xda,
    MARKER_APP1 = 0xe1,
    TAG_ORIENTATION = 0x0112,
    TIFF_SHORT = 3,
    TIFF_ENTRY_SIZE = 12,
};

struct segment {
    uint8_t marker;
    size_t at;   /* of the payload */
    size_t size; /* of the payload */
};

/* The segment whose 0xff is at or after `*at`; `*at` moves behind it. False at the end or where the
 * bytes are not a marker. */
static bool next_segment(const uint8_t *bytes, size_t size, size_t *at, struct segment *out) {
    size_t pos = *at;
    if (pos >= size || bytes[pos] != 0xff) {
        return false;
    }
    while (pos < size && bytes[pos] == 0xff) { /* fill bytes */
        pos++;
    }
    if (pos >= size) {
        return false;
    }
    *out = (struct segment){.marker = bytes[pos], .at = pos + 1};
    pos++;
    if (out->marker == MARKER_TEM || (out->marker >= MARKER_RST0 && out->marker <= MARKER_SOI)) {
        *at = pos;
        return true;
    }
    if (size - pos < 2) {
        return false;
    }
    size_t length = (size_t)bytes[pos] << 8 | bytes[pos + 1];
    if (length < 2 || length > size - pos) {
        return false;
    }
    out->at = pos + 2;
    out->size = length - 2;
    *at = pos + length;
    return true;
}

struct tiff {
    const uint8_t *bytes;
    size_t size;
    bool big;
};

static bool tiff_u16(const struct tiff *tiff, size_t at, uint32_t *out) {
    if (at > tiff->size || tiff->size - at < 2) {
        return false;
    }
    const uint8_t *p = tiff->bytes + at;
    *out = tiff->big ? (uint32_t)p[0] << 8 | p[1] : (uint32_t)p[1] << 8 | p[0];
    return true;
}

static bool tiff_u32(const struct tiff *tiff, size_t at, uint32_t *out) {
    uint32_t first = 0, second = 0;
    if (!tiff_u16(tiff, at, &first) || !tiff_u16(tiff, at + 2, &second)) {
        return false;
    }
    *out = tiff->big ? first << 16 | second : second << 16 | first;
    return true;
}

static uint8_t tiff_orientation(const uint8_t *bytes, size_t size) {
    struct tiff tiff = {.bytes = bytes, .size = size};
    if (size < 8 || (memcmp(bytes, "II*\0", 4) != 0 && memcmp(bytes, "MM\0*", 4) != 0)) {
        return 0;
    }
    tiff.big = bytes[0] == 'M';
    uint32_t directory = 0, count = 0;
    if (!tiff_u32(&tiff, 4, &directory) || !tiff_u16(&tiff, directory, &count)) {
        return 0;
    }
    for (uint32_t i = 0; i < count; i++) {
        size_t at = (size_t)directory + 2 + (size_t)i * TIFF_ENTRY_SIZE;
        uint32_t tag = 0, type = 0, value = 0;
        if (!tiff_u16(&tiff, at, &tag) || !tiff_u16(&tiff, at + 2, &type) ||
            !tiff_u16(&tiff, at + 8, &value)) {
            return 0;
        }
        if (tag == TAG_ORIENTATION) {
            return type == TIFF_SHORT && value >= 1 && value <= 8 ? (uint8_t)value : 0;
        }
    }
    return 0;
}

uint8_t image_jpeg_orientation(const uint8_t *bytes, size_t size) {
    static const char exif[6] = "Exif\0";
    struct segment segment;
    size_t at = 0;
    while (next_segment(bytes, size, &at, &segment) && segment.marker != MARKER_SOS) {
        if (segment.marker == MARKER_APP1 && segment.size > sizeof(exif) &&
            memcmp(bytes + segment.at, exif, sizeof(exif)) == 0) {
            uint8_t found =
                tiff_orientation(bytes + segment.at + sizeof(exif), segment.size - sizeof(exif));
            return found != 0 ? found : 1;
        }
    }
    return 1;
}

bool image_jpeg_has_end(const uint8_t *bytes, size_t size) {
    struct segment segment;
    size_t at = 0;
    do { /* past the tables and the thumbnail, whose own end does not count */
        if (!next_segment(bytes, size, &at, &segment)) {
            return false;
        }
    } while (segment.marker != MARKER_SOS);
    for (size_t i = size; i >= at + 2; i--) {
        if (bytes[i - 2] == 0xff && bytes[i - 1] == MARKER_EOI) {
            return true;
        }
    }
    return false;
}
