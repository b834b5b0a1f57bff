/*
 * What a worker child does with libxl, and the frames in which the daemon asks for it. libxl blocks
 * while it builds a guest, so no call to it is made by the daemon's own process: children of the
 * same binary (worker.c) run one call at a time, each with a libxl context of its own, and pool.c
 * on the loop hands out the work, watches the deadlines and kills who outlives one.
 *
 *	pool.c (the loop)                          worker.c (a child)
 *	   {"call": "create", "args": {...}} + fd  ->
 *	                                           <-  {"says": "text"}      any number: progress, log
 *	                                           <-  {"rc": 0, "result": ..., "message": "text"}
 *
 * A frame is a length (32 bits, this machine's byte order: both ends are one binary) and so many
 * bytes of JSON; a descriptor goes along with the first byte of a request. What a child says has
 * "percent" (int) when it is progress, and "level" ("warn", "error") when it is a line for the log.
 * A child whose socket ends, ends too, and it is killed when its parent dies.
 *
 * What libxl started has sessions of its own and runs on when its child is killed: device models,
 * and hotplug scripts, which finish their device. (The script that undoes it waits for their lock.)
 * What a killed call left half made goes with the domain ("destroy") or the device ("unplug_*",
 * force).
 */
#ifndef XN_LIBXL_CALLS_H
#define XN_LIBXL_CALLS_H

#include <stddef.h>

#include "core/value.h"

enum { XN_LIBXL_FRAME_MAX = 4 << 20, XN_LIBXL_MESSAGE_MAX = 512 };

struct xn_libxl_child; /* child.h: the libxl context, the logger, the socket */

struct xn_libxl_answer {
	struct xn_value *result;	    /* or NULL */
	char message[XN_LIBXL_MESSAGE_MAX]; /* what libxl said about a failure, or "" */
};

struct xn_libxl_call {
	const char *name;
	/* In the child. @fd: the descriptor that came along, or -1; the caller closes it. 0, or
	 * -errno with the meanings of backend.h. */
	int (*run)(struct xn_libxl_child *child, const struct xn_value *args, int fd,
		   struct xn_libxl_answer *answer);
	unsigned timeout_ms; /* then the child is killed and the call is -ETIMEDOUT */
};

/*
 * By name; the last row's name is NULL. Arguments (a map) and result:
 *
 *	list          {}                            set of {domid, uuid, type, paused, dying, shut_down,
 *	                                            shutdown_code (-1: none), memory_bytes,
 *	                                            max_memory_bytes, vcpus, cpu_ns}; not domain 0
 *	host_info     {}                            see call_host.c
 *	create        {config, pygrub, folders}     domid; pygrub (a bool): it may be a bootloader;
 *	                                            folders: see boot_file.h
 *	restore       {config, pygrub, folders} + fd        domid
 *	destroy       {domid}
 *	pause         {domid}
 *	unpause       {domid}
 *	shutdown      {domid, reason}               reason: enum xn_domain_shutdown, an int
 *	save          {domid, checkpoint} + fd
 *	resume        {domid}
 *	core_dump     {domid} + fd
 *	plug_disk     {domid, disk}                 disk, nic: maps as in a configuration (backend.h)
 *	unplug_disk   {domid, devid, force}
 *	change_media  {domid, disk}
 *	plug_nic      {domid, nic}
 *	unplug_nic    {domid, devid, force}
 *	plug_pci      {domid, address}
 *	unplug_pci    {domid, address, force}
 *	set_memory    {domid, bytes}
 *	set_shadow    {domid, bytes}
 *	set_vcpus     {domid, vcpus}
 *	set_vcpu_params {domid, params}
 *	trigger       {domid, trigger}
 */
extern const struct xn_libxl_call xn_libxl_calls[];

const struct xn_libxl_call *xn_libxl_call_find(const char *name); /* or NULL */

/* Both ends of the socket (frame.c). Appends one frame. */
void xn_libxl_frame_add(struct xn_buf *out, const struct xn_value *v);
/* Takes the first frame off @in: 1 with *v_out, 0 when it is not whole yet, -EPROTO. */
int xn_libxl_frame_take(struct xn_buf *in, struct xn_value **v_out) XN_MUST_CHECK;

#endif
