/*
 * Connections and their requests: which path is meant, in which transaction; a single request is a
 * change set of its own.
 */
#include "modules/xenstore/store/store_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- connections ---- */

struct xn_xs_conn *xn_xs_conn_new(struct xn_xs_domain *domain)
{
	struct xn_xs_conn *conn = xn_calloc(1, sizeof(*conn));

	assert(domain->alive);
	conn->store = domain->store;
	conn->domain = domain;
	domain->refs++;
	xn_list_init(&conn->watchers);
	xn_list_init(&conn->transactions);
	xn_list_init(&conn->events);
	xn_list_init(&conn->ready);
	xn_list_init(&conn->fighter);
	xn_list_init(&conn->waiter);
	xn_list_push(&conn->store->conns, &conn->link);
	return conn;
}

void xn_xs_conn_reset(struct xn_xs_conn *conn)
{
	struct xn_list *link;

	xn_xs_watch_drop_all(conn);
	while ((link = conn->transactions.next) != &conn->transactions)
		xn_xs_tx_free((struct xn_xs_tx *)link); /* its link is its first member */
	xn_xs_contention_leave(conn);
}

void xn_xs_conn_free(struct xn_xs_conn *conn)
{
	if (!conn)
		return;
	xn_xs_conn_reset(conn);
	xn_xs_contention_forget(conn);
	xn_list_remove(&conn->link);
	xn_xs_domain_unref(conn->domain);
	free(conn->list_end);
	free(conn);
}

struct xn_xs_domain *xn_xs_conn_domain(const struct xn_xs_conn *conn)
{
	return conn->domain;
}

uint32_t xn_xs_conn_highest_transaction(const struct xn_xs_conn *conn)
{
	return conn->next_tx;
}

void xn_xs_conn_lost_transactions(struct xn_xs_conn *conn, uint32_t highest)
{
	conn->lost_tx = highest;
	if (conn->next_tx < highest)
		conn->next_tx = highest;
}

/* ---- requests of a connection ---- */

/* A request of a connection, opened: where it acts. */
struct asked {
	struct xn_xs_view view; /* without a transaction */
	struct xn_xs_path path;
	struct xn_xs_tx *tx; /* NULL: none named */
};

static int open_request(struct asked *asked, struct xn_xs_conn *conn, uint32_t tx, const char *path)
{
	asked->view = (struct xn_xs_view){.store = conn->store, .who = conn->domain};
	asked->tx = tx ? xn_xs_tx_find(conn, tx) : NULL;
	if (tx && !asked->tx)
		return -ENOENT;
	return xn_xs_path_for(&asked->path, conn->domain, path);
}

/* A single request is a change set of its own. */
static int finish_single(struct xn_xs_conn *conn, int rc)
{
	if (rc < 0) {
		xn_xs_rollback(conn->store);
		return rc;
	}
	xn_xs_contention_won(conn, false);
	return xn_xs_commit(conn->store, conn->domain, 0);
}

int xn_xs_conn_read(struct xn_xs_conn *conn, uint32_t tx, const char *path, const char **value_out,
		    size_t *len_out)
{
	struct xn_xs_node *node;
	struct asked asked;
	int rc = open_request(&asked, conn, tx, path);

	if (rc < 0)
		return rc;
	rc = asked.tx ? xn_xs_tx_read(asked.tx, &asked.path, &node)
		      : xn_xs_do_read(&asked.view, asked.path.text, asked.path.len, &node);
	if (rc < 0)
		return rc;
	*value_out = xn_xs_node_value(node);
	*len_out = node->value_len;
	return 0;
}

static int write_or_make(struct xn_xs_conn *conn, uint32_t tx, const char *path, const void *value,
			 size_t len, bool only_make)
{
	struct asked asked;
	int rc = open_request(&asked, conn, tx, path);

	if (rc < 0)
		return rc;
	if (len > XN_XS_VALUE_MAX)
		return -E2BIG;
	if (asked.tx)
		return xn_xs_tx_write(asked.tx, &asked.path, value, len, only_make);
	return finish_single(conn, xn_xs_do_write(&asked.view, asked.path.text, asked.path.len,
						  value, len, only_make));
}

int xn_xs_conn_write(struct xn_xs_conn *conn, uint32_t tx, const char *path, const void *value,
		     size_t len)
{
	return write_or_make(conn, tx, path, value, len, false);
}

int xn_xs_conn_write_string(struct xn_xs_conn *conn, uint32_t tx, const char *path, const char *s)
{
	return write_or_make(conn, tx, path, s, strlen(s), false);
}

int xn_xs_conn_writef(struct xn_xs_conn *conn, uint32_t tx, const char *path, const char *fmt, ...)
{
	char text[XN_XS_VALUE_MAX + 1];
	va_list ap;
	int len;

	va_start(ap, fmt);
	len = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return len < 0 ? -EINVAL : write_or_make(conn, tx, path, text, (size_t)len, false);
}

int xn_xs_conn_mkdir(struct xn_xs_conn *conn, uint32_t tx, const char *path)
{
	return write_or_make(conn, tx, path, "", 0, true);
}

