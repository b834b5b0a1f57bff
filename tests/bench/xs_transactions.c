/*
 * transactions SOCKET own|same|same-batched CLIENTS SECONDS: commits a second and how many were
 * aborted. "own": four writes to nodes of the client's own. "same": all clients read four nodes and
 * write each again, counted up, one request at a time; batched: the reads in one go, then the
 * writes with the end. In the end the nodes must have counted every commit. Prints JSON.
 *
 * storm SOCKET CLIENTS VMS DEVICES ROUNDS: so many VMs start at once. To attach a device is one
 * transaction of 12 writes and 2 set-perms, below nodes that all VMs share. Prints JSON.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/bench/xs_script.h"

enum { KEYS = 4 };

struct load {
	struct xs_play play;
	bool same, batched;
	int64_t until_us;
};

static void call(struct xs_conn *conn, uint32_t type, const char *path, const char *value)
{
	int rc;

	xs_call(conn, type, path, value, &rc);
	if (rc < 0 && !(type == XN_XS_WIRE_RM && rc == -ENOENT)) {
		fprintf(stderr, "%s: %s\n", path, xn_xs_error_name(rc));
		exit(1);
	}
}

static void write_own(struct xs_script *script, unsigned conn)
{
	char path[64];

	for (unsigned key = 0; key < KEYS; key++) {
		snprintf(path, sizeof(path), "/local/domain/0/bench/own-%u/key-%u", conn, key);
		xs_script_add(script, XN_XS_WIRE_WRITE, path, "01234567", 8, true);
	}
}

static void key_path(char path[64], unsigned key)
{
	snprintf(path, 64, "/local/domain/0/bench/same/key-%u", key);
}

static void count_same(struct xs_script *script, bool batched)
{
	char path[64];

	for (unsigned key = 0; key < KEYS; key++) {
		key_path(path, key);
		xs_script_add(script, XN_XS_WIRE_READ, path, NULL, 0, !batched || key == KEYS - 1);
		if (batched)
			continue;
		xs_script_add(script, XN_XS_WIRE_WRITE, path, "00000000", 8, true);
		xs_script_count(script, 1);
	}
	for (unsigned key = 0; key < KEYS && batched; key++) {
		key_path(path, key);
		xs_script_add(script, XN_XS_WIRE_WRITE, path, "00000000", 8, false);
		xs_script_count(script, KEYS);
	}
}

static bool next_transaction(struct xs_play *play, unsigned conn, bool aborted)
{
	struct load *load = xn_container_of(play, struct load, play);
	struct xs_script *script = &play->scripts[conn];

	if (bench_now_us() >= load->until_us)
		return false;
	xs_script_begin(script);
	if (load->same)
		count_same(script, load->batched);
	else
		write_own(script, conn);
	xs_script_end(script);
	return true;
}

/* Whether each node has counted every commit. */
static bool is_counted(struct load *load)
{
	char path[64], digits[9] = "";
	struct xn_xs_frame reply;
	int rc;

	for (unsigned key = 0; key < KEYS; key++) {
		key_path(path, key);
		reply = xs_call(&load->play.conns[0], XN_XS_WIRE_READ, path, NULL, &rc);
		memcpy(digits, reply.body, reply.len < 8 ? reply.len : 8);
		if (rc < 0 || strtoul(digits, NULL, 10) != load->play.committed)
			return false;
	}
	return true;
}

static void print(const struct xs_play *play, double seconds, bool is_right)
{
	printf("{\"per_second\": %.1f, \"commits\": %" PRIu64 ", \"aborted\": %" PRIu64
	       ", \"aborted_share\": %.6f, \"right\": %s}\n",
	       (double)play->committed / seconds, play->committed, play->aborted,
	       (double)play->aborted / (double)(play->committed + play->aborted),
	       is_right ? "true" : "false");
}

int xs_transactions(int argc, char **argv)
{
	struct load load = {.play.next = next_transaction};
	int64_t began_us;
	double seconds;

	if (argc != 4) {
		fputs("usage: transactions SOCKET own|same|same-batched CLIENTS SECONDS\n", stderr);
		return 2;
	}
	load.same = argv[1][0] == 's';
	load.batched = strcmp(argv[1], "same-batched") == 0;
	load.play.n = (unsigned)atoi(argv[2]);
	load.play.conns = xs_connect_many(argv[0], load.play.n);
	for (unsigned key = 0; key < KEYS; key++) {
		char path[64];

		key_path(path, key);
		call(&load.play.conns[0], XN_XS_WIRE_WRITE, path, "00000000");
	}
	began_us = bench_now_us();
	load.until_us = began_us + (int64_t)(atof(argv[3]) * 1e6);
	xs_play(&load.play);
	seconds = (double)(bench_now_us() - began_us) / 1e6;
	print(&load.play, seconds, !load.same || is_counted(&load));
	xs_close_many(load.play.conns, load.play.n);
	return 0;
}

