/*
 * The module, its route, and the bytes between a client and a guest; see terminal.h. The guest's
 * side is a pty of xenconsoled, or a TCP connection to the device model's VNC server. A guest of
 * the simulated hypervisor has neither: it says who it is and repeats what it is told.
 */
#include "modules/terminal/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/loop.h"
#include "modules/db/db.h"
#include "modules/xenstore/xenstore.h"
#include "rpc/http.h"
#include "rpc/rpc.h"

enum {
	PIECE = 16384,
	ROUNDS = 4, /* pieces each way in one go */
	/* The field's client reads the answer's head through a buffer and the rest beside it: what
	 * comes with the head is lost to it. */
	AFTER_HEAD_US = 100000,
};

struct xn_terminals {
	struct xn_core *core;
	struct xn_db *db;
	struct xn_subscription *commits;
	struct xn_list links;
	unsigned n;
	int64_t patience_us; /* with a side that takes nothing */
	struct xn_metrics_source metrics;
};

struct side {
	int fd; /* -1: none */
	struct xn_io *io;
	struct xn_buf rest; /* read here, not yet taken by the other side */
};

struct link {
	struct xn_list link;
	struct xn_terminals *t;
	struct xn_rpc_visit *visit;
	struct xn_http_conn *conn;     /* before it is taken over */
	struct xn_xs_request *request; /* for the terminal's path */
	struct xn_timer head, stuck;
	struct side client, guest;
	bool moved;  /* something was taken since watch() */
	bool echoes; /* a simulated guest */
	char vm[48];
	int64_t domid; /* of that guest */
};

/* ---- its end ---- */

static void side_clear(struct side *side)
{
	xn_io_free(side->io);
	if (side->fd >= 0)
		close(side->fd);
	xn_buf_clear(&side->rest);
}

/* @err: why it came to nothing; NULL: it was there, and is over. */
static void link_end(struct link *link, const struct xn_error *err)
{
	if (link->request)
		xn_xs_cancel(link->request);
	xn_timer_cancel(&link->head);
	xn_timer_cancel(&link->stuck);
	side_clear(&link->client);
	side_clear(&link->guest);
	xn_list_remove(&link->link);
	link->t->n--;
	xn_rpc_leave(link->visit, err);
	free(link);
}

static void link_free(struct link *link)
{
	link_end(link, NULL);
}

static void refuse(struct link *link, int status, const char *why)
{
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};

	xn_error_set(&err, status == 403	? XN_ERR_RBAC_PERMISSION_DENIED
			   : status == 503 ? XN_ERR_TOO_MANY_PENDING_TASKS
					   : XN_ERR_HANDLE_INVALID);
	xn_http_reply(link->conn, status, "text/plain", NULL, why, strlen(why));
	link_end(link, &err);
}

static void on_closed(void *arg)
{
	link_free(arg);
}

/* ---- bytes ---- */

static bool is_later(ssize_t n)
{
	return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR);
}

/* What @from has said, into its rest. 1: something is there; 0: nothing now; -1: it has ended (a pty
 * says so by EIO). */
static int hear(struct side *from)
{
	char piece[PIECE];
	ssize_t n;

	if (from->rest.len)
		return 1;
	n = read(from->fd, piece, sizeof(piece));
	if (n <= 0)
		return is_later(n) ? 0 : -1;
	xn_buf_add(&from->rest, piece, (size_t)n);
	return 1;
}

/* 1: all is taken, more may follow; 0: not now; -1: it has ended. */
static int tell(struct link *link, struct xn_buf *words, struct side *to)
{
	ssize_t n = write(to->fd, words->data, words->len);

	if (n < 0)
		return is_later(n) ? 0 : -1;
	link->moved = true;
	xn_buf_drop(words, (size_t)n);
	return !words->len;
}

