/* crc64: the CRC-64 of Azure Storage, in the header x-ms-content-crc64.
 *
 * Reflected polynomial 0x9A6C9329AC4BC9B5, all bits set at the start and flipped at the end; the
 * header has its eight bytes, lowest first, in base64 (Microsoft Learn, "Put Blob"). A fifth of
 * what MD5 costs. Thread: any.
 */
#ifndef CREEL_SYNC_CRC64_H
#define CREEL_SYNC_CRC64_H

#include "daemon/base/hash.h"
#include <stddef.h>
#include <stdint.h>

#define CRC64_BASE64_SIZE HASH_BASE64_SIZE(8)

uint64_t sync__crc64(const uint8_t *bytes, size_t size);
char *sync__crc64_base64(const uint8_t *bytes, size_t size, char out[CRC64_BASE64_SIZE]);

#endif
