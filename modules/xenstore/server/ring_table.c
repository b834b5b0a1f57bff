/* Which rings there are; see ring_table.h. */
#include "modules/xenstore/server/ring_table.h"

#include <errno.h>
#include <stdlib.h>

struct entry {
	struct xn_list link;
	struct xn_xs_domain *domain;
	struct xn_xs_connection *connection; /* the server's, until it closes it */
};

struct xn_xs_rings {
	struct xn_xs_host host;
	struct xn_core *core;
	struct xn_xs_store *store;
	struct xn_xs_server *server;
	struct xn_xs_journal *journal;
	struct xn_xs_carrier *carrier;
	struct xn_list entries;
	uint64_t *lost; /* births of kept rings that cannot go on, while starting */
	size_t n_lost;
};

static struct xn_xs_rings *rings_of(struct xn_xs_host *host)
{
	return xn_container_of(host, struct xn_xs_rings, host);
}

static enum xn_xs_life life_of(const struct xn_xs_rings *rings, uint32_t domid)
{
	return rings->carrier->ops->life(rings->carrier, domid);
}

/* ---- one ring ---- */

static struct entry *find(const struct xn_xs_rings *rings, const struct xn_xs_domain *domain)
{
	xn_list_each(link, &rings->entries)
	{
		struct entry *entry = xn_list_entry(link, struct entry, link);

		if (entry->domain == domain)
			return entry;
	}
	return NULL;
}

static void forget(struct xn_xs_rings *rings, struct entry *entry)
{
	if (rings->journal)
		xn_xs_journal_ring_close(rings->journal, entry->domain->birth);
	entry->domain->has_ring = false;
	xn_list_remove(&entry->link);
	free(entry);
}

/* Jobs of different domains take turns. */
static struct xn_xs_link *make_link(struct xn_xs_rings *rings, const struct xn_xs_domain *domain,
				    struct xn_xs_port *port)
{
	struct xn_xs_link *link = xn_xs_ring_new(rings->core->loop, port, domain->birth);

	if (domain->hidden_features)
		xn_xs_ring_hide(link, domain->hidden_features);
	return link;
}

static void serve(struct xn_xs_rings *rings, struct xn_xs_domain *domain, struct xn_xs_link *link,
		  const struct xn_xs_kept_ring *kept)
{
	struct entry *entry = xn_calloc(1, sizeof(*entry));

	entry->domain = domain;
	domain->has_ring = true;
	entry->connection = xn_xs_server_add_link(rings->server, domain, link, kept);
	xn_list_push(&rings->entries, &entry->link);
}

static void record(struct xn_xs_rings *rings, const struct xn_xs_domain *domain, uint64_t gfn,
		   uint32_t remote_port, const struct xn_xs_link *link)
{
	struct xn_xs_journal *journal = rings->journal;

	if (!journal)
		return;
	xn_xs_journal_begin(journal);
	xn_xs_journal_ring_open(journal, domain->birth, domain->domid, gfn, remote_port);
	xn_xs_journal_ring_input(journal, domain->birth, link->in_at, NULL, 0);
	xn_xs_journal_ring_output(journal, domain->birth, link->out_at, NULL, 0, 0);
	xn_xs_journal_end(journal);
}

/* @is_new: its page is emptied, whatever an earlier xenstore or guest has left in it. */
static int open_ring(struct xn_xs_rings *rings, struct xn_xs_domain *domain, uint64_t gfn,
		     uint32_t remote_port, bool is_new)
{
	struct xn_xs_port *port;
	struct xn_xs_link *link;
	int rc = rings->carrier->ops->open(rings->carrier, domain->domid, gfn, remote_port, &port);

	if (rc < 0) {
		xn_log_error(rings->core->log, "xenstore", "cannot open the ring of domain %u: %s",
			     domain->domid, strerror(-rc));
		return rc;
	}
	link = make_link(rings, domain, port);
	if (is_new)
		link->ops->reset(link);
	record(rings, domain, gfn, remote_port, link);
	serve(rings, domain, link, NULL);
	return 0;
}

/* ---- the host, as the server sees it ---- */

static bool host_exists(struct xn_xs_host *host, uint32_t domid)
{
	return life_of(rings_of(host), domid) != XN_XS_GONE;
}

static int host_introduce(struct xn_xs_host *host, struct xn_xs_domain *domain, uint64_t gfn,
			  uint32_t port)
{
	struct xn_xs_rings *rings = rings_of(host);
	struct entry *entry = find(rings, domain);

	if (entry) {
		xn_xs_server_drop(entry->connection);
		forget(rings, entry);
	}
	return open_ring(rings, domain, gfn, port, true);
}

static void host_release(struct xn_xs_host *host, struct xn_xs_domain *domain)
{
	struct xn_xs_rings *rings = rings_of(host);
	struct entry *entry = find(rings, domain);

	if (entry)
		forget(rings, entry);
}

/* ---- domains that stop or go ---- */

static void let_go(struct xn_xs_rings *rings, struct xn_xs_domain *domain)
{
	if (rings->journal)
		xn_xs_journal_begin(rings->journal);
	xn_xs_server_drop_domain(rings->server, domain);
	host_release(&rings->host, domain);
	xn_xs_domain_release(domain);
	if (rings->journal)
		xn_xs_journal_end(rings->journal);
}

struct domids {
	uint32_t *ids;
	size_t n, cap;
};

static void note_domid(const struct xn_xs_domain *domain, void *arg)
{
	struct domids *all = arg;

	if (!domain->domid)
		return;
	if (all->n == all->cap) {
		all->cap = all->cap ? 2 * all->cap : 64;
		all->ids = xn_realloc(all->ids, all->cap * sizeof(all->ids[0]));
	}
	all->ids[all->n++] = domain->domid;
}

