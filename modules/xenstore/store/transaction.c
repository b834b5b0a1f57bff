/*
 * Transactions: an overlay that shows the client its own changes, and a log of its requests with
 * digests of what they told. The commit runs the log again on the tree: if each request tells the
 * same, the transaction might as well have happened wholly at this moment, and so it does; else
 * everything is rolled back and the client gets EAGAIN. Nothing else counts as a conflict.
 */
#include "modules/xenstore/store/store_internal.h"

#include <errno.h>
#include <stdlib.h>

enum { LIST_BYTES = 2048 }; /* of names, which take as long as a request */

enum kind { READ, DIRECTORY, GET_PERMS, WRITE, MKDIR, RM, SET_PERMS };

struct request {
	struct xn_list link;
	struct xn_hnode seen; /* reads: the last of this kind and path since the last own change */
	enum kind kind;
	int rc;
	uint64_t digest;           /* of what a read told */
	uint64_t after;            /* own changes before it */
	struct xn_xs_perms *perms; /* SET_PERMS; a reference */
	size_t path_len, value_len;
	char bytes[]; /* path, then value */
};

enum { FIRST_BYTES = 1024, CHUNK_BYTES = 4096, LARGE_BYTES = 512 };

struct chunk {
	struct chunk *next;
	char bytes[];
};

struct xn_xs_tx {
	struct xn_list link; /* first: see xn_xs_conn_reset */
	struct xn_xs_conn *conn;
	uint32_t id;
	struct xn_xs_node *overlay;
	struct xn_list log;
	struct xn_hmap seen;
	uint64_t began_at;  /* the store's generation */
	uint64_t n_changes; /* own */
	uint64_t n_made;    /* nodes; see struct xn_xs_view */
	size_t n_logged;
	uint64_t bytes;
	bool is_doomed; /* two reads contradict each other: no moment exists when both are true */
	/* Memory of the log: all goes together. */
	struct chunk *chunks;
	char *at;
	size_t left;
	_Alignas(8) char first[FIRST_BYTES];
};

static struct xn_xs_account *account_of(struct xn_xs_tx *tx)
{
	return &tx->conn->domain->account;
}

static struct xn_xs_tx *find_open(struct xn_xs_conn *conn, uint32_t id)
{
	xn_list_each(link, &conn->transactions) {
		struct xn_xs_tx *tx = xn_list_entry(link, struct xn_xs_tx, link);

		if (tx->id == id)
			return tx;
	}
	return NULL;
}

static struct xn_xs_tx *tx_new(struct xn_xs_conn *conn, uint32_t id)
{
	struct xn_xs_tx *tx = xn_malloc(sizeof(*tx));

	memset(tx, 0, offsetof(struct xn_xs_tx, first));
	tx->conn = conn;
	tx->id = id;
	tx->at = tx->first;
	tx->left = FIRST_BYTES;
	tx->overlay = xn_xs_node_new(conn->store, "", 0, NULL, 0, NULL);
	tx->overlay->flags = XN_XS_THROUGH;
	tx->began_at = conn->store->generation;
	xn_list_init(&tx->log);
	xn_list_push(&conn->transactions, &tx->link);
	tx->bytes = sizeof(*tx);
	account_of(tx)->transaction_bytes += sizeof(*tx);
	account_of(tx)->transactions++;
	conn->store->n_open++;
	return tx;
}

int xn_xs_conn_begin(struct xn_xs_conn *conn, uint32_t *tx_out)
{
	int rc = xn_xs_quota_check(conn->domain, conn->domain, XN_XS_QUOTA_TRANSACTIONS,
				   conn->domain->account.transactions + 1);

	if (rc < 0)
		return rc;
	do
		conn->next_tx++;
	while (!conn->next_tx || find_open(conn, conn->next_tx));
	*tx_out = tx_new(conn, conn->next_tx)->id;
	return 0;
}

struct xn_xs_tx *xn_xs_tx_find(struct xn_xs_conn *conn, uint32_t id)
{
	struct xn_xs_tx *tx = find_open(conn, id);

	if (!tx && id <= conn->lost_tx &&
	    !xn_xs_quota_check(conn->domain, conn->domain, XN_XS_QUOTA_TRANSACTIONS,
			       conn->domain->account.transactions + 1)) {
		tx = tx_new(conn, id);
		tx->is_doomed = true;
	}
	return tx;
}

struct xn_xs_node *xn_xs_tx_overlay(const struct xn_xs_tx *tx)
{
	return tx->overlay;
}

