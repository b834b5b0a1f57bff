/*
 * The operations of the protocol: one table, a row an operation, and their handlers. What a request
 * means to the tree is the store's affair (store.h); here its bytes are taken apart as Xen's C
 * xenstored does, with the same refusals in the same order: no such operation, not for you, no such
 * transaction, wrong arguments.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "modules/xenstore/server/server_internal.h"

enum {
	SELF = 0x7ff0,
	ALL_FEATURES = XN_XS_FEATURE_RECONNECTION | XN_XS_FEATURE_ERROR | XN_XS_FEATURE_WATCHDEPTH,
};

/* ---- arguments ---- */

static size_t count_strings(const struct xn_xs_frame *frame)
{
	const char *at = frame->body, *end = at + frame->len;
	size_t n = 0;

	while (at < end && (at = memchr(at, '\0', (size_t)(end - at)))) {
		at++;
		n++;
	}
	return n;
}

/* Fills in the first @most that end with a NUL; how many there are of these. */
static size_t take_strings(const struct xn_xs_frame *frame, const char **out, size_t most)
{
	const char *at = frame->body, *end = at + frame->len, *nul;
	size_t n = 0;

	while (n < most && at < end && (nul = memchr(at, '\0', (size_t)(end - at)))) {
		out[n++] = at;
		at = nul + 1;
	}
	return n;
}

size_t xn_xs_call_strings(const struct xn_xs_call *call, const char **out, size_t most)
{
	size_t n = count_strings(&call->frame);

	take_strings(&call->frame, out, most);
	return n;
}

/* The only string, or NULL: the body's one NUL is its last byte. */
static const char *only_string(const struct xn_xs_frame *frame)
{
	if (!frame->len || memchr(frame->body, '\0', frame->len) != frame->body + frame->len - 1)
		return NULL;
	return frame->body;
}

/* As every xenstored reads numbers: leading digits, else 0. */
static unsigned number(const char *text)
{
	return (unsigned)atoi(text);
}

int xn_xs_reply_ok(struct xn_xs_call *call)
{
	xn_buf_add(call->reply, "OK", 3);
	return 0;
}

static int reply_string(struct xn_xs_call *call, const char *text)
{
	xn_buf_add(call->reply, text, strlen(text) + 1);
	return 0;
}

static int reply_number(struct xn_xs_call *call, uint32_t n)
{
	xn_buf_add_int(call->reply, n);
	xn_buf_add_char(call->reply, '\0');
	return 0;
}

static int ok_unless(struct xn_xs_call *call, int rc)
{
	return rc < 0 ? rc : xn_xs_reply_ok(call);
}

/* ---- nodes ---- */

static int do_directory(struct xn_xs_call *call)
{
	const char *path = only_string(&call->frame);
	bool is_end;
	int rc;

	if (!path)
		return -EINVAL;
	rc = xn_xs_conn_list(call->connection->conn, call->frame.transaction, path, 0,
			     XN_XS_BODY_MAX, call->reply, &is_end);
	return rc < 0 || is_end ? rc : -E2BIG;
}

/* Generation of the node, a slice of the names that begins at a byte, and an empty name where the
 * list ends. */
static int do_directory_part(struct xn_xs_call *call)
{
	struct xn_xs_conn *conn = call->connection->conn;
	uint32_t tx = call->frame.transaction;
	const char *strings[2];
	uint64_t generation;
	size_t room;
	char text[24];
	bool is_end;
	int rc;

	if (count_strings(&call->frame) != 2)
		return -EINVAL;
	take_strings(&call->frame, strings, 2);
	rc = xn_xs_conn_generation(conn, tx, strings[0], &generation);
	if (rc < 0)
		return rc;
	room = (size_t)snprintf(text, sizeof(text), "%" PRIu64, generation) + 1;
	xn_buf_add(call->reply, text, room);
	rc = xn_xs_conn_list(conn, tx, strings[0], number(strings[1]), XN_XS_BODY_MAX - room - 1,
			     call->reply, &is_end);
	if (!rc && is_end)
		xn_buf_add_char(call->reply, '\0');
	return rc;
}

