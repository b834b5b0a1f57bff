/* Command line, environment and ~/.xe; see settings.h. What is read later counts more. */
#include "rpc/xe/client/settings.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { FILE_MAX_BYTES = 65536, HEARTBEAT_S = 300 };

enum rank { FROM_FILE, FROM_VARIABLE, FROM_EXTRA_ARGS, FROM_COMMAND_LINE };

struct reader {
	struct xe_settings *settings;
	const struct xe_sources *sources;
	struct xn_buf *complaint;
	enum rank rank, username_rank, password_rank, password_file_rank;
	char *password_file;
	bool port_is_bad, help_is_wanted;
};

void xe_wipe(void *data, size_t len)
{
	if (data)
		explicit_bzero(data, len);
}

static void replace(char **text, const char *value)
{
	if (*text)
		xe_wipe(*text, strlen(*text));
	free(*text);
	*text = xn_strdup(value);
}

static void add_word(struct xe_words *words, const char *word)
{
	words->at = xn_realloc(words->at, (words->n + 1) * sizeof(*words->at));
	words->at[words->n++] = xn_strdup(word);
}

static void clear_words(struct xe_words *words)
{
	for (size_t i = 0; i < words->n; i++) {
		xe_wipe(words->at[i], strlen(words->at[i])); /* "-pw", "x" */
		free(words->at[i]);
	}
	free(words->at);
	*words = (struct xe_words){0};
}

static void add_words(struct xe_words *to, const struct xe_words *from)
{
	for (size_t i = 0; i < from->n; i++)
		add_word(to, from->at[i]);
}

/* ---- one setting ---- */

static int refuse(struct reader *r, const char *name, const char *value, const char *wanted)
{
	xn_buf_printf(r->complaint, "%s cannot be \"%s\": it takes %s.", name, value, wanted);
	return -EINVAL;
}

static int set_flag(struct reader *r, const char *name, const char *value, bool *flag)
{
	static const char *const yes[] = {"true", "yes", "t", "y", "1", NULL};
	static const char *const no[] = {"false", "no", "f", "n", "0", NULL};

	*flag = xn_is_one_of(value, yes);
	return *flag || xn_is_one_of(value, no) ? 0 : refuse(r, name, value, "true or false");
}

static int set_server(struct reader *r, const char *name, const char *value)
{
	replace(&r->settings->server, value);
	return 0;
}

static int set_port(struct reader *r, const char *name, const char *value)
{
	char *end;
	long port = strtol(value, &end, 10);

	if (!isdigit((unsigned char)*value) || *end || port < 1 || port > 65535) {
		r->port_is_bad = true;
		return refuse(r, "The port", value, "a number from 1 to 65535");
	}
	r->settings->port = (int)port;
	return 0;
}

static int set_username(struct reader *r, const char *name, const char *value)
{
	replace(&r->settings->username, value);
	r->username_rank = r->rank;
	return 0;
}

static int set_password(struct reader *r, const char *name, const char *value)
{
	replace(&r->settings->password, value);
	r->password_rank = r->rank;
	return 0;
}

static int set_password_file(struct reader *r, const char *name, const char *value)
{
	replace(&r->password_file, value);
	r->password_file_rank = r->rank;
	return 0;
}

static int set_nossl(struct reader *r, const char *name, const char *value)
{
	return set_flag(r, name, value, &r->settings->nossl);
}

static int set_debug(struct reader *r, const char *name, const char *value)
{
	return set_flag(r, name, value, &r->settings->debug);
}

static int set_debug_on_fail(struct reader *r, const char *name, const char *value)
{
	return set_flag(r, name, value, &r->settings->debug_on_fail);
}

static int set_traceparent(struct reader *r, const char *name, const char *value)
{
	replace(&r->settings->traceparent, value);
	return 0;
}

static int set_verify(struct reader *r, const char *name, const char *value)
{
	bool on;

	if (strcmp(value, "strict") == 0) {
		r->settings->verify = XE_VERIFY_STRICT;
		return 0;
	}
	if (set_flag(r, name, value, &on) < 0) {
		r->complaint->len = 0;
		return refuse(r, name, value, "yes, strict or no");
	}
	r->settings->verify = on ? XE_VERIFY : XE_VERIFY_NOT;
	return 0;
}

