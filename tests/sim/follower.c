/* Clients that know the world from events alone, across restarts; see sim.h. */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "scan.h"
#include "sim.h"

struct sim_follower {
	struct sim_world *world;
	unsigned index;
	struct xn_value *classes; /* what it wishes to hear of */
	struct xn_value *picture; /* "class/ref" -> record */
	char token[64];
	unsigned secret_cuts;
};

/* Wishes of clients in the field: everything, a few classes, single objects. */
static struct xn_value *choose_classes(struct sim_world *w)
{
	static const char *const some[] = {"vm",   "VBD", "vif",  "vdi",     "task",
					   "host", "sr",  "pool", "message", "vm_guest_metrics"};
	struct xn_value *classes = xn_set_new();

	if (sim_chance(w, 1, 2)) {
		xn_set_append_string(&classes, "*");
		return classes;
	}
	for (size_t i = 0; i < XN_ARRAY_SIZE(some); i++)
		if (i == 0 || sim_chance(w, 1, 3))
			xn_set_append_string(&classes, some[i]);
	return classes;
}

/* In place of the whole class: the VMs that there are now. */
static void wish_for_objects(struct sim_follower *f)
{
	struct sim_world *w = f->world;
	struct xn_value *classes = xn_set_new();

	xn_set_append_string(&classes, "vbd");
	for (struct xn_row *row = xn_db_first(sim_db(w), XN_CLASS_VM); row;
	     row = xn_db_next(sim_db(w), row))
		xn_set_append(&classes, xn_stringf("VM/%s", xn_row_ref(row)));
	xn_value_unref(f->classes);
	f->classes = classes;
}

static bool is_wanted(const struct xn_value *classes, const char *key)
{
	size_t len = strcspn(key, "/");

	for (size_t i = 0; i < xn_set_len(classes); i++) {
		const char *wish = xn_value_string(xn_set_at(classes, i));

		if (strcmp(wish, "*") == 0 || strcasecmp(wish, key) == 0 ||
		    (strncasecmp(wish, key, len) == 0 && !wish[len]))
			return true;
	}
	return false;
}

struct sim_follower *sim_follower_new(struct sim_world *w, unsigned index)
{
	struct sim_follower *f = xn_calloc(1, sizeof(*f));

	f->world = w;
	f->index = index;
	f->classes = choose_classes(w);
	f->picture = xn_map_new();
	return f;
}

void sim_follower_free(struct sim_follower *f)
{
	xn_value_unref(f->classes);
	xn_value_unref(f->picture);
	free(f);
}

static void forget_all(struct sim_follower *f)
{
	xn_value_unref(f->picture);
	f->picture = xn_map_new();
	f->token[0] = '\0';
	if (sim_chance(f->world, 1, 3))
		wish_for_objects(f);
}

/* ---- an answer ---- */

struct event {
	char operation[8], class[32], ref[48], key[96];
	uint64_t stamp;
	struct scan_text snapshot;
};

static uint64_t stamp_of(const char *token)
{
	return strtoull(token, NULL, 10);
}

static struct event read_event(struct scan_text text)
{
	struct scan_text name, value;
	struct event e = {0};
	char id[24] = "";

	for (size_t pos = 0; scan_next(text, &pos, &name, &value);) {
		if (scan_is(name, "id"))
			scan_string(value, id, sizeof(id));
		else if (scan_is(name, "operation"))
			scan_string(value, e.operation, sizeof(e.operation));
		else if (scan_is(name, "class"))
			scan_string(value, e.class, sizeof(e.class));
		else if (scan_is(name, "ref"))
			scan_string(value, e.ref, sizeof(e.ref));
		else if (scan_is(name, "snapshot"))
			e.snapshot = value;
	}
	snprintf(e.key, sizeof(e.key), "%s/%s", e.class, e.ref);
	e.stamp = stamp_of(id);
	return e;
}

