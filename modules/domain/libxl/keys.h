/* What guests and tools look for in xenstore and libxl does not write, or leaves behind. */
#ifndef XN_LIBXL_KEYS_H
#define XN_LIBXL_KEYS_H

#include "modules/xenstore/xenstore.h"

/* The rest of a new domain's keys, in one transaction. @config: as for create. */
struct xn_xs_request *xn_libxl_keys_add(struct xn_xenstore *xs, uint32_t domid,
					const struct xn_value *config, int64_t now_us,
					void (*done)(int rc, void *arg), void *arg);
/* Everything of a domain that is no more; @uuid: whose last domain it was, or NULL. */
struct xn_xs_request *xn_libxl_keys_remove(struct xn_xenstore *xs, uint32_t domid, const char *uuid,
					   void (*done)(int rc, void *arg), void *arg);

#endif