/* Nobody says whose life has changed: all are asked. One that goes may take others' rights along,
 * so each is looked up anew. */
static void look_at_lives(struct xn_xs_rings *rings)
{
	struct domids all = {0};

	if (rings->carrier->ops->knows_all)
		xn_xs_store_each_domain(rings->store, note_domid, &all);
	else
		xn_list_each(link, &rings->entries)
			note_domid(xn_list_entry(link, struct entry, link)->domain, &all);
	for (size_t i = 0; i < all.n; i++) {
		struct xn_xs_domain *domain = xn_xs_domain_find(rings->store, all.ids[i]);
		enum xn_xs_life life = life_of(rings, all.ids[i]);

		if (domain && life == XN_XS_GONE)
			let_go(rings, domain);
		else if (domain && life == XN_XS_STOPPED && domain->introduced)
			xn_xs_domain_stopped(domain);
	}
	free(all.ids);
}

static void on_life(struct xn_xs_carrier *carrier, void *arg)
{
	look_at_lives(arg);
}

static bool on_lookup(uint32_t domid, void *arg)
{
	return life_of(arg, domid) != XN_XS_GONE;
}

/* ---- after a crash ---- */

/* Rings whose domains are still there; the others' connections end here. */
static void go_on(const struct xn_xs_kept_ring *was, void *arg)
{
	struct xn_xs_rings *rings = arg;
	struct xn_xs_domain *domain = xn_xs_conn_domain(was->conn);
	struct xn_xs_kept_ring kept = *was;
	struct xn_xs_port *port;
	struct xn_xs_link *link;
	ssize_t sent;
	int rc = -ESRCH;

	if (life_of(rings, kept.domid) != XN_XS_GONE)
		rc = rings->carrier->ops->open(rings->carrier, kept.domid, kept.gfn, kept.port,
					       &port);
	if (rc < 0) {
		xn_log_warn(rings->core->log, "xenstore", "cannot go on with the ring of domain %u: %s",
			    kept.domid, strerror(-rc));
		xn_xs_conn_free(kept.conn);
		rings->lost = xn_realloc(rings->lost, (rings->n_lost + 1) * sizeof(rings->lost[0]));
		rings->lost[rings->n_lost++] = domain->birth;
		return;
	}
	link = make_link(rings, domain, port);
	sent = xn_xs_ring_resume(link, kept.in_at, kept.out_at, kept.unsent_len);
	if (sent > 0) {
		kept.out_at += (uint32_t)sent;
		kept.unsent = (const char *)kept.unsent + sent;
		kept.unsent_len -= (size_t)sent;
	}
	serve(rings, domain, link, &kept);
}

/* The kernel of domain 0 is a guest as others are, but that nobody introduces it. */
static void open_own(struct xn_xs_rings *rings)
{
	struct xn_xs_domain *own = xn_xs_domain_find(rings->store, 0);
	uint32_t port;
	int rc;

	if (find(rings, own))
		return;
	rc = rings->carrier->ops->own_port(rings->carrier, &port);
	if (rc == 0)
		(void)open_ring(rings, own, 0, port, false);
	else if (rc != -ENODEV)
		xn_log_error(rings->core->log, "xenstore", "no ring of this domain's kernel: %s",
			     strerror(-rc));
}

static void go_on_with_all(struct xn_xs_rings *rings)
{
	if (!rings->journal)
		return;
	xn_xs_journal_each_ring(rings->journal, go_on, rings);
	for (size_t i = 0; i < rings->n_lost; i++) {
		struct xn_xs_domain *domain = xn_xs_domain_born(rings->store, rings->lost[i]);

		xn_xs_journal_ring_close(rings->journal, rings->lost[i]);
		if (domain && domain->domid && life_of(rings, domain->domid) == XN_XS_GONE)
			let_go(rings, domain);
	}
	free(rings->lost);
	rings->lost = NULL;
	rings->n_lost = 0;
}

void xn_xs_rings_start(struct xn_xs_rings *rings)
{
	go_on_with_all(rings);
	look_at_lives(rings);
	open_own(rings);
	rings->carrier->on_life = on_life;
	rings->carrier->arg = rings;
}

/* ---- the table ---- */

struct xn_xs_rings *xn_xs_rings_new(struct xn_core *core, struct xn_xs_store *store,
				    struct xn_xs_server *server, struct xn_xs_journal *journal,
				    struct xn_xs_carrier *carrier)
{
	struct xn_xs_rings *rings = xn_calloc(1, sizeof(*rings));

	rings->core = core;
	rings->store = store;
	rings->server = server;
	rings->journal = journal;
	rings->carrier = carrier;
	rings->host.exists = carrier->ops->knows_all ? host_exists : NULL;
	rings->host.introduce = host_introduce;
	rings->host.release = host_release;
	xn_list_init(&rings->entries);
	xn_xs_server_set_host(server, &rings->host);
	if (carrier->ops->knows_all)
		xn_xs_store_set_lookup(store, on_lookup, rings);
	return rings;
}

void xn_xs_rings_free(struct xn_xs_rings *rings)
{
	if (!rings)
		return;
	xn_xs_store_set_lookup(rings->store, NULL, NULL);
	while (!xn_list_empty(&rings->entries)) {
		struct entry *entry = xn_list_entry(rings->entries.next, struct entry, link);

		xn_list_remove(&entry->link);
		free(entry);
	}
	rings->carrier->ops->free(rings->carrier);
	free(rings);
}

struct xn_xs_carrier *xn_xs_rings_carrier(struct xn_xs_rings *rings)
{
	return rings->carrier;
}
