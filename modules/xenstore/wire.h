/*
 * Frames of the xenstore protocol, as bytes: a header of four 32-bit numbers in the machine's byte
 * order, then the body, at most 4096 bytes of NUL-terminated strings and, in some frames, a value.
 * For the client of a foreign xenstored (wire_client.c) and for whoever serves the protocol. Knows
 * no sockets: bytes come in through a reader and go out through a buffer.
 */
#ifndef XN_XENSTORE_WIRE_H
#define XN_XENSTORE_WIRE_H

#include "core/buf.h"

enum xn_xs_wire_type { /* the protocol's numbers */
	XN_XS_WIRE_CONTROL = 0,
	XN_XS_WIRE_DIRECTORY,
	XN_XS_WIRE_READ,
	XN_XS_WIRE_GET_PERMS,
	XN_XS_WIRE_WATCH,
	XN_XS_WIRE_UNWATCH,
	XN_XS_WIRE_TRANSACTION_START,
	XN_XS_WIRE_TRANSACTION_END,
	XN_XS_WIRE_INTRODUCE,
	XN_XS_WIRE_RELEASE,
	XN_XS_WIRE_GET_DOMAIN_PATH,
	XN_XS_WIRE_WRITE,
	XN_XS_WIRE_MKDIR,
	XN_XS_WIRE_RM,
	XN_XS_WIRE_SET_PERMS,
	XN_XS_WIRE_WATCH_EVENT,
	XN_XS_WIRE_ERROR,
	XN_XS_WIRE_IS_DOMAIN_INTRODUCED,
	XN_XS_WIRE_RESUME,
	XN_XS_WIRE_SET_TARGET,
	XN_XS_WIRE_RESET_WATCHES = 21,
	XN_XS_WIRE_DIRECTORY_PART,
	XN_XS_WIRE_GET_FEATURE,
	XN_XS_WIRE_SET_FEATURE,
	XN_XS_WIRE_GET_QUOTA,
	XN_XS_WIRE_SET_QUOTA,
};

enum xn_xs_wire_feature { /* bits; a ring's page shows them, too */
	XN_XS_FEATURE_RECONNECTION = 1,
	XN_XS_FEATURE_ERROR = 2,
	XN_XS_FEATURE_WATCHDEPTH = 4,
};

enum {
	XN_XS_FRAME_HEADER = 16,
	XN_XS_BODY_MAX = 4096,
	XN_XS_BODY_SKIP_MAX = 16 << 20, /* old daemons break the rule above; this is nonsense */
};

struct xn_xs_frame {
	uint32_t type, request, transaction;
	uint32_t len;     /* of the body, as the header says */
	const char *body; /* not terminated; NULL: over XN_XS_BODY_MAX, it is skipped */
};

/* Incoming bytes. All zero bytes is a fresh one. */
struct xn_xs_reader {
	char bytes[4 * (XN_XS_FRAME_HEADER + XN_XS_BODY_MAX)];
	size_t from, to; /* what waits in it */
	size_t skip;     /* bytes to come that nobody wants */
};
/* Where the next bytes go, *len_out of them at most (never 0 after next() has returned 0). */
char *xn_xs_reader_room(struct xn_xs_reader *reader, size_t *len_out);
void xn_xs_reader_added(struct xn_xs_reader *reader, size_t len);
/* 1: a frame, borrowed until the next call; 0: needs more bytes; -EPROTO: this is no xenstore. */
int xn_xs_reader_next(struct xn_xs_reader *reader, struct xn_xs_frame *out);

/* The frame at the start of @bytes, in place: 1; 0: it is not all there; -EPROTO: it is longer than
 * any may be. */
int xn_xs_frame_parse(const char *bytes, size_t len, struct xn_xs_frame *out);

/*
 * The next string of a body, which ends with a NUL or with the body, at *at, which moves behind it
 * (start at 0). NULL: none is left. *len_out: without the NUL, which may be missing.
 */
const char *xn_xs_frame_string(const struct xn_xs_frame *frame, size_t *at, size_t *len_out);

/* Appends a frame: a body of @n parts one behind the other, at most XN_XS_BODY_MAX in all, or
 * -E2BIG and nothing is appended. A string's NUL is part of it if it shall be sent. */
struct xn_xs_part {
	const void *bytes;
	size_t len;
};
int xn_xs_frame_add(struct xn_buf *out, uint32_t type, uint32_t request, uint32_t transaction,
		    const struct xn_xs_part *parts, size_t n);

/* Errors travel as names: "ENOENT". An unknown name is -EIO, and an unknown error "EIO". */
int xn_xs_error_parse(const char *name, size_t len);
const char *xn_xs_error_name(int rc);
/* The same names by number, for counting them: 0 to XN_XS_ERRORS - 1. */
enum { XN_XS_ERRORS = 16 };
unsigned xn_xs_error_index(int rc);
const char *xn_xs_error_at(unsigned index);

#endif
