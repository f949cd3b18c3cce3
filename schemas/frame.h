/* The vocabulary of a frame: plain types and no code, so that every room may speak of a frame
 * without knowing another room. Units and bounds are part of the names' meaning and are given here
 * once. The bytes on disk are another matter: schemas/records.md has their layout.
 */
#ifndef CREEL_SCHEMAS_FRAME_H
#define CREEL_SCHEMAS_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAME_NAME_MAX       32  /* device, camera and rule names: [a-z0-9][a-z0-9-]{0,31} */
#define FRAME_LABEL_MAX      47  /* bytes of a class label */
#define FRAME_MODEL_NAME_MAX 63  /* bytes of a model's name, and of its version */
#define FRAME_DETECTIONS_MAX 512 /* detections kept of one frame, the most confident ones */
#define FRAME_BLOB_MAX       (64u << 20) /* bytes of one encoded frame */
#define FRAME_THUMB_MAX      (256u << 10)
#define FRAME_PIXELS_MAX     (64u * 1000 * 1000) /* width * height of a frame that is looked at */

enum frame_tier {
    TIER_ANNOTATED = 0,   /* every detection confident: evidence, for review */
    TIER_UNANNOTATED = 1, /* the model was unsure: for labeling and retraining */
    TIER_COUNT,
    TIER_NONE = 255, /* not kept */
};

enum frame_media { MEDIA_NONE = 0, MEDIA_JPEG = 1, MEDIA_PNG = 2 };

enum clock_state { CLOCK_UNSYNCHRONISED = 0, CLOCK_SYNCHRONISED = 1 };

struct frame_id { /* UUIDv7 (RFC 9562 5.7), made at capture */
    uint8_t bytes[16];
};

struct frame_hash { /* SHA-256 (FIPS 180-4) */
    uint8_t bytes[32];
};

struct clock_stamp {
    int64_t utc_us;  /* microseconds since 1970-01-01 UTC, as the clock said, right or wrong */
    int64_t boot_us; /* CLOCK_BOOTTIME */
    uint8_t boot_id[16];
    enum clock_state state;
};

struct frame_box { /* relative to the stored image: top-left corner and size, each in [0, 1] */
    double x, y, w, h;
};

struct frame_detection {
    struct frame_box box;
    float confidence;     /* [0, 1]: objectness * class probability */
    uint16_t class_index; /* line in the model's names file, from 0 */
    bool tag;             /* of a classifier: said of the whole frame, which is its box */
    char label[FRAME_LABEL_MAX + 1];
};

struct frame_quality {
    float luma_mean;   /* [0, 1] */
    float luma_stddev; /* [0, 0.5] */
    float sharpness;   /* variance of the Laplacian of luma on the thumbnail's grid, >= 0 */
};

/* Everything the log remembers of one frame, but for the blob itself. */
struct frame_record {
    struct frame_id id;
    struct clock_stamp captured;
    char camera[FRAME_NAME_MAX + 1];

    enum frame_media media;
    uint32_t width, height; /* pixels as stored, before EXIF orientation */
    uint8_t orientation;    /* EXIF 1..8; 1 where there is none */
    bool masked;            /* privacy masks were painted black before anything was stored */
    struct frame_hash blob; /* SHA-256 of the bytes that are stored (as they came in, but for raw
                               pixels, BMP, and what a camera's view turns or masks); set by the
                               store */
    uint64_t blob_bytes;

    struct frame_hash
        model; /* SHA-256 over the model's cfg, weights and names hashes, in that order */
    char model_name[FRAME_MODEL_NAME_MAX + 1];
    char model_version[FRAME_MODEL_NAME_MAX + 1];

    enum frame_tier tier;
    char rule[FRAME_NAME_MAX + 1]; /* the triage rule that kept it */
    double value;                  /* [0, 1]: what eviction and upload order go by */
    uint64_t phash; /* 64-bit perceptual hash (DCT of 32x32 luma, median threshold) */
    struct frame_quality quality;

    struct frame_detection *detections; /* most confident first, down to the floor; owner: see the
                                           struct that embeds this record */
    size_t detection_count;             /* at most FRAME_DETECTIONS_MAX */
};

#endif
