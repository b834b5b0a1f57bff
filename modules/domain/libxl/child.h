/* Of the worker child only: what each call needs. Apart from calls.h, which the loop's side reads. */
#ifndef XN_LIBXL_CHILD_H
#define XN_LIBXL_CHILD_H

#define LIBXL_API_VERSION 0x041400 /* what this was written for; later releases keep it */
#include <libxl.h>
#include <libxl_utils.h>
#include <xenctrl.h>

#include "modules/domain/libxl/calls.h"

struct xn_libxl_child {
	libxl_ctx *ctx;
	xc_interface *xc; /* for what libxl is slow at */
	xentoollog_logger logger;
	int socket;
	/* Of the running call. */
	struct xn_libxl_answer *answer;
	int why;     /* -errno that a line of libxl's log told better than its return code; 0: none */
	int percent; /* last told */
};

/* -errno for what libxl returned: 0 and more is 0. */
int xn_libxl_rc(const struct xn_libxl_child *child, int rc);
/* Tells the daemon; a line of its log. */
void xn_libxl_say(struct xn_libxl_child *child, const char *level, const char *text);

/* args.domid: 0 or -EINVAL. */
int xn_libxl_domid(const struct xn_value *args, uint32_t *domid_out) XN_MUST_CHECK;

typedef int xn_libxl_run(struct xn_libxl_child *child, const struct xn_value *args, int fd,
			 struct xn_libxl_answer *answer);
xn_libxl_run xn_libxl_list;							     /* call_list.c */
xn_libxl_run xn_libxl_host_info;						     /* call_host.c */
xn_libxl_run xn_libxl_create, xn_libxl_destroy, xn_libxl_pause, xn_libxl_unpause; /* call_domain.c */

#endif
