/*
 * The daemon, given its modules: reads options, makes the core, starts the modules, runs the loop
 * until a signal says stop; or runs the command that was asked for (commands.h). Everything else is
 * in the modules.
 */
#include <inttypes.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "core/hmap.h"
#include "core/notify.h"
#include "core/state_dir.h"
#include "modules/commands.h"
#include "modules/daemon.h"
#include "modules/db/db.h"
#include "modules/domain/domain.h"
#include "modules/options.h"

enum { STOP_LIMIT_US = 900000, LARGE_BYTES = 1 << 20 };

struct daemon {
	const struct xn_module *const *list;
	struct xn_core core;
	struct xn_config *config;
	struct xn_log *log;
	struct xn_loop *loop;
	struct xn_modules *modules;
	int state_dir; /* lock */
	struct xn_turn_hook stall_watch;
	uint64_t stalls_told;
};

static void log_error(struct daemon *d, const struct xn_error *err)
{
	struct xn_buf text XN_CLEANUP(xn_buf_clear_p) = {0};

	xn_buf_add_string(&text, err->code);
	for (unsigned i = 0; i < err->n_params; i++)
		xn_buf_printf(&text, "%s %s", i ? "," : ":", err->params[i]);
	xn_log_error(d->log, "main", "cannot start: %s", xn_buf_cstr(&text));
}

struct xn_log *xn_daemon_log(const struct xn_config *config)
{
	static const char *const levels[] = {
		[XN_LOG_ERROR] = "error", [XN_LOG_WARN] = "warn", [XN_LOG_INFO] = "info",
		[XN_LOG_DEBUG] = "debug",
	};
	const char *level = xn_config_string(config, "log-level");
	int i = XN_LOG_DEBUG;

	while (i > XN_LOG_ERROR && strcmp(levels[i], level) != 0)
		i--;
	return xn_log_new(i, strcmp(xn_config_string(config, "log-format"), "json") == 0,
			  STDERR_FILENO);
}

/* Takes @loop. */
static void make_core(struct daemon *d, struct xn_loop *loop)
{
	d->loop = loop;
	xn_core_init(&d->core, loop, d->log, d->config);
	xn_bus_declare_publisher(d->core.bus, XN_EVENT_daemon_ready, "main");
	xn_bus_declare_publisher(d->core.bus, XN_EVENT_reload_asked, "main");
}

/* ---- serve ---- */

static void on_stop_signal(int signo, void *arg)
{
	struct daemon *d = arg;

	xn_log_info(d->log, "main", "signal %d (%s): stopping", signo, strsignal(signo));
	xn_notify("STOPPING=1");
	xn_loop_stop(d->loop);
}

static void on_reload_signal(int signo, void *arg)
{
	struct daemon *d = arg;
	struct xn_ev_reload_asked asked = {0};

	xn_publish_reload_asked(d->core.bus, &asked);
}

/* What hangs while stopping is treated as after SIGKILL; the promise is to be gone in a second. */
static void on_stop_limit(int signo)
{
	static const char text[] = "xenolithd: stopping took too long, leaving now\n";

	if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
		_exit(EXIT_FAILURE);
	_exit(EXIT_SUCCESS);
}

static void limit_stop(void)
{
	struct itimerval limit = {.it_value = {0, STOP_LIMIT_US}};

	signal(SIGALRM, on_stop_limit);
	setitimer(ITIMER_REAL, &limit, NULL);
}

/* A connection is a descriptor, and 10,000 idle ones are nothing special. */
static void raise_descriptor_limit(struct daemon *d)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
		xn_log_warn(d->log, "main", "cannot raise the limit of open files");
}

/* Where the first default listener lies; nobody else makes it on a machine without xapi. */
static void make_socket_folder(const struct xn_config *config)
{
	const char *path = xn_config_string(config, "socket");

	if (path && strcmp(path, XN_DEFAULT_SOCKET) == 0)
		(void)!mkdir("/var/lib/xcp", 0755); /* listening there tells what is wrong */
}

static void say_serving(struct daemon *d)
{
	xn_log_info(d->log, "main", "xenolithd " XN_VERSION " serves %s (state %s, hypervisor %s)",
		    d->core.addresses.len ? xn_buf_cstr(&d->core.addresses) : "nothing",
		    xn_config_string(d->config, "state-dir"),
		    xn_config_string(d->config, "hypervisor"));
}

static void check_bus(struct daemon *d)
{
	struct xn_buf why XN_CLEANUP(xn_buf_clear_p) = {0};
	char *rest, *line;

	if (xn_bus_check(d->core.bus, &why) == 0)
		return;
	rest = (char *)xn_buf_cstr(&why);
	while ((line = strsep(&rest, "\n")))
		if (*line)
			xn_log_error(d->log, "main", "%s", line);
}

static void tell_stalls(struct xn_turn_hook *hook)
{
	struct daemon *d = xn_container_of(hook, struct daemon, stall_watch);
	struct xn_stall_stats stats;

	xn_loop_stalls(d->loop, &stats, false);
	if (stats.over_10ms == d->stalls_told)
		return;
	d->stalls_told = stats.over_10ms;
	xn_log_warn(d->log, "main", "the loop stalled: %" PRIi64 " us at most, in %s",
		    stats.longest_us, stats.longest_name);
	xn_loop_stalls(d->loop, &stats, true);
}