int xn_xs_conn_rm(struct xn_xs_conn *conn, uint32_t tx, const char *path)
{
	struct asked asked;
	int rc = open_request(&asked, conn, tx, path);

	if (rc < 0)
		return rc;
	if (asked.tx)
		return xn_xs_tx_rm(asked.tx, &asked.path);
	return finish_single(conn,
			     xn_xs_do_rm(&asked.view, asked.path.text, asked.path.len));
}

int xn_xs_conn_directory(struct xn_xs_conn *conn, uint32_t tx, const char *path,
			 struct xn_buf *names)
{
	struct asked asked;
	int rc = open_request(&asked, conn, tx, path);

	if (rc < 0)
		return rc;
	return asked.tx ? xn_xs_tx_directory(asked.tx, &asked.path, names)
			: xn_xs_do_directory(&asked.view, asked.path.text, asked.path.len, names);
}

void xn_xs_special_set(struct xn_xs_store *store, int special, struct xn_xs_perms *perms)
{
	const struct xn_xs_note note = {
		.kind = XN_XS_NOTE_SPECIAL, .path = xn_xs_special_names[special], .perms = perms};

	xn_xs_perms_unref(store->special_perms[special]);
	store->special_perms[special] = perms;
	xn_xs_domain_note(store, &note);
}

int xn_xs_special_index(const char *path)
{
	for (int i = 0; i < XN_XS_SPECIALS; i++)
		if (!strcmp(path, xn_xs_special_names[i]))
			return i;
	return -1;
}

static int special_perms(struct xn_xs_conn *conn, const char *path, struct xn_xs_perms **perms_out)
{
	int special = xn_xs_special_index(path);

	if (special < 0)
		return -EINVAL;
	*perms_out = conn->store->special_perms[special];
	return xn_xs_perms_mode(*perms_out, conn->domain) & XN_XS_MAY_READ ? 0 : -EACCES;
}

int xn_xs_conn_get_perms(struct xn_xs_conn *conn, uint32_t tx, const char *path,
			 struct xn_buf *text)
{
	struct xn_xs_perms *perms;
	struct asked asked;
	int rc;

	if (xn_xs_path_is_special(path)) {
		rc = special_perms(conn, path, &perms);
	} else {
		rc = open_request(&asked, conn, tx, path);
		if (rc < 0)
			return rc;
		rc = asked.tx ? xn_xs_tx_perms(asked.tx, &asked.path, &perms)
			      : xn_xs_do_perms(&asked.view, asked.path.text, asked.path.len,
					       &perms);
	}
	if (rc < 0)
		return rc;
	xn_xs_perms_print(perms, '\0', text);
	return 0;
}

static int set_special_perms(struct xn_xs_conn *conn, const char *path, struct xn_xs_perms *perms)
{
	int special = xn_xs_special_index(path);

	if (special < 0)
		return -EINVAL;
	if (!xn_xs_domain_is_privileged(conn->domain))
		return -EACCES;
	xn_xs_special_set(conn->store, special, xn_xs_perms_ref(perms));
	return 0;
}

static int set_node_perms(struct xn_xs_conn *conn, uint32_t tx, const char *path,
			  struct xn_xs_perms *perms)
{
	struct asked asked;
	int rc = open_request(&asked, conn, tx, path);

	if (rc < 0)
		return rc;
	if (asked.tx)
		return xn_xs_tx_set_perms(asked.tx, &asked.path, perms);
	return finish_single(conn, xn_xs_do_set_perms(&asked.view, asked.path.text, asked.path.len,
						      perms));
}

int xn_xs_conn_set_perms(struct xn_xs_conn *conn, uint32_t tx, const char *path, const char *text,
			 size_t len)
{
	struct xn_xs_perms *perms;
	int rc = xn_xs_perms_read(conn->store, text, len, false, &perms);

	if (rc < 0)
		return rc;
	rc = xn_xs_path_is_special(path) ? set_special_perms(conn, path, perms)
					 : set_node_perms(conn, tx, path, perms);
	xn_xs_perms_unref(perms);
	return rc;
}

int xn_xs_conn_walk(struct xn_xs_conn *conn, const char *path, unsigned depth,
		    int (*visit)(const char *name, size_t name_len, unsigned level,
				 const char *value, size_t value_len, void *arg),
		    void *arg)
{
	const struct xn_xs_view view = {.store = conn->store, .who = conn->domain};
	struct xn_xs_node *top, *node;
	struct xn_xs_path p;
	unsigned level = 0;
	int rc = xn_xs_path_for(&p, conn->domain, path);

	if (!rc)
		rc = xn_xs_do_read(&view, p.text, p.len, &top);
	if (rc < 0)
		return rc;
	for (node = top; node;) {
		bool may = xn_xs_perms_mode(node->perms, conn->domain) & XN_XS_MAY_READ;

		if (may) {
			rc = visit(node->name, node->name_len, level, xn_xs_node_value(node),
				   node->value_len, arg);
			if (rc)
				return rc;
		}
		node = may && level < depth ? xn_xs_node_next(top, node, &level)
					    : xn_xs_node_skip(top, node, &level);
	}
	return 0;
}
