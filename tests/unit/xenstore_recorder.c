/* A store with its history, and random histories; see xenstore_recorder.h. */
#include "tests/unit/xenstore_recorder.h"

#include <assert.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "modules/xenstore/journal/journal.h"
#include "modules/xenstore/store/store_internal.h"

/* ---- recording ---- */

static void no_wake(void *arg)
{
}

/* Small segments, and images often. */
static void open_store(struct xenstore_recorder *r)
{
	const struct xn_xs_journal_options options = {.folder = "memory",
						      .media = r->media,
						      .boot_id = r->boot_id,
						      .history_bytes = r->history_bytes,
						      .segment_bytes = 160 << 10,
						      .image_after = 16 << 10};
	struct xn_error err = {0};

	r->store = xn_xs_store_new(no_wake, NULL);
	r->journal = xn_xs_journal_open(&r->core, r->store, &options, &err);
	if (!r->journal) {
		fprintf(stderr, "%s\n", err.params[0]);
		abort();
	}
	xn_xs_media_ref(r->media);
}

static void close_store(struct xenstore_recorder *r)
{
	while (xn_xs_store_deliver(r->store, 100))
		;
	recorder_wait(r, 0, UINT_MAX);
	xn_xs_journal_close(r->journal);
	xn_xs_store_free(r->store);
}

void recorder_init(struct xenstore_recorder *r)
{
	*r = (struct xenstore_recorder){.wall_us = INT64_C(1795260948123456),
					.history_bytes = UINT64_C(1) << 30};
	xn_core_init(&r->core, xn_loop_new_virtual(1), xn_log_new(XN_LOG_ERROR, false, -1),
		     xn_config_new());
	r->media = xn_xs_media_memory_new();
	recorder_wait(r, 0, 0);
	open_store(r);
}

void recorder_clear(struct xenstore_recorder *r)
{
	struct xn_core *core = &r->core;
	struct xn_loop *loop = core->loop;
	struct xn_log *log = core->log;
	struct xn_config *config = core->config;

	close_store(r);
	xn_core_clear(core); /* its workers have the media, too */
	xn_xs_media_memory_destroy(r->media);
	xn_config_free(config);
	xn_log_free(log);
	xn_loop_free(loop);
}

void recorder_wait(struct xenstore_recorder *r, int64_t us, unsigned at_most_turns)
{
	r->wall_us += us;
	xn_loop_virtual_set_wall(r->core.loop, r->wall_us);
	if (us) /* the journal looks at the clock once a turn */
		(void)xn_loop_turn(r->core.loop, 1);
	while (r->store && xn_xs_store_deliver(r->store, 100))
		;
	while (at_most_turns-- && xn_loop_turn(r->core.loop, 100000)) /* workers take their time */
		;
	r->wall_us = xn_wall_us(r->core.loop);
}

void recorder_restart(struct xenstore_recorder *r, bool is_of_host)
{
	uint64_t generation;

	recorder_wait(r, 0, UINT_MAX);
	generation = xn_xs_store_generation(r->store);
	close_store(r);
	r->boot_id[0] += is_of_host;
	open_store(r);
	assert(xn_xs_store_generation(r->store) == generation); /* what comes next is the next one */
}

struct xn_xs_domain *recorder_add_domain(struct xenstore_recorder *r, uint32_t domid)
{
	struct xn_xs_domain *domain = xn_xs_domain_add(r->store, domid);

	xn_xs_domain_introduce(domain);
	return domain;
}

/* ---- trees as text ---- */

static void print_line(struct xn_buf *out, const char *path, const char *value, size_t len)
{
	xn_buf_printf(out, "%s = \"", path);
	for (size_t i = 0; i < len; i++)
		xn_buf_printf(out, "%02x", (unsigned char)value[i]);
	xn_buf_add_string(out, "\"   (");
}

