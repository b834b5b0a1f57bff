/*
 * Programs of the control domain that keep something of their own in xenstore, by frames on links in
 * memory: what was acknowledged is there after the daemon's end, what was under way happened whole or
 * not at all, and a picture that follows watch events alone is right whenever all is at rest.
 */
#include <stdio.h>
#include <stdlib.h>

#include "modules/xenstore/client/client.h"
#include "sim.h"
#include "tests/xenstore/peer.h"

enum { KEYS = 6, TENANTS = SIM_TENANTS, ABSENT = -1 };

struct values { /* of one tenant's keys */
	int64_t at[KEYS];
};

struct sim_tenant {
	struct sim_world *world;
	unsigned index;
	uint64_t dice; /* its own: others' stay as they are without it */
	struct peer_daemon daemon; /* a view of the world's */
	struct peer *peer;
	struct xn_xs_conn *eyes; /* of the checks */
	struct xn_timer tick;
	bool rests;
	bool lost_power; /* since it last looked */
	struct values acknowledged, wanted; /* wanted: once what is under way has happened */
	struct values picture[TENANTS];	    /* by watch events */
	uint32_t request, transaction;	    /* under way; 0: none */
	unsigned left;			    /* writes of the transaction to come */
	bool is_last;			    /* what is under way decides */
};

static unsigned roll(struct sim_tenant *t, unsigned below)
{
	t->dice = t->dice * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(t->dice >> 33) % below;
}

static void path_of(unsigned tenant, unsigned key, char out[32])
{
	snprintf(out, 32, "/tenant/%u/key%u", tenant, key);
}

/* ---- looking ---- */

static int64_t look_at(struct sim_tenant *t, unsigned tenant, unsigned key)
{
	char path[32], text[24];
	const char *value;
	size_t len;

	path_of(tenant, key, path);
	if (xn_xs_conn_read(t->eyes, 0, path, &value, &len) < 0)
		return ABSENT;
	snprintf(text, sizeof(text), "%.*s", (int)(len < 23 ? len : 23), value);
	return strtoll(text, NULL, 10);
}

static void look(struct sim_tenant *t, unsigned tenant, struct values *out)
{
	for (unsigned key = 0; key < KEYS; key++)
		out->at[key] = look_at(t, tenant, key);
}

