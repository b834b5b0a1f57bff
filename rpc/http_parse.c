/* HTTP/1.x request heads and chunked bodies; see http_parse.h. */
#include "rpc/http_parse.h"

#include <errno.h>
#include <strings.h>

#include "core/value.h"

enum byte_class {
	TOKEN = 1,  /* methods and header names */
	TARGET = 2, /* request targets: printable, no space, no fragment mark; and UTF-8 */
	VALUE = 4,  /* header values: TAB, printable, UTF-8 */
};

static const uint8_t byte_classes[256] = {
	['\t'] = VALUE,
	[' '] = VALUE,
	['!'] = TOKEN | TARGET | VALUE,
	['"'] = TARGET | VALUE,
	['#'] = TOKEN | VALUE,
	['$' ... '\''] = TOKEN | TARGET | VALUE,
	['(' ... ')'] = TARGET | VALUE,
	['*' ... '+'] = TOKEN | TARGET | VALUE,
	[','] = TARGET | VALUE,
	['-' ... '.'] = TOKEN | TARGET | VALUE,
	['/'] = TARGET | VALUE,
	['0' ... '9'] = TOKEN | TARGET | VALUE,
	[':' ... '@'] = TARGET | VALUE,
	['A' ... 'Z'] = TOKEN | TARGET | VALUE,
	['[' ... ']'] = TARGET | VALUE,
	['^' ... 'z'] = TOKEN | TARGET | VALUE,
	['{'] = TARGET | VALUE,
	['|'] = TOKEN | TARGET | VALUE,
	['}'] = TARGET | VALUE,
	['~'] = TOKEN | TARGET | VALUE,
	[0x80 ... 0xff] = TARGET | VALUE,
};

enum { MORE = 0, OK = 1 }; /* beside minus a status */

struct cursor {
	const char *start, *p, *end;
};

static bool is_class(char c, enum byte_class wanted)
{
	return byte_classes[(unsigned char)c] & wanted;
}

static const char *skip_class(const char *p, const char *end, enum byte_class wanted)
{
	while (p < end && is_class(*p, wanted))
		p++;
	return p;
}

static struct xn_http_span span(const struct cursor *c, const char *from, const char *to)
{
	return (struct xn_http_span){(uint16_t)(from - c->start), (uint16_t)(to - from)};
}

static bool span_is(const char *data, struct xn_http_span s, const char *word)
{
	return s.len == strlen(word) && strncasecmp(data + s.at, word, s.len) == 0;
}

/* CR LF and nothing else: a lone CR or LF ends a line for some readers and not for others. */
static int parse_line_end(struct cursor *c)
{
	if (c->p == c->end)
		return MORE;
	if (*c->p != '\r')
		return -400;
	if (c->p + 1 == c->end)
		return MORE;
	if (c->p[1] != '\n')
		return -400;
	c->p += 2;
	return OK;
}

static int parse_method(struct cursor *c, struct xn_http_head *head)
{
	enum { LONGEST = 24 };
	const char *from = c->p;

	c->p = skip_class(c->p, c->end, TOKEN);
	if (c->p - from > LONGEST)
		return -501;
	if (c->p == c->end)
		return MORE;
	if (c->p == from || *c->p != ' ')
		return -400;
	head->method = span(c, from, c->p);
	c->p++;
	return OK;
}

/* "http://host/path" is asked of proxies, and must be understood by all: the path counts. */
static const char *skip_authority(const char *p, const char *end)
{
	const char *host;

	if (end - p > 7 && strncasecmp(p, "http://", 7) == 0)
		host = p + 7;
	else if (end - p > 8 && strncasecmp(p, "https://", 8) == 0)
		host = p + 8;
	else
		return p;
	while (host < end && *host != '/' && *host != '?')
		host++;
	return host;
}

static int split_target(struct cursor *c, const char *from, const char *to,
			struct xn_http_head *head)
{
	const char *path = skip_authority(from, to);
	const char *mark = memchr(path, '?', (size_t)(to - path));

	if (path == to || (*path != '/' && !(to - path == 1 && *path == '*')))
		return -400;
	head->path = span(c, path, mark ? mark : to);
	head->query = mark ? span(c, mark + 1, to) : (struct xn_http_span){0};
	return OK;
}

static int parse_version(const char *from, const char *to, struct xn_http_head *head)
{
	if (to - from != 8 || memcmp(from, "HTTP/", 5) != 0 || from[5] < '0' || from[5] > '9' ||
	    from[6] != '.' || from[7] < '0' || from[7] > '9')
		return -400;
	if (from[5] != '1')
		return -505;
	head->minor_version = from[7] == '0' ? 0 : 1;
	return OK;
}

/*
 * The rest of the request line. The classic `xe` sends targets percent-decoded, with spaces in
 * them; it speaks HTTP/1.0, so there the last space of the line is the one before the version.
 */
