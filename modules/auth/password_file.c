/*
 * The password file: one line, the password of the login `root`. Read by a worker whenever somebody
 * logs in, and kept nowhere; session.change_password replaces it in one rename, so that a crash
 * leaves the old or the new one.
 */
#include "modules/auth/auth_internal.h"
#include "core/sha256.h"
#include "core/write.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- check ---- */

struct password_check {
	struct xn_work work;
	char *path, *password;
	void (*done)(int rc, void *arg); /* NULL: dropped */
	void *arg;
};

/* Length of the first line, or 0 when it is no password. */
static size_t first_line(const char *bytes, size_t len)
{
	const char *end = memchr(bytes, '\n', len);

	if (end)
		len = (size_t)(end - bytes);
	if (len && bytes[len - 1] == '\r')
		len--;
	return len <= PASSWORD_MAX && !memchr(bytes, '\0', len) ? len : 0;
}

/* 0, -EACCES, or what is wrong with the file. @password NULL: only whether there is one. */
static int read_and_compare(const char *path, const char *password)
{
	char bytes[PASSWORD_MAX + 3];
	struct stat st;
	ssize_t n;
	size_t len;
	int rc, fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		close(fd);
		return -EINVAL;
	}
	n = read(fd, bytes, sizeof(bytes));
	close(fd);
	if (n < 0)
		return -EIO;
	len = first_line(bytes, (size_t)n);
	if (!len)
		rc = -ENODATA;
	else
		rc = !password || xn_same_secret(bytes, len, password, strlen(password)) ? 0 : -EACCES;
	explicit_bzero(bytes, sizeof(bytes));
	return rc;
}

/* On a worker thread. */
static int check_password(struct xn_work *work)
{
	struct password_check *check = xn_container_of(work, struct password_check, work);

	return read_and_compare(check->path, check->password);
}

static void on_checked(struct xn_work *work, int rc)
{
	struct password_check *check = xn_container_of(work, struct password_check, work);

	if (check->done)
		check->done(rc, check->arg);
	xn_auth_wipe(check->password);
	free(check->path);
	free(check);
}

struct password_check *auth_password_check(struct xn_auth *auth, const char *password,
					   void (*done)(int rc, void *arg), void *arg)
{
	struct password_check *check = xn_calloc(1, sizeof(*check));

	check->work.run = check_password;
	check->work.done = on_checked;
	check->path = xn_strdup(auth->password_path);
	check->password = xn_strdup(password);
	check->done = done;
	check->arg = arg;
	xn_pool_submit(auth->workers, &check->work);
	return check;
}

void auth_password_check_drop(struct password_check *check)
{
	if (check)
		check->done = NULL;
}

/* At start nobody waits for the loop yet. */
void auth_password_announce(struct xn_auth *auth)
{
	int rc = auth->password_path ? read_and_compare(auth->password_path, NULL) : 0;

	if (rc < 0)
		xn_log_warn(auth->core->log, "auth", "root cannot log in: password file %s: %s",
			    auth->password_path, strerror(-rc));
}

/* ---- change ---- */

struct change {
	struct xn_work work;
	struct xn_auth *auth;
	struct xn_call *call;
	char *path, *text;
};

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
	rc = xn_write_synced(fd, change->text, strlen(change->text));
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

	change->auth->password_changing = false;
	if (rc < 0) {
		xn_error_setf(&err, XN_ERR_CHANGE_PASSWORD_REJECTED,
			      "the password file could not be written: %s", strerror(-rc));
		xn_call_fail(change->call, &err);
	} else {
		xn_call_reply_void(change->call);
	}
	xn_auth_wipe(change->text);
	free(change->path);
	free(change);
}

static const char *why_unfit(const struct xn_auth *auth, const char *password)
{
	if (auth->password_changing)
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
	const char *why = why_unfit(auth, password);
	struct xn_error err = {0};
	struct change *change;

	if (why) {
		xn_error_set(&err, XN_ERR_CHANGE_PASSWORD_REJECTED, why);
		xn_call_fail(call, &err);
		return;
	}
	auth->password_changing = true;
	change = xn_calloc(1, sizeof(*change));
	change->work.run = replace_file;
	change->work.done = on_replaced;
	change->auth = auth;
	change->call = call;
	change->path = xn_strdup(auth->password_path);
	change->text = xn_asprintf("%s\n", password);
	xn_pool_submit(auth->workers, &change->work);
}
