/* Files, drop-ins, variables and flags into the modules' structs; and what a mistake in them is
 * told as.
 */
#include "daemon/base/clock.h"
#include "daemon/base/mem.h"
#include "tests/unit/config_case.h"

/* ---- what is right ---- */

START_TEST(empty_file_runs) {
    static const char *const empty[] = {
        "",         "\n\n",          "# only this\n",        "---\n", "version: 1\n",
        "store:\n", "cameras: {}\n", "store: ~\nweb: null\n"};
    for (size_t i = 0; i < ARRAY_LENGTH(empty); i++) {
        const struct config_values *values = case_values(empty[i]);
        ck_assert_str_eq(values->store.dir, "/var/lib/creel");
        ck_assert_double_eq_tol(values->store.quota_fraction, 0.5, 1e-12);
        ck_assert_uint_eq(values->store.quota_bytes, 0);
        ck_assert_uint_eq(values->store.segment_bytes, 64u << 20);
        ck_assert_uint_eq(values->camera_count, 0);
        ck_assert_uint_eq(values->sync.remote_count, 0);
        ck_assert_str_eq(values->webui.listen, "127.0.0.1:8080");
        ck_assert_str_eq(values->webui.ingest_listen, "127.0.0.1:8081");
        ck_assert_uint_eq(values->triage.rule_count, 3);
        ck_assert_str_eq(values->triage.rules[2], "empty-sample");
        ck_assert_int_eq(values->store.tiers[TIER_UNANNOTATED].max_age_ms, 90LL * 86400 * 1000);
        ck_assert_int_eq(values->webui.link_ttl_s, 900);
        ck_assert_str_eq(values->log_level, "info");
        ck_assert_ptr_null(values->store.state_dir);
    }
}
END_TEST

START_TEST(device_auto_is_stable) {
    char first[FRAME_NAME_MAX + 1];
    snprintf(first, sizeof(first), "%s", case_values("")->device);
    ck_assert_uint_eq(strlen(first), 12);
    ck_assert_int_eq(strncmp(first, "cam-", 4), 0);
    ck_assert_str_eq(case_values("version: 1\n")->device, first);
    ck_assert_ptr_eq(config_values(box.config)->sync.device, config_values(box.config)->device);
}
END_TEST

static const char *const everything =
    "version: 1\n"
    "device: {id: line-3, clock: trusted, tags: {site: north, hall: \"7\"}}\n"
    "cameras:\n"
    "  dock: {source: 'demo:', fps: 2.5, seed: 42, rotation: 270, region: 0 0.5 1 0.5,\n"
    "         ignore: [0 0 1 0.1, \"0.5,1,0.7,0.6,0.9,1\"], privacy: 0.1 0.1 0.2 0.2}\n"
    "  inbox: {source: 'directory:/srv/in', after: move, move_to: /srv/done}\n"
    "model: {dir: /opt/model, device: 'cuda:1'}\n"
    "inference: {floor: 0.1, workers: 3, queue: 16, queue_size: 64MiB, decode: scaled, timeout: "
    "30s, thumb_width: "
    "200, worker: /w}\n"
    "triage: {confident: 0.7, uncertain: 0.2, budget: {per: off, day: 7}, empty_fraction: 0.5,\n"
    "         rules: [confident, unsure]}\n"
    "store:\n"
    "  dir: /srv/creel\n"
    "  state_dir: /var/lib/creel\n"
    "  quota: 20GiB\n"
    "  min_free: off\n"
    "  segment_size: 8MiB\n"
    "  group_frames: 4\n"
    "  group_wait: 5ms\n"
    "  index_floor: 0.3\n"
    "  tiers:\n"
    "    annotated: {max_age: off, max_size: 1GB, keep_after_upload: forever}\n"
    "    unannotated: {max_age: 1d, keep_after_upload: 0}\n"
    "sync:\n"
    "  order: value\n"
    "  transfers: 2\n"
    "  attempts: 3\n"
    "  backoff: {base: 1s, max: 1h}\n"
    "  remotes:\n"
    "    nas: {type: directory, path: /mnt/nas, required: false}\n"
    "    cloud:\n"
    "      type: s3\n"
    "      bucket: frames\n"
    "      url: https://s3.example\n"
    "      prefix: a/\n"
    "      region: eu-1\n"
    "      style: virtual\n"
    "      ca_file: /etc/ca.pem\n"
    "      create_containers: true\n"
    "      access_key: AK\n"
    "      secret_key: SK\n"
    "      session_token: ST\n"
    "    blob:\n"
    "      type: azure\n"
    "      url: https://acct.blob.core.windows.net\n"
    "      containers: {annotated: yes-a, unannotated: un-a, creel: rest}\n"
    "      account_key: a2V5\n"
    "web: {listen: \"0.0.0.0:80\", next_free_port: true, password: pw, link_ttl: 1h, timeout: "
    "30s}\n"
    "ingest: {listen: off, token: tok, body_max: 1MiB}\n"
    "control: {socket: /run/x.sock}\n"
    "log: {level: debug}\n";

