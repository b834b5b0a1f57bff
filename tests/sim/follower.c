/* Clients that know the world from events alone, across restarts; see sim.h. */
#include <stdio.h>
#include <stdlib.h>

#include "sim.h"

struct sim_follower {
	struct sim_world *world;
	unsigned index;
	struct xn_value *picture; /* "class/ref" -> record */
	char token[64];
	unsigned power_cuts; /* seen when the token was got */
	bool waiting;
};

struct sim_follower *sim_follower_new(struct sim_world *w, unsigned index)
{
	struct sim_follower *f = xn_calloc(1, sizeof(*f));

	f->world = w;
	f->index = index;
	f->picture = xn_map_new();
	return f;
}

void sim_follower_free(struct sim_follower *f)
{
	xn_value_unref(f->picture);
	free(f);
}

static void forget_all(struct sim_follower *f)
{
	xn_value_unref(f->picture);
	f->picture = xn_map_new();
	f->token[0] = '\0';
}

static void apply(struct sim_follower *f, const struct xn_value *event)
{
	const char *operation = xn_map_get_string(event, "operation");
	char *key XN_CLEANUP(xn_free_p) = xn_asprintf(
		"%s/%s", xn_map_get_string(event, "class"), xn_map_get_string(event, "ref"));
	bool known = xn_map_get(f->picture, key) != NULL;
	bool deleted = strcmp(operation, "del") == 0;

	f->world->events++;
	if (strcmp(operation, "add") == 0 ? known : !known)
		sim_fail(f->world, "follower %u got %s of %s, which it %s", f->index, operation,
			 key, known ? "knew" : "did not know");
	if (deleted)
		xn_map_remove(&f->picture, key);
	else
		xn_map_put(&f->picture, key, xn_value_ref(xn_map_get(event, "snapshot")));
}

static void ask(struct sim_follower *f);

static void on_events(const struct xn_value *result, const char *code, void *arg)
{
	struct sim_follower *f = arg;
	const struct xn_value *events;

	f->waiting = false;
	if (code) {
		if (strcmp(code, "EVENTS_LOST") != 0 || f->power_cuts == f->world->power_cuts)
			sim_fail(f->world, "follower %u got %s", f->index, code);
		forget_all(f); /* told so after a loss of power: fair */
		ask(f);
		return;
	}
	events = xn_map_get(result, "events");
	for (size_t i = 0; i < xn_set_len(events); i++)
		apply(f, xn_set_at(events, i));
	if (strcmp(xn_map_get_string(result, "token"), f->token) < 0)
		sim_fail(f->world, "follower %u's token went back", f->index);
	snprintf(f->token, sizeof(f->token), "%s", xn_map_get_string(result, "token"));
	f->power_cuts = f->world->power_cuts;
	ask(f);
}

static void ask(struct sim_follower *f)
{
	struct xn_value *classes = xn_set_new(), *params = xn_set_new();

	xn_set_append_string(&classes, "*");
	xn_set_append(&params, classes);
	xn_set_append_string(&params, f->token);
	xn_set_append(&params, xn_float(5.0 + f->index));
	f->waiting = true;
	sim_call(f->world, "event.from", params, on_events, f);
}

void sim_follower_begin(struct sim_follower *f)
{
	if (!f->token[0])
		f->power_cuts = f->world->power_cuts;
	ask(f);
}

void sim_follower_crashed(struct sim_follower *f, enum sim_death how)
{
	f->waiting = false;
}

/* "add" of everything that a fresh follower gets must be what this one knows. */
void sim_follower_check(struct sim_follower *f)
{
	struct xn_value *classes = xn_set_new(), *params = xn_set_new(), *all;
	const struct xn_value *events;

	xn_set_append_string(&classes, "*");
	xn_set_append(&params, classes);
	xn_set_append_string(&params, "");
	xn_set_append(&params, xn_float(0.0));
	all = sim_ask(f->world, "event.from", params);
	events = xn_map_get(all, "events");
	for (size_t i = 0; i < xn_set_len(events); i++) {
		const struct xn_value *event = xn_set_at(events, i);
		char *key XN_CLEANUP(xn_free_p) =
			xn_asprintf("%s/%s", xn_map_get_string(event, "class"),
				    xn_map_get_string(event, "ref"));
		const struct xn_value *mine = xn_map_get(f->picture, key);

		if (!mine)
			sim_fail(f->world, "follower %u never heard of %s", f->index, key);
		if (!xn_value_equal(mine, xn_map_get(event, "snapshot")))
			sim_fail(f->world, "follower %u's picture of %s is stale", f->index, key);
	}
	if (xn_map_len(f->picture) != xn_set_len(events))
		sim_fail(f->world, "follower %u knows %zu objects, there are %zu", f->index,
			 xn_map_len(f->picture), xn_set_len(events));
	xn_value_unref(all);
}
