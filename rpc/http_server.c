/*
 * The server: listeners, caps, routes, the clock that closes the slow, and the orderly end. See
 * http.h; connections live in http_conn.c.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/unix_listener.h"
#include "rpc/http_internal.h"
#include "rpc/tls_relay.h"

struct xn_http_listener {
	struct xn_http *http;
	struct xn_io *io;
	int fd;
	char *address;	/* as shown */
	enum xn_http_door door;
	struct xn_unix_listener file; /* of the Unix socket */
};

/* ---- routes ---- */

static void reply_text(const struct xn_http_request *req, int status, const char *headers,
		       const char *text)
{
	xn_http_reply(req->conn, status, "text/plain", headers, text, strlen(text));
}

static void run_not_found(const struct xn_http_request *req, void *arg)
{
	reply_text(req, 404, NULL, "404 Not Found\n");
}

static bool route_knows(const struct xn_http_entry *entry, const char *path)
{
	const struct xn_http_route *route = entry->route;
	size_t len = entry->path_len;

	if (len == 0 || strncmp(path, route->path, len) != 0)
		return false;
	return path[len] == '\0' ||
	       (route->prefix && (path[len] == '/' || route->path[len - 1] == '/'));
}

static bool answers_method(const struct xn_http_route *route, const char *method)
{
	return strcmp(route->method, method) == 0 ||
	       (route->kind == XN_HTTP_REPLY && strcmp(method, "HEAD") == 0 &&
		strcmp(route->method, "GET") == 0);
}

/* "GET, HEAD, OPTIONS", of the routes that know @path. */
static void add_methods(const struct xn_http *http, const char *path, struct xn_buf *out)
{
	for (size_t i = 0; i < http->n_entries; i++) {
		const struct xn_http_route *route = http->entries[i].route;

		if (!route_knows(&http->entries[i], path) || strcmp(route->method, "OPTIONS") == 0)
			continue;
		xn_buf_printf(out, "%s, %s", route->method,
			      answers_method(route, "HEAD") ? "HEAD, " : "");
	}
	xn_buf_add_string(out, "OPTIONS");
}

static void run_wrong_method(const struct xn_http_request *req, void *arg)
{
	XN_CLEANUP(xn_buf_clear_p) struct xn_buf headers = {0};

	xn_buf_add_string(&headers, "Allow: ");
	add_methods(arg, req->path, &headers);
	xn_buf_add_string(&headers, "\r\n");
	reply_text(req, 405, xn_buf_cstr(&headers), "405 Method Not Allowed\n");
}

static void run_options(const struct xn_http_request *req, void *arg)
{
	XN_CLEANUP(xn_buf_clear_p) struct xn_buf headers = {0};

	xn_buf_add_string(&headers, "Allow: ");
	add_methods(arg, req->path, &headers);
	xn_buf_add_string(&headers, "\r\n");
	xn_http_reply(req->conn, 200, NULL, xn_buf_cstr(&headers), "", 0);
}

/* Browser clients ask this before they may post. */
static void run_preflight(const struct xn_http_request *req, void *arg)
{
	xn_http_reply(req->conn, 200, NULL,
		      "Access-Control-Allow-Origin: *\r\n"
		      "Access-Control-Allow-Headers: X-Requested-With, Content-Type\r\n"
		      "Access-Control-Allow-Methods: POST, OPTIONS\r\n"
		      "Access-Control-Max-Age: 86400\r\n",
		      "", 0);
}

static void run_index(const struct xn_http_request *req, void *arg)
{
	static const char page[] =
		"<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
		"<title>Xenolith</title></head>\n<body><p>Xenolith " XN_VERSION
		": XenAPI server. JSON-RPC at <code>/jsonrpc</code>, "
		"XML-RPC at <code>/</code>.</p></body></html>\n";

	xn_http_reply(req->conn, 200, "text/html", NULL, page, sizeof(page) - 1);
}

enum { IGNORED_BODY = 65536 }; /* read to the end so that the connection can be kept */

static const struct xn_http_route not_found = {"", "", false, XN_HTTP_REPLY, IGNORED_BODY,
					       run_not_found};
