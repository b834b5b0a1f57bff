/*
 * Whether a server's certificate is trusted: a CA's word, a fingerprint of the command line, or what
 * this server showed the first time, kept in ~/.xe-known-hosts. That file's lines:
 *
 *	HOST:PORT sha256:0123...ef	(64 hex digits; "#" begins a comment)
 */
#ifndef XE_TRUST_H
#define XE_TRUST_H

#include "rpc/xe/client/settings.h"
#include "rpc/xe/client/tls.h"

struct xe_trust {
	const struct xe_settings *settings;
	char *place; /* "host:port", as in the file */
	char *path;  /* of the file; NULL: no home */
	char pinned[XE_FINGERPRINT]; /* "": this server is not in the file */
	unsigned line;		     /* of it */
};

/* Reads the file. -EACCES: others may write it, so it is not used; @complaint says so. */
int xe_trust_init(struct xe_trust *trust, const struct xe_settings *settings, const char *host,
		  int port, struct xn_buf *complaint) XN_MUST_CHECK;
void xe_trust_clear(struct xe_trust *trust);

/* Whether it matters what CAs say. */
bool xe_trust_needs_cas(const struct xe_trust *trust);
/* May ask the user, and then adds to the file. -EACCES: not trusted; @complaint has sentences. */
int xe_trust_decide(const struct xe_trust *trust, const struct xe_peer *peer,
		    struct xn_buf *complaint) XN_MUST_CHECK;

#endif