/* ---- boot storm ---- */

struct storm {
	struct xs_play play;
	unsigned vms, devices, next;
	unsigned *attach; /* a connection's */
};

static const char *const frontend_keys[] = {"backend",        "backend-id",  "state",
					    "virtual-device", "device-type", "event-channel"};
static const char *const backend_keys[] = {"frontend", "frontend-id", "online",
					   "state",    "params",      "type"};

static void device_paths(unsigned attach, const struct storm *storm, char front[64], char back[64])
{
	unsigned domid = 1 + attach / storm->devices, device = attach % storm->devices;
	const char *kind = device ? "vbd" : "vif";

	snprintf(front, 64, "/local/domain/%u/device/%s/%u", domid, kind, device);
	snprintf(back, 64, "/local/domain/0/backend/%s/%u/%u", kind, domid, device);
}

static void write_string(struct xs_script *script, const char *path, const char *value)
{
	xs_script_add(script, XN_XS_WIRE_WRITE, path, value, strlen(value), true);
}

static void script_attach(struct xs_script *script, const struct storm *storm, unsigned attach)
{
	unsigned domid = 1 + attach / storm->devices;
	char front[64], back[64], path[128], perms[32];
	int len;

	device_paths(attach, storm, front, back);
	xs_script_begin(script);
	for (unsigned i = 0; i < XN_ARRAY_SIZE(frontend_keys); i++) {
		snprintf(path, sizeof(path), "%s/%s", front, frontend_keys[i]);
		write_string(script, path, i ? "1" : back);
	}
	for (unsigned i = 0; i < XN_ARRAY_SIZE(backend_keys); i++) {
		snprintf(path, sizeof(path), "%s/%s", back, backend_keys[i]);
		write_string(script, path, i ? "1" : front);
	}
	len = snprintf(perms, sizeof(perms), "n%u%cr0", domid, 0);
	xs_script_add(script, XN_XS_WIRE_SET_PERMS, front, perms, (size_t)len + 1, true);
	len = snprintf(perms, sizeof(perms), "n0%cr%u", 0, domid);
	xs_script_add(script, XN_XS_WIRE_SET_PERMS, back, perms, (size_t)len + 1, true);
	xs_script_end(script);
}

static bool next_attach(struct xs_play *play, unsigned conn, bool aborted)
{
	struct storm *storm = xn_container_of(play, struct storm, play);

	if (!aborted) {
		if (storm->next == storm->vms * storm->devices)
			return false;
		storm->attach[conn] = storm->next++;
	}
	script_attach(&play->scripts[conn], storm, storm->attach[conn]);
	return true;
}

/* Whether all devices are there. */
static bool is_attached(struct storm *storm)
{
	for (unsigned i = 0; i < storm->vms * storm->devices; i++) {
		char front[64], back[64], path[128];
		int rc;

		device_paths(i, storm, front, back);
		snprintf(path, sizeof(path), "%s/state", front);
		xs_call(&storm->play.conns[0], XN_XS_WIRE_READ, path, NULL, &rc);
		if (rc < 0)
			return false;
		snprintf(path, sizeof(path), "%s/type", back);
		xs_call(&storm->play.conns[0], XN_XS_WIRE_READ, path, NULL, &rc);
		if (rc < 0)
			return false;
	}
	return true;
}

static void clean(struct storm *storm)
{
	struct xs_conn *conn = &storm->play.conns[0];
	char path[64];

	call(conn, XN_XS_WIRE_RM, "/local/domain/0/backend", NULL);
	for (unsigned i = 0; i < storm->vms; i++) {
		snprintf(path, sizeof(path), "/local/domain/%u", i + 1);
		call(conn, XN_XS_WIRE_RM, path, NULL);
	}
}

int xs_storm(int argc, char **argv)
{
	struct storm storm = {.play.next = next_attach};
	struct xs_play sum = {0};
	bool is_right = true;
	int64_t took_us = 0;

	if (argc != 5) {
		fputs("usage: storm SOCKET CLIENTS VMS DEVICES ROUNDS\n", stderr);
		return 2;
	}
	storm.play.n = (unsigned)atoi(argv[1]);
	storm.vms = (unsigned)atoi(argv[2]);
	storm.devices = (unsigned)atoi(argv[3]);
	storm.attach = xn_calloc(storm.play.n, sizeof(*storm.attach));
	storm.play.conns = xs_connect_many(argv[0], storm.play.n);
	for (int round = 0; round < atoi(argv[4]); round++) {
		int64_t began_us = bench_now_us();

		storm.next = 0;
		xs_play(&storm.play);
		took_us += bench_now_us() - began_us;
		sum.committed += storm.play.committed;
		sum.aborted += storm.play.aborted;
		is_right &= is_attached(&storm);
		clean(&storm);
	}
	print(&sum, (double)took_us / 1e6, is_right);
	free(storm.attach);
	xs_close_many(storm.play.conns, storm.play.n);
	return 0;
}
