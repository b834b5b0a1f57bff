/* See model.h. */
#include "model.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static const struct m_perms dom0_only = {.aces = {{{0, 1}, 'n'}}, .n = 1};

/* ---- identities and rights ---- */

static bool is_same(struct m_who a, struct m_who b)
{
	return a.domid == b.domid && a.birth == b.birth;
}

struct m_who m_who_has(const struct model *m, uint32_t domid)
{
	bool is_there = domid < M_DOMIDS && m->domains[domid].is_alive;

	return (struct m_who){domid, is_there ? m->domains[domid].birth : 0};
}

static bool is_alive(const struct model *m, struct m_who who)
{
	return who.birth && is_same(who, m_who_has(m, who.domid));
}

static bool is_meant(const struct model *m, const struct m_ace *ace, struct m_who who)
{
	const struct m_domain *domain = &m->domains[who.domid];

	return is_same(ace->who, who) || (domain->has_target && is_alive(m, domain->target) &&
					  is_same(ace->who, domain->target));
}

static bool owns(const struct model *m, const struct m_perms *perms, struct m_who who)
{
	return !who.domid || is_meant(m, &perms->aces[0], who);
}

static bool may(const struct model *m, const struct m_perms *perms, struct m_who who, char what)
{
	char letter = perms->aces[0].letter;

	if (owns(m, perms, who))
		return true;
	for (unsigned i = 1; i < perms->n; i++)
		if (is_meant(m, &perms->aces[i], who)) {
			letter = perms->aces[i].letter;
			break;
		}
	return letter == what || letter == 'b';
}

static void print_perms(const struct model *m, const struct m_perms *perms, char *out)
{
	for (unsigned i = 0; i < perms->n; i++) {
		struct m_who who = perms->aces[i].who;

		if (i && who.birth && !is_alive(m, who))
			continue; /* a dead domain's rights are nobody's */
		out += sprintf(out, "%c%u,", perms->aces[i].letter, who.domid);
	}
}

/* ---- the tree ---- */

static struct m_node *find(struct m_tree *tree, const char *path)
{
	for (unsigned i = 0; i < tree->n; i++)
		if (strcmp(tree->nodes[i].path, path) == 0)
			return &tree->nodes[i];
	return NULL;
}

static void parent_of(const char *path, char out[M_PATH])
{
	char *slash;

	snprintf(out, M_PATH, "%s", path);
	slash = strrchr(out, '/');
	slash[slash == out] = '\0';
}

static bool is_below(const char *path, const char *top)
{
	size_t len = strcmp(top, "/") ? strlen(top) : 0;

	return strcmp(path, "/") && strncmp(path, top, len) == 0 && path[len] == '/';
}

/* The full path that a given one means to a domain. */
static void resolve(const struct m_who *who, const char *path, char out[M_PATH])
{
	if (*path == '/' || *path == '@')
		snprintf(out, M_PATH, "%s", path);
	else
		sprintf(out, "/local/domain/%u/%.60s", who->domid, path);
}

static struct m_change *add_change(struct m_set *set, enum m_kind kind, const char *path,
				   unsigned node, unsigned parent)
{
	struct m_change *change = &set->changes[set->n++];

	assert(set->n <= M_CHANGES);
	*change = (struct m_change){.kind = kind, .node = node, .parent = parent};
	snprintf(change->path, M_PATH, "%s", path);
	return change;
}

static struct m_node *make(struct model *m, struct m_tree *tree, struct m_set *set,
			   const char *path, struct m_who who, bool implied)
{
	char up[M_PATH];
	struct m_node *parent, *node;

	parent_of(path, up);
	parent = find(tree, up);
	if (!parent)
		parent = make(m, tree, set, up, who, true);
	assert(tree->n < M_NODES);
	node = &tree->nodes[tree->n++];
	*node = (struct m_node){.id = ++m->next_id, .perms = parent->perms};
	snprintf(node->path, M_PATH, "%s", path);
	if (who.domid)
		node->perms.aces[0].who = who; /* a guest owns what it makes */
	add_change(set, M_CREATED, path, node->id, parent->id)->implied = implied;
	return node;
}

