/* Starting and ending processes; see process.h. */
#include "core/process.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int spawn(const char *const *argv, const char *const *env, const int *fds, unsigned n,
		 pid_t *pid_out)
{
	static const char *const plain_env[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C",
						NULL};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t all, none;
	int rc;

	sigfillset(&all);
	sigemptyset(&none);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF |
						POSIX_SPAWN_SETSIGMASK);
	posix_spawnattr_setpgroup(&attr, 0);
	posix_spawnattr_setsigdefault(&attr, &all);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawn_file_actions_init(&actions);
	for (unsigned i = 0; i < n; i++)
		posix_spawn_file_actions_adddup2(&actions, fds[i], (int)i);
#ifdef __GLIBC__
	posix_spawn_file_actions_addclosefrom_np(&actions, (int)n);
#endif
	rc = posix_spawn(pid_out, argv[0], &actions, &attr, (char *const *)argv,
			 (char *const *)(env ? env : plain_env));
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attr);
	return -rc;
}

int xn_process_start(const char *const *argv, const char *const *env, const int *fds, unsigned n,
		     struct xn_process *out)
{
	int rc = spawn(argv, env, fds, n, &out->pid);

	if (rc < 0)
		return rc;
	out->pid_fd = (int)syscall(SYS_pidfd_open, out->pid, 0);
	if (out->pid_fd >= 0)
		return 0;
	rc = -errno; /* one that cannot be watched is no use */
	xn_process_kill(out);
	waitpid(out->pid, NULL, 0);
	return rc;
}

bool xn_process_reap(struct xn_process *process, struct xn_process_end *out)
{
	int status = 0;

	if (waitpid(process->pid, &status, WNOHANG) == 0)
		return false;
	*out = (struct xn_process_end){.exit_status = -1};
	if (WIFEXITED(status))
		out->exit_status = WEXITSTATUS(status);
	else
		out->signal = WTERMSIG(status);
	return true;
}

void xn_process_kill(const struct xn_process *process)
{
	kill(-process->pid, SIGKILL);
}

void xn_process_abandon(struct xn_process *process)
{
	xn_process_kill(process);
	waitpid(process->pid, NULL, 0);
	close(process->pid_fd);
	process->pid_fd = -1;
}
