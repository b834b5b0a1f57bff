/*
 * play [--real NAME] [--seeds N] [--first SEED] [--ops N] - random requests of many clients of
 * several domains, to the model (model.c) and to the real thing (real_*.c): all answers and watch
 * events must agree
 * play --seed SEED [--verbose] [--shrink] - one of them again; --shrink leaves out what the failure
 * does not need
 *
 * What operation number i does comes from the seed and i alone, so that leaving one out changes
 * little of the others.
 */
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "real.h"

static const struct real_ops *const reals[] = {&real_store_ops, &real_server_ops,
						&real_journal_ops};

struct options {
	uint64_t first, seeds;
	unsigned ops;
	bool verbose, shrink;
	const struct real_ops *real;
};

struct play {
	const struct options *options;
	const struct real_ops *ops;
	void *real;
	uint64_t seed, dice;
	unsigned at; /* number of the operation */
	struct model model;
	/* A kill came while something was asked: it has happened, or else this is how it is. */
	struct model before;
	bool is_in_doubt;
	bool died_meanwhile; /* during this step; a ring had its answer all the same */
	bool is_full; /* the journal's disk */
	uint64_t commits, conflicts, events, crashes;
};

/* ---- chance ---- */

static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15u;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

static unsigned roll(struct play *p, unsigned below)
{
	p->dice = mix(p->dice);
	return (unsigned)((p->dice >> 20) % below);
}

/* ---- telling ---- */

static void say(struct play *p, const char *fmt, ...) XN_PRINTF(2, 3);
static void say(struct play *p, const char *fmt, ...)
{
	va_list ap;

	if (!p->options->verbose)
		return;
	printf("%6u ", p->at);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
}

static void broken(struct play *p, const char *fmt, ...) XN_PRINTF(2, 3) XN_NORETURN;
static void broken(struct play *p, const char *fmt, ...)
{
	va_list ap;

	printf("seed %llu, operation %u (--real %s): ", (unsigned long long)p->seed, p->at,
	       p->ops->name);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	fflush(stdout);
	_exit(EXIT_FAILURE);
}

static const char *name_of(uint32_t type)
{
	static const char *const names[] = {
		[XN_XS_WIRE_DIRECTORY] = "directory",
		[XN_XS_WIRE_READ] = "read",
		[XN_XS_WIRE_GET_PERMS] = "get-perms",
		[XN_XS_WIRE_WATCH] = "watch",
		[XN_XS_WIRE_UNWATCH] = "unwatch",
		[XN_XS_WIRE_TRANSACTION_START] = "start",
		[XN_XS_WIRE_TRANSACTION_END] = "end",
		[XN_XS_WIRE_WRITE] = "write",
		[XN_XS_WIRE_MKDIR] = "mkdir",
		[XN_XS_WIRE_RM] = "rm",
		[XN_XS_WIRE_SET_PERMS] = "set-perms",
		[XN_XS_WIRE_RESET_WATCHES] = "reset-watches",
	};

	return type < XN_ARRAY_SIZE(names) && names[type] ? names[type] : "?";
}

static void say_request(struct play *p, unsigned conn, uint32_t tx, const struct m_request *q,
			const struct m_answer *told)
{
	char perms[40] = "";

	for (unsigned i = 0; i < q->perms.n; i++)
		sprintf(perms + strlen(perms), " %c%u", q->perms.aces[i].letter,
			q->perms.aces[i].who.domid);
	say(p, "%u (domain %u) tx %u: %s %s %s%s%s -> %s %s", conn,
	    p->model.conns[conn].who.domid, tx, name_of(q->type), q->path, q->value, q->token,
	    perms, told->rc ? xn_xs_error_name(told->rc) : "OK", told->text);
}

/* ---- what is asked ---- */