static void unmake(struct m_tree *tree, struct m_set *set, const char *path)
{
	char top[M_PATH], up[M_PATH];

	snprintf(top, sizeof(top), "%s", path); /* it may be a node's own */
	parent_of(top, up);
	add_change(set, M_REMOVED, top, find(tree, top)->id, find(tree, up)->id);
	for (unsigned i = tree->n; i-- > 0;)
		if (strcmp(tree->nodes[i].path, top) == 0 ||
		    is_below(tree->nodes[i].path, top)) {
			assert(set->n_graves < M_GRAVES);
			set->graves[set->n_graves++] =
				(struct m_grave){.node = tree->nodes[i], .by = set->n - 1};
			tree->nodes[i] = tree->nodes[--tree->n];
		}
}

static int by_text(const void *a, const void *b)
{
	return strcmp(a, b);
}

static void list(struct m_tree *tree, const char *path, char *out)
{
	char names[M_NODES][M_PATH], up[M_PATH];
	unsigned n = 0;

	for (unsigned i = 0; i < tree->n; i++) {
		const char *child = tree->nodes[i].path;

		parent_of(child, up);
		if (strcmp(child, "/") && strcmp(up, path) == 0)
			strcpy(names[n++], strrchr(child, '/') + 1);
	}
	qsort(names, n, sizeof(names[0]), by_text);
	for (unsigned i = 0; i < n; i++)
		out += sprintf(out, "%s,", names[i]);
}

/* ---- requests ---- */

/* The node, or the deepest that is there on the way to it: it decides what may be known. */
static struct m_node *nearest(struct m_tree *tree, const char *path)
{
	char at[M_PATH], up[M_PATH];
	struct m_node *node;

	snprintf(at, sizeof(at), "%s", path);
	while (!(node = find(tree, at))) {
		parent_of(at, up);
		strcpy(at, up);
	}
	return node;
}

static int change_perms(struct model *m, struct m_node *near, bool is_there, struct m_set *set,
			struct m_who who, const struct m_request *q)
{
	if (!may(m, &near->perms, who, 'w') || !owns(m, &near->perms, who))
		return -EACCES;
	if (!is_there)
		return -ENOENT;
	if (who.domid && !is_same(q->perms.aces[0].who, near->perms.aces[0].who))
		return -EPERM; /* only the control domain gives nodes away */
	add_change(set, M_PERMS_SET, near->path, near->id, 0)->old_perms = near->perms;
	near->perms = q->perms;
	return 0;
}

static unsigned owned_by(const struct m_tree *tree, struct m_who who)
{
	unsigned n = 0;

	for (unsigned i = 0; i < tree->n; i++)
		n += is_same(tree->nodes[i].perms.aces[0].who, who);
	return n;
}

/* Whether a domain may have what it would own with @path and all that is missing above it. */
static bool has_room(const struct model *m, struct m_tree *tree, struct m_who who, const char *path)
{
	char at[M_PATH], up[M_PATH];
	unsigned missing = 0;

	snprintf(at, sizeof(at), "%s", path);
	for (; !find(tree, at); missing++) {
		parent_of(at, up);
		strcpy(at, up);
	}
	return m->no_quotas || !who.domid || owned_by(tree, who) + missing <= M_MOST_NODES;
}

static int write_or_make(struct model *m, struct m_tree *tree, struct m_set *set, struct m_who who,
			 const char *path, const struct m_request *q)
{
	struct m_node *node = find(tree, path);

	if (!node && !has_room(m, tree, who, path))
		return -ENOSPC;
	if (!node)
		node = make(m, tree, set, path, who, false);
	else if (q->type == XN_XS_WIRE_MKDIR)
		return 0;
	else
		add_change(set, M_VALUE_SET, path, node->id, 0);
	if (q->type == XN_XS_WIRE_WRITE)
		strcpy(node->value, q->value);
	return 0;
}

static int take_away(struct m_tree *tree, struct m_set *set, const char *path, bool is_there)
{
	char up[M_PATH];

	parent_of(path, up);
	if (!is_there)
		return find(tree, up) ? 0 : -ENOENT;
	unmake(tree, set, path);
	return 0;
}

