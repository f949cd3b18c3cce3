/* lifecycle: the rules of a bucket, merged by their ids.
 *
 *   GET ?lifecycle --> rules as they came, byte for byte --+
 *   the tiers' ttl --> rules of ours ----------------------+--> PUT ?lifecycle --> GET, compare
 * Invariants:
 *   1. A rule that is not ours is written back as the very bytes it came in, and so is the bucket's
 *      setting for transitions, which a PUT without its header would put back to the default.
 *   2. Ours are those whose id is exactly one that this remote gives: other prefixes' are foreign.
 *   3. What was written is read back; a rule that lost or changed something is said.
 * A document that is not of the plain form (a namespace with a prefix, an entity) is refused: what
 * is not understood is not written over.
 */
#include "daemon/base/clock.h"
#include "daemon/base/mem.h"
#include "sync/cloud.h"
#include <expat.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RULES_MAX    1000 /* AWS, "PUT bucket lifecycle" */
#define DOCUMENT_MAX (2u << 20)
#define ID_MAX       255
#define MEANING_MAX  (64u << 10)
#define DAY_MS       (86400 * INT64_C(1000))
#define NAMESPACE    "http://s3.amazonaws.com/doc/2006-03-01/"

struct rule {
    char id[ID_MAX + 1];
    size_t begin, end;  /* in the document */
    struct buf meaning; /* sorted lines "path=text": what it says, whatever its form */
};

struct document {
    struct buf text;
    struct rule *rules;
    size_t count;
    char transition[64];
};

struct own { /* what a tier's rule should be; days 0: no rule */
    char id[ID_MAX + 1], prefix[STORE_KEY_MAX + 1];
    int64_t days;
    const struct rule *there; /* NULL: none */
};

struct sync_lifecycle {
    struct asker *asker;
    struct document document;
    struct own own[TIER_COUNT];
};

/* ---- reading a document ---- */

struct reading {
    XML_Parser parser;
    struct document *document;
    int depth;
    struct buf path, text, lines;
    size_t path_ends[16];
    bool broken;
};

static bool is_space(const char *text) {
    return text[strspn(text, " \t\r\n")] == '\0';
}

static void broken(struct reading *reading) {
    reading->broken = true;
    XML_StopParser(reading->parser, XML_FALSE);
}

static void rule_begin(struct reading *reading) {
    struct document *document = reading->document;
    if (document->count == RULES_MAX) {
        broken(reading);
        return;
    }
    struct rule *rule = &document->rules[document->count++];
    *rule = (struct rule){.begin = (size_t)XML_GetCurrentByteIndex(reading->parser),
                          .meaning = BUF_INIT(MEANING_MAX)};
    buf_reset(&reading->lines);
}

static void on_start(void *ctx, const XML_Char *name, const XML_Char **attributes) {
    struct reading *reading = ctx;
    (void)attributes;
    reading->depth++;
    bool fits = reading->depth == 1   ? strcmp(name, "LifecycleConfiguration") == 0
                : reading->depth == 2 ? strcmp(name, "Rule") == 0
                                      : reading->depth < (int)ARRAY_LENGTH(reading->path_ends);
    if (!fits) {
        broken(reading);
        return;
    }
    if (reading->depth == 2) {
        rule_begin(reading);
    }
    reading->path_ends[reading->depth] = reading->path.len;
    buf_printf(&reading->path, "/%s", name);
    buf_reset(&reading->text);
}

static void on_text(void *ctx, const XML_Char *text, int length) {
    buf_append(&((struct reading *)ctx)->text, text, (size_t)length);
}

