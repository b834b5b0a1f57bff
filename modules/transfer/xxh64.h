/* The checksum of archives' pieces: XXH64, seed 0, as its specification has it. */
#ifndef XN_XXH64_H
#define XN_XXH64_H

#include <stddef.h>
#include <stdint.h>

uint64_t xn_xxh64(const void *data, size_t len);

#endif
