/*
 * Transactions of the embedded store: when they conflict, and a random test against a model. The
 * model keeps paths in a list and, at a commit, simply runs the transaction's requests again on a
 * copy: exactly then may the store refuse, when one of them would now tell something else.
 */
#include "tests/unit/cmocka_all.h"

#include "modules/xenstore/store/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct fixture {
	struct xn_xs_store *store;
	struct xn_xs_conn *a, *b; /* both of domain 0 */
	uint32_t ta, tb;
};

static int set_up(void **state)
{
	struct fixture *f = xn_calloc(1, sizeof(*f));

	f->store = xn_xs_store_new(NULL, NULL);
	f->a = xn_xs_conn_new(xn_xs_domain_find(f->store, 0));
	f->b = xn_xs_conn_new(xn_xs_domain_find(f->store, 0));
	assert_int_equal(xn_xs_conn_write_string(f->a, 0, "/k", "0"), 0);
	assert_int_equal(xn_xs_conn_begin(f->a, &f->ta), 0);
	assert_int_equal(xn_xs_conn_begin(f->b, &f->tb), 0);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	xn_xs_conn_free(f->a);
	xn_xs_conn_free(f->b);
	xn_xs_store_free(f->store);
	free(f);
	return 0;
}

static int read_rc(struct xn_xs_conn *conn, uint32_t tx, const char *path)
{
	const char *value;
	size_t len;

	return xn_xs_conn_read(conn, tx, path, &value, &len);
}

static void put(struct xn_xs_conn *conn, uint32_t tx, const char *path)
{
	assert_int_equal(xn_xs_conn_write_string(conn, tx, path, "1"), 0);
}

static void changes_are_seen_inside_only_until_the_commit(void **state)
{
	struct fixture *f = *state;

	put(f->a, f->ta, "/new/x");
	assert_int_equal(xn_xs_conn_rm(f->a, f->ta, "/k"), 0);
	assert_int_equal(read_rc(f->a, f->ta, "/new/x"), 0);
	assert_int_equal(read_rc(f->a, f->ta, "/k"), -ENOENT);
	assert_int_equal(read_rc(f->b, 0, "/new/x"), -ENOENT);
	assert_int_equal(read_rc(f->b, 0, "/k"), 0);
	assert_int_equal(xn_xs_conn_end(f->a, f->ta, true), 0);
	assert_int_equal(read_rc(f->b, 0, "/new/x"), 0);
	assert_int_equal(read_rc(f->b, 0, "/k"), -ENOENT);
	assert_int_equal(xn_xs_conn_end(f->a, f->ta, true), -ENOENT);
}

static void an_aborted_one_leaves_no_trace(void **state)
{
	struct fixture *f = *state;
	uint64_t nodes = xn_xs_conn_domain(f->a)->account.nodes;
	uint64_t bytes = xn_xs_conn_domain(f->a)->account.transaction_bytes; /* of two */

	put(f->a, f->ta, "/new/x");
	assert_int_equal(xn_xs_conn_end(f->a, f->ta, false), 0);
	assert_int_equal(read_rc(f->a, 0, "/new"), -ENOENT);
	assert_int_equal(xn_xs_conn_domain(f->a)->account.nodes, nodes);
	assert_int_equal(xn_xs_conn_domain(f->a)->account.transaction_bytes, bytes / 2);
}

static void two_that_make_the_same_parent_both_commit(void **state)
{
	struct fixture *f = *state;

	put(f->a, f->ta, "/backend/vbd/1/x");
	put(f->b, f->tb, "/backend/vbd/2/x");
	assert_int_equal(xn_xs_conn_end(f->a, f->ta, true), 0);
	assert_int_equal(xn_xs_conn_end(f->b, f->tb, true), 0);
	assert_int_equal(read_rc(f->a, 0, "/backend/vbd/1/x"), 0);
	assert_int_equal(read_rc(f->a, 0, "/backend/vbd/2/x"), 0);
}

