/* The table of calls; see calls.h. Time-outs are without progress: what tells of some, goes on. */
#include "modules/domain/libxl/child.h"

enum { SECONDS = 1000 };

const struct xn_libxl_call xn_libxl_calls[] = {
	{"list", xn_libxl_list, 10 * SECONDS},
	{"host_info", xn_libxl_host_info, 10 * SECONDS},
	{"create", xn_libxl_create, 300 * SECONDS},
	{"destroy", xn_libxl_destroy, 120 * SECONDS},
	{"pause", xn_libxl_pause, 60 * SECONDS},
	{"unpause", xn_libxl_unpause, 60 * SECONDS},
	{NULL},
};

const struct xn_libxl_call *xn_libxl_call_find(const char *name)
{
	for (const struct xn_libxl_call *call = xn_libxl_calls; call->name; call++)
		if (strcmp(call->name, name) == 0)
			return call;
	return NULL;
}
