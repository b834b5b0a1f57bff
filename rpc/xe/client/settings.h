/*
 * What one call of xe is to do and where: read from the command line, XE_EXTRA_ARGS, our own
 * environment variables and ~/.xe. The words that are not for the client itself stay as they are, for
 * the daemon: it alone knows commands. No connection is made here, no terminal touched.
 */
#ifndef XE_SETTINGS_H
#define XE_SETTINGS_H

#include "core/base.h"
#include "core/buf.h"

#define XE_LOCAL_SERVER "127.0.0.1"
#define XE_LOCAL_SOCKET "/var/lib/xcp/xapi"

enum xe_what {
	XE_RUN,
	XE_USAGE,   /* no command, --help, or a port that is none */
	XE_VERSION, /* of the protocol, for scripts that know "-version" */
	XE_OUR_VERSION,
};

enum xe_verify {
	XE_VERIFY,	  /* by a CA, else by what was seen first */
	XE_VERIFY_STRICT, /* what was never seen is refused */
	XE_VERIFY_NOT,
};

enum xe_colour { XE_COLOUR_AUTO, XE_COLOUR_ALWAYS, XE_COLOUR_NEVER };

struct xe_words {
	char **at;
	size_t n;
};

struct xe_settings {
	enum xe_what what;
	char *server; /* a name, an address, "/path" or "unix:/path" */
	int port;     /* 0: the transport's own */
	char *username, *password; /* password NULL: none was given */
	bool nossl, debug, debug_on_fail;
	enum xe_verify verify;
	char *fingerprint; /* 64 hex digits, or NULL */
	char *ca_file;	   /* or NULL: the system's */
	enum xe_colour colour;
	char *traceparent, *baggage; /* or NULL */
	struct xe_words words;	     /* for the daemon */
	bool is_completion;	     /* words are the daemon's question for completions */
	unsigned heartbeat_s;
};

/* Where it reads from, so that tests can give their own. */
struct xe_sources {
	const char *(*variable)(const char *name); /* NULL: not set */
	/* A whole file of at most @max bytes, terminated; NULL with errno. */
	char *(*file)(const char *path, size_t max);
};

/*
 * xe_settings_read - reads all of it
 * @argv: secrets in it are overwritten, so that they do not stay in the list of processes
 * @complaint: one sentence, also when it succeeds (a warning)
 *
 * Return: 0; -EINVAL: @complaint says why.
 */
int xe_settings_read(struct xe_settings *settings, int argc, char **argv,
		     const struct xe_sources *sources, struct xn_buf *complaint) XN_MUST_CHECK;
void xe_settings_clear(struct xe_settings *settings); /* and wipes the password */

bool xe_server_is_socket(const char *server, const char **path_out);

/* Whether the user's own words name the file @path, which the daemon asks for. */
bool xe_settings_name_file(const struct xe_settings *settings, const char *path);
/* Absolute, without "." and ".." and doubled slashes; symbolic links are not looked at. */
char *xe_normalised_path(const char *path);

/* The request's body. The caller wipes it. */
void xe_settings_write_body(const struct xe_settings *settings, struct xn_buf *body);

void xe_wipe(void *data, size_t len);

#endif
