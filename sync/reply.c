#include "sync/reply.h"
#include "daemon/base/clock.h"
#include "daemon/base/mem.h"
#include <ctype.h>
#include <expat.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

void sync__reply_init(struct http_reply *reply, size_t body_max) {
    *reply = (struct http_reply){.content_length = -1};
    reply->body.max = body_max > 0 ? body_max : REPLY_BODY_MAX;
}

void sync__reply_finish(struct http_reply *reply) {
    if (reply->body.data != NULL) {
        explicit_bzero(reply->body.data, reply->body.len); /* it may be a token */
    }
    buf_finish(&reply->body);
}

/* ---- the head ---- */

static const struct {
    const char *name;
    size_t at, room;
} captures[] = {
#define CAPTURE(name, field)                                                                       \
    { name, offsetof(struct http_reply, field), sizeof((struct http_reply *)0)->field }
    CAPTURE("etag", etag),
    CAPTURE("content-md5", md5),
    CAPTURE("x-ms-error-code", error_code),
    CAPTURE("x-ms-meta-sha256", sha256),
    CAPTURE("x-amz-meta-sha256", sha256),
    CAPTURE("x-amz-checksum-sha256", checksum),
    CAPTURE("x-ms-content-crc64", checksum),
    CAPTURE("x-amz-bucket-region", region),
    CAPTURE("retry-after", retry_after),
    CAPTURE("www-authenticate", challenge),
    CAPTURE("x-amz-transition-default-minimum-object-size", transition),
#undef CAPTURE
};

static void head_reset(struct http_reply *reply) {
    for (size_t i = 0; i < ARRAY_LENGTH(captures); i++) {
        *((char *)reply + captures[i].at) = '\0';
    }
    reply->content_length = -1;
    reply->date_utc_us = 0;
}

static void capture(struct http_reply *reply, const char *name, const char *value, size_t length) {
    for (size_t i = 0; i < ARRAY_LENGTH(captures); i++) {
        if (strcasecmp(name, captures[i].name) == 0 && length < captures[i].room) {
            char *field = (char *)reply + captures[i].at;
            memcpy(field, value, length);
            field[length] = '\0';
        }
    }
}

static void etag_strip(char *etag) {
    size_t begin = strncmp(etag, "W/", 2) == 0 ? 2 : 0, length = strlen(etag);
    if (length >= begin + 2 && etag[begin] == '"' && etag[length - 1] == '"') {
        memmove(etag, etag + begin + 1, length - begin - 2);
        etag[length - begin - 2] = '\0';
    }
}

static void head_field(struct http_reply *reply, const char *name, const char *value,
                       size_t length) {
    char text[64];
    capture(reply, name, value, length);
    if (length >= sizeof text) {
        return;
    }
    memcpy(text, value, length);
    text[length] = '\0';
    if (strcasecmp(name, "etag") == 0) {
        etag_strip(reply->etag);
    } else if (strcasecmp(name, "content-length") == 0 && isdigit((unsigned char)text[0])) {
        reply->content_length = strtoll(text, NULL, 10);
    } else if (strcasecmp(name, "date") == 0) {
        int64_t date = clock_parse_http(text);
        reply->date_utc_us = date > 0 ? date : 0;
    }
}

void sync__reply_line(struct http_reply *reply, const char *line, size_t length) {
    while (length > 0 && isspace((unsigned char)line[length - 1])) {
        length--;
    }
    if (length >= 5 && memcmp(line, "HTTP/", 5) == 0) {
        head_reset(reply);
        return;
    }
    const char *colon = memchr(line, ':', length);
    char name[64];
    size_t name_length = colon != NULL ? (size_t)(colon - line) : 0;
    if (name_length == 0 || name_length >= sizeof name) {
        return;
    }
    memcpy(name, line, name_length);
    name[name_length] = '\0';
    const char *value = colon + 1, *end = line + length;
    while (value < end && (*value == ' ' || *value == '\t')) {
        value++;
    }
    head_field(reply, name, value, (size_t)(end - value));
}

