#include "sync/parts.h"
#include "daemon/base/mem.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TAGS_MAX      10 /* of one object, in both clouds */
#define TAG_NAME_MAX  128
#define TAG_VALUE_MAX 256

bool sync__parts_wanted(const struct parts_limits *limits, size_t size) {
    return size > (limits->above > 0 ? limits->above : PARTS_ABOVE);
}

struct parts *sync__parts_create(const uint8_t *bytes, size_t size,
                                 const struct parts_limits *limits) {
    struct parts *parts = mem_alloc(sizeof *parts);
    if (parts == NULL) {
        return NULL;
    }
    size_t least = size / PARTS_MAX + 1;
    parts->part_bytes = limits->part_bytes > 0 ? limits->part_bytes : PARTS_BYTES;
    parts->part_bytes = parts->part_bytes < least ? least : parts->part_bytes;
    parts->count = (size + parts->part_bytes - 1) / parts->part_bytes;
    parts->body = (struct buf)BUF_INIT(PARTS_LIST_BODY_MAX * 2);
    parts->all = mem_alloc(parts->count * sizeof parts->all[0]); /* at most PARTS_MAX */
    if (parts->all == NULL) {
        free(parts);
        return NULL;
    }
    for (size_t i = 0; i < parts->count; i++) {
        hash_md5(bytes + sync__parts_at(parts, i), sync__parts_size(parts, i, size),
                 parts->all[i].md5);
    }
    return parts;
}

void sync__parts_destroy(struct parts *parts) {
    if (parts != NULL) {
        buf_finish(&parts->body);
        free(parts->all);
        free(parts);
    }
}

size_t sync__parts_next(const struct parts *parts) {
    size_t i = 0;
    while (i < parts->count && parts->all[i].there) {
        i++;
    }
    return i;
}

size_t sync__parts_at(const struct parts *parts, size_t index) {
    return parts->part_bytes * index;
}

size_t sync__parts_size(const struct parts *parts, size_t index, size_t object_size) {
    size_t left = object_size - sync__parts_at(parts, index);
    return left < parts->part_bytes ? left : parts->part_bytes;
}

const struct frame_hash *sync__parts_sha256(struct parts *parts, size_t index,
                                            const uint8_t *object, size_t object_size) {
    struct part *part = &parts->all[index];
    if (!part->hashed) {
        hash_sha256(object + sync__parts_at(parts, index),
                    sync__parts_size(parts, index, object_size), &part->sha256);
        part->hashed = true;
    }
    return &part->sha256;
}

void sync__parts_forget(struct parts *parts) {
    parts->upload[0] = '\0';
    parts->unproved = false;
    for (size_t i = 0; i < parts->count; i++) {
        parts->all[i].there = false;
    }
}

char *sync__parts_block_id(const struct parts *parts, size_t index, char out[PARTS_BLOCK_ID_SIZE]) {
    char md5[HASH_MD5_SIZE * 2 + 1], id[49];
    hash_hex(parts->all[index].md5, HASH_MD5_SIZE, md5);
    snprintf(id, sizeof id, "creel-%05zu-md5-%s", index, md5);
    return hash_base64(id, strlen(id), out);
}

size_t sync__parts_block_find(const struct parts *parts, const char *id) {
    char text[49], ours[PARTS_BLOCK_ID_SIZE];
    size_t size = 0, index = parts->count;
    if (strlen(id) + 1 != PARTS_BLOCK_ID_SIZE || !hash_parse_base64(id, text, 48, &size)) {
        return parts->count;
    }
    text[size] = '\0';
    bool shaped = sscanf(text, "creel-%5zu-md5-", &index) == 1 && index < parts->count;
    return shaped && strcmp(sync__parts_block_id(parts, index, ours), id) == 0 ? index
                                                                               : parts->count;
}

/* ---- tags ---- */

static bool tag_text_is_valid(const char *text, size_t length, size_t most) {
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                  " +-./:_"; /* what both clouds take, but for '=' */
    return length <= most && strspn(text, allowed) >= length;
}

static void put_encoded(struct buf *out, const char *text, size_t length) {
    char copy[TAG_VALUE_MAX + 1];
    memcpy(copy, text, length);
    copy[length] = '\0';
    buf_puts_url(out, copy, false);
}

/* What is wrong with it; NULL: nothing. */
static const char *tags_encode(const char *text, struct buf *out) {
    size_t count = 0;
    for (const char *at = text; *at != '\0';) {
        size_t length = strcspn(at, ","), name = strcspn(at, "=");
        if (name == 0 || name >= length) {
            return "must be name=value, with a comma between two";
        }
        if (!tag_text_is_valid(at, name, TAG_NAME_MAX) ||
            !tag_text_is_valid(at + name + 1, length - name - 1, TAG_VALUE_MAX)) {
            return "holds a name or a value that the clouds do not take (up to 128 and 256 "
                   "letters, digits, spaces and +-./:_)";
        }
        if (++count > TAGS_MAX) {
            return "has more than 10 tags";
        }
        buf_puts(out, count > 1 ? "&" : "");
        put_encoded(out, at, name);
        buf_puts(out, "=");
        put_encoded(out, at + name + 1, length - name - 1);
        at += length + (at[length] == ',');
    }
    return NULL;
}

int sync__tags_set(const char *text, char out[PARTS_TAGS_MAX + 1], struct err *err) {
    CLEANUP(buf_finish) struct buf encoded = BUF_INIT(PARTS_TAGS_MAX);
    out[0] = '\0';
    if (text == NULL || text[0] == '\0') {
        return 0;
    }
    const char *wrong = tags_encode(text, &encoded);
    if (wrong == NULL && encoded.failed) {
        wrong = "is too long";
    }
    if (wrong != NULL) {
        return err_set(err, ERR_CONFIG, "object_tags: \"%.64s\" %s", text, wrong);
    }
    memcpy(out, encoded.data, encoded.len + 1);
    return 0;
}