static bool are_same(const struct values *a, const struct values *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

/* ---- asking ---- */

static void send(struct sim_tenant *t, uint32_t type, const void *body, size_t len)
{
	t->request = peer_send(t->peer, type, t->transaction, body, len);
}

static void send_write(struct sim_tenant *t)
{
	unsigned key = roll(t, KEYS);
	char body[64];
	int len;

	path_of(t->index, key, body);
	len = (int)strlen(body) + 1;
	if (!t->transaction && roll(t, 5) == 0) {
		t->wanted.at[key] = ABSENT;
		send(t, XN_XS_WIRE_RM, body, (size_t)len);
	} else {
		t->wanted.at[key] = (int64_t)roll(t, 1000000);
		len += snprintf(body + len, sizeof(body) - (size_t)len, "%lld",
				(long long)t->wanted.at[key]);
		send(t, XN_XS_WIRE_WRITE, body, (size_t)len);
	}
	t->is_last = !t->transaction;
}

static void ask(struct sim_tenant *t)
{
	if (t->transaction && !t->left--) {
		send(t, XN_XS_WIRE_TRANSACTION_END, "T", 2);
		t->is_last = true;
	} else if (t->transaction || roll(t, 2)) {
		send_write(t);
	} else {
		send(t, XN_XS_WIRE_TRANSACTION_START, "", 1);
		t->left = 1 + roll(t, 3);
		t->is_last = false;
	}
}

/* ---- hearing ---- */

static void on_answer(struct sim_tenant *t, const struct peer_frame *frame)
{
	bool was_begin = frame->type == XN_XS_WIRE_TRANSACTION_START;

	if (frame->request != t->request)
		return; /* to setting the watch */
	t->request = 0;
	/* A removal of what is not there, below what is not there, tells so. */
	if (frame->type == XN_XS_WIRE_ERROR && strcmp(frame->body, "ENOENT") != 0 &&
	    strcmp(frame->body, "EAGAIN") != 0)
		sim_fail(t->world, "xenstore refused a tenant: %s", frame->body);
	if (was_begin)
		t->transaction = (uint32_t)strtoul(frame->body, NULL, 10);
	if (!t->is_last)
		return;
	t->transaction = 0;
	t->is_last = false;
	if (frame->type == XN_XS_WIRE_ERROR)
		t->wanted = t->acknowledged;
	else
		t->acknowledged = t->wanted;
}

static void on_event(struct sim_tenant *t, const char *path)
{
	unsigned tenant, key;

	if (strcmp(path, "/tenant") == 0) {
		for (unsigned i = 0; i < TENANTS; i++)
			look(t, i, &t->picture[i]);
		return;
	}
	if (sscanf(path, "/tenant/%u/key%u", &tenant, &key) == 2 && tenant < TENANTS && key < KEYS)
		t->picture[tenant].at[key] = look_at(t, tenant, key);
}

static void hear(struct sim_tenant *t)
{
	struct peer_frame frame;

	while (peer_take(t->peer, &frame)) {
		sim_trace(t->world, frame.body, frame.len);
		if (frame.type == XN_XS_WIRE_WATCH_EVENT)
			on_event(t, frame.body);
		else
			on_answer(t, &frame);
	}
}

static void on_tick(struct xn_timer *timer)
{
	struct sim_tenant *t = xn_container_of(timer, struct sim_tenant, tick);

	hear(t);
	if (!t->request && (!t->rests || t->transaction))
		ask(t);
	xn_timer_arm(t->world->loop, &t->tick, t->world->plan.think_us / 2 + roll(t, 20000),
		     on_tick);
}

/* ---- lives ---- */

static void check_after_start(struct sim_tenant *t)
{
	struct values now;

	look(t, t->index, &now);
	/* What a host held that has lost its power is its own affair. */
	if (!t->lost_power && !are_same(&now, &t->acknowledged) &&
	    !(t->is_last && are_same(&now, &t->wanted)))
		sim_fail(t->world, "tenant %u's keys in xenstore are not those acknowledged",
			 t->index);
	t->lost_power = false;
	t->acknowledged = t->wanted = now;
	t->request = t->transaction = 0;
	t->is_last = false;
}

void sim_tenant_begin(struct sim_tenant *t)
{
	struct xn_xenstore *xs = xn_xenstore_of(&t->world->core);
	struct xn_xs_domain *dom0;

	t->daemon = (struct peer_daemon){.core = {.loop = t->world->loop},
					 .store = xn_xenstore_embedded(xs),
					 .server = xs->server};
	xn_list_init(&t->daemon.peers);
	dom0 = xn_xs_domain_find(t->daemon.store, 0);
	t->eyes = xn_xs_conn_new(dom0);
	check_after_start(t);
	t->peer = peer_new(&t->daemon, dom0);
	peer_send(t->peer, XN_XS_WIRE_WATCH, 0, PEER_BODY("/tenant\0picture"));
	xn_timer_arm(t->world->loop, &t->tick, 1 + roll(t, 20000), on_tick);
}

/* Before the daemon stops in an orderly way, which looks for what is left open. */
void sim_tenant_end(struct sim_tenant *t)
{
	peer_free(t->peer);
	t->peer = NULL;
	xn_xs_conn_free(t->eyes);
	t->eyes = NULL;
	xn_timer_cancel(&t->tick);
}

void sim_tenant_crashed(struct sim_tenant *t, enum sim_death how)
{
	t->lost_power |= how == SIM_POWER_CUT;
	if (t->peer)
		t->peer->connection = NULL; /* nobody is left to tell */
	peer_free(t->peer);
	t->peer = NULL;
	t->eyes = NULL;
	t->tick = (struct xn_timer){0};
}

void sim_tenant_rest(struct sim_tenant *t)
{
	t->rests = true;
}

void sim_tenant_check(struct sim_tenant *t)
{
	struct values now;

	hear(t);
	if (t->request)
		sim_fail(t->world, "tenant %u has no answer from xenstore", t->index);
	look(t, t->index, &now);
	if (!are_same(&now, &t->acknowledged))
		sim_fail(t->world, "tenant %u's keys are not those acknowledged", t->index);
	for (unsigned i = 0; i < TENANTS; i++) {
		look(t, i, &now);
		if (!are_same(&now, &t->picture[i]))
			sim_fail(t->world, "tenant %u was not told of a change to %u's keys",
				 t->index, i);
	}
}

struct sim_tenant *sim_tenant_new(struct sim_world *w, unsigned index)
{
	struct sim_tenant *t = xn_calloc(1, sizeof(*t));

	t->world = w;
	t->index = index;
	t->dice = w->seed * 31 + index;
	for (unsigned key = 0; key < KEYS; key++)
		t->acknowledged.at[key] = t->wanted.at[key] = ABSENT;
	return t;
}

void sim_tenant_free(struct sim_tenant *t)
{
	free(t);
}
