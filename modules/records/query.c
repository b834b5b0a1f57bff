/*
 * Parser and runner of query expressions; see query.h. An expression becomes a list of
 * instructions with one truth value and forward jumps, so running it needs neither recursion nor
 * allocation, and its cost a row is bounded by MAX_INSTRUCTIONS.
 */
#include "modules/records/query.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "core/json.h"

enum { MAX_DEPTH = 64, MAX_INSTRUCTIONS = 1000 };

enum op {
	OP_CONSTANT,   /* truth = .constant */
	OP_EQUAL,      /* truth = left and right have the same text */
	OP_NOT,        /* truth = !truth */
	OP_JUMP_TRUE,  /* `or`: the rest of the chain cannot change it */
	OP_JUMP_FALSE, /* `and` */
};

struct operand {
	int field;  /* -1: .text */
	char *text; /* owned */
};

struct instruction {
	enum op op;
	bool constant;
	unsigned target; /* of a jump; 0 while the chain it belongs to is open */
	struct operand left, right;
};

struct xn_query {
	struct instruction *program;
	unsigned n;
};

/* ---- text ---- */

enum token {
	T_END,
	T_TEXT,
	T_EQUAL,
	T_OPEN,
	T_CLOSE,
	T_FIELD,
	T_AND,
	T_OR,
	T_NOT,
	T_TRUE,
	T_FALSE,
};

static const struct {
	const char *word;
	enum token token;
} words[] = {
	{"field", T_FIELD}, {"and", T_AND},   {"or", T_OR},
	{"not", T_NOT},     {"true", T_TRUE}, {"false", T_FALSE},
};

struct parser {
	const struct xn_class *cls;
	const char *at, *end;
	unsigned depth;
	enum token token;   /* the next one, read but not used */
	struct xn_buf text; /* of T_TEXT */
	struct xn_query *query;
	struct xn_error *err;
};

static int refuse(struct parser *p, const char *why)
{
	return xn_error_set(p->err, XN_ERR_INVALID_VALUE, "expr", why);
}

static int read_quoted(struct parser *p)
{
	char quote = *p->at++;

	p->text.len = 0;
	for (; p->at < p->end && *p->at != quote; p->at++) {
		if (*p->at == '\\' && p->end - p->at > 1 &&
		    (p->at[1] == '\\' || p->at[1] == '"' || p->at[1] == '\''))
			p->at++;
		xn_buf_add_char(&p->text, *p->at);
	}
	if (p->at == p->end)
		return refuse(p, "a text without its closing quote");
	p->at++;
	p->token = T_TEXT;
	return 0;
}

static int read_word(struct parser *p)
{
	const char *start = p->at;

	while (p->at < p->end && ((*p->at | 0x20) >= 'a' && (*p->at | 0x20) <= 'z'))
		p->at++;
	for (size_t i = 0; i < XN_ARRAY_SIZE(words); i++) {
		size_t len = strlen(words[i].word);

		if (len == (size_t)(p->at - start) && !strncasecmp(start, words[i].word, len)) {
			p->token = words[i].token;
			return 0;
		}
	}
	return refuse(p, "expected field, a quoted text, =, and, or, not, true, false, ( or )");
}

static int next_token(struct parser *p)
{
	while (p->at < p->end && strchr(" \t\r\n", *p->at) && *p->at)
		p->at++;
	if (p->at == p->end) {
		p->token = T_END;
		return 0;
	}
	switch (*p->at) {
	case '"':
	case '\'':
		return read_quoted(p);
	case '=':
		p->token = T_EQUAL;
		break;
	case '(':
		p->token = T_OPEN;
		break;
	case ')':
		p->token = T_CLOSE;
		break;
	default:
		return read_word(p);
	}
	p->at++;
	return 0;
}

/* ---- grammar ---- */

static struct instruction *emit(struct parser *p, enum op op)
{
	struct xn_query *query = p->query;

