/*
 * The certificate that HTTPS shows: where it comes from, its files, its row of class Certificate, and
 * the API calls that change it. One of three, the first that there is: the files that the
 * configuration names, one installed with host.install_server_certificate, one of our own making.
 * The last two are files of the state folder, key and certificate together, so that a crash cannot
 * part them. Files and keys are handled in a worker, one job at a time.
 */
#ifndef XN_TLS_CERTIFICATE_H
#define XN_TLS_CERTIFICATE_H

#include "rpc/http.h"
#include "rpc/rpc_internal.h"

/* Calls of class host; state: struct xn_rpc. */
extern const struct xn_method_impl xn_certificate_methods[];

struct xn_certificate *xn_certificate_new(struct xn_rpc *rpc);
/* Answers who waits; before the server is freed. */
void xn_certificate_free(struct xn_certificate *certificate); /* NULL is fine */
/* Loads what there is; when it @is_served, begins to make what is not. -1 with @err when the
 * configured files are no good. */
int xn_certificate_start(struct xn_certificate *certificate, bool is_served,
			 struct xn_error *err) XN_MUST_CHECK;
/* Makes the row true, where it could not be before: no host had a row yet, or the database refused. */
void xn_certificate_tell(struct xn_certificate *certificate);
/* Reads the files again (SIGHUP); what is bad changes nothing and is logged. */
void xn_certificate_reload(struct xn_certificate *certificate);

#endif
