/*
 * The flag --history: the same answers as the calls', as lines for people or an object a line. Asks
 * page by page, so that any length is fine.
 */
#include "modules/history/history.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/json.h"
#include "core/past.h"
#include "modules/history/answer.h"

struct printing {
	const char *dir;
	struct xn_history_options options;
	struct history_defaults defaults;
	struct history_query query;
	unsigned left; /* of the limit; 0: none */
	bool has_limit;
};

/* ---- lines ---- */

static const char *text_of(const struct xn_value *map, const char *key)
{
	const char *text = xn_map_get_string(map, key);

	return text && *text ? text : "-";
}

/* 2026-11-21 10:00:00.123456  1234  set  VM  OpaqueRef:...  name_label  "a" -> "b"  by ... */
static void print_change(const struct xn_value *change)
{
	const char *when = xn_map_get_string(change, "time");
	const char *op = text_of(change, "operation");

	if (when)
		printf("%.10s %.15s %8" PRId64 "  ", when, when + 11,
		       xn_map_get_int(change, "generation", 0));
	printf("%-6s  %-16s  %-46s  %-24s  ", op, text_of(change, "class"), text_of(change, "ref"),
	       text_of(change, "field"));
	if (strcmp(op, "create") != 0) {
		xn_past_print_value(xn_map_get(change, "old"));
		if (strcmp(op, "set") == 0)
			fputs(" -> ", stdout);
	}
	if (strcmp(op, "delete") != 0)
		xn_past_print_value(xn_map_get(change, "new"));
	if (when)
		printf("  by %s from %s, session %s, task %s", text_of(change, "user"),
		       text_of(change, "origin"), text_of(change, "session"),
		       text_of(change, "task"));
	putchar('\n');
}

static void print_record(const char *title, const struct xn_value *record)
{
	if (*title)
		printf("%s\n", title);
	for (size_t i = 0; i < xn_map_len(record); i++) {
		printf("%s%-32s ", *title ? "    " : "", xn_map_key_at(record, i));
		xn_past_print_value(xn_map_at(record, i));
		putchar('\n');
	}
}

static void print_json(const struct xn_value *v)
{
	struct xn_buf text XN_CLEANUP(xn_buf_clear_p) = {0};

	xn_json_write(v, &text);
	puts(xn_buf_cstr(&text));
}

/* ---- answers ---- */

static void print_list(const struct printing *p, const struct xn_value *list)
{
	for (size_t i = 0; i < xn_set_len(list); i++) {
		if (p->query.json)
			print_json(xn_set_at(list, i));
		else
			print_change(xn_set_at(list, i));
	}
}

static void print_records(const struct printing *p, const struct xn_value *records)
{
	for (size_t i = 0; i < xn_map_len(records); i++) {
		const char *ref = xn_map_key_at(records, i);

		if (p->query.json) {
			XN_CLEANUP(xn_value_unref_p) struct xn_value *one = xn_map_new();

			xn_map_put(&one, ref, xn_value_ref(xn_map_at(records, i)));
			print_json(one);
		} else {
			print_record(ref, xn_map_at(records, i));
		}
	}
}

static void print_other(const struct printing *p, const struct xn_value *answer)
{
	if (p->query.json)
		print_json(answer);
	else
		print_record("", answer);
}

static struct xn_value *ask(struct printing *p, char **why)
{
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};
	struct xn_buf text XN_CLEANUP(xn_buf_clear_p) = {0};
	struct xn_value *answer = NULL;

	if (history_answer(p->dir, &p->options, &p->defaults, &p->query, XN_FORMAT_JSON,
			   xn_past_now_us(), &text, &err) < 0)
		*why = xn_error_sentence(&err);
	else if (xn_json_parse(text.data, text.len, &answer, NULL) < 0)
		*why = xn_strdup("the answer cannot be read");
	return answer;
}

/* One page. Return: 1: there is more, 0, -1 with *why. */
static int print_page(struct printing *p, char **why)
{
	XN_CLEANUP(xn_value_unref_p) struct xn_value *answer = NULL;
	const struct xn_value *changes;
	struct xn_error err = {0};
	const char *next;

	if (p->has_limit)
		p->query.limit = p->left < HISTORY_LIMIT ? p->left : HISTORY_LIMIT;
	answer = ask(p, why);
	if (!answer)
		return -1;
	changes = xn_map_get(answer, "changes");
	if (p->query.question == HISTORY_ALL_RECORDS)
		print_records(p, answer);
	else if (changes)
		print_list(p, changes);
	else
		print_other(p, answer);
	next = xn_map_get_string(answer, "next");
	if (p->has_limit && changes)
		p->left -= (unsigned)xn_set_len(changes);
	if (!next || !*next || (p->has_limit && !p->left)) {
		xn_past_tell_limits(answer);
		return 0;
	}
	return history_query_set(&p->query, "after", next, &err) < 0 ? -1 : 1;
}

static int print_all(struct printing *p, const char *text, char **why)
{
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};
	int rc;

	history_query_init(&p->query);
	if (history_query_parse(&p->query, text, &err) < 0) {
		*why = xn_error_sentence(&err);
		return -1;
	}
	p->left = p->query.limit;
	p->has_limit = p->left && p->query.question != HISTORY_ALL_RECORDS;
	while ((rc = print_page(p, why)) == 1) {
	}
	return rc;
}

int xn_history_print(struct xn_config *config, const char *query, char **why)
{
	struct printing p = {.dir = xn_config_string(config, "state-dir")};
	int rc;

	if (xn_history_options_read(&p.options, config, why) < 0)
		return -1;
	history_defaults_init(&p.defaults);
	rc = print_all(&p, query, why);
	history_defaults_clear(&p.defaults);
	xn_history_options_clear(&p.options);
	return rc;
}
