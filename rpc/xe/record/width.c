/*
 * How wide text is on a terminal, and text that is safe there: no control character of a name, no
 * change of direction, reaches it.
 */
#include "rpc/xe/record/width.h"

struct range {
	uint32_t first, last;
};

static const struct range wide[] = {
	{0x1100, 0x115f},   {0x231a, 0x231b},   {0x2e80, 0x303e},   {0x3041, 0x33ff},
	{0x3400, 0x4dbf},   {0x4e00, 0x9fff},   {0xa000, 0xa4cf},   {0xa960, 0xa97f},
	{0xac00, 0xd7a3},   {0xf900, 0xfaff},   {0xfe30, 0xfe6f},   {0xff00, 0xff60},
	{0xffe0, 0xffe6},   {0x1f300, 0x1f64f}, {0x1f680, 0x1f6ff}, {0x1f900, 0x1f9ff},
	{0x20000, 0x3fffd},
};
static const struct range none[] = {
	{0x0300, 0x036f}, {0x0483, 0x0489}, {0x0591, 0x05bd}, {0x0610, 0x061a},   {0x064b, 0x065f},
	{0x0e31, 0x0e31}, {0x0e34, 0x0e3a}, {0x1ab0, 0x1aff}, {0x1dc0, 0x1dff},   {0x200c, 0x200d},
	{0x20d0, 0x20ff}, {0xfe00, 0xfe0f}, {0xfe20, 0xfe2f}, {0xe0100, 0xe01ef},
};
/* Controls; marks and overrides of direction; what breaks lines; private tags. */
static const struct range unsafe[] = {
	{0x0000, 0x001f}, {0x007f, 0x009f}, {0x061c, 0x061c}, {0x200b, 0x200b}, {0x200e, 0x200f},
	{0x2028, 0x202e}, {0x2060, 0x206f}, {0xfeff, 0xfeff}, {0xfff0, 0xfffb}, {0xe0000, 0xe007f},
};

static bool is_in(const struct range *ranges, size_t n, uint32_t c)
{
	for (size_t i = 0; i < n && c >= ranges[i].first; i++)
		if (c <= ranges[i].last)
			return true;
	return false;
}

/* The character at @s and its length; bytes that are none are a character each, which is not safe.
 */
static size_t character(const char *s, uint32_t *out)
{
	const unsigned char *u = (const unsigned char *)s;
	size_t n = u[0] < 0x80 ? 1 : u[0] < 0xc0 ? 0 : u[0] < 0xe0 ? 2 : u[0] < 0xf0 ? 3 : 4;
	uint32_t c = n == 1 ? u[0] : u[0] & (0xff >> (n + 1));

	for (size_t i = 1; i < n; i++) {
		if ((u[i] & 0xc0) != 0x80) {
			n = 0;
			break;
		}
		c = c << 6 | (u[i] & 0x3f);
	}
	*out = n ? c : 0;
	return n ? n : 1;
}

static unsigned width_of(uint32_t c)
{
	if (c < 0x300)
		return 1;
	return is_in(none, XN_ARRAY_SIZE(none), c)   ? 0
	       : is_in(wide, XN_ARRAY_SIZE(wide), c) ? 2
						     : 1;
}

size_t xe_width(const char *s)
{
	size_t width = 0;
	uint32_t c;

	for (; *s; s += character(s, &c)) {
		character(s, &c);
		width += is_in(unsafe, XN_ARRAY_SIZE(unsafe), c) ? 1 : width_of(c);
	}
	return width;
}

size_t xe_width_add(const char *s, size_t most, struct xn_buf *out)
{
	bool is_cut = xe_width(s) > most;
	size_t width = 0, room = is_cut && most ? most - 1 : most;

	while (*s) {
		uint32_t c;
		size_t len = character(s, &c);
		bool is_unsafe = is_in(unsafe, XN_ARRAY_SIZE(unsafe), c);
		unsigned w = is_unsafe ? 1 : width_of(c);

		if (width + w > room)
			break;
		if (!is_unsafe)
			xn_buf_add(out, s, len);
		else if (c == '\n' || c == '\t')
			xn_buf_add_char(out, ' ');
		else
			xn_buf_add_string(out, "\xef\xbf\xbd"); /* U+FFFD */
		width += w;
		s += len;
	}
	if (is_cut && most) {
		xn_buf_add_string(out, "\xe2\x80\xa6"); /* ... */
		width++;
	}
	return width;
}

void xe_width_pad(size_t width, size_t wanted, struct xn_buf *out)
{
	for (; width < wanted; width++)
		xn_buf_add_char(out, ' ');
}
