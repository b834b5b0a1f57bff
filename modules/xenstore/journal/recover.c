/*
 * A start: the last whole image and the segments from there on, put back into the store; a new
 * segment then begins. What another boot of the kernel left is history, and the store empty.
 */
#include "modules/xenstore/journal/journal_internal.h"
#include "modules/xenstore/store/store_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

enum { MANY_SEGMENTS = 50 };

struct found {
	enum xn_xs_file_kind kind;
	uint64_t number, size;
};
struct recovering {
	struct xn_xs_journal *journal;
	struct xn_error *err;
	struct found *files; /* by number, images before segments */
	size_t n_files, cap;
	struct xn_xs_loading *loading;
	unsigned n_redone; /* segments */
	bool has_damage;
	/* In a record that tells all domains: those that it has told. */
	bool is_again;
	uint64_t *births;
	size_t n_births;
};

/* ---- the folder ---- */

static void note_file(const char *name, uint64_t size, void *arg)
{
	struct recovering *r = arg;
	struct found file = {.size = size};

	if (!xn_xs_file_name_parse(name, &file.kind, &file.number))
		return;
	if (r->n_files == r->cap) {
		r->cap = r->cap ? r->cap * 2 : 64;
		r->files = xn_realloc(r->files, r->cap * sizeof(r->files[0]));
	}
	r->files[r->n_files++] = file;
}

static int by_number(const void *a, const void *b)
{
	const struct found *x = a, *y = b;

	if (x->number != y->number)
		return x->number < y->number ? -1 : 1;
	return (int)y->kind - (int)x->kind;
}

static int refuse(struct recovering *r, const char *name, int rc)
{
	const char *why = strerror(-rc);

	if (rc == -EPROTO)
		why = "made by a newer version of the daemon, whose xenstore this one cannot read";
	else if (rc == -EINVAL)
		why = "damaged";
	xn_error_setf(r->err, XN_ERR_INTERNAL_ERROR, "the xenstore's folder, %s/%s: %s",
		      r->journal->folder, name, why);
	return -1;
}

/* ---- a file ---- */

/* 0; -EINVAL; -ENODATA: prepared and never begun. */
static int open_file(struct recovering *r, const struct found *file, struct xn_xs_map *map,
		     struct xn_xs_file_head *head)
{
	static const char nothing[8];
	char name[XN_XS_FILE_NAME];
	int rc;

	xn_xs_file_name(file->kind, file->number, name);
	rc = r->journal->media->ops->map(r->journal->media, name, map);
	if (rc < 0)
		return rc;
	rc = map->len < XN_XS_FILE_HEAD ? -ENODATA
					: xn_xs_file_head_parse(map->bytes, map->len, head);
	if (rc == -EINVAL && !memcmp(map->bytes + XN_XS_FILE_HEAD - 8, nothing, 4))
		rc = -ENODATA; /* its head was not even finished */
	if (!rc && (head->kind != file->kind || head->number != file->number))
		rc = -EINVAL;
	if (rc < 0)
		r->journal->media->ops->unmap(r->journal->media, map);
	return rc;
}

static struct xn_reader records_of(const struct xn_xs_map *map)
{
	return (struct xn_reader){.at = map->bytes + XN_XS_FILE_HEAD,
				  .left = map->len - XN_XS_FILE_HEAD};
}

static bool is_whole_image(const struct xn_xs_map *map)
{
	struct xn_reader in = records_of(map);
	struct xn_xs_record record;
	struct xn_xs_part part = {0};

	while (xn_xs_record_next(&in, &record))
		while (xn_xs_record_part(&record, &part) > 0)
			if (part.kind == XN_XS_PART_IMAGE_END)
				return true;
	return false;
}

static void note_birth(struct recovering *r, uint64_t birth)
{
	r->births = xn_realloc(r->births, (r->n_births + 1) * sizeof(r->births[0]));
	r->births[r->n_births++] = birth;
}

/* What the record did not tell is gone: that it went found no room in its time. */
static void release_untold(struct recovering *r)
{
	struct xn_xs_store *store = r->journal->store;

	for (uint32_t domid = 1; domid < XN_XS_DOMID_END; domid++) {
		struct xn_xs_domain *domain = xn_xs_domain_find(store, domid);
		size_t i = 0;

		while (domain && i < r->n_births && r->births[i] != domain->birth)
			i++;
		if (domain && i == r->n_births)
			xn_xs_domain_release(domain);
	}
	r->is_again = false;
	r->n_births = 0;
}