static void apply(struct sim_world *w, struct xn_value **picture, const struct event *e)
{
	bool known = xn_map_get(*picture, e->key) != NULL;

	w->events++;
	if (strcmp(e->operation, "add") == 0 ? known : !known)
		sim_fail(w, "a follower got %s of %s, which it %s", e->operation, e->key,
			 known ? "knew" : "did not know");
	if (strcmp(e->operation, "del") == 0)
		xn_map_remove(picture, e->key);
	else
		xn_map_put(picture, e->key, xn_string_len(e->snapshot.at, e->snapshot.len));
}

/* add, mod, del, each by stamp, and all of them between the two tokens. */
static void check_order(struct sim_world *w, const struct event *e, const struct event *before,
			const char *from, const char *to)
{
	uint64_t last = strcmp(e->operation, before->operation) == 0 ? before->stamp : 0;

	if (e->stamp < last || e->stamp <= stamp_of(from) || e->stamp > stamp_of(to))
		sim_fail(w, "event %llu (%s of %s) is out of order: after %llu, in %s to %s",
			 (unsigned long long)e->stamp, e->operation, e->key,
			 (unsigned long long)last, from, to);
}

/* A record is shown of rows that there are, or were until after the answer. */
static void check_exists(struct sim_world *w, const struct event *e, const char *token)
{
	const struct xn_tombstone *t;

	if (strcmp(e->operation, "del") == 0 || xn_db_get_any(sim_db(w), e->ref))
		return;
	for (int c = 0; c < XN_CLASS_COUNT; c++)
		for (t = NULL; (t = xn_db_tombstone(sim_db(w), c, t));)
			if (strcmp(t->ref, e->ref) == 0 && t->deleted > stamp_of(token))
				return;
	sim_fail(w, "an event tells of %s, which is not there", e->key);
}

static void apply_answer(struct sim_world *w, struct xn_value **picture, struct scan_text answer,
			 const char *from, char to[64])
{
	struct scan_text found[2], text;
	struct event e, before = {0};

	scan_members(answer, (const char *[]){"events", "token"}, found, 2);
	scan_string(found[1], to, 64);
	if (stamp_of(to) < stamp_of(from))
		sim_fail(w, "a token went back from %s to %s", from, to);
	for (size_t pos = 0; scan_next(found[0], &pos, NULL, &text);) {
		e = read_event(text);
		check_order(w, &e, &before, from, to);
		check_exists(w, &e, to);
		apply(w, picture, &e);
		before = e;
	}
}

/* The result, or len 0 and the code. */
static struct scan_text result_of(const char *body, size_t len, char code[64])
{
	struct scan_text reply = {body, len}, found[2], message;

	scan_members(reply, (const char *[]){"error", "result"}, found, 2);
	scan_members(found[0], (const char *[]){"message"}, &message, 1);
	scan_string(message, code, 64);
	return found[1];
}

/* ---- following ---- */

static void keep(struct sim_follower *f)
{
	struct sim_world *w = f->world;
	struct sim_kept *kept = &w->kept[sim_random(w, SIM_TOKENS_KEPT)];

	xn_value_unref(kept->classes);
	xn_value_unref(kept->picture);
	kept->classes = xn_value_ref(f->classes);
	kept->picture = xn_value_ref(f->picture);
	memcpy(kept->token, f->token, sizeof(kept->token));
}

static struct xn_value *from_params(const struct xn_value *classes, const char *token,
				    double timeout_s)
{
	struct xn_value *params = xn_set_new();

	xn_set_append(&params, xn_value_ref(classes));
	xn_set_append_string(&params, token);
	xn_set_append(&params, xn_float(timeout_s));
	return params;
}

static void ask(struct sim_follower *f);

static void on_events(const char *body, size_t len, void *arg)
{
	struct sim_follower *f = arg;
	char code[64], to[64];
	struct scan_text result = result_of(body, len, code);

	if (!result.len) {
		if (strcmp(code, "EVENTS_LOST") != 0 || !sim_may_be_lost(f->world, f->token))
			sim_fail(f->world, "follower %u got %s for %s", f->index, code, f->token);
		sim_say(f->world, "follower %u has lost events", f->index);
		forget_all(f);
		ask(f);
		return;
	}
	apply_answer(f->world, &f->picture, result, f->token, to);
	memcpy(f->token, to, sizeof(f->token));
	if (sim_chance(f->world, 1, 12))
		keep(f);
	ask(f);
}

