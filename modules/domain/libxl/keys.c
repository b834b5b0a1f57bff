/* Leftovers of a domain in xenstore; see keys.h. */
#include "modules/domain/libxl/keys.h"

#include <stdio.h>

static const char *const of_a_domain[] = {
	"/local/domain/%u",
	"/libxl/%u",
	"/local/domain/0/backend/vbd/%u",
	"/local/domain/0/backend/qdisk/%u",
	"/local/domain/0/backend/vif/%u",
	"/local/domain/0/backend/console/%u",
	"/local/domain/0/backend/pci/%u",
	"/local/domain/0/backend/vkbd/%u",
	"/local/domain/0/backend/vfb/%u",
};

struct xn_xs_request *xn_libxl_keys_remove(struct xn_xenstore *xs, uint32_t domid, const char *uuid,
					   void (*done)(int rc, void *arg), void *arg)
{
	enum { PATHS = XN_ARRAY_SIZE(of_a_domain) };
	struct xn_xs_change changes[PATHS + 1] = {0};
	char paths[PATHS + 1][64];
	size_t n = 0;

	for (; n < PATHS; n++)
		snprintf(paths[n], sizeof(paths[n]), of_a_domain[n], domid);
	if (uuid)
		snprintf(paths[n++], sizeof(paths[0]), "/vm/%s", uuid);
	for (size_t i = 0; i < n; i++)
		changes[i].path = paths[i];
	return xn_xs_write(xs, changes, n, done, arg);
}