uint64_t xn_xs_tx_changes(const struct xn_xs_tx *tx)
{
	return tx->n_changes;
}

void xn_xs_tx_free(struct xn_xs_tx *tx)
{
	struct chunk *chunk;

	xn_list_each(link, &tx->log)
		xn_xs_perms_unref(xn_list_entry(link, struct request, link)->perms);
	while ((chunk = tx->chunks)) {
		tx->chunks = chunk->next;
		free(chunk);
	}
	xn_hmap_clear(&tx->seen);
	xn_xs_node_free_tree(tx->overlay, xn_xs_node_drop);
	account_of(tx)->transactions--;
	tx->conn->store->n_open--;
	account_of(tx)->transaction_bytes -= tx->bytes;
	xn_list_remove(&tx->link);
	free(tx);
}

/* What a request takes: its place in the log, and what it adds to the overlay at most, which is a
 * node for each part of its path. */
static size_t cost_of(enum kind kind, const struct xn_xs_path *path, size_t value_len)
{
	size_t cost = sizeof(struct request) + path->len + value_len;

	if (kind < WRITE)
		return cost + 2 * sizeof(void *); /* where it is found by its path */
	for (size_t i = 0; i < path->len; i++)
		if (path->text[i] == '/')
			cost += sizeof(struct xn_xs_node) + 4 * sizeof(void *);
	return cost + path->len + value_len;
}

/* Whether the log may have one more request. One that is refused for a quota is as if never made:
 * it is not logged, and changes nothing. */
static int may_log(struct xn_xs_tx *tx, enum kind kind, const struct xn_xs_path *path,
		   size_t value_len, unsigned weight)
{
	struct xn_xs_domain *who = tx->conn->domain;
	int rc = xn_xs_quota_check(who, who, XN_XS_QUOTA_TRANSACTION_NODES, tx->n_logged + weight);

	if (rc < 0)
		return rc;
	return xn_xs_quota_check_memory(who, who, cost_of(kind, path, value_len));
}

static char *add_chunk(struct xn_xs_tx *tx, size_t size)
{
	struct chunk *chunk = xn_malloc(sizeof(*chunk) + size);

	chunk->next = tx->chunks;
	tx->chunks = chunk;
	return chunk->bytes;
}

static void *take_memory(struct xn_xs_tx *tx, size_t size)
{
	void *taken;

	size = (size + 7) & ~(size_t)7;
	if (tx->left < size && size > LARGE_BYTES)
		return add_chunk(tx, size); /* what is left of the other one is not wasted */
	if (tx->left < size) {
		tx->at = add_chunk(tx, CHUNK_BYTES);
		tx->left = CHUNK_BYTES;
	}
	taken = tx->at;
	tx->at += size;
	tx->left -= size;
	return taken;
}

static struct request *log_request(struct xn_xs_tx *tx, enum kind kind,
				   const struct xn_xs_path *path, const void *value,
				   size_t value_len, int rc)
{
	struct request *request = take_memory(tx, sizeof(*request) + path->len + value_len);
	size_t cost = cost_of(kind, path, value_len);

	*request = (struct request){.kind = kind,
				    .rc = rc,
				    .path_len = path->len,
				    .value_len = value_len,
				    .after = tx->n_changes};
	memcpy(request->bytes, path->text, path->len);
	if (value_len)
		memcpy(request->bytes + path->len, value, value_len);
	xn_list_push(&tx->log, &request->link);
	tx->n_logged++;
	tx->bytes += cost;
	account_of(tx)->transaction_bytes += cost;
	return request;
}

/* ---- reads ---- */

static uint64_t seen_hash(enum kind kind, const char *path, size_t len)
{
	return xn_hash_bytes(path, len) + (uint64_t)kind;
}

static struct request *find_seen(struct xn_xs_tx *tx, enum kind kind, const struct xn_xs_path *path,
				 uint64_t hash)
{
	struct xn_hnode *at = xn_hmap_first_same(&tx->seen, hash);

	for (; at; at = xn_hmap_next_same(at)) {
		struct request *request = xn_container_of(at, struct request, seen);

		if (request->kind == kind && request->path_len == path->len &&
		    !memcmp(request->bytes, path->text, path->len))
			return request;
	}
	return NULL;
}

/* Another transaction changed what this one read; its end will tell. */
static void doom(struct xn_xs_tx *tx, const struct xn_xs_path *path)
{
	if (!tx->is_doomed)
		xn_xs_contention_lost(tx->conn, path->text, path->len);
	tx->is_doomed = true;
}

