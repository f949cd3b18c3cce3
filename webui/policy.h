/* policy: the Content-Security-Policy of every page: what a browser may load, and from where.
 *
 * Everything comes from this server; pictures also from where links to the cloud lead, which is the
 * configuration's to say and nobody else's. Thread: any.
 */
#ifndef CREEL_WEBUI_POLICY_H
#define CREEL_WEBUI_POLICY_H

#include "daemon/base/err.h"

/* `origins` is "https://a.example https://b.example:9000", or NULL. A new text to free. ERR_CONFIG
 * names what is no origin: it would end the directive and begin another. */
int webui__policy_make(const char *origins, char **out, struct err *err);

#endif
