/* s3_list: ListObjectsV2 (AWS, "ListObjectsV2"): ascending by the bytes of the name, at most 1,000
 * a page, the next page by a token. Names come percent-encoded where the server can, so that none
 * is lost to XML. */
#include "daemon/base/clock.h"
#include "sync/listing.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void s3_list_ask(const struct listing_page *page, struct remote_ask *ask) {
    sync__ask_query(ask, "list-type", "2");
    sync__ask_query(ask, "encoding-type", "url");
    sync__ask_query(ask, "max-keys", "1000");
    sync__ask_query(ask, "prefix", page->prefix);
    if (page->marker[0] != '\0') {
        sync__ask_query(ask, "continuation-token", page->marker);
    }
}

struct reading {
    struct listing_page *page;
    char key[STORE_KEY_MAX * 3 + 1], etag[STORE_ETAG_MAX + 3];
    uint64_t bytes;
    int64_t modified_utc_us;
    bool too_long;
};

static void item_text(struct reading *reading, const char *name, const char *text) {
    if (strcmp(name, "Key") == 0) {
        reading->too_long = strlen(text) >= sizeof reading->key;
        snprintf(reading->key, sizeof reading->key, "%s", text);
    } else if (strcmp(name, "Size") == 0) {
        reading->bytes = strtoull(text, NULL, 10);
    } else if (strcmp(name, "ETag") == 0) {
        size_t quote = text[0] == '"';
        snprintf(reading->etag, sizeof reading->etag, "%.*s", (int)strcspn(text + quote, "\""),
                 text + quote);
    } else if (strcmp(name, "LastModified") == 0) {
        int64_t when = clock_parse_rfc3339(text);
        reading->modified_utc_us = when > 0 ? when : 0;
    }
}

static void on_text(void *ctx, bool item, const char *name, const char *text, bool encoded) {
    struct reading *reading = ctx;
    (void)encoded;
    if (item) {
        item_text(reading, name, text);
    } else if (strcmp(name, "IsTruncated") == 0) {
        reading->page->more = strcmp(text, "true") == 0;
    } else if (strcmp(name, "NextContinuationToken") == 0) {
        snprintf(reading->page->marker, sizeof reading->page->marker, "%s", text);
    }
}

static int on_item(void *ctx) {
    struct reading *reading = ctx;
    sync__listing_decode(reading->key, true);
    struct listing_entry *entry =
        reading->too_long ? NULL : sync__listing_add(reading->page, reading->key, reading->etag);
    if (entry == NULL) {
        return -1;
    }
    entry->bytes = reading->bytes;
    entry->modified_utc_us = reading->modified_utc_us;
    sync__listing_md5(reading->etag, entry->md5);
    *reading = (struct reading){.page = reading->page};
    return 0;
}

static int s3_list_read(struct listing_page *page, const struct http_reply *reply,
                        struct err *err) {
    struct reading reading = {.page = page};
    char before[LISTING_MARKER_MAX + 1];
    memcpy(before, page->marker, sizeof before);
    const struct listing_fields fields = {
        .item = "Contents", .text = on_text, .end = on_item, .ctx = &reading};
    int code = sync__listing_parse(&reply->body, "ListBucketResult", &fields, err);
    if (code == 0 && page->more && strcmp(before, page->marker) == 0) {
        code = err_set(err, ERR_NET, "the server says that there is more, and not where");
    }
    return code;
}

const struct listing_ops sync__s3_listing = {
    .right = "s3:ListBucket on the bucket", .ask = s3_list_ask, .read = s3_list_read};
