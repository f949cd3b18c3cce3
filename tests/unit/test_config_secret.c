/* Secrets: each way to give one, and that none ever shows; what `creel config show` prints; what
 * two loads differ in.
 */
#include "daemon/base/mem.h"
#include "tests/unit/config_case.h"

#define SECRET "hunter2-very-secret"

/* Nothing that anybody can read may hold the secret. */
static void assert_hidden(void) {
    ck_assert_ptr_null(strstr(case_problems(), SECRET));
    ck_assert_ptr_null(strstr(box.err.msg, SECRET));
    ck_assert_ptr_null(strstr(box.err.cause, SECRET));
    if (box.config != NULL) {
        struct buf shown = BUF_INIT(1u << 20);
        ck_assert_int_eq(config_show(box.config, true, &shown, NULL), 0);
        ck_assert_ptr_null(strstr(shown.data, SECRET));
        buf_finish(&shown);
    }
}

static void assert_password(const char *yaml) {
    ck_assert_str_eq(case_values(yaml)->webui.password, SECRET);
    assert_hidden();
}

static void assert_refused(const char *yaml, const char *part) {
    ck_assert_int_eq(case_load(yaml), ERR_CONFIG);
    ck_assert_msg(strstr(case_problems(), part) != NULL, "expected \"%s\" in: %s", part,
                  case_problems());
    assert_hidden();
}

START_TEST(literal) {
    assert_password("web: {password: " SECRET "}\n");
    ck_assert_int_eq(chmod(box.main_path, 0640), 0);
    ck_assert_int_eq(case_load(NULL), 0); /* the group creel may read it */
    ck_assert_int_eq(chmod(box.main_path, 0644), 0);
    assert_refused(NULL,
                   "creel.yaml:1:17: web.password: a secret in a file that everybody can read");
    assert_refused("web: {password: \"" SECRET "\\n\"}\n", "web.password: is empty, too long or");
    assert_refused("web: {password: ''}\n", "web.password: is empty, too long or");
    assert_refused("web: {password: {a: " SECRET "}}\n", "web.password: found a map");
}
END_TEST

START_TEST(variable) {
    box.environment[0] = "WEB_PASSWORD=" SECRET;
    box.environment[1] = "EMPTY=";
    assert_password("web: {password: \"${WEB_PASSWORD}\"}\n");
    ck_assert_int_eq(chmod(box.main_path, 0644), 0);
    assert_password(NULL);
    assert_refused("web: {password: '${NOT_THERE}'}\n",
                   ":1:17: web.password: the environment variable NOT_THERE is not set");
    assert_refused("web: {password: '${EMPTY}'}\n", "variable EMPTY is empty");
    assert_refused("web: {password: '${WEB_PASSWORD'}\n", "expected ${VARIABLE}");
    assert_refused("web: {password: '${}'}\n", "expected ${VARIABLE}");
    assert_refused("web: {password: '${WEB_PASSWORD}x'}\n", "expected ${VARIABLE}");
}
END_TEST

START_TEST(in_a_file) {
    char yaml[256];
    case_write("pw", SECRET "\n");
    snprintf(yaml, sizeof(yaml), "web: {password: \"file:%s/pw\"}\n", box.dir);
    assert_password(yaml);
    case_write("pw", SECRET "\r\nsecond line\n");
    assert_password(yaml);
    case_write("pw", "\n" SECRET);
    assert_refused(yaml, "/pw is empty, expected the secret");
    snprintf(yaml, sizeof(yaml), "web: {password: \"file:%s/none\"}\n", box.dir);
    assert_refused(yaml, "/none");
    snprintf(yaml, sizeof(yaml), "web: {password: \"file:%s\"}\n", box.dir);
    assert_refused(yaml, "web.password: ");
}
END_TEST

START_TEST(credential) {
    char directory[128];
    case_write("web", SECRET);
    assert_refused("web: {password: 'credential:web'}\n", "LoadCredential=web:PATH");
    snprintf(directory, sizeof(directory), "CREDENTIALS_DIRECTORY=%s", box.dir);
    box.environment[0] = directory;
    assert_password("web: {password: 'credential:web'}\n");
    assert_refused("web: {password: 'credential:../web'}\n", "without slashes");
    assert_refused("web: {password: 'credential:none'}\n", "/none");
}
END_TEST

