/*
 * The flags --xenstore-history, --xenstore-at and --xenstore-export: on the files in the state
 * folder, whether a daemon runs on it or not. Answers come page by page, so that any length is fine.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/json.h"
#include "core/past.h"
#include "modules/xenstore/history/answer.h"
#include "modules/xenstore/history/history.h"
#include "modules/xenstore/journal/media.h"
#include "modules/xenstore/xenstore.h"

struct printing {
	struct past_query query;
	struct past_asking asking;
	unsigned left; /* of the limit */
	bool has_limit;
	unsigned n; /* printed */
};

/* The folder must be there already: a question makes nothing. */
static struct xn_xs_media *open_media(struct xn_config *config, char **why)
{
	char *folder XN_CLEANUP(xn_free_p) = past_folder(config);
	struct xn_xs_media *media;
	int rc = -errno;

	if (access(folder, R_OK | X_OK) < 0) {
		*why = xn_asprintf("%s: %s", folder,
				   errno == ENOENT ? "no history of a xenstore is there"
						   : strerror(errno));
		return NULL;
	}
	media = xn_xs_media_file_new(folder, &rc);
	if (!media)
		*why = xn_asprintf("%s: %s", folder, strerror(-rc));
	return media;
}

/* ---- lines ---- */

/* 2026-11-21 10:00:00.123456  1234  set  /path  "a" -> "b"  by domain 5 (birth 17), transaction 3 */
static void print_change(const struct xn_value *change)
{
	const char *when = xn_map_get_string(change, "time");
	const char *op = xn_map_get_string(change, "operation");
	int64_t transaction = xn_map_get_int(change, "transaction", 0);

	printf("%.10s %.15s %8" PRId64 "  %-11s  %s  ", when, when + 11,
	       xn_map_get_int(change, "generation", 0), op, xn_map_get_string(change, "path"));
	if (strcmp(op, "create") != 0)
		xn_past_print_value(xn_map_get(change, "old"));
	if (strcmp(op, "create") != 0 && strcmp(op, "delete") != 0)
		fputs(" -> ", stdout);
	if (strcmp(op, "delete") != 0)
		xn_past_print_value(xn_map_get(change, "new"));
	printf("  by domain %" PRId64 " (birth %" PRId64 ")", xn_map_get_int(change, "domain", 0),
	       xn_map_get_int(change, "birth", 0));
	if (transaction)
		printf(", transaction %" PRId64, transaction);
	putchar('\n');
}

static void print_node(const struct xn_value *node)
{
	printf("%s = ", xn_map_get_string(node, "path"));
	xn_past_print_value(xn_map_get(node, "value"));
	printf("   (%s)\n", xn_map_get_string(node, "permissions"));
}

/* What is not there is null, which a call's result cannot be. */
static void print_json(const struct xn_value *map)
{
	struct xn_buf text XN_CLEANUP(xn_buf_clear_p) = {0};

	for (size_t i = 0; i < xn_map_len(map); i++) {
		const char *key = xn_map_key_at(map, i);

		xn_buf_add_char(&text, i ? ',' : '{');
		xn_json_write_string(key, strlen(key), &text);
		xn_buf_add_char(&text, ':');
		if (xn_map_at(map, i)->kind == XN_NIL)
			xn_buf_add_string(&text, "null");
		else
			xn_json_write(xn_map_at(map, i), &text);
	}
	xn_buf_add_char(&text, '}');
	puts(xn_buf_cstr(&text));
}

static void print_list(struct printing *p, const struct xn_value *list,
		       void (*print)(const struct xn_value *))
{
	for (size_t i = 0; i < xn_set_len(list); i++)
		(p->query.json ? print_json : print)(xn_set_at(list, i));
	p->n += (unsigned)xn_set_len(list);
	if (p->has_limit)
		p->left -= (unsigned)xn_set_len(list);
}

static void print_map(const struct xn_value *map)
{
	for (size_t i = 0; i < xn_map_len(map); i++) {
		printf("%-32s ", xn_map_key_at(map, i));
		xn_past_print_value(xn_map_at(map, i));
		putchar('\n');
	}
}

/* ---- pages ---- */

static struct xn_value *ask(struct printing *p, char **why)
{
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};
	struct xn_buf text XN_CLEANUP(xn_buf_clear_p) = {0};
	struct xn_value *answer = NULL;

	if (past_answer(&p->asking, &text, &err) < 0)
		*why = xn_error_sentence(&err);
	else if (xn_json_parse(text.data, text.len, &answer, NULL) < 0)
		*why = xn_strdup("the answer cannot be read");
	return answer;
}

