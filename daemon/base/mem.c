#include "daemon/base/mem.h"
#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static atomic_long calls_left = -1;

long mem_fail_after(long calls) {
    return atomic_exchange(&calls_left, calls);
}

static int must_fail(void) {
    long left = atomic_load(&calls_left);
    if (left < 0) {
        return 0;
    }
    return atomic_fetch_sub(&calls_left, 1) == 0;
}

void *mem_alloc(size_t size) {
    return mem_array(1, size);
}

void *mem_array(size_t count, size_t size) {
    if (must_fail()) {
        return NULL;
    }
    return calloc(count ? count : 1, size ? size : 1);
}

void *mem_resize(void *old, size_t count, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) || must_fail()) {
        return NULL;
    }
    return realloc(old, bytes ? bytes : 1);
}

void *mem_dup(const void *bytes, size_t size) {
    void *copy = mem_alloc(size);
    if (copy && size) {
        memcpy(copy, bytes, size);
    }
    return copy;
}

char *mem_strdup(const char *text) {
    return mem_dup(text, strlen(text) + 1);
}

void mem_free_at(void *pointer_to_pointer) {
    void *pointer;
    memcpy(&pointer, pointer_to_pointer, sizeof(pointer));
    free(pointer);
}

void fd_close_at(int *fd) {
    if (*fd >= 0) {
        int saved = errno;
        close(*fd);
        errno = saved;
    }
}
