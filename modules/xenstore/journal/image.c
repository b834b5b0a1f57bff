/*
 * Images of the whole store, made in slices while it goes on. A new segment begins first; the image
 * has what is kept of domains and connections as it is at that moment, and the nodes a slice at a
 * time. Changes of meanwhile are in the segment: put back after the image they give the store as it
 * is, whichever of them a slice shows already. A worker writes; the loop only copies slices.
 */
#include "modules/xenstore/journal/journal_internal.h"
#include "modules/xenstore/store/store_internal.h"

#include <errno.h>
#include <stdlib.h>

enum { SLICE_NODES = 500, SLICE_BYTES = 64 << 10, WRITE_BYTES = 256 << 10 };

static const char unfinished[] = "image.new";

/* ---- which files stay ---- */

struct listed {
	enum xn_xs_file_kind kind;
	uint64_t number, size;
};
struct listing {
	struct listed *files;
	size_t n, cap;
};

static void note_file(const char *name, uint64_t size, void *arg)
{
	struct listing *listing = arg;
	struct listed file = {.size = size};

	if (!xn_xs_file_name_parse(name, &file.kind, &file.number))
		return;
	if (listing->n == listing->cap) {
		listing->cap = listing->cap ? listing->cap * 2 : 64;
		listing->files =
			xn_realloc(listing->files, listing->cap * sizeof(listing->files[0]));
	}
	listing->files[listing->n++] = file;
}

/* What files below @number have. */
static uint64_t bytes_below(const struct listing *listing, uint64_t from, uint64_t number)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < listing->n; i++)
		if (listing->files[i].number >= from && listing->files[i].number < number)
			bytes += listing->files[i].size;
	return bytes;
}

/* The lowest image from @from on. */
static uint64_t next_image(const struct listing *listing, uint64_t from, uint64_t last)
{
	uint64_t lowest = last;

	for (size_t i = 0; i < listing->n; i++)
		if (listing->files[i].kind == XN_XS_IMAGE && listing->files[i].number >= from &&
		    listing->files[i].number < lowest)
			lowest = listing->files[i].number;
	return lowest;
}

static int by_number(const void *a, const void *b)
{
	const struct listed *x = a, *y = b;

	if (x->number != y->number)
		return x->number < y->number ? -1 : 1;
	return (int)y->kind - (int)x->kind; /* an image without its segment would seem to be of none */
}

/* The oldest first: who lists the files meanwhile does not see some that others lead to go first. */
static void remove_below(struct xn_xs_media *media, const struct listing *listing, uint64_t number)
{
	if (listing->n)
		qsort(listing->files, listing->n, sizeof(listing->files[0]), by_number);
	for (size_t i = 0; i < listing->n; i++) {
		char name[XN_XS_FILE_NAME];

		if (listing->files[i].number >= number)
			continue;
		xn_xs_file_name(listing->files[i].kind, listing->files[i].number, name);
		(void)media->ops->remove(media, name);
	}
}

void xn_xs_image_prune(struct xn_xs_media *media, uint64_t number, uint64_t history_bytes)
{
	struct listing listing = {0};
	uint64_t from;

	if (media->ops->list(media, note_file, &listing) < 0)
		return;
	/* History begins with an image, so that what was at any moment of it can be told. */
	from = next_image(&listing, 0, number);
	while (from < number && bytes_below(&listing, from, number) > history_bytes)
		from = next_image(&listing, from + 1, number);
	remove_below(media, &listing, from);
	free(listing.files);
}

/* ---- the worker ---- */

static int run_writing(struct xn_work *work)
{
	struct xn_xs_journal_work *writing =
		xn_container_of(work, struct xn_xs_journal_work, work);
	struct xn_xs_media *media = writing->media;
	char name[XN_XS_FILE_NAME];
	int rc;

	if (writing->is_first)
		(void)media->ops->remove(media, unfinished);
	rc = media->ops->append(media, unfinished, writing->bytes.data, writing->bytes.len);
	if (!rc && writing->is_last) {
		xn_xs_file_name(XN_XS_IMAGE, writing->number, name);
		rc = media->ops->rename(media, unfinished, name);
		if (!rc)
			xn_xs_image_prune(media, writing->number, writing->history_bytes);
	}
	if (rc < 0)
		(void)media->ops->remove(media, unfinished);
	return rc;
}

