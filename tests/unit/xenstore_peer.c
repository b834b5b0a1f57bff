/* A real xenstored for tests; see xenstore_peer.h. */
#include "tests/unit/xenstore_peer.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "modules/xenstore/wire.h"
#include "tests/unit/cmocka_all.h"

static int find_daemon(const char *kind, char out[256])
{
	char pattern[128];
	glob_t found;
	int is_there;

	snprintf(pattern, sizeof(pattern), "/usr/lib/xen-*/bin/%s", kind);
	is_there = glob(pattern, 0, NULL, &found) == 0 && found.gl_pathc > 0;
	if (is_there)
		snprintf(out, 256, "%s", found.gl_pathv[found.gl_pathc - 1]);
	globfree(&found);
	return is_there;
}

int peer_exists(const char *kind)
{
	char path[256];

	return !strcmp(kind, "embedded") || find_daemon(kind, path);
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static void run_daemon(const struct peer *peer, const char *path)
{
	char config[128];
	int null = open("/dev/null", O_RDWR);

	snprintf(config, sizeof(config), "%s/conf", peer->folder);
	setenv("XENSTORED_PATH", peer->socket, 1);
	setenv("XENSTORED_RUNDIR", peer->folder, 1);
	setenv("LD_PRELOAD", XENSTORED_SHIM, 1);
	dup2(null, 1);
	if (!strcmp(peer->kind, "oxenstored"))
		execl(path, path, "--no-fork", "--no-domain-init", "--config-file", config, NULL);
	else
		execl(path, path, "--no-fork", NULL);
	_exit(127);
}

static int connect_once(const struct peer *peer)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, peer->socket);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	close(fd);
	return -1;
}

void peer_start(struct peer *peer, const char *kind)
{
	char path[256], config[128];

	peer->kind = kind;
	peer->fd = -1;
	if (!strcmp(kind, "embedded"))
		return;
	assert_true(find_daemon(kind, path));
	if (!peer->folder[0]) { /* else the same again */
		strcpy(peer->folder, "/tmp/xenolith-xenstored-XXXXXX");
		assert_non_null(mkdtemp(peer->folder));
	}
	snprintf(peer->socket, sizeof(peer->socket), "%s/socket", peer->folder);
	snprintf(config, sizeof(config), "%s/conf", peer->folder);
	write_file(config, "persistent = false\nquota-activate = false\naccess-log-file = /dev/null\n");
	setenv("XENSTORED_PATH", peer->socket, 1);
	peer->pid = fork();
	if (!peer->pid)
		run_daemon(peer, path);
}

void peer_connect(struct peer *peer)
{
	if (!strcmp(peer->kind, "embedded"))
		return;
	/* It says nowhere when it is up; the kernel has no event for a socket that appears. */
	for (int i = 0; i < 24000 && peer->fd < 0; i++) {
		peer->fd = connect_once(peer);
		if (peer->fd < 0)
			usleep(5000);
	}
	assert_true(peer->fd >= 0);
}

void peer_kill(struct peer *peer)
{
	if (peer->pid <= 0)
		return;
	kill(peer->pid, SIGKILL);
	waitpid(peer->pid, NULL, 0);
	peer->pid = 0;
	close(peer->fd);
	peer->fd = -1;
	unlink(peer->socket);
}

void peer_stop(struct peer *peer)
{
	char path[128];

	xn_xs_conn_free(peer->conn);
	if (!peer->folder[0])
		return;
	peer_kill(peer);
	snprintf(path, sizeof(path), "%s/conf", peer->folder);
	unlink(path);
	snprintf(path, sizeof(path), "rm -rf %s", peer->folder);
	assert_int_equal(system(path), 0);
}

/* ---- requests ---- */

static int take_reply(struct peer *peer, uint32_t type)
{
	static struct xn_xs_reader reader;
	struct xn_xs_frame frame;
	size_t room, at = 0, len;
	const char *name;

	memset(&reader, 0, sizeof(reader));
	while (xn_xs_reader_next(&reader, &frame) == 0) {
		char *to = xn_xs_reader_room(&reader, &room);
		ssize_t n = read(peer->fd, to, room);

		assert_true(n > 0);
		xn_xs_reader_added(&reader, (size_t)n);
	}
	if (frame.type == XN_XS_WIRE_ERROR) {
		name = xn_xs_frame_string(&frame, &at, &len);
		return xn_xs_error_parse(name, len);
	}
	assert_int_equal(frame.type, type);
	return 0;
}

int peer_request(struct peer *peer, uint32_t type, const void *body, size_t len)
{
	struct xn_buf out = {0};
	struct xn_xs_part part = {body, len};
	ssize_t n;

	assert_int_equal(xn_xs_frame_add(&out, type, 1, 0, &part, 1), 0);
	n = write(peer->fd, out.data, out.len);
	assert_int_equal(n, out.len);
	xn_buf_clear(&out);
	return take_reply(peer, type);
}

int peer_write(struct peer *peer, const char *path, const void *value, size_t len)
{
	struct xn_buf body = {0};
	int rc;

	if (peer->conn)
		return xn_xs_conn_write(peer->conn, 0, path, value, len);
	xn_buf_add(&body, path, strlen(path) + 1);
	xn_buf_add(&body, value, len);
	rc = peer_request(peer, XN_XS_WIRE_WRITE, body.data, body.len);
	xn_buf_clear(&body);
	return rc;
}

int peer_put(struct peer *peer, const char *path, const char *value)
{
	return peer_write(peer, path, value, strlen(value));
}