	if (query->n == MAX_INSTRUCTIONS) {
		refuse(p, "the expression is too long");
		return NULL;
	}
	query->program = xn_realloc(query->program, (query->n + 1) * sizeof(*query->program));
	query->program[query->n] = (struct instruction){.op = op};
	query->program[query->n].left.field = query->program[query->n].right.field = -1;
	return &query->program[query->n++];
}

static int parse_operand(struct parser *p, struct operand *out)
{
	bool is_field = p->token == T_FIELD;

	if (is_field && next_token(p) < 0)
		return -1;
	if (p->token != T_TEXT)
		return refuse(p, "expected a quoted text");
	if (!is_field) {
		out->text = xn_strdup(xn_buf_cstr(&p->text));
		return next_token(p);
	}
	out->field = xn_field_find(p->cls, xn_buf_cstr(&p->text));
	if (out->field < 0 || p->cls->fields[out->field].internal)
		return refuse(p, "no such field");
	return next_token(p);
}

static int parse_comparison(struct parser *p)
{
	struct instruction *compare = emit(p, OP_EQUAL);

	if (!compare || parse_operand(p, &compare->left) < 0)
		return -1;
	if (p->token != T_EQUAL)
		return refuse(p, "expected =");
	return next_token(p) < 0 ? -1 : parse_operand(p, &compare->right);
}

static int parse_or(struct parser *p);

static int parse_parentheses(struct parser *p)
{
	if (next_token(p) < 0 || parse_or(p) < 0)
		return -1;
	if (p->token != T_CLOSE)
		return refuse(p, "expected )");
	return next_token(p);
}

static int parse_constant(struct parser *p)
{
	struct instruction *constant = emit(p, OP_CONSTANT);

	if (!constant)
		return -1;
	constant->constant = p->token == T_TRUE;
	return next_token(p);
}

static int parse_term(struct parser *p)
{
	int rc;

	if (p->depth == MAX_DEPTH)
		return refuse(p, "the expression is nested too deeply");
	p->depth++;
	switch (p->token) {
	case T_OPEN:
		rc = parse_parentheses(p);
		break;
	case T_NOT:
		rc = next_token(p) < 0 || parse_term(p) < 0 || !emit(p, OP_NOT) ? -1 : 0;
		break;
	case T_TRUE:
	case T_FALSE:
		rc = parse_constant(p);
		break;
	default:
		rc = parse_comparison(p);
		break;
	}
	p->depth--;
	return rc;
}

/* a OP b OP c: after each part but the last a jump to the end of the chain. */
static int parse_chain(struct parser *p, enum token token, enum op jump,
		       int (*parse_part)(struct parser *p))
{
	unsigned first = p->query->n;

	if (parse_part(p) < 0)
		return -1;
	while (p->token == token)
		if (!emit(p, jump) || next_token(p) < 0 || parse_part(p) < 0)
			return -1;
	for (unsigned i = first; i < p->query->n; i++)
		if (p->query->program[i].op == jump && !p->query->program[i].target)
			p->query->program[i].target = p->query->n;
	return 0;
}

static int parse_and(struct parser *p)
{
	return parse_chain(p, T_AND, OP_JUMP_FALSE, parse_term);
}

static int parse_or(struct parser *p)
{
	return parse_chain(p, T_OR, OP_JUMP_TRUE, parse_and);
}

struct xn_query *xn_query_parse(const struct xn_class *cls, const char *text, size_t len,
				struct xn_error *err)
{
	struct xn_query *query = xn_calloc(1, sizeof(*query));
	struct parser p = {
		.cls = cls,
		.at = text,
		.end = text + len,
		.query = query,
		.err = err,
	};
	int rc = next_token(&p) < 0 || parse_or(&p) < 0 ? -1 : 0;

	if (rc == 0 && p.token != T_END)
		rc = refuse(&p, "expected and, or, or the end");
	xn_buf_clear(&p.text);
	if (rc == 0)
		return query;
	xn_query_free(query);
	return NULL;
}

