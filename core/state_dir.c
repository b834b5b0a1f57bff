/* Lock and mark of the state folder; see state_dir.h. Runs before the loop does. */
#include "core/state_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static int open_dir(const char *path, char **why)
{
	int fd;

	if (mkdir(path, 0700) < 0 && errno != EEXIST) {
		*why = xn_asprintf("cannot make the state folder %s: %s", path, strerror(errno));
		return -1;
	}
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		*why = xn_asprintf("cannot open the state folder %s: %s", path, strerror(errno));
	return fd;
}

/* The lock file also tells who holds it. */
static int lock(int dir, const char *path, char **why)
{
	int fd = openat(dir, "daemon.lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	char pid[16] = "";
	ssize_t n;

	if (fd < 0) {
		*why = xn_asprintf("cannot write into the state folder %s: %s", path,
				   strerror(errno));
		return -1;
	}
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		n = pread(fd, pid, sizeof(pid) - 1, 0);
		pid[n > 0 ? strcspn(pid, "\n") : 0] = '\0';
		*why = xn_asprintf("the state folder %s is in use by process %s", path,
				   *pid ? pid : "(unknown)");
		close(fd);
		return -1;
	}
	n = snprintf(pid, sizeof(pid), "%d\n", getpid());
	if (ftruncate(fd, 0) < 0 || pwrite(fd, pid, n, 0) != n) {
		*why = xn_asprintf("cannot write into the state folder %s: %s", path,
				   strerror(errno));
		close(fd);
		return -1;
	}
	return fd;
}

/* Written under another name first, so that a crash leaves no empty mark. */
static int write_mark(int dir, const char *hypervisor)
{
	int fd = openat(dir, "hypervisor.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	int rc = -1;

	if (fd < 0)
		return -1;
	if (dprintf(fd, "%s\n", hypervisor) > 0 && fsync(fd) == 0)
		rc = renameat(dir, "hypervisor.new", dir, "hypervisor");
	close(fd);
	return rc < 0 ? rc : fsync(dir);
}

static int check_mark(int dir, const char *path, const char *hypervisor, char **why)
{
	int fd = openat(dir, "hypervisor", O_RDONLY | O_CLOEXEC);
	char mark[32] = "";
	ssize_t n;

	if (fd < 0) {
		if (errno == ENOENT && write_mark(dir, hypervisor) == 0)
			return 0;
		*why = xn_asprintf("cannot mark the state folder %s: %s", path, strerror(errno));
		return -1;
	}
	n = read(fd, mark, sizeof(mark) - 1);
	close(fd);
	mark[n > 0 ? strcspn(mark, "\n") : 0] = '\0';
	if (strcmp(mark, hypervisor) == 0)
		return 0;
	*why = xn_asprintf("the state folder %s belongs to hypervisor \"%s\", not \"%s\": "
			   "name another --state-dir",
			   path, mark, hypervisor);
	return -1;
}

int xn_state_dir_hold(const char *path, const char *hypervisor, char **why)
{
	int dir = open_dir(path, why), fd;

	if (dir < 0)
		return -1;
	fd = lock(dir, path, why);
	if (fd >= 0 && check_mark(dir, path, hypervisor, why) < 0) {
		close(fd);
		fd = -1;
	}
	close(dir);
	return fd;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

int xn_remove_folder(const char *path)
{
	return nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS) < 0 ? -errno : 0;
}
