/* json: a frame in the words of others. webui_frame_json (webui.h) is here too.
 *
 * Thread: any; pure.
 */
#ifndef CREEL_WEBUI_JSON_H
#define CREEL_WEBUI_JSON_H

#include "daemon/base/frame_json.h"
#include "schemas/frame.h"
#include "store/store.h"
#include <jansson.h>
#include <stdbool.h>

/* "" where there is no such text. */
const char *webui__json_text(const json_t *object, const char *key);

/* "pending", "done", "quarantined", or "none" where no remote has or wants the frame. */
const char *webui__sync_state(const struct store_row *row);

/* The box within the picture, rounded so that its sums stay within 1 also in decimals. */
struct frame_box webui__box_clipped(const struct frame_box *box);

/* Whether a caller wants to hear of it: at least `threshold`, and in the comma-separated `classes`
 * ("": all). */
bool webui__detection_asked(const struct frame_detection *found, double threshold,
                            const char *classes);

/* The answer of /score in the form of the Live Video Analytics inference extension: one entity a
 * detection of at least `threshold` whose label is in the comma-separated `classes` ("": all).
 * Boxes are clipped so that l + w <= 1 and t + h <= 1. `*count` is how many; with none, `*out` is
 * left alone (the answer is 204). ERR_NOMEM. */
int webui__lva_format(const struct frame_record *record, double threshold, const char *classes,
                      json_t **out, size_t *count);

#endif