static void read_modify_write_of_one_key_lets_one_win(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(read_rc(f->a, f->ta, "/k"), 0);
	assert_int_equal(read_rc(f->b, f->tb, "/k"), 0);
	put(f->a, f->ta, "/k");
	put(f->b, f->tb, "/k");
	assert_int_equal(xn_xs_conn_end(f->a, f->ta, true), 0);
	assert_int_equal(xn_xs_conn_end(f->b, f->tb, true), -EAGAIN);
}

static void blind_writes_of_one_key_both_commit(void **state)
{
	struct fixture *f = *state;

	put(f->a, f->ta, "/k");
	put(f->b, f->tb, "/k");
	assert_int_equal(xn_xs_conn_end(f->a, f->ta, true), 0);
	assert_int_equal(xn_xs_conn_end(f->b, f->tb, true), 0);
}

static void a_listing_conflicts_with_a_new_child_but_not_with_a_new_value(void **state)
{
	struct fixture *f = *state;
	struct xn_buf names = {0};

	assert_int_equal(xn_xs_conn_directory(f->a, f->ta, "/", &names), 0);
	put(f->b, 0, "/k");
	assert_int_equal(xn_xs_conn_end(f->a, f->ta, true), 0);
	assert_int_equal(xn_xs_conn_directory(f->b, f->tb, "/", &names), 0);
	put(f->a, 0, "/child");
	assert_int_equal(xn_xs_conn_end(f->b, f->tb, true), -EAGAIN);
	xn_buf_clear(&names);
}

static void that_something_was_absent_counts_as_read(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(read_rc(f->a, f->ta, "/absent"), -ENOENT);
	put(f->b, 0, "/absent");
	assert_int_equal(xn_xs_conn_end(f->a, f->ta, true), -EAGAIN);
}

static void a_value_written_back_is_no_conflict(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(read_rc(f->a, f->ta, "/k"), 0);
	put(f->b, 0, "/k");
	assert_int_equal(xn_xs_conn_write_string(f->b, 0, "/k", "0"), 0);
	assert_int_equal(xn_xs_conn_end(f->a, f->ta, true), 0);
}

/* XSA-421 */
static void made_and_removed_inside_leaves_the_accounts_right(void **state)
{
	struct fixture *f = *state;
	const struct xn_xs_account *account = &xn_xs_conn_domain(f->a)->account;
	uint64_t nodes = account->nodes, bytes = account->node_bytes;

	put(f->a, f->ta, "/t/u/v");
	assert_int_equal(xn_xs_conn_rm(f->a, f->ta, "/t/u"), 0);
	put(f->a, f->ta, "/t/u/w");
	assert_int_equal(xn_xs_conn_rm(f->a, f->ta, "/t"), 0);
	assert_int_equal(xn_xs_conn_end(f->a, f->ta, true), 0);
	assert_int_equal(account->nodes, nodes);
	assert_int_equal(account->node_bytes, bytes);
}

/* XSA-414, 415: the last request of the commit fails; nothing of those before it may stay. */
static void a_commit_that_fails_late_leaves_nothing(void **state)
{
	struct fixture *f = *state;
	const struct xn_xs_account *account = &xn_xs_conn_domain(f->a)->account;
	uint64_t nodes, bytes;

	put(f->a, 0, "/t/old");
	put(f->a, 0, "/w");
	put(f->a, f->ta, "/n/e/w");
	assert_int_equal(xn_xs_conn_rm(f->a, f->ta, "/t"), 0);
	assert_int_equal(xn_xs_conn_set_perms(f->a, f->ta, "/k", "n5", 2), 0);
	assert_int_equal(xn_xs_conn_set_perms(f->a, f->ta, "/w", "n5", 2), 0);
	assert_int_equal(xn_xs_conn_rm(f->b, 0, "/w"), 0);
	nodes = account->nodes;
	bytes = account->node_bytes;
	assert_int_equal(xn_xs_conn_end(f->a, f->ta, true), -EAGAIN);
	assert_int_equal(read_rc(f->a, 0, "/n"), -ENOENT);
	assert_int_equal(read_rc(f->a, 0, "/t/old"), 0);
	assert_int_equal(account->nodes, nodes);
	assert_int_equal(account->node_bytes, bytes);
}

