/* See trust.h. */
#include "rpc/xe/client/trust.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "rpc/xe/client/terminal.h"

static const char prefix[] = "sha256:";

/* ---- the file ---- */

static char *file_path(void)
{
	const char *path = getenv("XE_KNOWN_HOSTS");
	const char *home = getenv("HOME");

	if (path && *path)
		return xn_strdup(path);
	return home && *home ? xn_asprintf("%s/.xe-known-hosts", home) : NULL;
}

/* One line: whether it is about @place, and which fingerprint it gives. */
static bool parse_line(char *line, const char *place, char fingerprint[XE_FINGERPRINT])
{
	char *save = NULL;
	char *name = strtok_r(line, " \t\r\n", &save);
	char *pin = name && *name != '#' ? strtok_r(NULL, " \t\r\n", &save) : NULL;

	if (!pin || strcasecmp(name, place) != 0 || strncmp(pin, prefix, sizeof(prefix) - 1) != 0)
		return false;
	pin += sizeof(prefix) - 1;
	if (strlen(pin) != XE_FINGERPRINT - 1 || strspn(pin, "0123456789abcdefABCDEF") != strlen(pin))
		return false;
	for (size_t i = 0; i < XE_FINGERPRINT; i++)
		fingerprint[i] = (char)tolower((unsigned char)pin[i]);
	return true;
}

/* The last line counts: a new one may be added behind an old one. */
static void search(struct xe_trust *trust, FILE *file)
{
	char *line = NULL;
	size_t room = 0;
	unsigned number = 0;

	while (getline(&line, &room, file) >= 0) {
		number++;
		if (parse_line(line, trust->place, trust->pinned))
			trust->line = number;
	}
	free(line);
}

