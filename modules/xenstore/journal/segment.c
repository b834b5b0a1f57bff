/*
 * Segments: the one that is written, those prepared ahead by a worker so that the loop makes no
 * system call for a record, and those that are full, which the worker puts away.
 */
#include "modules/xenstore/journal/journal_internal.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { TRY_AGAIN_US = 20000, PREPARE_AGAIN_US = 500000 };

static int create(struct xn_xs_media *media, struct xn_xs_journal_segment *segment, size_t len)
{
	char name[XN_XS_FILE_NAME];

	xn_xs_file_name(XN_XS_SEGMENT, segment->number, name);
	return media->ops->create(media, name, len, &segment->map);
}

/* What was prepared and is not wanted any more. */
static void discard(struct xn_xs_media *media, struct xn_xs_journal_segment *segment)
{
	char name[XN_XS_FILE_NAME];

	xn_xs_file_name(XN_XS_SEGMENT, segment->number, name);
	media->ops->unmap(media, &segment->map);
	(void)media->ops->remove(media, name);
}

static void put_away(struct xn_xs_media *media, struct xn_xs_journal_segment *segment)
{
	char name[XN_XS_FILE_NAME];

	if (segment->used <= XN_XS_FILE_HEAD) { /* a life in which nothing happened */
		discard(media, segment);
		return;
	}
	xn_xs_file_name(XN_XS_SEGMENT, segment->number, name);
	media->ops->unmap(media, &segment->map);
	(void)media->ops->truncate(media, name, segment->used);
}

/* ---- the worker ---- */

static int run_upkeep(struct xn_work *work)
{
	struct xn_xs_journal_work *upkeep =
		xn_container_of(work, struct xn_xs_journal_work, work);
	int rc = 0;

	for (unsigned i = 0; i < upkeep->n_full; i++)
		put_away(upkeep->media, &upkeep->full[i]);
	if (upkeep->makes_room)
		xn_xs_image_prune(upkeep->media, upkeep->number, 0);
	for (unsigned i = 0; i < upkeep->n_fresh && !rc; i++)
		rc = create(upkeep->media, &upkeep->fresh[i], upkeep->segment_bytes);
	if (upkeep->n_fresh && upkeep->fresh[0].map.bytes && upkeep->media->ops->prefault)
		upkeep->media->ops->prefault(&upkeep->fresh[0].map);
	return rc;
}

static void submit_upkeep(struct xn_xs_journal *journal);

static void take_fresh(struct xn_xs_journal *journal, struct xn_xs_journal_work *upkeep)
{
	for (unsigned i = 0; i < upkeep->n_fresh; i++) {
		struct xn_xs_journal_segment *fresh = &upkeep->fresh[i];

		if (!fresh->map.bytes)
			continue;
		/* The loop may have been faster: numbers only rise. */
		if (journal && fresh->number > journal->segment.number &&
		    journal->n_spares < XN_XS_SPARES)
			journal->spares[journal->n_spares++] = *fresh;
		else
			discard(upkeep->media, fresh);
	}
}

static void upkeep_done(struct xn_work *work, int rc)
{
	struct xn_xs_journal_work *upkeep =
		xn_container_of(work, struct xn_xs_journal_work, work);
	struct xn_xs_journal *journal = upkeep->journal;

	take_fresh(journal, upkeep);
	if (journal) {
		journal->preparing = NULL;
		if (rc < 0)
			journal->prepare_at_us =
				xn_now_us(journal->core->loop) + PREPARE_AGAIN_US;
	}
	xn_xs_media_unref(upkeep->media);
	free(upkeep);
}

static void submit_upkeep(struct xn_xs_journal *journal)
{
	bool is_early = journal->segment.used < journal->segment.map.len / 4;
	unsigned wanted = is_early ? 0 : XN_XS_SPARES - journal->n_spares;
	struct xn_xs_journal_work *upkeep;

	if (wanted && xn_now_us(journal->core->loop) < journal->prepare_at_us)
		wanted = 0;
	if (journal->preparing || (!wanted && !journal->n_full && !journal->wants_room))
		return;
	upkeep = xn_calloc(1, sizeof(*upkeep));
	upkeep->work.run = run_upkeep;
	upkeep->work.done = upkeep_done;
	upkeep->journal = journal;
	upkeep->media = xn_xs_media_ref(journal->media);
	upkeep->segment_bytes = journal->segment_bytes;
	memcpy(upkeep->full, journal->full, sizeof(upkeep->full));
	upkeep->n_full = journal->n_full;
	journal->n_full = 0;
	upkeep->makes_room = journal->wants_room;
	upkeep->number = journal->last_image;
	journal->wants_room = false;
	while (upkeep->n_fresh < wanted)
		upkeep->fresh[upkeep->n_fresh++].number = journal->next_number++;
	journal->preparing = upkeep;
	xn_pool_submit(journal->core->workers, &upkeep->work);
}

/* ---- the loop ---- */