static const struct xn_http_route wrong_method = {"", "", false, XN_HTTP_REPLY, IGNORED_BODY,
						  run_wrong_method};
static const struct xn_http_route options = {"OPTIONS", "*", false, XN_HTTP_REPLY, IGNORED_BODY,
					     run_options};
static const struct xn_http_route own_routes[] = {
	{"GET", "/", false, XN_HTTP_REPLY, 0, run_index},
	{"OPTIONS", "/", false, XN_HTTP_REPLY, IGNORED_BODY, run_preflight},
	{"OPTIONS", "/json", false, XN_HTTP_REPLY, IGNORED_BODY, run_preflight},
	{"OPTIONS", "/jsonrpc", false, XN_HTTP_REPLY, IGNORED_BODY, run_preflight},
};

void xn_http_add_route(struct xn_http *http, const struct xn_http_route *route, void *arg)
{
	http->entries = xn_realloc(http->entries, (http->n_entries + 1) * sizeof(*http->entries));
	http->entries[http->n_entries++] =
		(struct xn_http_entry){route, arg, strlen(route->path)};
}

void xn_http_remove_routes(struct xn_http *http, const void *arg)
{
	size_t kept = 0;

	for (size_t i = 0; i < http->n_entries; i++)
		if (http->entries[i].arg != arg)
			http->entries[kept++] = http->entries[i];
	http->n_entries = kept;
}

static struct xn_http_target target_of(const struct xn_http_entry *entry)
{
	return (struct xn_http_target){entry->route, entry->arg};
}

struct xn_http_target xn_http_route(struct xn_http *http, const char *method, const char *path)
{
	const struct xn_http_entry *best = NULL, *otherwise = NULL;
	bool is_known = false;

	for (size_t i = 0; i < http->n_entries; i++) {
		const struct xn_http_entry *entry = &http->entries[i];
		bool right_method = answers_method(entry->route, method);

		if (!entry->path_len && right_method)
			otherwise = entry;
		if (!route_knows(entry, path))
			continue;
		is_known = true;
		/* The later of equals wins, so that the index page can be replaced. */
		if (right_method && (!best || entry->path_len >= best->path_len))
			best = entry;
	}
	if (best)
		return target_of(best);
	if (otherwise && (!is_known || strcmp(path, "/") == 0))
		return target_of(otherwise);
	if (strcmp(method, "OPTIONS") == 0 && (is_known || strcmp(path, "*") == 0))
		return (struct xn_http_target){&options, http};
	return (struct xn_http_target){is_known ? &wrong_method : &not_found, http};
}

/* ---- caps ---- */

static bool evict(struct xn_http_conn *conn)
{
	conn->http->stats.evicted++;
	xn_http_conn_close(conn);
	return true;
}

/* @doors: bits. */
static bool evict_kept(struct xn_http *http, uint8_t doors)
{
	xn_list_each(node, &http->kept) {
		struct xn_http_conn *conn = xn_list_entry(node, struct xn_http_conn, link);

		if (doors & 1 << conn->door && !conn->depth)
			return evict(conn);
	}
	return false;
}

/* The one in @list that moved least recently, or NULL. */
static struct xn_http_conn *first_stranger(const struct xn_list *list)
{
	xn_list_each(node, list) {
		struct xn_http_conn *conn = xn_list_entry(node, struct xn_http_conn, stranger);

		if (!conn->depth)
			return conn;
	}
	return NULL;
}

static bool evict_stranger(struct xn_http *http, uint8_t doors)
{
	struct xn_http_conn *victim = NULL;

	for (unsigned kind = 0; kind < XN_STRANGER_KINDS && !victim; kind++) {
		for (unsigned door = 0; door < XN_N_DOORS; door++) {
			struct xn_http_conn *conn = first_stranger(&http->strangers[door][kind]);

			if (!conn || !(doors & 1 << door))
				continue;
			if (!victim || conn->filed_us < victim->filed_us)
				victim = conn;
		}
	}
	return victim && evict(victim);
}

