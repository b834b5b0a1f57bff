/*
 * What the server shows: a certificate chain with its private key, read from PEM or made by
 * ourselves. Pure functions on bytes, fit for a worker; nothing here touches a socket or a file.
 * Used by tls.c (handshakes) and certificate.c (files, API).
 */
#ifndef XN_TLS_IDENTITY_H
#define XN_TLS_IDENTITY_H

#include "core/buf.h"
#include "core/error.h"

struct xn_tls_identity;

/* Two parties may hold one: connections go on with what they began with. Loop thread only, except
 * before anybody shares it. */
struct xn_tls_identity *xn_tls_identity_ref(struct xn_tls_identity *identity);
void xn_tls_identity_unref(struct xn_tls_identity *identity); /* NULL is fine */

enum { XN_TLS_PEM_MAX = 65536, XN_TLS_SEED = 64 };

/* PEM texts, terminated; from outside, of any content. */
struct xn_tls_pem {
	const char *certificate, *key, *chain; /* chain: may be NULL or empty */
};

/*
 * xn_tls_identity_parse - check what a user wants to be shown
 * @now_s: seconds since the epoch; -1: the dates are not looked at
 * @seed: XN_TLS_SEED secret random bytes
 *
 * An RSA key of 2048 to 4096 bits, a certificate of the same key with a SHA-2 signature that is
 * good now, and any certificates that lead to its issuer.
 *
 * Return: NULL with the SERVER_CERTIFICATE_... error that says what is wrong.
 */
struct xn_tls_identity *xn_tls_identity_parse(const struct xn_tls_pem *pem, int64_t now_s,
					      const void *seed, struct xn_error *err) XN_MUST_CHECK;

/* Who a certificate is made for. */
struct xn_tls_names {
	char host[64]; /* common name, and the first alternative one */
	struct xn_tls_address {
		uint8_t bytes[16];
		uint8_t len; /* 4 or 16 */
	} addresses[32];
	unsigned n_addresses;
};

/*
 * xn_tls_identity_make - a new key and a certificate signed with it
 * Takes a second or more of CPU time: for a worker.
 * @pem_out: gets certificate and key, for a file that only we may read
 *
 * Return: 0; -EIO when the library fails.
 */
int xn_tls_identity_make(const struct xn_tls_names *names, int64_t now_s, const void *seed,
			 struct xn_buf *pem_out) XN_MUST_CHECK;

struct xn_tls_facts {
	int64_t not_before_s, not_after_s;
	char sha256[96], sha1[60]; /* fingerprints: "A1:B2:..." */
};
const struct xn_tls_facts *xn_tls_identity_facts(const struct xn_tls_identity *identity);
/* The certificate alone, as PEM. */
void xn_tls_identity_pem(const struct xn_tls_identity *identity, struct xn_buf *out);

#endif
