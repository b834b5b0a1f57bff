/*
 * The Authorization header: no input breaks its parser, what it takes is text that is printed to a
 * header that reads the same, and a name never holds the colon that ends it.
 */
#include <assert.h>
#include <mbedtls/base64.h>
#include <stdlib.h>

#include "core/value.h"
#include "modules/auth/auth.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *print_header(const char *user, const char *password)
{
	char *text = xn_asprintf("%s:%s", user, password), *header;
	size_t room = 4 * strlen(text) / 3 + 8, len;
	unsigned char *coded = xn_malloc(room);

	assert(mbedtls_base64_encode(coded, room, &len, (const unsigned char *)text,
				     strlen(text)) == 0);
	header = xn_asprintf("basic  %.*s", (int)len, (const char *)coded);
	free(coded);
	free(text);
	return header;
}

static void check(const char *header)
{
	char *user, *password, *again_user, *again_password, *again;

	if (xn_auth_basic(header, &user, &password) < 0)
		return;
	assert(!strchr(user, ':'));
	assert(xn_text_is_valid(user, strlen(user)));
	assert(xn_text_is_valid(password, strlen(password)));
	again = print_header(user, password);
	assert(xn_auth_basic(again, &again_user, &again_password) == 0);
	assert(strcmp(user, again_user) == 0 && strcmp(password, again_password) == 0);
	free(user);
	free(again_user);
	free(again);
	xn_auth_wipe(password);
	xn_auth_wipe(again_password);
}

/* The input as a header, and as what a header would hold. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = xn_strndup((const char *)data, size);
	char *header = print_header(text, "");

	check(text);
	check(header);
	free(header);
	free(text);
	return 0;
}