static void asking_again_and_again_costs_nothing(void **state)
{
	struct fixture *f = *state;
	uint64_t bytes;

	assert_int_equal(read_rc(f->a, f->ta, "/k"), 0);
	bytes = xn_xs_conn_domain(f->a)->account.transaction_bytes;
	for (int i = 0; i < 1000; i++)
		assert_int_equal(read_rc(f->a, f->ta, "/k"), 0);
	assert_int_equal(xn_xs_conn_domain(f->a)->account.transaction_bytes, bytes);
}

/* ---- the model ---- */

enum { MAX_NODES = 200, MAX_LOG = 40, MAX_ACES = 3, N_CLIENTS = 4 };
enum kind { READ, LIST, PERMS, WRITE, MKDIR, RM, SET_PERMS, N_KINDS };

struct ace {
	unsigned domid;
	char letter;
};
struct model_node {
	char path[24], value[4];
	struct ace aces[MAX_ACES];
	unsigned n_aces;
};
struct model {
	struct model_node nodes[MAX_NODES]; /* any order */
	unsigned n;
};
struct request {
	enum kind kind;
	char path[24], value[4];
	struct ace aces[MAX_ACES];
	unsigned n_aces;
};
struct answer {
	int rc;
	char text[300];
};

static struct model_node *model_find(struct model *m, const char *path)
{
	for (unsigned i = 0; i < m->n; i++)
		if (!strcmp(m->nodes[i].path, path))
			return &m->nodes[i];
	return NULL;
}

static void parent_of(const char *path, char out[24])
{
	snprintf(out, 24, "%s", path);
	*strrchr(out, '/') = '\0';
	if (!*out)
		strcpy(out, "/");
}

static bool model_may(const struct model_node *node, unsigned who, char letter)
{
	char has = node->aces[0].letter;

	if (!who || node->aces[0].domid == who)
		return true;
	for (unsigned i = 1; i < node->n_aces; i++)
		if (node->aces[i].domid == who) {
			has = node->aces[i].letter;
			break;
		}
	return has == letter || has == 'b';
}

/* 0, or the refusal; *nearest: the deepest that exists. */
static int model_check(struct model *m, const char *path, unsigned who, char letter,
		       struct model_node **node, struct model_node **nearest)
{
	char up[24];

	*node = *nearest = model_find(m, path);
	snprintf(up, sizeof(up), "%s", path);
	while (!*nearest) {
		char next[24];

		parent_of(up, next);
		strcpy(up, next);
		*nearest = model_find(m, up);
	}
	if (!model_may(*nearest, who, letter))
		return -EACCES;
	return *node ? 0 : -ENOENT;
}

static bool is_below(const char *path, const char *top)
{
	size_t len = strlen(top);

	return !strncmp(path, top, len) && path[len] == '/';
}

static struct model_node *model_make(struct model *m, const char *path, unsigned who)
{
	struct model_node *up, *node;
	char parent[24];

	parent_of(path, parent);
	up = model_find(m, parent);
	if (!up)
		up = model_make(m, parent, who);
	assert_true(m->n < MAX_NODES);
	node = &m->nodes[m->n++];
	*node = *up;
	node->value[0] = '\0';
	strcpy(node->path, path);
	if (who)
		node->aces[0].domid = who;
	return node;
}

static void model_rm(struct model *m, const char *path)
{
	for (unsigned i = 0; i < m->n;)
		if (!strcmp(m->nodes[i].path, path) || is_below(m->nodes[i].path, path))
			m->nodes[i] = m->nodes[--m->n];
		else
			i++;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(a, b);
}

