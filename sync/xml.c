#include "sync/xml.h"
#include <expat.h>
#include <limits.h>
#include <string.h>

struct walk {
    XML_Parser parser;
    const char *root;
    sync__xml_fn *each;
    void *ctx;
    unsigned depth;
    size_t ends[XML_DEPTH_MAX + 1]; /* of the path at each depth */
    char path[XML_PATH_MAX];
    char text[XML_TEXT_MAX + 1];
    size_t used;
    bool failed, enough;
};

static void stop(struct walk *walk, bool failed) {
    walk->failed = walk->failed || failed;
    XML_StopParser(walk->parser, XML_FALSE);
}

static void on_start(void *ctx, const XML_Char *name, const XML_Char **attributes) {
    struct walk *walk = ctx;
    (void)attributes;
    walk->used = 0;
    if (walk->depth == 0) {
        if (walk->root != NULL && strcmp(name, walk->root) != 0) {
            stop(walk, true);
            return;
        }
        walk->ends[walk->depth++] = 0;
        return;
    }
    size_t at = walk->ends[walk->depth - 1], length = strlen(name);
    if (walk->depth > XML_DEPTH_MAX || at + length + 2 > sizeof walk->path) {
        stop(walk, true);
        return;
    }
    if (at > 0) {
        walk->path[at++] = '/';
    }
    memcpy(walk->path + at, name, length + 1);
    walk->ends[walk->depth++] = at + length;
}

static void on_end(void *ctx, const XML_Char *name) {
    struct walk *walk = ctx;
    (void)name;
    if (walk->failed || walk->enough) {
        return; /* expat ends the element it was stopped in */
    }
    walk->text[walk->used] = '\0';
    walk->used = 0;
    if (!walk->each(walk->ctx, walk->path, walk->text)) {
        walk->enough = true;
        stop(walk, false);
        return;
    }
    walk->depth--;
    walk->path[walk->depth > 0 ? walk->ends[walk->depth - 1] : 0] = '\0';
}

static void on_text(void *ctx, const XML_Char *text, int length) {
    struct walk *walk = ctx;
    size_t size = (size_t)length;
    if (walk->used + size > XML_TEXT_MAX) {
        stop(walk, true);
        return;
    }
    memcpy(walk->text + walk->used, text, size);
    walk->used += size;
}

static void on_doctype(void *ctx, const XML_Char *name, const XML_Char *system,
                       const XML_Char *public_id, int has_subset) {
    (void)name, (void)system, (void)public_id, (void)has_subset;
    stop(ctx, true);
}

bool sync__xml_read(const char *text, size_t size, const char *root, sync__xml_fn *each,
                    void *ctx) {
    struct walk walk = {.root = root, .each = each, .ctx = ctx};
    if (size == 0 || size > INT_MAX) {
        return false;
    }
    walk.parser = XML_ParserCreate(NULL);
    if (walk.parser == NULL) {
        return false;
    }
    XML_SetUserData(walk.parser, &walk);
    XML_SetElementHandler(walk.parser, on_start, on_end);
    XML_SetCharacterDataHandler(walk.parser, on_text);
    XML_SetStartDoctypeDeclHandler(walk.parser, on_doctype);
    bool whole = XML_Parse(walk.parser, text, (int)size, 1) == XML_STATUS_OK;
    XML_ParserFree(walk.parser);
    return !walk.failed && (whole || walk.enough);
}