START_TEST(every_key_reaches_its_field) {
    const struct config_values *v = case_values(everything);
    ck_assert_str_eq(v->device, "line-3");
    ck_assert(v->clock_trusted);
    ck_assert_uint_eq(v->tag_count, 2);
    ck_assert_str_eq(v->tags[0].name, "site");
    ck_assert_str_eq(v->tags[0].value, "north");
    ck_assert_str_eq(v->tags[1].value, "7");
    ck_assert_uint_eq(v->camera_count, 2);
    ck_assert_str_eq(v->cameras[0].name, "dock");
    ck_assert_str_eq(v->cameras[0].source, "demo:");
    ck_assert_double_eq_tol(v->cameras[0].fps, 2.5, 1e-12);
    ck_assert_uint_eq(v->cameras[0].seed, 42);
    ck_assert_int_eq((int)v->cameras[0].after, SOURCE_LEAVE);
    ck_assert_str_eq(v->cameras[1].name, "inbox");
    ck_assert_int_eq((int)v->cameras[1].after, SOURCE_MOVE);
    ck_assert_uint_eq(v->cameras[0].view.quarters, 3);
    ck_assert_double_eq_tol(v->cameras[0].view.region.h, 0.5, 1e-12);
    ck_assert_uint_eq(v->cameras[0].view.ignore.count, 2);
    ck_assert_uint_eq(v->cameras[0].view.ignore.shapes[1].count, 3);
    ck_assert_uint_eq(v->cameras[0].view.privacy.count, 1);
    ck_assert(view_plain(&v->cameras[1].view));
    ck_assert_str_eq(v->cameras[1].move_to, "/srv/done");
    ck_assert_double_eq_tol(v->cameras[1].fps, 0, 1e-12);
    ck_assert_str_eq(v->model_dir, "/opt/model");
    ck_assert_str_eq(v->detector.device, "cuda:1");
    ck_assert_double_eq_tol(v->detector.floor, 0.1, 1e-12);
    ck_assert_int_eq(v->detector.timeout_ms, 30000);
    ck_assert_uint_eq(v->detector.thumb_width, 200);
    ck_assert_str_eq(v->detector.worker_path, "/w");
    ck_assert_uint_eq(v->workers, 3);
    ck_assert_uint_eq(v->queue, 16);
    ck_assert_uint_eq(v->queue_bytes, 64u << 20);
    ck_assert(v->detector.scaled);
    ck_assert_double_eq_tol(v->triage.confident, 0.7, 1e-12);
    ck_assert_double_eq_tol(v->triage.uncertain_floor, 0.2, 1e-12);
    ck_assert_int_eq(v->triage.budget_per_ms, 0);
    ck_assert_uint_eq(v->triage.budget_day, 7);
    ck_assert_double_eq_tol(v->triage.empty_fraction, 0.5, 1e-12);
    ck_assert_uint_eq(v->triage.rule_count, 2);
    ck_assert_str_eq(v->triage.rules[0], "confident");
    ck_assert_str_eq(v->triage.rules[1], "unsure");
    ck_assert_str_eq(v->control_socket, "/run/x.sock");
    ck_assert_str_eq(v->log_level, "debug");
}
END_TEST

START_TEST(rules_are_defined_by_name) {
    const struct triage_config *triage =
        &case_values("triage:\n"
                     "  rules: [night, unsure]\n"
                     "  define:\n"
                     "    night:\n"
                     "      kind: count\n"
                     "      tier: annotated\n"
                     "      max: 3\n"
                     "      classes: [person, traffic light]\n"
                     "      not_cameras: [inbox]\n"
                     "      hours: 22:00-05:30\n"
                     "      after: 90s\n"
                     "      budget: {per: 2s, hour: 10, each: camera-class}\n"
                     "    unsure: {budget: {day: 9}}\n")
             ->triage;
    const struct triage_rule_config *night = &triage->defined[0];
    ck_assert_uint_eq(triage->defined_count, 2);
    ck_assert_str_eq(night->name, "night");
    ck_assert_int_eq(night->kind, TRIAGE_COUNT);
    ck_assert_int_eq(night->tier, TRIAGE_TIER_ANNOTATED);
    ck_assert(night->min == 0 && night->max == 3 && night->from == 0);
    ck_assert_str_eq(night->classes, "person,traffic light");
    ck_assert_str_eq(night->not_cameras, "inbox");
    ck_assert_ptr_null(night->cameras);
    ck_assert_str_eq(night->hours, "22:00-05:30");
    ck_assert(night->before_ms == 0 && night->after_ms == 90000);
    ck_assert(night->per_ms == 2000 && night->minute == 0 && night->hour == 10);
    ck_assert_int_eq(night->each, TRIAGE_EACH_CAMERA_CLASS);
    ck_assert_int_eq(triage->defined[1].kind, TRIAGE_BY_NAME);
    ck_assert_uint_eq(triage->defined[1].day, 9);
}
END_TEST

