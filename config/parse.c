/* parse: a key's text into its value, and the sentence that says what would have been right.
 */
#include "config/inside.h"
#include "daemon/base/fs.h"
#include <stdio.h>
#include <string.h>

static bool in_range(const struct key *key, double value) {
    bool bounded = key->max > 0;
    return value >= key->min && (!bounded || value <= key->max);
}

static bool parse_text(const struct key *key, const char *text, struct key_value *out) {
    (void)key, (void)out;
    return config__text_valid(text);
}

static bool parse_path(const struct key *key, const char *text, struct key_value *out) {
    (void)key, (void)out;
    return text[0] == '/' && strlen(text) < FS_PATH_MAX && config__text_valid(text);
}

static bool parse_url(const struct key *key, const char *text, struct key_value *out) {
    (void)key, (void)out;
    return config__parse_url(text);
}

static bool parse_listen(const struct key *key, const char *text, struct key_value *out) {
    (void)key;
    return config__parse_listen(text, &out->flag);
}

static bool parse_name(const struct key *key, const char *text, struct key_value *out) {
    (void)key, (void)out;
    return config__name_valid(text);
}

static bool parse_names(const struct key *key, const char *text, struct key_value *out) {
    (void)key;
    out->whole = 0;
    for (const char *at = text;; at++) {
        char name[FRAME_NAME_MAX + 2];
        size_t length = strcspn(at, ",");
        if (length > FRAME_NAME_MAX || out->whole == TRIAGE_RULES_MAX) {
            return false;
        }
        memcpy(name, at, length);
        name[length] = '\0';
        if (!config__name_valid(name)) {
            return false;
        }
        out->whole++;
        at += length;
        if (*at == '\0') {
            return true;
        }
    }
}

static bool parse_labels(const struct key *key, const char *text, struct key_value *out) {
    (void)key;
    out->whole = 0;
    for (const char *at = text;; at++) {
        size_t length = strcspn(at, ",");
        if (length == 0 || length > FRAME_LABEL_MAX || out->whole == TRIAGE_NAMES_MAX) {
            return false;
        }
        out->whole++;
        at += length;
        if (*at == '\0') {
            return config__text_valid(text);
        }
    }
}

static bool parse_device(const struct key *key, const char *text, struct key_value *out) {
    (void)key;
    if (strcmp(text, "auto") == 0 || strcmp(text, "cpu") == 0) {
        return true;
    }
    return strncmp(text, "cuda:", 5) == 0 && config__parse_whole(text + 5, &out->whole) &&
           out->whole >= 0 && out->whole < 64;
}

static bool parse_bool(const struct key *key, const char *text, struct key_value *out) {
    (void)key;
    return config__parse_bool(text, &out->flag);
}

static bool parse_whole(const struct key *key, const char *text, struct key_value *out) {
    return config__parse_whole(text, &out->whole) && in_range(key, (double)out->whole);
}

static bool parse_real(const struct key *key, const char *text, struct key_value *out) {
    return config__parse_real(text, &out->real) && in_range(key, out->real);
}

static bool parse_size(const struct key *key, const char *text, struct key_value *out) {
    uint64_t bytes;
    if (!config__parse_size(text, &bytes) || !in_range(key, (double)bytes)) {
        return false;
    }
    out->whole = (int64_t)bytes;
    return true;
}

static bool parse_size_or_share(const struct key *key, const char *text, struct key_value *out) {
    out->is_share = config__parse_share(text, &out->real);
    return out->is_share || parse_size(key, text, out);
}

static bool parse_duration(const struct key *key, const char *text, struct key_value *out) {
    return config__parse_duration(text, &out->whole) && in_range(key, (double)out->whole) &&
           (key->divide == 0 || out->whole % key->divide == 0);
}

static bool parse_choice(const struct key *key, const char *text, struct key_value *out) {
    size_t length = strlen(text);
    int64_t index = (int64_t)key->min;
    for (const char *at = key->choices;; at++, index++) {
        size_t here = strcspn(at, "|");
        if (here == length && strncmp(at, text, length) == 0) {
            out->whole = index;
            return true;
        }
        at += here;
        if (*at == '\0') {
            return false;
        }
    }
}

static bool parse_region(const struct key *key, const char *text, struct key_value *out) {
    struct frame_box box;
    (void)key, (void)out;
    return view_region_parse(text, &box);
}

static bool parse_shapes(const struct key *key, const char *text, struct key_value *out) {
    struct view_mask mask;
    (void)key, (void)out;
    return view_mask_parse(text, &mask);
}

struct type {
    bool (*parse)(const struct key *key, const char *text, struct key_value *out);
    const char *expected;       /* without a range */
    const char *expected_range; /* before "from … to …"; NULL: has no range */
};

