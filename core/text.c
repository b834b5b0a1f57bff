/* Text that the API can carry, and its dates; declared in value.h. */
#include "core/value.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

/* Length of the valid UTF-8 sequence at @s (RFC 3629 table 3-7), or 0. */
static size_t sequence(const unsigned char *s, size_t left)
{
	if (s[0] < 0x80)
		return 1;
	if (s[0] >= 0xc2 && s[0] <= 0xdf)
		return left >= 2 && (s[1] & 0xc0) == 0x80 ? 2 : 0;
	if (s[0] >= 0xe0 && s[0] <= 0xef) {
		unsigned char low = s[0] == 0xe0 ? 0xa0 : 0x80;
		unsigned char high = s[0] == 0xed ? 0x9f : 0xbf; /* no surrogates */

		return left >= 3 && s[1] >= low && s[1] <= high && (s[2] & 0xc0) == 0x80 ? 3 : 0;
	}
	if (s[0] >= 0xf0 && s[0] <= 0xf4) {
		unsigned char low = s[0] == 0xf0 ? 0x90 : 0x80;
		unsigned char high = s[0] == 0xf4 ? 0x8f : 0xbf;

		return left >= 4 && s[1] >= low && s[1] <= high && (s[2] & 0xc0) == 0x80 &&
				       (s[3] & 0xc0) == 0x80 ? 4 : 0;
	}
	return 0;
}

/* Length of the character at @s that XML 1.0 can carry, or 0. */
static size_t character(const unsigned char *s, size_t left)
{
	size_t n;

	if (*s >= 0x20 && *s < 0x80)
		return 1;
	if (*s < 0x20)
		return *s == '\t' || *s == '\n' || *s == '\r';
	n = sequence(s, left);
	return n == 3 && s[0] == 0xef && s[1] == 0xbf && s[2] >= 0xbe ? 0 : n; /* U+FFFE, U+FFFF */
}

bool xn_text_is_valid(const char *text, size_t len)
{
	const unsigned char *s = (const unsigned char *)text;

	while (len) {
		size_t n = character(s, len);

		if (!n)
			return false;
		s += n;
		len -= n;
	}
	return true;
}

size_t xn_text_fit(const char *text, size_t max)
{
	size_t len = strnlen(text, max + 1);

	if (len <= max)
		return len;
	for (len = max; len && ((unsigned char)text[len] & 0xc0) == 0x80;)
		len--;
	return len;
}

void xn_text_copy(char *out, size_t size, const char *text)
{
	size_t len = xn_text_fit(text, size - 1);

	memcpy(out, text, len);
	out[len] = '\0';
}

void xn_text_recode(const char *text, size_t len, struct xn_buf *out)
{
	const unsigned char *s = (const unsigned char *)text;

	while (len) {
		size_t n = 0, good;

		while (n < len && (good = character(s + n, len - n)))
			n += good;
		xn_buf_add(out, s, n);
		if (n < len) {
			xn_buf_add_string(out, "\xef\xbf\xbd");
			n++;
		}
		s += n;
		len -= n;
	}
}

void xn_date_print(int64_t epoch_seconds, char out[19])
{
	time_t t = (time_t)epoch_seconds;
	struct tm tm;

	/* Only years 0 to 9999 have this form; what is outside shows as never. */
	if (!gmtime_r(&t, &tm) || tm.tm_year < -1900 || tm.tm_year > 8099) {
		t = 0;
		gmtime_r(&t, &tm);
	}
	snprintf(out, 19, "%04u%02u%02uT%02u:%02u:%02uZ", (unsigned)(tm.tm_year + 1900) % 10000u,
		 (unsigned)(tm.tm_mon + 1) % 100u, (unsigned)tm.tm_mday % 100u,
		 (unsigned)tm.tm_hour % 100u, (unsigned)tm.tm_min % 100u,
		 (unsigned)tm.tm_sec % 100u);
}

/* Exactly @digits decimal digits at **p. */
static int number(const char **p, int digits)
{
	int n = 0;

	while (digits--) {
		if (**p < '0' || **p > '9')
			return -1;
		n = n * 10 + (*(*p)++ - '0');
	}
	return n;
}

static void skip(const char **p, char c)
{
	if (**p == c)
		(*p)++;
}

/* "", "Z", "+HH:MM", "-HHMM": minutes east of UTC. */
static int parse_zone(const char *p, int *minutes_out)
{
	int sign, hours, minutes;

	*minutes_out = 0;
	if (!*p || ((*p == 'Z' || *p == 'z') && !p[1]))
		return 0;
	if (*p != '+' && *p != '-')
		return -EINVAL;
	sign = *p++ == '-' ? -1 : 1;
	hours = number(&p, 2);
	if (hours < 0)
		return -EINVAL;
	skip(&p, ':');
	minutes = *p ? number(&p, 2) : 0;
	if (minutes < 0 || *p || hours > 23 || minutes > 59)
		return -EINVAL;
	*minutes_out = sign * (hours * 60 + minutes);
	return 0;
}

static int days_in_month(int year, int month)
{
	static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

	return days[month - 1] + (month == 2 && leap);
}

int xn_date_parse(const char *text, int64_t *epoch_seconds_out)
{
	const char *p = text;
	struct tm tm = {0};
	int year, month, day, hour, minute, second, zone;

	year = number(&p, 4);
	skip(&p, '-');
	month = number(&p, 2);
	skip(&p, '-');
	day = number(&p, 2);
	if (year < 0 || month < 1 || month > 12 || day < 1 || day > days_in_month(year, month))
		return -EINVAL;
	if (*p != 'T' && *p != 't' && *p != ' ')
		return -EINVAL;
	p++;
	hour = number(&p, 2);
	skip(&p, ':');
	minute = number(&p, 2);
	skip(&p, ':');
	second = number(&p, 2);
	if (hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 60)
		return -EINVAL;
	if (*p == '.' && p[1] >= '0' && p[1] <= '9')
		for (p++; *p >= '0' && *p <= '9';)
			p++;
	if (parse_zone(p, &zone) < 0)
		return -EINVAL;

	tm.tm_year = year - 1900;
	tm.tm_mon = month - 1;
	tm.tm_mday = day;
	tm.tm_hour = hour;
	tm.tm_min = minute;
	tm.tm_sec = second;
	*epoch_seconds_out = (int64_t)timegm(&tm) - (int64_t)zone * 60;
	return 0;
}

bool xn_value_add_plain(const struct xn_value *v, struct xn_buf *out)
{
	char date[19];

	switch ((enum xn_kind)v->kind) {
	case XN_STRING:
		xn_buf_add(out, xn_value_string(v), xn_value_string_len(v));
		return true;
	case XN_INT:
		xn_buf_add_int(out, xn_value_int(v));
		return true;
	case XN_BOOL:
		xn_buf_add_string(out, xn_value_bool(v) ? "true" : "false");
		return true;
	case XN_DATETIME:
		xn_date_print(xn_value_int(v), date);
		xn_buf_add_string(out, date);
		return true;
	default:
		return false;
	}
}
