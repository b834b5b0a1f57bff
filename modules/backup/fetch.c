/* The other side of GET /backup: a short-lived process that asks the running daemon and blocks. */
#include "modules/backup/backup.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/unix_client.h"
#include "core/write.h"
#include "modules/db/backup.h"

enum { PATIENCE_S = 60, HEAD_MAX = 16 << 10 };

static int ask(int fd)
{
	static const char request[] = "GET /backup HTTP/1.0\r\nHost: localhost\r\n\r\n";

	return xn_write_all(fd, request, sizeof(request) - 1);
}

/* Reads the answer's head; what came behind it goes to @file. */
static int take_head(int fd, int file, char **why)
{
	struct xn_buf head XN_CLEANUP(xn_buf_clear_p) = {0};
	const char *end = NULL;
	int status = 0;

	while (!end) {
		ssize_t n = read(fd, xn_buf_reserve(&head, 4096), 4096);

		if (n <= 0 || head.len + (size_t)n > HEAD_MAX)
			return n < 0 ? -errno : -EPROTO;
		head.len += (size_t)n;
		end = memmem(head.data, head.len, "\r\n\r\n", 4);
	}
	if (sscanf(xn_buf_cstr(&head), "HTTP/1.%*d %d", &status) != 1)
		return -EPROTO;
	end = (const char *)memmem(head.data, head.len, "\r\n\r\n", 4) + 4;
	if (status != 200) {
		*why = xn_asprintf("the daemon answers %d: %.*s", status,
				   (int)strcspn(end, "\r\n"), end);
		return -EPROTO;
	}
	return xn_write_all(file, end, head.len - (size_t)(end - head.data));
}

static int copy(int fd, int file)
{
	static char piece[64 << 10];
	ssize_t n;
	int rc = 0;

	while (rc == 0 && (n = read(fd, piece, sizeof(piece))) != 0)
		rc = n < 0 ? -errno : xn_write_all(file, piece, (size_t)n);
	return rc;
}

static void note_head(void *arg, const struct xn_backup_head *head)
{
	*(struct xn_backup_head *)arg = *head;
}

static int prove(int file, struct xn_backup_head *head, char **why)
{
	static const struct xn_backup_reader reader = {.head = note_head};
	char *what XN_CLEANUP(xn_free_p) = NULL;
	int rc = lseek(file, 0, SEEK_SET) < 0 ? -errno : xn_backup_read(file, &reader, head, &what);

	if (rc < 0)
		*why = xn_asprintf("what the daemon sent is not whole: %s",
				   what ? what : strerror(-rc));
	return rc;
}

static int fetch(int fd, int file, struct xn_backup_head *head, char **why)
{
	int rc = ask(fd);

	if (rc == 0)
		rc = take_head(fd, file, why);
	if (rc == 0)
		rc = copy(fd, file);
	if (rc == 0)
		rc = prove(file, head, why);
	if (rc == 0 && fsync(file) < 0)
		rc = -errno;
	return rc;
}

/* The new name survives power loss, too. */
static int keep(const char *fresh, const char *path)
{
	char *dir XN_CLEANUP(xn_free_p) = xn_strdup(path);
	char *slash = strrchr(dir, '/');
	int fd, rc;

	if (rename(fresh, path) < 0)
		return -errno;
	if (slash)
		slash[slash == dir] = '\0';
	fd = open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	rc = fd < 0 || fsync(fd) < 0 ? -errno : 0;
	if (fd >= 0)
		close(fd);
	return rc;
}

static int fetch_to(const char *socket_path, const char *fresh, struct xn_backup_head *head,
		    int64_t *size, char **why)
{
	int fd = xn_unix_connect(socket_path, PATIENCE_S), file, rc;
	struct stat st;

	if (fd < 0) {
		*why = xn_asprintf("no daemon answers on %s: %s", socket_path, strerror(-fd));
		return fd;
	}
	file = open(fresh, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	rc = file < 0 ? -errno : fetch(fd, file, head, why);
	if (rc == 0)
		rc = fstat(file, &st) < 0 ? -errno : 0;
	if (rc == 0)
		*size = st.st_size;
	if (file >= 0)
		close(file);
	close(fd);
	return rc;
}

int xn_backup_fetch(const char *socket_path, const char *path, struct xn_buf *said, char **why)
{
	char *fresh XN_CLEANUP(xn_free_p) = xn_asprintf("%s.new", path);
	struct xn_backup_head head = {0};
	int64_t size = 0;
	int rc;

	*why = NULL;
	rc = fetch_to(socket_path, fresh, &head, &size, why);
	if (rc == 0)
		rc = keep(fresh, path);
	if (rc < 0) {
		unlink(fresh);
		if (!*why)
			*why = xn_asprintf("%s: %s", path, strerror(-rc));
		return -1;
	}
	xn_buf_printf(said, "%s: %" PRId64 " bytes, the database at generation %" PRIu64 "\n", path,
		      size, head.generation);
	return 0;
}
