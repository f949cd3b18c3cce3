/* mem: checked allocation, and cleanup attributes.
 *
 * Every size that is multiplied goes through mem_array, which refuses an overflow. CLEANUP(fn) runs
 * fn(&variable) when the variable leaves its scope; TAKE_PTR and TAKE_FD hand an owned value out of
 * it.
 */
#ifndef CREEL_BASE_MEM_H
#define CREEL_BASE_MEM_H

#include <stddef.h>

#define CLEANUP(fn) __attribute__((cleanup(fn)))

/* Yields the pointer and leaves NULL behind, so that a CLEANUP on it has nothing to free. */
#define TAKE_PTR(pointer)                                                                          \
    __extension__({                                                                                \
        __typeof__(pointer) taken_ = (pointer);                                                    \
        (pointer) = NULL;                                                                          \
        taken_;                                                                                    \
    })

/* The same for a file descriptor; leaves -1. */
#define TAKE_FD(fd)                                                                                \
    __extension__({                                                                                \
        int taken_ = (fd);                                                                         \
        (fd) = -1;                                                                                 \
        taken_;                                                                                    \
    })

#define ARRAY_LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* All return NULL when memory ran out (or when count * size overflows); free with free(). */
void *mem_alloc(size_t size);               /* zeroed */
void *mem_array(size_t count, size_t size); /* zeroed */
void *mem_resize(void *old, size_t count,
                 size_t size); /* new tail not zeroed; old stays on failure */
void *mem_dup(const void *bytes, size_t size);
char *mem_strdup(const char *text);

/* Tests make the Nth allocation fail: 0 fails the next one; -1 (the default) never fails.
 * Counts calls of this module only, which SQLite's allocations come through too. Returns what the
 * count before had left: negative when it fired. */
long mem_fail_after(long calls);

/* For CLEANUP(mem_free_at) on a `T *`: frees what the variable points to. */
void mem_free_at(void *pointer_to_pointer);

/* For CLEANUP(fd_close_at) on an int: closes it unless it is negative; errno is kept. */
void fd_close_at(int *fd);

#endif
