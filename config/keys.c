/* keys: the one table of everything that can be configured, and the questions asked of it.
 *
 * A key's row says its path, type, range, default and the field it fills; the sample, the manual
 * page, the checks, `creel config show` and the messages all follow from it (tests hold them
 * together). Keys of a section stand together, because config_show prints them in this order.
 */
#include "config/inside.h"
#include "daemon/base/mem.h"
#include <stdio.h>
#include <string.h>

#define VALUE(field)  .offset = offsetof(struct config_values, field)
#define SHARE(field)  .share_offset = offsetof(struct config_values, field)
#define CAMERA(field) .group = GROUP_CAMERA, .offset = offsetof(struct source_config, field)
#define REMOTE(field) .group = GROUP_REMOTE, .offset = offsetof(struct sync_remote_config, field)

#define RULE(field)   .group = GROUP_RULE, .offset = offsetof(struct triage_rule_config, field)

#define KIB           1024.0
#define MIB           (1024.0 * KIB)
#define GIB           (1024.0 * MIB)
#define MS            1.0
#define S             1000.0
#define MIN           (60 * S)
#define DAY           (86400 * S)

const struct key config__keys[] = {
    {"version", KEY_WHOLE, SLOT_NONE, .min = 1, .max = 1, .fallback = "1"},

    {"device.id", KEY_NAME, SLOT_DEVICE_ID, VALUE(device), .fallback = "auto", .word = "auto"},
    {"device.clock", KEY_CHOICE, SLOT_BOOL, VALUE(clock_trusted), .choices = "kernel|trusted",
     .fallback = "kernel"},
    {"device.tags.*", KEY_TEXT, SLOT_TAG, .group = GROUP_TAG},

    {"cameras.*.source", KEY_TEXT, SLOT_TEXT, CAMERA(source), .needed = true},
    {"cameras.*.fps", KEY_REAL, SLOT_DOUBLE, CAMERA(fps), .min = 0.01, .max = 240,
     .fallback = "auto", .word = "auto"},
    {"cameras.*.after", KEY_CHOICE, SLOT_INT, CAMERA(after), .choices = "leave|move|delete",
     .fallback = "leave"},
    {"cameras.*.move_to", KEY_PATH, SLOT_TEXT, CAMERA(move_to)},
    {"cameras.*.user", KEY_TEXT, SLOT_TEXT, CAMERA(user)},
    {"cameras.*.password", KEY_SECRET, SLOT_TEXT, CAMERA(password)},
    {"cameras.*.size", KEY_TEXT, SLOT_TEXT, CAMERA(size)},
    {"cameras.*.schedule", KEY_TEXT, SLOT_TEXT, CAMERA(schedule)},
    {"cameras.*.motion", KEY_REAL, SLOT_DOUBLE, CAMERA(motion), .min = 0.001, .max = 1,
     .fallback = "off", .word = "off"},
    {"cameras.*.timeout", KEY_DURATION, SLOT_INT, CAMERA(timeout_ms), .min = 500 * MS,
     .max = 60 * MIN, .fallback = "10s"},
    {"cameras.*.loop", KEY_BOOL, SLOT_BOOL, CAMERA(loop), .fallback = "false"},
    {"cameras.*.rtmp", KEY_CHOICE, SLOT_INT, CAMERA(rtmp), .choices = "pull|listen",
     .fallback = "pull"},
    {"cameras.*.tls", KEY_CHOICE, SLOT_BOOL, CAMERA(tls_any), .choices = "verify|any",
     .fallback = "verify"},
    {"cameras.*.seed", KEY_WHOLE, SLOT_U64, CAMERA(seed), .min = 0, .max = 1e15, .fallback = "1"},
    {"cameras.*.rotation", KEY_CHOICE, SLOT_UINT, CAMERA(view.quarters), .choices = "0|90|180|270",
     .fallback = "0"},
    {"cameras.*.region", KEY_REGION, SLOT_REGION, CAMERA(view.region), .fallback = "whole",
     .word = "whole"},
    {"cameras.*.ignore", KEY_SHAPES, SLOT_MASK, CAMERA(view.ignore)},
    {"cameras.*.privacy", KEY_SHAPES, SLOT_MASK, CAMERA(view.privacy)},

    {"model.dir", KEY_PATH, SLOT_MODEL_DIR, VALUE(model_dir),
     .fallback = "/usr/share/creel/models/demo", .reloadable = true},
    {"model.device", KEY_DEVICE, SLOT_TEXT, VALUE(detector.device), .fallback = "auto"},
    {"model.backend", KEY_CHOICE, SLOT_TEXT, VALUE(detector.backend),
     .choices = "auto|pjreddie|alexeyab", .fallback = "auto"},

    {"inference.floor", KEY_REAL, SLOT_DOUBLE, VALUE(detector.floor), .min = 0.001, .max = 0.999,
     .fallback = "0.05"},
    {"inference.workers", KEY_WHOLE, SLOT_UINT, VALUE(workers), .min = 1, .max = 64,
     .fallback = "auto", .word = "auto"},
    {"inference.batch", KEY_WHOLE, SLOT_UINT, VALUE(detector.batch), .min = 1, .max = 64,
     .fallback = "auto", .word = "auto"},
    {"inference.batch_wait", KEY_DURATION, SLOT_INT, VALUE(detector.batch_wait_ms), .min = 1 * MS,
     .max = 10 * S, .fallback = "10ms", .word = "off"},
    {"inference.queue", KEY_WHOLE, SLOT_UINT, VALUE(queue), .min = 1, .max = 1024, .fallback = "8"},
    {"inference.queue_size", KEY_SIZE, SLOT_U64, VALUE(queue_bytes), .min = 1 * MIB,
     .max = 16 * GIB, .fallback = "128MiB"},
    {"inference.decode", KEY_CHOICE, SLOT_BOOL, VALUE(detector.scaled), .choices = "full|scaled",
     .fallback = "full"},
    {"inference.timeout", KEY_DURATION, SLOT_INT, VALUE(detector.timeout_ms), .min = 1 * S,
     .max = 10 * MIN, .fallback = "20s"},
    {"inference.thumb_width", KEY_WHOLE, SLOT_UINT, VALUE(detector.thumb_width), .min = 64,
     .max = 1024, .fallback = "320"},
    {"inference.worker", KEY_PATH, SLOT_TEXT, VALUE(detector.worker_path)},

    {"triage.confident", KEY_REAL, SLOT_DOUBLE, VALUE(triage.confident), .min = 0.01, .max = 0.99,
     .fallback = "0.60", .reloadable = true},
    {"triage.uncertain", KEY_REAL, SLOT_DOUBLE, VALUE(triage.uncertain_floor), .min = 0.001,
     .max = 0.99, .fallback = "0.15", .reloadable = true},
    {"triage.budget.per", KEY_DURATION, SLOT_I64, VALUE(triage.budget_per_ms), .min = 1 * MS,
     .max = DAY, .fallback = "10s", .word = "off", .reloadable = true},
    {"triage.budget.day", KEY_WHOLE, SLOT_UINT, VALUE(triage.budget_day), .min = 1, .max = 1e8,
     .fallback = "2000", .word = "off", .reloadable = true},
    {"triage.empty_fraction", KEY_REAL, SLOT_DOUBLE, VALUE(triage.empty_fraction), .min = 0,
     .max = 1, .fallback = "0.02", .reloadable = true},
    {"triage.rules", KEY_NAMES, SLOT_RULES, VALUE(triage),
     .fallback = "unsure,confident,empty-sample", .reloadable = true},
    {"triage.define.*.kind", KEY_CHOICE, SLOT_INT, RULE(kind),
     .choices = "auto|unsure|confident|empty-sample|band|margin|rare|count|disagreement|flicker|"
                "novelty|sample|schedule|trigger",
     .fallback = "auto", .reloadable = true},
    {"triage.define.*.tier", KEY_CHOICE, SLOT_INT, RULE(tier),
     .choices = "auto|annotated|unannotated", .fallback = "auto", .reloadable = true},
    {"triage.define.*.cameras", KEY_NAMES, SLOT_TEXT, RULE(cameras), .reloadable = true},
    {"triage.define.*.not_cameras", KEY_NAMES, SLOT_TEXT, RULE(not_cameras), .reloadable = true},
    {"triage.define.*.classes", KEY_LABELS, SLOT_TEXT, RULE(classes), .reloadable = true},
    {"triage.define.*.not_classes", KEY_LABELS, SLOT_TEXT, RULE(not_classes), .reloadable = true},
    {"triage.define.*.hours", KEY_TEXT, SLOT_TEXT, RULE(hours), .reloadable = true},
    {"triage.define.*.from", KEY_REAL, SLOT_DOUBLE, RULE(from), .min = 0.001, .max = 1,
     .fallback = "auto", .word = "auto", .reloadable = true},
    {"triage.define.*.to", KEY_REAL, SLOT_DOUBLE, RULE(to), .min = 0.001, .max = 1,
     .fallback = "auto", .word = "auto", .reloadable = true},
    {"triage.define.*.at", KEY_REAL, SLOT_DOUBLE, RULE(at), .min = 0.001, .max = 1,
     .fallback = "auto", .word = "auto", .reloadable = true},
    {"triage.define.*.within", KEY_REAL, SLOT_DOUBLE, RULE(within), .min = 0.001, .max = 1,
     .fallback = "auto", .word = "auto", .reloadable = true},
    {"triage.define.*.below", KEY_REAL, SLOT_DOUBLE, RULE(below), .min = 0.0001, .max = 1,
     .fallback = "auto", .word = "auto", .reloadable = true},
    {"triage.define.*.min", KEY_WHOLE, SLOT_UINT, RULE(min), .min = 1, .max = FRAME_DETECTIONS_MAX,
     .fallback = "off", .word = "off", .reloadable = true},
    {"triage.define.*.max", KEY_WHOLE, SLOT_UINT, RULE(max), .min = 1, .max = FRAME_DETECTIONS_MAX,
     .fallback = "off", .word = "off", .reloadable = true},
    {"triage.define.*.iou", KEY_REAL, SLOT_DOUBLE, RULE(iou), .min = 0.01, .max = 1,
     .fallback = "auto", .word = "auto", .reloadable = true},
    {"triage.define.*.similar", KEY_REAL, SLOT_DOUBLE, RULE(similar), .min = 0.01, .max = 0.99,
     .fallback = "auto", .word = "auto", .reloadable = true},
    {"triage.define.*.gap", KEY_WHOLE, SLOT_UINT, RULE(gap), .min = 1, .max = 8, .fallback = "auto",
     .word = "auto", .reloadable = true},
    {"triage.define.*.distance", KEY_REAL, SLOT_DOUBLE, RULE(distance), .min = 0.01, .max = 1,
     .fallback = "auto", .word = "auto", .reloadable = true},
    {"triage.define.*.fraction", KEY_REAL, SLOT_DOUBLE, RULE(fraction), .min = 0.000001, .max = 1,
     .fallback = "auto", .word = "auto", .reloadable = true},
    {"triage.define.*.every", KEY_DURATION, SLOT_I64, RULE(every_ms), .min = 1 * S, .max = DAY,
     .fallback = "auto", .word = "auto", .reloadable = true},
    {"triage.define.*.before", KEY_DURATION, SLOT_I64, RULE(before_ms), .min = 1 * MS,
     .max = 1 * MIN, .fallback = "auto", .word = "auto", .reloadable = true},
    {"triage.define.*.after", KEY_DURATION, SLOT_I64, RULE(after_ms), .min = 1 * MS,
     .max = 10 * MIN, .fallback = "auto", .word = "auto", .reloadable = true},
    {"triage.define.*.budget.per", KEY_DURATION, SLOT_I64, RULE(per_ms), .min = 1 * MS, .max = DAY,
     .fallback = "off", .word = "off", .reloadable = true},
    {"triage.define.*.budget.minute", KEY_WHOLE, SLOT_UINT, RULE(minute), .min = 1, .max = 1e6,
     .fallback = "off", .word = "off", .reloadable = true},
    {"triage.define.*.budget.hour", KEY_WHOLE, SLOT_UINT, RULE(hour), .min = 1, .max = 1e7,
     .fallback = "off", .word = "off", .reloadable = true},
    {"triage.define.*.budget.day", KEY_WHOLE, SLOT_UINT, RULE(day), .min = 1, .max = 1e8,
     .fallback = "off", .word = "off", .reloadable = true},
    {"triage.define.*.budget.each", KEY_CHOICE, SLOT_INT, RULE(each),
     .choices = "camera|class|camera-class|rule", .fallback = "camera", .reloadable = true},

    {"store.dir", KEY_PATH, SLOT_TEXT, VALUE(store.dir), .fallback = "/var/lib/creel"},
    {"store.state_dir", KEY_PATH, SLOT_STATE_DIR, VALUE(store.state_dir), .fallback = "auto",
     .word = "auto"},
    {"store.quota", KEY_SIZE_OR_SHARE, SLOT_U64, VALUE(store.quota_bytes),
     SHARE(store.quota_fraction), .min = 16 * MIB, .fallback = "50%", .word = "off"},
    {"store.min_free", KEY_SIZE_OR_SHARE, SLOT_U64, VALUE(store.min_free_bytes),
     SHARE(store.min_free_fraction), .min = 1 * MIB, .fallback = "10%", .word = "off"},
    {"store.segment_size", KEY_SIZE, SLOT_U64, VALUE(store.segment_bytes), .min = 1 * MIB,
     .max = 1 * GIB, .fallback = "64MiB"},
    {"store.group_frames", KEY_WHOLE, SLOT_UINT, VALUE(store.group_frames), .min = 1, .max = 1024,
     .fallback = "16"},
    {"store.group_wait", KEY_DURATION, SLOT_UINT, VALUE(store.group_wait_ms), .max = 1 * S,
     .fallback = "20ms"},
    {"store.index_floor", KEY_REAL, SLOT_DOUBLE, VALUE(store.index_floor), .min = 0, .max = 1,
     .fallback = "0.15"},
    {"store.history.max_age", KEY_DURATION, SLOT_I64, VALUE(store.history_max_age_ms), .min = 1 * S,
     .fallback = "365d", .word = "off"},
    {"store.tiers.annotated.max_age", KEY_DURATION, SLOT_I64,
     VALUE(store.tiers[TIER_ANNOTATED].max_age_ms), .min = 1 * S, .fallback = "30d", .word = "off"},
    {"store.tiers.annotated.max_size", KEY_SIZE, SLOT_U64,
     VALUE(store.tiers[TIER_ANNOTATED].max_bytes), .min = 1 * MIB, .fallback = "off",
     .word = "off"},
    {"store.tiers.annotated.keep_after_upload", KEY_DURATION, SLOT_I64,
     VALUE(store.tiers[TIER_ANNOTATED].keep_after_upload_ms), .fallback = "60m", .word = "forever",
     .word_value = -1},
    {"store.tiers.unannotated.max_age", KEY_DURATION, SLOT_I64,
     VALUE(store.tiers[TIER_UNANNOTATED].max_age_ms), .min = 1 * S, .fallback = "90d",
     .word = "off"},
    {"store.tiers.unannotated.max_size", KEY_SIZE, SLOT_U64,
     VALUE(store.tiers[TIER_UNANNOTATED].max_bytes), .min = 1 * MIB, .fallback = "off",
     .word = "off"},
    {"store.tiers.unannotated.keep_after_upload", KEY_DURATION, SLOT_I64,
     VALUE(store.tiers[TIER_UNANNOTATED].keep_after_upload_ms), .fallback = "60m",
     .word = "forever", .word_value = -1},

    {"sync.order", KEY_CHOICE, SLOT_INT, VALUE(sync.order), .choices = "oldest|newest|value",
     .fallback = "oldest"},
    {"sync.transfers", KEY_WHOLE, SLOT_UINT, VALUE(sync.transfers), .min = 1,
     .max = SYNC_TRANSFERS_MAX, .fallback = "auto", .word = "auto"},
    {"sync.attempts", KEY_WHOLE, SLOT_INT, VALUE(sync.attempts_max), .min = 1, .max = 1000,
     .fallback = "8"},
    {"sync.bandwidth", KEY_TEXT, SLOT_TEXT, VALUE(sync.bandwidth), .fallback = "off"},
    {"sync.retry_bytes", KEY_SIZE, SLOT_U64, VALUE(sync.retry_bytes), .min = 1 * MIB,
     .fallback = "256MiB", .word = "off"},
    {"sync.backoff.base", KEY_DURATION, SLOT_INT, VALUE(sync.backoff_base_ms), .min = 10 * MS,
     .max = 1 * MIN, .fallback = "500ms"},
    {"sync.backoff.max", KEY_DURATION, SLOT_INT, VALUE(sync.backoff_max_ms), .min = 100 * MS,
     .max = DAY, .fallback = "60s"},

    {"sync.sidecars.annotated", KEY_BOOL, SLOT_BOOL, VALUE(sync.sidecars[TIER_ANNOTATED]),
     .fallback = "false"},
    {"sync.sidecars.unannotated", KEY_BOOL, SLOT_BOOL, VALUE(sync.sidecars[TIER_UNANNOTATED]),
     .fallback = "false"},
    {"sync.overlays.annotated", KEY_BOOL, SLOT_BOOL, VALUE(sync.overlays[TIER_ANNOTATED]),
     .fallback = "false"},
    {"sync.overlays.unannotated", KEY_BOOL, SLOT_BOOL, VALUE(sync.overlays[TIER_UNANNOTATED]),
     .fallback = "false"},
    {"sync.manifests.rows", KEY_WHOLE, SLOT_UINT, VALUE(sync.manifest_rows), .min = 1, .max = 1e6,
     .fallback = "10000"},
    {"sync.manifests.age", KEY_DURATION, SLOT_INT, VALUE(sync.manifest_age_ms), .min = 1 * S,
     .max = DAY, .fallback = "5m"},
    {"sync.remotes.*.type", KEY_CHOICE, SLOT_INT, REMOTE(kind), .choices = "directory|azure|s3",
     .min = SYNC_DIRECTORY, .needed = true},
    {"sync.remotes.*.required", KEY_BOOL, SLOT_BOOL, REMOTE(required), .fallback = "true"},
    {"sync.remotes.*.trust_exists", KEY_BOOL, SLOT_BOOL, REMOTE(trust_exists), .fallback = "false"},
    {"sync.remotes.*.budget.day_bytes", KEY_SIZE, SLOT_U64, REMOTE(budget.day_bytes),
     .min = 1 * KIB, .fallback = "off", .word = "off"},
    {"sync.remotes.*.budget.day_requests", KEY_WHOLE, SLOT_U64, REMOTE(budget.day_requests),
     .min = 1, .max = 1e12, .fallback = "off", .word = "off"},
    {"sync.remotes.*.prices.requests_10k", KEY_REAL, SLOT_DOUBLE, REMOTE(prices.requests_10k),
     .min = 0, .max = 1e6, .fallback = "0"},
    {"sync.remotes.*.prices.gb_upload", KEY_REAL, SLOT_DOUBLE, REMOTE(prices.gb_upload), .min = 0,
     .max = 1e6, .fallback = "0"},
    {"sync.remotes.*.prices.gb_month", KEY_REAL, SLOT_DOUBLE, REMOTE(prices.gb_month), .min = 0,
     .max = 1e6, .fallback = "0"},
    {"sync.remotes.*.path", KEY_PATH, SLOT_TEXT, REMOTE(path)},
    {"sync.remotes.*.url", KEY_URL, SLOT_TEXT, REMOTE(url)},
    {"sync.remotes.*.prefix", KEY_TEXT, SLOT_TEXT, REMOTE(prefix)},
    {"sync.remotes.*.containers.annotated", KEY_TEXT, SLOT_TEXT,
     REMOTE(containers[TIER_ANNOTATED])},
    {"sync.remotes.*.containers.unannotated", KEY_TEXT, SLOT_TEXT,
     REMOTE(containers[TIER_UNANNOTATED])},
    {"sync.remotes.*.containers.creel", KEY_TEXT, SLOT_TEXT, REMOTE(container_rest)},
    {"sync.remotes.*.account", KEY_TEXT, SLOT_TEXT, REMOTE(account)},
    {"sync.remotes.*.connection_string", KEY_SECRET, SLOT_TEXT, REMOTE(connection_string)},
    {"sync.remotes.*.account_key", KEY_SECRET, SLOT_TEXT, REMOTE(account_key)},
    {"sync.remotes.*.sas", KEY_SECRET, SLOT_TEXT, REMOTE(sas)},
    {"sync.remotes.*.sas_file", KEY_PATH, SLOT_TEXT, REMOTE(sas_file)},
    {"sync.remotes.*.credential", KEY_CHOICE, SLOT_INT, REMOTE(credential),
     .choices = "auto|key|sas|client-secret|workload-identity|managed-identity|environment|"
                "profile|web-identity|container|instance",
     .min = SYNC_CREDENTIAL_AUTO, .fallback = "auto"},
    {"sync.remotes.*.tenant_id", KEY_TEXT, SLOT_TEXT, REMOTE(tenant_id)},
    {"sync.remotes.*.client_id", KEY_TEXT, SLOT_TEXT, REMOTE(client_id)},
    {"sync.remotes.*.client_secret", KEY_SECRET, SLOT_TEXT, REMOTE(client_secret)},
    {"sync.remotes.*.token_file", KEY_PATH, SLOT_TEXT, REMOTE(token_file)},
    {"sync.remotes.*.token_url", KEY_URL, SLOT_TEXT, REMOTE(token_url)},
    {"sync.remotes.*.create_containers", KEY_BOOL, SLOT_BOOL, REMOTE(create_containers),
     .fallback = "false"},
    {"sync.remotes.*.manifests", KEY_BOOL, SLOT_BOOL, REMOTE(manifest), .fallback = "true"},
    {"sync.remotes.*.bucket", KEY_TEXT, SLOT_TEXT, REMOTE(bucket)},
    {"sync.remotes.*.region", KEY_TEXT, SLOT_TEXT, REMOTE(region)},
    {"sync.remotes.*.access_key", KEY_SECRET, SLOT_TEXT, REMOTE(access_key)},
    {"sync.remotes.*.secret_key", KEY_SECRET, SLOT_TEXT, REMOTE(secret_key)},
    {"sync.remotes.*.session_token", KEY_SECRET, SLOT_TEXT, REMOTE(session_token)},
    {"sync.remotes.*.profile", KEY_TEXT, SLOT_TEXT, REMOTE(profile)},
    {"sync.remotes.*.credentials_file", KEY_PATH, SLOT_TEXT, REMOTE(credentials_file)},
    {"sync.remotes.*.role_arn", KEY_TEXT, SLOT_TEXT, REMOTE(role_arn)},
    {"sync.remotes.*.style", KEY_CHOICE, SLOT_BOOL, REMOTE(virtual_host), .choices = "path|virtual",
     .fallback = "path"},
    {"sync.remotes.*.ttl.annotated", KEY_DURATION, SLOT_I64, REMOTE(ttl_ms[TIER_ANNOTATED]),
     .min = DAY, .fallback = "off", .word = "off"},
    {"sync.remotes.*.ttl.unannotated", KEY_DURATION, SLOT_I64, REMOTE(ttl_ms[TIER_UNANNOTATED]),
     .min = DAY, .fallback = "off", .word = "off"},
    {"sync.remotes.*.ca_file", KEY_PATH, SLOT_TEXT, REMOTE(ca_file)},
    {"sync.remotes.*.proxy", KEY_SECRET, SLOT_TEXT, REMOTE(proxy)},
    {"sync.remotes.*.parts_above", KEY_SIZE, SLOT_U64, REMOTE(parts_above_bytes), .min = 64 * KIB,
     .max = 4 * GIB, .fallback = "16MiB"},
    {"sync.remotes.*.part_size", KEY_SIZE, SLOT_U64, REMOTE(part_bytes), .min = 64 * KIB,
     .max = 1 * GIB, .fallback = "8MiB"},
    {"sync.remotes.*.abandon_after", KEY_DURATION, SLOT_I64, REMOTE(abandon_after_s), .min = 1 * S,
     .divide = 1000, .fallback = "7d"},
    {"sync.remotes.*.object_tags", KEY_TEXT, SLOT_TEXT, REMOTE(tags)},
    {"sync.remotes.*.access_tier", KEY_CHOICE, SLOT_TEXT, REMOTE(access_tier),
     .choices = "hot|cool|cold|archive"},
    {"sync.remotes.*.storage_class", KEY_TEXT, SLOT_TEXT, REMOTE(storage_class)},
    {"sync.remotes.*.encryption", KEY_CHOICE, SLOT_TEXT, REMOTE(encryption),
     .choices = "AES256|aws:kms"},
    {"sync.remotes.*.kms_key", KEY_TEXT, SLOT_TEXT, REMOTE(kms_key)},

    {"web.listen", KEY_LISTEN, SLOT_TEXT, VALUE(webui.listen), .fallback = "127.0.0.1:8080",
     .word = "off"},
    {"web.next_free_port", KEY_BOOL, SLOT_BOOL, VALUE(webui.next_free_port), .fallback = "false"},
    {"web.alerts", KEY_LABELS, SLOT_TEXT, VALUE(webui.alerts)},
    {"web.password", KEY_SECRET, SLOT_TEXT, VALUE(webui.password)},
    {"web.tls.certificate", KEY_PATH, SLOT_TEXT, VALUE(webui.tls_certificate)},
    {"web.tls.key", KEY_PATH, SLOT_TEXT, VALUE(webui.tls_key)},
    {"web.link_ttl", KEY_DURATION, SLOT_INT, VALUE(webui.link_ttl_s), .min = 1 * S, .max = 7 * DAY,
     .divide = 1000, .fallback = "15m"},
    {"web.timeout", KEY_DURATION, SLOT_INT, VALUE(webui.request_timeout_s), .min = 1 * S,
     .max = 10 * MIN, .divide = 1000, .fallback = "15s"},

    {"ingest.listen", KEY_LISTEN, SLOT_TEXT, VALUE(webui.ingest_listen),
     .fallback = "127.0.0.1:8081", .word = "off"},
    {"ingest.token", KEY_SECRET, SLOT_TEXT, VALUE(webui.ingest_token)},
    {"ingest.tls.certificate", KEY_PATH, SLOT_TEXT, VALUE(webui.ingest_tls_certificate)},
    {"ingest.tls.key", KEY_PATH, SLOT_TEXT, VALUE(webui.ingest_tls_key)},
    {"ingest.threshold", KEY_REAL, SLOT_DOUBLE, VALUE(webui.score_threshold), .min = 0.001,
     .max = 0.999, .fallback = "0.25"},
    {"ingest.body_max", KEY_SIZE, SLOT_UINT, VALUE(webui.body_max_bytes), .min = 1 * KIB,
     .max = FRAME_BLOB_MAX, .fallback = "16MiB"},

    {"control.socket", KEY_PATH, SLOT_SOCKET, VALUE(control_socket), .fallback = "auto",
     .word = "auto"},
    {"log.level", KEY_CHOICE, SLOT_TEXT, VALUE(log_level), .choices = "error|warn|info|debug",
     .fallback = "info", .reloadable = true},
};

