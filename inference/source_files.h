/* source_files: what the directory source does with names and files, without threads or state of
 * its own.
 *
 * Names that are none of our business, a directory's names in order and in bounded memory, one
 * image file read whole, and the ways a file that is done with leaves. Every function works on a
 * directory descriptor of the caller's and follows no link inside it. Thread: any; a batch belongs
 * to one. Private to this folder.
 */
#ifndef CREEL_INFERENCE_SOURCE_FILES_H
#define CREEL_INFERENCE_SOURCE_FILES_H

#include "inference/source_flight.h"

#define SOURCE__BATCH_MAX 4096 /* names held at a time */

/* A file on its way out has this prefix for an instant; one that is found was interrupted there. */
#define SOURCE__ASIDE ".creel-aside."

/* Hidden files and the names under which programs write what is not finished yet. */
bool source__name_ignored(const char *name);

/* The smallest names of a directory after a given one, sorted by bytes. Zero-initialise. */
struct source__batch {
    char *names[SOURCE__BATCH_MAX]; /* owned */
    size_t count, next;
    bool more; /* the directory has further names after the last one */
};
int source__batch_read(struct source__batch *batch, int dir_fd, const char *after, struct err *err);
void source__batch_finish(struct source__batch *batch);

/* Gives files their names back that a crash caught on their way out. */
void source__asides_restore(int dir_fd);

enum source__content {
    SOURCE__IMAGE = 1,  /* *bytes holds the whole file */
    SOURCE__UNFINISHED, /* empty, its end is missing, or it changed while it was read */
    SOURCE__NO_IMAGE,   /* the first bytes are of no known kind */
    SOURCE__GONE,       /* no longer there, or another file by now */
    SOURCE__UNREADABLE, /* err says why */
};

/* Reads `file` if it begins as a JPEG or PNG. `complete` asks that it also ends as one. The caller
 * frees *bytes (malloc'd, file->size long). */
enum source__content source__file_read(int dir_fd, const struct source__file *file, bool complete,
                                       uint8_t **bytes, struct err *err);

/* Both act only on exactly this state of the file: a newer one under its name stays. ERR_NOT_FOUND:
 * the name has gone or is another file. `to` is a name in dir_fd (made if missing) or an absolute
 * path. An existing file there is never replaced: the newcomer gets a number. */
int source__file_delete(int dir_fd, const struct source__file *file, struct err *err);
int source__file_move(int dir_fd, const struct source__file *file, const char *to, struct err *err);

#endif
