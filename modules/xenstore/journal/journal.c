/* Records: how the store's changes and what is kept of connections get into the segment; see
 * journal.h. */
#include "modules/xenstore/journal/journal_internal.h"

#include "modules/xenstore/store/store_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- a record ---- */

/* One look at the wall's clock does for the many records of one callback. */
static int64_t wall_us(struct xn_xs_journal *journal)
{
	int64_t now_us = xn_now_us(journal->core->loop);

	if (now_us != journal->now_us) {
		journal->now_us = now_us;
		journal->wall_us = xn_wall_us(journal->core->loop);
	}
	return journal->wall_us;
}

void xn_xs_journal_begin(struct xn_xs_journal *journal)
{
	if (journal->depth++)
		return;
	journal->record.len = 0;
	(void)xn_xs_record_begin(&journal->record, wall_us(journal));
}

static void complain(struct xn_xs_journal *journal, int rc)
{
	if (!journal->has_complained && journal->core->log)
		xn_log_error(journal->core->log, "xenstore",
			     "%s: %s; changes are refused until there is room", journal->folder,
			     strerror(-rc));
	journal->has_complained = true;
}

int xn_xs_journal_room(struct xn_xs_journal *journal, size_t bytes)
{
	int rc = xn_xs_segment_room(journal, journal->record.len + bytes, false);

	if (rc < 0) {
		journal->n_refused++;
		complain(journal, rc);
	}
	return rc;
}

void xn_xs_journal_end(struct xn_xs_journal *journal)
{
	struct xn_buf *record = &journal->record;
	int rc;

	if (--journal->depth || record->len == XN_XS_RECORD_HEAD)
		return;
	xn_xs_record_end(record, 0);
	rc = xn_xs_segment_room(journal, record->len, true);
	if (rc < 0) { /* only what cannot be refused comes here without having asked */
		complain(journal, rc);
		journal->is_lost = true;
	} else {
		xn_xs_segment_write(journal, record->data, record->len);
	}
	if (record->cap > 1 << 18)
		xn_buf_clear(record);
	if (journal->since_image > journal->image_after + journal->image_bytes)
		xn_xs_image_begin(journal);
}

bool xn_xs_journal_has_room(const struct xn_xs_journal *journal)
{
	return !journal->refusal;
}

/* ---- the store's changes ---- */

/* Between the store's begin and end: the events of the set are in the same record. */
static int on_commit(const struct xn_xs_commit *commit, void *arg)
{
	struct xn_xs_journal *journal = arg;
	size_t mark = journal->record.len;
	int rc;

	xn_xs_put_commit(&journal->record, commit);
	rc = commit->must ? 0 : xn_xs_journal_room(journal, 0);
	if (rc < 0)
		journal->record.len = mark;
	return rc;
}

static void put_limits(const struct xn_xs_domain *domain, struct xn_xs_part *part,
		       struct xn_buf *out)
{
	for (unsigned i = 0; i < XN_XS_QUOTAS; i++) {
		if (!domain->own_limits || !(domain->has_own & 1u << i))
			continue;
		xn_buf_add_char(out, (char)i);
		xn_put_u64(out, domain->own_limits[i].soft);
		xn_put_u64(out, domain->own_limits[i].hard);
		part->domain.n_limits++;
	}
	part->domain.limits = (struct xn_reader){.at = out->data, .left = out->len};
}

void xn_xs_put_domain(struct xn_buf *out, const struct xn_xs_domain *domain)
{
	struct xn_buf limits XN_CLEANUP(xn_buf_clear_p) = {0};
	struct xn_xs_part part = {.kind = XN_XS_PART_DOMAIN};

	part.domain.who = (struct xn_xs_who){domain->domid, domain->birth};
	part.domain.introduced = domain->introduced;
	part.domain.stopped = domain->stopped;
	part.domain.hidden_features = domain->hidden_features;
	if (domain->target && domain->target->alive)
		part.domain.target = (struct xn_xs_who){domain->target->domid,
							domain->target->birth};
	put_limits(domain, &part, &limits);
	xn_xs_put_part(out, &part);
}

void xn_xs_put_special(struct xn_buf *out, const char *path, const struct xn_xs_perms *perms)
{
	struct xn_buf text XN_CLEANUP(xn_buf_clear_p) = {0};
	struct xn_xs_part part = {.kind = XN_XS_PART_SPECIAL};

	xn_xs_perms_print_births(perms, &text);
	part.special.path = (struct xn_xs_text){path, strlen(path)};
	part.special.perms = (struct xn_xs_text){text.data, text.len};
	xn_xs_put_part(out, &part);
}

