/*
 * QEMU as the back end of disks that the kernel cannot read (qcow2), for a PV or PVH domain that had
 * no such disk when it was built: libxl starts it only then, and a disk that is plugged later would
 * never connect. It is started as libxl starts it, and noted where libxl looks for it, so that it
 * ends with its domain and is there after a restart of the daemon.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "modules/domain/libxl/child.h"

enum { START_MS = 30000 };

/* Where packages put Xen's QEMU; libxl knows, and does not tell. */
static const char *const programs[] = {
	"/usr/libexec/xen-qemu-system-i386",
	"/usr/lib/xen/bin/qemu-system-i386",
	"/usr/local/lib/xen/bin/qemu-system-i386",
	"/usr/libexec/xen/bin/qemu-system-i386",
	"/usr/bin/qemu-system-i386",
};

static const char *find_program(void)
{
	for (size_t i = 0; i < XN_ARRAY_SIZE(programs); i++)
		if (access(programs[i], X_OK) == 0)
			return programs[i];
	return NULL;
}

static bool is_running(struct xn_libxl_child *child, const char *pid_key)
{
	unsigned len;
	char *pid = xs_read(child->xs, XBT_NULL, pid_key, &len);
	bool running = pid && atoi(pid) > 0 && kill(atoi(pid), 0) == 0;

	free(pid);
	return running;
}

/* In the new process: a session of its own, so that it outlives who asked for the disk. */
static void become(const char *program, uint32_t domid, const char *name)
{
	char id[16], control[128], log[64];
	const char *const argv[] = {
		program, "-xen-domid", id, "-no-shutdown", "-chardev", control, "-mon",
		"chardev=libxl-cmd,mode=control", "-nodefaults", "-no-user-config", "-xen-attach",
		"-name", name, "-vnc", "none", "-display", "none", "-nographic", "-machine",
		"xenpv", NULL,
	};
	int in, out;

	snprintf(id, sizeof(id), "%u", domid);
	snprintf(control, sizeof(control),
		 "socket,id=libxl-cmd,path=/var/run/xen/qmp-libxl-%u,server=on,wait=off", domid);
	snprintf(log, sizeof(log), "/var/log/xen/qemu-disks-%u.log", domid);
	setsid();
	in = open("/dev/null", O_RDONLY);
	out = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);
	if (out < 0)
		out = open("/dev/null", O_WRONLY);
	dup2(in, STDIN_FILENO);
	dup2(out, STDOUT_FILENO);
	dup2(out, STDERR_FILENO);
	close_range(STDERR_FILENO + 1, ~0U, 0);
	execv(program, (char *const *)argv);
	_exit(127);
}

/* Through a process in between, so that it is nobody's child here. Its id, or -errno. */
static pid_t spawn(const char *program, uint32_t domid, const char *name)
{
	pid_t between, server = -EIO;
	int pipe_fds[2];

	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return -errno;
	between = fork();
	if (between == 0) {
		server = fork();
		if (server == 0)
			become(program, domid, name);
		_exit(write(pipe_fds[1], &server, sizeof(server)) != sizeof(server));
	}
	close(pipe_fds[1]);
	if (between > 0) {
		if (read(pipe_fds[0], &server, sizeof(server)) != sizeof(server) || server <= 0)
			server = -EIO;
		waitpid(between, NULL, 0);
	}
	close(pipe_fds[0]);
	return server;
}

static bool says_running(struct xs_handle *xs, const char *state_key)
{
	unsigned len;
	char *state = xs_read(xs, XBT_NULL, state_key, &len);
	bool running = state && strcmp(state, "running") == 0;

	free(state);
	return running;
}

/* It says so in xenstore when it looks for disks. Watched on a connection for this alone: a watch
 * makes a thread, and what forks should have none. */
static int wait_until_running(const char *state_key, pid_t server)
{
	struct xs_handle *xs = xs_open(0);
	int64_t end = xn_libxl_now_ms() + START_MS;
	int rc = -ETIMEDOUT;
	struct pollfd fd;

	if (!xs || !xs_watch(xs, state_key, "disks")) {
		rc = -errno;
		if (xs)
			xs_close(xs);
		return rc;
	}
	fd = (struct pollfd){.fd = xs_fileno(xs), .events = POLLIN};
	while (rc == -ETIMEDOUT) {
		int64_t left = end - xn_libxl_now_ms();

		if (says_running(xs, state_key))
			rc = 0;
		else if (kill(server, 0) < 0)
			rc = -EIO;
		else if (left <= 0)
			break;
		else if (poll(&fd, 1, left < 1000 ? (int)left : 1000) > 0)
			free(xs_check_watch(xs));
	}
	xs_close(xs);
	return rc;
}

int xn_libxl_disk_server(struct xn_libxl_child *child, uint32_t domid)
{
	char *name XN_CLEANUP(xn_free_p) = NULL;
	char pid_key[64], state_key[64], text[16];
	const char *program;
	pid_t server;
	int rc;

	snprintf(pid_key, sizeof(pid_key), "/local/domain/%u/image/device-model-pid", domid);
	if (xn_libxl_domain_type(child, domid) == LIBXL_DOMAIN_TYPE_HVM ||
	    is_running(child, pid_key))
		return 0;
	program = find_program();
	if (!program)
		return xn_libxl_fail(child, -ENOENT, "no QEMU for Xen: it serves disks in qcow2");
	name = libxl_domid_to_name(child->ctx, domid);
	server = spawn(program, domid, name ? name : "");
	if (server < 0)
		return xn_libxl_fail(child, server, "cannot start QEMU");
	snprintf(text, sizeof(text), "%d", server);
	snprintf(state_key, sizeof(state_key), "/local/domain/0/device-model/%u/state", domid);
	rc = xs_write(child->xs, XBT_NULL, pid_key, text, strlen(text)) ? 0 : -errno;
	if (rc == 0)
		rc = wait_until_running(state_key, server);
	if (rc == 0)
		return 0;
	kill(server, SIGKILL);
	xs_rm(child->xs, XBT_NULL, pid_key);
	return xn_libxl_fail(child, rc, "QEMU did not come up to serve the disk");
}
