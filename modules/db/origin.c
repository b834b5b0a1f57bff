/*
 * Who makes the changes of a turn: said by whoever runs a call or a step, for the callback under way.
 * A worker's result comes back in a callback of its own: who knows the task says it again there
 * (xn_db_keep_origin), else it is whoever was last named for the caller that the work was submitted
 * for. What nobody answers for is the daemon's own.
 */
#include "modules/db/db_internal.h"

#include <stdio.h>
#include <stdlib.h>

enum { KNOWN_MAX = 1024 };

struct known { /* whom a caller's number stands for */
	struct xn_hnode node;
	struct xn_list link; /* db->origins, the one named longest ago first */
	uint64_t caller;
	char texts[2][XN_ORIGIN_TEXT]; /* session, caller */
};

static struct known *find(struct xn_db *db, uint64_t caller)
{
	struct xn_hnode *node = xn_hmap_first_same(&db->origins_by_caller, caller);

	return node ? xn_container_of(node, struct known, node) : NULL;
}

static void forget(struct xn_db *db, struct known *known)
{
	xn_hmap_remove(&db->origins_by_caller, &known->node);
	xn_list_remove(&known->link);
	free(known);
}

void xn_origins_clear(struct xn_db *db)
{
	while (!xn_list_empty(&db->origins))
		forget(db, xn_list_entry(db->origins.next, struct known, link));
	xn_hmap_clear(&db->origins_by_caller);
}

static void remember(struct xn_db *db, uint64_t caller)
{
	struct known *known = find(db, caller);

	if (!known) {
		if (db->origins_by_caller.count >= KNOWN_MAX)
			forget(db, xn_list_entry(db->origins.next, struct known, link));
		known = xn_calloc(1, sizeof(*known));
		known->caller = caller;
		xn_hmap_insert(&db->origins_by_caller, &known->node, caller);
	} else {
		xn_list_remove(&known->link);
	}
	xn_list_push(&db->origins, &known->link);
	memcpy(known->texts[0], db->origin[0], XN_ORIGIN_TEXT);
	memcpy(known->texts[1], db->origin[2], XN_ORIGIN_TEXT);
}

static void set_texts(struct xn_db *db, const char *const texts[3])
{
	for (size_t i = 0; i < XN_ARRAY_SIZE(db->origin); i++) {
		const char *text = texts[i] ? texts[i] : "";

		if (strcmp(db->origin[i], text) == 0)
			continue;
		memset(db->origin[i], 0, sizeof(db->origin[i]));
		memcpy(db->origin[i], text, strnlen(text, sizeof(db->origin[i]) - 1));
		db->turn.origin_written = false;
	}
}

void xn_db_set_origin(struct xn_db *db, const struct xn_db_origin *origin)
{
	static const struct xn_db_origin daemon;
	uint64_t caller = xn_loop_own_caller(db->core->loop);
	const struct xn_db_origin *o = origin ? origin : &daemon;
	const char *const texts[3] = {o->session, o->task, o->caller};

	set_texts(db, texts);
	db->origin_callback = xn_loop_callback(db->core->loop);
	if (caller && *db->origin[0])
		remember(db, caller);
}

void xn_db_set_origin_of(struct xn_db *db, const struct xn_caller *caller, const char *task)
{
	char text[XN_ORIGIN_TEXT];
	const struct xn_db_origin origin = {caller->session, task, text};

	xn_origin_print(caller, text);
	xn_db_set_origin(db, &origin);
}

void xn_origin_print(const struct xn_caller *caller, char out[XN_ORIGIN_TEXT])
{
	size_t n = strlen(caller->user);

	_Static_assert(sizeof(caller->user) + sizeof(caller->origin) <= XN_ORIGIN_TEXT, "both fit");
	memcpy(out, caller->user, n); /* for each call: no printf */
	out[n] = '@';
	strcpy(out + n + 1, caller->origin);
}

void xn_origin_settle(struct xn_db *db)
{
	static const char *const nobody[3];
	struct xn_loop *loop = db->core->loop;
	struct known *known;

	if (db->origin_callback == xn_loop_callback(loop))
		return;
	db->origin_callback = xn_loop_callback(loop);
	known = xn_loop_own_caller(loop) ? find(db, xn_loop_own_caller(loop)) : NULL;
	if (known) {
		const char *const texts[3] = {known->texts[0], "", known->texts[1]};

		set_texts(db, texts);
	} else {
		set_texts(db, nobody);
	}
}

void xn_db_keep_origin(struct xn_db *db, struct xn_kept_origin *kept)
{
	xn_origin_settle(db);
	memcpy(kept->texts, db->origin, sizeof(kept->texts));
}

void xn_db_say_origin(struct xn_db *db, const struct xn_kept_origin *kept)
{
	const struct xn_db_origin origin = {kept->texts[0], kept->texts[1], kept->texts[2]};

	xn_db_set_origin(db, &origin);
}