const size_t config__key_count = ARRAY_LENGTH(config__keys);

/* ---- paths ---- */

static size_t part_length(const char *part) {
    return strcspn(part, ".");
}

static bool part_matches(const char *pattern, const char *part) {
    size_t length = part_length(pattern);
    if (length == 1 && *pattern == '*') {
        return part_length(part) > 0;
    }
    return part_length(part) == length && strncmp(pattern, part, length) == 0;
}

/* Follows `path` along the pattern. Returns what is left of the pattern behind it: "" for a whole
 * match, NULL for none. `*last` is the last component of the pattern that was used. */
static const char *path_follow(const char *pattern, const char *path, const char **last) {
    for (;;) {
        if (!part_matches(pattern, path)) {
            return NULL;
        }
        *last = pattern;
        pattern += part_length(pattern);
        path += part_length(path);
        if (*path == '\0') {
            return *pattern == '.' ? pattern + 1 : pattern;
        }
        if (*pattern == '\0') {
            return NULL;
        }
        pattern++;
        path++;
    }
}

enum key_match config__key_find(const char *path, const struct key **key) {
    for (size_t i = 0; i < config__key_count; i++) {
        const char *last;
        const char *rest = path_follow(config__keys[i].path, path, &last);
        if (rest != NULL) {
            *key = &config__keys[i];
            return *rest == '\0' ? MATCH_KEY : MATCH_SECTION;
        }
    }
    return MATCH_UNKNOWN;
}

