/*
 * TLS on one of the client's connections, by mbedtls (1.2 with its 2.28, 1.3 too with 3.x). Makes the
 * handshake and tells what the server showed; whether that is trusted is decided in trust.c, before a
 * byte of the request is sent.
 */
#ifndef XE_CLIENT_TLS_H
#define XE_CLIENT_TLS_H

#include "core/buf.h"
#include "rpc/xe/client/stream.h"

enum { XE_FINGERPRINT = 65 }; /* SHA-256 of the certificate: hex digits and a zero */

struct xe_peer {
	char fingerprint[XE_FINGERPRINT];
	bool is_verified;    /* by a CA, for the name that was asked for */
	const char *why_not; /* a part of a sentence */
};

/*
 * xe_tls_open - the handshake with the server on @fd
 * @fd: connected; taken, also when it fails
 * @host: the name or address that the certificate should be for
 * @ca_file: PEM; NULL: the system's
 * @use_cas: false: @peer_out->is_verified does not matter
 * @timeout_ms: for the whole handshake
 *
 * Return: the stream; NULL: @complaint has the reason, a part of a sentence.
 */
struct xe_stream *xe_tls_open(int fd, const char *host, const char *ca_file, bool use_cas,
			      int timeout_ms, struct xe_peer *peer_out, struct xn_buf *complaint);

#endif
