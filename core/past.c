/* See past.h. For modules/db/history, modules/history and modules/xenstore/history. */
#include "core/past.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "core/json.h"

static bool is_alnum(const char *name, size_t len, size_t at)
{
	return at < len && isalnum((unsigned char)name[at]);
}

/* Where @word, found at @at, ends; 0: it is not there. '_' in it is any separator, or none. */
static size_t end_of(const char *word, const char *name, size_t len, size_t at)
{
	for (; *word; word++) {
		if (*word == '_' && !is_alnum(name, len, at))
			at++;
		else if (*word != '_' &&
			 (at >= len || tolower((unsigned char)name[at++]) != *word))
			return 0;
	}
	return at;
}

bool xn_past_hides(const char *name, size_t len)
{
	static const struct {
		const char *text;
		bool is_alone; /* not as a part of another: "bypass", "passthrough" */
	} words[] = {{"passw"},	     {"passphrase"},  {"passcode"}, {"pass", true}, {"pwd"},
		     {"secret"},     {"token"},	      {"credential"}, {"chap", true},
		     {"private_key"}, {"api_key"}};

	for (size_t i = 0; i < XN_ARRAY_SIZE(words); i++)
		for (size_t at = 0; at < len; at++) {
			size_t end;

			if ((name[at] | 0x20) != *words[i].text) /* nearly always: each change asks */
				continue;
			end = end_of(words[i].text, name, len, at);
			if (end && !(words[i].is_alone && (is_alnum(name, len, end) ||
							   (at && is_alnum(name, len, at - 1)))))
				return true;
		}
	return false;
}

int64_t xn_past_now_us(void)
{
	struct timespec now;

	timespec_get(&now, TIME_UTC);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

void xn_past_print_value(const struct xn_value *v)
{
	struct xn_buf text XN_CLEANUP(xn_buf_clear_p) = {0};

	if (!v || v->kind == XN_NIL)
		xn_buf_add_char(&text, '-');
	else
		xn_json_write(v, &text);
	fputs(xn_buf_cstr(&text), stdout);
}

void xn_past_tell_limits(const struct xn_value *answer)
{
	const struct xn_value *oldest = xn_map_get(answer, "oldest");
	const char *time = oldest ? xn_map_get_string(oldest, "time") : NULL;

	fflush(stdout);
	if (oldest && !xn_map_get_bool(answer, "complete", true))
		fprintf(stderr,
			"xenolithd: history is not complete: it begins at %s, generation %" PRId64
			", with %zu gaps\n",
			time && *time ? time : "-", xn_map_get_int(oldest, "generation", 0),
			xn_set_len(xn_map_get(answer, "gaps")));
}
