/*
 * The password file: one line, the password of the login `root`. Read again when it changed;
 * session.change_password replaces it in one rename, so that a crash leaves the old or the new one.
 */
#include "modules/auth/auth_internal.h"
#include "modules/auth/sha256.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PASSWORD_MAX = 1024 };

static void forget_password(struct password_file *file)
{
	if (file->password)
		explicit_bzero(file->password, strlen(file->password));
	free(file->password);
	file->password = NULL;
}

static void take_first_line(struct password_file *file, const char *bytes, size_t len)
{
	const char *end = memchr(bytes, '\n', len);

	if (end)
		len = (size_t)(end - bytes);
	if (len && bytes[len - 1] == '\r')
		len--;
	if (len && len <= PASSWORD_MAX && !memchr(bytes, '\0', len))
		file->password = xn_strndup(bytes, len);
}

static int64_t mtime_ns(const struct stat *st)
{
	return (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
}

/* A local file of one line, and only when a login comes: small enough for the loop thread. */
static int refresh(struct password_file *file)
{
	char bytes[PASSWORD_MAX + 3];
	struct stat st;
	ssize_t len;
	int fd = open(file->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		int rc = fd < 0 ? -errno : -EINVAL;

		if (fd >= 0)
			close(fd);
		forget_password(file);
		return rc;
	}
	if (file->password && file->mtime_ns == mtime_ns(&st) && file->size == st.st_size &&
	    file->inode == st.st_ino) {
		close(fd);
		return 0;
	}
	forget_password(file);
	len = read(fd, bytes, sizeof(bytes));
	close(fd);
	if (len < 0)
		return -EIO;
	take_first_line(file, bytes, (size_t)len);
	explicit_bzero(bytes, sizeof(bytes));
	file->mtime_ns = mtime_ns(&st);
	file->size = st.st_size;
	file->inode = st.st_ino;
	return file->password ? 0 : -ENODATA;
}

/* Compares digests, so neither the length nor the first difference shows in the time it takes. */
static bool is_same(const char *a, const char *b)
{
	unsigned char ha[32], hb[32];
	unsigned char differs = 0;

	sha256(a, strlen(a), ha);
	sha256(b, strlen(b), hb);
	for (size_t i = 0; i < sizeof(ha); i++)
		differs |= ha[i] ^ hb[i];
	return differs == 0;
}

void auth_password_announce(struct xn_auth *auth)
{
	struct password_file *file = &auth->password_file;
	int rc = file->path ? refresh(file) : 0;

	if (rc < 0)
		xn_log_warn(auth->core->log, "auth", "nobody can log in: password file %s: %s",
			    file->path, strerror(-rc));
}

int auth_password_check(struct xn_auth *auth, const char *user, const char *password,
			struct xn_error *err)
{
	struct password_file *file = &auth->password_file;
	int rc = file->path ? refresh(file) : -ENOENT;
	bool is_right;

	if (rc < 0) {
		xn_log_warn(auth->core->log, "auth", "login refused: password file %s: %s",
			    file->path ? file->path : "(none configured)", strerror(-rc));
		return xn_error_set(err, XN_ERR_SESSION_AUTHENTICATION_FAILED, user,
				    "no password is set up for this server");
	}
	is_right = is_same(password, file->password);
	if (!is_right || strcmp(user, "root") != 0)
		return xn_error_set(err, XN_ERR_SESSION_AUTHENTICATION_FAILED, user,
				    "wrong user name or password");
	return 0;
}

/* ---- change ---- */

struct change {
	struct xn_work work;
	struct xn_auth *auth;
	struct xn_call *call;
	char *path, *text;
};

static int write_all(int fd, const char *text)
{
	size_t len = strlen(text);

	while (len) {
		ssize_t n = write(fd, text, len);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			text += n;
			len -= (size_t)n;
		}
	}
	return fsync(fd) < 0 ? -errno : 0;
}

static int sync_folder_of(const char *path)
{
	char *copy XN_CLEANUP(xn_free_p) = xn_strdup(path);
	int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc;

	if (fd < 0)
		return -errno;
	rc = fsync(fd) < 0 ? -errno : 0;
	close(fd);
	return rc;
}

/* On a worker thread. */
static int replace_file(struct xn_work *work)
{
	struct change *change = xn_container_of(work, struct change, work);
	char *fresh XN_CLEANUP(xn_free_p) = xn_asprintf("%s.new", change->path);
	int fd, rc;

	unlink(fresh); /* what a crash left */
	fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	rc = write_all(fd, change->text);
	close(fd);
	if (rc == 0 && rename(fresh, change->path) < 0)
		rc = -errno;
	if (rc < 0) {
		unlink(fresh);
		return rc;
	}
	return sync_folder_of(change->path);
}

static void on_replaced(struct xn_work *work, int rc)
{
	struct change *change = xn_container_of(work, struct change, work);
	struct xn_error err = {0};

	change->auth->password_file.changing = false;
	if (rc < 0) {
		xn_error_setf(&err, XN_ERR_CHANGE_PASSWORD_REJECTED,
			      "the password file could not be written: %s", strerror(-rc));
		xn_call_fail(change->call, &err);
	} else {
		xn_call_reply_void(change->call);
	}
	explicit_bzero(change->text, strlen(change->text));
	free(change->text);
	free(change->path);
	free(change);
}

static const char *why_unfit(const struct password_file *file, const char *password)
{
	if (!file->path)
		return "no password file is configured";
	if (file->changing)
		return "another change is under way";
	if (!*password)
		return "the new password is empty";
	if (strlen(password) > PASSWORD_MAX)
		return "the new password is too long";
	if (strpbrk(password, "\r\n"))
		return "the new password has more than one line";
	return NULL;
}

void auth_password_change(struct xn_auth *auth, struct xn_call *call, const char *password)
{
	const char *why = why_unfit(&auth->password_file, password);
	struct xn_error err = {0};
	struct change *change;

	if (why) {
		xn_error_set(&err, XN_ERR_CHANGE_PASSWORD_REJECTED, why);
		xn_call_fail(call, &err);
		return;
	}
	auth->password_file.changing = true;
	change = xn_calloc(1, sizeof(*change));
	change->work.run = replace_file;
	change->work.done = on_replaced;
	change->auth = auth;
	change->call = call;
	change->path = xn_strdup(auth->password_file.path);
	change->text = xn_asprintf("%s\n", password);
	xn_pool_submit(auth->core->workers, &change->work);
}

void auth_password_clear(struct xn_auth *auth)
{
	forget_password(&auth->password_file);
	free(auth->password_file.path);
	auth->password_file.path = NULL;
}
