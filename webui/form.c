#include "webui/form.h"
#include "daemon/base/hash.h"
#include <string.h>

static bool decode(const char *text, size_t size, char *out, size_t room) {
    size_t made = 0;
    for (size_t i = 0; i < size; i++) {
        char byte = text[i] == '+' ? ' ' : text[i];
        if (byte == '%') {
            char digits[3] = {0};
            memcpy(digits, text + i + 1, size - i - 1 < 2 ? size - i - 1 : 2);
            if (!hash_parse_hex(digits, &byte, 1)) {
                return false;
            }
            i += 2;
        }
        if (!byte || made + 1 >= room) {
            return false;
        }
        out[made++] = byte;
    }
    out[made] = '\0';
    return true;
}

bool webui__form_get(const char *body, size_t size, const char *name, char *out, size_t room) {
    const char *end = body + size;
    size_t name_size = strlen(name);
    out[0] = '\0';
    for (const char *at = body; size && at < end;) {
        const char *stop = memchr(at, '&', (size_t)(end - at));
        stop = stop ? stop : end;
        size_t length = (size_t)(stop - at);
        if (length > name_size && memcmp(at, name, name_size) == 0 && at[name_size] == '=') {
            bool right = decode(at + name_size + 1, length - name_size - 1, out, room);
            out[right ? strlen(out) : 0] = '\0';
            return right;
        }
        at = stop + 1;
    }
    return false;
}