static void random_path(struct play *p, struct m_request *q)
{
	unsigned depth = roll(p, 4);

	switch (roll(p, 8)) {
	case 0:
		strcpy(q->path, "/");
		break;
	case 1:
	case 2:
		sprintf(q->path, "/local/domain/%u/", roll(p, M_DOMIDS));
		break;
	case 3:
	case 4:
		depth += !depth;
		break; /* relative */
	default:
		strcpy(q->path, "/s/");
	}
	for (; depth; depth--)
		sprintf(q->path + strlen(q->path), "%c/", 'a' + (int)roll(p, 2));
	if (q->path[1])
		q->path[strlen(q->path) - 1] = '\0';
}

static void random_perms(struct play *p, struct m_request *q)
{
	q->perms.n = 1 + roll(p, M_ACES);
	for (unsigned i = 0; i < q->perms.n; i++)
		q->perms.aces[i] =
			(struct m_ace){.who = m_who_has(&p->model, roll(p, M_DOMIDS + 1)),
				       .letter = "nrwb"[roll(p, 4)]};
}

static void random_request(struct play *p, struct m_request *q)
{
	static const uint32_t types[] = {
		XN_XS_WIRE_READ,  XN_XS_WIRE_READ,  XN_XS_WIRE_DIRECTORY, XN_XS_WIRE_GET_PERMS,
		XN_XS_WIRE_WRITE, XN_XS_WIRE_WRITE, XN_XS_WIRE_WRITE,	  XN_XS_WIRE_WRITE,
		XN_XS_WIRE_MKDIR, XN_XS_WIRE_RM,    XN_XS_WIRE_SET_PERMS,
	};

	memset(q, 0, sizeof(*q));
	q->type = types[roll(p, XN_ARRAY_SIZE(types))];
	random_path(p, q);
	if (q->type == XN_XS_WIRE_WRITE)
		snprintf(q->value, sizeof(q->value), "%.*u", 1 + (int)roll(p, 12), roll(p, 5));
	if (q->type == XN_XS_WIRE_SET_PERMS)
		random_perms(p, q);
}

static bool is_told(const struct m_answer *a, const struct m_answer *b)
{
	return a->rc == b->rc && strcmp(a->text, b->text) == 0;
}

static void expect(struct play *p, const struct m_request *q, const struct m_answer *told,
		   const struct m_answer *model)
{
	if (!is_told(told, model))
		broken(p, "%s %s: told %d \"%s\", the model says %d \"%s\"", name_of(q->type),
		       q->path, told->rc, told->text, model->rc, model->text);
}

/* Whether the daemon died during this step, and a ring's answer is that of the next one. */
static bool is_of_next_life(struct play *p, unsigned conn)
{
	p->died_meanwhile |= p->ops->was_killed && p->ops->was_killed(p->real);
	return p->died_meanwhile && p->model.conns[conn].is_kept;
}

/* The daemon died before it answered. */
static bool has_died(const struct m_answer *told)
{
	return told->rc == -ENOTCONN;
}

/* A change that finds no room on the disk is refused, and nothing has happened. */
static bool is_refused(const struct play *p, const struct m_answer *told)
{
	return p->is_full && told->rc == -ENOSPC;
}

static void doubt(struct play *p)
{
	p->before = p->model;
	p->is_in_doubt = true;
}

/* Runs it in the model as the real one told, or may have done before it died. */
static void follow(struct play *p, unsigned conn, const struct m_request *q,
		   const struct m_answer *told)
{
	struct m_answer model;

	if (is_refused(p, told))
		return;
	if (has_died(told))
		doubt(p);
	m_run(&p->model, conn, q, &model);
	if (!has_died(told))
		expect(p, q, told, &model);
}

static void single_request(struct play *p, unsigned conn)
{
	struct m_request q;
	struct m_answer told;

	random_request(p, &q);
	if ((q.type == XN_XS_WIRE_SET_PERMS || q.type == XN_XS_WIRE_GET_PERMS) && !roll(p, 4))
		strcpy(q.path, roll(p, 2) ? "@introduceDomain" : "@releaseDomain");
	p->ops->request(p->real, conn, 0, &q, &told);
	say_request(p, conn, 0, &q, &told);
	follow(p, conn, &q, &told);
}

