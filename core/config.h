/*
 * Configuration: one table of keys; each is a command-line flag (--state-dir DIR) and a key of the
 * config file (state-dir = DIR). Unknown keys and bad values are
 * refused in words, with the file's line.
 */
#ifndef XN_CONFIG_H
#define XN_CONFIG_H

#include "core/base.h"
#include "core/error.h"

enum xn_config_type {
	XN_CONFIG_STRING,
	XN_CONFIG_INT,
	XN_CONFIG_BOOL, /* true, yes, on, false, no, off */
	XN_CONFIG_SIZE, /* bytes, or with K, M, G, T: powers of 1024 */
	XN_CONFIG_CHOICE,
	XN_CONFIG_ADDRESS, /* 127.0.0.1:80, [::1]:80 */
};

struct xn_config_key {
	const char *name; /* "state-dir" */
	enum xn_config_type type;
	const char *otherwise; /* default, as text; NULL: unset */
	const char *choices;   /* "sim|xen|auto" */
	int64_t min, max;      /* INT, SIZE */
	/* INT: "seconds" or "days", for what is no plain number. Numbers and sizes are at /metrics as
	 * xenolith_limit_NAME, behind which their unit stands where the name does not end in it; days as
	 * seconds. */
	const char *unit;
	const char *argument;  /* for --help: "DIR" */
	const char *doc;
};
extern const struct xn_config_key xn_config_keys[]; /* ends with .name == NULL */

struct xn_config;
struct xn_config *xn_config_new(void); /* every key at its default */
void xn_config_free(struct xn_config *config);
/* A command-line value wins over the file's. @where for the message: "line 3 of FILE", "--http".
 * Return 0, or -1 with a sentence in *why (the caller frees). */
int xn_config_set(struct xn_config *config, const char *name, const char *value,
		  bool from_command_line, const char *where, char **why);
int xn_config_load_file(struct xn_config *config, const char *path, char **why);
/* What the daemon itself settles (auto -> sim, default listeners): counts as given. */
void xn_config_decide(struct xn_config *config, const char *name, const char *value);

bool xn_config_is_set(const struct xn_config *config, const char *name); /* given, not defaulted */
const char *xn_config_string(const struct xn_config *config, const char *name); /* or NULL */
int64_t xn_config_int(const struct xn_config *config, const char *name);
bool xn_config_bool(const struct xn_config *config, const char *name);

#endif
