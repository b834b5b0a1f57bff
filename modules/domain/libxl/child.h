/* Of the worker child only: what each call needs. Apart from calls.h, which the loop's side reads.
 */
#ifndef XN_LIBXL_CHILD_H
#define XN_LIBXL_CHILD_H

#define LIBXL_API_VERSION 0x041400 /* what this was written for; later releases keep it */
#include <libxl.h>
#include <libxl_utils.h>
#include <xenctrl.h>
#include <xenstore.h>

#include "modules/domain/libxl/calls.h"

struct xn_libxl_child {
	libxl_ctx *ctx;
	xc_interface *xc;     /* for what libxl is slow at, */
	struct xs_handle *xs; /* or has no word for */
	xentoollog_logger logger;
	int socket;
	/* Of the running call. */
	struct xn_libxl_answer *answer;
	int why; /* -errno that a line of libxl's log told better than its return code; 0: none */
	int percent; /* last told */
};

/* -errno for what libxl returned: 0 and more is 0. */
int xn_libxl_rc(const struct xn_libxl_child *child, int rc);
/* Sets the answer's text; returns @rc. */
int xn_libxl_fail(struct xn_libxl_child *child, int rc, const char *why);
/* Tells the daemon; a line of its log. */
void xn_libxl_say(struct xn_libxl_child *child, const char *level, const char *text);
/* Tells the daemon that the call goes on: its deadline starts anew. Nothing when it told so before. */
void xn_libxl_progress(struct xn_libxl_child *child, const char *what, int percent);

/* args.domid: 0 or -EINVAL. */
int xn_libxl_domid(const struct xn_value *args, uint32_t *domid_out) XN_MUST_CHECK;
/* Asked of the hypervisor: libxl writes an error to the log where there is none. */
bool xn_libxl_exists(struct xn_libxl_child *child, uint32_t domid);
int xn_libxl_is_paused(struct xn_libxl_child *child, uint32_t domid,
		       bool *paused_out) XN_MUST_CHECK; /* 0 or -ENOENT */
/* Until the device model has opened every disk that it serves; 0 or -EIO. */
int xn_libxl_await_disks(struct xn_libxl_child *child, uint32_t domid) XN_MUST_CHECK;
int64_t xn_libxl_now_ms(void); /* of a clock that only goes forward */
uint64_t xn_libxl_memory_of(struct xn_libxl_child *child, uint32_t domid); /* bytes; 0: gone */
libxl_domain_type xn_libxl_domain_type(struct xn_libxl_child *child, uint32_t domid);

/* Before a disk in a format of QEMU's is plugged into @domid: 0 or -errno. disk_server.c */
int xn_libxl_disk_server(struct xn_libxl_child *child, uint32_t domid) XN_MUST_CHECK;

typedef int xn_libxl_run(struct xn_libxl_child *child, const struct xn_value *args, int fd,
			 struct xn_libxl_answer *answer);
/* call_list.c, call_host.c */
xn_libxl_run xn_libxl_list, xn_libxl_host_info;
/* call_domain.c */
xn_libxl_run xn_libxl_create, xn_libxl_restore, xn_libxl_destroy, xn_libxl_pause, xn_libxl_unpause,
	xn_libxl_shutdown;
/* call_image.c */
xn_libxl_run xn_libxl_save, xn_libxl_resume, xn_libxl_core_dump;
/* call_device.c */
xn_libxl_run xn_libxl_plug_disk, xn_libxl_unplug_disk, xn_libxl_change_media, xn_libxl_plug_nic,
	xn_libxl_unplug_nic, xn_libxl_plug_pci, xn_libxl_unplug_pci;
/* call_tune.c */
xn_libxl_run xn_libxl_set_memory, xn_libxl_set_shadow, xn_libxl_set_vcpus, xn_libxl_set_vcpu_params,
	xn_libxl_trigger;

#endif
