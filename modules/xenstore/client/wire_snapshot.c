/*
 * A snapshot from a foreign xenstored: each node costs a READ and, above the depth that was asked
 * for, a DIRECTORY; many are on their way at a time. Nodes wait on an agenda in the order of the
 * walk (parents first, children in byte order) and go into the snapshot in that order as soon as all
 * before them have, so a limit cuts where it would have cut in the embedded store.
 *
 * It is no transaction: a guest that writes without pause would make every one conflict. What
 * changes while it is read makes its watches fire, and its reader reads again.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "modules/xenstore/store/path.h"
#include "modules/xenstore/client/wire_client.h"

enum {
	WINDOW = 32,      /* calls of one snapshot at a time */
	MAX_DEPTH = 64,   /* nobody looks deeper */
	MAX_RESTARTS = 3, /* of a long list that changes while it is read in parts */
};

enum { VALUE = 1, KIDS = 2 };

struct node {
	struct xn_list link;
	struct reading *reading;
	unsigned level;
	unsigned ask; /* what is still to be asked for */
	unsigned in_flight;
	bool on_agenda;
	bool is_gone;     /* it vanished while it was read */
	bool is_the_rest; /* no node: stands for those that do not fit */
	bool in_parts;    /* the names of its kids come with DIRECTORY_PART */
	unsigned restarts;
	char generation[32]; /* of the list in parts */
	struct xn_buf value, names;
	size_t path_len, name_at;
	char path[];
};

/* Outlives its request when that is forgotten, until the last call in flight has ended. */
struct reading {
	struct xn_xs_wire *wire;
	struct xn_xs_request *request; /* NULL: forgotten, or ended */
	struct xn_xs_snapshot *snap;
	struct xn_xs_sender sender;
	struct xn_list agenda;
	size_t agenda_bytes; /* of paths */
	unsigned in_flight;
	int refused; /* why it cannot be read at all */
};

/* ---- the agenda ---- */

static struct node *node_new(struct reading *reading, const struct node *parent, const char *name,
			     size_t name_len)
{
	size_t base = parent && parent->path_len > 1 ? parent->path_len : 0;
	struct node *node = xn_calloc(1, sizeof(*node) + base + 1 + name_len + 1);

	node->reading = reading;
	if (parent) {
		memcpy(node->path, parent->path, base);
		node->path[base] = '/';
		node->name_at = base + 1;
		node->level = parent->level + 1;
	}
	memcpy(node->path + node->name_at, name, name_len);
	node->path_len = node->name_at + name_len;
	node->ask = VALUE | (node->level < reading->request->depth && node->level < MAX_DEPTH
				     ? KIDS
				     : 0);
	return node;
}

static void node_free(struct node *node)
{
	xn_buf_clear(&node->value);
	xn_buf_clear(&node->names);
	free(node);
}

static void node_add(struct reading *reading, struct node *node, struct xn_list *before)
{
	node->on_agenda = true;
	reading->agenda_bytes += node->path_len;
	xn_list_insert(before, &node->link);
}

/* Freed when its calls have ended. */
static void node_drop(struct node *node)
{
	xn_list_remove(&node->link);
	node->reading->agenda_bytes -= node->path_len;
	node->on_agenda = false;
	node->ask = 0;
	if (!node->in_flight)
		node_free(node);
}

static struct node *first_of(struct reading *reading)
{
	return xn_list_empty(&reading->agenda)
		       ? NULL
		       : xn_list_entry(reading->agenda.next, struct node, link);
}

static void drop_below(struct reading *reading, unsigned level)
{
	struct node *node;

	while ((node = first_of(reading)) && node->level > level)
		node_drop(node);
}

/* ---- into the snapshot ---- */

static void end(struct reading *reading, int rc)
{
	struct xn_xs_request *request = reading->request;
	struct xn_xs_snapshot *snap = reading->snap;
	struct node *node;

	while ((node = first_of(reading)))
		node_drop(node);
	xn_list_remove(&reading->sender.link);
	reading->request = NULL;
	reading->snap = NULL;
	if (!reading->in_flight)
		free(reading);
	if (request)
		xn_xs_request_end(request, rc, snap);
	else
		xn_xs_snapshot_free(snap);
}

/* False: it is full. */
static bool emit(struct reading *reading, const struct node *node)
{
	if (node->is_the_rest) {
		xn_xs_snapshot_cut(reading->snap);
		return false;
	}
	if (!node->level)
		xn_xs_snapshot_root(reading->snap, node->path);
	return xn_xs_snapshot_node(reading->snap, node->path + node->name_at,
				   node->path_len - node->name_at, node->level, node->value.data,
				   node->value.len);
}

