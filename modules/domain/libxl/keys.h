/* What a domain may leave behind in xenstore when the process that made or destroyed it was killed. */
#ifndef XN_LIBXL_KEYS_H
#define XN_LIBXL_KEYS_H

#include "modules/xenstore/xenstore.h"

/* Everything of a domain that is no more; @uuid: whose last domain it was, or NULL. */
struct xn_xs_request *xn_libxl_keys_remove(struct xn_xenstore *xs, uint32_t domid, const char *uuid,
					   void (*done)(int rc, void *arg), void *arg);

#endif