void xn_query_free(struct xn_query *query)
{
	if (!query)
		return;
	for (unsigned i = 0; i < query->n; i++) {
		free(query->program[i].left.text);
		free(query->program[i].right.text);
	}
	free(query->program);
	free(query);
}

/* ---- running ---- */

unsigned xn_query_cost(const struct xn_query *query)
{
	return query->n;
}

static void print_quoted(const char *s, struct xn_buf *out)
{
	xn_buf_add_char(out, '\'');
	for (; *s; s++) {
		if (*s == '\'' || *s == '\\')
			xn_buf_add_char(out, '\\');
		xn_buf_add_char(out, *s);
	}
	xn_buf_add_char(out, '\'');
}

static void print_text(const struct xn_value *v, struct xn_buf *out);

static void print_member(const struct xn_value *v, struct xn_buf *out)
{
	struct xn_buf text XN_CLEANUP(xn_buf_clear_p) = {0};

	print_text(v, &text);
	print_quoted(xn_buf_cstr(&text), out);
}

/* Nesting follows the schema's types, so it is bounded. */
static void print_text(const struct xn_value *v, struct xn_buf *out)
{
	if (xn_value_add_plain(v, out))
		return;
	switch ((enum xn_kind)v->kind) {
	case XN_FLOAT:
		xn_json_write_float(xn_value_float(v), out);
		break;
	case XN_SET:
		xn_buf_add_char(out, '(');
		for (size_t i = 0; i < xn_set_len(v); i++) {
			xn_buf_add_string(out, i ? " " : "");
			print_member(xn_set_at(v, i), out);
		}
		xn_buf_add_char(out, ')');
		break;
	case XN_MAP:
		xn_buf_add_char(out, '(');
		for (size_t i = 0; i < xn_map_len(v); i++) {
			xn_buf_add_string(out, i ? " (" : "(");
			print_quoted(xn_map_key_at(v, i), out);
			xn_buf_add_char(out, ' ');
			print_member(xn_map_at(v, i), out);
			xn_buf_add_char(out, ')');
		}
		xn_buf_add_char(out, ')');
		break;
	default:
		break; /* in no row */
	}
}

/* The operand's text, borrowed; @scratch holds it when it has to be made. */
static const char *operand_text(const struct operand *operand,
				const struct xn_value *(*read)(const void *row, int field),
				const void *row, struct xn_buf *scratch)
{
	const struct xn_value *v;

	if (operand->field < 0)
		return operand->text;
	v = read(row, operand->field);
	if (v->kind == XN_STRING)
		return xn_value_string(v);
	if (v->kind == XN_BOOL)
		return xn_value_bool(v) ? "true" : "false";
	print_text(v, scratch);
	return xn_buf_cstr(scratch);
}

static bool is_equal(const struct instruction *compare,
		     const struct xn_value *(*read)(const void *row, int field), const void *row)
{
	struct xn_buf left XN_CLEANUP(xn_buf_clear_p) = {0};
	struct xn_buf right XN_CLEANUP(xn_buf_clear_p) = {0};

	return strcmp(operand_text(&compare->left, read, row, &left),
		      operand_text(&compare->right, read, row, &right)) == 0;
}

bool xn_query_matches(const struct xn_query *query,
		      const struct xn_value *(*read)(const void *row, int field), const void *row)
{
	bool truth = false;
	unsigned i = 0;

	while (i < query->n) {
		const struct instruction *at = &query->program[i++];

		switch (at->op) {
		case OP_CONSTANT:
			truth = at->constant;
			break;
		case OP_EQUAL:
			truth = is_equal(at, read, row);
			break;
		case OP_NOT:
			truth = !truth;
			break;
		case OP_JUMP_TRUE:
			i = truth ? at->target : i;
			break;
		case OP_JUMP_FALSE:
			i = truth ? i : at->target;
			break;
		}
	}
	return truth;
}