/* ---- transactions ---- */

/* Of its domain; those count once they are named again. */
static bool has_lost_one(const struct model *m, unsigned conn)
{
	for (unsigned c = 0; c < M_CONNS; c++)
		for (unsigned i = 0; i < M_TRANSACTIONS; i++)
			if (m->conns[c].is_open && m->conns[c].transactions[i].id &&
			    m->conns[c].who.domid == m->conns[conn].who.domid &&
			    m->conns[c].transactions[i].is_lost)
				return true;
	return false;
}

static void begin(struct play *p, unsigned conn, struct m_transaction *tx)
{
	struct m_request q = {.type = XN_XS_WIRE_TRANSACTION_START};
	struct m_answer told;

	bool is_next;
	int rc;

	p->ops->request(p->real, conn, 0, &q, &told);
	say_request(p, conn, 0, &q, &told);
	is_next = is_of_next_life(p, conn);
	if (has_died(&told) || (is_next && told.rc == -ENOSPC))
		return; /* there was no room until other connections were gone */
	if (is_next)
		m_crash(&p->model);
	rc = m_begin(&p->model, conn);
	if (told.rc != rc && !has_lost_one(&p->model, conn))
		broken(p, "a transaction began with %d, the model says %d", told.rc, rc);
	if (told.rc)
		return;
	tx->is_doubtful = is_next;
	tx->is_lost = false;
	tx->id = (uint32_t)strtoul(told.text, NULL, 10);
	tx->n = 0;
	tx->is_quiet = true;
}

static void end(struct play *p, unsigned conn, struct m_transaction *tx)
{
	struct m_request q = {.type = XN_XS_WIRE_TRANSACTION_END, .commit = roll(p, 8) > 0};
	struct m_answer told, model = {0};
	bool is_quiet;

	q.commit &= !tx->is_doubtful;
	p->ops->request(p->real, conn, tx->id, &q, &told);
	say_request(p, conn, tx->id, &q, &told);
	is_quiet = tx->is_quiet;
	if (tx->is_lost || (is_of_next_life(p, conn) && told.rc == -EAGAIN)) {
		if (q.commit ? !told.rc : told.rc && told.rc != -ENOENT)
			broken(p, "a transaction from before a kill ended with %d", told.rc);
		tx->id = 0;
		return;
	}
	if (is_refused(p, &told))
		q.commit = false;
	if (has_died(&told))
		doubt(p);
	if (q.commit)
		model.rc = m_commit(&p->model, conn, tx);
	/* What is lost for two reasons may be told either. */
	if (model.rc == -ENOSPC && told.rc == -EAGAIN && !is_quiet)
		model.rc = told.rc;
	if (q.commit)
		++*(model.rc ? &p->conflicts : &p->commits);
	if (!has_died(&told) && !is_refused(p, &told))
		expect(p, &q, &told, &model);
	tx->id = 0;
}

static void inside(struct play *p, unsigned conn, struct m_transaction *tx)
{
	struct m_request q;
	struct m_answer told, model;

	random_request(p, &q);
	p->ops->request(p->real, conn, tx->id, &q, &told);
	say_request(p, conn, tx->id, &q, &told);
	if (has_died(&told) || tx->is_lost || is_of_next_life(p, conn))
		return;
	if (!m_told(&p->model, conn, tx, &q, &told, &model))
		expect(p, &q, &told, &model);
}

static void in_transaction(struct play *p, unsigned conn)
{
	struct m_transaction *tx = &p->model.conns[conn].transactions[roll(p, M_TRANSACTIONS)];

	if (!tx->id)
		begin(p, conn, tx);
	else if (tx->n == M_LOG || roll(p, 6) == 0)
		end(p, conn, tx);
	else
		inside(p, conn, tx);
}

