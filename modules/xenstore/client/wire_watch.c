/*
 * Watched paths of the client of a foreign xenstored. Events wait at their path, a few different
 * ones; beyond that they are one: "something below the watched path changed". So what waits is
 * bounded by what is watched, whatever guests write.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "modules/xenstore/store/path.h"
#include "modules/xenstore/client/wire_client.h"

enum {
	SPOTS_A_RUN = 64,  /* whose events are delivered */
	SPOT_PATHS = 8,    /* different paths that wait at a spot */
	SPOT_BYTES = 2048, /* and their bytes */
};

enum spot_state { WANTED, ASKED };

/* The client's side of a watched path. Outlives it while the daemon has to be told. */
struct wire_spot {
	struct xn_hnode node; /* by token, while @spot */
	struct xn_xs_sender sender;
	struct xn_xs_wire *wire;
	struct xn_xs_watched *spot; /* NULL: unwatched */
	enum spot_state state;
	bool is_calling;      /* a call is in flight */
	bool all;             /* too many paths: they are one */
	unsigned n;           /* paths that wait */
	struct xn_buf paths;  /* NUL-terminated */
	struct xn_list ready; /* in wire->ready while events wait */
	uint32_t token;
	char path[];
};

/* ---- watched paths ---- */

static void wire_spot_free(struct wire_spot *ws)
{
	if (ws->spot)
		xn_hmap_remove(&ws->wire->spots, &ws->node);
	xn_list_remove(&ws->sender.link);
	xn_list_remove(&ws->ready);
	xn_buf_clear(&ws->paths);
	free(ws);
}

static void on_watched(struct xn_xs_wire *wire, int rc, const struct xn_xs_frame *reply, void *arg)
{
	struct wire_spot *ws = arg;

	ws->is_calling = false;
	if (!ws->spot && !wire->is_up)
		wire_spot_free(ws);
	else if (!ws->spot)
		xn_xs_wire_want(wire, &ws->sender);
	else if (rc < 0 && wire->is_up)
		xn_log_warn(wire->xs->core->log, "xenstore", "cannot watch %s: %s", ws->path,
			    strerror(-rc));
}

static void on_unwatched(struct xn_xs_wire *wire, int rc, const struct xn_xs_frame *reply,
			 void *arg)
{
	wire_spot_free(arg);
}

static bool send_watch(struct xn_xs_sender *sender)
{
	struct wire_spot *ws = xn_container_of(sender, struct wire_spot, sender);
	char token[16];
	struct xn_xs_part parts[] = {{ws->path, strlen(ws->path) + 1},
				     {token, (size_t)snprintf(token, sizeof(token), "%x",
							      ws->token) + 1}};

	if (ws->is_calling)
		return false;
	ws->is_calling = true;
	if (ws->spot) {
		ws->state = ASKED;
		(void)xn_xs_wire_call(ws->wire, XN_XS_WIRE_WATCH, 0, parts, 2, on_watched, ws);
	} else {
		(void)xn_xs_wire_call(ws->wire, XN_XS_WIRE_UNWATCH, 0, parts, 2, on_unwatched, ws);
	}
	return false;
}

/* Waits for the connection; one that nobody needs any more has nothing to wait for. */
static void fail_watch(struct xn_xs_sender *sender)
{
	struct wire_spot *ws = xn_container_of(sender, struct wire_spot, sender);

	if (!ws->spot)
		wire_spot_free(ws);
}

int xn_xs_wire_watch(struct xn_xs_watched *spot)
{
	struct xn_xs_wire *wire = spot->xs->client;
	struct xn_xs_path path;
	struct wire_spot *ws;
	size_t len;

	if (strcmp(spot->path, "@introduceDomain") && strcmp(spot->path, "@releaseDomain") &&
	    xn_xs_path_resolve(&path, 0, spot->path) < 0)
		return -EINVAL;
	len = strlen(spot->path);
	ws = xn_calloc(1, sizeof(*ws) + len + 1);
	memcpy(ws->path, spot->path, len + 1);
	ws->wire = wire;
	ws->spot = spot;
	ws->token = ++wire->last_token;
	ws->sender = (struct xn_xs_sender){
		.send = send_watch, .fail = fail_watch, .is_urgent = true};
	xn_list_init(&ws->sender.link);
	xn_list_init(&ws->ready);
	xn_hmap_insert(&wire->spots, &ws->node, ws->token);
	spot->work = ws;
	if (wire->is_up)
		xn_xs_wire_want(wire, &ws->sender);
	return 0;
}

