/* Whether the weights are still those that were checked. An open descriptor keeps a file that was
 * replaced, but not the bytes of one that was written over; and those would be loaded by the next
 * worker without a word. Looked at by their times before each start, hashed only when those moved.
 */
#include "inference/model_files.h"
#include "daemon/base/fs.h"
#include "daemon/base/hash.h"
#include "daemon/base/mem.h"
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

enum { PART = 1 << 20 };

static int look(int fd, const char *path, struct model_files_times *out, struct err *err) {
    struct stat now;
    if (fstat(fd, &now) != 0) {
        return err_sys(err, errno, "looking at %s", path);
    }
    *out = (struct model_files_times){.size = (uint64_t)now.st_size,
                                      .changed_s = (int64_t)now.st_ctim.tv_sec,
                                      .changed_ns = (int64_t)now.st_ctim.tv_nsec};
    return 0;
}

static bool same_times(const struct model_files_times *a, const struct model_files_times *b) {
    return a->size == b->size && a->changed_s == b->changed_s && a->changed_ns == b->changed_ns;
}

static int hash_whole(int fd, const char *path, uint64_t size, struct frame_hash *out,
                      struct err *err) {
    CLEANUP(mem_free_at) uint8_t *part = mem_alloc(PART);
    struct hash_stream *stream = part != NULL ? hash_stream_create() : NULL;
    int code = stream != NULL ? 0 : err_set(err, ERR_NOMEM, "no memory to read %s", path);
    for (uint64_t at = 0; code == 0 && at < size; at += PART) {
        size_t count = size - at < PART ? (size_t)(size - at) : PART;
        code = fs_pread_all(fd, part, count, at, path, err);
        if (code == 0) {
            hash_stream_add(stream, part, count);
        }
    }
    if (stream != NULL) {
        hash_stream_finish(stream, out);
    }
    return code;
}

int model_files_mark(struct model_files *files, const struct frame_hash *weights, const char *path,
                     struct err *err) {
    files->weights_hash = *weights;
    return look(files->weights_fd, path, &files->times, err);
}

int model_files_check(struct model_files *files, const struct model *model, struct err *err) {
    struct model_files_times now;
    struct frame_hash hash;
    const char *path = model->weights_path;
    int code = look(files->weights_fd, path, &now, err);
    if (code != 0 || same_times(&now, &files->times)) {
        return code;
    }
    if (now.size == files->times.size) {
        code = hash_whole(files->weights_fd, path, now.size, &hash, err);
    }
    if (code != 0) {
        return code;
    }
    if (now.size != files->times.size || memcmp(&hash, &files->weights_hash, sizeof(hash)) != 0) {
        return err_set(
            err, ERR_INVALID,
            "the weights in %s were written over since they were checked; put them back, "
            "or use the new ones as a model of their own",
            path);
    }
    files->times = now;
    return 0;
}