static int do_read(struct xn_xs_call *call)
{
	const char *path = only_string(&call->frame), *value;
	size_t len;
	int rc;

	if (!path)
		return -EINVAL;
	rc = xn_xs_conn_read(call->connection->conn, call->frame.transaction, path, &value, &len);
	if (!rc)
		xn_buf_add(call->reply, value, len);
	return rc;
}

static int do_write(struct xn_xs_call *call)
{
	const char *path;
	size_t at;

	if (!take_strings(&call->frame, &path, 1))
		return -EINVAL;
	at = strlen(path) + 1;
	return ok_unless(call, xn_xs_conn_write(call->connection->conn, call->frame.transaction,
						path, path + at, call->frame.len - at));
}

static int do_mkdir(struct xn_xs_call *call)
{
	const char *path = only_string(&call->frame);

	if (!path)
		return -EINVAL;
	return ok_unless(call, xn_xs_conn_mkdir(call->connection->conn, call->frame.transaction,
						path));
}

static int do_rm(struct xn_xs_call *call)
{
	const char *path = only_string(&call->frame);

	if (!path)
		return -EINVAL;
	return ok_unless(call,
			 xn_xs_conn_rm(call->connection->conn, call->frame.transaction, path));
}

static int do_get_perms(struct xn_xs_call *call)
{
	const char *path = only_string(&call->frame);

	return path ? xn_xs_conn_get_perms(call->connection->conn, call->frame.transaction, path,
					   call->reply)
		    : -EINVAL;
}

static int do_set_perms(struct xn_xs_call *call)
{
	const char *path = call->frame.body, *end;
	size_t at;

	if (count_strings(&call->frame) < 2)
		return -EINVAL;
	at = strlen(path) + 1;
	end = memrchr(path, '\0', call->frame.len); /* what comes behind is nothing */
	return ok_unless(call,
			 xn_xs_conn_set_perms(call->connection->conn, call->frame.transaction,
					      path, path + at, (size_t)(end - path) - at));
}

/* ---- watches ---- */

static int do_watch(struct xn_xs_call *call)
{
	const char *strings[3] = {NULL};
	size_t n = count_strings(&call->frame);
	int depth = XN_XS_NO_DEPTH, rc;

	if (n < 2 || n > 3)
		return -EINVAL;
	take_strings(&call->frame, strings, 3);
	if (n == 3 && call->connection->domain->hidden_features & XN_XS_FEATURE_WATCHDEPTH)
		return -EINVAL;
	if (n == 3) {
		depth = atoi(strings[2]);
		if (depth < 0)
			return -EINVAL;
	}
	rc = xn_xs_conn_watch(call->connection->conn, strings[0], strings[1], depth, NULL, NULL,
			      NULL);
	if (!rc)
		xn_xs_kept_watch(call->connection, strings[0], strings[1], depth);
	return ok_unless(call, rc);
}

static int do_unwatch(struct xn_xs_call *call)
{
	struct xn_xs_watcher *watcher;
	const char *strings[2];
	int rc;

	if (count_strings(&call->frame) != 2)
		return -EINVAL;
	take_strings(&call->frame, strings, 2);
	rc = xn_xs_conn_check_watch_path(call->connection->conn, strings[0]);
	if (rc < 0)
		return rc;
	watcher = xn_xs_conn_find_watch(call->connection->conn, strings[0], strings[1]);
	if (!watcher)
		return -ENOENT;
	/* By the path that it was noted with. */
	xn_xs_kept_unwatch(call->connection, xn_xs_watcher_given(watcher), strings[1]);
	xn_xs_conn_unwatch(watcher);
	return xn_xs_reply_ok(call);
}

static int do_reset_watches(struct xn_xs_call *call)
{
	xn_xs_conn_reset(call->connection->conn);
	xn_xs_kept_unwatch(call->connection, NULL, NULL);
	return xn_xs_reply_ok(call);
}

/* ---- transactions ---- */

static int do_transaction_start(struct xn_xs_call *call)
{
	uint32_t id;
	int rc;

	if (call->frame.transaction)
		return -EBUSY; /* no transactions inside transactions */
	rc = xn_xs_conn_begin(call->connection->conn, &id);
	if (rc < 0)
		return rc;
	xn_xs_kept_transaction(call->connection, id);
	return reply_number(call, id);
}