/* Moves what is complete, and ends the request when all is: @reading may be gone afterwards. */
static void advance(struct reading *reading)
{
	struct node *node;

	while ((node = first_of(reading)) && !node->ask && !node->in_flight) {
		unsigned level = node->level;

		if (node->is_gone) {
			node_drop(node);
			drop_below(reading, level);
		} else if (emit(reading, node)) {
			node_drop(node);
		} else {
			end(reading, 0);
			return;
		}
	}
	if (!node)
		end(reading, 0);
	else if (reading->in_flight <= WINDOW / 2)
		xn_xs_wire_want(reading->wire, &reading->sender);
}

/* ---- replies ---- */

/* A call has ended. False: nobody waits for its reply, and all is seen to. */
static bool is_wanted(struct node *node, int rc)
{
	struct reading *reading = node->reading;

	node->in_flight--;
	reading->in_flight--;
	if (node->on_agenda && rc != -EIO)
		return true;
	if (!node->on_agenda && !node->in_flight)
		node_free(node);
	if (reading->request && rc == -EIO)
		end(reading, -EIO);
	else if (reading->request)
		advance(reading);
	else if (!reading->in_flight)
		free(reading);
	return false;
}

static void vanished(struct node *node)
{
	node->is_gone = true;
	node->ask = 0;
}