static int parse_target(struct cursor *c, struct xn_http_head *head)
{
	const char *from = c->p;
	const char *line_end = skip_class(from, c->end, VALUE);
	const char *version;
	int rc;

	if (line_end == c->end)
		return MORE;
	c->p = line_end;
	rc = parse_line_end(c);
	if (rc != OK)
		return rc;
	version = memrchr(from, ' ', (size_t)(line_end - from));
	if (!version)
		return -400;
	rc = parse_version(version + 1, line_end, head);
	if (rc != OK)
		return rc;
	for (const char *p = from; p < version; p++) {
		if (!is_class(*p, TARGET) && !(*p == ' ' && head->minor_version == 0))
			return -400;
	}
	return split_target(c, from, version, head);
}

static int parse_length(const char *data, struct xn_http_span value, struct xn_http_head *head)
{
	int64_t n = 0;

	if (value.len == 0 || value.len > 18)
		return -400;
	for (unsigned i = 0; i < value.len; i++) {
		char digit = data[value.at + i];

		if (digit < '0' || digit > '9')
			return -400;
		n = n * 10 + (digit - '0');
	}
	if (head->has_length && head->length != n)
		return -400;
	head->has_length = true;
	head->length = n;
	return OK;
}

static void parse_connection(const char *data, struct xn_http_span value, struct xn_http_head *head)
{
	const char *p = data + value.at, *end = p + value.len;

	while (p < end) {
		const char *from = p;

		p = skip_class(p, end, TOKEN);
		if (p - from == 5 && strncasecmp(from, "close", 5) == 0)
			head->keep_alive = false;
		else if (p - from == 10 && strncasecmp(from, "keep-alive", 10) == 0 &&
			 head->minor_version == 0)
			head->keep_alive = true;
		while (p < end && !is_class(*p, TOKEN))
			p++;
	}
}

/* Headers that say where the request ends and what becomes of the connection. */
static int note_field(const char *data, const struct xn_http_field *field,
		      struct xn_http_head *head, unsigned *n_hosts)
{
	switch (field->name.len) {
	case 4:
		/* HTTP/1.1 without Host is let through, as clients on the Unix socket leave it out.
		 * */
		if (span_is(data, field->name, "host") && ++*n_hosts > 1)
			return -400;
		return OK;
	case 6:
		if (!span_is(data, field->name, "expect"))
			return OK;
		if (!span_is(data, field->value, "100-continue"))
			return -417;
		head->expects_continue = head->minor_version > 0;
		return OK;
	case 10:
		if (span_is(data, field->name, "connection"))
			parse_connection(data, field->value, head);
		return OK;
	case 14:
		if (span_is(data, field->name, "content-length"))
			return parse_length(data, field->value, head);
		return OK;
	case 17:
		if (!span_is(data, field->name, "transfer-encoding"))
			return OK;
		if (head->chunked || head->minor_version == 0)
			return -400;
		if (!span_is(data, field->value, "chunked"))
			return -501;
		head->chunked = true;
		return OK;
	default:
		return OK;
	}
}

static int parse_field(struct cursor *c, struct xn_http_field *field)
{
	const char *from = c->p, *to;
	int rc;

	/* A space first would be a folded line, a space before the colon a name that others see
	 * differently: neither is a token byte. */
	c->p = skip_class(c->p, c->end, TOKEN);
	if (c->p == c->end)
		return MORE;
	if (c->p == from || *c->p != ':')
		return -400;
	field->name = span(c, from, c->p);
	c->p++;
	while (c->p < c->end && (*c->p == ' ' || *c->p == '\t'))
		c->p++;
	from = c->p;
	to = c->p = skip_class(c->p, c->end, VALUE);
	rc = parse_line_end(c);
	if (rc != OK)
		return rc;
	while (to > from && (to[-1] == ' ' || to[-1] == '\t'))
		to--;
	field->value = span(c, from, to);
	return OK;
}

static int parse_fields(struct cursor *c, struct xn_http_head *head)
{
	unsigned n_hosts = 0;
	int rc;

	for (;;) {
		if (c->p == c->end)
			return MORE;
		if (*c->p == '\r')
			break;
		if (head->n_fields == XN_HTTP_MAX_HEADERS)
			return -431;
		rc = parse_field(c, &head->fields[head->n_fields]);
		if (rc == OK)
			rc = note_field(c->start, &head->fields[head->n_fields], head, &n_hosts);
		if (rc != OK)
			return rc;
		head->n_fields++;
		if (head->chunked && head->has_length)
			return -400;
	}
	return parse_line_end(c);
}

static int parse(struct cursor *c, struct xn_http_head *head)
{
	int rc;

	/* An empty line before a request is a known habit of old clients after a POST body. */
	if (c->p < c->end && *c->p == '\r') {
		rc = parse_line_end(c);
		if (rc != OK)
			return rc;
	}
	rc = parse_method(c, head);
	if (rc != OK)
		return rc;
	rc = parse_target(c, head);
	if (rc != OK)
		return rc;
	head->keep_alive = head->minor_version > 0;
	return parse_fields(c, head);
}