START_TEST(every_store_key_reaches_its_field) {
    const struct store_config *store = &case_values(everything)->store;
    ck_assert_str_eq(store->dir, "/srv/creel");
    ck_assert_str_eq(store->state_dir, "/var/lib/creel");
    ck_assert_uint_eq(store->quota_bytes, 20ull << 30);
    ck_assert_double_eq_tol(store->quota_fraction, 0, 1e-12);
    ck_assert_uint_eq(store->min_free_bytes, 0);
    ck_assert_double_eq_tol(store->min_free_fraction, 0, 1e-12);
    ck_assert_uint_eq(store->segment_bytes, 8u << 20);
    ck_assert_uint_eq(store->group_frames, 4);
    ck_assert_uint_eq(store->group_wait_ms, 5);
    ck_assert_double_eq_tol(store->index_floor, 0.3, 1e-12);
    ck_assert_int_eq(store->tiers[TIER_ANNOTATED].max_age_ms, 0);
    ck_assert_uint_eq(store->tiers[TIER_ANNOTATED].max_bytes, 1000000000);
    ck_assert_int_eq(store->tiers[TIER_ANNOTATED].keep_after_upload_ms, -1);
    ck_assert_int_eq(store->tiers[TIER_UNANNOTATED].max_age_ms, 86400000);
    ck_assert_uint_eq(store->tiers[TIER_UNANNOTATED].max_bytes, 0);
    ck_assert_int_eq(store->tiers[TIER_UNANNOTATED].keep_after_upload_ms, 0);
}
END_TEST

START_TEST(every_sync_and_web_key_reaches_its_field) {
    const struct config_values *v = case_values(everything);
    ck_assert_int_eq((int)v->sync.order, STORE_VALUE);
    ck_assert_uint_eq(v->sync.transfers, 2);
    ck_assert_int_eq(v->sync.attempts_max, 3);
    ck_assert_int_eq(v->sync.backoff_base_ms, 1000);
    ck_assert_int_eq(v->sync.backoff_max_ms, 3600000);
    ck_assert_uint_eq(v->sync.remote_count, 3);
    const struct sync_remote_config *nas = &v->sync.remotes[0];
    ck_assert_int_eq((int)nas->kind, SYNC_DIRECTORY);
    ck_assert_str_eq(nas->path, "/mnt/nas");
    ck_assert(!nas->required && !nas->virtual_host);
    const struct sync_remote_config *s3 = &v->sync.remotes[1];
    ck_assert_int_eq((int)s3->kind, SYNC_S3);
    ck_assert_str_eq(s3->bucket, "frames");
    ck_assert_str_eq(s3->url, "https://s3.example");
    ck_assert_str_eq(s3->prefix, "a/");
    ck_assert_str_eq(s3->region, "eu-1");
    ck_assert_str_eq(s3->ca_file, "/etc/ca.pem");
    ck_assert(s3->required && s3->virtual_host && s3->create_containers);
    ck_assert_str_eq(s3->access_key, "AK");
    ck_assert_str_eq(s3->secret_key, "SK");
    ck_assert_str_eq(s3->session_token, "ST");
    const struct sync_remote_config *azure = &v->sync.remotes[2];
    ck_assert_int_eq((int)azure->kind, SYNC_AZURE);
    ck_assert_str_eq(azure->containers[TIER_ANNOTATED], "yes-a");
    ck_assert_str_eq(azure->containers[TIER_UNANNOTATED], "un-a");
    ck_assert_str_eq(azure->container_rest, "rest");
    ck_assert_str_eq(azure->account_key, "a2V5");
    ck_assert_str_eq(v->webui.listen, "0.0.0.0:80");
    ck_assert(v->webui.next_free_port);
    ck_assert_str_eq(v->webui.password, "pw");
    ck_assert_int_eq(v->webui.link_ttl_s, 3600);
    ck_assert_int_eq(v->webui.request_timeout_s, 30);
    ck_assert_ptr_null(v->webui.ingest_listen);
    ck_assert_str_eq(v->webui.ingest_token, "tok");
    ck_assert_uint_eq(v->webui.body_max_bytes, 1u << 20);
}
END_TEST