bool config__key_named(const char *path) {
    const char *last;
    for (size_t i = 0; i < config__key_count; i++) {
        if (path_follow(config__keys[i].path, path, &last) != NULL) {
            return *last == '*';
        }
    }
    return false;
}

bool config__key_name(const struct key *key, const char *path, char *out) {
    const char *pattern = key->path;
    while (*pattern != '*') {
        pattern += part_length(pattern);
        path += part_length(path);
        if (*pattern == '\0' || *path == '\0') {
            return false;
        }
        pattern++;
        path++;
    }
    size_t length = part_length(path);
    if (length > FRAME_NAME_MAX) {
        return false;
    }
    memcpy(out, path, length);
    out[length] = '\0';
    return config__name_valid(out);
}

void config__key_path(const struct key *key, const char *name, char out[CONFIG__PATH_MAX + 1]) {
    const char *star = strchr(key->path, '*');
    if (star == NULL) {
        snprintf(out, CONFIG__PATH_MAX + 1, "%s", key->path);
        return;
    }
    snprintf(out, CONFIG__PATH_MAX + 1, "%.*s%s%s", (int)(star - key->path), key->path, name,
             star + 1);
}

const struct key *config__key_below(const char *section) {
    const struct key *key = NULL;
    return config__key_find(section, &key) == MATCH_UNKNOWN ? NULL : key;
}

