/* multipart: one part out of a form (RFC 7578) that lies in memory.
 *
 * Pure; nothing is copied. Thread: any.
 */
#ifndef CREEL_WEBUI_MULTIPART_H
#define CREEL_WEBUI_MULTIPART_H

#include <stdbool.h>
#include <stddef.h>

#define WEBUI__BOUNDARY_SIZE 71 /* RFC 2046 5.1.1: at most 70 letters; and the NUL */

/* The boundary of a Content-Type; false where there is none, or none that may be. */
bool webui__multipart_boundary(const char *type, char out[WEBUI__BOUNDARY_SIZE]);

/* The content of the first part of that name, inside `body`. NULL, or what is wrong. */
const char *webui__multipart_find(const char *body, size_t size, const char *boundary,
                                  const char *name, const char **part, size_t *part_size);

#endif
