/*
 * CRC-32C (Castagnoli), for records on disk: the processor's instruction where there is one, else a
 * table. Any thread.
 */
#ifndef XN_CRC32C_H
#define XN_CRC32C_H

#include "core/base.h"

/* @crc: 0, or the result for the bytes before these. */
uint32_t xn_crc32c(uint32_t crc, const void *data, size_t len);

#endif