static void model_list(const struct model *m, const char *path, char out[300])
{
	char names[MAX_NODES][24];
	unsigned n = 0;
	size_t len = strcmp(path, "/") ? strlen(path) : 0;

	for (unsigned i = 0; i < m->n; i++) {
		const char *p = m->nodes[i].path;

		if (p[1] && !strncmp(p, path, len) && p[len] == '/' && !strchr(p + len + 1, '/'))
			strcpy(names[n++], p + len + 1);
	}
	qsort(names, n, sizeof(names[0]), by_text);
	out[0] = '\0';
	for (unsigned i = 0; i < n; i++)
		snprintf(out + strlen(out), 300 - strlen(out), "%.23s,", names[i]);
}

static void print_aces(const struct ace *aces, unsigned n, char separator, char *out)
{
	*out = '\0';
	for (unsigned i = 0; i < n; i++)
		out += sprintf(out, "%c%u%c", aces[i].letter, aces[i].domid, separator);
}

static void model_run(struct model *m, const struct request *q, unsigned who, struct answer *out)
{
	struct model_node *node, *nearest;
	int rc = model_check(m, q->path, who, q->kind >= WRITE ? 'w' : 'r', &node, &nearest);

	memset(out, 0, sizeof(*out));
	switch (q->kind) {
	case READ:
		if (!rc)
			strcpy(out->text, node->value);
		break;
	case LIST:
		if (!rc)
			model_list(m, q->path, out->text);
		break;
	case PERMS:
		if (!rc)
			print_aces(node->aces, node->n_aces, ',', out->text);
		break;
	case WRITE:
	case MKDIR:
		if (rc == -ENOENT) {
			node = model_make(m, q->path, who);
			rc = 0;
		} else if (q->kind == MKDIR) {
			break;
		}
		if (!rc && q->kind == WRITE)
			strcpy(node->value, q->value);
		break;
	case RM:
		if (rc == -ENOENT) {
			char parent[24];

			parent_of(q->path, parent);
			rc = model_find(m, parent) ? 0 : -ENOENT;
		} else if (!rc) {
			model_rm(m, q->path);
		}
		break;
	default:
		if (who && nearest->aces[0].domid != who)
			rc = -EACCES;
		if (rc)
			break;
		if (who && q->aces[0].domid != node->aces[0].domid) {
			rc = -EPERM;
			break;
		}
		memcpy(node->aces, q->aces, sizeof(node->aces));
		node->n_aces = q->n_aces;
	}
	out->rc = rc;
}

/* ---- the same request on the store ---- */

static void commas(struct xn_buf *names, struct answer *out)
{
	for (size_t i = 0; i < names->len; i++)
		out->text[i] = names->data[i] ? names->data[i] : ',';
	xn_buf_clear(names);
}

static void store_run(struct xn_xs_conn *conn, uint32_t tx, const struct request *q,
		      struct answer *out)
{
	struct xn_buf names = {0};
	const char *value;
	char text[40];
	size_t len;

	memset(out, 0, sizeof(*out));
	switch (q->kind) {
	case READ:
		out->rc = xn_xs_conn_read(conn, tx, q->path, &value, &len);
		if (!out->rc)
			memcpy(out->text, value, len);
		break;
	case LIST:
		out->rc = xn_xs_conn_directory(conn, tx, q->path, &names);
		commas(&names, out);
		break;
	case PERMS:
		out->rc = xn_xs_conn_get_perms(conn, tx, q->path, &names);
		commas(&names, out);
		break;
	case WRITE:
		out->rc = xn_xs_conn_write_string(conn, tx, q->path, q->value);
		break;
	case MKDIR:
		out->rc = xn_xs_conn_mkdir(conn, tx, q->path);
		break;
	case RM:
		out->rc = xn_xs_conn_rm(conn, tx, q->path);
		break;
	default:
		print_aces(q->aces, q->n_aces, ' ', text);
		out->rc = xn_xs_conn_set_perms(conn, tx, q->path, text, strlen(text));
	}
}