/* ---- nearest key ---- */

/* Edits that lead from `a` to `b` (Levenshtein 1966, two rows). Both have at most CONFIG__PATH_MAX
 * bytes. */
static size_t edit_distance(const char *a, const char *b) {
    size_t row[CONFIG__PATH_MAX + 2];
    size_t width = strlen(b);
    for (size_t j = 0; j <= width; j++) {
        row[j] = j;
    }
    for (size_t i = 0; a[i] != '\0'; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < width; j++) {
            size_t above = row[j + 1];
            size_t best = diagonal + (a[i] != b[j] ? 1 : 0);
            best = above + 1 < best ? above + 1 : best;
            best = row[j] + 1 < best ? row[j] + 1 : best;
            row[j + 1] = best;
            diagonal = above;
        }
    }
    return row[width];
}

static size_t parts_count(const char *path) {
    size_t count = 1;
    for (; *path != '\0'; path++) {
        count += *path == '.' ? 1 : 0;
    }
    return count;
}

/* The first `count` components of the pattern, with the path's own names for its '*'. */
static void pattern_adopt(const char *pattern, const char *path, size_t count,
                          char out[CONFIG__PATH_MAX + 1]) {
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < count && *pattern != '\0'; i++) {
        const char *part = *pattern == '*' ? path : pattern;
        int written = snprintf(out + used, CONFIG__PATH_MAX + 1 - used, "%s%.*s", i > 0 ? "." : "",
                               (int)part_length(part), part);
        used += (size_t)written;
        if (used > CONFIG__PATH_MAX) {
            return;
        }
        pattern += part_length(pattern);
        pattern += *pattern == '.' ? 1 : 0;
        path += part_length(path);
        path += *path == '.' ? 1 : 0;
    }
}