/* All parts of a record, or it is told: a record that is whole is as it was written. */
static int redo_record(struct recovering *r, struct xn_xs_record *record)
{
	struct xn_xs_part part;
	int rc;

	while ((rc = xn_xs_record_part(record, &part)) > 0) {
		xn_xs_model_apply(&r->journal->kept, &part);
		r->is_again |= part.kind == XN_XS_PART_KEPT_AGAIN;
		if (r->is_again && part.kind == XN_XS_PART_DOMAIN)
			note_birth(r, part.domain.who.birth);
		rc = xn_xs_redo_part(r->journal->store, r->loading, &part);
		if (rc == -EPROTO)
			return rc;
		r->has_damage |= rc < 0;
	}
	if (r->is_again)
		release_untold(r);
	r->has_damage |= rc == -EINVAL;
	return rc == -EPROTO ? rc : 0;
}

/* *used_out: where its whole records end. */
static int redo_file(struct recovering *r, const struct xn_xs_map *map, size_t *used_out)
{
	struct xn_reader in = records_of(map);
	struct xn_xs_record record;
	int rc = 0;

	while (!rc && xn_xs_record_next(&in, &record))
		rc = redo_record(r, &record);
	*used_out = map->len - in.left;
	return rc;
}

/* ---- which files ---- */

/* The last image that is whole, put back. Its index, -1: there is none, -2 with err. */
static int redo_image(struct recovering *r)
{
	for (size_t i = r->n_files; i > 0; i--) {
		const struct found *file = &r->files[i - 1];
		struct xn_xs_file_head head;
		char name[XN_XS_FILE_NAME];
		struct xn_xs_map map;
		int rc;

		if (file->kind != XN_XS_IMAGE)
			continue;
		xn_xs_file_name(file->kind, file->number, name);
		rc = open_file(r, file, &map, &head);
		if (rc == -EPROTO || (rc < 0 && rc != -EINVAL && rc != -ENODATA)) {
			refuse(r, name, rc);
			return -2;
		}
		if (rc < 0)
			continue;
		if (is_whole_image(&map)) {
			size_t used;

			rc = redo_file(r, &map, &used);
			r->journal->image_bytes = map.len;
			r->journal->media->ops->unmap(r->journal->media, &map);
			if (rc < 0)
				refuse(r, name, rc);
			return rc < 0 ? -2 : (int)i - 1;
		}
		r->journal->media->ops->unmap(r->journal->media, &map);
	}
	return -1;
}

static int redo_segments(struct recovering *r, uint64_t from)
{
	for (size_t i = 0; i < r->n_files; i++) {
		const struct found *file = &r->files[i];
		struct xn_xs_file_head head;
		char name[XN_XS_FILE_NAME];
		struct xn_xs_map map;
		size_t used;
		int rc;

		if (file->kind != XN_XS_SEGMENT || file->number < from)
			continue;
		xn_xs_file_name(file->kind, file->number, name);
		rc = open_file(r, file, &map, &head);
		if (rc == -ENODATA) {
			(void)r->journal->media->ops->remove(r->journal->media, name);
			continue;
		}
		if (rc < 0)
			return refuse(r, name, rc);
		rc = redo_file(r, &map, &used);
		r->journal->media->ops->unmap(r->journal->media, &map);
		if (rc < 0)
			return refuse(r, name, rc);
		r->journal->since_image += used;
		r->n_redone++;
		if (used <= XN_XS_FILE_HEAD) /* nothing happened in that life */
			(void)r->journal->media->ops->remove(r->journal->media, name);
		else if (used < file->size) /* the rest was never written */
			(void)r->journal->media->ops->truncate(r->journal->media, name, used);
	}
	return 0;
}

