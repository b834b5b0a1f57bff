/*
 * The thin CLI protocol's messages: bytes to a struct and back, for both ends, the daemon and our own
 * xe. Numbers as the field's client and server have them on the wire; all integers are 32 bits,
 * little-endian, signed. Total over bytes, with a fuzz target for each end. Only core/buf and core/bytes
 * beneath it.
 */
#ifndef XE_PROTOCOL_H
#define XE_PROTOCOL_H

#include <sys/types.h>

#include "core/base.h"
#include "core/buf.h"

#define XE_MAGIC "XenSource thin CLI protocol"
enum {
	XE_MAGIC_LEN = 27,
	XE_HELLO_LEN = XE_MAGIC_LEN + 8, /* then the two numbers of the version */
	XE_MAJOR = 0,
	XE_MINOR = 2, /* from here on clients send XE_WAIT */
};

enum xe_message_kind { XE_COMMAND = 9, XE_RESPONSE = 10, XE_BLOB = 11 };

enum xe_tag {
	/* commands: the daemon's */
	XE_PRINT = 0,	      /* text */
	XE_LOAD = 1,	      /* name of a file */
	XE_PROMPT = 3,
	XE_EXIT = 4,	      /* number */
	XE_HTTP_GET = 12,     /* name of a file ("": stdout), url */
	XE_HTTP_PUT = 13,     /* name of a file, url */
	XE_ERROR = 14,	      /* code, parameters */
	XE_DEBUG = 15,	      /* text */
	XE_PRINT_STDERR = 16, /* text */
	XE_HTTP_CONNECT = 17, /* url */
	/* only to a client that says it is ours */
	XE_PROGRESS = 1000,   /* number: thousandths, -1: it is over; text: what is under way */
	XE_INTERRUPTIBLE = 1001, /* text: the question that Ctrl-C asks first, "": it asks nothing */
	/* responses: the client's */
	XE_OK = 5,
	XE_FAILED = 6,
	XE_WAIT = 18,
	XE_INTERRUPT = 1002, /* ours only: Ctrl-C, and the question was answered */
	/* blob headers: the client's */
	XE_CHUNK = 7, /* number: of the raw bytes that follow outside of the framing */
	XE_END = 8,
};

enum { XE_MAX_PARAMS = 64 };

struct xe_bytes {
	const char *data; /* not terminated */
	size_t len;
};

struct xe_message {
	enum xe_message_kind kind;
	enum xe_tag tag;
	int32_t number;
	struct xe_bytes text, url; /* of the tags above; borrowed from the bytes that were read */
	struct xe_bytes params[XE_MAX_PARAMS];
	unsigned n_params;
};

/*
 * xe_message_read - the message at the beginning of @data
 * @max: the longest payload that is taken
 *
 * Return: how many bytes it takes; 0: more is needed; -EPROTO: unknown, or not well-formed (also: too
 * long, numbers below 0 where none can be, bytes left over in its frame).
 */
ssize_t xe_message_read(const void *data, size_t len, size_t max,
			struct xe_message *message_out) XN_MUST_CHECK;
/* Appends it, framed. Raw bytes behind an XE_CHUNK are the caller's to append. */
void xe_message_write(struct xn_buf *out, const struct xe_message *message);

/* The 35 bytes that each side begins with. */
void xe_hello_write(struct xn_buf *out);
/* Of what the other side sent: XE_HELLO_LEN when that is complete and its major version ours, 0: more
 * is needed, -EPROTO: no such protocol (as soon as that is known), -EPROTONOSUPPORT: another version. */
ssize_t xe_hello_read(const void *data, size_t len, int *minor_out) XN_MUST_CHECK;

#endif