void xn_xs_wire_unwatch(struct xn_xs_watched *spot)
{
	struct wire_spot *ws = spot->work;
	struct xn_xs_wire *wire = ws->wire;

	xn_hmap_remove(&wire->spots, &ws->node);
	xn_list_remove(&ws->ready);
	ws->spot = NULL;
	if (ws->is_calling)
		return; /* the call's end sees to it */
	if (ws->state == WANTED || !wire->is_up)
		wire_spot_free(ws);
	else
		xn_xs_wire_want(wire, &ws->sender);
}

/* ---- events ---- */

/* The spot may be gone, and others too, after each call. */
static void deliver_spot(struct wire_spot *ws)
{
	struct xn_xs_wire *wire = ws->wire;
	struct xn_buf paths = ws->paths;
	uint32_t token = ws->token;
	struct xn_hnode *node;
	bool all = ws->all;

	ws->paths = (struct xn_buf){0};
	ws->n = 0;
	ws->all = false;
	if (all)
		xn_xs_watched_fire(ws->spot, ws->path);
	for (size_t at = 0; !all && at < paths.len; at += strlen(paths.data + at) + 1) {
		node = xn_hmap_first_same(&wire->spots, token);
		if (!node)
			break;
		ws = xn_container_of(node, struct wire_spot, node);
		xn_xs_watched_fire(ws->spot, paths.data + at);
	}
	xn_buf_clear(&paths);
}

static void deliver(struct xn_job *job)
{
	struct xn_xs_wire *wire = xn_container_of(job, struct xn_xs_wire, deliver);
	struct xn_list *link;

	for (unsigned i = 0; i < SPOTS_A_RUN && (link = xn_list_pop(&wire->ready)); i++)
		deliver_spot(xn_list_entry(link, struct wire_spot, ready));
	if (!xn_list_empty(&wire->ready))
		xn_loop_defer(wire->xs->core->loop, job, XN_PRIO_EVENT, deliver);
}

static bool waits_already(const struct wire_spot *ws, const char *path, size_t len)
{
	for (size_t at = 0; at < ws->paths.len;) {
		size_t other = strlen(ws->paths.data + at);

		if (other == len && !memcmp(ws->paths.data + at, path, len))
			return true;
		at += other + 1;
	}
	return false;
}

static void note_event(struct wire_spot *ws, const char *path, size_t len)
{
	struct xn_xs_wire *wire = ws->wire;

	if (ws->all || waits_already(ws, path, len))
		return;
	if (ws->n == SPOT_PATHS || ws->paths.len + len + 1 > SPOT_BYTES) {
		ws->all = true;
		xn_buf_clear(&ws->paths);
	} else {
		ws->n++;
		xn_buf_add(&ws->paths, path, len);
		xn_buf_add_char(&ws->paths, '\0');
	}
	if (xn_list_empty(&ws->ready))
		xn_list_push(&wire->ready, &ws->ready);
	xn_loop_defer(wire->xs->core->loop, &wire->deliver, XN_PRIO_EVENT, deliver);
}

/* An event for a path that is watched no more is late, not wrong. */
int xn_xs_wire_event(struct xn_xs_wire *wire, const struct xn_xs_frame *frame)
{
	size_t at = 0, path_len, token_len;
	const char *path = xn_xs_frame_string(frame, &at, &path_len);
	const char *text = xn_xs_frame_string(frame, &at, &token_len);
	struct xn_hnode *node;
	char token[16], *end;
	unsigned long number;

	if (!path || !text || !token_len || token_len >= sizeof(token) || !path_len ||
	    path_len > XN_XS_PATH_MAX)
		return -EPROTO;
	memcpy(token, text, token_len);
	token[token_len] = '\0';
	number = strtoul(token, &end, 16);
	if (*end || number > UINT32_MAX)
		return -EPROTO;
	node = xn_hmap_first_same(&wire->spots, number);
	if (node)
		note_event(xn_container_of(node, struct wire_spot, node), path, path_len);
	return 0;
}

/* ---- the connection comes and goes ---- */

void xn_xs_wire_watch_all(struct xn_xs_wire *wire)
{
	struct xn_hnode *node;

	for (node = xn_hmap_first(&wire->spots); node; node = xn_hmap_next(&wire->spots, node)) {
		struct wire_spot *ws = xn_container_of(node, struct wire_spot, node);

		ws->state = WANTED;
		xn_xs_wire_want(wire, &ws->sender);
	}
}

void xn_xs_wire_watches_lost(struct xn_xs_wire *wire)
{
	struct xn_hnode *node;

	for (node = xn_hmap_first(&wire->spots); node; node = xn_hmap_next(&wire->spots, node))
		xn_container_of(node, struct wire_spot, node)->state = WANTED;
}