static int do_transaction_end(struct xn_xs_call *call)
{
	const char *what = only_string(&call->frame);

	if (!what || (strcmp(what, "T") != 0 && strcmp(what, "F") != 0))
		return -EINVAL;
	if (!call->frame.transaction)
		return -ENOENT;
	return ok_unless(call, xn_xs_conn_end(call->connection->conn, call->frame.transaction,
					      *what == 'T'));
}

/* ---- domains ---- */

/* The domain, if the store speaks with it. */
static struct xn_xs_domain *introduced(const struct xn_xs_server *server, uint32_t domid)
{
	struct xn_xs_domain *domain = xn_xs_domain_find(server->store, domid);

	return domain && domain->introduced ? domain : NULL;
}

static bool host_has(struct xn_xs_server *server, uint32_t domid)
{
	return !server->host || !server->host->exists || server->host->exists(server->host, domid);
}

static int do_introduce(struct xn_xs_call *call)
{
	struct xn_xs_server *server = call->connection->server;
	struct xn_xs_domain *domain;
	const char *strings[3];
	uint32_t domid;
	int port, rc = 0;
	bool is_new;

	if (take_strings(&call->frame, strings, 3) < 3)
		return -EINVAL;
	domid = number(strings[0]);
	port = atoi(strings[2]);
	if (port <= 0 || !domid || domid >= XN_XS_DOMID_END)
		return -EINVAL;
	domain = xn_xs_domain_find(server->store, domid);
	is_new = !domain;
	if (is_new) {
		if (!host_has(server, domid))
			return -ENOENT;
		domain = xn_xs_domain_add(server->store, domid);
	}
	if (server->host && server->host->introduce)
		rc = server->host->introduce(server->host, domain,
					     strtoull(strings[1], NULL, 10), (uint32_t)port);
	if (rc < 0) {
		if (is_new)
			xn_xs_domain_release(domain);
		return rc;
	}
	if (domain->introduced) /* again: as after a restore, its ring is another one */
		xn_xs_server_reset_domain(server, domain);
	else
		xn_xs_domain_introduce(domain);
	return xn_xs_reply_ok(call);
}

/* The one domain that the body names: not domain 0, and introduced. */
static int named_domain(struct xn_xs_call *call, struct xn_xs_domain **out)
{
	const char *text = only_string(&call->frame);
	uint32_t domid = text ? number(text) : 0;

	if (!text || !domid)
		return -EINVAL;
	*out = introduced(call->connection->server, domid);
	return *out ? 0 : -ENOENT;
}

static int do_release(struct xn_xs_call *call)
{
	struct xn_xs_server *server = call->connection->server;
	struct xn_xs_domain *domain;
	int rc = named_domain(call, &domain);

	if (rc < 0)
		return rc;
	if (domain->is_played) { /* the simulated guest goes on; nobody speaks with it any more */
		xn_xs_server_drop_domain(server, domain);
		if (server->host && server->host->release)
			server->host->release(server->host, domain);
		domain->introduced = false;
		xn_xs_domain_stopped(domain); /* tells who watches */
		xn_xs_domain_resume(domain);
		return xn_xs_reply_ok(call);
	}
	xn_xs_domain_release(domain);
	return xn_xs_reply_ok(call);
}

static int do_resume(struct xn_xs_call *call)
{
	struct xn_xs_domain *domain;
	int rc = named_domain(call, &domain);

	if (!rc)
		xn_xs_domain_resume(domain);
	return ok_unless(call, rc);
}

static int do_set_target(struct xn_xs_call *call)
{
	struct xn_xs_server *server = call->connection->server;
	struct xn_xs_domain *domain, *target;
	const char *strings[2];

	if (take_strings(&call->frame, strings, 2) < 2)
		return -EINVAL;
	domain = introduced(server, number(strings[0]));
	target = introduced(server, number(strings[1]));
	if (!domain || !target)
		return -ENOENT;
	xn_xs_domain_set_target(domain, target);
	return xn_xs_reply_ok(call);
}

static int do_get_domain_path(struct xn_xs_call *call)
{
	const char *text = only_string(&call->frame);

	if (!text)
		return -EINVAL;
	xn_buf_add(call->reply, "/local/domain/", 14);
	return reply_number(call, number(text));
}

