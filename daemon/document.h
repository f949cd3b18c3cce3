/* document: JSON of requests and answers, read and printed.
 *
 * Thread: any; borrows what it is given unless said otherwise.
 */
#ifndef CREEL_DAEMON_DOCUMENT_H
#define CREEL_DAEMON_DOCUMENT_H

#include <jansson.h>

/* "" and 0 for what is not there, or something else. */
const char *document_text(const json_t *object, const char *key);
json_int_t document_number(const json_t *object, const char *key);

/* One line on standard output. */
void document_print(const json_t *object);
void document_print_taken(json_t *object); /* takes the reference */

#endif
