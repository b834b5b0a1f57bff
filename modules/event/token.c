/*
 * Tokens of event.from, "A,B": A is the stamp up to which the client has heard. B counts messages
 * elsewhere; here they are rows like others, covered by A, and B is always 0.
 */
#include "modules/event/event_internal.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

/* Decimal digits as they come from a client; strtoll alone takes white space and signs too. */
static const char *parse_number(const char *text, int64_t *out)
{
	const char *digits = *text == '-' ? text + 1 : text;
	char *end;

	if (!isdigit((unsigned char)*digits))
		return NULL;
	errno = 0;
	*out = strtoll(text, &end, 10);
	return errno ? NULL : end;
}

int event_token_parse(const char *token, uint64_t *stamp_out)
{
	int64_t a = 0, b = 0;
	const char *rest;

	if (*token) {
		rest = parse_number(token, &a);
		rest = rest && *rest == ',' ? parse_number(rest + 1, &b) : NULL;
		if (!rest || *rest)
			return -EINVAL;
	}
	*stamp_out = a > 0 ? (uint64_t)a : 0;
	return 0;
}

/* All tokens have the same length, so that clients may compare them as text. */
void event_token_print(uint64_t stamp, struct xn_buf *out)
{
	xn_buf_printf(out, "%020" PRIu64 ",%020d", stamp, 0);
}