static void on_slice(struct xn_job *job);

static void end_image(struct xn_xs_journal *journal, int rc)
{
	journal->image.is_running = false;
	xn_job_cancel(&journal->image.slice);
	xn_buf_clear(&journal->image.bytes);
	free(journal->image.cursor);
	journal->image.cursor = NULL;
	if (rc < 0 && journal->core->log)
		xn_log_warn(journal->core->log, "xenstore", "%s: no new image: %s",
			    journal->folder, strerror(-rc));
	if (!rc) {
		journal->n_images++;
		journal->last_image = journal->image.number;
	}
}

static void writing_free(struct xn_xs_journal_work *writing)
{
	xn_buf_clear(&writing->bytes);
	xn_xs_media_unref(writing->media);
	free(writing);
}

static void on_written(struct xn_work *work, int rc)
{
	struct xn_xs_journal_work *writing =
		xn_container_of(work, struct xn_xs_journal_work, work);
	struct xn_xs_journal *journal = writing->journal;

	if (journal) {
		journal->image.writing = NULL;
		if (rc < 0 || writing->is_last)
			end_image(journal, rc);
		else
			xn_loop_defer(journal->core->loop, &journal->image.slice, XN_PRIO_IDLE,
				      on_slice);
	}
	writing_free(writing);
}

static void submit(struct xn_xs_journal *journal, bool is_last)
{
	struct xn_xs_journal_work *writing = xn_calloc(1, sizeof(*writing));

	writing->work.run = run_writing;
	writing->work.done = on_written;
	writing->journal = journal;
	writing->media = xn_xs_media_ref(journal->media);
	writing->bytes = journal->image.bytes;
	journal->image.bytes = (struct xn_buf){0};
	writing->is_first = !journal->image_bytes;
	writing->is_last = is_last;
	writing->number = journal->image.number;
	writing->history_bytes = journal->history_bytes;
	journal->image_bytes += writing->bytes.len;
	journal->image.writing = writing;
	xn_pool_submit(journal->core->workers, &writing->work);
}

/* ---- the loop ---- */

static void put_end(struct xn_xs_journal *journal, struct xn_buf *out, uint64_t nodes)
{
	struct xn_xs_part end = {.kind = XN_XS_PART_IMAGE_END};
	size_t start = xn_xs_record_begin(out, xn_wall_us(journal->core->loop));

	end.image_end.nodes = nodes;
	end.image_end.generation = xn_xs_store_generation(journal->store);
	end.image_end.next_birth = journal->store->next_birth;
	xn_xs_put_part(out, &end);
	xn_xs_record_end(out, start);
}

static void on_slice(struct xn_job *job)
{
	struct xn_xs_journal *journal = xn_container_of(job, struct xn_xs_journal, image.slice);
	struct xn_buf *out = &journal->image.bytes;
	size_t start = xn_xs_record_begin(out, xn_wall_us(journal->core->loop));
	size_t part = xn_xs_part_begin(out, XN_XS_PART_SLICE);
	bool has_more = xn_xs_slice_put(journal->store, journal->image.cursor, SLICE_NODES,
					SLICE_BYTES, out, &journal->image.nodes);

	xn_xs_part_end(out, part);
	if (out->len > part + 5)
		xn_xs_record_end(out, start);
	else
		out->len = start; /* the rest was removed */
	if (!has_more)
		put_end(journal, out, journal->image.nodes);
	if (!has_more || out->len > WRITE_BYTES)
		submit(journal, !has_more);
	else
		xn_loop_defer(journal->core->loop, &journal->image.slice, XN_PRIO_IDLE, on_slice);
}

static void put_head(struct xn_xs_journal *journal, uint64_t number, struct xn_buf *out)
{
	struct xn_xs_file_head head = {.kind = XN_XS_IMAGE,
				       .number = number,
				       .generation = xn_xs_store_generation(journal->store),
				       .wall_us = xn_wall_us(journal->core->loop)};

	memcpy(head.boot_id, journal->boot_id, sizeof(head.boot_id));
	xn_xs_file_head_put(&head, out);
}

