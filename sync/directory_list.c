/* directory_list: a directory's files in the order of their names, as if each path were one name.
 *
 * Goal: the same order as a bucket lists in (bytes of the whole path, so "a-b" before "a/x"), in
 * bounded memory however many files one folder has. Each folder is read whole for every page, and
 * of its names the LISTING_PAGE_MAX smallest that come behind the marker are kept, in a heap:
 * n/4096 passes over a folder of n. A folder compares as its name with a slash behind it.
 * Rejected: scandir (all names at once), a walk that remembers its place by telldir (the order of
 * the disk).
 */
#include "sync/directory_list.h"
#include "daemon/base/clock.h"
#include "daemon/base/fs.h"
#include "daemon/base/mem.h"
#include "sync/listing.h"
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEPTH_MAX  16
#define OWN_PREFIX ".creel-" /* marks, and files that have no name yet */

struct names { /* a max-heap: the greatest of those kept is at the top */
    char *kept[LISTING_PAGE_MAX];
    size_t count, most;
    bool dropped; /* some were too many */
};

struct walk {
    const char *root; /* with the remote's directory */
    struct listing_page *page;
    const char *after; /* whole name; "" from the start */
    bool full;
    char reached[STORE_KEY_MAX + 2]; /* all that comes before was looked at; "": see the entries */
};

static void sift_up(struct names *names, size_t at) {
    while (at > 0 && strcmp(names->kept[(at - 1) / 2], names->kept[at]) < 0) {
        char *swap = names->kept[at];
        names->kept[at] = names->kept[(at - 1) / 2];
        names->kept[(at - 1) / 2] = swap;
        at = (at - 1) / 2;
    }
}

static void sift_down(struct names *names) {
    for (size_t at = 0;;) {
        size_t child = 2 * at + 1;
        if (child >= names->count) {
            return;
        }
        if (child + 1 < names->count && strcmp(names->kept[child + 1], names->kept[child]) > 0) {
            child++;
        }
        if (strcmp(names->kept[at], names->kept[child]) >= 0) {
            return;
        }
        char *swap = names->kept[at];
        names->kept[at] = names->kept[child];
        names->kept[child] = swap;
        at = child;
    }
}

static int names_add(struct names *names, const char *name, struct err *err) {
    if (names->count == names->most) {
        names->dropped = true;
        if (strcmp(name, names->kept[0]) >= 0) {
            return 0;
        }
    }
    char *copy = mem_strdup(name);
    if (copy == NULL) {
        return err_set(err, ERR_NOMEM, "no memory to list a directory");
    }
    if (names->count == names->most) {
        free(names->kept[0]);
        names->kept[0] = copy;
        sift_down(names);
    } else {
        names->kept[names->count++] = copy;
        sift_up(names, names->count - 1);
    }
    return 0;
}

static void names_destroy(struct names **names) {
    for (size_t i = 0; *names != NULL && i < (*names)->count; i++) {
        free((*names)->kept[i]);
    }
    free(*names);
}

static bool is_folder(const char *path, const struct dirent *entry) {
    char whole[FS_PATH_MAX];
    struct stat info;
    if (entry->d_type != DT_UNKNOWN) {
        return entry->d_type == DT_DIR;
    }
    return fs_join(whole, sizeof whole, path, entry->d_name, NULL) == 0 &&
           lstat(whole, &info) == 0 && S_ISDIR(info.st_mode);
}

/* True where something of `name` can come behind the marker and begins as asked for. */
static bool is_wanted(const struct walk *walk, const char *name, bool folder) {
    const char *prefix = walk->page->prefix;
    size_t length = strlen(name), wanted = strlen(prefix);
    bool fits = strncmp(name, prefix, length < wanted && folder ? length : wanted) == 0;
    bool behind =
        strcmp(name, walk->after) > 0 || (folder && strncmp(walk->after, name, length) == 0);
    return fits && behind;
}

static int folder_read(const struct walk *walk, const char *path, const char *base,
                       struct names *names, struct err *err) {
    char name[STORE_KEY_MAX + 300];
    DIR *dir = opendir(path);
    if (dir == NULL) {
        return errno == ENOENT ? 0 : err_sys(err, errno, "listing %s", path);
    }
    int code = 0;
    errno = 0;
    for (struct dirent *entry = readdir(dir); code == 0 && entry != NULL; entry = readdir(dir)) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            strncmp(entry->d_name, OWN_PREFIX, strlen(OWN_PREFIX)) == 0) {
            continue;
        }
        bool folder = is_folder(path, entry);
        snprintf(name, sizeof name, "%s%s%s", base, entry->d_name, folder ? "/" : "");
        if (strlen(name) <= STORE_KEY_MAX && is_wanted(walk, name, folder)) {
            code = names_add(names, name, err);
        }
        errno = 0;
    }
    if (code == 0 && errno != 0) {
        code = err_sys(err, errno, "listing %s", path);
    }
    closedir(dir);
    return code;
}