static void run_on(struct model *m, struct m_tree *tree, struct m_set *set, struct m_who who,
		   const struct m_request *q, struct m_answer *out)
{
	char path[M_PATH];
	struct m_node *near;
	bool is_there;

	memset(out, 0, sizeof(*out));
	resolve(&who, q->path, path);
	near = nearest(tree, path);
	is_there = strcmp(near->path, path) == 0;
	switch (q->type) {
	case XN_XS_WIRE_READ:
	case XN_XS_WIRE_DIRECTORY:
	case XN_XS_WIRE_GET_PERMS:
		if (!may(m, &near->perms, who, 'r'))
			out->rc = -EACCES;
		else if (!is_there)
			out->rc = -ENOENT;
		else if (q->type == XN_XS_WIRE_READ)
			strcpy(out->text, near->value);
		else if (q->type == XN_XS_WIRE_DIRECTORY)
			list(tree, path, out->text);
		else
			print_perms(m, &near->perms, out->text);
		return;
	case XN_XS_WIRE_SET_PERMS:
		out->rc = change_perms(m, near, is_there, set, who, q);
		return;
	case XN_XS_WIRE_RM:
		if (strcmp(path, "/") == 0)
			out->rc = -EINVAL;
		else if (!may(m, &near->perms, who, 'w'))
			out->rc = -EACCES;
		else
			out->rc = take_away(tree, set, path, is_there);
		return;
	default:
		out->rc = may(m, &near->perms, who, 'w')
				  ? write_or_make(m, tree, set, who, path, q)
				  : -EACCES;
	}
}

/* ---- watch events ---- */

static const struct m_perms *perms_of(struct model *m, unsigned id)
{
	for (unsigned i = 0; i < m->tree.n; i++)
		if (m->tree.nodes[i].id == id)
			return &m->tree.nodes[i].perms;
	for (unsigned i = 0; i < m->set.n_graves; i++)
		if (m->set.graves[i].node.id == id)
			return &m->set.graves[i].node.perms;
	return NULL;
}

static struct m_event *find_event(struct model *m, unsigned conn, const char *path,
				  const char *token)
{
	for (unsigned i = 0; i < m->n_events; i++) {
		struct m_event *event = &m->events[i];

		if (event->conn == conn && strcmp(event->path, path) == 0 &&
		    strcmp(event->token, token) == 0)
			return event;
	}
	return NULL;
}

static void owe(struct model *m, unsigned conn, const struct m_watch *watch, const char *full)
{
	size_t cut = strlen(watch->full) - strlen(watch->path);
	const char *path = strlen(full) >= cut ? full + cut : full;
	struct m_event *event = find_event(m, conn, path, watch->token);

	if (!event) {
		assert(m->n_events < M_EVENTS);
		event = &m->events[m->n_events++];
		event->conn = conn;
		strcpy(event->path, path);
		strcpy(event->token, watch->token);
	}
	event->is_due = true;
	event->is_here = false;
}

static int levels(const char *path)
{
	int n = 0;

	for (; *path; path++)
		n += *path == '/' && path[1];
	return n;
}

static bool may_know(struct model *m, struct m_who who, const struct m_perms *one,
		     const struct m_perms *two, const struct m_perms *three)
{
	return (one && may(m, one, who, 'r')) || (two && may(m, two, who, 'r')) ||
	       (three && may(m, three, who, 'r'));
}

static void fire_above(struct model *m, unsigned conn, const struct m_watch *watch,
		       const struct m_change *change)
{
	bool has_old = change->kind == M_PERMS_SET;
	bool has_parent = change->kind == M_CREATED || change->kind == M_REMOVED;

	if (strcmp(change->path, watch->full) != 0 && !is_below(change->path, watch->full))
		return;
	if (watch->depth != M_NO_DEPTH &&
	    levels(change->path) - levels(watch->full) > watch->depth)
		return;
	if (may_know(m, m->conns[conn].who, perms_of(m, change->node),
		     has_old ? &change->old_perms : NULL,
		     has_parent ? perms_of(m, change->parent) : NULL))
		owe(m, conn, watch, change->path);
}

/* A watch on something that went away with a node above it is told of its own path. */
static void fire_below(struct model *m, unsigned conn, const struct m_watch *watch,
		       const struct m_change *change)
{
	const struct m_node *gone = NULL, *above = NULL;
	char up[M_PATH];

	if (change->kind != M_REMOVED || !is_below(watch->full, change->path))
		return;
	parent_of(watch->full, up);
	for (unsigned i = 0; i < m->set.n_graves; i++) {
		const struct m_grave *grave = &m->set.graves[i];

		if (&m->set.changes[grave->by] != change)
			continue;
		if (strcmp(grave->node.path, watch->full) == 0)
			gone = &grave->node;
		if (strcmp(grave->node.path, up) == 0)
			above = &grave->node;
	}
	if (gone && may_know(m, m->conns[conn].who, &gone->perms, NULL, &above->perms))
		owe(m, conn, watch, watch->full);
}