/* Follows what the journal is told, and adds it to the record. */
static void tell(struct xn_xs_journal *journal, const struct xn_xs_part *part)
{
	xn_xs_journal_begin(journal);
	xn_xs_put_part(&journal->record, part);
	xn_xs_model_apply(&journal->kept, part);
	xn_xs_journal_end(journal);
}

void xn_xs_put_limit(struct xn_buf *out, enum xn_xs_quota quota, struct xn_xs_limit limit)
{
	struct xn_xs_part part = {.kind = XN_XS_PART_LIMIT};

	part.limit.quota = quota;
	part.limit.soft = limit.soft;
	part.limit.hard = limit.hard;
	xn_xs_put_part(out, &part);
}

static void on_note(const struct xn_xs_note *note, void *arg)
{
	struct xn_xs_journal *journal = arg;
	struct xn_xs_part gone = {.kind = XN_XS_PART_GONE};

	xn_xs_journal_begin(journal);
	switch (note->kind) {
	case XN_XS_NOTE_SPECIAL:
		xn_xs_put_special(&journal->record, note->path, note->perms);
		break;
	case XN_XS_NOTE_RELEASED:
		gone.domain.who =
			(struct xn_xs_who){note->domain->domid, note->domain->birth};
		tell(journal, &gone);
		break;
	default:
		if (!note->domain) {
			xn_xs_put_limit(&journal->record, note->quota, note->limit);
			break;
		}
		xn_xs_put_domain(&journal->record, note->domain);
		xn_xs_image_add_domain(journal, note->domain);
		break;
	}
	xn_xs_journal_end(journal);
}

static struct xn_xs_part ring_part(uint64_t birth, enum xn_xs_part_kind kind)
{
	struct xn_xs_part part = {.kind = kind};

	part.ring.birth = birth;
	return part;
}

static struct xn_xs_text text_of(const char *s)
{
	return (struct xn_xs_text){s, strlen(s)};
}

static void on_event(const struct xn_xs_domain *domain, const char *watch, const char *token,
		     const char *path, bool instead, void *arg)
{
	struct xn_xs_part part = ring_part(domain->birth, XN_XS_PART_EVENT);

	part.ring.path = text_of(watch);
	part.ring.token = text_of(token);
	part.ring.event = text_of(path);
	part.ring.all = instead;
	tell(arg, &part);
}

static void on_begin(void *arg)
{
	xn_xs_journal_begin(arg);
}

static void on_end(void *arg)
{
	xn_xs_journal_end(arg);
}

static const struct xn_xs_journal_ops journal_ops = {
	.begin = on_begin,
	.commit = on_commit,
	.note = on_note,
	.event = on_event,
	.end = on_end,
};

/* ---- rings ---- */

void xn_xs_journal_ring_open(struct xn_xs_journal *journal, uint64_t birth, uint32_t domid,
			     uint64_t gfn, uint32_t port)
{
	struct xn_xs_part part = ring_part(birth, XN_XS_PART_RING_OPEN);

	part.ring.domid = domid;
	part.ring.gfn = gfn;
	part.ring.port = port;
	tell(journal, &part);
}

void xn_xs_journal_ring_close(struct xn_xs_journal *journal, uint64_t birth)
{
	struct xn_xs_part part = ring_part(birth, XN_XS_PART_RING_CLOSE);

	if (xn_xs_model_find(&journal->kept, birth))
		tell(journal, &part);
}

void xn_xs_journal_ring_input(struct xn_xs_journal *journal, uint64_t birth, uint32_t at,
			      const void *partial, size_t len)
{
	struct xn_xs_part part = ring_part(birth, XN_XS_PART_RING_INPUT);

	part.ring.at = at;
	part.ring.bytes = (struct xn_xs_text){partial, len};
	tell(journal, &part);
}

void xn_xs_journal_ring_output(struct xn_xs_journal *journal, uint64_t birth, uint32_t at,
			       const void *bytes, size_t len, unsigned events)
{
	struct xn_xs_part part = ring_part(birth, XN_XS_PART_RING_OUTPUT);
	struct xn_xs_kept *ring = xn_xs_model_find(&journal->kept, birth);

	part.ring.sent = ring ? ring->out_at : at;
	part.ring.at = at;
	part.ring.events = events;
	part.ring.bytes = (struct xn_xs_text){bytes, len};
	tell(journal, &part);
}

void xn_xs_journal_ring_sent(struct xn_xs_journal *journal, uint64_t birth, uint32_t at)
{
	struct xn_xs_kept *ring = xn_xs_model_find(&journal->kept, birth);

	if (ring)
		xn_xs_model_sent(ring, at);
}

