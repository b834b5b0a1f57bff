/*
 * XML-RPC requests (the 1999 specification with its usual i8 and nil extensions), read with expat
 * as a stream of tags onto a bounded stack of open values. Document types are refused, so no
 * entity can be declared.
 */
#include <errno.h>
#include <expat.h>
#include <stdlib.h>

#include "rpc/request.h"
#include "rpc/rpc.h"

enum {
	MAX_OPEN = 3 * XN_REQUEST_MAX_DEPTH + 1, /* a struct, its member and the member's value */
	MAX_TEXT = 16 << 20,
	MAX_TAG = 16 << 10, /* bytes; also of a comment. Thousands of attributes take expat long */
};

/* What may be open at one level. */
enum frame_kind { IN_VALUE, IN_ARRAY, IN_STRUCT, IN_MEMBER };

struct frame {
	enum frame_kind kind;
	struct xn_value *value; /* IN_VALUE: what a type tag gave; ARRAY: set; STRUCT: map */
	char *name;		/* IN_MEMBER */
};

struct parser {
	XML_Parser expat;
	struct xn_request *request;
	struct xn_buf *why;
	struct frame stack[MAX_OPEN];
	unsigned depth;
	size_t values_left;
	unsigned nesting_left; /* arrays and structs */
	struct xn_buf text; /* character data of the innermost element */
	enum { START, CALL, PARAMS, PARAM, DONE } place;
	bool in_leaf; /* a name or a plain value is open, and holds only text */
	bool failed;
};

static void fail(struct parser *p, const char *sentence)
{
	if (p->failed)
		return;
	p->failed = true;
	xn_buf_add_string(p->why, sentence);
	XML_StopParser(p->expat, XML_FALSE);
}

static struct frame *top(struct parser *p)
{
	return p->depth ? &p->stack[p->depth - 1] : NULL;
}

static void push(struct parser *p, enum frame_kind kind, struct xn_value *value)
{
	bool nests = kind == IN_ARRAY || kind == IN_STRUCT;

	if (p->depth == MAX_OPEN || (nests && !p->nesting_left)) {
		xn_value_unref(value);
		fail(p, "nested too deeply");
		return;
	}
	p->nesting_left -= nests;
	p->stack[p->depth++] = (struct frame){.kind = kind, .value = value};
}

/* One more value or member is begun. */
static void count(struct parser *p)
{
	if (p->values_left)
		p->values_left--;
	else
		fail(p, "too many values");
}

/* A finished <value> goes to the array, member or parameter that it stands in. */
static void deliver(struct parser *p, struct xn_value *value)
{
	struct frame *around = top(p);

	if (!around) {
		if (xn_set_len(p->request->params) == XN_PARAMS_MAX) {
			xn_value_unref(value);
			fail(p, "too many parameters");
			return;
		}
		xn_set_append(&p->request->params, value);
	} else if (around->kind == IN_ARRAY) {
		xn_set_append(&around->value, value);
	} else if (around->kind == IN_MEMBER && around->name && !around->value) {
		around->value = value;
	} else {
		xn_value_unref(value);
		fail(p, "a value stands where none may be");
	}
}

/* Whether only white space follows: some clients pretty-print their numbers. */
static bool is_end(const char *text)
{
	return !text[strspn(text, " \t\r\n")];
}

static struct xn_value *parse_int(const char *text)
{
	char *end;
	int64_t i;

	errno = 0;
	i = strtoll(text, &end, 10);
	return errno || end == text || !is_end(end) ? NULL : xn_int(i);
}

static struct xn_value *parse_double(const char *text)
{
	char *end;
	double d = strtod(text, &end);

	return end == text || !is_end(end) ? NULL : xn_float(d);
}

static struct xn_value *parse_boolean(const char *text)
{
	text += strspn(text, " \t\r\n");
	if ((*text != '0' && *text != '1') || !is_end(text + 1))
		return NULL;
	return xn_bool(*text == '1');
}

static struct xn_value *parse_date(const char *text)
{
	int64_t seconds;

	return xn_date_parse(text, &seconds) < 0 ? NULL : xn_datetime(seconds);
}

static int base64_digit(char c)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *at = c ? strchr(digits, c) : NULL;

	return at ? (int)(at - digits) : -1;
}

static struct xn_value *parse_base64(const char *text)
{
	struct xn_buf bytes XN_CLEANUP(xn_buf_clear_p) = {0};
	unsigned bits = 0, n_bits = 0;

	for (; *text && *text != '='; text++) {
		int digit = base64_digit(*text);

		if (strchr(" \t\r\n", *text))
			continue;
		if (digit < 0)
			return NULL;
		bits = (bits << 6 | (unsigned)digit) & 0xffffff;
		n_bits += 6;
		if (n_bits >= 8) {
			n_bits -= 8;
			xn_buf_add_char(&bytes, (char)(bits >> n_bits & 0xff));
		}
	}
	if (!xn_text_is_valid(bytes.data ? bytes.data : "", bytes.len))
		return NULL; /* the API has no field that holds anything but text */
	return xn_string_len(bytes.data, bytes.len);
}