static void each_watch(struct model *m, const struct m_change *change,
		       void (*visit)(struct model *m, unsigned conn, const struct m_watch *watch,
				     const struct m_change *change))
{
	for (unsigned c = 0; c < M_CONNS; c++)
		for (unsigned i = 0; m->conns[c].is_open && i < M_WATCHES; i++)
			if (m->conns[c].watches[i].is_set && m->conns[c].watches[i].full[0] != '@')
				visit(m, c, &m->conns[c].watches[i], change);
}

static void disturb_transactions(struct model *m)
{
	for (unsigned c = 0; c < M_CONNS; c++)
		for (unsigned i = 0; i < M_TRANSACTIONS; i++)
			m->conns[c].transactions[i].is_quiet = false;
}

static void finish_set(struct model *m)
{
	for (unsigned i = 0; i < m->set.n; i++) {
		if (m->set.changes[i].implied)
			continue;
		each_watch(m, &m->set.changes[i], fire_above);
		each_watch(m, &m->set.changes[i], fire_below);
	}
	if (m->set.n)
		disturb_transactions(m);
	m->set.n = m->set.n_graves = 0;
}

static void fire_special(struct model *m, unsigned special, uint32_t domid)
{
	static const char *const names[] = {"@introduceDomain", "@releaseDomain"};

	for (unsigned c = 0; c < M_CONNS; c++)
		for (unsigned i = 0; m->conns[c].is_open && i < M_WATCHES; i++) {
			const struct m_watch *watch = &m->conns[c].watches[i];
			char path[M_PATH];

			if (!watch->is_set || strcmp(watch->path, names[special]) != 0 ||
			    !may(m, &m->special[special], m->conns[c].who, 'r'))
				continue;
			snprintf(path, sizeof(path), "%s/%u", names[special], domid);
			owe(m, c, watch, watch->depth == 1 ? path : names[special]);
		}
}

bool m_event_came(struct model *m, unsigned conn, const char *path, const char *token)
{
	struct m_event *event = find_event(m, conn, path, token);

	if (event)
		event->is_here = true;
	return event || (m->is_again && m->conns[conn].is_kept);
}

void m_events_may_come(struct model *m, struct model *before)
{
	for (unsigned i = 0; i < m->n_events; i++) {
		struct m_event *event = &m->events[i];
		const struct m_event *old =
			find_event(before, event->conn, event->path, event->token);

		event->is_due &= old && old->is_due;
	}
}

const struct m_event *m_events_settle(struct model *m)
{
	for (unsigned i = 0; i < m->n_events; i++)
		if (m->events[i].is_due && !m->events[i].is_here)
			return &m->events[i];
	m->n_events = 0;
	m->is_again = false;
	return NULL;
}

/* ---- what a connection asks ---- */

static void run_on_special(struct model *m, struct m_who who, const struct m_request *q,
			   struct m_answer *out)
{
	struct m_perms *perms = &m->special[strcmp(q->path, "@releaseDomain") == 0];

	memset(out, 0, sizeof(*out));
	if (q->type == XN_XS_WIRE_SET_PERMS && who.domid)
		out->rc = -EACCES;
	else if (q->type == XN_XS_WIRE_SET_PERMS)
		*perms = q->perms;
	else if (!may(m, perms, who, 'r'))
		out->rc = -EACCES;
	else
		print_perms(m, perms, out->text);
}

void m_run(struct model *m, unsigned conn, const struct m_request *q, struct m_answer *out)
{
	if (q->path[0] == '@') {
		run_on_special(m, m->conns[conn].who, q, out);
		return;
	}
	run_on(m, &m->tree, &m->set, m->conns[conn].who, q, out);
	finish_set(m);
}

static bool is_told(const struct m_answer *a, const struct m_answer *b)
{
	return a->rc == b->rc && strcmp(a->text, b->text) == 0;
}

/* A node must not come to a domain that has died since it was told that it may. */
static bool gives_to_the_dead(const struct model *m, const struct m_request *q,
			      const struct m_answer *told)
{
	struct m_who owner = q->perms.aces[0].who;

	return q->type == XN_XS_WIRE_SET_PERMS && !told->rc && owner.birth && !is_alive(m, owner);
}

