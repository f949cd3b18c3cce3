/* form: the fields of a body of type application/x-www-form-urlencoded (HTML 4.10.21.6). Pure. */
#ifndef CREEL_WEBUI_FORM_H
#define CREEL_WEBUI_FORM_H

#include <stdbool.h>
#include <stddef.h>

/* The first field of that name, decoded; false, and `out` is "", when it is not there, does not fit
 * with its NUL, or holds a broken escape or a NUL. */
bool webui__form_get(const char *body, size_t size, const char *name, char *out, size_t room);

#endif