/* The same word elsewhere in the table: `quota` at the top for `store.quota`. */
static bool nearest_elsewhere(const char *path, char out[CONFIG__PATH_MAX + 1]) {
    const char *dot = strrchr(path, '.');
    const char *leaf = dot != NULL ? dot + 1 : path;
    for (size_t i = 0; i < config__key_count; i++) {
        config__key_path(&config__keys[i], "<name>", out);
        for (char *part = out; *part != '\0'; part += strspn(part, ".")) {
            size_t length = part_length(part);
            if (length == strlen(leaf) && strncmp(part, leaf, length) == 0) {
                part[length] = '\0';
                return true;
            }
            part += length;
        }
    }
    out[0] = '\0';
    return false;
}

bool config__key_nearest(const char *path, char out[CONFIG__PATH_MAX + 1]) {
    char candidate[CONFIG__PATH_MAX + 1];
    size_t count = parts_count(path);
    const char *dot = strrchr(path, '.');
    size_t length = strlen(dot != NULL ? dot + 1 : path);
    size_t best = length < 3 ? 2 : length / 3 + 1; /* from there on it is another word */
    bool found = false;
    for (size_t i = 0; i < config__key_count; i++) {
        if (parts_count(config__keys[i].path) < count) {
            continue;
        }
        pattern_adopt(config__keys[i].path, path, count, candidate);
        size_t distance = edit_distance(path, candidate);
        if (distance < best) {
            best = distance;
            found = true;
            memcpy(out, candidate, sizeof(candidate));
        }
    }
    return found || nearest_elsewhere(path, out);
}
