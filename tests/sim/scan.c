/* See scan.h. */
#include "scan.h"

static size_t skip_string(struct scan_text t, size_t at)
{
	const char *quote;

	while (++at < t.len) {
		size_t slashes = 0;

		quote = memchr(t.at + at, '"', t.len - at);
		if (!quote)
			return t.len;
		at = (size_t)(quote - t.at);
		while (t.at[at - 1 - slashes] == '\\')
			slashes++;
		if (slashes % 2 == 0)
			return at + 1;
	}
	return at;
}

/* Behind the value that begins at @at. */
static size_t skip_value(struct scan_text t, size_t at)
{
	unsigned depth = 0;

	while (at < t.len) {
		char c = t.at[at];

		if (c == '"') {
			at = skip_string(t, at);
		} else {
			if (!depth && (c == ',' || c == '}' || c == ']'))
				return at;
			depth += c == '{' || c == '[';
			depth -= c == '}' || c == ']';
			at++;
		}
		if (!depth && (c == '"' || c == '}' || c == ']'))
			return at;
	}
	return at;
}

bool scan_next(struct scan_text whole, size_t *pos, struct scan_text *key, struct scan_text *value)
{
	size_t at = *pos + 1, end; /* behind a bracket or comma */

	if (at + 1 >= whole.len || whole.at[at] == '}' || whole.at[at] == ']')
		return false;
	if (key) {
		end = skip_string(whole, at);
		*key = (struct scan_text){whole.at + at, end - at};
		at = end + 1;
	}
	end = skip_value(whole, at);
	*value = (struct scan_text){whole.at + at, end - at};
	*pos = end;
	return end < whole.len;
}

bool scan_is(struct scan_text value, const char *string)
{
	size_t len = strlen(string);

	return value.len == len + 2 && memcmp(value.at + 1, string, len) == 0;
}

void scan_members(struct scan_text object, const char *const *names, struct scan_text *values,
		  size_t n)
{
	struct scan_text key, value;

	memset(values, 0, n * sizeof(*values));
	for (size_t pos = 0; scan_next(object, &pos, &key, &value);)
		for (size_t i = 0; i < n; i++)
			if (scan_is(key, names[i]))
				values[i] = value;
}

void scan_string(struct scan_text value, char *out, size_t size)
{
	size_t len = value.len < 2 ? 0 : value.len - 2;

	if (len >= size)
		len = size - 1;
	if (len)
		memcpy(out, value.at + 1, len);
	out[len] = '\0';
}