/* Whether what is there is of this boot. @is_ours: or there is nothing. */
static int check_boot(struct recovering *r, bool *is_ours)
{
	*is_ours = true;
	for (size_t i = r->n_files; i > 0; i--) {
		struct xn_xs_file_head head;
		struct xn_xs_map map;
		char name[XN_XS_FILE_NAME];
		int rc = open_file(r, &r->files[i - 1], &map, &head);

		if (rc == -ENODATA)
			continue;
		xn_xs_file_name(r->files[i - 1].kind, r->files[i - 1].number, name);
		if (rc < 0)
			return refuse(r, name, rc);
		r->journal->media->ops->unmap(r->journal->media, &map);
		*is_ours = !memcmp(head.boot_id, r->journal->boot_id, sizeof(head.boot_id));
		return 0;
	}
	return 0;
}

/* Generations and births go on where another boot had them, or history could not tell them apart. */
static void count_part(struct recovering *r, const struct xn_xs_part *part)
{
	struct xn_xs_store *store = r->journal->store;

	if (part->kind == XN_XS_PART_COMMIT)
		xn_xs_store_restore_counters(store, part->commit.generation,
					     part->commit.by.birth);
	else if (part->kind == XN_XS_PART_DOMAIN)
		xn_xs_store_restore_counters(store, 0, part->domain.who.birth);
	else if (part->kind == XN_XS_PART_IMAGE_END)
		xn_xs_store_restore_counters(store, part->image_end.generation,
					     part->image_end.next_birth);
}

static void count_file(struct recovering *r, const struct found *file)
{
	struct xn_xs_file_head head;
	struct xn_xs_record record;
	struct xn_xs_part part;
	struct xn_xs_map map;
	struct xn_reader in;

	if (open_file(r, file, &map, &head) < 0)
		return;
	xn_xs_store_restore_counters(r->journal->store, head.generation, 0);
	in = records_of(&map);
	while (xn_xs_record_next(&in, &record))
		while (xn_xs_record_part(&record, &part) > 0)
			count_part(r, &part);
	r->journal->media->ops->unmap(r->journal->media, &map);
}

/* From the last image on: it has the numbers of what came before. */
static void count_on(struct recovering *r)
{
	for (size_t i = r->n_files; i > 0; i--) {
		count_file(r, &r->files[i - 1]);
		if (r->files[i - 1].kind == XN_XS_IMAGE)
			return;
	}
}

/* An image of nothing is where history goes on, and what the next start begins with. */
static int begin_anew(struct recovering *r)
{
	int rc = xn_xs_image_empty(r->journal, r->journal->next_number);

	r->journal->last_image = rc < 0 ? 0 : r->journal->next_number;
	if (!rc || rc == -ENOSPC || rc == -EDQUOT)
		return 0;
	xn_error_setf(r->err, XN_ERR_INTERNAL_ERROR, "cannot write into the xenstore's folder %s: %s",
		      r->journal->folder, strerror(-rc));
	return -1;
}

static int redo_all(struct recovering *r, bool outlives_boots)
{
	bool is_ours;
	int image;

	if (check_boot(r, &is_ours) < 0)
		return -1;
	if (!r->n_files || (!is_ours && !outlives_boots)) {
		count_on(r);
		return begin_anew(r);
	}
	image = redo_image(r);
	if (image == -2)
		return -1;
	r->journal->last_image = image < 0 ? 0 : r->files[image].number;
	return redo_segments(r, r->journal->last_image);
}

static int begin_segment(struct recovering *r)
{
	struct xn_xs_journal *journal = r->journal;
	int rc = xn_xs_segment_first(journal);

	if (!rc)
		return 0;
	if (rc != -ENOSPC && rc != -EDQUOT) {
		xn_error_setf(r->err, XN_ERR_INTERNAL_ERROR,
			      "cannot write into the xenstore's folder %s: %s", journal->folder,
			      strerror(-rc));
		return -1;
	}
	if (journal->core->log)
		xn_log_error(journal->core->log, "xenstore",
			     "%s: %s; changes are refused until there is room", journal->folder,
			     strerror(-rc));
	journal->has_complained = true;
	return 0;
}

