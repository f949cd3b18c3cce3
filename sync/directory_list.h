/* directory_list: looking at a directory that objects were stored in, and taking them away; for
 * commands alone. Blocks on the disk. Thread: that of the remote.
 */
#ifndef CREEL_SYNC_DIRECTORY_LIST_H
#define CREEL_SYNC_DIRECTORY_LIST_H

#include "sync/remote.h"

/* The remote's own directory, borrowed, if it is one that creel stored in: makes nothing.
 * ERR_DENIED: it is not. (directory.c) */
int sync__directory_look(struct remote *remote, const char **path, struct err *err);

/* Removes one file, named as in a listing, durably once sync__directory_settle was called; one that
 * is not there is no error. */
int sync__directory_drop(struct remote *remote, const char *key, struct err *err);

/* Makes the removals in the folder of this key durable, and removes the folder where it is empty.
 */
int sync__directory_settle(struct remote *remote, const char *key, struct err *err);

#endif
