#include "daemon/document.h"
#include <stdio.h>

const char *document_text(const json_t *object, const char *key) {
    const char *value = json_string_value(json_object_get(object, key));
    return value ? value : "";
}

json_int_t document_number(const json_t *object, const char *key) {
    return json_integer_value(json_object_get(object, key));
}

void document_print(const json_t *object) {
    json_dumpf(object, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
    putchar('\n');
}

void document_print_taken(json_t *object) {
    document_print(object);
    json_decref(object);
}