static void ask(struct sim_follower *f)
{
	sim_call_raw(f->world, "event.from", from_params(f->classes, f->token, 5.0 + f->index),
		     on_events, f);
}

void sim_follower_begin(struct sim_follower *f)
{
	ask(f);
}

void sim_follower_crashed(struct sim_follower *f)
{
}

/* ---- the end ---- */

struct look { /* one event.from that is waited for */
	struct sim_world *world;
	struct xn_value **picture;
	const char *from;
	char code[64];
	bool here;
};

static void on_look(const char *body, size_t len, void *arg)
{
	struct look *look = arg;
	struct scan_text result = result_of(body, len, look->code);
	char to[64];

	look->here = true;
	if (result.len)
		apply_answer(look->world, look->picture, result, look->from, to);
}

/* "", or the code. */
static void look_since(struct look *look, const struct xn_value *classes)
{
	sim_call_raw(look->world, "event.from", from_params(classes, look->from, 0.0), on_look,
		     look);
	while (!look->here)
		xn_loop_turn(look->world->loop, SIM_SECOND);
}

struct xn_value *sim_fresh_picture(struct sim_world *w)
{
	struct xn_value *everything = xn_set_new(), *picture = xn_map_new();
	struct look look = {.world = w, .picture = &picture, .from = ""};

	xn_set_append_string(&everything, "*");
	look_since(&look, everything);
	if (look.code[0])
		sim_fail(w, "event.from: %s", look.code);
	xn_value_unref(everything);
	return picture;
}

static void compare(struct sim_world *w, const char *whose, const struct xn_value *classes,
		    const struct xn_value *picture, const struct xn_value *all)
{
	size_t n = 0;

	for (size_t i = 0; i < xn_map_len(all); i++) {
		const char *key = xn_map_key_at(all, i);
		const struct xn_value *mine = xn_map_get(picture, key);

		if (!is_wanted(classes, key))
			continue;
		n++;
		if (!mine)
			sim_fail(w, "%s: never heard of %s", whose, key);
		if (!xn_value_equal(mine, xn_map_at(all, i)))
			sim_fail(w, "%s: the picture of %s is stale", whose, key);
	}
	for (size_t i = 0; i < xn_map_len(picture) && n != xn_map_len(picture); i++)
		if (!xn_map_get(all, xn_map_key_at(picture, i)))
			sim_fail(w, "%s: was not told that %s is gone", whose,
				 xn_map_key_at(picture, i));
}

void sim_follower_check(struct sim_follower *f, const struct xn_value *all)
{
	char whose[32];

	snprintf(whose, sizeof(whose), "follower %u", f->index);
	compare(f->world, whose, f->classes, f->picture, all);
}

static void check_kept(struct sim_world *w, const struct sim_kept *kept, const struct xn_value *all)
{
	struct xn_value *picture = xn_value_ref(kept->picture);
	struct look look = {.world = w, .picture = &picture, .from = kept->token};
	char whose[96];

	look_since(&look, kept->classes);
	if (look.code[0] &&
	    (strcmp(look.code, "EVENTS_LOST") != 0 || !sim_may_be_lost(w, kept->token)))
		sim_fail(w, "the kept token %s got %s", kept->token, look.code);
	snprintf(whose, sizeof(whose), "the events since %s", kept->token);
	if (!look.code[0])
		compare(w, whose, kept->classes, picture, all);
	xn_value_unref(picture);
}

void sim_kept_check(struct sim_world *w, const struct xn_value *all)
{
	for (int i = 0; i < SIM_TOKENS_KEPT; i++)
		if (w->kept[i].classes)
			check_kept(w, &w->kept[i], all);
}