enum {
	NETWORK_DOORS = 1 << XN_DOOR_TCP | 1 << XN_DOOR_TLS,
	UNIX_SHARE = 16, /* this part of all connections is for the Unix socket alone */
};

/* Room for one more: the one idle for longest goes, else the one that took longest to say what it
 * wants, else to read what it was told. Never one whose request is being answered. */
static bool make_room(struct xn_http *http, enum xn_http_door door)
{
	const struct xn_http_limits *limits = &http->limits;
	bool is_unix = door == XN_DOOR_UNIX;
	unsigned most = is_unix ? limits->max_open : limits->max_open - limits->max_open / UNIX_SHARE;
	uint8_t here = (uint8_t)(1 << door), doors = is_unix ? 0xff : NETWORK_DOORS;

	if (http->n_strangers[door] >= limits->max_strangers[door])
		return evict_stranger(http, here);
	if (door == XN_DOOR_TLS && http->n_door[door] >= limits->max_door[door])
		return false; /* one takes much memory: none is had by being idle for less long */
	if (http->n_door[door] >= limits->max_door[door])
		doors = here;
	else if (http->n_open < most)
		return true;
	return evict_kept(http, doors) || evict_stranger(http, doors);
}

/* ---- listeners ---- */

static void format_peer(const struct sockaddr_storage *addr, char *out, size_t size)
{
	const struct sockaddr_in *in4 = (const void *)addr;
	const struct sockaddr_in6 *in6 = (const void *)addr;
	char text[INET6_ADDRSTRLEN] = "";

	if (addr->ss_family == AF_INET) {
		inet_ntop(AF_INET, &in4->sin_addr, text, sizeof(text));
		snprintf(out, size, "%s:%u", text, ntohs(in4->sin_port));
	} else if (addr->ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) {
		inet_ntop(AF_INET, &in6->sin6_addr.s6_addr[12], text, sizeof(text));
		snprintf(out, size, "%s:%u", text, ntohs(in6->sin6_port));
	} else if (addr->ss_family == AF_INET6) {
		inet_ntop(AF_INET6, &in6->sin6_addr, text, sizeof(text));
		snprintf(out, size, "[%s]:%u", text, ntohs(in6->sin6_port));
	} else {
		snprintf(out, size, "unix");
	}
}

void xn_http_local_address(const struct xn_http_conn *conn, char *out, size_t size)
{
	struct sockaddr_storage addr = {0};
	socklen_t len = sizeof(addr);

	*out = '\0';
	if (getsockname(conn->fd, (struct sockaddr *)&addr, &len) == 0 && addr.ss_family != AF_UNIX)
		format_peer(&addr, out, size);
}

/*
 * Whether a peer of the Unix socket is root or our own user. Others are told apart in @peer: what one of
 * them does wrong is held against none of the rest.
 */
static bool is_trusted(int fd, char *peer, size_t size)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0 || len != sizeof(cred)) {
		snprintf(peer, size, "unix-unknown");
		return false;
	}
	if (cred.uid == 0 || cred.uid == geteuid())
		return true;
	snprintf(peer, size, "unix-%u", (unsigned)cred.uid);
	return false;
}

static void welcome(struct xn_http_listener *listener, int fd, const struct sockaddr_storage *addr)
{
	struct xn_http *http = listener->http;
	bool trusted;
	char peer[64];

	if (!make_room(http, listener->door)) {
		http->stats.refused++;
		close(fd);
		return;
	}
	format_peer(addr, peer, sizeof(peer));
	trusted = listener->door == XN_DOOR_UNIX && is_trusted(fd, peer, sizeof(peer));
	xn_http_conn_new(http, fd, listener->door, trusted, peer);
}

/* Without a descriptor to accept with, the waiting connection would wake the loop for ever. Close
 * an idle one for it, or refuse it with the descriptor kept in reserve. False: no more now. */
static bool on_no_descriptors(struct xn_http_listener *listener)
{
	struct xn_http *http = listener->http;
	int fd;

	if (evict_kept(http, 0xff) ||
	    (listener->door == XN_DOOR_UNIX && evict_stranger(http, NETWORK_DOORS)))
		return true;
	if (http->reserve_fd < 0)
		return false;
	close(http->reserve_fd);
	fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC);
	if (fd >= 0) {
		http->stats.refused++;
		close(fd);
	}
	http->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	return fd >= 0;
}