void xn_xs_journal_ring_watch(struct xn_xs_journal *journal, uint64_t birth, const char *path,
			      const char *token, int depth)
{
	struct xn_xs_part part = ring_part(birth, XN_XS_PART_WATCH);

	part.ring.path = text_of(path);
	part.ring.token = text_of(token);
	part.ring.depth = depth;
	tell(journal, &part);
}

void xn_xs_journal_ring_unwatch(struct xn_xs_journal *journal, uint64_t birth, const char *path,
				const char *token)
{
	struct xn_xs_part part = ring_part(birth, XN_XS_PART_UNWATCH);

	part.ring.all = !path;
	part.ring.path = text_of(path ? path : "");
	part.ring.token = text_of(token ? token : "");
	tell(journal, &part);
}

void xn_xs_journal_ring_transaction(struct xn_xs_journal *journal, uint64_t birth,
				    uint32_t highest_id)
{
	struct xn_xs_part part = ring_part(birth, XN_XS_PART_RING_TX);

	part.ring.tx = highest_id;
	tell(journal, &part);
}

/* ---- open and close ---- */

/* A kernel that does not say which boot it is of has none of its own. */
static void read_boot_id(unsigned char out[XN_XS_BOOT_ID])
{
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	char text[40] = "";
	unsigned n = 0;

	memset(out, 0, XN_XS_BOOT_ID);
	if (fd < 0)
		return;
	if (read(fd, text, sizeof(text) - 1) < 0)
		text[0] = '\0';
	close(fd);
	for (const char *at = text; *at && n < 2 * XN_XS_BOOT_ID; at++) {
		static const char digits[] = "0123456789abcdef";
		const char *digit = strchr(digits, *at);

		if (digit) {
			out[n / 2] = (unsigned char)(out[n / 2] << 4 | (digit - digits));
			n++;
		}
	}
}

struct xn_xs_journal *xn_xs_journal_open(struct xn_core *core, struct xn_xs_store *store,
					 const struct xn_xs_journal_options *options,
					 struct xn_error *err)
{
	struct xn_xs_journal *journal = xn_calloc(1, sizeof(*journal));
	int rc = 0;

	journal->core = core;
	journal->store = store;
	journal->folder = xn_strdup(options->folder);
	journal->history_bytes = options->history_bytes;
	journal->segment_bytes =
		options->segment_bytes ? options->segment_bytes : XN_XS_SEGMENT_BYTES;
	journal->image_after = options->image_after ? options->image_after : XN_XS_IMAGE_AFTER;
	journal->media = options->media ? options->media
					: xn_xs_media_file_new(options->folder, &rc);
	xn_xs_model_init(&journal->kept);
	journal->now_us = -1;
	if (options->boot_id)
		memcpy(journal->boot_id, options->boot_id, XN_XS_BOOT_ID);
	else
		read_boot_id(journal->boot_id);
	if (!journal->media)
		xn_error_setf(err, XN_ERR_INTERNAL_ERROR,
			      "cannot use the xenstore's folder %s: %s", options->folder,
			      strerror(-rc));
	if (!journal->media || xn_xs_recover(journal, options->outlives_boots, err) < 0) {
		xn_xs_journal_close(journal);
		return NULL;
	}
	xn_xs_recover_rings(journal);
	xn_xs_store_set_journal(store, &journal_ops, journal);
	if (journal->since_image > journal->image_after + journal->image_bytes)
		xn_xs_image_begin(journal);
	return journal;
}

void xn_xs_journal_close(struct xn_xs_journal *journal)
{
	if (!journal)
		return;
	if (journal->store->journal_arg == journal)
		xn_xs_store_set_journal(journal->store, NULL, NULL);
	xn_xs_image_close(journal);
	xn_xs_segment_close(journal);
	xn_xs_model_clear(&journal->kept);
	xn_buf_clear(&journal->record);
	xn_xs_media_unref(journal->media);
	free(journal->folder);
	free(journal);
}

const char *xn_xs_journal_folder(const struct xn_xs_journal *journal)
{
	return journal->folder;
}

struct xn_xs_media *xn_xs_journal_media(struct xn_xs_journal *journal)
{
	return journal->media;
}

void xn_xs_journal_write_metrics(const struct xn_xs_journal *journal,
				 struct xn_metrics_page *page)
{
	xn_metrics_counter(page, "xenolith_xenstore_journal_records", "",
			   "Records of the xenstore's journal.", journal->n_records);
	xn_metrics_counter(page, "xenolith_xenstore_journal_bytes", "bytes", "Bytes of them.",
			   journal->n_bytes);
	xn_metrics_counter(page, "xenolith_xenstore_journal_images", "",
			   "Images that were made of the whole store.", journal->n_images);
	xn_metrics_counter(page, "xenolith_xenstore_journal_refused", "",
			   "Changes that were refused because there was no room for them.",
			   journal->n_refused);
}