static void watch_stalls(struct daemon *d)
{
	d->stall_watch.run = tell_stalls;
	xn_loop_add_turn_hook(d->loop, &d->stall_watch);
}

static int start(struct daemon *d)
{
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};
	struct xn_ev_daemon_ready ready = {0};

	make_core(d, xn_loop_new());
	xn_hash_set_seed(xn_random_u64(d->loop)); /* nobody can aim at one bucket */
	watch_stalls(d);
	xn_loop_on_signal(d->loop, SIGTERM, on_stop_signal, d);
	xn_loop_on_signal(d->loop, SIGINT, on_stop_signal, d);
	xn_loop_on_signal(d->loop, SIGHUP, on_reload_signal, d);
	d->modules = xn_modules_start(&d->core, d->list, &err);
	if (!d->modules || xn_db_settle(xn_db_of(&d->core), &err) < 0) {
		log_error(d, &err);
		return -1;
	}
	check_bus(d);
	xn_publish_daemon_ready(d->core.bus, &ready);
	return 0;
}

static int serve(struct daemon *d)
{
	char *why XN_CLEANUP(xn_free_p) = NULL;

	signal(SIGPIPE, SIG_IGN);
	umask(0077);
	raise_descriptor_limit(d);
	make_socket_folder(d->config);
	d->state_dir = xn_state_dir_hold(xn_config_string(d->config, "state-dir"),
					 xn_config_string(d->config, "hypervisor"), &why);
	if (d->state_dir < 0) {
		xn_log_error(d->log, "main", "%s", why);
		return EXIT_FAILURE;
	}
	if (start(d) < 0)
		return EXIT_FAILURE;
	say_serving(d);
	xn_notify("READY=1");
	xn_loop_run(d->loop);
	limit_stop();
	return EXIT_SUCCESS;
}

/* ---- main ---- */

static void clear(struct daemon *d)
{
	xn_modules_stop(d->modules);
	if (d->loop)
		xn_core_clear(&d->core);
	xn_loop_free(d->loop);
	xn_log_free(d->log);
	if (d->state_dir >= 0)
		close(d->state_dir);
}

static void log_notes(struct xn_log *log, struct xn_buf *notes)
{
	char *rest = (char *)xn_buf_cstr(notes), *line;

	while ((line = strsep(&rest, "\n")))
		if (*line)
			xn_log_warn(log, "main", "%s", line);
}

int xn_daemon_settle(struct xn_config *config, struct xn_log *log)
{
	const struct xn_machine machine = {.root = "", .has_libxl = xn_backend_has_libxl()};
	struct xn_buf notes XN_CLEANUP(xn_buf_clear_p) = {0};
	char *why XN_CLEANUP(xn_free_p) = NULL;

	if (xn_options_settle(config, &machine, &notes, &why) < 0) {
		fprintf(stderr, "xenolithd: %s\n", why);
		return -1;
	}
	log_notes(log, &notes);
	return 0;
}

int xn_daemon_describe(struct xn_config *config, const struct xn_module *const *modules,
		       void (*print)(const struct xn_core *core))
{
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};
	struct daemon d = {.list = modules, .config = config, .state_dir = -1};
	int status = EXIT_FAILURE;

	d.log = xn_daemon_log(config);
	make_core(&d, xn_loop_new_virtual(0));
	d.modules = xn_modules_init(&d.core, d.list, &err);
	if (d.modules) {
		print(&d.core);
		status = EXIT_SUCCESS;
	} else {
		log_error(&d, &err);
	}
	clear(&d);
	return status;
}

/* What a large call or answer needed goes back at once. glibc would raise both limits with the first
 * large buffer that it frees, and keep megabytes for every thread. */
static void keep_no_spare_memory(void)
{
#ifdef M_TRIM_THRESHOLD
	mallopt(M_MMAP_THRESHOLD, LARGE_BYTES);
	mallopt(M_TRIM_THRESHOLD, LARGE_BYTES);
#endif
}

static int settle_and_serve(const struct xn_invocation *in)
{
	struct daemon d = {.list = in->modules, .config = in->config, .state_dir = -1};
	int status = XN_EXIT_USAGE;

	keep_no_spare_memory();
	d.log = xn_daemon_log(d.config);
	if (xn_daemon_settle(d.config, d.log) == 0)
		status = serve(&d);
	clear(&d);
	return status;
}

int xn_daemon_main(int argc, char **argv, const struct xn_module *const *modules)
{
	struct xn_invocation in = {.modules = modules, .config = xn_config_new()};
	char *why XN_CLEANUP(xn_free_p) = NULL;
	struct xn_choice choice;
	int status = XN_EXIT_USAGE;

	if (xn_options_read(in.config, argc, argv, &choice, &why) < 0) {
		fprintf(stderr, "xenolithd: %s\n", why);
	} else {
		in.argument = choice.argument;
		in.operand = choice.operand;
		status = choice.command ? choice.command->run(&in) : settle_and_serve(&in);
	}
	xn_config_free(in.config);
	return status;
}