/* One piece. */
static int move(struct link *link, struct side *from, struct side *to)
{
	int rc = hear(from);

	return rc > 0 ? tell(link, &from->rest, to) : rc;
}

/* What a simulated guest reads it says again: it waits in the guest's rest. */
static int repeat(struct link *link)
{
	struct side *client = &link->client, *guest = &link->guest;
	struct xn_buf empty = guest->rest;
	int rc;

	if (!guest->rest.len) {
		rc = hear(client);
		if (rc <= 0)
			return rc;
		guest->rest = client->rest;
		client->rest = empty;
	}
	return tell(link, &guest->rest, client);
}

static void on_stuck(struct xn_timer *timer)
{
	link_free(xn_container_of(timer, struct link, stuck));
}

/* Who is not read from is not seen to hang up, either: one whose words the other side does not take
 * has its place for a while only. */
static void watch(struct link *link)
{
	const struct side *c = &link->client, *g = &link->guest;

	xn_io_set(c->io, (c->rest.len || (link->echoes && g->rest.len) ? 0 : XN_IO_READ) |
				 (g->rest.len ? XN_IO_WRITE : 0));
	if (g->io)
		xn_io_set(g->io, (g->rest.len ? 0 : XN_IO_READ) | (c->rest.len ? XN_IO_WRITE : 0));
	if (!c->rest.len && !g->rest.len)
		xn_timer_cancel(&link->stuck);
	else if (link->moved || !xn_timer_is_armed(&link->stuck))
		xn_timer_arm(link->t->core->loop, &link->stuck, link->t->patience_us, on_stuck);
	link->moved = false;
}

static void on_ready(int fd, int events, void *arg)
{
	struct link *link = arg;
	int down = 1, up = 1;

	for (int i = 0; i < ROUNDS && down >= 0 && up >= 0 && down + up > 0; i++) {
		if (link->echoes) {
			down = up = repeat(link);
			continue;
		}
		down = move(link, &link->client, &link->guest);
		up = down < 0 ? -1 : move(link, &link->guest, &link->client);
	}
	if (down < 0 || up < 0)
		link_free(link);
	else
		watch(link);
}

static void on_head_read(struct xn_timer *timer)
{
	struct link *link = xn_container_of(timer, struct link, head);
	struct xn_loop *loop = link->t->core->loop;

	link->client.io =
		xn_io_new(loop, link->client.fd, XN_IO_READ | XN_IO_CLIENT, on_ready, link);
	if (link->guest.fd >= 0)
		link->guest.io = xn_io_new(loop, link->guest.fd, XN_IO_READ, on_ready, link);
	watch(link);
}

/* The guest's side is there: the client's is taken from HTTP. */
static void begin(struct link *link)
{
	struct xn_http_conn *conn = link->conn;
	int fd;

	link->conn = NULL;
	fd = xn_http_take_over(conn, 200, NULL, &link->client.rest);
	if (fd < 0) {
		link_free(link);
		return;
	}
	link->client.fd = fd;
	xn_timer_arm(link->t->core->loop, &link->head, AFTER_HEAD_US, on_head_read);
}

/* ---- the guest's side ---- */

/* Only a name that xenconsoled gives: a guest may have written another into its part of the store.
 */
static bool is_pty(const char *path)
{
	static const char folder[] = "/dev/pts/";
	size_t len = sizeof(folder) - 1;

	return strncmp(path, folder, len) == 0 && path[len] &&
	       !path[len + strspn(path + len, "0123456789")];
}

/* The end of a domain closes its terminal; a simulated guest has none that could tell. */
static void on_committed(const struct xn_ev_db_committed *ev, void *arg)
{
	struct xn_terminals *t = arg;

	xn_list_each_safe(node, &t->links) {
		struct link *link = xn_list_entry(node, struct link, link);
		const struct xn_row *vm;

		if (!link->echoes)
			continue;
		vm = xn_db_get(t->db, XN_CLASS_VM, link->vm);
		if (!vm || xn_row_int(vm, XN_VM_domid) != link->domid)
			link_free(link);
	}
}