/* What is no transaction of this connection is none. */
static void no_transaction(struct play *p, unsigned conn)
{
	struct m_request q;
	struct m_answer told;

	random_request(p, &q);
	p->ops->request(p->real, conn, 0x7fffffff, &q, &told);
	say_request(p, conn, 0x7fffffff, &q, &told);
	if (told.rc != -ENOENT && !has_died(&told))
		broken(p, "a transaction that is not told %d", told.rc);
}

/* ---- watches ---- */

static void change_watches(struct play *p, unsigned conn)
{
	struct m_watch *watch = &p->model.conns[conn].watches[roll(p, M_WATCHES)];
	struct m_request q = {.type = XN_XS_WIRE_WATCH};
	struct m_answer told, model = {0};
	bool is_next;

	if (watch->is_set && roll(p, 4)) {
		q.type = XN_XS_WIRE_UNWATCH;
		strcpy(q.path, watch->path);
		strcpy(q.token, watch->token);
	} else {
		random_path(p, &q);
		if (roll(p, 6) == 0)
			strcpy(q.path, roll(p, 2) ? "@introduceDomain" : "@releaseDomain");
		snprintf(q.token, sizeof(q.token), "t%u", roll(p, 30));
		q.depth = roll(p, 3) ? M_NO_DEPTH : (int)roll(p, 3);
	}
	if (q.type == XN_XS_WIRE_WATCH && watch->is_set)
		q.type = XN_XS_WIRE_UNWATCH; /* most likely one that is not set */
	p->ops->request(p->real, conn, 0, &q, &told);
	say_request(p, conn, 0, &q, &told);
	if (has_died(&told))
		return;
	is_next = is_of_next_life(p, conn);
	if (is_next && told.rc == -E2BIG)
		return; /* there was no room until other connections were gone */
	if (is_next)
		m_crash(&p->model);
	model.rc = q.type == XN_XS_WIRE_WATCH ? m_watch(&p->model, conn, &q)
					      : m_unwatch(&p->model, conn, &q);
	expect(p, &q, &told, &model);
}

static void reset(struct play *p, unsigned conn)
{
	struct m_request q = {.type = XN_XS_WIRE_RESET_WATCHES};
	struct m_answer told, model = {0};

	p->ops->request(p->real, conn, 0, &q, &told);
	say_request(p, conn, 0, &q, &told);
	if (has_died(&told))
		return;
	expect(p, &q, &told, &model);
	m_conn_reset(&p->model, conn);
}

static void on_event(unsigned conn, const char *path, const char *token, void *arg)
{
	struct play *p = arg;

	say(p, "   event for %u: %s %s", conn, path, token);
	p->events++;
	if (!m_event_came(&p->model, conn, path, token))
		broken(p, "connection %u was told of %s (%s)", conn, path, token);
}

static void after_a_kill(struct play *p);

static void all_events(struct play *p)
{
	const struct m_event *missing;

	while (p->ops->deliver(p->real, 1000, on_event, p))
		;
	if (p->ops->was_killed && p->ops->was_killed(p->real)) {
		after_a_kill(p);
		all_events(p);
		return;
	}
	missing = m_events_settle(&p->model);
	if (missing)
		broken(p, "connection %u was never told of %s (%s)", missing->conn, missing->path,
		       missing->token);
}

/* ---- domains and connections ---- */

static void give_a_home(struct play *p, uint32_t domid)
{
	struct m_request q = {.type = XN_XS_WIRE_WRITE};
	struct m_answer told;

	if (!p->model.conns[0].is_open)
		return;
	sprintf(q.path, "/local/domain/%u", domid);
	for (int i = 0; i < 2; i++) {
		p->ops->request(p->real, 0, 0, &q, &told);
		follow(p, 0, &q, &told);
		q.type = XN_XS_WIRE_SET_PERMS;
		q.perms.n = 1;
		q.perms.aces[0] = (struct m_ace){m_who_has(&p->model, domid), 'n'};
	}
}