int xn_http_parse_head(const char *data, size_t len, struct xn_http_head *head)
{
	size_t seen = len < XN_HTTP_MAX_HEAD ? len : XN_HTTP_MAX_HEAD;
	struct cursor c = {data, data, data + seen};
	int rc;

	/* The array of fields, most of the struct, stays as it is: n_fields says what counts. */
	memset(head, 0, offsetof(struct xn_http_head, fields));
	rc = parse(&c, head);
	if (rc == MORE && seen == XN_HTTP_MAX_HEAD)
		return head->path.len ? -431 : -414;
	if (rc != OK)
		return rc;
	head->size = (size_t)(c.p - c.start);
	if (!xn_text_is_valid(data, head->size))
		return -400;
	return (int)head->size;
}

const struct xn_http_field *xn_http_find_field(const struct xn_http_head *head, const char *data,
					       const char *name)
{
	for (unsigned i = 0; i < head->n_fields; i++) {
		if (span_is(data, head->fields[i].name, name))
			return &head->fields[i];
	}
	return NULL;
}

/* ---- chunked bodies ---- */

enum chunk_state {
	SIZE_FIRST, /* at least one digit */
	SIZE,
	EXTENSION,  /* after the size, up to the line's end; ignored */
	SIZE_LF,
	DATA,
	DATA_CR,
	DATA_LF,
	TRAILER, /* at the start of a line */
	TRAILER_LINE,
	TRAILER_LF,
	LAST_LF,
	DONE,
};

enum { MAX_CHUNK_LINE = 256, MAX_TRAILER = 4096 };

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int size_byte(struct xn_http_chunks *chunks, char c)
{
	int digit = hex_digit(c);

	if (digit >= 0) {
		if (chunks->left >> 55)
			return -EBADMSG;
		chunks->left = chunks->left << 4 | (unsigned)digit;
		chunks->state = SIZE;
		return 0;
	}
	if (chunks->state == SIZE_FIRST)
		return -EBADMSG;
	if (c == '\r')
		chunks->state = SIZE_LF;
	else if (c == ';' || c == ' ' || c == '\t')
		chunks->state = EXTENSION;
	else
		return -EBADMSG;
	return 0;
}

/* A byte that is not body; moves on to the next state. */
static int framing_byte(struct xn_http_chunks *chunks, char c)
{
	bool in_trailer = chunks->state >= TRAILER;

	if (++chunks->overhead > (in_trailer ? MAX_TRAILER : MAX_CHUNK_LINE))
		return -EBADMSG;
	switch ((enum chunk_state)chunks->state) {
	case SIZE_FIRST:
	case SIZE:
		return size_byte(chunks, c);
	case EXTENSION:
	case TRAILER_LINE:
		if (c == '\r')
			chunks->state = chunks->state == EXTENSION ? SIZE_LF : TRAILER_LF;
		else if (!is_class(c, VALUE))
			return -EBADMSG;
		return 0;
	case SIZE_LF:
		chunks->overhead = 0;
		chunks->state = chunks->left ? DATA : TRAILER;
		return c == '\n' ? 0 : -EBADMSG;
	case DATA_CR:
		chunks->state = DATA_LF;
		return c == '\r' ? 0 : -EBADMSG;
	case DATA_LF:
		chunks->overhead = 0;
		chunks->state = SIZE_FIRST;
		return c == '\n' ? 0 : -EBADMSG;
	case TRAILER:
		chunks->state = c == '\r' ? LAST_LF : TRAILER_LINE;
		return c == '\r' || is_class(c, TOKEN) ? 0 : -EBADMSG;
	case TRAILER_LF:
		chunks->state = TRAILER;
		return c == '\n' ? 0 : -EBADMSG;
	case LAST_LF:
		chunks->state = DONE;
		return c == '\n' ? 0 : -EBADMSG;
	case DATA:
	case DONE:
		break;
	}
	return -EBADMSG;
}

ssize_t xn_http_next_chunk(struct xn_http_chunks *chunks, const char *data, size_t len,
			   const char **body_out, size_t *body_len_out)
{
	size_t used = 0;

	*body_out = data;
	*body_len_out = 0;
	while (used < len && chunks->state != DONE) {
		if (chunks->state == DATA) {
			size_t run = len - used < chunks->left ? len - used : chunks->left;

			*body_out = data + used;
			*body_len_out = run;
			chunks->left -= run;
			if (!chunks->left)
				chunks->state = DATA_CR;
			return (ssize_t)(used + run);
		}
		if (framing_byte(chunks, data[used]) < 0)
			return -EBADMSG;
		used++;
	}
	return (ssize_t)used;
}

uint64_t xn_http_chunk_left(const struct xn_http_chunks *chunks)
{
	return chunks->state == DATA ? chunks->left : 0;
}

void xn_http_put_back_chunk(struct xn_http_chunks *chunks, size_t n)
{
	if (!n)
		return;
	chunks->left += n;
	chunks->state = DATA;
}

bool xn_http_chunks_done(const struct xn_http_chunks *chunks)
{
	return chunks->state == DONE;
}
