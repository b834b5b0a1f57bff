/* For builds without Xen's headers; see xen.h. */
#include "modules/xenstore/xen/xen.h"

struct xn_xs_carrier *xn_xs_xen_new(struct xn_loop *loop, struct xn_log *log, struct xn_error *err)
{
	xn_error_setf(err, XN_ERR_INTERNAL_ERROR, "this daemon is built without Xen's libraries");
	return NULL;
}