static int by_line(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The lines sorted: servers give siblings back in an order of their own. */
static void meaning_make(struct buf *lines, struct buf *out) {
    char *sorted[256];
    size_t count = 0;
    char *rest = NULL, *text = lines->len > 0 ? lines->data : (char[]){""};
    for (char *line = strtok_r(text, "\n", &rest); line != NULL && count < ARRAY_LENGTH(sorted);
         line = strtok_r(NULL, "\n", &rest)) {
        sorted[count++] = line;
    }
    qsort(sorted, count, sizeof sorted[0], by_line);
    for (size_t i = 0; i < count; i++) {
        buf_printf(out, "%s\n", sorted[i]);
    }
}

static void rule_end(struct reading *reading) {
    struct rule *rule = &reading->document->rules[reading->document->count - 1];
    rule->end = (size_t)(XML_GetCurrentByteIndex(reading->parser) +
                         XML_GetCurrentByteCount(reading->parser));
    meaning_make(&reading->lines, &rule->meaning);
    if (rule->meaning.failed || reading->lines.failed || rule->end <= rule->begin) {
        broken(reading);
    }
}

static void on_end(void *ctx, const XML_Char *name) {
    struct reading *reading = ctx;
    (void)name;
    const char *text = reading->text.len > 0 ? reading->text.data : "";
    const char *path = reading->path.len > 0 ? reading->path.data : "";
    if (reading->depth > 2 && !is_space(text)) {
        /* A line break in a value would be two lines: no rule has one. */
        buf_printf(&reading->lines, "%s=%.*s\n", path, (int)strcspn(text, "\r\n"), text);
        if (strcmp(path, "/LifecycleConfiguration/Rule/ID") == 0) {
            struct rule *rule = &reading->document->rules[reading->document->count - 1];
            snprintf(rule->id, sizeof rule->id, "%s", text);
        }
    }
    if (reading->depth == 2) {
        rule_end(reading);
    }
    reading->path.len = reading->path_ends[reading->depth];
    if (reading->path.data != NULL) {
        reading->path.data[reading->path.len] = '\0';
    }
    buf_reset(&reading->text);
    reading->depth--;
}

static void on_doctype(void *ctx, const XML_Char *name, const XML_Char *system,
                       const XML_Char *public_id, int has_subset) {
    (void)name, (void)system, (void)public_id, (void)has_subset;
    broken(ctx);
}

static void document_finish(struct document *document) {
    for (size_t i = 0; i < document->count; i++) {
        buf_finish(&document->rules[i].meaning);
    }
    free(document->rules);
    buf_finish(&document->text);
    *document = (struct document){0};
}

static int document_parse(struct document *document, struct err *err) {
    struct reading reading = {.parser = XML_ParserCreate(NULL),
                              .document = document,
                              .path = BUF_INIT(4096),
                              .text = BUF_INIT(MEANING_MAX),
                              .lines = BUF_INIT(MEANING_MAX)};
    document->rules = mem_array(RULES_MAX, sizeof *document->rules);
    if (reading.parser == NULL || document->rules == NULL) {
        XML_ParserFree(reading.parser);
        return err_set(err, ERR_NOMEM, "no memory for the bucket's rules");
    }
    XML_SetUserData(reading.parser, &reading);
    XML_SetElementHandler(reading.parser, on_start, on_end);
    XML_SetCharacterDataHandler(reading.parser, on_text);
    XML_SetStartDoctypeDeclHandler(reading.parser, on_doctype);
    bool whole = XML_Parse(reading.parser, document->text.data, (int)document->text.len, 1) ==
                     XML_STATUS_OK &&
                 !reading.broken;
    XML_ParserFree(reading.parser);
    buf_finish(&reading.path);
    buf_finish(&reading.text);
    buf_finish(&reading.lines);
    return whole ? 0
                 : err_set(err, ERR_INVALID,
                           "the bucket's rules are not of the form that creel knows: they are left "
                           "alone");
}

static bool says(const struct err *err, const char *word) {
    return strstr(err->msg, word) != NULL || strstr(err->cause, word) != NULL;
}

static int document_read(struct asker *asker, struct document *out, struct err *err) {
    struct http_reply reply;
    struct remote_ask ask = {.method = "GET",
                             .reply_max = DOCUMENT_MAX,
                             .doing = "reading the bucket's rules",
                             .right = "s3:GetLifecycleConfiguration on the bucket"};
    *out = (struct document){.text = BUF_INIT(DOCUMENT_MAX)};
    sync__ask_query(&ask, "lifecycle", "");
    int code = sync__asker_call(asker, &ask, &reply, err);
    if (code != 0) {
        return err->http_status == 404 && says(err, "NoSuchLifecycleConfiguration") ? 0 : code;
    }
    buf_append(&out->text, reply.body.data != NULL ? reply.body.data : "", reply.body.len);
    memcpy(out->transition, reply.transition, sizeof out->transition);
    sync__reply_finish(&reply);
    code = out->text.len == 0 || is_space(out->text.data) ? 0 : document_parse(out, err);
    if (code != 0) {
        document_finish(out);
    }
    return code;
}

/* ---- ours ---- */

static void own_make(const struct remote *remote, const struct sync_remote_config *config,
                     enum frame_tier tier, struct own *out) {
    char hex[HASH_HEX_SIZE] = "", prefix[STORE_KEY_MAX + 1];
    struct frame_hash hash;
    const char *name = tier == TIER_ANNOTATED ? "annotated" : "unannotated";
    if (remote->prefix[0] != '\0') { /* several creels may share a bucket */
        hash_sha256(remote->prefix, strlen(remote->prefix), &hash);
        hash_hex(hash.bytes, sizeof hash.bytes, hex);
    }
    snprintf(out->id, sizeof out->id, "creel-%s%s%.8s", name, hex[0] != '\0' ? "-" : "", hex);
    snprintf(prefix, sizeof prefix, "frames/tier=%s/", name);
    snprintf(out->prefix, sizeof out->prefix, "%.512s%s", remote->prefix, prefix);
    out->days = (config->ttl_ms[tier] + DAY_MS - 1) / DAY_MS;
}

static void own_meaning(const struct own *own, struct buf *out) {
    static const char at[] = "/LifecycleConfiguration/Rule/";
    buf_printf(out,
               "%sExpiration/Days=%" PRId64 "\n%sFilter/Prefix=%s\n%sID=%s\n%sStatus=Enabled\n", at,
               own->days, at, own->prefix, at, own->id, at);
}

static void own_xml(const struct own *own, struct buf *out) {
    buf_printf(out, "<Rule><ID>%s</ID><Filter><Prefix>", own->id);
    buf_puts_html(out, own->prefix);
    buf_printf(out,
               "</Prefix></Filter><Status>Enabled</Status><Expiration><Days>%" PRId64
               "</Days></Expiration></Rule>",
               own->days);
}

static bool own_same(const struct own *own, const struct rule *rule) {
    CLEANUP(buf_finish) struct buf meaning = BUF_INIT(MEANING_MAX);
    own_meaning(own, &meaning);
    return !meaning.failed && rule->meaning.len > 0 &&
           strcmp(meaning.data, rule->meaning.data) == 0;
}

static bool is_own(const struct sync_lifecycle *lifecycle, const struct rule *rule) {
    for (int tier = 0; tier < TIER_COUNT; tier++) {
        if (strcmp(lifecycle->own[tier].id, rule->id) == 0) {
            return true;
        }
    }
    return false;
}

static const struct rule *rule_find(const struct document *document, const char *id) {
    for (size_t i = 0; i < document->count; i++) {
        if (strcmp(document->rules[i].id, id) == 0) {
            return &document->rules[i];
        }
    }
    return NULL;
}

/* ---- its life ---- */

int sync_lifecycle_open(const struct sync_remote_config *config, struct sync_lifecycle **out,
                        struct err *err) {
    if (config->kind != SYNC_S3) {
        return err_set(err, ERR_REFUSED,
                       config->kind == SYNC_AZURE
                           ? "remote %s: Azure's rules belong to the account's management plane, "
                             "which a storage credential does not reach"
                           : "remote %s: a directory has no rules of its own; `creel cloud gc` "
                             "from a timer does the same",
                       config->name);
    }
    struct sync_lifecycle *lifecycle = mem_alloc(sizeof *lifecycle);
    if (lifecycle == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for the bucket's rules");
    }
    int code = sync__asker_open(config, &lifecycle->asker, err);
    code = code != 0 ? code : document_read(lifecycle->asker, &lifecycle->document, err);
    for (int tier = 0; code == 0 && tier < TIER_COUNT; tier++) {
        struct own *own = &lifecycle->own[tier];
        own_make(lifecycle->asker->remote, config, (enum frame_tier)tier, own);
        own->there = rule_find(&lifecycle->document, own->id);
    }
    if (code != 0) {
        sync_lifecycle_close(lifecycle);
        return code;
    }
    *out = lifecycle;
    return 0;
}

void sync_lifecycle_close(struct sync_lifecycle *lifecycle) {
    if (lifecycle != NULL) {
        document_finish(&lifecycle->document);
        sync__asker_close(lifecycle->asker);
        free(lifecycle);
    }
}

/* ---- telling ---- */

/* "Filter/Prefix=frames/…, Expiration/Days=30": the rule without its id, on one line. */
static void line_make(const char *meaning, struct buf *out) {
    static const char at[] = "/LifecycleConfiguration/Rule/";
    const char *end = meaning;
    for (const char *line = meaning; *line != '\0'; line = end + 1) {
        end = strchr(line, '\n');
        const char *text = strncmp(line, at, strlen(at)) == 0 ? line + strlen(at) : line;
        if (strncmp(text, "ID=", 3) != 0) {
            buf_printf(out, "%s%.*s", out->len > 0 ? ", " : "", (int)(end - text), text);
        }
    }
}

static void tell(const struct rule *before, const struct own *after, enum sync_rule rule,
                 sync_rule_fn *each, void *ctx) {
    CLEANUP(buf_finish) struct buf old = BUF_INIT(MEANING_MAX), now = BUF_INIT(MEANING_MAX);
    CLEANUP(buf_finish) struct buf meaning = BUF_INIT(MEANING_MAX);
    if (before != NULL) {
        line_make(before->meaning.len > 0 ? before->meaning.data : "", &old);
    }
    if (after != NULL) {
        own_meaning(after, &meaning);
        line_make(meaning.data, &now);
    }
    each(ctx, rule, before != NULL ? before->id : after->id, before != NULL ? old.data : NULL,
         after != NULL ? now.data : NULL);
}

static enum sync_rule verdict_of(const struct own *own) {
    if (own->days == 0) {
        return own->there != NULL ? SYNC_RULE_DROPPED : SYNC_RULE_SAME;
    }
    return own->there == NULL          ? SYNC_RULE_NEW
           : own_same(own, own->there) ? SYNC_RULE_SAME
                                       : SYNC_RULE_CHANGED;
}

bool sync_lifecycle_each(const struct sync_lifecycle *lifecycle, sync_rule_fn *each, void *ctx) {
    bool differs = false;
    for (size_t i = 0; each != NULL && i < lifecycle->document.count; i++) {
        const struct rule *rule = &lifecycle->document.rules[i];
        if (!is_own(lifecycle, rule)) {
            tell(rule, NULL, SYNC_RULE_FOREIGN, each, ctx);
        }
    }
    for (int tier = 0; tier < TIER_COUNT; tier++) {
        const struct own *own = &lifecycle->own[tier];
        enum sync_rule verdict = verdict_of(own);
        differs = differs || verdict != SYNC_RULE_SAME;
        if (each != NULL && (own->days > 0 || own->there != NULL)) {
            tell(own->there, own->days > 0 ? own : NULL, verdict, each, ctx);
        }
    }
    return differs;
}

/* ---- applying ---- */

static size_t body_make(const struct sync_lifecycle *lifecycle, struct buf *out) {
    size_t rules = 0;
    buf_puts(out, "<LifecycleConfiguration xmlns=\"" NAMESPACE "\">");
    for (size_t i = 0; i < lifecycle->document.count; i++) {
        const struct rule *rule = &lifecycle->document.rules[i];
        if (!is_own(lifecycle, rule)) {
            buf_append(out, lifecycle->document.text.data + rule->begin, rule->end - rule->begin);
            rules++;
        }
    }
    for (int tier = 0; tier < TIER_COUNT; tier++) {
        if (lifecycle->own[tier].days > 0) {
            own_xml(&lifecycle->own[tier], out);
            rules++;
        }
    }
    buf_puts(out, "</LifecycleConfiguration>");
    return rules;
}

static int body_put(struct sync_lifecycle *lifecycle, const struct buf *body, size_t rules,
                    struct err *err) {
    struct frame_hash sha256;
    uint8_t md5[HASH_MD5_SIZE];
    char sha256_text[HASH_BASE64_SIZE(32)], md5_text[HASH_BASE64_SIZE(HASH_MD5_SIZE)];
    struct http_reply reply;
    struct remote_ask ask = {.method = rules > 0 ? "PUT" : "DELETE", /* an empty one is refused */
                             .doing = "writing the bucket's rules",
                             .right = "s3:PutLifecycleConfiguration on the bucket"};
    sync__ask_query(&ask, "lifecycle", "");
    if (rules > 0) {
        hash_sha256(body->data, body->len, &sha256);
        hash_md5(body->data, body->len, md5);
        ask.body = body->data;
        ask.body_size = body->len;
        sync__ask_header(&ask, "content-type", "application/xml");
        sync__ask_header(&ask, "content-md5", hash_base64(md5, sizeof md5, md5_text));
        sync__ask_header(&ask, "x-amz-checksum-sha256",
                         hash_base64(sha256.bytes, sizeof sha256.bytes, sha256_text));
        if (lifecycle->document.transition[0] != '\0') {
            sync__ask_header(&ask, "x-amz-transition-default-minimum-object-size",
                             lifecycle->document.transition);
        }
    }
    int code = sync__asker_call(lifecycle->asker, &ask, &reply, err);
    if (code == 0) {
        sync__reply_finish(&reply);
    }
    return code;
}

/* Every rule that should be there is, and says what it said. */
static int verify(struct sync_lifecycle *lifecycle, const struct document *now, size_t rules,
                  struct err *err) {
    const char *wrong = now->count == rules ? NULL : "(another number of rules)";
    for (size_t i = 0; wrong == NULL && i < lifecycle->document.count; i++) {
        const struct rule *before = &lifecycle->document.rules[i];
        const struct rule *after = rule_find(now, before->id);
        if (!is_own(lifecycle, before) &&
            (after == NULL || before->meaning.len != after->meaning.len ||
             memcmp(before->meaning.data, after->meaning.data, before->meaning.len) != 0)) {
            wrong = before->id;
        }
    }
    for (int tier = 0; wrong == NULL && tier < TIER_COUNT; tier++) {
        const struct own *own = &lifecycle->own[tier];
        const struct rule *after = rule_find(now, own->id);
        if ((own->days > 0) != (after != NULL) || (after != NULL && !own_same(own, after))) {
            wrong = own->id;
        }
    }
    return wrong == NULL ? 0
                         : err_set(err, ERR_CORRUPT,
                                   "remote %s: the bucket gave rule %s back otherwise than it was "
                                   "written: look at its rules",
                                   lifecycle->asker->remote->name, wrong);
}

int sync_lifecycle_apply(struct sync_lifecycle *lifecycle, struct err *err) {
    CLEANUP(buf_finish) struct buf body = BUF_INIT(DOCUMENT_MAX * 2);
    struct document now;
    size_t rules = body_make(lifecycle, &body);
    if (body.failed) {
        return err_set(err, ERR_NOMEM, "no memory for the bucket's rules");
    }
    int code = body_put(lifecycle, &body, rules, err);
    code = code != 0 ? code : document_read(lifecycle->asker, &now, err);
    if (code == 0) {
        code = verify(lifecycle, &now, rules, err);
        document_finish(&now);
    }
    return code;
}

/* ---- Azure ---- */

static json_t *policy_rule(const struct sync_remote_config *config, enum frame_tier tier,
                           const struct own *own) {
    static const char *const defaults[TIER_COUNT] = {"annotated", "unannotated"};
    char path[STORE_KEY_MAX + 128];
    const char *container = config->containers[tier];
    snprintf(path, sizeof path, "%s/%s",
             container != NULL && container[0] != '\0' ? container : defaults[tier], own->prefix);
    return json_pack("{s:b,s:s,s:s,s:{s:{s:[s],s:[s]},s:{s:{s:{s:I}}}}}", "enabled", 1, "name",
                     own->id, "type", "Lifecycle", "definition", "filters", "blobTypes",
                     "blockBlob", "prefixMatch", path, "actions", "baseBlob", "delete",
                     "daysAfterModificationGreaterThan", (json_int_t)own->days);
}

int sync_lifecycle_policy(const struct sync_remote_config *config, char **json, struct err *err) {
    struct remote *remote = NULL;
    int code = sync__remote_open(config, &remote, err);
    if (code != 0) {
        return code;
    }
    json_t *rules = json_array();
    for (int tier = 0; tier < TIER_COUNT; tier++) {
        struct own own;
        own_make(remote, config, (enum frame_tier)tier, &own);
        if (own.days > 0) {
            json_array_append_new(rules, policy_rule(config, (enum frame_tier)tier, &own));
        }
    }
    sync__remote_close(remote);
    size_t count = json_array_size(rules);
    json_t *policy = json_pack("{s:o}", "rules", rules);
    char *text = count > 0 && policy != NULL ? json_dumps(policy, JSON_INDENT(2)) : NULL;
    json_decref(policy);
    if (text == NULL) {
        return count > 0
                   ? err_set(err, ERR_NOMEM, "no memory for a policy")
                   : err_set(err, ERR_NOT_FOUND,
                             "remote %s: no tier has a ttl (sync.remotes.%s.ttl.annotated, …)",
                             config->name, config->name);
    }
    *json = text;
    return 0;
}