static struct xn_value *parse_string(const char *text)
{
	return xn_string(text);
}

static struct xn_value *parse_nil(const char *text)
{
	return xn_nil();
}

static const struct scalar {
	const char *tag;
	struct xn_value *(*parse)(const char *text);
} scalars[] = {
	{"string", parse_string}, {"int", parse_int},
	{"i4", parse_int},	  {"i8", parse_int},
	{"boolean", parse_boolean}, {"double", parse_double},
	{"dateTime.iso8601", parse_date}, {"base64", parse_base64},
	{"nil", parse_nil},
};

static const struct scalar *scalar_find(const char *tag)
{
	for (size_t i = 0; i < XN_ARRAY_SIZE(scalars); i++)
		if (strcmp(scalars[i].tag, tag) == 0)
			return &scalars[i];
	return NULL;
}

/* Tags outside of values: the call's frame. */
static bool start_envelope(struct parser *p, const char *tag)
{
	if (p->place == START && strcmp(tag, "methodCall") == 0)
		p->place = CALL;
	else if (p->place == CALL && strcmp(tag, "methodName") == 0 && !p->request->method)
		p->in_leaf = true;
	else if (p->place == CALL && strcmp(tag, "params") == 0)
		p->place = PARAMS;
	else if (p->place == PARAMS && strcmp(tag, "param") == 0)
		p->place = PARAM;
	else
		return false;
	return true;
}

static bool start_value_part(struct parser *p, const char *tag)
{
	struct frame *in = top(p);
	bool in_value = in && in->kind == IN_VALUE && !in->value;

	if (strcmp(tag, "value") == 0) {
		count(p);
		push(p, IN_VALUE, NULL);
		return true;
	}
	if (in_value && strcmp(tag, "array") == 0) {
		push(p, IN_ARRAY, xn_set_new());
		return true;
	}
	if (in_value && strcmp(tag, "struct") == 0) {
		push(p, IN_STRUCT, xn_map_new());
		return true;
	}
	if (in && in->kind == IN_STRUCT && strcmp(tag, "member") == 0) {
		count(p);
		push(p, IN_MEMBER, NULL);
		return true;
	}
	p->in_leaf = (in && in->kind == IN_MEMBER && strcmp(tag, "name") == 0 && !in->name) ||
		     (in_value && scalar_find(tag));
	return p->in_leaf || (in && in->kind == IN_ARRAY && strcmp(tag, "data") == 0);
}

static void XMLCALL on_start(void *arg, const XML_Char *tag, const XML_Char **attributes)
{
	struct parser *p = arg;
	bool known = !p->in_leaf;

	if (p->failed)
		return;
	p->text.len = 0;
	if (known)
		known = p->place == PARAM ? start_value_part(p, tag) : start_envelope(p, tag);
	if (!known)
		fail(p, "a tag stands where it may not");
}

static void end_value(struct parser *p)
{
	struct frame *in = top(p);
	struct xn_value *value;

	if (!in || in->kind != IN_VALUE)
		return;
	value = in->value;
	in->value = NULL;
	if (!value) /* no type tag: the text itself, blanks and all */
		value = xn_string(xn_buf_cstr(&p->text));
	p->depth--;
	deliver(p, value);
}

/* </array> or </struct>: the container becomes the value around it. */
static void end_container(struct parser *p)
{
	struct xn_value *container = top(p)->value;

	p->depth--;
	p->nesting_left++;
	top(p)->value = container;
}

static void end_member(struct parser *p)
{
	struct frame *member = top(p);

	if (!member->name || !member->value) {
		fail(p, "a member without name or value");
		return;
	}
	if (xn_map_get(member[-1].value, member->name)) {
		fail(p, "a member stands twice in a struct");
		return;
	}
	p->depth--;
	xn_map_put(&top(p)->value, member->name, member->value);
	free(member->name);
	*member = (struct frame){0};
}

static void end_scalar(struct parser *p, const struct scalar *scalar)
{
	struct frame *in = top(p);

	in->value = scalar->parse(xn_buf_cstr(&p->text));
	if (!in->value)
		fail(p, "a value does not fit its type tag");
}

static void end_in_param(struct parser *p, const char *tag)
{
	struct frame *in = top(p);
	const struct scalar *scalar;

	if (!in)
		p->place = PARAMS; /* </param> */
	else if (in->kind == IN_VALUE && (scalar = scalar_find(tag)) && !in->value)
		end_scalar(p, scalar);
	else if (in->kind == IN_VALUE)
		end_value(p);
	else if (in->kind == IN_MEMBER && strcmp(tag, "name") == 0)
		in->name = xn_strdup(xn_buf_cstr(&p->text));
	else if (in->kind == IN_MEMBER)
		end_member(p);
	else if (strcmp(tag, "data") != 0)
		end_container(p);
}

