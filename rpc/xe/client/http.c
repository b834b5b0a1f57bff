/* See http.h. */
#include "rpc/xe/client/http.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

/* ---- urls ---- */

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)tolower((unsigned char)c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static void add_decoded(struct xn_buf *out, const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		int high = text[i] == '%' && i + 2 < len ? hex_digit(text[i + 1]) : -1;
		int low = high >= 0 ? hex_digit(text[i + 2]) : -1;

		if (low >= 0) {
			xn_buf_add_char(out, (char)(high * 16 + low));
			i += 2;
		} else {
			xn_buf_add_char(out, text[i]);
		}
	}
}

static bool is_one_line(const struct xn_buf *text)
{
	for (size_t i = 0; i < text->len; i++)
		if ((unsigned char)text->data[i] < 0x20 || text->data[i] == 0x7f)
			return false;
	return text->len > 0;
}

/* "host", "host:1", "[::1]", "[::1]:1". */
static size_t host_len(const char *text, size_t len)
{
	const char *end = len && *text == '[' ? memchr(text, ']', len) : memchr(text, ':', len);

	if (!end)
		return len;
	return (size_t)(end - text) + (*end == ']');
}

int xe_url_parse(const char *url, size_t len, char **host_out, char **path_out)
{
	static const char scheme[] = "https://";
	const size_t scheme_len = sizeof(scheme) - 1;
	struct xn_buf host = {0}, path = {0};
	const char *slash;

	if (len >= scheme_len && strncasecmp(url, scheme, scheme_len) == 0) {
		url += scheme_len;
		len -= scheme_len;
		slash = memchr(url, '/', len);
		if (slash) {
			add_decoded(&path, slash, len - (size_t)(slash - url));
			len = (size_t)(slash - url);
		} else {
			xn_buf_add_char(&path, '/');
		}
		xn_buf_add(&host, url, host_len(url, len));
	} else {
		xn_buf_add(&path, url, len);
	}
	if (!is_one_line(&path) || (host.data && !is_one_line(&host))) {
		xn_buf_clear(&host);
		xn_buf_clear(&path);
		return -EINVAL;
	}
	*host_out = host.data ? xn_buf_steal(&host) : NULL;
	*path_out = xn_buf_steal(&path);
	return 0;
}

/* ---- a reply's head ---- */

static bool is_header(const char *line, size_t len, const char *name, const char **value_out,
		      size_t *value_len_out)
{
	size_t n = strlen(name);

	if (len < n || strncasecmp(line, name, n) != 0)
		return false;
	for (; n < len && line[n] == ' '; n++)
		;
	*value_out = line + n;
	*value_len_out = len - n;
	return true;
}

static int64_t parse_length(const char *text, size_t len)
{
	int64_t n = 0;

	if (!len || len > 18)
		return -1;
	for (size_t i = 0; i < len; i++) {
		if (!isdigit((unsigned char)text[i]))
			return -1;
		n = n * 10 + (text[i] - '0');
	}
	return n;
}

/* "HTTP/1.1 200 OK" */
static int parse_first_line(const char *line, size_t len, struct xe_http_reply *reply)
{
	const char *space = memchr(line, ' ', len);
	size_t at = space ? (size_t)(space - line) + 1 : len;

	for (size_t i = 0; i < len && i + 1 < sizeof(reply->line); i++)
		reply->line[i] = (unsigned char)line[i] < 0x20 || (unsigned char)line[i] > 0x7e ?
					 '?' : line[i];
	if (len < 5 || strncasecmp(line, "HTTP/", 5) != 0 || len - at < 3)
		return -EPROTO;
	reply->status = (int)parse_length(line + at, 3);
	return reply->status < 100 ? -EPROTO : 0;
}

static void parse_header(const char *line, size_t len, struct xe_http_reply *reply)
{
	const char *value;
	size_t value_len;

	if (is_header(line, len, "location:", &value, &value_len) && !reply->location)
		reply->location = xn_strndup(value, value_len);
	else if (is_header(line, len, "content-length:", &value, &value_len))
		reply->length = parse_length(value, value_len);
}

ssize_t xe_http_read_head(const char *data, size_t len, struct xe_http_reply *reply_out)
{
	const char *line = data, *end, *newline;
	struct xe_http_reply reply = {.length = -1};

	if (!len)
		return 0;
	end = data + len;
	for (;; line = newline + 1) {
		size_t n;

		newline = memchr(line, '\n', (size_t)(end - line));
		if (!newline)
			break;
		n = (size_t)(newline - line);
		n -= n && line[n - 1] == '\r';
		if (line == data) {
			if (parse_first_line(line, n, &reply) < 0)
				return -EPROTO;
		} else if (n == 0) {
			*reply_out = reply;
			return newline + 1 - data;
		} else {
			parse_header(line, n, &reply);
		}
	}
	free(reply.location);
	/* What is no HTTP need not be waited for. */
	if (strncasecmp(data, "HTTP/", len < 5 ? len : 5) != 0)
		return -EPROTO;
	return len > XE_HTTP_HEAD_MAX ? -EPROTO : 0;
}
