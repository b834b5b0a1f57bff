/*
 * A parsed RPC request, and its reply's envelope: what JSON-RPC (jsonrpc.c) and XML-RPC (xmlrpc.c)
 * have in common for dispatch.c. Both parsers are total functions over bytes, with fuzz targets.
 */
#ifndef XN_REQUEST_H
#define XN_REQUEST_H

#include "core/buf.h"
#include "core/error.h"
#include "core/value.h"

enum xn_protocol { XN_JSON_RPC_1, XN_JSON_RPC_2, XN_XML_RPC };

enum { XN_METHOD_NAME_MAX = 200, XN_PARAMS_MAX = 64 };

struct xn_request {
	enum xn_protocol protocol;
	struct xn_value *method; /* string */
	struct xn_value *params; /* set */
	struct xn_value *id;	 /* JSON: number or string, echoed as it came; XML: NULL */
	bool is_json; /* the body was JSON, whatever else it was */
};

void xn_request_clear(struct xn_request *request);

/* What a body may have. */
struct xn_request_bounds {
	size_t values;	/* numbers, texts, sets, maps and their members */
	unsigned depth; /* of sets and maps in a parameter, XN_REQUEST_MAX_DEPTH at most */
};
enum { XN_REQUEST_MAX_DEPTH = 64 };

/*
 * Return 0, or -1 with a sentence in @why: the body was no call; `protocol` and, where it could be
 * read, `id` are filled for the reply, and the request must be cleared all the same. Both touch
 * nothing else: they may run on a worker's thread.
 */
int xn_jsonrpc_parse(const char *body, size_t len, const struct xn_request_bounds *bounds,
		     struct xn_request *request, struct xn_buf *why) XN_MUST_CHECK;
int xn_xmlrpc_parse(const char *body, size_t len, const struct xn_request_bounds *bounds,
		    struct xn_request *request, struct xn_buf *why) XN_MUST_CHECK;

const char *xn_protocol_content_type(enum xn_protocol protocol);

/* Whole HTTP bodies. @bare: without XML-RPC's Status struct (system.listMethods). */
void xn_request_print_result(const struct xn_request *request, const struct xn_value *result,
			     bool bare, struct xn_buf *out);
/* What goes before a result, and what behind it, for one that comes in parts. */
void xn_request_begin_result(const struct xn_request *request, bool bare, struct xn_buf *out);
void xn_request_end_result(const struct xn_request *request, bool bare, struct xn_buf *out);
enum xn_format xn_protocol_format(enum xn_protocol protocol);
void xn_request_print_error(const struct xn_request *request, const struct xn_error *err,
			    struct xn_buf *out);
/* The body was no call: a fault, or JSON-RPC's parse error. */
void xn_request_print_malformed(const struct xn_request *request, const char *why,
				struct xn_buf *out);

#endif