static void XMLCALL on_end(void *arg, const XML_Char *tag)
{
	struct parser *p = arg;

	if (p->failed)
		return;
	switch (p->place) {
	case PARAM:
		end_in_param(p, tag);
		break;
	case PARAMS:
		p->place = CALL;
		break;
	case CALL:
		if (strcmp(tag, "methodName") != 0)
			p->place = DONE;
		else if (p->text.len > XN_METHOD_NAME_MAX)
			fail(p, "the method's name is too long");
		else
			p->request->method = xn_string(xn_buf_cstr(&p->text));
		break;
	default:
		break;
	}
	p->in_leaf = false;
	p->text.len = 0;
}

static void XMLCALL on_text(void *arg, const XML_Char *text, int len)
{
	struct parser *p = arg;

	if (p->failed)
		return;
	if (p->text.len + (size_t)len > MAX_TEXT)
		fail(p, "a text is too long");
	else
		xn_buf_add(&p->text, text, (size_t)len);
}

static void XMLCALL on_doctype(void *arg, const XML_Char *name, const XML_Char *sysid,
			       const XML_Char *pubid, int has_internal_subset)
{
	fail(arg, "document types are refused");
}

static void drop_stack(struct parser *p)
{
	while (p->depth) {
		struct frame *frame = &p->stack[--p->depth];

		xn_value_unref(frame->value);
		free(frame->name);
	}
}

/* In portions, between which a tag that does not end is seen before it costs much. */
static enum XML_Status feed(struct parser *p, const char *body, size_t len)
{
	enum XML_Status status = XML_STATUS_OK;
	XML_Index reached;

	for (size_t at = 0; at < len && status == XML_STATUS_OK;) {
		size_t n = len - at < MAX_TAG ? len - at : MAX_TAG;

		status = XML_Parse(p->expat, body + at, (int)n, at + n == len);
		at += n;
		reached = XML_GetCurrentByteIndex(p->expat); /* -1: nothing is left over */
		if (status == XML_STATUS_OK && reached >= 0 && (XML_Index)at - reached > MAX_TAG) {
			fail(p, "a tag is too long");
			status = XML_STATUS_ERROR;
		}
	}
	return status;
}

int xn_xmlrpc_parse(const char *body, size_t len, const struct xn_request_bounds *bounds,
		    struct xn_request *request, struct xn_buf *why)
{
	struct parser p = {.request = request, .why = why, .values_left = bounds->values,
			   .nesting_left = bounds->depth};
	enum XML_Status status;

	*request = (struct xn_request){.protocol = XN_XML_RPC, .params = xn_set_new()};
	if (len > INT32_MAX)
		return -1;
	p.expat = XML_ParserCreate(NULL);
	if (!p.expat)
		abort();
	XML_SetUserData(p.expat, &p);
	XML_SetElementHandler(p.expat, on_start, on_end);
	XML_SetCharacterDataHandler(p.expat, on_text);
	XML_SetStartDoctypeDeclHandler(p.expat, on_doctype);
	status = len ? feed(&p, body, len) : XML_Parse(p.expat, body, 0, XML_TRUE);
	if (status != XML_STATUS_OK && !p.failed) {
		p.failed = true;
		xn_buf_printf(why, "%s in line %lu", XML_ErrorString(XML_GetErrorCode(p.expat)),
			      (unsigned long)XML_GetCurrentLineNumber(p.expat));
	}
	if (!p.failed && (p.place != DONE || !request->method)) {
		p.failed = true;
		xn_buf_add_string(why, "no methodCall with a methodName");
	}
	drop_stack(&p);
	xn_buf_clear(&p.text);
	XML_ParserFree(p.expat);
	return p.failed ? -1 : 0;
}

/* As the one parameter of a call. */
struct xn_value *xn_rpc_read_value(const char *text, size_t len, struct xn_buf *why)
{
	static const char before[] = "<methodCall><methodName>-</methodName><params><param>";
	static const char after[] = "</param></params></methodCall>";
	static const struct xn_request_bounds bounds = {.values = 1 << 20, .depth = 16};
	struct xn_buf body XN_CLEANUP(xn_buf_clear_p) = {0};
	const char *prolog = len > 5 && memcmp(text, "<?xml", 5) == 0 ? memmem(text, len, "?>", 2) : NULL;
	size_t skipped = prolog ? (size_t)(prolog - text) + 2 : 0;
	struct xn_value *value = NULL;
	struct xn_request request;

	xn_buf_add_string(&body, before);
	xn_buf_add(&body, text + skipped, len - skipped);
	xn_buf_add_string(&body, after);
	if (xn_xmlrpc_parse(body.data, body.len, &bounds, &request, why) == 0) {
		if (xn_set_len(request.params) == 1)
			value = xn_value_ref(xn_set_at(request.params, 0));
		else
			xn_buf_add_string(why, "not one value");
	}
	xn_request_clear(&request);
	return value;
}