/* All of it again on @tree. 0 when each request tells what it told. */
static int run_again(struct model *m, struct m_tree *tree, struct m_set *set, struct m_who who,
		     const struct m_transaction *tx, struct m_answer *last)
{
	for (unsigned i = 0; i < tx->n; i++) {
		if (gives_to_the_dead(m, &tx->log[i], &tx->told[i]))
			return -EAGAIN;
		run_on(m, tree, set, who, &tx->log[i], last);
		if (!is_told(last, &tx->told[i]))
			return last->rc == -ENOSPC ? -ENOSPC : -EAGAIN;
	}
	return 0;
}

bool m_told(struct model *m, unsigned conn, struct m_transaction *tx, const struct m_request *q,
	    const struct m_answer *told, struct m_answer *expected)
{
	static struct m_tree copy;
	static struct m_set set;
	int rc;

	assert(tx->n < M_LOG);
	tx->log[tx->n] = *q;
	tx->told[tx->n++] = *told;
	copy = m->tree;
	set.n = set.n_graves = 0;
	m->no_quotas = told->rc != -ENOSPC;
	rc = tx->is_quiet ? run_again(m, &copy, &set, m->conns[conn].who, tx, expected) : 0;
	m->no_quotas = false;
	if (told->rc == -ENOSPC) {
		tx->n--;
		return !tx->is_quiet || rc == 0 || rc == -ENOSPC;
	}
	return !rc; /* if others have changed something: the commit will tell */
}

static unsigned count_transactions(const struct model *m, struct m_who who)
{
	unsigned n = 0;

	for (unsigned c = 0; c < M_CONNS; c++)
		for (unsigned i = 0; i < M_TRANSACTIONS; i++)
			n += m->conns[c].is_open && is_same(m->conns[c].who, who) &&
			     m->conns[c].transactions[i].id;
	return n;
}

int m_begin(const struct model *m, unsigned conn)
{
	struct m_who who = m->conns[conn].who;

	return who.domid && count_transactions(m, who) >= M_MOST_TRANSACTIONS ? -ENOSPC : 0;
}

int m_commit(struct model *m, unsigned conn, struct m_transaction *tx)
{
	static struct m_tree copy;
	struct m_answer last;
	int rc;

	copy = m->tree;
	rc = run_again(m, &copy, &m->set, m->conns[conn].who, tx, &last);
	if (rc < 0) {
		m->set.n = m->set.n_graves = 0;
		return rc;
	}
	m->tree = copy;
	finish_set(m);
	return 0;
}

/* A path is the same one whether it is given from the root or from the domain's own directory. */
static struct m_watch *find_watch(struct m_conn *conn, const char *path, const char *token)
{
	char full[M_PATH];

	resolve(&conn->who, path, full);
	for (unsigned i = 0; i < M_WATCHES; i++)
		if (conn->watches[i].is_set && strcmp(conn->watches[i].full, full) == 0 &&
		    strcmp(conn->watches[i].token, token) == 0)
			return &conn->watches[i];
	return NULL;
}

static unsigned count_watches(const struct model *m, struct m_who who)
{
	unsigned n = 0;

	for (unsigned c = 0; c < M_CONNS; c++)
		for (unsigned i = 0; i < M_WATCHES; i++)
			n += m->conns[c].is_open && is_same(m->conns[c].who, who) &&
			     m->conns[c].watches[i].is_set;
	return n;
}

int m_watch(struct model *m, unsigned conn, const struct m_request *q)
{
	struct m_conn *c = &m->conns[conn];
	struct m_watch *watch = c->watches;

	if (find_watch(c, q->path, q->token))
		return -EEXIST;
	if (c->who.domid && count_watches(m, c->who) >= M_MOST_WATCHES)
		return -E2BIG;
	while (watch->is_set)
		watch++;
	assert(watch < c->watches + M_WATCHES);
	*watch = (struct m_watch){.is_set = true, .depth = q->depth};
	strcpy(watch->path, q->path);
	strcpy(watch->token, q->token);
	resolve(&c->who, q->path, watch->full);
	owe(m, conn, watch, watch->full);
	return 0;
}

static void forget_watch(struct model *m, unsigned conn, struct m_watch *watch)
{
	watch->is_set = false;
	for (unsigned i = 0; i < m->n_events; i++)
		if (m->events[i].conn == conn && strcmp(m->events[i].token, watch->token) == 0)
			m->events[i].is_due = false;
}

