/* See dial.h. */
#include "rpc/xe/client/dial.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "rpc/xe/client/trust.h"

enum { PATIENCE_MS = 30000, COMPLETION_MS = 2000 };

static int patience_ms(const struct xe_settings *settings)
{
	return settings->is_completion ? COMPLETION_MS : PATIENCE_MS;
}

/* ---- sockets ---- */

/* 0, or -errno. */
static int connect_within(int fd, const struct sockaddr *address, socklen_t len, int timeout_ms)
{
	struct pollfd wait = {fd, POLLOUT, 0};
	int error = 0, n;
	socklen_t size = sizeof(error);

	if (connect(fd, address, len) == 0)
		return 0;
	if (errno != EINPROGRESS)
		return -errno;
	do
		n = poll(&wait, 1, timeout_ms);
	while (n < 0 && errno == EINTR);
	if (n == 0)
		return -ETIMEDOUT;
	getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
	return -error;
}

static int connect_socket(const char *path, int timeout_ms)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd, rc;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	rc = connect_within(fd, (const struct sockaddr *)&address, sizeof(address), timeout_ms);
	if (rc < 0)
		close(fd);
	return rc < 0 ? rc : fd;
}

/* Who waits for an event for hours should learn that the other side is gone. */
static void notice_dead_hosts(int fd)
{
	int on = 1, idle_s = 60, every_s = 15, tries = 4;

	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &every_s, sizeof(every_s));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &tries, sizeof(tries));
}

/* A descriptor; -errno; or -1000 less what getaddrinfo() said. */
static int connect_host(const char *host, int port, int timeout_ms)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *all;
	char service[8];
	int fd = -EHOSTUNREACH, rc;

	snprintf(service, sizeof(service), "%d", port);
	rc = getaddrinfo(host, service, &hints, &all);
	if (rc)
		return -1000 - abs(rc);
	for (struct addrinfo *one = all; one; one = one->ai_next) {
		fd = socket(one->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		if (fd < 0) {
			fd = -errno;
			continue;
		}
		rc = connect_within(fd, one->ai_addr, one->ai_addrlen, timeout_ms);
		if (rc == 0) {
			notice_dead_hosts(fd);
			break;
		}
		close(fd);
		fd = rc;
	}
	freeaddrinfo(all);
	return fd;
}

static const char *reason(int rc)
{
	if (rc <= -1000)
		return gai_strerror(-(-rc - 1000));
	return strerror(-rc);
}

/* "[::1]" is ::1. The caller's. */
static char *bare_host(const char *host)
{
	size_t len = strlen(host);

	return len > 1 && *host == '[' && host[len - 1] == ']' ? xn_strndup(host + 1, len - 2) :
								 xn_strdup(host);
}

/* ---- hosts ---- */

static void complain_host(const struct xe_settings *settings, const char *where, int rc,
			  bool is_tls, struct xn_buf *complaint)
{
	xn_buf_printf(complaint, "Unable to contact server %s: %s. ", where, reason(rc));
	if (rc <= -1000)
		xn_buf_add_string(complaint, "Check the name after -s.");
	else if (rc == -ECONNREFUSED && !settings->port)
		xn_buf_printf(complaint, "Is the daemon running there? Its port is named with -p (now %s).",
			      is_tls ? "443; with --nossl: 80" : "80");
	else if (rc == -ECONNREFUSED)
		xn_buf_add_string(complaint, "Is the daemon running there, and is the port after -p right?");
	else
		xn_buf_add_string(complaint, "Please check server and port settings, and the network.");
}

static struct xe_stream *dial_tls(const struct xe_settings *settings, const char *host, int port,
				  int fd, struct xn_buf *complaint)
{
	struct xn_buf why XN_CLEANUP(xn_buf_clear_p) = {0};
	struct xe_stream *stream = NULL;
	struct xe_trust trust;
	struct xe_peer peer;

	if (xe_trust_init(&trust, settings, host, port, complaint) < 0) {
		close(fd);
		goto out;
	}
	stream = xe_tls_open(fd, host, settings->ca_file, xe_trust_needs_cas(&trust),
			     patience_ms(settings), &peer, &why);
	if (!stream) {
		xn_buf_printf(complaint,
			      "Unable to contact server %s: %s. If that port is one without TLS, use --nossl (nothing is secret then) or name the other port with -p.",
			      trust.place, xn_buf_cstr(&why));
	} else if (xe_trust_decide(&trust, &peer, complaint) < 0) {
		xe_stream_free(stream);
		stream = NULL;
	}
out:
	xe_trust_clear(&trust);
	return stream;
}

