#include "sync/listing.h"
#include "daemon/base/clock.h"
#include "daemon/base/mem.h"
#include <ctype.h>
#include <expat.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct listing {
    struct asker *asker;
    struct listing_page page;
    size_t next;
    bool begun;
    char last[STORE_KEY_MAX + 1];
    int64_t server_utc_us;
};

int sync__listing_open(struct asker *asker, enum frame_tier tier, const char *prefix,
                       struct listing **out, struct err *err) {
    struct listing *listing = mem_alloc(sizeof *listing);
    if (listing == NULL) {
        return err_set(err, ERR_NOMEM, "no memory to list a remote");
    }
    listing->asker = asker;
    listing->page.tier = tier;
    listing->page.texts = (struct buf)BUF_INIT(LISTING_TEXTS_MAX);
    int length = snprintf(listing->page.prefix, sizeof listing->page.prefix, "%s%s",
                          asker->remote->prefix, prefix);
    if (length < 0 || (size_t)length >= sizeof listing->page.prefix) {
        free(listing);
        return err_set(err, ERR_INVALID, "a prefix of more than %d bytes", STORE_KEY_MAX);
    }
    *out = listing;
    return 0;
}

void sync__listing_close(struct listing *listing) {
    if (listing != NULL) {
        buf_finish(&listing->page.texts);
        free(listing);
    }
}

int64_t sync__listing_server_utc_us(const struct listing *listing) {
    return listing->server_utc_us;
}

/* ---- pages ---- */

static int page_over_http(struct listing *listing, struct err *err) {
    struct listing_page *page = &listing->page;
    const struct listing_ops *ops = listing->asker->remote->ops->listing;
    struct http_reply reply;
    struct remote_ask ask = {.method = "GET",
                             .tier = page->tier,
                             .reply_max = LISTING_BYTES_MAX,
                             .doing = "listing",
                             .right = ops->right};
    ops->ask(page, &ask);
    int code = sync__asker_call(listing->asker, &ask, &reply, err);
    if (code == 0) {
        listing->server_utc_us = reply.date_utc_us;
        code = ops->read(page, &reply, err);
        sync__reply_finish(&reply);
    }
    return code;
}

static bool no_container(const struct err *err) {
    return err->http_status == 404 &&
           (strstr(err->msg, "ContainerNotFound") != NULL ||
            strstr(err->cause, "ContainerNotFound") != NULL ||
            strstr(err->msg, "NoSuchBucket") != NULL || strstr(err->cause, "NoSuchBucket") != NULL);
}

static int page_next(struct listing *listing, struct err *err) {
    struct listing_page *page = &listing->page;
    struct remote *remote = listing->asker->remote;
    struct err own = {0};
    err = err != NULL ? err : &own;
    page->count = 0;
    page->more = false;
    buf_reset(&page->texts);
    listing->next = 0;
    int code = remote->ops->listing->list != NULL ? remote->ops->listing->list(remote, page, err)
                                                  : page_over_http(listing, err);
    if (code != 0 && no_container(err)) { /* nothing was ever stored in this tier */
        return 0;
    }
    return code == 0 && page->texts.failed ? err_set(err, ERR_NOMEM, "no memory to list a remote")
                                           : code;
}

int sync__listing_next(struct listing *listing, struct listed *out, struct err *err) {
    struct listing_page *page = &listing->page;
    const struct remote *remote = listing->asker->remote;
    while (listing->next == page->count) {
        if (listing->begun && !page->more) {
            return err_set(err, ERR_NOT_FOUND, "that was all");
        }
        listing->begun = true;
        int code = page_next(listing, err);
        if (code != 0) {
            return code;
        }
    }
    const struct listing_entry *entry = &page->entries[listing->next++];
    const char *name = page->texts.data + entry->key;
    if (strncmp(name, page->prefix, strlen(page->prefix)) != 0 ||
        strcmp(name, listing->last) <= 0 || strlen(name) > STORE_KEY_MAX) {
        return err_set(err, ERR_NET,
                       "remote %s does not list by the order of names (%.80s came after %.80s)",
                       remote->name, name, listing->last);
    }
    snprintf(listing->last, sizeof listing->last, "%s", name);
    *out = (struct listed){.key = name + strlen(remote->prefix),
                           .bytes = entry->bytes,
                           .modified_utc_us = entry->modified_utc_us};
    memcpy(out->md5, entry->md5, sizeof out->md5);
    snprintf(out->etag, sizeof out->etag, "%s", page->texts.data + entry->etag);
    return 0;
}

struct listing_entry *sync__listing_add(struct listing_page *page, const char *name,
                                        const char *etag) {
    if (page->count == LISTING_PAGE_MAX) {
        return NULL;
    }
    struct listing_entry *entry = &page->entries[page->count];
    *entry = (struct listing_entry){.key = page->texts.len};
    buf_append(&page->texts, name, strlen(name) + 1);
    entry->etag = page->texts.len;
    buf_append(&page->texts, etag, strlen(etag) + 1);
    if (page->texts.failed) {
        return NULL;
    }
    page->count++;
    return entry;
}

