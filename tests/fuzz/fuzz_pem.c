/*
 * The texts of host.install_server_certificate, divided by zero bytes: certificate, key, chain. What is
 * taken has a key that fits, prints as PEM, and is read again from what it prints.
 */
#include <assert.h>
#include <stdlib.h>

#include "rpc/tls_identity.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t seed[XN_TLS_SEED] = {1};

static void check_taken(const struct xn_tls_identity *identity, const char *key)
{
	struct xn_buf pem XN_CLEANUP(xn_buf_clear_p) = {0};
	struct xn_error err = {0};
	struct xn_tls_identity *again;
	struct xn_tls_pem texts;

	xn_tls_identity_pem(identity, &pem);
	texts = (struct xn_tls_pem){xn_buf_cstr(&pem), key, NULL};
	again = xn_tls_identity_parse(&texts, -1, seed, &err);
	assert(again);
	assert(strcmp(xn_tls_identity_facts(again)->sha256,
		      xn_tls_identity_facts(identity)->sha256) == 0);
	xn_tls_identity_unref(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = xn_malloc(size + 3), *key, *chain;
	struct xn_error err = {0};
	struct xn_tls_identity *identity;

	memcpy(text, data, size);
	memset(text + size, 0, 3);
	key = text + strlen(text) + 1;
	if (key > text + size)
		key = text + size;
	chain = key + strlen(key) + 1;
	if (chain > text + size)
		chain = text + size;
	identity = xn_tls_identity_parse(&(struct xn_tls_pem){text, key, chain}, -1, seed, &err);
	assert(!identity == !!err.code);
	if (identity)
		check_taken(identity, key);
	xn_tls_identity_unref(identity);
	xn_error_clear(&err);
	free(text);
	return 0;
}