/* The rule of the field: "127.0.0.1" is spoken to without TLS, everything else with it. */
static struct xe_stream *dial_host(const struct xe_settings *settings, const char *named,
				   char *where, size_t where_size, struct xn_buf *complaint)
{
	char *host XN_CLEANUP(xn_free_p) = bare_host(named);
	bool is_tls = !settings->nossl && strcmp(host, XE_LOCAL_SERVER) != 0;
	int port = settings->port ? settings->port : is_tls ? 443 : 80;
	int fd = connect_host(host, port, patience_ms(settings));

	snprintf(where, where_size, "%s port %d", host, port);
	if (fd < 0) {
		complain_host(settings, where, fd, is_tls, complaint);
		return NULL;
	}
	return is_tls ? dial_tls(settings, host, port, fd, complaint) : xe_stream_of_socket(fd);
}

/* ---- the conversation ---- */

static bool is_own_socket(const char *path)
{
	struct stat st;

	return geteuid() == 0 || (stat(path, &st) == 0 && st.st_uid == geteuid());
}

static struct xe_stream *dial_socket(const struct xe_settings *settings, const char *path,
				     struct xe_dialled *dialled, int *error_out)
{
	int fd = connect_socket(path, patience_ms(settings));

	*error_out = fd;
	if (fd < 0)
		return NULL;
	*dialled = (struct xe_dialled){.is_socket = true, .is_trusted = is_own_socket(path)};
	snprintf(dialled->where, sizeof(dialled->where), "%s", path);
	return xe_stream_of_socket(fd);
}

static struct xe_stream *dial_local(const struct xe_settings *settings, struct xe_dialled *dialled,
				    struct xn_buf *complaint)
{
	struct xn_buf why XN_CLEANUP(xn_buf_clear_p) = {0};
	int error;
	struct xe_stream *stream = dial_socket(settings, XE_LOCAL_SOCKET, dialled, &error);

	if (stream)
		return stream;
	stream = dial_host(settings, settings->server, dialled->where, sizeof(dialled->where), &why);
	if (!stream)
		xn_buf_printf(complaint,
			      "Unable to contact server: neither the socket %s (%s) nor %s answers. Start the daemon, or name where it is with -s and -p.",
			      XE_LOCAL_SOCKET, strerror(-error), dialled->where);
	return stream;
}

struct xe_stream *xe_dial(const struct xe_settings *settings, struct xe_dialled *dialled_out,
			  struct xn_buf *complaint)
{
	struct xe_stream *stream;
	const char *path;
	int error;

	*dialled_out = (struct xe_dialled){0};
	if (!xe_server_is_socket(settings->server, &path))
		return strcmp(settings->server, XE_LOCAL_SERVER) == 0 ?
			       dial_local(settings, dialled_out, complaint) :
			       dial_host(settings, settings->server, dialled_out->where,
					 sizeof(dialled_out->where), complaint);
	stream = dial_socket(settings, path, dialled_out, &error);
	if (!stream)
		xn_buf_printf(complaint, "Unable to contact server %s: %s. %s", path, strerror(-error),
			      error == -EACCES ? "Only its owner and root may use that socket." :
			      error == -ECONNREFUSED ? "The daemon has ended; start it." :
			      "Is the daemon running, with --socket of that path?");
	return stream;
}

struct xe_stream *xe_dial_transfer(const struct xe_settings *settings,
				   const struct xe_dialled *dialled, const char *host,
				   struct xn_buf *complaint)
{
	struct xe_dialled other;
	char where[sizeof(dialled->where)];
	const char *path;
	struct xe_stream *stream;
	int error;

	if (!host && xe_server_is_socket(settings->server, &path))
		return xe_dial(settings, &other, complaint);
	/* The field's client never fetches files over the socket; a daemon that has nothing else is
	 * still asked there. */
	stream = dial_host(settings, host ? host : settings->server, where, sizeof(where), complaint);
	if (!stream && dialled->is_socket && (!host || strcmp(host, XE_LOCAL_SERVER) == 0)) {
		stream = dial_socket(settings, dialled->where, &other, &error);
		complaint->len = stream ? 0 : complaint->len;
	}
	return stream;
}