static void on_connection(int listening_fd, int events, void *arg)
{
	enum { AT_ONCE = 64 };
	struct xn_http_listener *listener = arg;

	for (int i = 0; i < AT_ONCE; i++) {
		struct sockaddr_storage addr = {0};
		socklen_t len = sizeof(addr);
		int fd = accept4(listening_fd, (struct sockaddr *)&addr, &len,
				 SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0)
			welcome(listener, fd, &addr);
		else if (errno == EMFILE || errno == ENFILE) {
			if (!on_no_descriptors(listener))
				return;
		} else if (errno != EINTR && errno != ECONNABORTED) {
			return;
		}
	}
}

/* @fd and @address are taken. */
static struct xn_http_listener *add_listener(struct xn_http *http, int fd, char *address,
					     enum xn_http_door door)
{
	struct xn_http_listener *listener = xn_calloc(1, sizeof(*listener));
	size_t n = http->n_listeners;

	*listener = (struct xn_http_listener){
		.http = http, .fd = fd, .address = address, .door = door};
	listener->io = xn_io_new(http->core->loop, fd, XN_IO_READ | XN_IO_CLIENT, on_connection,
				 listener);
	http->listeners = xn_realloc(http->listeners, (n + 1) * sizeof(*http->listeners));
	http->listeners[n] = listener;
	http->addresses = xn_realloc(http->addresses, (n + 2) * sizeof(*http->addresses));
	http->addresses[n] = listener->address;
	http->addresses[n + 1] = NULL;
	http->n_listeners++;
	return listener;
}

static void free_listener(struct xn_http_listener *listener)
{
	xn_io_free(listener->io);
	if (listener->door == XN_DOOR_UNIX)
		xn_unix_listener_close(&listener->file);
	else
		close(listener->fd);
	free(listener->address);
	free(listener);
}

static void stop_listening(struct xn_http *http)
{
	for (size_t i = 0; i < http->n_listeners; i++)
		free_listener(http->listeners[i]);
	free(http->listeners);
	free(http->addresses);
	http->listeners = NULL;
	http->addresses = NULL;
	http->n_listeners = 0;
}

static int listen_error(struct xn_error *err, const char *address, const char *why)
{
	return xn_error_setf(err, XN_ERR_INTERNAL_ERROR, "cannot listen on %s: %s", address, why);
}

/* "ADDRESS:PORT"; numbers only, as a name could block on its resolver. */
static int parse_tcp(const char *text, struct sockaddr_storage *addr_out, socklen_t *len_out)
{
	struct sockaddr_in *in4 = (void *)addr_out;
	struct sockaddr_in6 *in6 = (void *)addr_out;
	const char *colon = strrchr(text, ':');
	size_t host_len = colon ? (size_t)(colon - text) : 0;
	char host[64], *end;
	unsigned long port;

	if (!colon || host_len >= sizeof(host) || colon[1] < '0' || colon[1] > '9')
		return -EINVAL;
	port = strtoul(colon + 1, &end, 10);
	if (*end || port > 65535)
		return -EINVAL;
	memset(addr_out, 0, sizeof(*addr_out));
	if (host_len > 2 && text[0] == '[' && colon[-1] == ']') {
		memcpy(host, text + 1, host_len - 2);
		host[host_len - 2] = '\0';
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons((uint16_t)port);
		*len_out = sizeof(*in6);
		return inet_pton(AF_INET6, host, &in6->sin6_addr) == 1 ? 0 : -EINVAL;
	}
	memcpy(host, text, host_len);
	host[host_len] = '\0';
	in4->sin_family = AF_INET;
	in4->sin_port = htons((uint16_t)port);
	*len_out = sizeof(*in4);
	return inet_pton(AF_INET, strcmp(host, "localhost") == 0 ? "127.0.0.1" : host,
			 &in4->sin_addr) == 1 ? 0 : -EINVAL;
}