static int set_insecure(struct reader *r, const char *name, const char *value)
{
	r->settings->verify = XE_VERIFY_NOT;
	return 0;
}

static int set_fingerprint(struct reader *r, const char *name, const char *value)
{
	char hex[65];
	size_t n = 0;
	const char *p;

	for (p = strncasecmp(value, "sha256:", 7) == 0 ? value + 7 : value; *p; p++) {
		if (*p == ':')
			continue;
		if (!isxdigit((unsigned char)*p) || n == 64)
			break;
		hex[n++] = (char)tolower((unsigned char)*p);
	}
	if (*p || n != 64)
		return refuse(r, "The fingerprint", value,
			      "the 64 hexadecimal digits of SHA-256, as xe or openssl show them");
	hex[n] = '\0';
	replace(&r->settings->fingerprint, hex);
	return 0;
}

static int set_ca_file(struct reader *r, const char *name, const char *value)
{
	replace(&r->settings->ca_file, value);
	return 0;
}

static int set_colour(struct reader *r, const char *name, const char *value)
{
	static const char *const names[] = {"auto", "always", "never"};

	for (size_t i = 0; i < XN_ARRAY_SIZE(names); i++)
		if (strcmp(value, names[i]) == 0) {
			r->settings->colour = (enum xe_colour)i;
			return 0;
		}
	return refuse(r, name, value, "auto, always or never");
}

static int ignore(struct reader *r, const char *name, const char *value)
{
	return 0;
}

static const struct setting {
	const char *name; /* as in name=value */
	int (*set)(struct reader *r, const char *name, const char *value);
} settings_known[] = {
	{"server", set_server},
	{"port", set_port},
	{"username", set_username},
	{"password", set_password},
	{"passwordfile", set_password_file},
	{"nossl", set_nossl},
	{"debug", set_debug},
	{"debugonfail", set_debug_on_fail},
	{"traceparent", set_traceparent},
	{"debug_stunnel", ignore}, /* there is no stunnel here */
	{"verify", set_verify},
	{"--verify", set_verify},
	{"--fingerprint", set_fingerprint},
	{"--ca-file", set_ca_file},
	{"--color", set_colour},
	{"--colour", set_colour},
};

/* Spellings without "=". */
static const struct option {
	const char *name;
	bool takes_value;
	int (*set)(struct reader *r, const char *name, const char *value);
} options[] = {
	{"-s", true, set_server},
	{"-h", true, set_server},
	{"-p", true, set_port},
	{"-u", true, set_username},
	{"-pw", true, set_password},
	{"-pwf", true, set_password_file},
	{"--traceparent", true, set_traceparent},
	{"--nossl", false, set_nossl},
	{"--debug", false, set_debug},
	{"--debug-on-fail", false, set_debug_on_fail},
	{"--insecure", false, set_insecure},
};

/* 1: @word was a setting; 0: it is none; -EINVAL. */
static int set_by_equals(struct reader *r, const char *word)
{
	size_t len = strcspn(word, "=");

	for (size_t i = 0; word[len] && i < XN_ARRAY_SIZE(settings_known); i++) {
		const struct setting *known = &settings_known[i];

		if (strlen(known->name) == len && memcmp(known->name, word, len) == 0)
			return known->set(r, known->name, word + len + 1) < 0 ? -EINVAL : 1;
	}
	return 0;
}

static const struct option *find_option(const char *word)
{
	for (size_t i = 0; i < XN_ARRAY_SIZE(options); i++)
		if (strcmp(options[i].name, word) == 0)
			return &options[i];
	return NULL;
}

static bool asks_for_help(const char *word)
{
	return strcmp(word, "--help") == 0 || strcmp(word, "-help") == 0;
}

/*
 * Takes the settings out of @words; what is left goes to @rest. The word at *@point, unless that is
 * NULL, is one that the user still types: it is never a setting, and *@point becomes its place in
 * @rest, or -1: it is a setting's value.
 */
