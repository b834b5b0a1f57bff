/*
 * Files that the field's handlers take or give and these do not, yet: whoever may ask is told so, in the
 * answer and in the task, so that nobody waits.
 */
#include "modules/transfer/transfer_internal.h"

static void refuse(const struct xn_http_request *req, struct xn_rpc_visit *visit, const char *what)
{
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};

	xn_error_set(&err, XN_ERR_NOT_IMPLEMENTED, what);
	xn_transfer_refuse(req->conn, &err);
	xn_rpc_leave(visit, &err);
}

/* method, path, kind, door, its role */
#define HANDLERS(X)                                                                                \
	X("PUT", "/import_metadata", IN, put_import_metadata, VM_ADMIN)                            \
	X("PUT", "/pool/xmldbdump", IN, put_pool_xml_db_sync, POOL_ADMIN)                          \
	X("GET", "/host_backup", OUT, get_host_backup, POOL_ADMIN)                                 \
	X("PUT", "/host_restore", IN, put_host_restore, POOL_ADMIN)                                \
	X("GET", "/host_logs_download", OUT, get_host_logs_download, POOL_OPERATOR)                \
	X("GET", "/system-status", OUT, get_system_status, POOL_OPERATOR)                          \
	X("PUT", "/pool_patch_upload", IN, put_pool_patch_upload, POOL_OPERATOR)

#define DOOR(verb, where, stream, id, least)                                                       \
	static void run_##id(const struct xn_http_request *req, struct xn_rpc_visit *visit, void *arg) \
	{                                                                                          \
		refuse(req, visit, verb " " where);                                                \
	}                                                                                          \
	static const struct xn_rpc_door door_##id = {                                              \
		.name = #id, .role = XN_ROLE_##least, .run = run_##id};                            \
	static void on_##id(const struct xn_http_request *req, void *arg)                          \
	{                                                                                          \
		xn_rpc_admit(((struct xn_transfers *)arg)->core, req, &door_##id, arg);            \
	}
HANDLERS(DOOR)

#define ROUTE(verb, where, stream, id, least)                                                      \
	{.method = verb, .path = where, .prefix = true, .kind = XN_HTTP_STREAM_##stream, .run = on_##id},
const struct xn_http_route xn_transfer_not_there[] = {HANDLERS(ROUTE){.method = NULL}};