static int add(const struct xe_trust *trust, const char *fingerprint)
{
	char *line XN_CLEANUP(xn_free_p) =
		xn_asprintf("%s %s%s\n", trust->place, prefix, fingerprint);
	size_t len = strlen(line);
	int fd, rc = 0;

	if (!trust->path)
		return -ENOENT;
	fd = open(trust->path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	if (write(fd, line, len) != (ssize_t)len)
		rc = -EIO;
	close(fd);
	return rc;
}

int xe_trust_init(struct xe_trust *trust, const struct xe_settings *settings, const char *host,
		  int port, struct xn_buf *complaint)
{
	FILE *file;
	struct stat st;
	int rc = 0;

	*trust = (struct xe_trust){.settings = settings, .path = file_path()};
	trust->place = xn_asprintf(strchr(host, ':') ? "[%s]:%d" : "%s:%d", host, port);
	for (char *p = trust->place; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	if (!trust->path || settings->verify == XE_VERIFY_NOT || settings->fingerprint)
		return 0;
	file = fopen(trust->path, "re");
	if (!file)
		return 0;
	/* /dev/null remembers nothing, which may be wanted. */
	if (fstat(fileno(file), &st) == 0 && S_ISREG(st.st_mode) &&
	    ((st.st_uid != geteuid() && st.st_uid != 0) || (st.st_mode & 022))) {
		xn_buf_printf(complaint,
			      "Others can write %s, so it proves nothing: chmod 600 it, if its lines are yours.",
			      trust->path);
		rc = -EACCES;
	} else {
		search(trust, file);
	}
	fclose(file);
	return rc;
}

void xe_trust_clear(struct xe_trust *trust)
{
	free(trust->place);
	free(trust->path);
	*trust = (struct xe_trust){0};
}

/* ---- the decision ---- */

bool xe_trust_needs_cas(const struct xe_trust *trust)
{
	return trust->settings->verify != XE_VERIFY_NOT && !trust->settings->fingerprint &&
	       !*trust->pinned;
}

/* As openssl prints it, to compare by eye. */
static void add_pretty(struct xn_buf *out, const char *fingerprint)
{
	for (size_t i = 0; fingerprint[i]; i++) {
		if (i && i % 2 == 0)
			xn_buf_add_char(out, ':');
		xn_buf_add_char(out, (char)toupper((unsigned char)fingerprint[i]));
	}
}

static int refuse_changed(const struct xe_trust *trust, const struct xe_peer *peer,
			  struct xn_buf *complaint)
{
	xn_buf_printf(complaint,
		      "The certificate of %s has changed, so nothing was sent: somebody may be in between.\n"
		      "If the change is expected (its SHA-256 fingerprint is now ", trust->place);
	add_pretty(complaint, peer->fingerprint);
	xn_buf_printf(complaint, "), remove line %u of %s and try again.", trust->line, trust->path);
	return -EACCES;
}

static int refuse_other(const struct xe_trust *trust, const struct xe_peer *peer,
			struct xn_buf *complaint)
{
	xn_buf_printf(complaint,
		      "The certificate of %s is not the one of --fingerprint, so nothing was sent: its SHA-256 fingerprint is ",
		      trust->place);
	add_pretty(complaint, peer->fingerprint);
	xn_buf_add_char(complaint, '.');
	return -EACCES;
}

static int refuse_unknown(const struct xe_trust *trust, const struct xe_peer *peer,
			  struct xn_buf *complaint)
{
	xn_buf_printf(complaint,
		      "The certificate of %s is not trusted (%s), so nothing was sent.\n"
		      "If it is the right one, say so with --fingerprint=",
		      trust->place, peer->why_not);
	add_pretty(complaint, peer->fingerprint);
	return -EACCES;
}

static bool ask(const struct xe_trust *trust, const struct xe_peer *peer)
{
	struct xn_buf question = {0};
	bool yes;

	xn_buf_printf(&question,
		      "This is the first time that xe meets %s, and its certificate cannot be verified (%s).\n"
		      "SHA-256 fingerprint: ", trust->place, peer->why_not);
	add_pretty(&question, peer->fingerprint);
	xn_buf_add_string(&question,
			  "\nIs it the right one, to be trusted from now on? [yes/no] ");
	yes = xe_terminal_confirm(xn_buf_cstr(&question), false);
	xn_buf_clear(&question);
	return yes;
}

/* A script has nobody to ask; it is told once, and protected from then on. */
static void tell_first_use(const struct xe_trust *trust, const struct xe_peer *peer)
{
	struct xn_buf text = {0};

	xn_buf_printf(&text, "xe: %s is met for the first time; its certificate is trusted from now on, SHA-256 ",
		      trust->place);
	add_pretty(&text, peer->fingerprint);
	fprintf(stderr, "%s\n", xn_buf_cstr(&text));
	xn_buf_clear(&text);
}

int xe_trust_decide(const struct xe_trust *trust, const struct xe_peer *peer,
		    struct xn_buf *complaint)
{
	const struct xe_settings *settings = trust->settings;
	int rc;

	if (settings->fingerprint)
		return strcmp(settings->fingerprint, peer->fingerprint) == 0 ?
			       0 : refuse_other(trust, peer, complaint);
	if (settings->verify == XE_VERIFY_NOT)
		return 0;
	if (*trust->pinned)
		return strcmp(trust->pinned, peer->fingerprint) == 0 ?
			       0 : refuse_changed(trust, peer, complaint);
	if (peer->is_verified)
		return 0;
	if (settings->verify == XE_VERIFY_STRICT || !*peer->fingerprint)
		return refuse_unknown(trust, peer, complaint);
	if (!settings->is_completion && xe_terminal_can_ask()) {
		if (!ask(trust, peer)) {
			xn_buf_add_string(complaint, "Not trusted, so nothing was sent.");
			return -EACCES;
		}
	} else if (settings->is_completion) {
		return refuse_unknown(trust, peer, complaint);
	} else {
		tell_first_use(trust, peer);
	}
	rc = add(trust, peer->fingerprint);
	if (rc < 0)
		fprintf(stderr, "xe: it cannot be remembered in %s: %s\n",
			trust->path ? trust->path : "~/.xe-known-hosts", strerror(-rc));
	return 0;
}
