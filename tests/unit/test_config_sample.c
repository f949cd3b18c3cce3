/* The sample, the manual page and the key table say the same.
 */
#include "config/inside.h"
#include "daemon/base/fs.h"
#include "tests/unit/config_case.h"

/* The sample with the # taken off every line that is a key: "#key" or "#  key"; prose is "# word".
 */
static void uncomment(const char *sample, struct buf *out) {
    while (*sample != '\0') {
        size_t length = strcspn(sample, "\n");
        bool prose = sample[0] == '#' && sample[1] == ' ' && sample[2] != ' ';
        bool key = sample[0] == '#' && !prose && length > 1;
        buf_append(out, sample + (key ? 1 : 0), length - (key ? 1 : 0));
        buf_puts(out, "\n");
        sample += length + (sample[length] == '\n' ? 1 : 0);
    }
}

static void load_uncommented(void) {
    struct buf yaml = BUF_INIT(1u << 20);
    uncomment(config_sample(), &yaml);
    box.environment[0] = "AZURE_STORAGE_KEY=a2V5";
    box.environment[1] = "AZURE_STORAGE_SAS=sv=2024-11-04&sp=c&se=2030-01-01T00:00:00Z&sig=eA==";
    box.environment[2] = "AZURE_STORAGE_CONNECTION_STRING=AccountName=acct;AccountKey=a2V5;"
                         "BlobEndpoint=https://acct.blob.core.windows.net";
    box.environment[3] = "AWS_ACCESS_KEY_ID=AK";
    box.environment[4] = "AWS_SECRET_ACCESS_KEY=SK";
    box.environment[5] = "AWS_SESSION_TOKEN=ST";
    box.environment[6] = "CREEL_WEB_PASSWORD=x";
    box.environment[7] = "CREEL_INGEST_TOKEN=x";
    box.environment[8] = "AZURE_CLIENT_SECRET=x";
    box.environment[9] = "CREEL_DOCK_PASSWORD=x";
    case_values(yaml.data);
    buf_finish(&yaml);
}

START_TEST(sample_as_it_is_changes_nothing) {
    struct buf changed = BUF_INIT(65536);
    case_values(config_sample());
    struct config *sample = box.config;
    box.config = NULL;
    case_values("");
    ck_assert_msg(config_diff(sample, box.config, &changed) == 0, "%s", changed.data);
    config_destroy(sample);
}
END_TEST

/* Is `path` given, whatever names stand for its *? Returns its text. */
static const char *given(const struct key *key) {
    for (size_t i = 0; i < box.config->setting_count; i++) {
        if (box.config->settings[i].key == key) {
            return box.config->settings[i].text;
        }
    }
    return NULL;
}

START_TEST(sample_has_every_key) {
    load_uncommented();
    for (size_t k = 0; k < config__key_count; k++) {
        const struct key *key = &config__keys[k];
        const char *text = given(key);
        ck_assert_msg(text != NULL, "config/creel.yaml lacks %s", key->path);
        if (key->fallback != NULL && key->group == GROUP_NONE) {
            ck_assert_msg(strcmp(text, key->fallback) == 0,
                          "config/creel.yaml says %s for %s, the default is %s", text, key->path,
                          key->fallback);
        }
    }
}
END_TEST

START_TEST(manual_has_every_key) {
    struct buf page = BUF_INIT(1u << 20);
    ck_assert_int_eq(fs_read_file(CREEL_SOURCE_DIR "/config/man/creel.yaml.5", &page, &box.err), 0);
    for (size_t k = 0; k < config__key_count; k++) {
        const struct key *key = &config__keys[k];
        char line[CONFIG__PATH_MAX + 16], name[CONFIG__PATH_MAX + 1];
        config__key_path(key, "NAME", name);
        snprintf(line, sizeof(line), "\n.It Ic %s\n", name);
        ck_assert_msg(strstr(page.data, line) != NULL, "creel.yaml.5 lacks the line%s", line);
    }
    buf_finish(&page);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("config sample");
    TCase *tests = tcase_create("sample");
    tcase_add_checked_fixture(tests, case_begin, case_end);
    tcase_add_test(tests, sample_as_it_is_changes_nothing);
#if defined(HAVE_FFMPEG) /* a creel without it refuses the sample's cameras */
    tcase_add_test(tests, sample_has_every_key);
#endif
    tcase_add_test(tests, manual_has_every_key);
    suite_add_tcase(suite, tests);
    return case_run(suite);
}