static void change_domain(struct play *p)
{
	uint32_t domid = 1 + roll(p, M_DOMIDS - 1), other = 1 + roll(p, M_DOMIDS - 1);
	const struct m_domain *d = &p->model.domains[domid];

	if (!d->is_alive) {
		say(p, "domain %u comes", domid);
		p->ops->domain_add(p->real, domid);
		m_domain_add(&p->model, domid);
		give_a_home(p, domid);
	} else if (!d->is_introduced) {
		say(p, "domain %u is introduced", domid);
		p->ops->domain_introduce(p->real, domid);
		m_domain_introduce(&p->model, domid);
		if (p->ops->has_rings) {
			m_conn_open(&p->model, REAL_RINGS + domid, domid);
			p->model.conns[REAL_RINGS + domid].is_kept = true;
		}
	} else if (!d->has_target && p->model.domains[other].is_introduced && other != domid) {
		say(p, "domain %u gets target %u", domid, other);
		p->ops->domain_set_target(p->real, domid, other);
		m_domain_set_target(&p->model, domid, other);
	} else if (d->is_stopped && p->ops->domain_resume && roll(p, 2)) {
		say(p, "domain %u goes on", domid);
		p->ops->domain_resume(p->real, domid);
		m_domain_resume(&p->model, domid);
	} else if (!d->is_stopped && roll(p, 2)) {
		say(p, "domain %u stops", domid);
		p->ops->domain_stopped(p->real, domid);
		m_domain_stopped(&p->model, domid);
	} else {
		say(p, "domain %u is gone", domid);
		for (unsigned i = 0; i < M_CONNS; i++)
			if (p->model.conns[i].is_open && p->model.conns[i].who.domid == domid) {
				p->ops->conn_close(p->real, i);
				m_conn_close(&p->model, i);
			}
		p->ops->domain_release(p->real, domid);
		m_domain_release(&p->model, domid);
	}
}

static void open_or_close(struct play *p, unsigned conn)
{
	uint32_t domid = conn < 3 ? 0 : roll(p, M_DOMIDS);

	if (p->ops->has_rings && conn >= REAL_RINGS)
		return; /* they come with their domains */
	if (p->model.conns[conn].is_open) {
		say(p, "%u hangs up", conn);
		p->ops->conn_close(p->real, conn);
		m_conn_close(&p->model, conn);
	} else if (p->model.domains[domid].is_alive) {
		say(p, "%u connects as domain %u", conn, domid);
		p->ops->conn_open(p->real, conn, domid);
		m_conn_open(&p->model, conn, domid);
	}
}

static void talk_junk(struct play *p, unsigned conn)
{
	bool is_closed = false;
	unsigned kind = roll(p, 1000);
	const char *wrong;

	if (!p->ops->junk)
		return;
	wrong = p->ops->junk(p->real, conn, kind, &is_closed);
	say(p, "%u talks junk %u%s", conn, kind, is_closed ? ", closed" : "");
	if (wrong)
		broken(p, "junk %u: %s", kind, wrong);
	if (!is_closed)
		return;
	p->ops->conn_close(p->real, conn);
	m_conn_close(&p->model, conn);
}

/* ---- all of it ---- */

static void check_accounts(struct play *p)
{
	for (uint32_t domid = 0; domid < M_DOMIDS; domid++) {
		unsigned owned = m_nodes_of(&p->model, m_who_has(&p->model, domid));
		int64_t charged;

		if (!p->model.domains[domid].is_alive)
			continue;
		charged = p->ops->nodes_of(p->real, domid);
		if (charged >= 0 && charged != owned)
			broken(p, "domain %u owns %u nodes and is charged for %lld", domid, owned,
			       (long long)charged);
	}
}

/* Whether one node, or what is named like one, is told as @m has it. */
static bool is_as_in(struct play *p, struct model *m, uint32_t type, const char *path, bool must)
{
	struct m_request q = {.type = type};
	struct m_answer told, model;

	strcpy(q.path, path);
	p->ops->request(p->real, 0, 0, &q, &told);
	m_run(m, 0, &q, &model);
	if (must)
		expect(p, &q, &told, &model);
	return is_told(&told, &model);
}