START_TEST(anchors) {
    const struct config_values *v = case_values("store:\n"
                                                "  tiers:\n"
                                                "    annotated: &t {max_age: 2d, max_size: 2GiB}\n"
                                                "    unannotated: *t\n"
                                                "device: {id: 'null', tags: {a: \"off\"}}\n");
    ck_assert_int_eq(v->store.tiers[TIER_UNANNOTATED].max_age_ms, 2 * 86400000);
    ck_assert_uint_eq(v->store.tiers[TIER_UNANNOTATED].max_bytes, 2ull << 30);
    ck_assert_str_eq(v->device, "null");
    ck_assert_str_eq(v->tags[0].value, "off");
}
END_TEST

/* ---- layers ---- */

static void conf_d(void) {
    char path[128];
    snprintf(path, sizeof(path), "%s/conf.d", box.dir);
    ck_assert_int_eq(mkdir(path, 0700), 0);
}

START_TEST(layers_in_order) {
    conf_d();
    case_write("conf.d/20-b.yaml", "store: {quota: 3GiB, min_free: 3GiB}\n");
    case_write("conf.d/10-a.yaml", "store: {quota: 2GiB, min_free: 2GiB, segment_size: 2MiB}\n");
    case_write("conf.d/30-c.yaml.bak", "store: {quota: nonsense}\n");
    case_write("conf.d/.hidden.yaml", "store: {quota: nonsense}\n");
    box.environment[0] = "CREEL_STORE__MIN_FREE=4GiB";
    box.environment[1] = "CREEL_STORE__GROUP_FRAMES=5";
    box.flags[0] = "store.group_frames=6";
    box.flag_count = 1;
    const struct store_config *store = &case_values("store: {quota: 1GiB, segment_size: 1MiB,\n"
                                                    "        group_wait: 1ms}\n")
                                            ->store;
    ck_assert_uint_eq(store->group_wait_ms, 1);
    ck_assert_uint_eq(store->segment_bytes, 2u << 20);
    ck_assert_uint_eq(store->quota_bytes, 3ull << 30);
    ck_assert_uint_eq(store->min_free_bytes, 4ull << 30);
    ck_assert_uint_eq(store->group_frames, 6);
}
END_TEST

START_TEST(dropins_merge_and_take_back) {
    conf_d();
    case_write("conf.d/1.yaml", "cameras: {b: {source: 'demo:'}, a: {fps: 2}}\n");
    case_write("conf.d/2.yaml", "cameras: {c: ~}\nweb: {listen: }\nsync: {remotes: }\n");
    const struct config_values *v =
        case_values("cameras: {c: {source: 'demo:'}, a: {source: 'demo:', seed: 9}}\n"
                    "web: {listen: off}\n"
                    "sync: {remotes: {nas: {type: directory, path: /mnt/x}}}\n");
    ck_assert_uint_eq(v->camera_count, 2);
    ck_assert_str_eq(v->cameras[0].name, "a");
    ck_assert_uint_eq(v->cameras[0].seed, 9);
    ck_assert_double_eq_tol(v->cameras[0].fps, 2, 1e-12);
    ck_assert_str_eq(v->cameras[1].name, "b");
    ck_assert_str_eq(v->webui.listen, "127.0.0.1:8080");
    ck_assert_uint_eq(v->sync.remote_count, 0);
}
END_TEST

START_TEST(environment_names) {
    box.environment[0] = "CREEL_CAMERAS__FRONT_DOOR__SOURCE=demo:";
    box.environment[1] = "CREEL_SYNC__REMOTES__CLOUD__ACCOUNT_KEY=a2V5";
    box.environment[2] = "CREEL_TRIAGE__RULES=confident, unsure";
    box.environment[3] = "CREEL_BUILD_DIR=/not/ours";
    box.environment[4] = "CREEL_WEB__LISTEN=";
    box.environment[5] = "OTHER__STORE__DIR=relative";
    box.environment[6] = "CREEL_=__";
    const struct config_values *v = case_values(
        "sync: {remotes: {cloud: {type: azure, url: https://acct.blob.core.windows.net}}}\n"
        "web: {listen: off}\n");
    ck_assert_uint_eq(v->camera_count, 1);
    ck_assert_str_eq(v->cameras[0].name, "front-door");
    ck_assert_str_eq(v->sync.remotes[0].account_key, "a2V5");
    ck_assert_uint_eq(v->triage.rule_count, 2);
    ck_assert_str_eq(v->triage.rules[1], "unsure");
    ck_assert_str_eq(v->webui.listen, "127.0.0.1:8080");
}
END_TEST