/* A socket that listens, or -1; @address is filled with what it was given. */
static int open_tcp(const char *address, char shown[64], struct xn_error *err)
{
	struct sockaddr_storage addr;
	socklen_t len;
	int one = 1, fd;

	if (parse_tcp(address, &addr, &len) < 0)
		return listen_error(err, address, "not ADDRESS:PORT with a numeric address");
	fd = socket(addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return listen_error(err, address, strerror(errno));
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	/* Accepted sockets inherit these. Answers leave in one write, so waiting for more to send
	 * only delays the tail of a large one. */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&addr, len) < 0 || listen(fd, SOMAXCONN) < 0 ||
	    getsockname(fd, (struct sockaddr *)&addr, &len) < 0) {
		listen_error(err, address, strerror(errno));
		close(fd);
		return -1;
	}
	format_peer(&addr, shown, 64);
	return fd;
}

int xn_http_listen_tcp(struct xn_http *http, const char *address, struct xn_error *err)
{
	char shown[64];
	int fd = open_tcp(address, shown, err);

	if (fd < 0)
		return -1;
	add_listener(http, fd, xn_strdup(shown), XN_DOOR_TCP);
	return 0;
}

int xn_http_listen_tls(struct xn_http *http, const char *address, struct xn_error *err)
{
	char shown[64];
	int fd = open_tcp(address, shown, err);
	struct xn_http_listener *listener;

	if (fd < 0)
		return -1;
	if (!http->tls)
		http->tls = xn_tls_new(http->core);
	listener = add_listener(http, fd, xn_asprintf("https://%s", shown), XN_DOOR_TLS);
	if (!xn_tls_identity(http->tls))
		xn_io_set(listener->io, 0); /* the kernel keeps who comes until there is one */
	return 0;
}

void xn_http_use_identity(struct xn_http *http, struct xn_tls_identity *identity)
{
	if (!http->tls) {
		xn_tls_identity_unref(identity);
		return;
	}
	xn_tls_use(http->tls, identity);
	for (size_t i = 0; i < http->n_listeners; i++)
		xn_io_set(http->listeners[i]->io, XN_IO_READ);
}

int xn_http_listen_unix(struct xn_http *http, const char *path, struct xn_error *err)
{
	struct xn_unix_listener file;

	if (xn_unix_listen(&file, path, err) < 0)
		return -1;
	add_listener(http, file.fd, xn_strdup(path), XN_DOOR_UNIX)->file = file;
	return 0;
}

const char *const *xn_http_addresses(const struct xn_http *http)
{
	static const char *const none[] = {NULL};

	return http->addresses ? http->addresses : none;
}

/* ---- the slow ---- */

static void on_sweep(struct xn_timer *timer)
{
	enum { AT_ONCE = 32, PAUSE_US = 1000 }; /* a crowd's end is no stall */
	struct xn_http *http = xn_container_of(timer, struct xn_http, sweep);
	int64_t now = xn_now_us(http->core->loop);
	struct xn_list due;
	struct xn_list *node;
	unsigned n = 0;

	/* Collected first: closing one may close or file others. */
	xn_list_init(&due);
	xn_list_each_safe(timed, &http->timed) {
		if (xn_list_entry(timed, struct xn_http_conn, link)->deadline_us > now)
			continue;
		if (n++ == AT_ONCE)
			break;
		xn_list_remove(timed);
		xn_list_push(&due, timed);
	}
	while ((node = xn_list_pop(&due))) {
		xn_list_push(&http->timed, node);
		xn_http_conn_on_deadline(xn_list_entry(node, struct xn_http_conn, link));
	}
	while (!xn_list_empty(&http->kept) && n <= AT_ONCE) {
		struct xn_http_conn *oldest =
			xn_list_entry(http->kept.next, struct xn_http_conn, link);

		if (oldest->deadline_us > now)
			break;
		xn_http_conn_on_deadline(oldest);
		n++;
	}
	if (n > AT_ONCE)
		xn_timer_arm(http->core->loop, &http->sweep, PAUSE_US, on_sweep);
	else
		xn_http_plan_sweep(http);
}

