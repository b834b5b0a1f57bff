/* See terminal.h. */
#include "rpc/xe/client/terminal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "rpc/xe/client/interrupt.h"

enum { LINE_MAX_BYTES = 1 << 20 };

/* ---- what it is like ---- */

static bool is_dumb(void)
{
	const char *term = getenv("TERM");

	return !term || !*term || strcmp(term, "dumb") == 0;
}

unsigned xe_terminal_columns(int fd, unsigned if_unknown)
{
	const char *columns = getenv("COLUMNS");
	struct winsize size;

	if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col)
		return size.ws_col;
	return columns && atoi(columns) > 0 ? (unsigned)atoi(columns) : if_unknown;
}

bool xe_terminal_can_draw(void)
{
	return isatty(STDERR_FILENO) && !is_dumb();
}

static bool wants_colour(const struct xe_settings *settings)
{
	const char *never = getenv("NO_COLOR");

	if (settings->colour != XE_COLOUR_AUTO)
		return settings->colour == XE_COLOUR_ALWAYS;
	return isatty(STDOUT_FILENO) && !is_dumb() && !(never && *never);
}

void xe_terminal_describe(const struct xe_settings *settings, struct xn_buf *out)
{
	if (isatty(STDOUT_FILENO))
		xn_buf_printf(out, "columns=%u ", xe_terminal_columns(STDOUT_FILENO, 80));
	if (wants_colour(settings))
		xn_buf_add_string(out, "colour ");
	if (isatty(STDIN_FILENO))
		xn_buf_add_string(out, "stdin ");
	if (isatty(STDERR_FILENO))
		xn_buf_add_string(out, "stderr ");
	if (out->len)
		out->len--;
}

/* ---- questions ---- */

bool xe_terminal_can_ask(void)
{
	return isatty(STDIN_FILENO) && isatty(STDERR_FILENO);
}

bool xe_read_line(int fd, struct xn_buf *line)
{
	char c;
	ssize_t n;

	for (;;) {
		n = read(fd, &c, 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return line->len > 0;
		if (c == '\n' || line->len == LINE_MAX_BYTES)
			return true;
		xn_buf_add_char(line, c);
	}
}

bool xe_terminal_confirm(const char *question, bool drop_input)
{
	static const char *const yes[] = {"y", "Y", "yes", "Yes", "YES", NULL};
	struct xn_buf line = {0};
	bool confirmed;

	if (drop_input)
		tcflush(STDIN_FILENO, TCIFLUSH);
	fputs(question, stderr);
	fflush(stderr);
	if (!xe_read_line(STDIN_FILENO, &line))
		fputc('\n', stderr);
	confirmed = xn_is_one_of(xn_buf_cstr(&line), yes);
	xn_buf_clear(&line);
	return confirmed;
}

char *xe_terminal_ask_secret(const char *question)
{
	struct termios saved, silent;
	struct xn_buf line = {0};
	bool is_there;

	xn_buf_reserve(&line, 4096); /* it should not move */
	if (tcgetattr(STDIN_FILENO, &saved) < 0)
		return NULL;
	silent = saved;
	silent.c_lflag &= ~(tcflag_t)ECHO;
	silent.c_lflag |= ECHONL;
	xe_interrupt_restores(&saved);
	tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent);
	fputs(question, stderr);
	fflush(stderr);
	is_there = xe_read_line(STDIN_FILENO, &line);
	xe_terminal_put_back(&saved);
	if (!is_there) {
		xn_buf_clear(&line);
		return NULL;
	}
	return xn_buf_steal(&line);
}

/* ---- the console's ---- */

int xe_terminal_make_raw(struct termios *saved_out)
{
	struct termios raw;

	if (tcgetattr(STDIN_FILENO, saved_out) < 0)
		return -errno;
	raw = *saved_out;
	cfmakeraw(&raw);
	xe_interrupt_restores(saved_out);
	tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
	return 0;
}

void xe_terminal_put_back(const struct termios *saved)
{
	tcsetattr(STDIN_FILENO, TCSADRAIN, saved);
	xe_interrupt_restores(NULL);
}