START_TEST(missing_files) {
    struct config_source source = {.path = box.main_path};
    ck_assert_int_eq(config_load(&source, &box.config, &box.problems, &box.err), ERR_CONFIG);
    ck_assert_ptr_nonnull(strstr(case_problems(), "creel.yaml"));
    ck_assert_ptr_nonnull(strstr(box.err.msg, "creel.yaml"));
    struct config_source standard = {.path = NULL};
    if (access(CONFIG_DEFAULT_PATH, F_OK) != 0) {
        ck_assert_int_eq(config_load(&standard, &box.config, NULL, &box.err), 0);
    }
}
END_TEST

START_TEST(socket_and_state_follow) {
    char expected[160];
    char text[256];
    snprintf(text, sizeof(text), "store: {dir: %s/store}\n", box.dir);
    snprintf(expected, sizeof(expected), "%s/store/control.sock", box.dir);
    ck_assert_str_eq(case_values(text)->control_socket, expected);
    box.environment[0] = "STATE_DIRECTORY=/var/lib/creel";
    ck_assert_str_eq(case_values(text)->store.state_dir, "/var/lib/creel");
    ck_assert_ptr_null(case_values("store: {dir: /var/lib/creel}\n")->store.state_dir);
    ck_assert_str_eq(case_values("store: {dir: /var/lib/creel2}\n")->store.state_dir,
                     "/var/lib/creel");
}
END_TEST

/* ---- what is wrong ---- */

struct mistake {
    const char *yaml, *problem;
};

