/* SHA-256 over the two spellings that mbedtls has for it. */
#ifndef XN_AUTH_SHA256_H
#define XN_AUTH_SHA256_H

#include <mbedtls/sha256.h>
#include <mbedtls/version.h>
#include <stdlib.h>

static inline void sha256(const void *data, size_t len, unsigned char out[32])
{
#if MBEDTLS_VERSION_NUMBER >= 0x03000000
	int rc = mbedtls_sha256(data, len, out, 0);
#else
	int rc = mbedtls_sha256_ret(data, len, out, 0);
#endif

	if (rc != 0) /* never in software; a wrong digest would let people in */
		abort();
}

#endif
