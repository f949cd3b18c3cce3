/* azure_list: List Blobs (Microsoft, "List Blobs"): ascending by name, the next page by a marker.
 * The Etag comes without quotes here, as a receipt has it. */
#include "daemon/base/clock.h"
#include "sync/listing.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static void azure_list_ask(const struct listing_page *page, struct remote_ask *ask) {
    sync__ask_query(ask, "restype", "container");
    sync__ask_query(ask, "comp", "list");
    sync__ask_query(ask, "maxresults", "1000");
    sync__ask_query(ask, "prefix", page->prefix);
    if (page->marker[0] != '\0') {
        sync__ask_query(ask, "marker", page->marker);
    }
}

struct reading {
    struct listing_page *page;
    char name[STORE_KEY_MAX * 3 + 1], etag[STORE_ETAG_MAX + 1], md5[64];
    uint64_t bytes;
    int64_t modified_utc_us;
    bool encoded, too_long;
};

static void etag_take(struct reading *reading, const char *text) {
    size_t quote = text[0] == '"';
    snprintf(reading->etag, sizeof reading->etag, "%.*s", (int)strcspn(text + quote, "\""),
             text + quote);
}

static void item_text(struct reading *reading, const char *name, const char *text, bool encoded) {
    if (strcmp(name, "Name") == 0) {
        reading->too_long = strlen(text) >= sizeof reading->name;
        reading->encoded = encoded;
        snprintf(reading->name, sizeof reading->name, "%s", text);
    } else if (strcmp(name, "Content-Length") == 0) {
        reading->bytes = strtoull(text, NULL, 10);
    } else if (strcasecmp(name, "Etag") == 0) {
        etag_take(reading, text);
    } else if (strcmp(name, "Content-MD5") == 0) {
        snprintf(reading->md5, sizeof reading->md5, "%s", text);
    } else if (strcmp(name, "Last-Modified") == 0) {
        int64_t when = clock_parse_http(text);
        reading->modified_utc_us = when > 0 ? when : 0;
    }
}

static void on_text(void *ctx, bool item, const char *name, const char *text, bool encoded) {
    struct reading *reading = ctx;
    if (item) {
        item_text(reading, name, text, encoded);
    } else if (strcmp(name, "NextMarker") == 0) {
        snprintf(reading->page->marker, sizeof reading->page->marker, "%s", text);
        reading->page->more = text[0] != '\0';
    }
}

static int on_item(void *ctx) {
    struct reading *reading = ctx;
    if (reading->encoded) {
        sync__listing_decode(reading->name, false);
    }
    struct listing_entry *entry =
        reading->too_long ? NULL : sync__listing_add(reading->page, reading->name, reading->etag);
    if (entry == NULL) {
        return -1;
    }
    entry->bytes = reading->bytes;
    entry->modified_utc_us = reading->modified_utc_us;
    sync__listing_md5(reading->md5, entry->md5);
    *reading = (struct reading){.page = reading->page};
    return 0;
}

static int azure_list_read(struct listing_page *page, const struct http_reply *reply,
                           struct err *err) {
    struct reading reading = {.page = page};
    const struct listing_fields fields = {
        .item = "Blob", .text = on_text, .end = on_item, .ctx = &reading};
    page->more = false;
    return sync__listing_parse(&reply->body, "EnumerationResults", &fields, err);
}

const struct listing_ops sync__azure_listing = {
    .right =
        "to list (a SAS of the container with sp=l, or a role such as Storage Blob Data Reader)",
    .ask = azure_list_ask,
    .read = azure_list_read};
