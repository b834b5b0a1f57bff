/*
 * xe, the command line of Xenolith. It knows no commands: the daemon gets the words and says what to
 * print, fetch, ask (rpc/xe/protocol.h). Ties together settings.c (what to do), dial.c (where to) and
 * client.c (the conversation).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "rpc/xe/client/client.h"
#include "rpc/xe/client/dial.h"
#include "rpc/xe/client/interrupt.h"
#include "rpc/xe/client/terminal.h"

/* ---- the world, as settings.c and client.c see it ---- */

struct world {
	struct xe_settings settings;
	struct xe_dialled dialled;
};

static const char *read_variable(const char *name)
{
	return getenv(name);
}

static char *read_small_file(const char *path, size_t max)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *text;
	size_t len = 0;
	ssize_t n;

	if (fd < 0)
		return NULL;
	text = xn_malloc(max + 1);
	while (len < max && ((n = read(fd, text + len, max - len)) > 0 || (n < 0 && errno == EINTR)))
		len += n > 0 ? (size_t)n : 0;
	close(fd);
	text[len] = '\0';
	return text;
}

static struct xe_stream *dial_for_transfer(void *arg, const char *host, struct xn_buf *complaint)
{
	const struct world *world = arg;

	return xe_dial_transfer(&world->settings, &world->dialled, host, complaint);
}

static int open_file(void *arg, const char *path, int flags)
{
	int fd = open(path, flags, 0600);

	return fd < 0 ? -errno : fd;
}

static int64_t monotonic_ms(void *arg)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* ---- texts of its own ---- */

static void show_usage(void)
{
	fputs("Usage: xe COMMAND [OPTIONS] [NAME=VALUE]...\n"
	      "\n"
	      "  -s SERVER            a name, an address, or the path of a Unix socket (127.0.0.1)\n"
	      "  -p PORT              (443; 80 without TLS)\n"
	      "  -u USER              (root)\n"
	      "  -pw PASSWORD         asked for when it is needed and nobody gave it\n"
	      "  -pwf FILE            with the user's name and the password, a line each\n"
	      "  --nossl              no TLS: whoever listens sees the password\n"
	      "  --fingerprint=SHA256 of the server's certificate\n"
	      "  --verify=HOW         yes, strict (no trust on first use), no (--insecure)\n"
	      "  --ca-file=FILE       authorities to trust, instead of the system's\n"
	      "  --color=WHEN         auto, always, never\n"
	      "  --debug, --debug-on-fail, --traceparent VALUE, --version\n"
	      "\n"
	      "Defaults may be in ~/.xe (server=, port=, username=, passwordfile= ...) and in XE_EXTRA_ARGS.\n"
	      "\"xe help\" lists the commands, \"xe help COMMAND\" explains one; the manual is xe(1).\n",
	      stderr);
}

/* Words of the client itself, for who types "-". */
static void complete_options(const struct xe_settings *settings)
{
	static const char *const options[] = {
		"-s\tserver", "-p\tport", "-u\tuser", "-pw\tpassword", "-pwf\tfile with user and password",
		"--nossl\twithout TLS", "--fingerprint=\tof the server's certificate",
		"--verify=strict\tno trust on first use", "--insecure\tany certificate",
		"--ca-file=\tauthorities to trust", "--color=always\t", "--color=never\t",
		"--debug\tshow the conversation", "--debug-on-fail\t", "--minimal\tonly values",
	};
	const char *typed;
	size_t len;
	unsigned place;

	/* words: complete point=N line:0=... */
	if (settings->words.n < 3 || sscanf(settings->words.at[1], "point=%u", &place) != 1 ||
	    place + 2 >= settings->words.n)
		return;
	typed = strchr(settings->words.at[place + 2], '=') + 1;
	len = strlen(typed);
	for (size_t i = 0; *typed == '-' && i < XN_ARRAY_SIZE(options); i++)
		if (strncmp(options[i], typed, len) == 0)
			puts(options[i]);
	fflush(stdout);
}

/* ---- the conversation ---- */

/* Nobody asks for the password of who is known without one, or for what needs none. */
static bool needs_password(const struct world *world)
{
	const struct xe_settings *settings = &world->settings;
	const char *first = settings->words.at[0];

	return !settings->password && !world->dialled.is_trusted && !settings->is_completion &&
	       strcmp(first, "help") != 0 && strncmp(first, "session_id=", 11) != 0 &&
	       xe_terminal_can_ask();
}

static bool ask_password(struct world *world)
{
	char *question XN_CLEANUP(xn_free_p) =
		xn_asprintf("Password of %s on %s: ", world->settings.username, world->dialled.where);

	world->settings.password = xe_terminal_ask_secret(question);
	return world->settings.password != NULL;
}

static struct xe_stream *dial(struct world *world)
{
	struct xn_buf complaint XN_CLEANUP(xn_buf_clear_p) = {0};
	struct xe_stream *stream = xe_dial(&world->settings, &world->dialled, &complaint);

	if (stream && needs_password(world)) {
		/* A server would not wait for the typing. */
		xe_stream_free(stream);
		stream = ask_password(world) ?
				 xe_dial(&world->settings, &world->dialled, &complaint) : NULL;
	}
	if (!stream && complaint.len)
		fprintf(stderr, "%s\n", xn_buf_cstr(&complaint));
	return stream;
}

static int converse(struct world *world)
{
	const struct xe_outside outside = {
		.dial = dial_for_transfer, .open = open_file, .now_ms = monotonic_ms,
		.in = STDIN_FILENO, .out = STDOUT_FILENO, .err = STDERR_FILENO, .arg = world,
	};
	struct xe_client client = {
		.settings = &world->settings, .outside = &outside, .server = world->dialled.where,
		.progress.is_on = xe_terminal_can_draw(),
	};
	int code;

	client.control = dial(world);
	if (!client.control)
		return 1;
	code = xe_client_run(&client);
	xe_client_clear(&client);
	xe_stream_free(client.control);
	return code;
}

int main(int argc, char **argv)
{
	static const struct xe_sources sources = {read_variable, read_small_file};
	struct xn_buf complaint = {0};
	struct world world = {0};
	int code = 0;

	xe_interrupt_init();
	if (xe_settings_read(&world.settings, argc, argv, &sources, &complaint) < 0)
		code = 1;
	if (complaint.len)
		fprintf(stderr, "xe: %s\n", xn_buf_cstr(&complaint));
	if (code == 0) {
		switch (world.settings.what) {
		case XE_USAGE:
			show_usage();
			break;
		case XE_VERSION:
			printf("ThinCLI protocol: %d.%d\n", XE_MAJOR, XE_MINOR);
			break;
		case XE_OUR_VERSION:
			printf("xe " XN_VERSION " (Xenolith), ThinCLI protocol: %d.%d\n", XE_MAJOR, XE_MINOR);
			break;
		case XE_RUN:
			if (world.settings.is_completion)
				complete_options(&world.settings);
			if (world.settings.words.n)
				code = converse(&world);
			break;
		}
	}
	xn_buf_clear(&complaint);
	xe_settings_clear(&world.settings);
	return code;
}