void xn_http_plan_sweep(struct xn_http *http)
{
	struct xn_loop *loop = http->core->loop;
	int64_t delay_us = http->limits.sweep_us;

	if (xn_timer_is_armed(&http->sweep) &&
	    (xn_list_empty(&http->timed) || http->sweep.due_us - xn_now_us(loop) <= delay_us))
		return;
	if (xn_list_empty(&http->timed)) {
		if (xn_list_empty(&http->kept))
			return;
		delay_us = xn_list_entry(http->kept.next, struct xn_http_conn, link)->deadline_us -
			   xn_now_us(loop);
	}
	xn_timer_arm(loop, &http->sweep, delay_us < 0 ? 0 : delay_us, on_sweep);
}

/* ---- life ---- */

struct xn_http *xn_http_new(struct xn_core *core)
{
	struct xn_http *http = xn_calloc(1, sizeof(*http));

	http->core = core;
	xn_http_limits_read(&http->limits, core->config);
	if (!xn_http_limits_fit(&http->limits))
		xn_log_warn(core->log, "rpc",
			    "the limit of open files allows %u connections only",
			    http->limits.max_open);
	xn_http_add_metrics(http);
	xn_slab_init(&http->conns, sizeof(struct xn_http_conn));
	xn_list_init(&http->kept);
	xn_list_init(&http->timed);
	xn_list_init(&http->untimed);
	xn_list_init(&http->gone);
	for (unsigned door = 0; door < XN_N_DOORS; door++)
		for (unsigned kind = 0; kind < XN_STRANGER_KINDS; kind++)
			xn_list_init(&http->strangers[door][kind]);
	xn_list_init(&http->relays);
	http->scratch = xn_malloc(XN_HTTP_SCRATCH);
	http->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	for (size_t i = 0; i < XN_ARRAY_SIZE(own_routes); i++)
		xn_http_add_route(http, &own_routes[i], http);
	return http;
}

static void close_all(struct xn_list *list)
{
	while (!xn_list_empty(list))
		xn_http_conn_close(xn_list_entry(list->next, struct xn_http_conn, link));
}

void xn_http_free(struct xn_http *http)
{
	if (!http)
		return;
	xn_metrics_remove(&http->metrics);
	stop_listening(http);
	close_all(&http->kept);
	close_all(&http->timed);
	close_all(&http->untimed);
	for (struct xn_list *node; (node = xn_list_pop(&http->gone));)
		xn_slab_free(&http->conns, xn_list_entry(node, struct xn_http_conn, link));
	xn_slab_clear(&http->conns);
	xn_tls_relays_end(&http->relays);
	xn_tls_free(http->tls);
	xn_timer_cancel(&http->sweep);
	xn_timer_cancel(&http->trim);
	if (http->reserve_fd >= 0)
		close(http->reserve_fd);
	xn_buf_clear(&http->out);
	free(http->scratch);
	free(http->entries);
	free(http);
}

/* Whether somebody still waits for an answer or for the rest of one. */
static bool is_answering(const struct xn_http *http)
{
	if (!xn_list_empty(&http->untimed))
		return true;
	xn_list_each(node, &http->timed) {
		const struct xn_http_conn *conn = xn_list_entry(node, struct xn_http_conn, link);

		if (conn->out.len || conn->state == XN_CONN_RUNNING)
			return true;
	}
	return false;
}

void xn_http_drain(struct xn_http *http)
{
	struct xn_loop *loop = http->core->loop;
	int64_t now = xn_now_us(loop), until = now + http->limits.drain_us;

	http->draining = true;
	stop_listening(http);
	close_all(&http->kept);
	while (is_answering(http) && now < until) {
		xn_loop_turn(loop, until - now);
		now = xn_now_us(loop);
	}
	close_all(&http->kept);
	close_all(&http->timed);
	close_all(&http->untimed);
}

void xn_http_stats(const struct xn_http *http, struct xn_http_stats *out)
{
	*out = http->stats;
	out->open = http->n_open;
	out->open_unix = http->n_door[XN_DOOR_UNIX];
	out->open_tls = http->n_door[XN_DOOR_TLS];
	out->idle = http->n_kept;
}