static void on_value(struct xn_xs_wire *wire, int rc, const struct xn_xs_frame *reply, void *arg)
{
	struct node *node = arg;

	if (!is_wanted(node, rc))
		return;
	if (rc < 0)
		vanished(node);
	else
		xn_buf_add(&node->value, reply->body, reply->len);
	advance(node->reading);
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Stands where there is more than fits, or more than the daemon tells. */
static struct node *rest_new(struct reading *reading, const struct node *parent)
{
	struct node *rest = node_new(reading, parent, "", 0);

	rest->ask = 0;
	rest->is_the_rest = true;
	return rest;
}

/* What is so far back that those before it fill the snapshot needs not be read. */
static void trim(struct reading *reading, const struct node *keep)
{
	struct node *last = xn_list_entry(reading->agenda.prev, struct node, link);
	bool has_trimmed = false;

	while (reading->agenda_bytes > reading->request->max_bytes && last != keep) {
		has_trimmed = true;
		node_drop(last);
		last = xn_list_entry(reading->agenda.prev, struct node, link);
	}
	if (has_trimmed)
		node_add(reading, rest_new(reading, NULL), &reading->agenda);
}

/* Puts the kids that node->names tells on the agenda, behind it. */
static void add_kids(struct node *node, bool is_whole)
{
	struct reading *reading = node->reading;
	struct xn_list *before = node->link.next;
	size_t n = 0, bytes = 0, limit = reading->request->max_bytes;
	const char **names;

	for (size_t at = 0; at < node->names.len; at++)
		n += !node->names.data[at];
	names = xn_calloc(n + 1, sizeof(names[0]));
	n = 0;
	for (size_t at = 0; at < node->names.len; at += strlen(node->names.data + at) + 1)
		names[n++] = node->names.data + at;
	qsort(names, n, sizeof(names[0]), compare_names);
	for (size_t i = 0; i < n && is_whole; i++) {
		struct node *kid;

		if (i && !strcmp(names[i], names[i - 1]))
			continue;
		kid = node_new(reading, node, names[i], strlen(names[i]));
		node_add(reading, kid, before);
		bytes += kid->path_len;
		is_whole = bytes <= limit;
	}
	if (!is_whole)
		node_add(reading, rest_new(reading, node), before);
	trim(reading, node);
	free(names);
	xn_buf_clear(&node->names);
}

/* The names from *at of a reply on; those that are none are left out. Whether an empty one, the mark
 * of a list's end, came. */
static bool take_names(struct node *node, const struct xn_xs_frame *reply, size_t *at)
{
	const char *name;
	size_t len;

	while ((name = xn_xs_frame_string(reply, at, &len))) {
		if (!len)
			return true;
		if (!xn_xs_name_is_valid(name, len) || node->path_len + 1 + len > XN_XS_PATH_MAX)
			continue;
		xn_buf_add(&node->names, name, len);
		xn_buf_add_char(&node->names, '\0');
	}
	return false;
}

static void on_kids(struct xn_xs_wire *wire, int rc, const struct xn_xs_frame *reply, void *arg)
{
	struct node *node = arg;
	size_t at = 0;

	if (!is_wanted(node, rc))
		return;
	if (rc == -E2BIG) {
		node->in_parts = true;
		node->ask |= KIDS;
	} else if (rc < 0) {
		vanished(node);
	} else {
		(void)take_names(node, reply, &at);
		add_kids(node, true);
	}
	advance(node->reading);
}

/* Whether this part belongs to the same state of the list as those before. */
static bool is_same_list(struct node *node, const struct xn_xs_frame *reply, size_t *at)
{
	size_t len, had = strlen(node->generation);
	const char *generation = xn_xs_frame_string(reply, at, &len);
	bool is_same = generation && len == had && !memcmp(generation, node->generation, len);

	if (!generation || len >= sizeof(node->generation))
		return false;
	memcpy(node->generation, generation, len);
	node->generation[len] = '\0';
	return is_same || !had;
}

static void on_part(struct xn_xs_wire *wire, int rc, const struct xn_xs_frame *reply, void *arg)
{
	struct node *node = arg;
	size_t at = 0, had = node->names.len;
	bool is_last = false;

	if (!is_wanted(node, rc))
		return;
	if (rc == -ENOENT) {
		vanished(node);
	} else if (rc < 0) { /* a daemon that has no such request */
		add_kids(node, false);
	} else if (!is_same_list(node, reply, &at)) {
		xn_buf_clear(&node->names);
		if (node->restarts++ < MAX_RESTARTS)
			node->ask |= KIDS;
		else
			add_kids(node, false);
	} else {
		is_last = take_names(node, reply, &at);
		if (is_last)
			add_kids(node, true);
		else if (node->names.len == had ||
			 node->names.len > node->reading->request->max_bytes)
			add_kids(node, false);
		else
			node->ask |= KIDS;
	}
	advance(node->reading);
}

/* ---- calls ---- */

static int call_kids(struct reading *reading, struct node *node)
{
	char offset[24];
	struct xn_xs_part parts[] = {
		{node->path, node->path_len + 1},
		{offset,
		 (size_t)snprintf(offset, sizeof(offset), "%zu", node->names.len) + 1}};

	if (node->in_parts)
		return xn_xs_wire_call(reading->wire, XN_XS_WIRE_DIRECTORY_PART, 0, parts, 2,
				       on_part, node);
	return xn_xs_wire_call(reading->wire, XN_XS_WIRE_DIRECTORY, 0, parts, 1, on_kids, node);
}

static void call(struct reading *reading, struct node *node)
{
	struct xn_xs_part path = {node->path, node->path_len + 1};
	int rc;

	if (node->ask & VALUE) {
		node->ask &= ~(unsigned)VALUE;
		rc = xn_xs_wire_call(reading->wire, XN_XS_WIRE_READ, 0, &path, 1, on_value, node);
	} else {
		node->ask &= ~(unsigned)KIDS;
		rc = call_kids(reading, node);
	}
	if (rc < 0)
		return;
	node->in_flight++;
	reading->in_flight++;
}

static bool send_next(struct xn_xs_sender *sender)
{
	struct reading *reading = xn_container_of(sender, struct reading, sender);

	if (reading->refused || xn_list_empty(&reading->agenda)) {
		end(reading, reading->refused);
		return false;
	}
	if (reading->in_flight >= WINDOW)
		return false;
	xn_list_each(link, &reading->agenda) {
		struct node *node = xn_list_entry(link, struct node, link);

		if (!node->ask)
			continue;
		call(reading, node);
		return true;
	}
	return false;
}

static void fail(struct xn_xs_sender *sender)
{
	end(xn_container_of(sender, struct reading, sender), -EIO);
}

/* ---- the request ---- */

void xn_xs_wire_snapshot(struct xn_xs_wire *wire, struct xn_xs_request *request)
{
	struct reading *reading = xn_calloc(1, sizeof(*reading));

	request->work = reading;
	reading->wire = wire;
	reading->request = request;
	reading->snap = xn_xs_snapshot_new(request->max_bytes);
	reading->sender = (struct xn_xs_sender){
		.send = send_next, .fail = fail, .is_urgent = request->depth == 0};
	xn_list_init(&reading->sender.link);
	xn_list_init(&reading->agenda);
	for (size_t i = 0; i < request->n; i++) {
		struct xn_xs_path path;

		if (xn_xs_path_resolve(&path, 0, request->paths[i]) < 0)
			reading->refused = -EINVAL;
		else
			node_add(reading,
				 node_new(reading, NULL, request->paths[i],
					  strlen(request->paths[i])),
				 &reading->agenda);
	}
	xn_xs_wire_want(wire, &reading->sender);
}

void xn_xs_wire_snapshot_forget(struct xn_xs_request *request)
{
	struct reading *reading = request->work;

	reading->request = NULL;
	end(reading, 0);
}
