/* Files over a connection of their own, HttpGet and HttpPut; see client.h. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "rpc/xe/client/client.h"
#include "rpc/xe/client/http.h"
#include "rpc/xe/client/interrupt.h"

enum { PIECE = 65536, MAX_REDIRECTS = 20 };

/* ---- the request and the reply's head ---- */

static bool read_head(struct xe_client *client, struct xe_stream *stream,
		      struct xe_http_reply *reply, struct xn_buf *rest)
{
	ssize_t head, n;

	while ((head = xe_http_read_head(rest->data, rest->len, reply)) == 0) {
		n = xe_client_read(client, stream, xn_buf_reserve(rest, 4096), 4096);
		if (n <= 0)
			return false;
		rest->len += (size_t)n;
	}
	if (head < 0)
		return false;
	xn_buf_drop(rest, (size_t)head);
	return true;
}

/* One try. *@next_out: where the server sends us instead. */
static struct xe_stream *try_open(struct xe_client *client, const char *verb, struct xe_bytes url,
				  const char *headers, struct xe_http_reply *reply, struct xn_buf *rest)
{
	struct xn_buf text = {0}, complaint = {0};
	struct xe_stream *stream = NULL;
	char *host = NULL, *path = NULL;

	rest->len = 0;
	if (xe_url_parse(url.data, url.len, &host, &path) < 0) {
		xe_client_complain(client, "The server named a url that cannot be asked for.");
		return NULL;
	}
	xn_buf_printf(&text, "%s %s HTTP/1.0\r\n%s\r\n", verb, path, headers);
	xe_client_debug(client, "Written to %s: %s %s", host ? host : "the same server", verb, path);
	stream = client->outside->dial(client->outside->arg, host, &complaint);
	if (!stream && !client->is_quiet)
		xe_client_complain(client, "%s", xn_buf_cstr(&complaint));
	if (stream && (xe_client_write(client, stream, text.data, text.len) < 0 ||
		       !read_head(client, stream, reply, rest))) {
		xe_client_debug(client, "No answer to %s", verb);
		xe_stream_free(stream);
		stream = NULL;
	}
	xn_buf_clear(&text);
	xn_buf_clear(&complaint);
	free(host);
	free(path);
	return stream;
}

struct xe_stream *xe_transfer_open(struct xe_client *client, const char *verb, struct xe_bytes url,
				   const char *headers, int *status_out, int64_t *length_out,
				   struct xn_buf *rest)
{
	char *location = NULL;
	struct xe_stream *stream = NULL;

	*status_out = 0;
	for (unsigned i = 0; i <= MAX_REDIRECTS; i++) {
		struct xe_http_reply reply = {.length = -1};

		stream = try_open(client, verb, url, headers, &reply, rest);
		free(location);
		location = reply.location;
		*status_out = reply.status;
		*length_out = reply.length;
		if (!stream || reply.status != 302 || !location)
			break;
		xe_client_debug(client, "Sent on to %s", location);
		url = (struct xe_bytes){location, strlen(location)};
		xe_stream_free(stream);
		stream = NULL;
	}
	free(location);
	if (stream && *status_out != 200) {
		xe_client_debug(client, "%s was answered with status %d", verb, *status_out);
		xe_stream_free(stream);
		stream = NULL;
	}
	return stream;
}

static void answer_failed(struct xe_client *client)
{
	xe_client_answer(client, XE_RESPONSE, XE_FAILED, 0);
}

static int64_t now(const struct xe_client *client)
{
	return client->outside->now_ms(client->outside->arg);
}

/* The last part, for the line of progress. */
static const char *short_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash && slash[1] ? slash + 1 : path;
}

/* ---- HttpGet ---- */

struct download {
	struct xe_client *client;
	struct xe_stream *stream;
	const char *path; /* "": stdout */
	int fd;
	bool is_sparse;	     /* zeroes need not be written to it */
	int64_t done, total; /* total below 0: until the end */
};

static bool is_zero(const char *data, size_t len)
{
	return len && !*data && memcmp(data, data + 1, len - 1) == 0;
}

/* A disk's image is mostly nothing, which should take no room here either. */
static int store(struct download *download, const char *data, size_t len)
{
	if (download->is_sparse && is_zero(data, len))
		return lseek(download->fd, (off_t)len, SEEK_CUR) < 0 ? -errno : 0;
	return xe_client_write_out(download->client, download->fd, data, len);
}

/* 0, or -errno; -EPIPE: cut short. */
static int copy_body(struct download *download, struct xn_buf *piece)
{
	struct xe_client *client = download->client;
	bool shows = *download->path || !isatty(download->fd);
	ssize_t n = (ssize_t)piece->len;
	int rc;

	do {
		rc = store(download, piece->data, (size_t)n);
		if (rc < 0)
			return rc;
		download->done += n;
		if (shows)
			xe_progress_count(&client->progress,
					  *download->path ? short_name(download->path) : "download",
					  download->done, download->total, now(client));
		piece->len = 0;
		n = xe_client_read(client, download->stream, xn_buf_reserve(piece, PIECE), PIECE);
		if (n < 0)
			xe_client_debug(client, "The transfer was cut: %s", strerror((int)-n));
	} while (n > 0);
	return n < 0 || download->done < download->total ? -EPIPE : 0;
}

