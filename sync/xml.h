/* xml: the lists that clouds answer with, leaf by leaf. Pure; bounded.
 *
 * No name spaces, no attributes, and a document type ends it: no list has one, and entities could
 * be made to explode.
 */
#ifndef CREEL_SYNC_XML_H
#define CREEL_SYNC_XML_H

#include <stdbool.h>
#include <stddef.h>

#define XML_TEXT_MAX  4096 /* of one leaf; a longer one ends the reading */
#define XML_PATH_MAX  256
#define XML_DEPTH_MAX 16

/* At the end of every element, inner ones first: its path without the root's name
 * ("UncommittedBlocks/Block/Name"; the root's own: "") and the text right within it. False: enough.
 */
typedef bool sync__xml_fn(void *ctx, const char *path, const char *text);

/* False when the text is no well-formed document, or too large in one of its parts; `root` (may be
 * NULL) must be the name of the outermost element. What came before a fault was told. */
bool sync__xml_read(const char *text, size_t size, const char *root, sync__xml_fn *each, void *ctx);

#endif