/* The same question again, with no own change since: logged once, however often it is asked. */
static int log_read(struct xn_xs_tx *tx, enum kind kind, const struct xn_xs_path *path, int rc,
		    uint64_t digest, size_t bytes)
{
	/* All is told again in one go, at the commit: long lists count for several requests. */
	unsigned weight = 1 + (unsigned)(bytes / LIST_BYTES);
	uint64_t hash = seen_hash(kind, path->text, path->len);
	struct request *request = find_seen(tx, kind, path, hash);
	int may;

	if (request && request->after == tx->n_changes) {
		if (request->rc != rc || request->digest != digest)
			doom(tx, path);
		return rc;
	}
	may = may_log(tx, kind, path, 0, weight);
	if (may < 0)
		return may;
	if (request)
		xn_hmap_remove(&tx->seen, &request->seen);
	request = log_request(tx, kind, path, NULL, 0, rc);
	tx->n_logged += weight - 1;
	request->digest = digest;
	xn_hmap_insert(&tx->seen, &request->seen, hash);
	return rc;
}

static uint64_t digest_of_value(const struct xn_xs_node *node)
{
	return xn_hash_bytes(xn_xs_node_value(node), node->value_len);
}

static uint64_t digest_of_names(const struct xn_buf *names, size_t from)
{
	return names->len > from ? xn_hash_bytes(names->data + from, names->len - from) : 0;
}

/* Of the text, which is what the client sees: a domain's death changes it, another birth does not.
 */
static uint64_t digest_of_perms(const struct xn_xs_perms *perms)
{
	struct xn_buf text XN_CLEANUP(xn_buf_clear_p) = {0};

	xn_xs_perms_print(perms, ' ', &text);
	return xn_hash_bytes(text.data, text.len);
}

static struct xn_xs_view view_of(struct xn_xs_tx *tx)
{
	return (struct xn_xs_view){.store = tx->conn->store,
				   .overlay = tx->overlay,
				   .who = tx->conn->domain,
				   .n_made = &tx->n_made};
}

int xn_xs_tx_read(struct xn_xs_tx *tx, const struct xn_xs_path *path, struct xn_xs_node **node_out)
{
	struct xn_xs_view view = view_of(tx);
	int rc = xn_xs_do_read(&view, path->text, path->len, node_out);

	return log_read(tx, READ, path, rc, rc < 0 ? 0 : digest_of_value(*node_out), 0);
}

int xn_xs_tx_directory(struct xn_xs_tx *tx, const struct xn_xs_path *path, struct xn_buf *names)
{
	struct xn_xs_view view = view_of(tx);
	size_t start = names->len;
	int rc = xn_xs_do_directory(&view, path->text, path->len, names);

	rc = log_read(tx, DIRECTORY, path, rc, digest_of_names(names, start), names->len - start);
	if (rc < 0)
		names->len = start;
	return rc;
}

int xn_xs_tx_perms(struct xn_xs_tx *tx, const struct xn_xs_path *path,
		   struct xn_xs_perms **perms_out)
{
	struct xn_xs_view view = view_of(tx);
	int rc = xn_xs_do_perms(&view, path->text, path->len, perms_out);

	return log_read(tx, GET_PERMS, path, rc, rc < 0 ? 0 : digest_of_perms(*perms_out), 0);
}

/* ---- changes ---- */

static bool is_quota(int rc)
{
	return rc == -ENOSPC;
}

/* A refused one is logged too: that it was refused is something the client was told. */
static int log_change(struct xn_xs_tx *tx, enum kind kind, const struct xn_xs_path *path,
		      const void *value, size_t value_len, struct xn_xs_perms *perms, int rc)
{
	struct request *request;

	if (is_quota(rc))
		return rc;
	request = log_request(tx, kind, path, value, value_len, rc);
	if (perms)
		request->perms = xn_xs_perms_ref(perms);
	tx->n_changes++;
	return rc;
}

int xn_xs_tx_write(struct xn_xs_tx *tx, const struct xn_xs_path *path, const void *value,
		   size_t value_len, bool only_make)
{
	struct xn_xs_view view = view_of(tx);
	int rc = may_log(tx, WRITE, path, value_len, 1);

	if (rc < 0)
		return rc;
	rc = xn_xs_do_write(&view, path->text, path->len, value, value_len, only_make);
	return log_change(tx, only_make ? MKDIR : WRITE, path, value, value_len, NULL, rc);
}