/* 1: there is more, 0, -1 with *why. */
static int print_page(struct printing *p, char **why)
{
	XN_CLEANUP(xn_value_unref_p) struct xn_value *answer = NULL;
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};
	const char *next;

	p->query.limit = p->has_limit ? p->left : PAST_LIMIT_MAX;
	answer = ask(p, why);
	if (!answer)
		return -1;
	if (xn_map_get(answer, "changes"))
		print_list(p, xn_map_get(answer, "changes"), print_change);
	else if (xn_map_get(answer, "nodes"))
		print_list(p, xn_map_get(answer, "nodes"), print_node);
	else
		(p->query.json ? print_json : print_map)(answer);
	next = xn_map_get_string(answer, "next");
	if (!next || !*next || (p->has_limit && !p->left)) {
		xn_past_tell_limits(answer);
		return 0;
	}
	return past_query_set(&p->query, "after", next, &err) < 0 ? -1 : 1;
}

static int print_all(struct printing *p, const char *text, char **why)
{
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};
	int rc;

	past_query_init(&p->query);
	if (past_query_parse(&p->query, text, &err) < 0) {
		*why = xn_error_sentence(&err);
		return -1;
	}
	p->left = p->query.limit;
	p->has_limit = p->left;
	while ((rc = print_page(p, why)) == 1)
		;
	return rc;
}

int xn_xenstore_print_history(struct xn_config *config, const char *query, char **why)
{
	struct xn_xs_media *media = open_media(config, why);
	struct printing *p;
	int rc;

	if (!media)
		return -1;
	p = xn_calloc(1, sizeof(*p));
	p->asking = (struct past_asking){.media = media,
					 .query = &p->query,
					 .format = XN_FORMAT_JSON,
					 .now_us = xn_past_now_us(),
					 .size_limit = past_size_limit(config)};
	rc = print_all(p, query, why);
	free(p);
	media->ops->free(media);
	return rc;
}

/* ---- the tree, in the form of xenstore-ls -fp ---- */

static void print_bytes(const char *value, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)value[i];
		const char *known = strchr("\tt\nn\rr\\\\", c);

		if (c && known && (known - "\tt\nn\rr\\\\") % 2 == 0)
			printf("\\%c", known[1]);
		else if (c >= ' ' && c <= '~')
			putchar(c);
		else
			printf(c < 8 ? "\\%03o" : "\\x%02x", c);
	}
}

static void print_line(const struct past_tree *tree, const struct past_node *node)
{
	struct xn_buf perms XN_CLEANUP(xn_buf_clear_p) = {0};
	char room[XN_XS_PATH_MAX + 2];
	size_t len;

	printf("%s = \"", past_node_path(node, room, &len));
	print_bytes(node->value, node->value_len);
	past_perms_print(tree, &(struct xn_xs_text){node->perms->text, node->perms->len}, ',',
			 &perms);
	printf("\"   (%s)\n", xn_buf_cstr(&perms));
}

/* What is below the path; without children, itself. */
static int print_tree(const struct past_tree *tree, char **why)
{
	struct past_node *top = past_tree_top(tree), *node = top;

	if (!top) {
		*why = xn_asprintf("%s: there was no such node then", tree->path);
		return -1;
	}
	if (!top->n_kids && top->parent)
		print_line(tree, top);
	while ((node = past_node_next(top, node)))
		print_line(tree, node);
	return 0;
}

static int read_tree(struct xn_xs_media *media, const struct past_query *q, struct past_tree *tree,
		     struct xn_error *err)
{
	struct past *past;
	uint64_t generation;
	int rc = past_open(media, &past);

	if (rc < 0)
		return past_failed(err, rc);
	rc = past_find_generation(past, &q->at, "at", xn_past_now_us(), &generation, err);
	if (rc == 0) {
		rc = past_tree_at(past, generation, q->at.is_now, tree);
		rc = rc < 0 ? past_failed(err, rc) : 0;
	}
	past_close(past);
	return rc;
}

int xn_xenstore_print_tree(struct xn_config *config, const char *at, const char *path, char **why)
{
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};
	struct past_query *q = xn_malloc(sizeof(*q));
	struct xn_xs_media *media = NULL;
	struct past_tree tree;
	int rc;

	past_query_init(q);
	rc = past_query_set(q, "at", at, &err) < 0 ||
	     (path && past_query_set(q, "path", path, &err) < 0);
	past_tree_init(&tree, q->path, q->path_len);
	if (rc == 0)
		media = open_media(config, why);
	if (media)
		rc = read_tree(media, q, &tree, &err);
	if (xn_error_is_set(&err))
		*why = xn_error_sentence(&err);
	rc = !rc && media ? print_tree(&tree, why) : -1;
	past_tree_clear(&tree);
	if (media)
		media->ops->free(media);
	free(q);
	return rc;
}

/* ---- export ---- */

static int write_out(void *arg, const void *bytes, size_t len)
{
	return fwrite(bytes, 1, len, stdout) == len ? 0 : -EPIPE;
}

int xn_xenstore_export(struct xn_config *config, char **why)
{
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};
	struct xn_xs_media *media = open_media(config, why);
	int rc;

	if (!media)
		return -1;
	rc = past_export(media, write_out, NULL);
	media->ops->free(media);
	if (rc == 0 && fflush(stdout) != 0)
		rc = -errno;
	if (rc < 0) {
		(void)past_failed(&err, rc);
		*why = xn_error_sentence(&err);
	}
	return rc < 0 ? -1 : 0;
}
