/*
 * The bearer token for /metrics over TCP: one line of a file, which is read at each request, so that
 * it can be replaced while the daemon runs.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/sha256.h"
#include "modules/metrics/metrics_internal.h"

enum { TOKEN_MIN = 16, TOKEN_MAX = 512, TOKEN_RANDOM_BYTES = 32 };

static int write_new(const char *path, const char *line)
{
	char *fresh XN_CLEANUP(xn_free_p) = xn_asprintf("%s.new", path);
	size_t len = strlen(line);
	int fd, rc = 0;

	unlink(fresh); /* what a crash left */
	fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	if (write(fd, line, len) != (ssize_t)len)
		rc = -EIO;
	close(fd);
	if (rc == 0 && rename(fresh, path) < 0)
		rc = -errno;
	return rc;
}

static int make_token(struct metrics *m)
{
	unsigned char secret[TOKEN_RANDOM_BYTES];
	char line[2 * TOKEN_RANDOM_BYTES + 2];
	int rc;

	xn_random_bytes(m->core->loop, secret, sizeof(secret));
	for (size_t i = 0; i < sizeof(secret); i++)
		snprintf(line + 2 * i, 3, "%02x", secret[i]);
	strcat(line, "\n");
	rc = write_new(m->token_path, line);
	explicit_bzero(secret, sizeof(secret));
	explicit_bzero(line, sizeof(line));
	return rc;
}

/* At start-up, before anybody is served. */
void metrics_token_prepare(struct metrics *m)
{
	bool is_given = xn_config_is_set(m->core->config, "metrics-token-file");
	int rc = 0;

	m->token_path = is_given ? xn_strdup(xn_config_string(m->core->config, "metrics-token-file"))
				 : xn_asprintf("%s/metrics-token",
					       xn_config_string(m->core->config, "state-dir"));
	if (access(m->token_path, R_OK) < 0)
		rc = is_given || errno != ENOENT ? -errno : make_token(m);
	if (rc < 0)
		xn_log_warn(m->core->log, "metrics", "no /metrics by token: %s: %s", m->token_path,
			    strerror(-rc));
}

/* The first line, or false: none, too short to be a secret, too long. */
static bool read_token(const char *path, char out[TOKEN_MAX + 1])
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t n = fd < 0 ? -1 : read(fd, out, TOKEN_MAX + 1);

	if (fd >= 0)
		close(fd);
	if (n < 0 || n > TOKEN_MAX)
		return false;
	out[n] = '\0';
	out[strcspn(out, "\r\n")] = '\0';
	return strlen(out) >= TOKEN_MIN;
}

bool metrics_token_is(const struct metrics *m, const char *token)
{
	char right[TOKEN_MAX + 1];
	bool is_same = read_token(m->token_path, right) &&
		       xn_same_secret(token, strlen(token), right, strlen(right));

	explicit_bzero(right, sizeof(right));
	return is_same;
}