static int take_settings(struct reader *r, const struct xe_words *words, struct xe_words *rest,
			 long *point)
{
	long typed = point ? *point : -1;

	for (size_t i = 0; i < words->n; i++) {
		const char *word = words->at[i];
		const struct option *option = find_option(word);
		int rc;

		if (typed == (long)i) {
			*point = (long)rest->n;
			add_word(rest, word);
		} else if (asks_for_help(word)) {
			r->help_is_wanted = true;
		} else if (option && option->takes_value && i + 1 == words->n) {
			if (strcmp(word, "-h") != 0) {
				xn_buf_printf(r->complaint, "%s needs a value behind it.", word);
				return -EINVAL;
			}
			r->help_is_wanted = true; /* what else could it be */
		} else if (option) {
			if (option->takes_value && typed == (long)++i) {
				*point = -1;
				return 0;
			}
			if (option->set(r, option->name,
					option->takes_value ? words->at[i] : "true") < 0)
				return -EINVAL;
		} else {
			rc = set_by_equals(r, word);
			if (rc < 0)
				return rc;
			if (rc == 0)
				add_word(rest, word);
		}
	}
	return 0;
}

/* ---- where settings are ---- */

/* ~/.xe: "name=value" lines. One that is not discards all of them, with a warning. */
static int read_own_file(struct reader *r, struct xe_words *rest)
{
	const char *home = r->sources->variable("HOME");
	char *path XN_CLEANUP(xn_free_p) = xn_asprintf("%s/.xe", home ? home : "");
	char *text = home ? r->sources->file(path, FILE_MAX_BYTES) : NULL;
	struct xe_words words = {0};
	unsigned number = 0;
	int rc = 0;

	for (char *line = text, *next; line; line = next) {
		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		number++;
		line[strcspn(line, "\r")] = '\0';
		if (!*line || *line == '#')
			continue;
		if (!strchr(line, '=') || *line == '=') {
			xn_buf_printf(r->complaint,
				      "%s is ignored: its line %u is not of the form name=value.",
				      path, number);
			clear_words(&words);
			goto out;
		}
		add_word(&words, line);
	}
	r->rank = FROM_FILE;
	rc = take_settings(r, &words, rest, NULL);
	if (rc < 0)
		xn_buf_printf(r->complaint, " (%s)", path);
out:
	clear_words(&words);
	if (text)
		xe_wipe(text, strlen(text));
	free(text);
	return rc;
}

/* Commas part the words; "\," is a comma. */
static void split_extra_args(const char *text, struct xe_words *words)
{
	struct xn_buf word = {0};

	for (; *text; text++) {
		if (*text == ',') {
			add_word(words, xn_buf_cstr(&word));
			word.len = 0;
			continue;
		}
		if (*text == '\\' && text[1] == ',')
			text++;
		xn_buf_add_char(&word, *text);
	}
	if (word.len)
		add_word(words, xn_buf_cstr(&word));
	xn_buf_clear(&word);
}

static int read_environment(struct reader *r, struct xe_words *rest)
{
	static const struct {
		const char *name;
		int (*set)(struct reader *r, const char *name, const char *value);
	} variables[] = {
		{"XE_SERVER", set_server},
		{"XE_PORT", set_port},
		{"XE_USERNAME", set_username},
		{"XE_PASSWORD_FILE", set_password_file},
		{"XE_CA_FILE", set_ca_file},
		{"TRACEPARENT", set_traceparent},
	};
	const char *value;
	struct xe_words words = {0};
	int rc = 0;

	r->rank = FROM_VARIABLE;
	for (size_t i = 0; rc == 0 && i < XN_ARRAY_SIZE(variables); i++) {
		value = r->sources->variable(variables[i].name);
		if (value && *value)
			rc = variables[i].set(r, variables[i].name, value);
	}
	value = r->sources->variable("BAGGAGE");
	if (value)
		replace(&r->settings->baggage, value);
	value = r->sources->variable("XE_HEARTBEAT");
	if (value && atoi(value) > 0)
		r->settings->heartbeat_s = (unsigned)atoi(value);
	value = r->sources->variable("XE_EXTRA_ARGS");
	if (rc == 0 && value) {
		split_extra_args(value, &words);
		r->rank = FROM_EXTRA_ARGS;
		rc = take_settings(r, &words, rest, NULL);
		clear_words(&words);
	}
	return rc;
}