/* ---- XML ---- */

struct parse {
    XML_Parser parser;
    const char *root;
    const struct listing_fields *fields;
    struct buf text;
    char name[32];
    int depth, item_depth; /* 0: in no item */
    bool encoded, rooted, stopped;
};

static void on_start(void *ctx, const XML_Char *name, const XML_Char **attributes) {
    struct parse *parse = ctx;
    parse->depth++;
    parse->rooted = parse->rooted || (parse->depth == 1 && strcmp(name, parse->root) == 0);
    if (parse->item_depth == 0 && strcmp(name, parse->fields->item) == 0) {
        parse->item_depth = parse->depth;
    }
    buf_reset(&parse->text);
    parse->encoded = false;
    for (size_t i = 0; attributes[i] != NULL; i += 2) {
        parse->encoded = parse->encoded || (strcmp(attributes[i], "Encoded") == 0 &&
                                            strcmp(attributes[i + 1], "true") == 0);
    }
    snprintf(parse->name, sizeof parse->name, "%s", name);
}

static void on_end(void *ctx, const XML_Char *name) {
    struct parse *parse = ctx;
    if (parse->stopped) {
        return;
    }
    if (strcmp(name, parse->name) == 0 && (parse->item_depth > 0 || parse->depth == 2)) {
        parse->fields->text(parse->fields->ctx, parse->item_depth > 0, name,
                            parse->text.len > 0 ? parse->text.data : "", parse->encoded);
    }
    if (parse->depth == parse->item_depth) {
        parse->item_depth = 0;
        if (parse->fields->end != NULL && parse->fields->end(parse->fields->ctx) != 0) {
            parse->stopped = true;
            XML_StopParser(parse->parser, XML_FALSE);
        }
    }
    parse->name[0] = '\0'; /* what follows is the parent's */
    parse->depth--;
}

static void on_text(void *ctx, const XML_Char *text, int length) {
    struct parse *parse = ctx;
    if (parse->name[0] != '\0') {
        buf_append(&parse->text, text, (size_t)length);
    }
}

static void on_doctype(void *ctx, const XML_Char *name, const XML_Char *system,
                       const XML_Char *public_id, int has_subset) {
    struct parse *parse = ctx;
    (void)name, (void)system, (void)public_id, (void)has_subset;
    parse->stopped = true; /* entities could be made to explode */
    XML_StopParser(parse->parser, XML_FALSE);
}

int sync__listing_parse(const struct buf *body, const char *root,
                        const struct listing_fields *fields, struct err *err) {
    struct parse parse = {.parser = XML_ParserCreate(NULL),
                          .root = root,
                          .fields = fields,
                          .text = BUF_INIT(64u << 10)};
    if (parse.parser == NULL) {
        return err_set(err, ERR_NOMEM, "no memory to read a listing");
    }
    XML_SetUserData(parse.parser, &parse);
    XML_SetElementHandler(parse.parser, on_start, on_end);
    XML_SetCharacterDataHandler(parse.parser, on_text);
    XML_SetStartDoctypeDeclHandler(parse.parser, on_doctype);
    bool whole = body->len > 0 && body->len <= INT_MAX &&
                 XML_Parse(parse.parser, body->data, (int)body->len, 1) == XML_STATUS_OK;
    XML_ParserFree(parse.parser);
    buf_finish(&parse.text);
    return whole && parse.rooted && !parse.stopped
               ? 0
               : err_set(err, ERR_NET, "the server's answer is no <%s>", root);
}

/* ---- texts ---- */

static int hex_value(char digit) {
    static const char digits[] = "0123456789abcdef";
    const char *at = digit != '\0' ? strchr(digits, tolower((unsigned char)digit)) : NULL;
    return at != NULL ? (int)(at - digits) : -1;
}

void sync__listing_decode(char *text, bool plus) {
    char *to = text;
    for (const char *from = text; *from != '\0'; from++) {
        int high = from[0] == '%' ? hex_value(from[1]) : -1;
        int low = high >= 0 ? hex_value(from[2]) : -1;
        if (low >= 0) {
            *to++ = (char)(high * 16 + low);
            from += 2;
        } else {
            *to++ = *from == '+' && plus ? ' ' : *from;
        }
    }
    *to = '\0';
}

void sync__listing_md5(const char *text, char out[HASH_MD5_SIZE * 2 + 1]) {
    uint8_t md5[HASH_MD5_SIZE];
    size_t size = 0;
    bool known = hash_parse_hex(text, md5, sizeof md5) ||
                 (hash_parse_base64(text, md5, sizeof md5, &size) && size == sizeof md5);
    out[0] = '\0';
    if (known) {
        hash_hex(md5, sizeof md5, out);
    }
}
