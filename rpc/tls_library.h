/*
 * mbedtls for the files rpc/tls*.c: its headers, and the differences between 2.28 and 3.x. Only
 * these files may include it.
 */
#ifndef XN_TLS_LIBRARY_H
#define XN_TLS_LIBRARY_H

#define MBEDTLS_ALLOW_PRIVATE_ACCESS
#include <mbedtls/asn1write.h>
#include <mbedtls/ctr_drbg.h>
#include <mbedtls/md.h>
#include <mbedtls/oid.h>
#include <mbedtls/pem.h>
#include <mbedtls/pk.h>
#include <mbedtls/platform_util.h>
#include <mbedtls/rsa.h>
#include <mbedtls/ssl.h>
#include <mbedtls/ssl_ticket.h>
#include <mbedtls/version.h>
#include <mbedtls/x509_crt.h>

#include "rpc/tls_identity.h"

/* A certificate with its key, and all that a handshake needs to know besides. */
struct xn_tls_identity {
	unsigned holders;
	mbedtls_x509_crt chain;
	mbedtls_pk_context key;
	mbedtls_ssl_config config;
	bool is_configured; /* by tls.c */
	struct xn_tls_facts facts;
};

/* A generator for one worker's job, from nothing but @seed (XN_TLS_SEED bytes from the loop). */
struct xn_tls_random {
	mbedtls_ctr_drbg_context drbg;
	const uint8_t *seed;
	size_t left;
};
int xn_tls_random_init(struct xn_tls_random *random, const void *seed);
void xn_tls_random_clear(struct xn_tls_random *random);

#endif
