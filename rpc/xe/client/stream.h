/*
 * One connection of the client: to a socket, with TLS or without; a fuzz target has one in memory.
 * Nothing here waits: what cannot be done now is -EAGAIN, and wants says for what.
 */
#ifndef XE_STREAM_H
#define XE_STREAM_H

#include <sys/types.h>

#include "core/base.h"

struct xe_stream;

struct xe_stream_ops {
	/* Bytes; 0: the other side has ended in order; -EAGAIN; -errno. */
	ssize_t (*read)(struct xe_stream *stream, void *to, size_t len);
	ssize_t (*write)(struct xe_stream *stream, const void *data, size_t len);
	void (*end)(struct xe_stream *stream); /* nothing more will be written */
	void (*free)(struct xe_stream *stream);
};

struct xe_stream {
	const struct xe_stream_ops *ops;
	int fd;	     /* -1: always ready */
	short wants; /* POLLIN or POLLOUT: what the last -EAGAIN waits for */
};

static inline ssize_t xe_stream_read(struct xe_stream *stream, void *to, size_t len)
{
	return stream->ops->read(stream, to, len);
}

static inline ssize_t xe_stream_write(struct xe_stream *stream, const void *data, size_t len)
{
	return stream->ops->write(stream, data, len);
}

static inline void xe_stream_free(struct xe_stream *stream)
{
	if (stream)
		stream->ops->free(stream);
}

/* Plain bytes on a connected socket, which it owns and makes non-blocking. */
struct xe_stream *xe_stream_of_socket(int fd);

#endif
