/*
 * Log lines; see log.h. A line is made in a buffer on the stack and given to the descriptor in one
 * write, and never waits: when a pipe or socket behind stderr is full, lines are lost and
 * counted.
 */
#include "core/log.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 4096 }; /* PIPE_BUF: a pipe that polls writable takes it whole */

struct xn_log {
	enum xn_log_level level;
	bool json, is_socket;
	int fd;
	unsigned dropped;
	int64_t (*wall_us)(void *arg);
	void *wall_arg;
};

struct line {
	char bytes[LINE_MAX_BYTES];
	size_t len;
	bool is_cut;
};

static const char *const level_names[] = {
	[XN_LOG_ERROR] = "error", [XN_LOG_WARN] = "warn", [XN_LOG_INFO] = "info",
	[XN_LOG_DEBUG] = "debug",
};

struct xn_log *xn_log_new(enum xn_log_level level, bool json, int fd)
{
	struct xn_log *log = xn_calloc(1, sizeof(*log));
	struct stat st;

	log->level = level;
	log->json = json;
	log->fd = fd;
	log->is_socket = fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode);
	return log;
}

void xn_log_free(struct xn_log *log)
{
	free(log);
}

void xn_log_set_clock(struct xn_log *log, int64_t (*wall_us)(void *arg), void *arg)
{
	log->wall_us = wall_us;
	log->wall_arg = arg;
}

bool xn_log_wants(const struct xn_log *log, enum xn_log_level level)
{
	return log && level <= log->level;
}

/* ---- a line ---- */

enum { LINE_RESERVE = 8 }; /* for the end: quote, brace, line feed */

static void add(struct line *line, const char *s, size_t len)
{
	if (line->is_cut || line->len + len > LINE_MAX_BYTES - LINE_RESERVE) {
		line->is_cut = true;
		return;
	}
	memcpy(line->bytes + line->len, s, len);
	line->len += len;
}

static void add_string(struct line *line, const char *s)
{
	add(line, s, strlen(s));
}

/* Length of the UTF-8 sequence at @s, or 0 when it is none. */
static size_t utf8_length(const unsigned char *s)
{
	size_t n = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3
		 : s[0] < 0xf5 ? 4 : 0;

	for (size_t i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
	    (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return n;
}

/* Text from anywhere: what could end the line, steer a terminal or break JSON is escaped. */
static void add_escaped(struct line *line, const char *text, bool json)
{
	const unsigned char *s = (const unsigned char *)text;

	while (*s && !line->is_cut) {
		size_t n = utf8_length(s);
		bool is_c1 = n == 2 && s[0] == 0xc2 && s[1] < 0xa0;
		char escape[8];

		if (n == 1 && (*s == '\\' || (*s == '"' && json))) {
			snprintf(escape, sizeof(escape), "\\%c", *s);
			add_string(line, escape);
		} else if (!n || *s < 0x20 || *s == 0x7f || is_c1) {
			n = is_c1 ? 2 : 1;
			snprintf(escape, sizeof(escape), json ? "\\u%04x" : "\\x%02x",
				 is_c1 ? s[1] : *s);
			add_string(line, escape);
		} else {
			add(line, (const char *)s, n);
		}
		s += n ? n : 1;
	}
}

static void add_time(struct line *line, const struct xn_log *log)
{
	int64_t wall_us;
	struct tm tm;
	time_t seconds;
	char text[80]; /* room for any int, as the compiler sees it */

	if (log->wall_us) {
		wall_us = log->wall_us(log->wall_arg);
	} else { /* before there is a loop */
		struct timespec ts;

		clock_gettime(CLOCK_REALTIME, &ts);
		wall_us = ts.tv_sec * INT64_C(1000000) + ts.tv_nsec / 1000;
	}
	seconds = wall_us / 1000000;
	gmtime_r(&seconds, &tm);
	snprintf(text, sizeof(text), "%04d-%02d-%02dT%02d:%02d:%02d.%06dZ", tm.tm_year + 1900,
		 tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
		 (int)(wall_us % 1000000));
	add_string(line, text);
}

static void add_member(struct line *line, const char *name, const char *value)
{
	add_string(line, ",\"");
	add_string(line, name);
	add_string(line, "\":\"");
	add_escaped(line, value, true);
	add_string(line, "\"");
}

static void make_json(struct line *line, const struct xn_log *log, enum xn_log_level level,
		      const char *module, const char *task, const char *trace, const char *text)
{
	add_string(line, "{\"time\":\"");
	add_time(line, log);
	add_string(line, "\"");
	add_member(line, "level", level_names[level]);
	add_member(line, "module", module);
	if (task && *task)
		add_member(line, "task", task);
	if (trace && *trace)
		add_member(line, "trace", trace);
	add_string(line, ",\"message\":\"");
	add_escaped(line, text, true);
	/* A long message was cut before its end; these fit into what add() keeps free. */
	memcpy(line->bytes + line->len, "\"}", 2);
	line->len += 2;
}

static void make_text(struct line *line, const struct xn_log *log, enum xn_log_level level,
		      const char *module, const char *task, const char *trace, const char *text)
{
	add_time(line, log);
	add_string(line, " ");
	add_string(line, level_names[level]);
	add_string(line, " ");
	add_string(line, module);
	if (task && *task) {
		add_string(line, " task=");
		add_escaped(line, task, false);
	}
	if (trace && *trace) {
		add_string(line, " trace=");
		add_escaped(line, trace, false);
	}
	add_string(line, ": ");
	add_escaped(line, text, false);
	if (line->is_cut) {
		memcpy(line->bytes + line->len, "...", 3);
		line->len += 3;
	}
}

static bool put(const struct xn_log *log, const struct line *line)
{
	struct pollfd pfd = {.fd = log->fd, .events = POLLOUT};
	ssize_t n;

	if (log->is_socket)
		return send(log->fd, line->bytes, line->len, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
	if (poll(&pfd, 1, 0) != 1 || !(pfd.revents & POLLOUT))
		return false;
	do
		n = write(log->fd, line->bytes, line->len);
	while (n < 0 && errno == EINTR);
	return n >= 0;
}

static bool write_line(const struct xn_log *log, enum xn_log_level level, const char *module,
		       const char *task, const char *trace, const char *text)
{
	struct line line;

	line.len = 0;
	line.is_cut = false;
	(log->json ? make_json : make_text)(&line, log, level, module, task, trace, text);
	line.bytes[line.len++] = '\n';
	return put(log, &line);
}

static void tell_dropped(struct xn_log *log)
{
	char text[64];

	snprintf(text, sizeof(text), "%u log lines were dropped: nobody read them", log->dropped);
	if (write_line(log, XN_LOG_WARN, "log", NULL, NULL, text))
		log->dropped = 0;
}

void xn_log_write(struct xn_log *log, enum xn_log_level level, const char *module,
		  const char *task, const char *trace, const char *fmt, ...)
{
	char text[LINE_MAX_BYTES];
	va_list ap;

	if (!xn_log_wants(log, level))
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (log->dropped)
		tell_dropped(log);
	if (log->dropped || !write_line(log, level, module, task, trace, text))
		log->dropped++;
}