int m_unwatch(struct model *m, unsigned conn, const struct m_request *q)
{
	struct m_watch *watch = find_watch(&m->conns[conn], q->path, q->token);

	if (!watch)
		return -ENOENT;
	forget_watch(m, conn, watch);
	return 0;
}

void m_conn_open(struct model *m, unsigned conn, uint32_t domid)
{
	m->conns[conn] = (struct m_conn){.is_open = true, .who = m_who_has(m, domid)};
}

void m_conn_reset(struct model *m, unsigned conn)
{
	for (unsigned i = 0; i < M_WATCHES; i++)
		if (m->conns[conn].watches[i].is_set)
			forget_watch(m, conn, &m->conns[conn].watches[i]);
	for (unsigned i = 0; i < M_TRANSACTIONS; i++)
		m->conns[conn].transactions[i].id = 0;
}

void m_conn_close(struct model *m, unsigned conn)
{
	m_conn_reset(m, conn);
	m->conns[conn].is_open = false;
}

void m_crash(struct model *m)
{
	unsigned n = 0;

	for (unsigned i = 0; i < M_CONNS; i++) {
		struct m_conn *conn = &m->conns[i];

		if (conn->is_open && !conn->is_kept)
			m_conn_close(m, i);
		for (unsigned k = 0; k < M_TRANSACTIONS; k++) {
			conn->transactions[k].is_lost = true;
			conn->transactions[k].is_quiet = false;
		}
	}
	for (unsigned i = 0; i < m->n_events; i++)
		if (m->conns[m->events[i].conn].is_open)
			m->events[n++] = m->events[i];
	m->n_events = n;
	m->is_again = true;
}

/* ---- domains ---- */

void m_domain_add(struct model *m, uint32_t domid)
{
	m->domains[domid] = (struct m_domain){.is_alive = true, .birth = ++m->births};
}

void m_domain_introduce(struct model *m, uint32_t domid)
{
	m->domains[domid].is_introduced = true;
	fire_special(m, 0, domid);
}

void m_domain_stopped(struct model *m, uint32_t domid)
{
	m->domains[domid].is_stopped = true;
	fire_special(m, 1, domid);
}

void m_domain_resume(struct model *m, uint32_t domid)
{
	m->domains[domid].is_stopped = false;
}

static bool is_topmost(struct m_tree *tree, const struct m_node *node, struct m_who owner)
{
	for (unsigned i = 0; i < tree->n; i++)
		if (is_same(tree->nodes[i].perms.aces[0].who, owner) &&
		    strcmp(tree->nodes[i].path, "/") != 0 &&
		    is_below(node->path, tree->nodes[i].path))
			return false;
	return true;
}

void m_domain_release(struct model *m, uint32_t domid)
{
	struct m_who who = m_who_has(m, domid);
	unsigned i = 0;

	if (is_same(find(&m->tree, "/")->perms.aces[0].who, who)) { /* it stays, as nobody's */
		struct m_node *root = find(&m->tree, "/");

		add_change(&m->set, M_PERMS_SET, "/", root->id, 0)->old_perms = root->perms;
		root->perms = dom0_only;
		finish_set(m);
	}
	while (i < m->tree.n) {
		struct m_node *node = &m->tree.nodes[i++];

		if (!is_same(node->perms.aces[0].who, who) || strcmp(node->path, "/") == 0 ||
		    !is_topmost(&m->tree, node, who))
			continue;
		unmake(&m->tree, &m->set, node->path);
		finish_set(m);
		i = 0;
	}
	for (unsigned special = 0; special < 2; special++)
		if (is_same(m->special[special].aces[0].who, who))
			m->special[special] = dom0_only;
	m->domains[domid].is_alive = m->domains[domid].is_introduced = false;
	fire_special(m, 1, domid);
}

void m_domain_set_target(struct model *m, uint32_t domid, uint32_t target)
{
	m->domains[domid].has_target = true;
	m->domains[domid].target = m_who_has(m, target);
	/* What it was refused in one it may now: the commit will tell. */
	disturb_transactions(m);
}

unsigned m_nodes_of(const struct model *m, struct m_who who)
{
	return owned_by(&m->tree, who);
}

void m_init(struct model *m)
{
	memset(m, 0, sizeof(*m));
	m_domain_add(m, 0);
	m->domains[0].is_introduced = true;
	m->special[0] = m->special[1] = dom0_only;
	m->tree.nodes[m->tree.n++] = (struct m_node){.id = ++m->next_id, .path = "/", .perms = dom0_only};
}