static int by_birth(const void *a, const void *b)
{
	const struct xn_xs_domain *const *x = a, *const *y = b;

	return (*x)->birth < (*y)->birth ? -1 : (*x)->birth > (*y)->birth;
}

/* In order. Twice, as one may have a target that comes after it. */
static void put_domains(const struct xn_xs_store *store, struct xn_buf *out)
{
	const struct xn_xs_domain **domains =
		xn_calloc(store->domains.count, sizeof(const struct xn_xs_domain *));
	size_t n = 0;

	for (struct xn_hnode *at = xn_hmap_first(&store->domains); at;
	     at = xn_hmap_next(&store->domains, at)) {
		const struct xn_xs_domain *domain = xn_container_of(at, struct xn_xs_domain, hash);

		if (domain->alive)
			domains[n++] = domain;
	}
	qsort(domains, n, sizeof(*domains), by_birth);
	for (size_t i = 0; i < 2 * n; i++)
		xn_xs_put_domain(out, domains[i % n]);
	free(domains);
}

void xn_xs_image_put_kept(struct xn_xs_journal *journal, bool again, struct xn_buf *out)
{
	const struct xn_xs_part void_before = {.kind = XN_XS_PART_KEPT_AGAIN};
	size_t start = xn_xs_record_begin(out, xn_wall_us(journal->core->loop));

	if (again)
		xn_xs_put_part(out, &void_before);
	put_domains(journal->store, out);
	for (int i = 0; i < XN_XS_QUOTAS; i++)
		if (journal->store->kept_limits & 1u << i)
			xn_xs_put_limit(out, i, journal->store->limits[i]);
	for (int i = 0; i < XN_XS_SPECIALS; i++)
		xn_xs_put_special(out, xn_xs_special_names[i], journal->store->special_perms[i]);
	xn_xs_model_tell(&journal->kept, out);
	xn_xs_record_end(out, start);
}

void xn_xs_image_begin(struct xn_xs_journal *journal)
{
	if (journal->image.is_running || xn_xs_segment_rotate(journal) < 0)
		return;
	journal->image.is_running = true;
	journal->since_image = 0;
	journal->image_bytes = 0;
	journal->image.number = journal->segment.number;
	journal->image.nodes = 0;
	journal->image.cursor = xn_calloc(1, XN_XS_PATH_MAX + 1);
	put_head(journal, journal->image.number, &journal->image.bytes);
	xn_xs_image_put_kept(journal, false, &journal->image.bytes);
	xn_loop_defer_as(journal->core->loop, &journal->image.slice, XN_PRIO_IDLE, on_slice, 0);
}

void xn_xs_image_add_domain(struct xn_xs_journal *journal, const struct xn_xs_domain *domain)
{
	size_t start;

	if (!journal->image.cursor)
		return;
	start = xn_xs_record_begin(&journal->image.bytes, xn_wall_us(journal->core->loop));
	xn_xs_put_domain(&journal->image.bytes, domain);
	xn_xs_record_end(&journal->image.bytes, start);
}

int xn_xs_image_empty(struct xn_xs_journal *journal, uint64_t number)
{
	struct xn_buf bytes XN_CLEANUP(xn_buf_clear_p) = {0};
	struct xn_xs_media *media = journal->media;
	char name[XN_XS_FILE_NAME];
	int rc;

	put_head(journal, number, &bytes);
	put_end(journal, &bytes, 0);
	(void)media->ops->remove(media, unfinished);
	rc = media->ops->append(media, unfinished, bytes.data, bytes.len);
	if (!rc) {
		xn_xs_file_name(XN_XS_IMAGE, number, name);
		rc = media->ops->rename(media, unfinished, name);
	}
	if (rc < 0)
		(void)media->ops->remove(media, unfinished);
	return rc;
}

void xn_xs_image_close(struct xn_xs_journal *journal)
{
	struct xn_xs_journal_work *writing = journal->image.writing;

	if (writing) {
		writing->journal = NULL;
		if (xn_pool_withdraw(journal->core->workers, &writing->work))
			writing_free(writing);
	}
	journal->image.writing = NULL;
	xn_job_cancel(&journal->image.slice);
	xn_buf_clear(&journal->image.bytes);
	free(journal->image.cursor);
	journal->image.cursor = NULL;
}