/* ---- random schedules ---- */

struct client {
	struct xn_xs_conn *conn;
	unsigned domid;
	uint32_t tx;
	bool is_quiet; /* nobody else changed anything since it began */
	struct request log[MAX_LOG];
	struct answer told[MAX_LOG];
	unsigned n_log;
};

struct world {
	uint64_t seed, random;
	struct xn_xs_store *store;
	struct model model;
	struct client clients[N_CLIENTS];
	unsigned commits, conflicts;
};

static unsigned pick(struct world *w, unsigned n)
{
	w->random = w->random * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(w->random >> 33) % n;
}

static void random_request(struct world *w, struct request *q)
{
	unsigned depth = 1 + pick(w, 3);

	memset(q, 0, sizeof(*q));
	q->kind = (enum kind)pick(w, N_KINDS);
	if (q->kind == RM && pick(w, 2))
		q->kind = WRITE;
	for (unsigned i = 0; i < depth; i++)
		sprintf(q->path + strlen(q->path), "/%c", (char)('a' + pick(w, 3)));
	if (q->kind < WRITE && !pick(w, 8))
		strcpy(q->path, "/");
	sprintf(q->value, "%u", pick(w, 4));
	q->n_aces = 1 + pick(w, MAX_ACES);
	for (unsigned i = 0; i < q->n_aces; i++)
		q->aces[i] = (struct ace){pick(w, 3), "nrwb"[pick(w, 4)]};
}

static bool are_same(const struct answer *a, const struct answer *b)
{
	return a->rc == b->rc && !strcmp(a->text, b->text);
}

static void assert_same(struct world *w, const struct request *q, const struct answer *store,
			const struct answer *model)
{
	if (!are_same(store, model))
		fail_msg("seed %llu: request %d %s: store %d \"%s\", model %d \"%s\"",
			 (unsigned long long)w->seed, (int)q->kind, q->path, store->rc, store->text,
			 model->rc, model->text);
}

static void somebody_changed(struct world *w, struct client *by)
{
	for (unsigned i = 0; i < N_CLIENTS; i++)
		if (&w->clients[i] != by)
			w->clients[i].is_quiet = false;
}

static void single_request(struct world *w, struct client *c)
{
	struct request q;
	struct answer store, model;

	random_request(w, &q);
	store_run(c->conn, 0, &q, &store);
	model_run(&w->model, &q, c->domid, &model);
	assert_same(w, &q, &store, &model);
	if (q.kind >= WRITE)
		somebody_changed(w, NULL);
}

static void request_inside(struct world *w, struct client *c)
{
	static struct model view;
	struct request *q = &c->log[c->n_log];
	struct answer model;

	random_request(w, q);
	store_run(c->conn, c->tx, q, &c->told[c->n_log]);
	if (c->is_quiet) { /* then what it is told is exactly its own changes on the store */
		view = w->model;
		for (unsigned i = 0; i <= c->n_log; i++)
			model_run(&view, &c->log[i], c->domid, &model);
		assert_same(w, q, &c->told[c->n_log], &model);
	}
	c->n_log++;
}

static void commit(struct world *w, struct client *c)
{
	static struct model after;
	struct answer model;
	int rc = xn_xs_conn_end(c->conn, c->tx, true), expected = 0;

	after = w->model;
	for (unsigned i = 0; i < c->n_log && !expected; i++) {
		model_run(&after, &c->log[i], c->domid, &model);
		if (!are_same(&model, &c->told[i]))
			expected = -EAGAIN;
	}
	if (rc != expected)
		fail_msg("seed %llu: commit gave %d, the model %d", (unsigned long long)w->seed, rc,
			 expected);
	if (!rc) {
		w->model = after;
		somebody_changed(w, NULL);
		w->commits++;
	} else {
		w->conflicts++;
	}
	c->tx = 0;
}

