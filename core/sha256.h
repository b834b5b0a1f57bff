/* SHA-256, over the two spellings that mbedtls has for it; and what one compares secrets with. */
#ifndef XN_SHA256_H
#define XN_SHA256_H

#include "core/base.h"

enum { XN_SHA256_BYTES = 32, XN_SHA256_HEX = 65 };

void xn_sha256(const void *data, size_t len, unsigned char out[XN_SHA256_BYTES]);
void xn_sha256_hex(const void *data, size_t len, char out[XN_SHA256_HEX]); /* small letters */

/* Neither a length nor the first difference shows in the time it takes. */
bool xn_same_secret(const char *a, size_t a_len, const char *b, size_t b_len);

#endif