int sync__retry_after_parse(const char *text, int64_t now_utc_us) {
    if (isdigit((unsigned char)text[0])) {
        char *end = NULL;
        long long seconds = strtoll(text, &end, 10);
        if (*end != '\0') {
            return 0;
        }
        return seconds < REPLY_RETRY_AFTER_MS / 1000 ? (int)seconds * 1000 : REPLY_RETRY_AFTER_MS;
    }
    int64_t date = clock_parse_http(text);
    if (date <= 0 || date <= now_utc_us) {
        return 0;
    }
    int64_t wait_ms = (date - now_utc_us) / 1000;
    return wait_ms < REPLY_RETRY_AFTER_MS ? (int)wait_ms : REPLY_RETRY_AFTER_MS;
}

void sync__reply_settle(struct http_reply *reply, int64_t now_utc_us) {
    if (reply->retry_after[0] != '\0') {
        /* A date is by the server's clock; its own Date header makes it a span. */
        int64_t now = reply->date_utc_us != 0 ? reply->date_utc_us : now_utc_us;
        reply->retry_after_ms = sync__retry_after_parse(reply->retry_after, now);
    }
    if (reply->status >= 300) {
        sync__reply_read_xml(reply);
    }
    sync__redact(reply->message);
}

/* ---- error documents ---- */

struct reading {
    XML_Parser parser;
    struct http_reply *reply;
    int depth;
    char *field; /* where the text of the present element goes; NULL: nowhere */
    size_t room, used;
};

static const struct {
    const char *element;
    size_t at, room;
} elements[] = {
    {"Code", offsetof(struct http_reply, error_code), sizeof((struct http_reply *)0)->error_code},
    {"Message", offsetof(struct http_reply, message), sizeof((struct http_reply *)0)->message},
    {"Region", offsetof(struct http_reply, region), sizeof((struct http_reply *)0)->region},
};

static void on_start(void *ctx, const XML_Char *name, const XML_Char **attributes) {
    struct reading *reading = ctx;
    (void)attributes;
    reading->depth++;
    reading->field = NULL;
    if (reading->depth != 2) {
        return;
    }
    for (size_t i = 0; i < ARRAY_LENGTH(elements); i++) {
        char *field = (char *)reading->reply + elements[i].at;
        if (strcmp(name, elements[i].element) == 0 && *field == '\0') {
            reading->field = field;
            reading->room = elements[i].room;
            reading->used = 0;
        }
    }
}

static void on_end(void *ctx, const XML_Char *name) {
    struct reading *reading = ctx;
    (void)name;
    reading->depth--;
    reading->field = NULL;
}

static void on_text(void *ctx, const XML_Char *text, int length) {
    struct reading *reading = ctx;
    for (int i = 0; reading->field != NULL && i < length; i++) {
        if (text[i] == '\n' || text[i] == '\r') { /* what follows is request ids and times */
            reading->field = NULL;
        } else if (reading->used + 1 < reading->room && !iscntrl((unsigned char)text[i])) {
            reading->field[reading->used++] = text[i];
            reading->field[reading->used] = '\0';
        }
    }
}

static void on_doctype(void *ctx, const XML_Char *name, const XML_Char *system,
                       const XML_Char *public_id, int has_subset) {
    (void)name, (void)system, (void)public_id, (void)has_subset;
    struct reading *reading = ctx;
    XML_StopParser(reading->parser,
                   XML_FALSE); /* no error document has one; entities could be made to explode */
}

void sync__reply_read_xml(struct http_reply *reply) {
    if (reply->body.len == 0 || reply->body.len > INT_MAX) {
        return;
    }
    XML_Parser parser = XML_ParserCreate(NULL);
    if (parser == NULL) {
        return;
    }
    struct reading reading = {.parser = parser, .reply = reply};
    XML_SetUserData(parser, &reading);
    XML_SetElementHandler(parser, on_start, on_end);
    XML_SetCharacterDataHandler(parser, on_text);
    XML_SetStartDoctypeDeclHandler(parser, on_doctype);
    /* What was read before a fault in the document still helps, so the result is not asked for. */
    (void)XML_Parse(parser, reply->body.data, (int)reply->body.len, 1);
    XML_ParserFree(parser);
}

void sync__redact(char *text) {
    static const char *const names[] = {"sig=", "Signature=", "Credential=", "Security-Token="};
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        for (char *at = strcasestr(text, names[i]); at != NULL; at = strcasestr(at, names[i])) {
            at += strlen(names[i]);
            size_t length = strcspn(at, "& \t\"'<>,;");
            memset(at, '*', length);
        }
    }
}