void recorder_print_past(const struct past_tree *tree, struct xn_buf *out)
{
	struct past_node *node = tree->root;
	char room[XN_XS_PATH_MAX + 2];
	size_t len;

	for (; node; node = past_node_next(tree->root, node)) {
		print_line(out, past_node_path(node, room, &len), node->value, node->value_len);
		past_perms_print(tree,
				 &(struct xn_xs_text){node->perms->text, node->perms->len}, ',',
				 out);
		xn_buf_add_string(out, ")\n");
	}
}

static void print_store(struct xn_xs_store *store, struct xn_buf *out)
{
	struct xn_xs_node *node = store->root;
	char room[XN_XS_PATH_MAX + 1];
	unsigned level = 0;

	for (; node; node = xn_xs_node_next(store->root, node, &level)) {
		print_line(out, node->parent ? xn_xs_node_path(node, room) : "/",
			   xn_xs_node_value(node), node->value_len);
		xn_xs_perms_print(node->perms, ',', out);
		out->len--; /* the last comma */
		xn_buf_add_string(out, ")\n");
	}
}

static void note_text(struct xenstore_recorder *r, struct recorder_texts *texts)
{
	uint64_t generation = xn_xs_store_generation(r->store);
	struct xn_buf text = {0};

	if (texts->n && texts->at[texts->n - 1].generation == generation)
		free(texts->at[--texts->n].text); /* the rights of a domain that went do not count */
	if (texts->n == texts->cap) {
		texts->cap = texts->cap ? texts->cap * 2 : 64;
		texts->at = xn_realloc(texts->at, texts->cap * sizeof(texts->at[0]));
	}
	print_store(r->store, &text);
	texts->at[texts->n].generation = generation;
	texts->at[texts->n].us = r->wall_us;
	texts->at[texts->n++].text = xn_buf_steal(&text);
}

void recorder_texts_free(struct recorder_texts *texts)
{
	for (size_t i = 0; i < texts->n; i++)
		free(texts->at[i].text);
	free(texts->at);
	free(texts);
}

/* ---- play ---- */

enum { GUESTS = 4, FIRST_GUEST = 10 };

struct playing {
	struct xenstore_recorder *r;
	struct recorder_texts *texts;
	uint64_t random;
	struct xn_xs_domain *domains[GUESTS];
	struct xn_xs_conn *conns[GUESTS + 1]; /* domain 0's is the last */
	char long_name[600];
};

unsigned recorder_seed(void)
{
	const char *named = getenv("XN_TEST_SEED");

	return named ? (unsigned)strtoul(named, NULL, 10)
		     : (unsigned)time(NULL) ^ (unsigned)getpid() << 16;
}

static unsigned draw(struct playing *p, unsigned n)
{
	p->random = p->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (unsigned)(p->random >> 33) % n;
}

/* Few names, so that paths meet; some that other programs stumble over. */
static void draw_path(struct playing *p, char *out, size_t size)
{
	static const char *const names[] = {"a",   "b",	   "@value", "-r", "HEAD",
					    "git", "name", "0",	     "_",  "perms"};
	unsigned depth = 1 + draw(p, 4);
	size_t len = 0;

	if (draw(p, 4) == 0)
		len = (size_t)snprintf(out, size, "/local/domain/%u",
				       FIRST_GUEST + draw(p, GUESTS));
	else if (draw(p, 12) == 0)
		len = (size_t)snprintf(out, size, "/%s", p->long_name + draw(p, 400));
	for (unsigned i = 0; i < depth; i++)
		len += (size_t)snprintf(out + len, size - len, "/%s",
					names[draw(p, XN_ARRAY_SIZE(names))]);
}

static void write_something(struct playing *p, struct xn_xs_conn *conn, uint32_t tx,
			    const char *path)
{
	char value[700];
	size_t len = draw(p, 3) ? draw(p, 12) : 0;

	if (draw(p, 40) == 0)
		len = sizeof(value);
	for (size_t i = 0; i < len; i++)
		value[i] = (char)(draw(p, 5) ? 'a' + draw(p, 26) : draw(p, 256));
	(void)xn_xs_conn_write(conn, tx, path, value, len);
}

