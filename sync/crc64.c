#include "sync/crc64.h"
#include <pthread.h>
#include <string.h>

#define POLYNOMIAL UINT64_C(0x9A6C9329AC4BC9B5)
#define SLICES     16 /* bytes a step, each with a table of its own; 32 KiB: a core's nearest cache */

static uint64_t tables[SLICES][256];
static pthread_once_t made = PTHREAD_ONCE_INIT;

static void make(void) {
    for (unsigned i = 0; i < 256; i++) {
        uint64_t crc = i;
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ ((crc & 1) != 0 ? POLYNOMIAL : 0);
        }
        tables[0][i] = crc;
    }
    for (unsigned slice = 1; slice < SLICES; slice++) {
        for (unsigned i = 0; i < 256; i++) {
            uint64_t before = tables[slice - 1][i];
            tables[slice][i] = (before >> 8) ^ tables[0][before & 0xff];
        }
    }
}

/* Eight bytes of a step, `slice` being the table of the last of them. */
static uint64_t word(const uint8_t bytes[8], uint64_t crc, unsigned slice) {
    uint64_t out = 0;
    for (unsigned i = 0; i < 8; i++) {
        out ^= tables[slice + 7 - i][((crc >> (8 * i)) ^ bytes[i]) & 0xff];
    }
    return out;
}

uint64_t sync__crc64(const uint8_t *bytes, size_t size) {
    uint64_t crc = ~UINT64_C(0);
    pthread_once(&made, make);
    for (; size >= SLICES; bytes += SLICES, size -= SLICES) {
        crc = word(bytes, crc, SLICES / 2) ^ word(bytes + 8, 0, 0);
    }
    for (; size > 0; bytes++, size--) {
        crc = (crc >> 8) ^ tables[0][(crc ^ *bytes) & 0xff];
    }
    return ~crc;
}

char *sync__crc64_base64(const uint8_t *bytes, size_t size, char out[CRC64_BASE64_SIZE]) {
    uint64_t crc = sync__crc64(bytes, size);
    uint8_t little[8];
    for (unsigned i = 0; i < sizeof little; i++) {
        little[i] = (uint8_t)(crc >> (8 * i));
    }
    return hash_base64(little, sizeof little, out);
}