/* First line: the user's name, second: the password. */
static int read_password_file(struct reader *r)
{
	struct xe_settings *settings = r->settings;
	char *text, *password = NULL;

	if (!r->password_file || (settings->password && r->password_rank > r->password_file_rank))
		return 0;
	text = r->sources->file(r->password_file, FILE_MAX_BYTES);
	if (!text) {
		xn_buf_printf(r->complaint, "The password file %s cannot be read: %s.",
			      r->password_file, strerror(errno));
		return -EINVAL;
	}
	password = strchr(text, '\n');
	if (password) {
		*password++ = '\0';
		password[strcspn(password, "\r\n")] = '\0';
		text[strcspn(text, "\r")] = '\0';
		if (r->username_rank <= r->password_file_rank)
			replace(&settings->username, text);
		replace(&settings->password, password);
		xe_wipe(password, strlen(password));
	} else {
		xn_buf_printf(r->complaint,
			      "The password file %s needs two lines: the user's name, the password.",
			      r->password_file);
	}
	xe_wipe(text, strlen(text));
	free(text);
	return password ? 0 : -EINVAL;
}

/* What "ps" would show to others. */
static void hide_secrets(int argc, char **argv)
{
	static const char prefix[] = "password=";

	for (int i = 1; i < argc; i++) {
		char *secret = NULL;

		if (i > 1 && strcmp(argv[i - 1], "-pw") == 0)
			secret = argv[i];
		else if (strncmp(argv[i], prefix, sizeof(prefix) - 1) == 0)
			secret = argv[i] + sizeof(prefix) - 1;
		if (secret)
			memset(secret, 'x', strlen(secret));
	}
}

/* ---- completion: xe --complete POINT -- WORD... ---- */

static int read_completion(struct reader *r, int argc, char **argv, struct xe_words *rest)
{
	struct xe_words words = {0};
	long point = argc > 2 ? strtol(argv[2], NULL, 10) : -1;
	int rc;

	for (int i = 4; i < argc; i++)
		add_word(&words, argv[i]);
	if (point < 0 || point > (long)words.n || point > 10000) {
		clear_words(&words);
		xn_buf_add_string(r->complaint, "--complete takes the place of one of the words.");
		return -EINVAL;
	}
	if (point == (long)words.n)
		add_word(&words, "");
	r->settings->is_completion = true;
	r->rank = FROM_COMMAND_LINE;
	rc = take_settings(r, &words, rest, &point);
	clear_words(&words);
	if (rc < 0)
		return rc;
	if (point < 0) {
		clear_words(rest);
		return 0;
	}
	add_word(&words, "complete");
	add_word(&words, "");
	free(words.at[1]);
	words.at[1] = xn_asprintf("point=%ld", point);
	for (size_t i = 0; i < rest->n; i++) {
		char *line = xn_asprintf("line:%zu=%s", i, rest->at[i]);

		for (char *p = line; (p = strpbrk(p, "\r\n"));) /* lines part the arguments */
			*p = ' ';
		add_word(&words, line);
		free(line);
	}
	clear_words(rest);
	*rest = words;
	return 0;
}

/* ---- all of it ---- */

static int read_command_line(struct reader *r, int argc, char **argv, struct xe_words *rest)
{
	struct xe_words words = {0};
	int rc;

	if (argc == 2 && strcmp(argv[1], "-version") == 0) {
		r->settings->what = XE_VERSION;
		return 0;
	}
	if (argc == 2 && strcmp(argv[1], "--version") == 0) {
		r->settings->what = XE_OUR_VERSION;
		return 0;
	}
	if (argc > 1 && strcmp(argv[1], "--complete") == 0) {
		rc = read_completion(r, argc, argv, rest);
	} else {
		for (int i = 1; i < argc; i++)
			add_word(&words, argv[i]);
		r->rank = FROM_COMMAND_LINE;
		rc = take_settings(r, &words, rest, NULL);
		clear_words(&words);
	}
	hide_secrets(argc, argv);
	return rc;
}

