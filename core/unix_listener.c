/* Listening on a socket file; see unix_listener.h. */
#include "core/unix_listener.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int listen_error(struct xn_error *err, const char *path, const char *why)
{
	return xn_error_setf(err, XN_ERR_INTERNAL_ERROR, "cannot listen on %s: %s", path, why);
}

/* The folders above @path, as far as they are missing. */
static void make_parents(const char *path)
{
	char *copy = xn_strdup(path);

	for (char *slash = strchr(copy + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		mkdir(copy, 0755); /* a failure that matters shows when the socket is bound */
		*slash = '/';
	}
	free(copy);
}

/* NULL when the path is free now; a sentence when it is not ours to take. */
static const char *clear_stale_socket(const struct sockaddr_un *addr)
{
	struct stat st;
	int fd, rc;

	if (lstat(addr->sun_path, &st) < 0)
		return errno == ENOENT ? NULL : strerror(errno);
	if (!S_ISSOCK(st.st_mode))
		return "there is a file of that name, and it is not a socket";
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return strerror(errno);
	rc = connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0 ? -errno : 0;
	close(fd);
	if (rc != -ECONNREFUSED)
		return "another program is listening there";
	return unlink(addr->sun_path) < 0 ? strerror(errno) : NULL;
}

int xn_unix_listen(struct xn_unix_listener *out, const char *path, struct xn_error *err)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct stat st = {0};
	const char *why;
	mode_t mask;
	int fd, rc;

	if (strlen(path) >= sizeof(addr.sun_path))
		return listen_error(err, path, "the path of a socket has at most 107 bytes");
	strcpy(addr.sun_path, path);
	make_parents(path);
	why = clear_stale_socket(&addr);
	if (why)
		return listen_error(err, path, why);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return listen_error(err, path, strerror(errno));
	mask = umask(0177); /* the file never exists with more rights than 0600 */
	rc = bind(fd, (struct sockaddr *)&addr, sizeof(addr));
	umask(mask);
	if (rc < 0 || listen(fd, SOMAXCONN) < 0 || lstat(path, &st) < 0) {
		listen_error(err, path, strerror(errno));
		close(fd);
		return -1;
	}
	*out = (struct xn_unix_listener){
		.fd = fd, .path = xn_strdup(path), .dev = st.st_dev, .ino = st.st_ino};
	return 0;
}

void xn_unix_listener_close(struct xn_unix_listener *listener)
{
	struct stat now;

	close(listener->fd);
	if (lstat(listener->path, &now) == 0 && now.st_dev == listener->dev &&
	    now.st_ino == listener->ino)
		unlink(listener->path);
	free(listener->path);
}