START_TEST(by_layer) {
    box.environment[0] = "CREEL_WEB__PASSWORD=" SECRET;
    assert_password("");
    box.environment[0] = NULL;
    box.flags[0] = "web.password=" SECRET;
    box.flag_count = 1;
    assert_refused("", "command line: web.password: a secret on the command line");
    box.environment[0] = "PW=" SECRET;
    box.flags[0] = "web.password=${PW}";
    assert_password("");
}
END_TEST

START_TEST(without) {
    box.without_secrets = true;
    const struct config_values *values =
        case_values("web: {password: '${NOT_THERE}', listen: \"0.0.0.0:80\"}\n"
                    "sync: {remotes: {c: {type: azure, url: https://acct.blob.core.windows.net,\n"
                    "  account_key: '${NOR_THIS}'}}}\n");
    ck_assert_ptr_null(values->webui.password);
    ck_assert_ptr_null(values->sync.remotes[0].account_key);
    ck_assert_uint_eq(values->sync.remote_count, 1);
}
END_TEST

START_TEST(in_addresses) {
    case_values("cameras: {a: {source: 'demo:', fps: 1}}\n"
                "device: {tags: {u: \"rtsp://user:" SECRET
                "@10.0.0.4/s\", n: \"https://x/y?sig=" SECRET "&se=1\", w: \"rtsp://u:a@" SECRET
                "@h/\"}}\n");
    assert_hidden();
    struct buf shown = BUF_INIT(1u << 20);
    ck_assert_int_eq(config_show(box.config, false, &shown, NULL), 0);
    ck_assert_ptr_nonnull(strstr(shown.data, "rtsp://user:***@10.0.0.4/s"));
    ck_assert_ptr_nonnull(strstr(shown.data, "https://x/y?sig=***&se=1"));
    ck_assert_ptr_nonnull(strstr(shown.data, "rtsp://u:***@h/"));
    buf_finish(&shown);
    assert_refused("model: {dir: \"https://u:" SECRET "@x/\"}\n", "https://u:***@x/");
}
END_TEST

#if defined(HAVE_FFMPEG)
START_TEST(in_cameras) {
    case_values("cameras: {a: {source: \"snapshot:http://u:" SECRET "@h/p?usr=u&pwd=" SECRET
                "\", password: \"" SECRET "\"}}\n");
    assert_hidden();
    struct buf shown = BUF_INIT(1u << 20);
    ck_assert_int_eq(config_show(box.config, false, &shown, NULL), 0);
    ck_assert_ptr_nonnull(strstr(shown.data, "snapshot:http://***@h/p?***"));
    buf_finish(&shown);
}
END_TEST
#endif

/* ---- show ---- */

START_TEST(shows_where_from) {
    struct buf shown = BUF_INIT(1u << 20);
    box.environment[0] = "CREEL_STORE__QUOTA=3GiB";
    box.flags[0] = "store.min_free=1GiB";
    box.flag_count = 1;
    case_values("store:\n  dir: /srv/a b\n"
                "cameras:\n  dock:\n    source: 'demo:'\n"
                "web: {password: " SECRET "}\n");
    ck_assert_int_eq(config_show(box.config, true, &shown, NULL), 0);
    static const char *const parts[] = {
        "version: 1  # default\n",
        "cameras:\n  dock:\n    source: \"demo:\"  # from /tmp/creel-config-",
        "creel.yaml:5:13\n    fps: auto  # default (auto)\n",
        "\nstore:\n  dir: \"/srv/a b\"  # from /tmp/",
        "\n  quota: 3GiB  # from environment CREEL_STORE__QUOTA\n",
        "\n  min_free: 1GiB  # from command line\n",
        "\n  tiers:\n    annotated:\n      max_age: 30d  # default\n",
        "\n  rules: [unsure, confident, empty-sample]  # default\n",
        "\nweb:\n  listen: \"127.0.0.1:8080\"  # default\n",
        "\n  password: \"***\"  # from /tmp/",
        "\n  socket: \"/srv/a b/control.sock\"  # default (auto)\n",
    };
    for (size_t i = 0; i < ARRAY_LENGTH(parts); i++) {
        ck_assert_msg(strstr(shown.data, parts[i]) != NULL, "no \"%s\" in\n%s", parts[i],
                      shown.data);
    }
    ck_assert_ptr_null(strstr(shown.data, "remotes"));
    buf_finish(&shown);
}
END_TEST