static void request(struct playing *p, struct xn_xs_conn *conn, uint32_t tx)
{
	char path[1200], perms[64];

	draw_path(p, path, sizeof(path));
	switch (draw(p, 8)) {
	case 0:
		(void)xn_xs_conn_rm(conn, tx, path);
		break;
	case 1:
		(void)xn_xs_conn_mkdir(conn, tx, path);
		break;
	case 2:
		snprintf(perms, sizeof(perms), "%c%u %c%u", "nrwb"[draw(p, 4)],
			 draw(p, 2) ? 0 : FIRST_GUEST + draw(p, GUESTS), "nrwb"[draw(p, 4)],
			 FIRST_GUEST + draw(p, GUESTS));
		(void)xn_xs_conn_set_perms(conn, tx, path, perms, strlen(perms));
		break;
	default:
		write_something(p, conn, tx, path);
		break;
	}
}

static void transaction(struct playing *p, struct xn_xs_conn *conn)
{
	unsigned n = 1 + draw(p, 6);
	uint32_t tx;

	if (xn_xs_conn_begin(conn, &tx) < 0)
		return;
	while (n--)
		request(p, conn, tx);
	(void)xn_xs_conn_end(conn, tx, draw(p, 5) != 0);
}

static void remove_domain(struct playing *p, unsigned i)
{
	xn_xs_conn_free(p->conns[i]);
	xn_xs_domain_release(p->domains[i]);
	p->domains[i] = NULL;
	p->conns[i] = NULL;
}

static void make_domain(struct playing *p, unsigned i)
{
	char path[32], perms[16];

	p->domains[i] = recorder_add_domain(p->r, FIRST_GUEST + i);
	p->conns[i] = xn_xs_conn_new(p->domains[i]);
	snprintf(path, sizeof(path), "/local/domain/%u", FIRST_GUEST + i);
	snprintf(perms, sizeof(perms), "n%u", FIRST_GUEST + i);
	(void)xn_xs_conn_mkdir(p->conns[GUESTS], 0, path);
	note_text(p->r, p->texts);
	(void)xn_xs_conn_set_perms(p->conns[GUESTS], 0, path, perms, strlen(perms));
}

static void change_domain(struct playing *p, unsigned i)
{
	if (p->domains[i])
		remove_domain(p, i);
	else
		make_domain(p, i);
}

static void connect_all(struct playing *p)
{
	p->conns[GUESTS] = xn_xs_conn_new(xn_xs_domain_find(p->r->store, 0));
	for (unsigned i = 0; i < GUESTS; i++) {
		p->domains[i] = xn_xs_domain_find(p->r->store, FIRST_GUEST + i);
		if (p->domains[i])
			p->conns[i] = xn_xs_conn_new(p->domains[i]);
	}
}

static void disconnect_all(struct playing *p)
{
	for (unsigned i = 0; i <= GUESTS; i++) {
		xn_xs_conn_free(p->conns[i]);
		p->conns[i] = NULL;
	}
}

static void step(struct playing *p)
{
	unsigned who = draw(p, GUESTS + 4);
	struct xn_xs_conn *conn = p->conns[who < GUESTS ? who : GUESTS];

	recorder_wait(p->r, 1 + draw(p, 3000000), draw(p, 3));
	if (draw(p, 150) == 0) {
		disconnect_all(p);
		recorder_restart(p->r, draw(p, 4) == 0);
		connect_all(p);
	} else if (draw(p, 20) == 0 || !conn) {
		change_domain(p, draw(p, GUESTS));
	} else if (draw(p, 4) == 0) {
		transaction(p, conn);
	} else {
		request(p, conn, 0);
	}
	note_text(p->r, p->texts);
}

struct recorder_texts *recorder_play(struct xenstore_recorder *recorder, unsigned seed,
				     unsigned n_steps)
{
	struct playing p = {.r = recorder,
			    .texts = xn_calloc(1, sizeof(struct recorder_texts)),
			    .random = seed * UINT64_C(2654435761) + 1};

	memset(p.long_name, 'L', sizeof(p.long_name) - 1);
	connect_all(&p);
	for (unsigned i = 0; i < n_steps; i++)
		step(&p);
	disconnect_all(&p);
	return p.texts;
}
