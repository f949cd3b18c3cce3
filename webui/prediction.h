/* prediction: a verdict in the words of Azure's Custom Vision.
 *
 * Thread: any; pure.
 */
#ifndef CREEL_WEBUI_PREDICTION_H
#define CREEL_WEBUI_PREDICTION_H

#include "schemas/frame.h"
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* The answer of /image: one prediction a detection that was asked for, or, with `whole_picture`,
 * one a class, of the most certain detection and without a box. A classifier's tags have none
 * either. `project` and `tagId` follow from the names of model and class, `iteration` from the
 * model's files, so that they are the same in every answer. `*count` is how many there are. NULL:
 * no memory. */
json_t *webui__prediction_format(const struct frame_record *record, double threshold,
                                 const char *classes, bool whole_picture, size_t *count);

#endif