static const struct mistake mistakes[] = {
    {"store:\n  quotta: 5GiB\n",
     "creel.yaml:2:3: store.quotta: unknown key; did you mean store.quota?"},
    {"\n\nstorre: {}\n", "creel.yaml:3:1: storre: unknown key; did you mean store?"},
    {"quota: 5GiB\n", "creel.yaml:1:1: quota: unknown key; did you mean store.quota?"},
    {"xyzzy: 5\n", "creel.yaml:1:1: xyzzy: unknown key; `creel config sample` prints them all"},
    {"cameras:\n  dock:\n    sorce: 'demo:'\n",
     "creel.yaml:3:5: cameras.dock.sorce: unknown key; did you mean cameras.dock.source?"},
    {"store: {quota: 20 bananas}\n",
     "creel.yaml:1:16: store.quota: found \"20 bananas\", expected a size such as 20GiB or a share "
     "such as 50% (at least 16MiB), or off"},
    {"store:\n  tiers:\n    annotated: {max_age: 30}\n",
     "creel.yaml:3:26: store.tiers.annotated.max_age: found \"30\", expected a duration such as "
     "30d, "
     "90m or 10s, at least 1s, or off"},
    {"inference: {workers: 65}\n", "creel.yaml:1:22: inference.workers: found \"65\", expected a "
                                   "whole number from 1 to 64, or auto"},
    {"inference: {floor: 0}\n", "creel.yaml:1:20: inference.floor: found \"0\", expected a number "
                                "from 0.001 to 0.999"},
    {"cameras: {a: {source: 'demo:', rotation: 45}}\n",
     "creel.yaml:1:42: cameras.a.rotation: found \"45\", expected 0, 90, 180 or 270"},
    {"cameras: {a: {source: 'demo:', region: 0.5 0 0.6 1}}\n",
     "creel.yaml:1:40: cameras.a.region: found \"0.5 0 0.6 1\", expected a box x y w h in parts of "
     "the picture such as \"0 0.5 1 0.5\", within it, or whole"},
    {"cameras: {a: {source: 'demo:', privacy: [0 0 1 1, 0 0 640 480]}}\n",
     "creel.yaml:1:51: cameras.a.privacy: found 0 0 640 480, expected a box (x y w h) or a polygon "
     "(x y x y x y ...) in parts of the picture, each number from 0 to 1"},
    {"web: {next_free_port: yes}\n",
     "creel.yaml:1:23: web.next_free_port: found \"yes\", expected true or false"},
    {"sync: {order: oldset}\n",
     "creel.yaml:1:15: sync.order: found \"oldset\", expected oldest, newest or value"},
    {"web: {link_ttl: 1500ms}\n", "creel.yaml:1:17: web.link_ttl: found \"1500ms\", expected a "
                                  "duration from 1s to 1w in whole seconds"},
    {"store: {segment_size: 2GiB}\n", "creel.yaml:1:23: store.segment_size: found \"2GiB\", "
                                      "expected a size from 1MiB to 1GiB"},
    {"store: {dir: relative/path}\n", "creel.yaml:1:14: store.dir: found \"relative/path\", "
                                      "expected an absolute path"},
    {"web: {listen: \"8080\"}\n",
     "creel.yaml:1:15: web.listen: found \"8080\", expected an address and port such as "
     "127.0.0.1:8080 or [::1]:8080, or off"},
    {"device: {id: Front Door}\n",
     "creel.yaml:1:14: device.id: found \"Front Door\", expected a name "
     "of a-z, 0-9 and -, at most 32 long, or auto"},
    {"version: 2\n", "creel.yaml:1:10: version: found \"2\", expected 1"},
    {"model: {device: cuda}\n",
     "creel.yaml:1:17: model.device: found \"cuda\", expected auto, cpu or cuda:N"},
    {"store: 5\n", "creel.yaml:1:8: store: found a single value, expected keys below it, such as "
                   "store.dir"},
    {"store: [5]\n",
     "creel.yaml:1:8: store: found a list, expected keys below it, such as store.dir"},
    {"store: {dir: {a: b}}\n",
     "creel.yaml:1:14: store.dir: found a map, expected an absolute path"},
    {"store: {dir: [/a]}\n", "creel.yaml:1:14: store.dir: found a list, expected an absolute path"},
    {"triage: {rules: [unsure, 'No Name']}\n",
     "creel.yaml:1:26: triage.rules: found \"No Name\", expected a name of a-z, 0-9 and -"},
    {"triage: {rules: []}\n",
     "creel.yaml:1:17: triage.rules: found \"\", expected a list of at most "
     "32 names such as [unsure, confident]"},
    {"cameras: {Dock: {source: 'demo:'}}\n",
     "creel.yaml:1:11: cameras.Dock: found \"Dock\", expected "
     "a name of a-z, 0-9 and -, at most 32 long"},
    {"cameras: {dock: {}}\n", "creel.yaml:1:17: cameras.dock: is empty, expected keys such as "
                              "cameras.*.source"},
    {"cameras:\n  dock:\n    fps: 2\n",
     "creel.yaml:3:10: cameras.dock.source: is missing, expected a text of one line"},
    {"sync: {remotes: {x: {path: /a}}}\n",
     "creel.yaml:1:28: sync.remotes.x.type: is missing, expected directory, azure or s3"},
    {"store: {dir: /a}\nweb: {}\nstore: {dir: /b}\n",
     "creel.yaml:3:1: store: given twice; first in line 1"},
    {"store:\n  dir: /a\n  dir: /a\n", "creel.yaml:3:3: store.dir: given twice; first in line 2"},
    {"store.dir: /a\n",
     "creel.yaml:1:1: store.dir: a key with a dot; write each part on its own line, indented"},
    {"? [a]\n: b\n", "creel.yaml:1:3: found a list as a key, expected a word"},
    {"- a\n", "creel.yaml:1:1: found a list, expected keys such as \"store:\" and \"cameras:\""},
    {"hello\n",
     "creel.yaml:1:1: found a single value, expected keys such as \"store:\" and \"cameras:\""},
    {"---\nversion: 1\n---\nversion: 1\n",
     "creel.yaml:3:1: a second document, expected one a file"},
    {"store: {dir: \"/a\\0b\"}\n",
     "creel.yaml:1:14: store.dir: a NUL character, or more than 4096 bytes"},
    {"store: {dir: \"/a\\nb\"}\n",
     "creel.yaml:1:14: store.dir: found \"/a?b\", expected an absolute path"},
    {"store: {dir: ''}\n", "creel.yaml:1:14: store.dir: found \"\", expected an absolute path"},
    {"triage: {rules: [unsure, flickr]}\n",
     "creel.yaml:1:17: triage.rules: there is no rule 'flickr'; known are: unsure, confident, "
     "empty-sample, band, margin, rare, count, disagreement, flicker, novelty, sample, schedule, "
     "trigger, and those of triage.define"},
    {"triage:\n  define:\n    dark: {kind: unsure, hours: 18-6}\n",
     "creel.yaml:3:33: triage.define.dark.hours: schedule entry '18-6': expected days and hours "
     "such as 'mon-fri 07:00-19:00', 'sat' or '22:00-06:00'"},
    {"triage:\n  define:\n    crowd: {tier: auto, kind: count}\n",
     "creel.yaml:3:19: triage.define.crowd: a rule that counts needs min, max or both, min not "
     "above max"},
    {"triage:\n  define:\n    odd: {kind: flicer}\n",
     "creel.yaml:3:17: triage.define.odd.kind: found \"flicer\", expected auto, unsure, confident, "
     "empty-sample, band, margin, rare, count, disagreement, flicker, novelty, sample, schedule or "
     "trigger"},
    {"triage:\n  define:\n    odd: {kind: unsure, classes: ['a,b']}\n",
     "creel.yaml:3:35: triage.define.odd.classes: found \"a,b\", expected a class, without commas"},
    {"triage: {confident: 0.2, uncertain: 0.2}\n",
     "creel.yaml:1:21: triage.confident: found 0.2, expected more than triage.uncertain (0.2)"},
    {"inference: {floor: 0.3}\n",
     "creel.yaml:1:20: triage.uncertain: found 0.15, expected at least inference.floor (0.3)"},
    {"sync: {backoff: {base: 10s, max: 5s}}\n",
     "creel.yaml:1:34: sync.backoff.max: is less than sync.backoff.base"},
    {"ingest: {listen: \"[::]:8081\"}\n",
     "creel.yaml:1:18: ingest.listen: [::]:8081 is open to other machines; set ingest.token, or "
     "listen on 127.0.0.1"},
    {"web: {listen: \"127.0.0.1:8081\"}\n",
     "creel.yaml:1:15: ingest.listen: 127.0.0.1:8081 is that of web.listen too"},
};