int xn_xs_recover(struct xn_xs_journal *journal, bool outlives_boots, struct xn_error *err)
{
	struct recovering r = {.journal = journal, .err = err};
	int rc = journal->media->ops->list(journal->media, note_file, &r);

	if (rc < 0) {
		free(r.files);
		return xn_error_setf(err, XN_ERR_INTERNAL_ERROR,
				     "cannot read the xenstore's folder %s: %s", journal->folder,
				     strerror(-rc));
	}
	if (r.n_files)
		qsort(r.files, r.n_files, sizeof(r.files[0]), by_number);
	journal->next_number = r.n_files ? r.files[r.n_files - 1].number + 1 : 1;
	r.loading = xn_xs_loading_new(journal->store);
	rc = redo_all(&r, outlives_boots);
	xn_xs_loading_free(r.loading);
	if (r.n_redone > MANY_SEGMENTS) /* of many short lives */
		journal->since_image += journal->image_after + journal->image_bytes;
	if (!rc)
		rc = begin_segment(&r);
	if (r.has_damage && journal->core->log)
		xn_log_error(journal->core->log, "xenstore",
			     "%s: some records say what cannot be; they were left out",
			     journal->folder);
	free(r.births);
	free(r.files);
	return rc;
}

/* ---- rings ---- */

static void not_yet(void *arg)
{
	/* Who goes on with the ring looks for events then. */
}

/* The ring's connection, with its watches and what they have to say. */
static struct xn_xs_conn *make_conn(struct xn_xs_journal *journal, struct xn_xs_kept *ring,
				    struct xn_xs_domain *domain)
{
	struct xn_xs_conn *conn = xn_xs_conn_new(domain);
	struct xn_xs_watcher *watcher;

	xn_xs_conn_take_events(conn, not_yet, NULL);
	xn_list_each(link, &ring->watches)
	{
		struct xn_xs_kept_watch *watch = xn_list_entry(link, struct xn_xs_kept_watch, link);

		(void)xn_xs_conn_watch(conn, watch->text,
				       watch->text + watch->path_len + 1, watch->depth, NULL, NULL,
				       &watcher);
	}
	xn_xs_conn_drop_events(conn);
	xn_list_each(link, &ring->events)
	{
		struct xn_xs_kept_event *event =
			xn_list_entry(link, struct xn_xs_kept_event, link);

		watcher = xn_xs_conn_find_watch(conn, event->text,
						event->text + event->path_len + 1);
		if (watcher)
			xn_xs_watcher_put_event(watcher, event->text + event->path_len +
								 event->token_len + 2);
	}
	xn_xs_conn_lost_transactions(conn, ring->highest_transaction);
	return conn;
}

void xn_xs_recover_rings(struct xn_xs_journal *journal)
{
	xn_list_each_safe(link, &journal->kept.all)
	{
		struct xn_xs_kept *ring = xn_list_entry(link, struct xn_xs_kept, link);
		struct xn_xs_domain *domain = xn_xs_domain_find(journal->store, ring->domid);

		if (domain && domain->birth == ring->birth)
			ring->conn = make_conn(journal, ring, domain);
		else
			xn_xs_model_drop(&journal->kept, ring);
	}
}

void xn_xs_journal_each_ring(struct xn_xs_journal *journal,
			     void (*visit)(const struct xn_xs_kept_ring *ring, void *arg),
			     void *arg)
{
	xn_list_each_safe(link, &journal->kept.all)
	{
		struct xn_xs_kept *ring = xn_list_entry(link, struct xn_xs_kept, link);
		struct xn_buf partial = {0}, unsent = {0};
		struct xn_xs_kept_ring shown;

		if (!ring->conn)
			continue;
		/* The visitor's calls may change the ring. */
		xn_buf_add(&partial, ring->partial.data, ring->partial.len);
		xn_buf_add(&unsent, ring->unsent.data, ring->unsent.len);
		shown = (struct xn_xs_kept_ring){
			.birth = ring->birth,
			.domid = ring->domid,
			.gfn = ring->gfn,
			.port = ring->port,
			.conn = ring->conn,
			.in_at = ring->in_at,
			.out_at = ring->out_at,
			.partial = partial.data,
			.partial_len = partial.len,
			.unsent = unsent.data,
			.unsent_len = unsent.len,
			.highest_transaction = ring->highest_transaction,
		};
		ring->conn = NULL;
		visit(&shown, arg);
		xn_buf_clear(&partial);
		xn_buf_clear(&unsent);
	}
}
