/* See progress.h. */
#include "rpc/xe/client/progress.h"

#include <stdio.h>
#include <unistd.h>

#include "rpc/xe/client/interrupt.h"
#include "rpc/xe/client/terminal.h"

enum { BAR = 24, FIRST_AFTER_MS = 300, EVERY_MS = 100 };


/* At most @columns of @text, and nothing that moves the cursor. */
static void add_text(struct xn_buf *out, const char *text, size_t len, unsigned columns)
{
	unsigned n = 0;

	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];

		n += (c & 0xc0) != 0x80;
		if (n > columns)
			break;
		/* C1 controls are c2 80 to c2 9f. */
		if (c == 0xc2 && i + 1 < len && (unsigned char)text[i + 1] < 0xa0) {
			xn_buf_add_char(out, '?');
			i++;
			continue;
		}
		xn_buf_add_char(out, c < 0x20 || c == 0x7f ? '?' : (char)c);
	}
}

void xe_progress_format(struct xn_buf *out, const char *text, size_t len, int thousandths,
			const char *behind, unsigned columns)
{
	unsigned room = columns > 1 ? columns - 1 : 1; /* the last column makes some of them wrap */
	unsigned tail = (unsigned)strlen(behind) + (*behind ? 2 : 0);
	bool has_bar = thousandths >= 0 && room >= BAR + 9 + tail + 8;
	unsigned taken = tail + (has_bar ? BAR + 9 : thousandths >= 0 ? 6 : 0);

	thousandths = thousandths > 1000 ? 1000 : thousandths;
	if (room > taken) {
		add_text(out, text, len, room - taken);
		if (has_bar)
			xn_buf_printf(out, "  [%.*s%.*s]", thousandths * BAR / 1000,
				      "########################", BAR - thousandths * BAR / 1000,
				      "........................");
		if (thousandths >= 0)
			xn_buf_printf(out, " %3d%%", thousandths / 10);
	}
	if (tail && tail <= room)
		xn_buf_printf(out, "  %s", behind);
}

static void draw(struct xe_progress *progress, const char *text, size_t len, int thousandths,
		 const char *behind)
{
	struct xn_buf line = {0};
	ssize_t n XN_UNUSED;

	xn_buf_add_string(&line, "\r\033[K");
	xe_progress_format(&line, text, len, thousandths, behind,
			   xe_terminal_columns(STDERR_FILENO, 80));
	xe_interrupt_wipes_line(true);
	n = write(STDERR_FILENO, line.data, line.len);
	progress->is_shown = true;
	xn_buf_clear(&line);
}

void xe_progress_show(struct xe_progress *progress, const char *text, size_t len, int thousandths)
{
	if (progress->is_on)
		draw(progress, text, len, thousandths, "");
}

static void add_bytes(char *out, size_t room, double n, const char *behind)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
	size_t unit = 0;

	for (; n >= 1024 && unit + 1 < XN_ARRAY_SIZE(units); unit++)
		n /= 1024;
	snprintf(out, room, unit && n < 100 ? "%.1f %s%s" : "%.0f %s%s", n, units[unit], behind);
}

void xe_progress_begin(struct xe_progress *progress, int64_t now_ms)
{
	progress->began_ms = now_ms;
	progress->drawn_ms = now_ms + FIRST_AFTER_MS - EVERY_MS;
}

void xe_progress_count(struct xe_progress *progress, const char *name, int64_t done, int64_t total,
		       int64_t now_ms)
{
	int64_t took = now_ms - progress->began_ms;
	char size[32], rate[32], behind[72];

	if (!progress->is_on || now_ms - progress->drawn_ms < EVERY_MS)
		return;
	progress->drawn_ms = now_ms;
	add_bytes(size, sizeof(size), (double)done, "");
	add_bytes(rate, sizeof(rate), took > 0 ? (double)done * 1000 / (double)took : 0, "/s");
	snprintf(behind, sizeof(behind), "%s  %s", size, rate);
	draw(progress, name, strlen(name), total > 0 ? (int)((double)done * 1000 / (double)total) : -1,
	     behind);
}

void xe_progress_clear(struct xe_progress *progress)
{
	static const char wipe[] = "\r\033[K";
	ssize_t n XN_UNUSED;

	if (!progress->is_shown)
		return;
	n = write(STDERR_FILENO, wipe, sizeof(wipe) - 1);
	progress->is_shown = false;
	xe_interrupt_wipes_line(false);
}