START_TEST(each_mistake_has_its_message) {
    case_wrong(mistakes[_i].yaml, mistakes[_i].problem);
}
END_TEST

START_TEST(not_yaml) {
    static const char *const broken[] = {"store: {dir: /a\n", "a: b: c\n",  "\tstore: 1\n",
                                         "store: *nowhere\n", "%%%\n",      "store: \"\\xZZ\"\n",
                                         "\xff\xfe\xfd",      "a: !!foo [", "- {\n"};
    for (size_t i = 0; i < ARRAY_LENGTH(broken); i++) {
        int rc = case_load(broken[i]);
        ck_assert_msg(rc == ERR_CONFIG, "\"%s\" gave %d", broken[i], rc);
        ck_assert_msg(strstr(case_problems(), "creel.yaml") != NULL, "%s", case_problems());
        ck_assert_msg(strstr(case_problems(), "YAML") != NULL, "%s", case_problems());
    }
}
END_TEST

START_TEST(all_problems_at_once) {
    ck_assert_int_eq(case_load("store: {quotta: 1, dir: x}\nweb: {listen: y}\n"), ERR_CONFIG);
    size_t lines = 0;
    for (const char *p = case_problems(); *p != '\0'; p++) {
        lines += *p == '\n' ? 1 : 0;
    }
    ck_assert_uint_eq(lines, 3);
    ck_assert_ptr_nonnull(strstr(box.err.msg, "did you mean store.quota? (and 2 more)"));
}
END_TEST

START_TEST(problems_are_bounded) {
    struct buf yaml = BUF_INIT(1u << 20);
    for (int i = 0; i < 400; i++) {
        buf_printf(&yaml, "key%d: 1\n", i);
    }
    ck_assert_int_eq(case_load(yaml.data), ERR_CONFIG);
    ck_assert_ptr_nonnull(strstr(case_problems(), "and 336 more\n"));
    ck_assert_uint_lt(box.problems.len, 16384);
    buf_finish(&yaml);
}
END_TEST

START_TEST(wrong_layers) {
    case_write("creel.yaml", "");
    box.flags[0] = "store.quotta=1";
    box.flag_count = 1;
    case_wrong(NULL, "command line: store.quotta: unknown key; did you mean store.quota?");
    box.flags[0] = "store";
    case_wrong(NULL,
               "command line: found \"store\", expected key=value such as store.dir=/srv/creel");
    box.flags[0] = "store=/a";
    case_wrong(NULL, "command line: store: is a section; name one of its keys, such as store.dir");
    box.flags[0] = "cameras.No.source=demo:";
    case_wrong(NULL,
               "command line: cameras.No.source: expected a name of a-z, 0-9 and -, at most 32 "
               "long, for the * of cameras.*.source");
    box.flag_count = 0;
    box.environment[0] = "CREEL_STORE__QUOTTA=1";
    case_wrong(NULL, "environment CREEL_STORE__QUOTTA: store.quotta: unknown key; did you mean "
                     "store.quota?");
    box.environment[0] = "CREEL_STORE__QUOTA=much";
    case_wrong(NULL, "environment CREEL_STORE__QUOTA: store.quota: found \"much\", expected a size "
                     "such as 20GiB or a share such as 50% (at least 16MiB), or off");
    box.environment[0] = NULL;
    conf_d();
    case_write("conf.d/a.yaml", "web: {listen: x}\n");
    ck_assert_int_eq(case_load(NULL), ERR_CONFIG);
    ck_assert_ptr_nonnull(strstr(case_problems(), "/conf.d/a.yaml:1:15: web.listen: "));
}
END_TEST

/* A million brackets, an alias that leads to its own parent, aliases that double: none may take
 * long or much memory, and each is told. */