int xn_xs_tx_rm(struct xn_xs_tx *tx, const struct xn_xs_path *path)
{
	struct xn_xs_view view = view_of(tx);
	int rc = may_log(tx, RM, path, 0, 1);

	if (rc < 0)
		return rc;
	return log_change(tx, RM, path, NULL, 0, NULL, xn_xs_do_rm(&view, path->text, path->len));
}

int xn_xs_tx_set_perms(struct xn_xs_tx *tx, const struct xn_xs_path *path,
		       struct xn_xs_perms *perms)
{
	struct xn_xs_view view = view_of(tx);
	int rc = may_log(tx, SET_PERMS, path, 0, 1);

	if (rc < 0)
		return rc;
	return log_change(tx, SET_PERMS, path, NULL, 0, perms,
			  xn_xs_do_set_perms(&view, path->text, path->len, perms));
}

/* ---- the end ---- */

static int replay_read(const struct xn_xs_view *view, const struct request *request,
		       struct xn_buf *names, uint64_t *digest_out)
{
	struct xn_xs_perms *perms;
	struct xn_xs_node *node;
	int rc;

	*digest_out = 0;
	switch (request->kind) {
	case READ:
		rc = xn_xs_do_read(view, request->bytes, request->path_len, &node);
		if (!rc)
			*digest_out = digest_of_value(node);
		return rc;
	case GET_PERMS:
		rc = xn_xs_do_perms(view, request->bytes, request->path_len, &perms);
		if (!rc)
			*digest_out = digest_of_perms(perms);
		return rc;
	default:
		names->len = 0;
		rc = xn_xs_do_directory(view, request->bytes, request->path_len, names);
		*digest_out = digest_of_names(names, 0);
		return rc;
	}
}

static int replay_change(const struct xn_xs_view *view, const struct request *request)
{
	const char *path = request->bytes, *value = path + request->path_len;

	switch (request->kind) {
	case RM:
		return xn_xs_do_rm(view, path, request->path_len);
	case SET_PERMS:
		/* Whom it was given to has died since: nobody would ever remove it. */
		if (!request->rc && xn_xs_domain_is_dead(request->perms->entries[0].domain))
			return -EAGAIN;
		return xn_xs_do_set_perms(view, path, request->path_len, request->perms);
	default:
		return xn_xs_do_write(view, path, request->path_len, value, request->value_len,
				      request->kind == MKDIR);
	}
}

/* 0: @request tells the client now what it was told; else why the whole cannot be. */
static int replay_one(const struct xn_xs_view *view, const struct request *request,
		      struct xn_buf *names)
{
	uint64_t digest;
	int rc;

	if (request->kind < WRITE) {
		rc = replay_read(view, request, names, &digest);
		return rc == request->rc && digest == request->digest ? 0 : -EAGAIN;
	}
	rc = replay_change(view, request);
	if (is_quota(rc))
		return rc; /* trying again would not help */
	return rc == request->rc ? 0 : -EAGAIN;
}

static int replay(struct xn_xs_tx *tx)
{
	struct xn_xs_view view = {.store = tx->conn->store, .who = tx->conn->domain};
	bool is_quiet = view.store->generation == tx->began_at; /* nobody else did anything */
	struct xn_buf names = {0};
	int rc = 0;

	/* What the transaction took is about to be given back, and must not count twice. */
	account_of(tx)->transaction_bytes -= tx->bytes;
	tx->bytes = 0;
	xn_list_each(link, &tx->log) {
		struct request *request = xn_list_entry(link, struct request, link);

		if (is_quiet && request->kind < WRITE)
			continue;
		rc = replay_one(&view, request, &names);
		if (rc == -EAGAIN)
			xn_xs_contention_lost(tx->conn, request->bytes, request->path_len);
		if (rc < 0)
			break;
	}
	xn_buf_clear(&names);
	return rc;
}

int xn_xs_conn_end(struct xn_xs_conn *conn, uint32_t id, bool commit)
{
	struct xn_xs_tx *tx = xn_xs_tx_find(conn, id);
	int rc = 0;

	if (!tx)
		return -ENOENT;
	if (commit)
		rc = tx->is_doomed ? -EAGAIN : replay(tx);
	if (commit && !rc) {
		xn_xs_contention_won(conn, true);
		rc = xn_xs_commit(conn->store, conn->domain, id);
	} else {
		xn_xs_rollback(conn->store);
	}
	xn_xs_tx_free(tx); /* after the commit: the change set borrows its paths */
	if (xn_list_empty(&conn->transactions))
		xn_xs_contention_ended(conn, commit && !rc);
	return rc;
}
