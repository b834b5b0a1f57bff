/*
 * The simulated hypervisor's guests: what they can be told. A VM's other_config carries the keys
 * below; they come with the configuration of a domain (backend.h) and hold for that domain's life.
 * Times are milliseconds. A value that is no number, or none of the choices, counts as the default.
 *
 * The simulated host has the memory of the machine, or --sim-memory; its control domain holds an
 * eighth of that. list() and find() know guests only, not the control domain.
 */
#ifndef XN_SIM_H
#define XN_SIM_H

#include "modules/domain/backend.h"

/* X(member, key, default, meaning) */
#define XN_SIM_NUMBERS(X)                                                                          \
	X(build_ms, "sim-build-ms", 5, "the domain builder takes this long")                       \
	X(boot_ms, "sim-boot-ms", 10, "from the first unpause until the kernel is up")             \
	X(connect_ms, "sim-connect-ms", 2, "until the kernel has connected a device")              \
	X(agent_ms, "sim-agent-ms", 5, "from booted until the agent reports")                      \
	X(plug_ms, "sim-plug-ms", 2, "until the backend of a new device is ready")                 \
	X(unplug_ms, "sim-unplug-ms", 2, "until the kernel has let a device go")                   \
	X(ack_ms, "sim-ack-ms", 1, "until the kernel acknowledges control/shutdown")               \
	X(shutdown_ms, "sim-shutdown-ms", 5, "from that until it is down")                         \
	X(suspend_ms, "sim-suspend-ms", 2, "the same for a suspend")                               \
	X(destroy_ms, "sim-destroy-ms", 1, "taking a domain down")                                 \
	X(balloon_ms, "sim-balloon-ms", 5, "until the memory target is reached")                   \
	X(vcpus_ms, "sim-vcpus-ms", 2, "until the kernel follows cpu/N/availability")              \
	X(crash_after_ms, "sim-crash-after-ms", 0, "crashes so long after boot; 0: never")         \
	X(reboot_after_ms, "sim-reboot-after-ms", 0, "reboots itself; 0: never")                   \
	X(poweroff_after_ms, "sim-poweroff-after-ms", 0, "powers itself off; 0: never")            \
	X(write_rate, "sim-write-rate", 0, "keys a second that it writes below attr/sim; 0: none") \
	X(write_keys, "sim-write-keys", 100, "different keys among these")                         \
	X(tick_ms, "sim-tick-ms", 0, "writes its counter to data/sim/counter so often; 0: never")  \
	X(jitter_percent, "sim-jitter", 0, "each delay is up to so much longer, by the loop's dice")

/* X(member, key, names, meaning); the first name is the default and has the value 0. */
#define XN_SIM_CHOICES(X)                                                                          \
	X(build, "sim-build", "ok|fail|hang",                                                      \
	  "fail: -ENOEXEC, after sim-build-ms; -EIO when it restores")                             \
	X(boot, "sim-boot", "ok|hang|crash", "what comes of the kernel")                           \
	X(plug, "sim-plug", "ok|fail|hang", "what the backend of a new device does")               \
	X(connect, "sim-connect", "ok|never", "whether the kernel has drivers for its devices")    \
	X(unplug, "sim-unplug", "obey|refuse|hang", "refuse: -EBUSY")                              \
	X(shutdown, "sim-shutdown", "obey|refuse|hang|crash",                                      \
	  "refuse: no acknowledgement; hang: that, and nothing after it")                          \
	X(agent, "sim-agent", "full|none", "whether a guest agent runs")                           \
	X(balloon, "sim-balloon", "obey|refuse", "whether it follows its memory target")          \
	X(save, "sim-save", "ok|fail|hang",                                                        \
	  "what comes of saving it; fail: -EIO, and the domain stays suspended")

/* The same as XN_SIM_NUMBERS, behind the others in the world file: they came later. */
#define XN_SIM_LATER_NUMBERS(X) X(save_ms, "sim-save-ms", 0, "saving its memory takes this long")

enum { XN_SIM_OK = 0, XN_SIM_OBEY = 0, XN_SIM_FULL = 0 };
enum { XN_SIM_FAIL = 1, XN_SIM_HANG = 2 }; /* build, plug, save */
enum { XN_SIM_BOOT_HANG = 1, XN_SIM_BOOT_CRASH = 2 };
enum { XN_SIM_REFUSE = 1, XN_SIM_CRASH = 3 }; /* unplug, shutdown, balloon; shutdown */
enum { XN_SIM_NEVER = 1, XN_SIM_NONE = 1 };   /* connect; agent */

struct xn_sim_options {
#define XN_SIM_MEMBER(member, key, otherwise, meaning) uint32_t member;
	XN_SIM_NUMBERS(XN_SIM_MEMBER)
	XN_SIM_CHOICES(XN_SIM_MEMBER)
	XN_SIM_LATER_NUMBERS(XN_SIM_MEMBER)
#undef XN_SIM_MEMBER
};
/* @other_config: map of strings, or NULL. Other keys are not looked at. */
void xn_sim_options_read(struct xn_sim_options *out, const struct xn_value *other_config);

/* For tests: what nobody asked for. 0, or -ENOENT. */
int xn_sim_guest_stops(struct xn_backend *b, uint32_t domid, enum xn_domain_shutdown reason);
/* Milliseconds that the guest has run, kept over save and restore; -1: no such domain. */
int64_t xn_sim_guest_counter(struct xn_backend *b, uint32_t domid);

#endif
