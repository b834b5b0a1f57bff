/* See arguments.h. */
#include "rpc/xe/arguments.h"

#include <errno.h>
#include <stdlib.h>
#include <strings.h>

#include "core/value.h"

static const char *const general[] = {
	"server",   "password", "port",  "username", "minimal",		 "force",
	"multiple", "all",	"trace", "json",     "message-priority", NULL,
};

static const struct {
	const char *letter, *name;
} short_names[] = {
	{"-u", "username"}, {"-pw", "password"}, {"-s", "server"}, {"-h", "server"}, {"-p", "port"},
};

static const char *long_name(const char *word)
{
	for (size_t i = 0; i < XN_ARRAY_SIZE(short_names); i++)
		if (strcmp(word, short_names[i].letter) == 0)
			return short_names[i].name;
	return NULL;
}

/* The line at *at, terminated in place; *at moves behind it. NULL: that was all. */
static char *next_line(char **at, char *end)
{
	char *line = *at, *stop;

	if (line >= end)
		return NULL;
	stop = memchr(line, '\n', (size_t)(end - line));
	*at = stop ? stop + 1 : end;
	if (!stop)
		stop = end;
	if (stop > line && stop[-1] == '\r')
		stop--;
	*stop = '\0';
	return line;
}

static void add(struct xe_arguments *arguments, const char *name, const char *value)
{
	arguments->items[arguments->n++] = (struct xe_argument){name, value};
}

/* One word that is no option with a value in the next. */
static void add_word(struct xe_arguments *arguments, char *word)
{
	char *equals;

	if (strncmp(word, "--", 2) == 0) {
		add(arguments, word + 2, "true");
		return;
	}
	equals = strchr(word, '=');
	if (equals)
		*equals = '\0';
	add(arguments, word, equals ? equals + 1 : "");
}

static int read_words(struct xe_arguments *arguments, char *at, char *end, const char **why)
{
	char *word;

	while ((word = next_line(&at, end))) {
		if (word[0] == '-' && word[1] != '-') {
			const char *name = long_name(word);
			const char *value = name ? next_line(&at, end) : NULL;

			if (!value) {
				*why = name ? "an option without its value" : "an unknown option";
				return -1;
			}
			add(arguments, name, value);
		} else if (*word) {
			add_word(arguments, word);
		}
	}
	return 0;
}

int xe_arguments_parse(const char *body, size_t len, struct xe_arguments *arguments,
		       const char **why)
{
	static const char session[] = "session_id=";
	unsigned lines = 1;
	char *at, *end;

	*arguments = (struct xe_arguments){0};
	if (!xn_text_is_valid(body, len)) {
		*why = "what was given is no text in UTF-8";
		return -1;
	}
	for (size_t i = 0; i < len; i++)
		lines += body[i] == '\n';
	at = arguments->text = xn_strndup(body, len);
	end = at + len;
	arguments->items = xn_calloc(lines, sizeof(*arguments->items));
	arguments->command = next_line(&at, end);
	if (arguments->command &&
	    strncmp(arguments->command, session, sizeof(session) - 1) == 0) {
		arguments->session = arguments->command + sizeof(session) - 1;
		arguments->command = next_line(&at, end);
	}
	if (!arguments->command || !*arguments->command) {
		arguments->command = NULL;
		*why = "no command was given";
		return -1;
	}
	return read_words(arguments, at, end, why);
}

void xe_arguments_clear(struct xe_arguments *arguments)
{
	free(arguments->items);
	free(arguments->text);
	*arguments = (struct xe_arguments){0};
}

const char *xe_arguments_get(const struct xe_arguments *arguments, const char *name)
{
	for (unsigned i = 0; i < arguments->n; i++)
		if (strcmp(arguments->items[i].name, name) == 0)
			return arguments->items[i].value;
	return NULL;
}

bool xe_argument_is_general(const char *name)
{
	return xn_is_one_of(name, general);
}

bool xe_size_parse(const char *text, int64_t *bytes_out)
{
	static const struct {
		const char *suffix;
		unsigned shift;
	} units[] = {{"", 0},	 {"B", 0},   {"bytes", 0}, {"KiB", 10}, {"KB", 10}, {"K", 10},
		     {"MiB", 20}, {"MB", 20}, {"M", 20},    {"GiB", 30}, {"GB", 30}, {"G", 30},
		     {"TiB", 40}, {"TB", 40}, {"T", 40}};
	char *end;
	int64_t n;

	errno = 0;
	n = strtoll(text, &end, 10);
	if (errno || end == text || strchr(" \t\n\v\f\r+", *text))
		return false;
	for (size_t i = 0; i < XN_ARRAY_SIZE(units); i++) {
		if (strcasecmp(end, units[i].suffix) != 0)
			continue;
		return !__builtin_mul_overflow(n, INT64_C(1) << units[i].shift, bytes_out);
	}
	return false;
}

bool xe_bool_parse(const char *text, bool *out)
{
	static const char *const words[2][6] = {{"false", "f", "no", "n", "0", NULL},
						{"true", "t", "yes", "y", "1", NULL}};

	for (int is = 0; is < 2; is++)
		for (const char *const *w = words[is]; *w; w++)
			if (strcasecmp(text, *w) == 0) {
				*out = is;
				return true;
			}
	return false;
}

bool xe_arguments_have(const struct xe_arguments *arguments, const char *name)
{
	const char *text = xe_arguments_get(arguments, name);
	bool is = false;

	return text && xe_bool_parse(text, &is) && is;
}
