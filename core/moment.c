/* Moments and words of a question to history; see moment.h. */
#include "core/moment.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "core/value.h"

/* Up to six digits behind a point, as microseconds. NULL: none. */
static const char *take_fraction(const char *at, int64_t *us)
{
	int64_t unit = 100000;

	*us = 0;
	if (*at != '.' || !isdigit((unsigned char)at[1]))
		return *at == '.' ? NULL : at;
	for (at++; isdigit((unsigned char)*at); at++, unit /= 10)
		*us += (*at - '0') * unit;
	return at;
}

int xn_number_take(const char *text, const char **end, int64_t *out)
{
	char *stop;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	errno = 0;
	*out = strtoll(text, &stop, 10);
	*end = stop;
	return errno ? -EINVAL : 0;
}

static int parse_epoch(struct xn_moment *when, const char *text)
{
	int64_t s, us;
	const char *end;

	if (xn_number_take(text, &end, &s) < 0 || s > INT64_MAX / 1000001)
		return -EINVAL;
	end = take_fraction(end, &us);
	if (!end || *end)
		return -EINVAL;
	when->us = s * 1000000 + us;
	return 0;
}

/* What the XenAPI takes for a date, and a fraction of a second. */
static int parse_date(struct xn_moment *when, const char *text)
{
	const char *point = strchr(text, '.');
	char whole[64];
	int64_t s, us = 0;
	int len;

	if (!strpbrk(text, "Tt ") && strlen(text) == strlen("2026-11-21"))
		len = snprintf(whole, sizeof(whole), "%sT00:00:00Z", text);
	else if (point)
		len = snprintf(whole, sizeof(whole), "%.*s%s", (int)(point - text), text,
			       take_fraction(point, &us) ? take_fraction(point, &us) : "?");
	else
		len = snprintf(whole, sizeof(whole), "%s", text);
	if (len < 0 || (size_t)len >= sizeof(whole) || xn_date_parse(whole, &s) < 0)
		return -EINVAL;
	if (s > INT64_MAX / 1000001 || s < 0)
		return -EINVAL;
	when->us = s * 1000000 + us;
	return 0;
}

int xn_moment_parse(struct xn_moment *when, const char *text)
{
	size_t len = strlen(text);
	const char *end;
	int64_t n;

	if (!len || len >= sizeof(when->text))
		return -EINVAL;
	*when = (struct xn_moment){.is_given = true, .is_time = true};
	memcpy(when->text, text, len + 1);
	if (strcmp(text, "now") == 0) {
		when->is_now = true;
		return 0;
	}
	if (*text == '@')
		return parse_epoch(when, text + 1);
	if (xn_number_take(text, &end, &n) == 0 && !*end) {
		when->is_time = false;
		when->generation = (uint64_t)n;
		return 0;
	}
	return parse_date(when, text);
}

void xn_moment_print(int64_t us, char out[40])
{
	int64_t s = us / 1000000;
	time_t seconds = (time_t)s;
	struct tm tm = {0};
	size_t len;

	gmtime_r(&seconds, &tm);
	len = strftime(out, 40, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(out + len, 40 - len, ".%06uZ", (unsigned)(us - s * 1000000) % 1000000);
}

/* ---- a time's change ---- */

void xn_time_search_note(struct xn_time_search *search, int64_t us, uint64_t generation)
{
	if (us > search->us) {
		search->is_beyond = true;
	} else if (search->is_beyond || us < search->latest_us) {
		search->is_again = true;
	} else {
		search->last = generation;
		search->latest_us = us;
		search->is_again = false;
	}
}

char *xn_time_search_why_not(uint64_t first)
{
	return xn_asprintf("the clock was set back and may have shown this time twice: name a "
			   "generation, from %" PRIu64 " on",
			   first);
}

/* ---- words ---- */

char *xn_words_next(char **at)
{
	char *read = *at, *write, *word, quote = 0;

	while (isspace((unsigned char)*read))
		read++;
	if (!*read)
		return NULL;
	word = write = read;
	for (; *read && (quote || !isspace((unsigned char)*read)); read++) {
		if (quote ? *read == quote : *read == '\'' || *read == '"')
			quote = quote ? 0 : *read;
		else
			*write++ = *read;
	}
	*at = quote ? NULL : *read ? read + 1 : read;
	*write = '\0';
	return word;
}