/* By the control domain's eyes. @must: fails at the first difference. */
static bool tree_is_as_in(struct play *p, struct model *m, bool must)
{
	static const uint32_t reads[] = {XN_XS_WIRE_READ, XN_XS_WIRE_DIRECTORY,
					 XN_XS_WIRE_GET_PERMS};
	bool is_same = is_as_in(p, m, XN_XS_WIRE_GET_PERMS, "@introduceDomain", must) &&
		       is_as_in(p, m, XN_XS_WIRE_GET_PERMS, "@releaseDomain", must);

	for (unsigned i = 0; i < m->tree.n && is_same; i++)
		for (unsigned k = 0; k < XN_ARRAY_SIZE(reads) && is_same; k++)
			is_same = is_as_in(p, m, reads[k], m->tree.nodes[i].path, must);
	return is_same;
}

static void check_tree(struct play *p)
{
	if (p->ops->arm)
		p->ops->arm(p->real, 0);
	if (!p->model.conns[0].is_open)
		open_or_close(p, 0);
	(void)tree_is_as_in(p, &p->model, true);
	check_accounts(p);
}

/* Everything that was acknowledged is there; what was not may be. */
static void after_a_kill(struct play *p)
{
	say(p, "---- killed%s", p->is_in_doubt ? " in the middle" : "");
	p->crashes++;
	p->is_full = false;
	m_crash(&p->model);
	open_or_close(p, 0);
	if (p->is_in_doubt) {
		m_crash(&p->before);
		m_conn_open(&p->before, 0, 0);
		if (!tree_is_as_in(p, &p->model, false))
			p->model = p->before;
		else if (tree_is_as_in(p, &p->before, false))
			m_events_may_come(&p->model, &p->before);
	}
	p->is_in_doubt = p->died_meanwhile = false;
	check_tree(p);
}

/* Soon, or in the middle of what comes next. */
static void plan_a_kill(struct play *p)
{
	if (p->ops->arm && roll(p, 60) == 0)
		p->ops->arm(p->real, 1 + roll(p, 20));
}

static void fill_or_clear_the_disk(struct play *p)
{
	if (!p->ops->set_full || roll(p, p->is_full ? 20 : 300))
		return;
	p->is_full = !p->is_full;
	say(p, "the disk is %s", p->is_full ? "full" : "empty again");
	p->ops->set_full(p->real, p->is_full);
}

static void step(struct play *p)
{
	unsigned conn = roll(p, M_CONNS), what = roll(p, 100);

	fill_or_clear_the_disk(p);
	plan_a_kill(p);
	if (p->ops->arm && (what < 2 || what == 12 || what == 13 || what == 14))
		p->ops->arm(p->real, 0); /* these are not asked again */
	if (what < 2)
		change_domain(p);
	else if (!p->model.conns[conn].is_open || what < 3)
		open_or_close(p, conn);
	else if (what < 10)
		change_watches(p, conn);
	else if (what < 11 && roll(p, 3) == 0)
		reset(p, conn);
	else if (what < 12)
		no_transaction(p, conn);
	else if (what < 15)
		talk_junk(p, conn);
	else if (what < 60)
		in_transaction(p, conn);
	else
		single_request(p, conn);
	if (p->died_meanwhile || (p->ops->was_killed && p->ops->was_killed(p->real)))
		after_a_kill(p);
	if (roll(p, 2))
		all_events(p);
	if (roll(p, 200) == 0)
		check_tree(p);
}

