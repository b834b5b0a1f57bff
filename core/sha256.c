/* See sha256.h. */
#include "core/sha256.h"

#include <mbedtls/sha256.h>
#include <mbedtls/version.h>
#include <stdlib.h>

void xn_sha256(const void *data, size_t len, unsigned char out[XN_SHA256_BYTES])
{
#if MBEDTLS_VERSION_NUMBER >= 0x03000000
	int rc = mbedtls_sha256(data, len, out, 0);
#else
	int rc = mbedtls_sha256_ret(data, len, out, 0);
#endif

	if (rc != 0) /* never in software; a wrong digest would let people in */
		abort();
}

void xn_sha256_hex(const void *data, size_t len, char out[XN_SHA256_HEX])
{
	static const char digits[] = "0123456789abcdef";
	unsigned char digest[XN_SHA256_BYTES];

	xn_sha256(data, len, digest);
	for (size_t i = 0; i < sizeof(digest); i++) {
		out[2 * i] = digits[digest[i] >> 4];
		out[2 * i + 1] = digits[digest[i] & 15];
	}
	out[2 * sizeof(digest)] = '\0';
}

bool xn_same_secret(const char *a, size_t a_len, const char *b, size_t b_len)
{
	unsigned char ha[XN_SHA256_BYTES], hb[XN_SHA256_BYTES];
	unsigned char differs = 0;

	xn_sha256(a, a_len, ha);
	xn_sha256(b, b_len, hb);
	for (size_t i = 0; i < sizeof(ha); i++)
		differs |= ha[i] ^ hb[i];
	return differs == 0;
}
