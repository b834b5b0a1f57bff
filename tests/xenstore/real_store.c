/* The store through its calls, without a server; see real.h. */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "modules/xenstore/store/store.h"
#include "real.h"

struct real {
	struct xn_xs_store *store;
	struct xn_xs_conn *conns[M_CONNS];
	struct slot {
		struct real *real;
		unsigned conn;
	} slots[M_CONNS];
	real_event *came;
	void *arg;
};

static void *store_open(uint64_t seed)
{
	struct real *real = xn_calloc(1, sizeof(*real));

	real->store = xn_xs_store_new(NULL, NULL);
	real_set_limits(real->store);
	for (unsigned i = 0; i < M_CONNS; i++)
		real->slots[i] = (struct slot){real, i};
	return real;
}

static void store_close(void *arg)
{
	struct real *real = arg;

	for (unsigned i = 0; i < M_CONNS; i++)
		xn_xs_conn_free(real->conns[i]);
	xn_xs_store_free(real->store);
	free(real);
}

void real_set_limits(struct xn_xs_store *store)
{
	xn_xs_store_set_limit(store, XN_XS_QUOTA_NODES, (struct xn_xs_limit){0, M_MOST_NODES});
	xn_xs_store_set_limit(store, XN_XS_QUOTA_TRANSACTIONS,
			      (struct xn_xs_limit){0, M_MOST_TRANSACTIONS});
	xn_xs_store_set_limit(store, XN_XS_QUOTA_WATCHES,
			      (struct xn_xs_limit){0, M_MOST_WATCHES});
}

static struct xn_xs_domain *domain(void *arg, uint32_t domid)
{
	return xn_xs_domain_find(((struct real *)arg)->store, domid);
}

static void store_domain_add(void *arg, uint32_t domid)
{
	struct xn_xs_domain *fresh = xn_xs_domain_add(((struct real *)arg)->store, domid);

	assert(fresh);
}

static void store_domain_introduce(void *arg, uint32_t domid)
{
	xn_xs_domain_introduce(domain(arg, domid));
}

static void store_domain_stopped(void *arg, uint32_t domid)
{
	xn_xs_domain_stopped(domain(arg, domid));
}

static void store_domain_resume(void *arg, uint32_t domid)
{
	xn_xs_domain_resume(domain(arg, domid));
}

static void store_domain_release(void *arg, uint32_t domid)
{
	xn_xs_domain_release(domain(arg, domid));
}

static void store_domain_set_target(void *arg, uint32_t domid, uint32_t target)
{
	xn_xs_domain_set_target(domain(arg, domid), domain(arg, target));
}

static void store_conn_open(void *arg, unsigned conn, uint32_t domid)
{
	((struct real *)arg)->conns[conn] = xn_xs_conn_new(domain(arg, domid));
}

static void store_conn_close(void *arg, unsigned conn)
{
	struct real *real = arg;

	xn_xs_conn_free(real->conns[conn]);
	real->conns[conn] = NULL;
}

static void on_fired(const char *path, const char *token, void *arg)
{
	struct slot *slot = arg;

	slot->real->came(slot->conn, path, token, slot->real->arg);
}

static void take_strings(struct xn_buf *strings, struct m_answer *out)
{
	assert(strings->len < sizeof(out->text));
	for (size_t i = 0; i < strings->len; i++)
		out->text[i] = strings->data[i] ? strings->data[i] : ',';
	xn_buf_clear(strings);
}

static int set_perms(struct xn_xs_conn *conn, uint32_t tx, const struct m_request *q)
{
	char text[64] = "";

	for (unsigned i = 0; i < q->perms.n; i++)
		sprintf(text + strlen(text), "%c%u ", q->perms.aces[i].letter,
			q->perms.aces[i].who.domid);
	return xn_xs_conn_set_perms(conn, tx, q->path, text, strlen(text));
}

static int unwatch(struct xn_xs_conn *conn, const struct m_request *q)
{
	struct xn_xs_watcher *watcher = xn_xs_conn_find_watch(conn, q->path, q->token);

	if (!watcher)
		return -ENOENT;
	xn_xs_conn_unwatch(watcher);
	return 0;
}

static int read_value(struct xn_xs_conn *conn, uint32_t tx, const char *path, struct m_answer *out)
{
	const char *value;
	size_t len;
	int rc = xn_xs_conn_read(conn, tx, path, &value, &len);

	if (!rc)
		memcpy(out->text, value, len);
	return rc;
}

static int begin(struct xn_xs_conn *conn, struct m_answer *out)
{
	uint32_t tx;
	int rc = xn_xs_conn_begin(conn, &tx);

	if (!rc)
		sprintf(out->text, "%u", tx);
	return rc;
}

static void store_request(void *arg, unsigned slot, uint32_t tx, const struct m_request *q,
			  struct m_answer *out)
{
	struct real *real = arg;
	struct xn_xs_conn *conn = real->conns[slot];
	struct xn_buf strings = {0};

	memset(out, 0, sizeof(*out));
	switch ((enum xn_xs_wire_type)q->type) {
	case XN_XS_WIRE_READ:
		out->rc = read_value(conn, tx, q->path, out);
		break;
	case XN_XS_WIRE_DIRECTORY:
		out->rc = xn_xs_conn_directory(conn, tx, q->path, &strings);
		break;
	case XN_XS_WIRE_GET_PERMS:
		out->rc = xn_xs_conn_get_perms(conn, tx, q->path, &strings);
		break;
	case XN_XS_WIRE_WRITE:
		out->rc = xn_xs_conn_write_string(conn, tx, q->path, q->value);
		break;
	case XN_XS_WIRE_MKDIR:
		out->rc = xn_xs_conn_mkdir(conn, tx, q->path);
		break;
	case XN_XS_WIRE_RM:
		out->rc = xn_xs_conn_rm(conn, tx, q->path);
		break;
	case XN_XS_WIRE_SET_PERMS:
		out->rc = set_perms(conn, tx, q);
		break;
	case XN_XS_WIRE_WATCH:
		out->rc = xn_xs_conn_watch(conn, q->path, q->token, q->depth, on_fired,
					   &real->slots[slot], NULL);
		break;
	case XN_XS_WIRE_UNWATCH:
		out->rc = unwatch(conn, q);
		break;
	case XN_XS_WIRE_RESET_WATCHES:
		xn_xs_conn_reset(conn);
		break;
	case XN_XS_WIRE_TRANSACTION_START:
		out->rc = begin(conn, out);
		break;
	case XN_XS_WIRE_TRANSACTION_END:
		out->rc = xn_xs_conn_end(conn, tx, q->commit);
		break;
	default:
		assert(!"a request of the store");
	}
	take_strings(&strings, out);
}

static bool store_deliver(void *arg, unsigned at_most, real_event *came, void *came_arg)
{
	struct real *real = arg;

	real->came = came;
	real->arg = came_arg;
	return xn_xs_store_deliver(real->store, at_most);
}

static int64_t store_nodes_of(void *arg, uint32_t domid)
{
	return (int64_t)domain(arg, domid)->account.nodes;
}

const struct real_ops real_store_ops = {
	.name = "store",
	.open = store_open,
	.close = store_close,
	.domain_add = store_domain_add,
	.domain_introduce = store_domain_introduce,
	.domain_stopped = store_domain_stopped,
	.domain_resume = store_domain_resume,
	.domain_release = store_domain_release,
	.domain_set_target = store_domain_set_target,
	.conn_open = store_conn_open,
	.conn_close = store_conn_close,
	.request = store_request,
	.deliver = store_deliver,
	.nodes_of = store_nodes_of,
};
