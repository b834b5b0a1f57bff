/*
 * What test_refusals.c needs to drive the tables of tests/module/tables: for each word of a table a
 * way to bring about what it is about, and what is refused then.
 *
 * A table has a line for each operation of a class: its name, and the checks that may refuse it in
 * the order in which they are made. `word=argument` gives a check a parameter; `!` at the end says
 * that an earlier check always refuses first. Words that are no checks: `hidden` (never listed in
 * allowed_operations) and others that flags[] in test_refusals.c explains.
 */
#ifndef XN_REFUSALS_H
#define XN_REFUSALS_H

#include "tests/module/vm_fixture.h"

enum { MAX_MADE = 40, MAX_CHECKS = 24 };

/* One operation of a table. */
struct line {
	char name[48], spelled[48]; /* spelled: in the parameters of errors */
	bool hidden, free, paused_in_upgrade;
	struct word {
		char text[32], arg[64];
		bool never;
	} checks[MAX_CHECKS];
	unsigned n_checks;
};

/* Rows made for one case, and what the case expects. */
struct scene {
	struct api *api;
	struct xn_db *db;
	const struct line *line;
	int class_id;
	struct xn_row *row; /* of the class: what is asked about */
	struct xn_row *vm, *metrics, *guest, *vbd, *vdi, *sr, *sm, *pbd, *host, *network, *pool;
	struct xn_row *made[MAX_MADE];
	unsigned n_made;
	const char *code;    /* NULL: not refused */
	char params[4][128]; /* "~": any text */
	unsigned n_params;
};

struct check {
	int class_id; /* -1: of all classes */
	const char *word;
	/* Makes the scene so that this check does not refuse. NULL: a new scene is like that. */
	void (*avoid)(struct scene *s, const char *arg);
	/*
	 * The @variant-th way (from 0) to be refused, or not to be though it looks like it. Says
	 * with refused() or fine() what is right. False: no more ways.
	 */
	bool (*make)(struct scene *s, const char *arg, int variant);
	bool unlisted_only;  /* refuses in allowed_operations only, not the call */
	bool executing_only; /* refuses the call only: allowed_operations do not look at it */
	bool always;         /* nothing avoids it */
};

/* One of the checks of refusal_checks.c; fails the test when there is none. */
const struct check *check_find(int class_id, const char *word);

struct xn_row *make_row(struct scene *s, int class_id, const char *json);
void scene_begin(struct scene *s, struct api *api, int class_id, const struct line *line);
void scene_end(struct scene *s);

#endif