int xe_settings_read(struct xe_settings *settings, int argc, char **argv,
		     const struct xe_sources *sources, struct xn_buf *complaint)
{
	struct reader r = {.settings = settings, .sources = sources, .complaint = complaint};
	struct xe_words from_file = {0}, from_environment = {0};
	int rc;

	*settings = (struct xe_settings){.heartbeat_s = HEARTBEAT_S};
	replace(&settings->server, XE_LOCAL_SERVER);
	replace(&settings->username, "root");
	rc = read_own_file(&r, &from_file);
	rc = rc ? rc : read_environment(&r, &from_environment);
	rc = rc ? rc : read_command_line(&r, argc, argv, &settings->words);
	if (rc == 0 && settings->what == XE_RUN && !settings->words.n && !settings->is_completion)
		settings->what = XE_USAGE;
	if (rc == 0 && r.help_is_wanted && settings->words.n && !settings->is_completion) {
		for (size_t i = 1; i < settings->words.n; i++)
			free(settings->words.at[i]);
		settings->words.n = 1;
		add_word(&settings->words, settings->words.at[0]);
		replace(&settings->words.at[0], "help");
	} else if (rc == 0 && settings->words.n && !settings->is_completion) {
		add_words(&settings->words, &from_environment);
		add_words(&settings->words, &from_file);
	}
	if (r.port_is_bad) { /* as the field's client: the usage, and no error for scripts */
		settings->what = XE_USAGE;
		rc = 0;
	}
	if (rc == 0 && settings->what == XE_RUN)
		rc = read_password_file(&r);
	clear_words(&from_file);
	clear_words(&from_environment);
	free(r.password_file);
	return rc;
}

void xe_settings_clear(struct xe_settings *settings)
{
	if (settings->password)
		xe_wipe(settings->password, strlen(settings->password));
	free(settings->server);
	free(settings->username);
	free(settings->password);
	free(settings->fingerprint);
	free(settings->ca_file);
	free(settings->traceparent);
	free(settings->baggage);
	clear_words(&settings->words);
	*settings = (struct xe_settings){0};
}

bool xe_server_is_socket(const char *server, const char **path_out)
{
	bool is_named = strncmp(server, "unix:", 5) == 0;

	*path_out = is_named ? server + 5 : server;
	return is_named || *server == '/';
}

/* ---- files ---- */

static void add_path_parts(struct xn_buf *out, const char *path)
{
	while (*path) {
		size_t len = strcspn(path, "/");

		if (len == 2 && memcmp(path, "..", 2) == 0) {
			while (out->len && out->data[--out->len] != '/')
				;
		} else if (len && !(len == 1 && *path == '.')) {
			xn_buf_add_char(out, '/');
			xn_buf_add(out, path, len);
		}
		path += len;
		path += *path == '/';
	}
}

char *xe_normalised_path(const char *path)
{
	struct xn_buf out = {0};
	char *folder = *path == '/' ? NULL : getcwd(NULL, 0);

	if (folder)
		add_path_parts(&out, folder);
	add_path_parts(&out, path);
	if (!out.len)
		xn_buf_add_char(&out, '/');
	free(folder);
	return xn_buf_steal(&out);
}

bool xe_settings_name_file(const struct xe_settings *settings, const char *path)
{
	char *wanted XN_CLEANUP(xn_free_p) = xe_normalised_path(path);

	for (size_t i = 0; i < settings->words.n; i++) {
		const char *value = strchr(settings->words.at[i], '=');
		char *named XN_CLEANUP(xn_free_p) = NULL;

		if (!value || !value[1])
			continue;
		named = xe_normalised_path(value + 1);
		if (strcmp(named, wanted) == 0)
			return true;
	}
	return false;
}

/* ---- the request's body ---- */

void xe_settings_write_body(const struct xe_settings *settings, struct xn_buf *body)
{
	const char *password = settings->password ? settings->password : "null";
	size_t len = strlen(settings->username) + strlen(password) + 64;

	for (size_t i = 0; i < settings->words.n; i++)
		len += strlen(settings->words.at[i]) + 1;
	xn_buf_reserve(body, len); /* it must not move and leave the password behind */
	for (size_t i = 0; i < settings->words.n; i++) {
		xn_buf_add_string(body, settings->words.at[i]);
		xn_buf_add_char(body, '\n');
	}
	xn_buf_add_string(body, "username=");
	xn_buf_add_string(body, settings->username);
	xn_buf_add_string(body, "\npassword=");
	xn_buf_add_string(body, password);
}