/* What is printed can be read again, and means the same. */
START_TEST(show_reads_again) {
    struct buf first = BUF_INIT(1u << 20), second = BUF_INIT(1u << 20), changed = BUF_INIT(4096);
    struct config_source source = {.path = box.main_path};
    case_values("device: {id: x, tags: {a: \"null\", b: 'quote \" and \\\\'}}\n"
                "cameras: {c: {source: 'demo:'}, d: {source: 'demo:', fps: 2}}\n"
                "model: {dir: /m}\ncontrol: {socket: /s}\n"
                "store: {quota: 3GiB}\nsync: {remotes: {n: {type: directory, path: /m}}}\n");
    ck_assert_int_eq(config_show(box.config, true, &first, NULL), 0);
    case_write("creel.yaml", first.data);
    struct config *again = NULL;
    int rc = config_load(&source, &again, &box.problems, &box.err);
    ck_assert_msg(rc == 0, "%s", case_problems());
    ck_assert_msg(config_diff(box.config, again, &changed) == 0, "%s", changed.data);
    ck_assert_int_eq(config_show(box.config, false, &first, NULL), 0);
    ck_assert_int_eq(config_show(again, false, &second, NULL), 0);
    ck_assert_ptr_nonnull(strstr(first.data, second.data));
    config_destroy(again);
    buf_finish(&first);
    buf_finish(&second);
    buf_finish(&changed);
}
END_TEST

START_TEST(no_room) {
    struct buf small = BUF_INIT(100);
    case_values("");
    ck_assert_int_eq(config_show(box.config, false, &small, &box.err), ERR_NOMEM);
    buf_finish(&small);
}
END_TEST

/* ---- diff ---- */

static size_t diff(const char *before, const char *after, struct buf *changed) {
    case_values(before);
    struct config *old = TAKE_PTR(box.config);
    case_values(after);
    size_t count = config_diff(old, box.config, changed);
    config_destroy(old);
    return count;
}

START_TEST(differences) {
    struct buf changed = BUF_INIT(4096);
    ck_assert_uint_eq(diff("", "version: 1\nlog: {level: info}\n", &changed), 0);
    ck_assert_uint_eq(changed.len, 0);
    size_t count =
        diff("cameras: {a: {source: 'demo:'}, b: {source: 'demo:'}}\nlog: {level: info}\n",
             "cameras: {a: {source: 'demo:', fps: 2}, c: {source: 'demo:'}}\n"
             "log: {level: debug}\nstore: {quota: 1GiB}\n",
             &changed);
    ck_assert_str_eq(changed.data, "store.quota: needs a restart\n"
                                   "log.level: reloadable\n"
                                   "cameras.a.fps: needs a restart\n"
                                   "cameras.c.source: needs a restart\n"
                                   "cameras.b.source: needs a restart\n");
    ck_assert_uint_eq(count, 5);
    buf_finish(&changed);
}
END_TEST

START_TEST(a_changed_secret_is_a_difference) {
    char yaml[256];
    struct buf changed = BUF_INIT(4096);
    snprintf(yaml, sizeof(yaml), "web: {password: \"file:%s/pw\"}\n", box.dir);
    case_write("pw", "old");
    case_values(yaml);
    struct config *old = TAKE_PTR(box.config);
    case_write("pw", SECRET);
    case_values(yaml);
    ck_assert_uint_eq(config_diff(old, box.config, &changed), 1);
    ck_assert_str_eq(changed.data, "web.password: needs a restart\n");
    config_destroy(old);
    buf_finish(&changed);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("config secret");
    TCase *tests = tcase_create("secret");
    tcase_add_checked_fixture(tests, case_begin, case_end);
    tcase_add_test(tests, literal);
    tcase_add_test(tests, variable);
    tcase_add_test(tests, in_a_file);
    tcase_add_test(tests, credential);
    tcase_add_test(tests, by_layer);
    tcase_add_test(tests, without);
    tcase_add_test(tests, in_addresses);
#if defined(HAVE_FFMPEG)
    tcase_add_test(tests, in_cameras);
#endif
    tcase_add_test(tests, shows_where_from);
    tcase_add_test(tests, show_reads_again);
    tcase_add_test(tests, no_room);
    tcase_add_test(tests, differences);
    tcase_add_test(tests, a_changed_secret_is_a_difference);
    suite_add_tcase(suite, tests);
    return case_run(suite);
}