static bool is_simulated(const struct link *link)
{
	const struct xn_config *config = link->t->core->config;

	return config && strcmp(xn_config_string(config, "hypervisor"), "xen") != 0;
}

static void echo(struct link *link)
{
	const struct xn_row *vm = xn_db_get(link->t->db, XN_CLASS_VM, link->vm);

	link->echoes = true;
	link->domid = vm ? xn_row_int(vm, XN_VM_domid) : -1;
	xn_buf_printf(&link->guest.rest, "%s: a simulated guest. It repeats what you type.\r\n",
		      vm ? xn_row_string(vm, XN_VM_name_label) : "");
	begin(link);
}

static void on_path(int rc, const struct xn_xs_snapshot *snap, void *arg)
{
	struct link *link = arg;
	const struct xn_row *vm = xn_db_get(link->t->db, XN_CLASS_VM, link->vm);
	const char *path;
	char key[64];

	link->request = NULL;
	snprintf(key, sizeof(key), "/local/domain/%lld/console/tty",
		 vm ? (long long)xn_row_int(vm, XN_VM_domid) : -1);
	path = rc == 0 ? xn_xs_get(snap, key) : NULL;
	if (path && is_pty(path))
		link->guest.fd = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (link->guest.fd >= 0)
		begin(link);
	else if (is_simulated(link))
		echo(link);
	else
		refuse(link, 404, "The VM has no terminal now.\n");
}

static void open_terminal(struct link *link, const struct xn_row *vm)
{
	char path[64];
	const char *paths[] = {path};

	snprintf(path, sizeof(path), "/local/domain/%lld/console/tty",
		 (long long)xn_row_int(vm, XN_VM_domid));
	link->request =
		xn_xs_snapshot(xn_xenstore_of(link->t->core), paths, 1, 0, 4096, on_path, link);
}

/* The VNC server is on this host; the connection's end shows in the first write. */
static void open_screen(struct link *link, int port)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_port = htons((uint16_t)port),
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0 || (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 &&
		       errno != EINPROGRESS)) {
		if (fd >= 0)
			close(fd);
		refuse(link, 404, "The VM's screen is not there.\n");
		return;
	}
	link->guest.fd = fd;
	begin(link);
}

/* ---- the request ---- */

/* A console by its uuid or reference, or the one of a VM. */
static const struct xn_row *find(struct xn_terminals *t, const struct xn_http_request *req)
{
	const char *uuid = xn_http_query(req, "uuid"), *ref = xn_http_query(req, "ref");
	const struct xn_row *row = NULL, *vm = NULL;

	if (uuid) {
		row = xn_db_by_uuid(t->db, XN_CLASS_console, uuid);
		vm = row ? NULL : xn_db_by_uuid(t->db, XN_CLASS_VM, uuid);
	} else if (ref) {
		row = xn_db_get(t->db, XN_CLASS_console, ref);
		vm = row ? NULL : xn_db_get(t->db, XN_CLASS_VM, ref);
	}
	if (vm && xn_set_len(xn_row_get(vm, XN_VM_consoles)))
		row = xn_db_get(t->db, XN_CLASS_console,
				xn_value_string(xn_set_at(xn_row_get(vm, XN_VM_consoles), 0)));
	return row;
}

static bool is_running(const struct xn_row *vm)
{
	return strcmp(xn_row_string(vm, XN_VM_power_state), "Running") == 0;
}

static struct link *link_new(struct xn_terminals *t, const struct xn_http_request *req,
			     struct xn_rpc_visit *visit)
{
	struct link *link = xn_calloc(1, sizeof(*link));

	link->t = t;
	link->visit = visit;
	link->conn = req->conn;
	link->client.fd = link->guest.fd = -1;
	xn_list_push(&t->links, &link->link);
	t->n++;
	return link;
}