static int by_text(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int file_take(struct walk *walk, const char *name, struct err *err) {
    char path[FS_PATH_MAX];
    struct stat info;
    int code = fs_join(path, sizeof path, walk->root, name, err);
    if (code != 0) {
        return code;
    }
    if (lstat(path, &info) != 0) {
        return errno == ENOENT ? 0 : err_sys(err, errno, "looking at %s", path);
    }
    if (!S_ISREG(info.st_mode)) {
        return 0; /* nothing that creel stores */
    }
    struct listing_entry *entry = sync__listing_add(walk->page, name, "");
    if (entry == NULL) {
        return err_set(err, ERR_NOMEM, "no memory to list a directory");
    }
    entry->bytes = (uint64_t)info.st_size;
    entry->modified_utc_us = (int64_t)info.st_mtim.tv_sec * 1000000;
    walk->full = walk->page->count == LISTING_PAGE_MAX;
    return 0;
}

/* `base` is "" or ends with a slash. */
static int folder_walk(struct walk *walk, const char *base, int depth, struct err *err) {
    CLEANUP(names_destroy) struct names *names = mem_alloc(sizeof *names);
    char path[FS_PATH_MAX];
    if (names == NULL || depth > DEPTH_MAX) {
        return names == NULL ? err_set(err, ERR_NOMEM, "no memory to list a directory")
                             : err_set(err, ERR_INVALID, "%s: folders are too deep", base);
    }
    names->most = LISTING_PAGE_MAX - walk->page->count;
    int length = snprintf(path, sizeof path, "%s/%s", walk->root, base);
    if (length < 0 || (size_t)length >= sizeof path) {
        return err_set(err, ERR_INVALID, "%s: too long a path", base);
    }
    int code = folder_read(walk, path, base, names, err);
    qsort(names->kept, names->count, sizeof names->kept[0], by_text);
    for (size_t i = 0; code == 0 && !walk->full && i < names->count; i++) {
        const char *name = names->kept[i];
        code = name[strlen(name) - 1] == '/' ? folder_walk(walk, name, depth + 1, err)
                                             : file_take(walk, name, err);
    }
    if (!walk->full && names->dropped) { /* many empty folders, perhaps: go on behind them */
        snprintf(walk->reached, sizeof walk->reached, "%s\xff", names->kept[names->count - 1]);
        walk->full = true;
    }
    return code;
}

static int directory_list(struct remote *remote, struct listing_page *page, struct err *err) {
    const char *root = NULL;
    char after[LISTING_MARKER_MAX + 1];
    memcpy(after, page->marker, sizeof after);
    int code = sync__directory_look(remote, &root, err);
    struct walk walk = {.root = root, .page = page, .after = after};
    code = code != 0 ? code : folder_walk(&walk, "", 0, err);
    if (code != 0) {
        err_wrap(err, "remote %s", remote->name);
        return code;
    }
    page->more = walk.full;
    if (page->more) {
        snprintf(page->marker, sizeof page->marker, "%s",
                 walk.reached[0] != '\0' ? walk.reached
                                         : page->texts.data + page->entries[page->count - 1].key);
    }
    return 0;
}

const struct listing_ops sync__directory_listing = {.right = "to read the directory",
                                                    .list = directory_list};

/* ---- taking away ---- */

static int path_of(struct remote *remote, const char *key, char *out, struct err *err) {
    char name[STORE_KEY_MAX + 1];
    const char *root = NULL;
    int code = sync__directory_look(remote, &root, err);
    code = code != 0 ? code : sync__remote_name(remote, key, name, err);
    if (code == 0 && (strstr(name, "../") != NULL || name[0] == '/')) {
        code = err_set(err, ERR_INVALID, "%s cannot be the name of a file", name);
    }
    return code != 0 ? code : fs_join(out, FS_PATH_MAX, root, name, err);
}

int sync__directory_drop(struct remote *remote, const char *key, struct err *err) {
    char path[FS_PATH_MAX];
    int code = path_of(remote, key, path, err);
    code = code != 0 ? code : fs_unlink(path, err);
    return code != 0 ? (err_wrap(err, "remote %s", remote->name), code) : 0;
}

int sync__directory_settle(struct remote *remote, const char *key, struct err *err) {
    char path[FS_PATH_MAX];
    int code = path_of(remote, key, path, err);
    if (code != 0) {
        return code;
    }
    *strrchr(path, '/') = '\0';
    code = fs_sync_dir(path, err);
    if (code == ERR_NOT_FOUND) {
        return 0; /* it went with its last file */
    }
    if (code == 0 && rmdir(path) == 0) {
        *strrchr(path, '/') = '\0';
        code = fs_sync_dir(path, err);
    }
    return code;
}