static void compare_all(struct world *w)
{
	for (unsigned i = 0; i < w->model.n; i++)
		for (unsigned kind = READ; kind <= PERMS; kind++) {
			struct request q = {.kind = (enum kind)kind};
			struct answer store, model;

			strcpy(q.path, w->model.nodes[i].path);
			store_run(w->clients[0].conn, 0, &q, &store);
			model_run(&w->model, &q, 0, &model);
			assert_same(w, &q, &store, &model);
		}
}

static void step(struct world *w)
{
	struct client *c = &w->clients[pick(w, N_CLIENTS)];
	unsigned what = pick(w, 10);

	if (!c->tx && what < 6) {
		assert_int_equal(xn_xs_conn_begin(c->conn, &c->tx), 0);
		c->is_quiet = true;
		c->n_log = 0;
	} else if (!c->tx) {
		single_request(w, c);
	} else if (what == 0 || c->n_log == MAX_LOG) {
		commit(w, c);
	} else if (what == 1 && !pick(w, 4)) {
		assert_int_equal(xn_xs_conn_end(c->conn, c->tx, false), 0);
		c->tx = 0;
	} else {
		request_inside(w, c);
	}
}

static void assert_accounts(struct world *w)
{
	unsigned owned[3] = {0};

	for (unsigned i = 0; i < w->model.n; i++)
		owned[w->model.nodes[i].aces[0].domid]++;
	for (unsigned d = 0; d < 3; d++)
		assert_int_equal(xn_xs_domain_find(w->store, d)->account.nodes, owned[d]);
}

static void run_seed(struct world *w, uint64_t seed)
{
	static const unsigned domids[N_CLIENTS] = {0, 0, 1, 2};

	w->seed = w->random = seed;
	w->store = xn_xs_store_new(NULL, NULL);
	xn_xs_domain_add(w->store, 1);
	xn_xs_domain_add(w->store, 2);
	w->model.n = 1;
	w->model.nodes[0] = (struct model_node){.path = "/", .n_aces = 1, .aces = {{0, 'n'}}};
	for (unsigned i = 0; i < N_CLIENTS; i++) {
		memset(&w->clients[i], 0, sizeof(w->clients[i]));
		w->clients[i].domid = domids[i];
		w->clients[i].conn = xn_xs_conn_new(xn_xs_domain_find(w->store, domids[i]));
	}
	for (unsigned i = 0; i < 400; i++)
		step(w);
	compare_all(w);
	assert_accounts(w);
	for (unsigned i = 0; i < N_CLIENTS; i++)
		xn_xs_conn_free(w->clients[i].conn);
	xn_xs_store_free(w->store);
}

static void any_schedule_tells_what_the_model_tells(void **state)
{
	const char *only = getenv("XN_SEED"); /* of a failure, to see it again */
	struct world *w = xn_calloc(1, sizeof(*w));

	if (only) {
		run_seed(w, strtoull(only, NULL, 10));
	} else {
		for (uint64_t seed = 1; seed <= 2000; seed++)
			run_seed(w, seed);
		assert_true(w->commits > 1000 && w->conflicts > 300); /* both were tried */
	}
	free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		T(changes_are_seen_inside_only_until_the_commit),
		T(an_aborted_one_leaves_no_trace),
		T(two_that_make_the_same_parent_both_commit),
		T(read_modify_write_of_one_key_lets_one_win),
		T(blind_writes_of_one_key_both_commit),
		T(a_listing_conflicts_with_a_new_child_but_not_with_a_new_value),
		T(that_something_was_absent_counts_as_read),
		T(a_value_written_back_is_no_conflict),
		T(made_and_removed_inside_leaves_the_accounts_right),
		T(a_commit_that_fails_late_leaves_nothing),
		T(asking_again_and_again_costs_nothing),
		cmocka_unit_test(any_schedule_tells_what_the_model_tells),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