/* @skip: operations to leave out; or NULL. */
static void play_seed(const struct options *o, uint64_t seed, const bool *skip)
{
	struct play *p = xn_calloc(1, sizeof(*p));

	p->options = o;
	p->ops = o->real;
	p->seed = seed;
	p->real = p->ops->open(seed);
	m_init(&p->model);
	for (; p->at < o->ops; p->at++) {
		p->dice = mix(seed * 1000003 + p->at);
		if (!skip || !skip[p->at])
			step(p);
	}
	all_events(p);
	check_tree(p);
	p->ops->close(p->real);
	if (o->verbose)
		printf("%llu commits, %llu conflicts, %llu events, %llu kills\n",
		       (unsigned long long)p->commits, (unsigned long long)p->conflicts,
		       (unsigned long long)p->events, (unsigned long long)p->crashes);
	free(p);
}

/* ---- leaving out what a failure does not need ---- */

static bool still_fails(const struct options *o, const bool *skip)
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		if (!freopen("/dev/null", "w", stdout) || !freopen("/dev/null", "w", stderr))
			_exit(2);
		play_seed(o, o->first, skip);
		_exit(EXIT_SUCCESS);
	}
	return waitpid(pid, &status, 0) == pid && (!WIFEXITED(status) || WEXITSTATUS(status));
}

static int shrink(const struct options *o)
{
	struct options loud = *o;
	bool *skip = xn_calloc(o->ops, sizeof(*skip)), *before = xn_calloc(o->ops, sizeof(*skip));

	if (!still_fails(o, skip)) {
		printf("seed %llu holds\n", (unsigned long long)o->first);
		return EXIT_SUCCESS;
	}
	for (unsigned size = o->ops; size; size /= 2)
		for (unsigned at = 0; at < o->ops; at += size) {
			memcpy(before, skip, o->ops);
			for (unsigned i = at; i < at + size && i < o->ops; i++)
				skip[i] = true;
			if (memcmp(before, skip, o->ops) && !still_fails(o, skip))
				memcpy(skip, before, o->ops);
		}
	loud.verbose = true;
	play_seed(&loud, o->first, skip);
	return EXIT_FAILURE;
}

static const struct real_ops *real_named(const char *name)
{
	for (size_t i = 0; i < XN_ARRAY_SIZE(reals); i++)
		if (strcmp(reals[i]->name, name) == 0)
			return reals[i];
	return NULL;
}

static bool take_options(struct options *o, int argc, char **argv)
{
	static const struct option known[] = {
		{"real", required_argument, NULL, 'r'},	{"seeds", required_argument, NULL, 'n'},
		{"first", required_argument, NULL, 'f'}, {"seed", required_argument, NULL, 's'},
		{"ops", required_argument, NULL, 'o'},	{"verbose", no_argument, NULL, 'v'},
		{"shrink", no_argument, NULL, 'x'},	{0},
	};
	int option;

	while ((option = getopt_long(argc, argv, "", known, NULL)) >= 0) {
		switch (option) {
		case 'r':
			o->real = real_named(optarg);
			break;
		case 'n':
			o->seeds = strtoull(optarg, NULL, 10);
			break;
		case 's':
			o->seeds = 1;
			/* fall through */
		case 'f':
			o->first = strtoull(optarg, NULL, 10);
			break;
		case 'o':
			o->ops = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'v':
			o->verbose = true;
			break;
		case 'x':
			o->shrink = true;
			break;
		default:
			return false;
		}
	}
	return o->real && o->ops && optind == argc;
}

int main(int argc, char **argv)
{
	struct options o = {.first = 1, .seeds = 20, .ops = 5000, .real = reals[0]};

	if (!take_options(&o, argc, argv)) {
		fprintf(stderr, "usage: %s [--real NAME] [--seeds N] [--first SEED] [--ops N]\n"
				"       %s --seed SEED [--verbose] [--shrink]\n",
			argv[0], argv[0]);
		return 2;
	}
	if (o.shrink)
		return shrink(&o);
	for (uint64_t seed = o.first; seed < o.first + o.seeds; seed++)
		play_seed(&o, seed, NULL);
	printf("%llu operations on the %s as the model has them\n",
	       (unsigned long long)(o.seeds * o.ops), o.real->name);
	return EXIT_SUCCESS;
}