static int do_is_domain_introduced(struct xn_xs_call *call)
{
	const char *text = only_string(&call->frame);
	uint32_t domid = text ? number(text) : 0;

	if (!text)
		return -EINVAL;
	return reply_string(
		call, domid == SELF || introduced(call->connection->server, domid) ? "T" : "F");
}

/* ---- features and quotas ---- */

static bool is_privileged(const struct xn_xs_connection *connection)
{
	return xn_xs_conn_domain(connection->conn)->domid == 0;
}

static int reply_features(struct xn_xs_call *call, const struct xn_xs_domain *domain)
{
	return reply_number(call, ALL_FEATURES & ~domain->hidden_features);
}

static int do_get_feature(struct xn_xs_call *call)
{
	size_t n = count_strings(&call->frame);
	struct xn_xs_domain *domain;
	const char *text = "";
	int rc;

	if (!n)
		return reply_features(call, call->connection->domain);
	if (!is_privileged(call->connection))
		return -EACCES;
	if (n > 1)
		return -EINVAL;
	take_strings(&call->frame, &text, 1);
	rc = xn_xs_quota_domain(call->connection->server, text, &domain);
	return rc < 0 ? rc : reply_features(call, domain);
}

/* Before the domain is introduced: its guest sees them in its ring's page from the first moment. */
static int do_set_feature(struct xn_xs_call *call)
{
	struct xn_xs_server *server = call->connection->server;
	struct xn_xs_domain *domain;
	const char *strings[2];
	uint32_t features;
	int rc;

	if (count_strings(&call->frame) != 2)
		return -EINVAL;
	take_strings(&call->frame, strings, 2);
	rc = xn_xs_quota_domain(server, strings[0], &domain);
	if (rc == -ENOENT && host_has(server, number(strings[0]))) {
		domain = xn_xs_domain_add(server->store, number(strings[0]));
		rc = 0;
	}
	if (rc < 0)
		return rc;
	if (domain->introduced)
		return -EBUSY;
	features = number(strings[1]);
	if (features & ~(uint32_t)ALL_FEATURES)
		return -EINVAL;
	xn_xs_domain_hide_features(domain, ALL_FEATURES & ~features);
	return xn_xs_reply_ok(call);
}

/* ---- the table ---- */

enum flags {
	CONTROL_DOMAIN = 1, /* for domain 0 only */
	NO_TRANSACTION = 2, /* the transaction's number is not looked at */
	CHANGE = 4,	    /* others may be watching */
};

static const struct row {
	const char *name; /* as metrics and the log show it */
	int (*run)(struct xn_xs_call *call);
	unsigned flags;
} rows[XN_XS_WIRE_TYPES] = {
	[XN_XS_WIRE_CONTROL] = {"control", xn_xs_control, CONTROL_DOMAIN},
	[XN_XS_WIRE_DIRECTORY] = {"directory", do_directory, 0},
	[XN_XS_WIRE_READ] = {"read", do_read, 0},
	[XN_XS_WIRE_GET_PERMS] = {"get_perms", do_get_perms, 0},
	[XN_XS_WIRE_WATCH] = {"watch", do_watch, NO_TRANSACTION},
	[XN_XS_WIRE_UNWATCH] = {"unwatch", do_unwatch, NO_TRANSACTION},
	[XN_XS_WIRE_TRANSACTION_START] = {"transaction_start", do_transaction_start, 0},
	[XN_XS_WIRE_TRANSACTION_END] = {"transaction_end", do_transaction_end, CHANGE},
	[XN_XS_WIRE_INTRODUCE] = {"introduce", do_introduce, CONTROL_DOMAIN | CHANGE},
	[XN_XS_WIRE_RELEASE] = {"release", do_release, CONTROL_DOMAIN},
	[XN_XS_WIRE_GET_DOMAIN_PATH] = {"get_domain_path", do_get_domain_path, 0},
	[XN_XS_WIRE_WRITE] = {"write", do_write, CHANGE},
	[XN_XS_WIRE_MKDIR] = {"mkdir", do_mkdir, CHANGE},
	[XN_XS_WIRE_RM] = {"rm", do_rm, CHANGE},
	[XN_XS_WIRE_SET_PERMS] = {"set_perms", do_set_perms, CHANGE},
	[XN_XS_WIRE_IS_DOMAIN_INTRODUCED] = {"is_domain_introduced", do_is_domain_introduced,
					     CONTROL_DOMAIN},
	[XN_XS_WIRE_RESUME] = {"resume", do_resume, CONTROL_DOMAIN},
	[XN_XS_WIRE_SET_TARGET] = {"set_target", do_set_target, CONTROL_DOMAIN},
	[XN_XS_WIRE_RESET_WATCHES] = {"reset_watches", do_reset_watches, 0},
	[XN_XS_WIRE_DIRECTORY_PART] = {"directory_part", do_directory_part, 0},
	[XN_XS_WIRE_GET_FEATURE] = {"get_feature", do_get_feature, 0},
	[XN_XS_WIRE_GET_QUOTA] = {"get_quota", xn_xs_do_get_quota, CONTROL_DOMAIN},
	[XN_XS_WIRE_SET_QUOTA] = {"set_quota", xn_xs_do_set_quota, CONTROL_DOMAIN},
	[XN_XS_WIRE_SET_FEATURE] = {"set_feature", do_set_feature, CONTROL_DOMAIN},
};