static void put_head(struct xn_xs_journal *journal)
{
	struct xn_xs_file_head head = {.kind = XN_XS_SEGMENT,
				       .number = journal->segment.number,
				       .generation = xn_xs_store_generation(journal->store),
				       .wall_us = xn_wall_us(journal->core->loop)};
	struct xn_buf bytes XN_CLEANUP(xn_buf_clear_p) = {0};

	memcpy(head.boot_id, journal->boot_id, sizeof(head.boot_id));
	xn_xs_file_head_put(&head, &bytes);
	memcpy(journal->segment.map.bytes, bytes.data, bytes.len);
	journal->segment.used = bytes.len;
}

/* Those of a lower number than the next segment will never be used. */
static void discard_spares(struct xn_xs_journal *journal)
{
	while (journal->n_spares)
		discard(journal->media, &journal->spares[--journal->n_spares]);
}

static int next_segment(struct xn_xs_journal *journal, size_t len,
			struct xn_xs_journal_segment *out)
{
	int64_t now_us = xn_now_us(journal->core->loop);
	size_t size = journal->segment_bytes;
	int rc;

	if (journal->n_spares && len <= size) {
		*out = journal->spares[0];
		journal->n_spares--;
		memmove(journal->spares, journal->spares + 1,
			journal->n_spares * sizeof(journal->spares[0]));
		return 0;
	}
	if (journal->refusal && now_us - journal->refused_at_us < TRY_AGAIN_US)
		return journal->refusal;
	if (len > size)
		size = (len + 4095) / 4096 * 4096;
	*out = (struct xn_xs_journal_segment){.number = journal->next_number++};
	rc = create(journal->media, out, size);
	journal->refusal = rc;
	journal->refused_at_us = now_us;
	if (!rc) {
		discard_spares(journal);
		return 0;
	}
	journal->wants_room = true; /* the past is worth less than the present */
	submit_upkeep(journal);
	return rc;
}

static int rotate(struct xn_xs_journal *journal, size_t len)
{
	struct xn_buf again XN_CLEANUP(xn_buf_clear_p) = {0};
	struct xn_xs_journal_segment next;
	int rc;

	if (journal->is_lost)
		xn_xs_image_put_kept(journal, true, &again);
	rc = next_segment(journal, XN_XS_FILE_HEAD + again.len + len, &next);
	if (rc < 0)
		return rc;
	if (journal->segment.map.bytes && journal->n_full == XN_ARRAY_SIZE(journal->full))
		put_away(journal->media, &journal->full[--journal->n_full]);
	if (journal->segment.map.bytes)
		journal->full[journal->n_full++] = journal->segment;
	journal->segment = next;
	put_head(journal);
	if (again.len)
		xn_xs_segment_write(journal, again.data, again.len);
	journal->is_lost = false;
	if (journal->refusal || journal->has_complained) {
		journal->refusal = 0;
		journal->has_complained = false;
		if (journal->core->log)
			xn_log_info(journal->core->log, "xenstore",
				    "%s: there is room again, changes go on", journal->folder);
	}
	submit_upkeep(journal);
	return 0;
}

int xn_xs_segment_rotate(struct xn_xs_journal *journal)
{
	return rotate(journal, 0);
}

int xn_xs_segment_first(struct xn_xs_journal *journal)
{
	return rotate(journal, 0);
}

int xn_xs_segment_room(struct xn_xs_journal *journal, size_t len, bool must)
{
	const struct xn_xs_journal_segment *segment = &journal->segment;
	size_t reserve = journal->segment_bytes / 8;

	if (reserve > XN_XS_RESERVE)
		reserve = XN_XS_RESERVE;
	if (must || journal->n_spares)
		reserve = 0;
	if (segment->map.bytes && segment->used + len + reserve <= segment->map.len)
		return 0;
	return rotate(journal, len + reserve);
}

/* The length makes it a record: last of all. */
void xn_xs_segment_write(struct xn_xs_journal *journal, const char *record, size_t len)
{
	char *at = journal->segment.map.bytes + journal->segment.used;

	memcpy(at + 4, record + 4, len - 4);
	atomic_thread_fence(memory_order_release);
	atomic_signal_fence(memory_order_seq_cst);
	memcpy(at, record, 4);
	atomic_signal_fence(memory_order_seq_cst);
	journal->segment.used += len;
	if (journal->n_spares < XN_XS_SPARES)
		submit_upkeep(journal);
	journal->since_image += len;
	journal->n_records++;
	journal->n_bytes += len;
}

void xn_xs_segment_close(struct xn_xs_journal *journal)
{
	struct xn_xs_journal_work *upkeep = journal->preparing;

	journal->preparing = NULL;
	if (upkeep) {
		upkeep->journal = NULL;
		if (xn_pool_withdraw(journal->core->workers, &upkeep->work)) {
			for (unsigned i = 0; i < upkeep->n_full; i++)
				put_away(journal->media, &upkeep->full[i]);
			xn_xs_media_unref(upkeep->media);
			free(upkeep);
		}
	}
	discard_spares(journal);
	while (journal->n_full)
		put_away(journal->media, &journal->full[--journal->n_full]);
	if (journal->segment.map.bytes)
		put_away(journal->media, &journal->segment);
}