static const struct type types[] = {
    [KEY_TEXT] = {parse_text, "a text of one line", NULL},
    [KEY_PATH] = {parse_path, "an absolute path", NULL},
    [KEY_URL] = {parse_url, "a URL that begins with https:// or http://", NULL},
    [KEY_LISTEN] = {parse_listen, "an address and port such as 127.0.0.1:8080 or [::1]:8080", NULL},
    [KEY_NAME] = {parse_name, "a name of a-z, 0-9 and -, at most 32 long", NULL},
    [KEY_NAMES] = {parse_names, "a list of at most 32 names such as [unsure, confident]", NULL},
    [KEY_LABELS] = {parse_labels, "a list of at most 64 classes such as [person, traffic light]",
                    NULL},
    [KEY_DEVICE] = {parse_device, "auto, cpu or cuda:N", NULL},
    [KEY_BOOL] = {parse_bool, "true or false", NULL},
    [KEY_WHOLE] = {parse_whole, "a whole number", "a whole number"},
    [KEY_REAL] = {parse_real, "a number", "a number"},
    [KEY_SIZE] = {parse_size, "a size such as 20GiB", "a size"},
    [KEY_SIZE_OR_SHARE] = {parse_size_or_share, "a size such as 20GiB or a share such as 50%",
                           NULL},
    [KEY_DURATION] = {parse_duration, "a duration such as 30d, 90m or 10s", "a duration"},
    [KEY_CHOICE] = {parse_choice, NULL, NULL},
    [KEY_SECRET] = {parse_text, "${VARIABLE}, file:PATH, credential:NAME or the secret itself",
                    NULL},
    [KEY_REGION] = {parse_region,
                    "a box x y w h in parts of the picture such as \"0 0.5 1 0.5\", within it",
                    NULL},
    [KEY_SHAPES] =
        {parse_shapes,
         "at most 16 boxes (x y w h) or polygons (x y x y x y ..., at most 24 points) in "
         "parts of the picture such as [\"0 0 1 0.1\", \"0.5 1 0.7 0.6 0.9 1\"]",
         NULL},
};

bool config__key_parse(const struct key *key, const char *text, struct key_value *out) {
    *out = (struct key_value){0};
    if (key->word != NULL && strcmp(text, key->word) == 0) {
        out->is_word = true;
        out->whole = key->word_value;
        return true;
    }
    return types[key->type].parse(key, text, out);
}

static void format_bound(const struct key *key, double bound, char *out, size_t size) {
    if (key->type == KEY_REAL) {
        snprintf(out, size, "%g", bound);
    } else if (key->type == KEY_WHOLE) {
        snprintf(out, size, "%.0f", bound);
    } else if (key->type == KEY_DURATION) {
        config__format_duration((int64_t)bound, out, size);
    } else {
        config__format_size((uint64_t)bound, out, size);
    }
}

static void expected_range(const struct key *key, const struct type *type, struct buf *out) {
    char low[32], high[32];
    format_bound(key, key->min, low, sizeof(low));
    format_bound(key, key->max, high, sizeof(high));
    if (key->max > 0 && key->min >= key->max) {
        buf_puts(out, low);
    } else if (key->max > 0) {
        buf_printf(out, "%s from %s to %s", type->expected_range, low, high);
    } else {
        buf_printf(out, "%s, at least %s", type->expected, low);
    }
    if (key->type == KEY_DURATION && key->divide == 1000) {
        buf_puts(out, " in whole seconds");
    }
}

static void expected_choice(const struct key *key, struct buf *out) {
    for (const char *at = key->choices; *at != '\0';) {
        size_t here = strcspn(at, "|");
        bool last = at[here] == '\0';
        const char *joint = at == key->choices ? "" : last ? " or " : ", ";
        buf_printf(out, "%s%.*s", joint, (int)here, at);
        at += here + (last ? 0 : 1);
    }
}

void config__key_expected(const struct key *key, struct buf *out) {
    const struct type *type = &types[key->type];
    if (key->type == KEY_CHOICE) {
        expected_choice(key, out);
    } else if (type->expected_range != NULL && (key->max > 0 || key->min > 0)) {
        expected_range(key, type, out);
    } else {
        buf_puts(out, type->expected);
        if (key->type == KEY_SIZE_OR_SHARE && key->min > 0) {
            char low[32];
            config__format_size((uint64_t)key->min, low, sizeof(low));
            buf_printf(out, " (at least %s)", low);
        }
    }
    if (key->word != NULL) {
        buf_printf(out, ", or %s", key->word);
    }
}
