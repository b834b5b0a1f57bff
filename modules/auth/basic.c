/* HTTP's basic scheme (RFC 7617): the name and password of an Authorization header. Pure, fuzzed. */
#include "modules/auth/auth.h"

#include <errno.h>
#include <mbedtls/base64.h>
#include <stdlib.h>
#include <strings.h>

enum { BASIC_MAX = 4096 }; /* decoded */

void xn_auth_wipe(char *secret)
{
	if (secret)
		explicit_bzero(secret, strlen(secret));
	free(secret);
}

/* What follows the scheme's name, or NULL when it is another one. */
static const char *after_scheme(const char *header)
{
	static const char scheme[] = "Basic";

	if (strncasecmp(header, scheme, sizeof(scheme) - 1) != 0)
		return NULL;
	header += sizeof(scheme) - 1;
	return *header == ' ' ? header + strspn(header, " ") : NULL;
}

int xn_auth_basic(const char *header, char **user_out, char **password_out)
{
	const char *coded = after_scheme(header);
	unsigned char text[BASIC_MAX + 1];
	const char *colon;
	size_t len;
	int rc = -EINVAL;

	if (!coded || mbedtls_base64_decode(text, BASIC_MAX, &len, (const unsigned char *)coded,
					    strcspn(coded, " ")) != 0)
		return -EINVAL;
	text[len] = '\0';
	colon = memchr(text, ':', len);
	if (colon && xn_text_is_valid((const char *)text, len)) {
		*user_out = xn_strndup((const char *)text, (size_t)(colon - (const char *)text));
		*password_out = xn_strdup(colon + 1);
		rc = 0;
	}
	explicit_bzero(text, sizeof(text));
	return rc;
}