START_TEST(hostile_files) {
    size_t size = 900000;
    char *deep = malloc(size + 1);
    ck_assert_ptr_nonnull(deep);
    memset(deep, '[', size);
    deep[size] = '\0';
    int64_t begin = clock_boot_us();
    ck_assert_int_eq(case_load(deep), ERR_CONFIG);
    ck_assert_ptr_nonnull(strstr(case_problems(), "nested deeper than 16"));
    memset(deep, 'a', size);
    ck_assert_int_eq(case_load(deep), ERR_CONFIG);
    free(deep);

    ck_assert_int_eq(case_load("store: &a {tiers: *a}\n"), ERR_CONFIG);
    ck_assert_int_eq(case_load("cameras: &a {b: *a, c: *a}\n"), ERR_CONFIG);
    struct buf yaml = BUF_INIT(1u << 20);
    for (int i = 0; i < 30000; i++) {
        buf_printf(&yaml, "- %d\n", i);
    }
    ck_assert_int_eq(case_load(yaml.data), ERR_CONFIG);
    ck_assert_ptr_nonnull(strstr(case_problems(), "more than 20000 values"));
    buf_reset(&yaml);
    for (int i = 0; i < 600; i++) {
        buf_printf(&yaml, "k%d: 1\n", i);
    }
    case_wrong(yaml.data, "creel.yaml:1:1: more than 512 keys in one map");
    buf_finish(&yaml);
    ck_assert_int_lt(clock_boot_us() - begin, 20 * 1000000LL);
}
END_TEST

START_TEST(too_large_or_not_a_file) {
    char *big = malloc((1u << 20) + 2);
    ck_assert_ptr_nonnull(big);
    memset(big, '#', (1u << 20) + 1);
    big[(1u << 20) + 1] = '\0';
    case_wrong(big, "creel.yaml: larger than 1 MiB");
    free(big);
    unlink(box.main_path);
    ck_assert_int_eq(mkdir(box.main_path, 0700), 0);
    ck_assert_int_eq(case_load(NULL), ERR_CONFIG);
    ck_assert_ptr_nonnull(strstr(case_problems(), "creel.yaml"));
}
END_TEST

START_TEST(too_many_of_a_group) {
    struct buf yaml = BUF_INIT(1u << 20);
    buf_puts(&yaml, "cameras:\n");
    for (int i = 0; i <= SOURCE_CAMERAS_MAX; i++) {
        buf_printf(&yaml, "  c%d: {source: 'demo:'}\n", i);
    }
    case_wrong(yaml.data, "creel.yaml:66:17: cameras.c64.source: more than 64 of cameras");
    buf_finish(&yaml);
}
END_TEST

/* Whatever single allocation fails, the load says so and nothing leaks. */
START_TEST(memory_runs_out) {
    case_write("creel.yaml", everything);
    struct config_source source = {.path = box.main_path};
    int rc = ERR_NOMEM;
    for (long calls = 0; calls < 4000 && rc != 0; calls++) {
        struct err err = {0};
        mem_fail_after(calls);
        rc = config_load(&source, &box.config, NULL, &err);
        mem_fail_after(-1);
        ck_assert_msg(rc == 0 || err.msg[0] != '\0', "call %ld", calls);
    }
    ck_assert_int_eq(rc, 0);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("config load");
    TCase *tests = tcase_create("load");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, case_begin, case_end);
    tcase_add_test(tests, empty_file_runs);
    tcase_add_test(tests, rules_are_defined_by_name);
    tcase_add_test(tests, device_auto_is_stable);
    tcase_add_test(tests, every_key_reaches_its_field);
    tcase_add_test(tests, every_store_key_reaches_its_field);
    tcase_add_test(tests, every_sync_and_web_key_reaches_its_field);
    tcase_add_test(tests, anchors);
    tcase_add_test(tests, layers_in_order);
    tcase_add_test(tests, dropins_merge_and_take_back);
    tcase_add_test(tests, environment_names);
    tcase_add_test(tests, missing_files);
    tcase_add_test(tests, socket_and_state_follow);
    tcase_add_loop_test(tests, each_mistake_has_its_message, 0, (int)ARRAY_LENGTH(mistakes));
    tcase_add_test(tests, not_yaml);
    tcase_add_test(tests, all_problems_at_once);
    tcase_add_test(tests, problems_are_bounded);
    tcase_add_test(tests, wrong_layers);
    tcase_add_test(tests, hostile_files);
    tcase_add_test(tests, too_large_or_not_a_file);
    tcase_add_test(tests, too_many_of_a_group);
    tcase_add_test(tests, memory_runs_out);
    suite_add_tcase(suite, tests);
    return case_run(suite);
}