static void receive(struct download *download, struct xn_buf *rest)
{
	struct xe_client *client = download->client;
	char *whole = *download->path ? xe_normalised_path(download->path) : NULL;
	struct stat st;
	int rc;

	download->is_sparse = whole && fstat(download->fd, &st) == 0 && S_ISREG(st.st_mode);
	xe_interrupt_removes(whole);
	xe_progress_begin(&client->progress, now(client));
	rc = copy_body(download, rest);
	xe_progress_clear(&client->progress);
	if (rc == 0 && download->is_sparse && ftruncate(download->fd, download->done) < 0)
		rc = -errno; /* zeroes at its end */
	if (whole && close(download->fd) < 0 && rc == 0)
		rc = -errno;
	xe_interrupt_removes(NULL);
	client->last_download.len = 0;
	if (rc < 0 && rc != -EPIPE) {
		answer_failed(client);
		xe_client_fail(client, "Operation failed. %s: %s.",
			       whole ? download->path : "standard output", strerror(-rc));
	} else if (rc < 0) {
		answer_failed(client);
		xe_client_complain(client, "The transfer broke off after %lld bytes%s%s%s.",
				   (long long)download->done, whole ? "; " : "",
				   whole ? download->path : "", whole ? " was removed" : "");
	} else {
		xe_client_answer(client, XE_RESPONSE, XE_OK, 0);
		xn_buf_add_string(&client->last_download, download->path);
	}
	if (rc < 0 && whole)
		unlink(whole); /* made by us just now; half an archive helps nobody */
	free(whole);
}

void xe_transfer_get(struct xe_client *client, const char *path, struct xe_bytes url)
{
	struct download download = {.client = client, .path = path, .fd = client->outside->out};
	struct xn_buf rest XN_CLEANUP(xn_buf_clear_p) = {0};
	int status;

	xe_client_flush(client);
	download.stream = xe_transfer_open(client, "GET", url, "", &status, &download.total, &rest);
	if (!download.stream) {
		answer_failed(client);
		return;
	}
	if (*path) {
		if (!xe_client_permits(client, path, "download"))
			goto out;
		download.fd = client->outside->open(client->outside->arg, path,
						    O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC);
	}
	if (download.fd < 0)
		xe_client_fail_file(client, path, download.fd);
	else
		receive(&download, &rest);
out:
	xe_stream_free(download.stream);
}

/* ---- HttpPut ---- */

/* What one piece of an upload needs: from a pipe the user may take long. */
static ssize_t read_piece(struct xe_client *client, int fd, bool is_regular, char *to, size_t len)
{
	ssize_t n;

	do {
		while (!is_regular) {
			unsigned ready = xe_client_wait(client, NULL, fd, POLLIN, -1);

			if (ready & XE_HUNG_UP)
				return -ECANCELED;
			if (ready & XE_READY_FD)
				break;
		}
		n = read(fd, to, len);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

/* 0; -errno; -EPIPE: the server takes no more; -ENODATA: the file is shorter than it was. */
static int send_body(struct xe_client *client, struct xe_stream *stream, const char *path, int fd,
		     int64_t total)
{
	struct xn_buf piece XN_CLEANUP(xn_buf_clear_p) = {0};
	int64_t done = 0;
	ssize_t n;

	while (total < 0 || done < total) {
		size_t want = total < 0 || total - done > PIECE ? PIECE : (size_t)(total - done);

		n = read_piece(client, fd, total >= 0, xn_buf_reserve(&piece, PIECE), want);
		if (n == 0)
			return total < 0 ? 0 : -ENODATA;
		if (n < 0)
			return (int)n;
		if (xe_client_write(client, stream, piece.data, (size_t)n) < 0)
			return -EPIPE;
		done += n;
		xe_progress_count(&client->progress, short_name(path), done, total, now(client));
	}
	return 0;
}

/* Its end would be taken for the file's if it came before the server has read all. */
static void linger(struct xe_client *client, struct xe_stream *stream)
{
	stream->ops->end(stream);
	client->lingering = xn_realloc(client->lingering,
				       (client->n_lingering + 1) * sizeof(*client->lingering));
	client->lingering[client->n_lingering++] = stream;
}

static void send_file(struct xe_client *client, const char *path, struct xe_bytes url, int fd)
{
	struct xn_buf rest XN_CLEANUP(xn_buf_clear_p) = {0};
	struct xe_stream *stream;
	char header[64] = "";
	int64_t total = -1, length;
	struct stat st;
	int status, rc;

	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
		total = st.st_size;
		snprintf(header, sizeof(header), "Content-length: %lld\r\n", (long long)total);
	}
	stream = xe_transfer_open(client, "PUT", url, header, &status, &length, &rest);
	if (!stream) {
		answer_failed(client);
		return;
	}
	xe_progress_begin(&client->progress, now(client));
	rc = send_body(client, stream, path, fd, total);
	xe_progress_clear(&client->progress);
	if (rc == 0) {
		linger(client, stream);
		xe_client_answer(client, XE_RESPONSE, XE_OK, 0);
		return;
	}
	xe_stream_free(stream);
	answer_failed(client);
	if (rc == -ENODATA)
		xe_client_complain(client, "%s became shorter while it was sent.", path);
	else if (rc != -EPIPE && rc != -ECANCELED)
		xe_client_complain(client, "%s: %s.", path, strerror(-rc));
	else
		xe_client_debug(client, "The server takes no more of %s", path);
}

void xe_transfer_put(struct xe_client *client, const char *path, struct xe_bytes url)
{
	int fd;

	xe_client_flush(client);
	if (!xe_client_permits(client, path, "upload"))
		return;
	fd = client->outside->open(client->outside->arg, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		xe_client_fail_file(client, path, fd);
		return;
	}
	send_file(client, path, url, fd);
	close(fd);
}
