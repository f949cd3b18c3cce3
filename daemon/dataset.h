/* dataset: a data set that grows frame by frame, for the web server, which sends it as it grows.
 *
 * The same files as `creel export` writes, from the formats of export.h; boxes from the model's
 * threshold up. The arguments are void * to fit webui_dataset_ops. Thread: one at a time.
 */
#ifndef CREEL_DAEMON_DATASET_H
#define CREEL_DAEMON_DATASET_H

#include "daemon/eyes.h"
#include "webui/webui.h"

struct dataset;

/* ERR_INVALID: no such format. */
int dataset_open(struct eyes *eyes, const char *format, struct dataset **out, struct err *err);
int dataset_add(void *dataset, const struct frame_record *record, char name[WEBUI_FILE_NAME],
                struct err *err);
int dataset_file(void *dataset, char name[WEBUI_FILE_NAME], char **bytes, size_t *size,
                 struct err *err);
void dataset_close(void *dataset); /* NULL accepted */

#endif
