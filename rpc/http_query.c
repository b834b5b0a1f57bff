/* Query strings, cookies and percent-encoding; see http_query.h. */
#include "rpc/http_query.h"

#include <errno.h>
#include <stdlib.h>

#include "core/value.h"

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

ssize_t xn_http_decode(char *to, const char *from, size_t len, bool plus_is_space)
{
	const char *end = from + len;
	char *out = to;

	while (from < end) {
		char c = *from++;

		if (c == '%') {
			if (end - from < 2 || hex_digit(from[0]) < 0 || hex_digit(from[1]) < 0)
				return -EINVAL;
			c = (char)(hex_digit(from[0]) << 4 | hex_digit(from[1]));
			from += 2;
		} else if (c == '+' && plus_is_space) {
			c = ' ';
		}
		*out++ = c;
	}
	if (!xn_text_is_valid(to, (size_t)(out - to)))
		return -EINVAL;
	return out - to;
}

bool xn_http_next_pair(const char **text, const char *end, bool cookies,
		       struct xn_http_pair *pair_out)
{
	const char *p = *text, *stop, *mark;

	while (p < end && (*p == '&' || (cookies && (*p == ';' || *p == ' ' || *p == '\t'))))
		p++;
	if (p == end) {
		*text = end;
		return false;
	}
	stop = p;
	while (stop < end && *stop != '&' && !(cookies && *stop == ';'))
		stop++;
	*text = stop;
	while (cookies && stop > p && (stop[-1] == ' ' || stop[-1] == '\t'))
		stop--;
	mark = memchr(p, '=', (size_t)(stop - p));
	pair_out->name = p;
	pair_out->name_len = (size_t)((mark ? mark : stop) - p);
	pair_out->value = mark ? mark + 1 : stop;
	pair_out->value_len = (size_t)(stop - pair_out->value);
	return true;
}

static char *decoded(const char *from, size_t len, bool plus_is_space)
{
	char *text = xn_malloc(len + 1);
	ssize_t n = xn_http_decode(text, from, len, plus_is_space);

	if (n < 0) {
		free(text);
		return NULL;
	}
	text[n] = '\0';
	return text;
}

static bool name_is(const struct xn_http_pair *pair, bool plus_is_space, const char *name)
{
	size_t len = strlen(name);
	char *plain;
	bool same;

	if (pair->name_len == len && memcmp(pair->name, name, len) == 0)
		return true;
	if (pair->name_len <= len)
		return false;
	plain = decoded(pair->name, pair->name_len, plus_is_space);
	same = plain && strcmp(plain, name) == 0;
	free(plain);
	return same;
}

char *xn_http_find_pair(const char *text, size_t len, bool cookies, const char *name)
{
	const char *end = text + len;
	struct xn_http_pair pair;

	while (xn_http_next_pair(&text, end, cookies, &pair)) {
		if (name_is(&pair, !cookies, name))
			return decoded(pair.value, pair.value_len, !cookies);
	}
	return NULL;
}