const char *xn_xs_wire_name(uint32_t type)
{
	return type < XN_XS_WIRE_TYPES ? rows[type].name : NULL;
}

bool xn_xs_wire_is_change(uint32_t type)
{
	return type < XN_XS_WIRE_TYPES && rows[type].flags & CHANGE;
}

static int run(struct xn_xs_call *call)
{
	struct xn_xs_server *server = call->connection->server;
	const struct xn_xs_frame *frame = &call->frame;
	const struct row *row = &rows[frame->type < XN_XS_WIRE_TYPES ? frame->type : 0];

	if (frame->type >= XN_XS_WIRE_TYPES || !row->run) {
		server->n_unknown++;
		return -ENOSYS;
	}
	server->n_requests[frame->type]++;
	if (row->flags & CONTROL_DOMAIN && !is_privileged(call->connection))
		return -EACCES;
	if (frame->transaction && !(row->flags & NO_TRANSACTION) &&
	    !xn_xs_conn_has_transaction(call->connection->conn, frame->transaction))
		return -ENOENT;
	return row->run(call);
}

/* "log on": never what the request carries beyond its first string, the path. */
static void log_call(const struct xn_xs_call *call, int rc)
{
	const struct xn_xs_connection *connection = call->connection;
	const char *name = xn_xs_wire_name(call->frame.type), *first = "";

	take_strings(&call->frame, &first, 1);
	xn_log_info(connection->server->core->log, "xenstore", "io: connection %lu of domain %u: "
		    "%s %s, transaction %u: %s", connection->id, connection->domain->domid,
		    name ? name : "unknown", first, call->frame.transaction,
		    rc < 0 ? xn_xs_error_name(rc) : "OK");
}

void xn_xs_serve(struct xn_xs_connection *connection, const struct xn_xs_frame *frame,
		 struct xn_buf *out)
{
	struct xn_xs_call call = {.connection = connection, .frame = *frame, .reply = out};
	uint32_t header[4] = {frame->type, frame->request, frame->transaction, 0};
	size_t at = out->len;
	const char *error;
	int rc;

	xn_buf_reserve(out, XN_XS_FRAME_HEADER + XN_XS_BODY_MAX);
	out->len += XN_XS_FRAME_HEADER;
	rc = run(&call);
	if (connection->server->is_logging)
		log_call(&call, rc);
	if (!rc && out->len - at - XN_XS_FRAME_HEADER > XN_XS_BODY_MAX)
		rc = -E2BIG;
	if (rc < 0) {
		connection->server->n_errors[xn_xs_error_index(rc)]++;
		error = xn_xs_error_name(rc);
		out->len = at + XN_XS_FRAME_HEADER;
		xn_buf_add(out, error, strlen(error) + 1);
		header[0] = XN_XS_WIRE_ERROR;
	}
	header[3] = (uint32_t)(out->len - at - XN_XS_FRAME_HEADER);
	memcpy(out->data + at, header, sizeof(header));
}
