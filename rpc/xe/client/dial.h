/*
 * Connections to servers: which transport, which port, and whether the certificate is trusted. Why one
 * cannot be made is told in a sentence that says what to do next.
 */
#ifndef XE_DIAL_H
#define XE_DIAL_H

#include "rpc/xe/client/settings.h"
#include "rpc/xe/client/stream.h"

struct xe_dialled {
	bool is_socket;	 /* a Unix socket carries the conversation */
	bool is_trusted; /* ... and its owner is the user, who is known without a password */
	char where[300]; /* for sentences */
};

/* NULL: @complaint has the sentence. */
struct xe_stream *xe_dial(const struct xe_settings *settings, struct xe_dialled *dialled_out,
			  struct xn_buf *complaint);
/* For a file or console; @host NULL: where the conversation goes, as @dialled says. */
struct xe_stream *xe_dial_transfer(const struct xe_settings *settings,
				   const struct xe_dialled *dialled, const char *host,
				   struct xn_buf *complaint);

#endif
