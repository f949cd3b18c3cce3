/* secret: what the reference in a configuration leads to.
 *
 * "${NAME}" is a variable, "file:PATH" the first line of a file, "credential:NAME" a file in the
 * directory that systemd hands over (LoadCredential=, in CREDENTIALS_DIRECTORY). Anything else is
 * the secret itself, which is accepted from the environment, and from a file that not everybody on
 * the machine can read; never from the command line, which everybody can read in /proc. No message
 * here shows a secret, nor a part of one.
 */
#include "config/inside.h"
#include "daemon/base/fs.h"
#include <stdio.h>
#include <string.h>

static const char *from_variable(struct load *load, const struct setting *setting) {
    char name[CONFIG__PATH_MAX + 1];
    size_t length = strlen(setting->text);
    if (length < 4 || setting->text[length - 1] != '}' || length - 3 > CONFIG__PATH_MAX) {
        config__problem(load, &setting->origin, setting->path,
                        "expected ${VARIABLE} and nothing behind it");
        return NULL;
    }
    snprintf(name, sizeof(name), "%.*s", (int)(length - 3), setting->text + 2);
    const char *value = config__getenv(load->source, name);
    if (value == NULL || *value == '\0') {
        config__problem(load, &setting->origin, setting->path,
                        "the environment variable %s is %s; set it, or use file:PATH or "
                        "credential:NAME",
                        name, value == NULL ? "not set" : "empty");
        return NULL;
    }
    return config__keep(load, value);
}

static const char *from_file(struct load *load, const struct setting *setting, const char *path) {
    struct buf text = BUF_INIT(CONFIG__SECRET_MAX);
    struct err err = {0};
    char why[ERR_TEXT_MAX];
    const char *kept = NULL;
    int rc = fs_read_file(path, &text, &err);
    size_t length = rc == 0 && text.data != NULL ? strcspn(text.data, "\r\n") : 0;
    if (rc != 0) {
        config__problem(load, &setting->origin, setting->path, "%s",
                        rc == ERR_FULL ? "its file is larger than 64 KiB"
                                       : err_text(&err, why, sizeof(why)));
    } else if (length == 0) {
        config__problem(load, &setting->origin, setting->path,
                        "the first line of %s is empty, expected the secret", path);
    } else {
        text.data[length] = '\0';
        kept = config__keep(load, text.data);
    }
    if (text.data != NULL) {
        explicit_bzero(text.data, text.len);
    }
    buf_finish(&text);
    return kept;
}

static const char *from_credential(struct load *load, const struct setting *setting,
                                   const char *name) {
    char path[FS_PATH_MAX];
    const char *dir = config__getenv(load->source, "CREDENTIALS_DIRECTORY");
    if (*name == '\0' || strchr(name, '/') != NULL) {
        config__problem(load, &setting->origin, setting->path,
                        "expected credential:NAME, with a name without slashes");
        return NULL;
    }
    if (dir == NULL || fs_join(path, sizeof(path), dir, name, NULL) != 0) {
        config__problem(
            load, &setting->origin, setting->path,
            "CREDENTIALS_DIRECTORY is not set; credential:%s needs LoadCredential=%s:PATH "
            "in creel's systemd unit",
            name, name);
        return NULL;
    }
    return from_file(load, setting, path);
}

static const char *from_itself(struct load *load, const struct setting *setting) {
    if (setting->origin.layer == LAYER_FLAG) {
        config__problem(load, &setting->origin, setting->path,
                        "a secret on the command line can be read by everybody; use ${VARIABLE}, "
                        "file:PATH or credential:NAME");
        return NULL;
    }
    if (setting->origin.layer == LAYER_FILE && setting->origin.world_readable) {
        config__problem(load, &setting->origin, setting->path,
                        "a secret in a file that everybody can read; chmod o-r the file, or use "
                        "${VARIABLE}, file:PATH or credential:NAME");
        return NULL;
    }
    return config__keep(load, setting->text);
}

const char *config__secret(struct load *load, const struct setting *setting) {
    const char *text = setting->text;
    if (strncmp(text, "${", 2) == 0) {
        return from_variable(load, setting);
    }
    if (strncmp(text, "file:", 5) == 0) {
        return from_file(load, setting, text + 5);
    }
    if (strncmp(text, "credential:", 11) == 0) {
        return from_credential(load, setting, text + 11);
    }
    return from_itself(load, setting);
}