static void on_admitted(const struct xn_http_request *req, struct xn_rpc_visit *visit, void *arg)
{
	struct xn_terminals *t = arg;
	struct link *link = link_new(t, req, visit);
	const struct xn_row *console = find(t, req);
	const struct xn_row *vm = console ? xn_row_follow(t->db, console, XN_console_VM) : NULL;

	if (t->n > xn_config_int(t->core->config, "consoles")) {
		refuse(link, 503, "Too many consoles are open.\n");
		return;
	}
	if (vm)
		snprintf(link->vm, sizeof(link->vm), "%s", xn_row_ref(vm));
	if (!vm || !is_running(vm)) {
		refuse(link, 404, "There is no such console, or its VM does not run.\n");
		return;
	}
	if (xn_row_bool(vm, XN_VM_is_control_domain) && visit->caller.role > XN_ROLE_POOL_ADMIN) {
		refuse(link, 403, "The role pool-admin may use the control domain's console.\n");
		return;
	}
	xn_http_on_close(req->conn, on_closed, link);
	if (strcmp(xn_row_string(console, XN_console_protocol), "rfb") == 0)
		open_screen(link, (int)xn_row_int(console, XN_console_port));
	else
		open_terminal(link, vm);
}

static const struct xn_rpc_door door = {
	.name = "connect_console",
	.role = XN_ROLE_VM_OPERATOR,
	.objects = {{"uuid", XN_CLASS_console},
		    {"ref", XN_CLASS_console},
		    {"uuid", XN_CLASS_VM},
		    {"ref", XN_CLASS_VM}},
	.run = on_admitted,
};

static void on_request(const struct xn_http_request *req, void *arg)
{
	xn_rpc_admit(((struct xn_terminals *)arg)->core, req, &door, arg);
}

static const struct xn_http_route route = {
	.method = "CONNECT",
	.path = "/console",
	.kind = XN_HTTP_TAKE_OVER,
	.run = on_request,
};

/* ---- the module ---- */

static size_t write_metrics(struct xn_metrics_source *source, struct xn_metrics_page *page,
			    size_t from)
{
	const struct xn_terminals *t = xn_container_of(source, struct xn_terminals, metrics);

	xn_metrics_gauge(page, "xenolith_consoles", "", "Consoles that are open.", t->n);
	return 0;
}

static int terminal_init(struct xn_core *core, void **state_out, struct xn_error *err)
{
	struct xn_terminals *t = xn_calloc(1, sizeof(*t));

	t->core = core;
	xn_list_init(&t->links);
	t->metrics.write = write_metrics;
	xn_metrics_add(core->metrics, &t->metrics);
	*state_out = t;
	return 0;
}

static int terminal_start(void *state, struct xn_error *err)
{
	struct xn_terminals *t = state;

	t->db = xn_db_of(t->core);
	t->patience_us = xn_config_int(t->core->config, "http-write-idle") * 1000000;
	t->commits = xn_subscribe_db_committed(t->core->bus, "terminal", on_committed, t);
	xn_rpc_add_route(t->core, &route, t);
	return 0;
}

static void terminal_stop(void *state)
{
	struct xn_terminals *t = state;

	xn_bus_unsubscribe(t->commits);
	if (t->db)
		xn_rpc_remove_routes(t->core, t);
	while (!xn_list_empty(&t->links)) {
		struct link *link = xn_list_entry(t->links.next, struct link, link);

		if (link->conn)
			refuse(link, 503, "The server stops.\n");
		else
			link_free(link);
	}
	xn_metrics_remove(&t->metrics);
	free(t);
}

static const char *const needs[] = {"db", "rpc", "xenstore", NULL};

const struct xn_module xn_terminal_module = {
	.name = "terminal",
	.needs = needs,
	.init = terminal_init,
	.start = terminal_start,
	.stop = terminal_stop,
};
