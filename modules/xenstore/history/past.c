/*
 * The journal's files as one past; see past.h.
 *
 * A segment can be begun with when its image is there, and so can the first one of all. A segment of
 * another start of the host with an image begins with an empty store; without one, the store went
 * on. An image is exact from the generation on that its last record tells; up to there changes are
 * carried out without a word.
 */
#include "modules/xenstore/history/past.h"

#include <errno.h>
#include <stdlib.h>

#include "core/moment.h"
#include "modules/xenstore/journal/media.h"
#include "modules/xenstore/store/path.h"

struct segment {
	uint64_t number, image; /* image: 0: none */
	struct xn_xs_file_head head;
	bool is_first;		  /* of all: it can be begun with, too */
	bool is_anew;		  /* the store was empty before */
	bool is_behind_hole;	  /* changes before it are missing */
	struct past_gap hole;
};

struct past {
	struct xn_xs_media *media;
	struct segment *segments;
	size_t n, cap;
	uint64_t *images;
	size_t n_images, cap_images;
	struct past_bounds bounds;
	struct past_gap *gaps;
	size_t cap_gaps;
	struct xn_xs_slice slice; /* is large */
};

/* ---- what there is ---- */

static void note_file(const char *name, uint64_t size, void *arg)
{
	struct past *past = arg;
	enum xn_xs_file_kind kind;
	uint64_t number;

	if (!xn_xs_file_name_parse(name, &kind, &number))
		return;
	past->bounds.bytes += size;
	past->bounds.files++;
	if (kind == XN_XS_IMAGE) {
		if (past->n_images == past->cap_images) {
			past->cap_images = past->cap_images ? past->cap_images * 2 : 16;
			past->images = xn_realloc(past->images,
						  past->cap_images * sizeof(past->images[0]));
		}
		past->images[past->n_images++] = number;
		return;
	}
	if (past->n == past->cap) {
		past->cap = past->cap ? past->cap * 2 : 16;
		past->segments = xn_realloc(past->segments, past->cap * sizeof(past->segments[0]));
	}
	past->segments[past->n++] = (struct segment){.number = number};
}

static int by_number(const void *a, const void *b)
{
	const struct segment *left = a, *right = b;

	return left->number < right->number ? -1 : left->number > right->number;
}

/* The last image before or at @number, after the segment @after. A segment in which nothing happened
 * may be gone, and its image is then the next one's. 0: none. */
static uint64_t find_image(const struct past *past, uint64_t number, uint64_t after)
{
	uint64_t found = 0;

	for (size_t i = 0; i < past->n_images; i++)
		if (past->images[i] <= number && past->images[i] > after &&
		    past->images[i] > found)
			found = past->images[i];
	return found;
}

/* A file that was there a moment ago. */
static int map_file(struct past *past, enum xn_xs_file_kind kind, uint64_t number,
		    struct xn_xs_map *map)
{
	char name[XN_XS_FILE_NAME];
	int rc;

	xn_xs_file_name(kind, number, name);
	rc = past->media->ops->map(past->media, name, map);
	return rc == -ENOENT ? -ESTALE : rc;
}

static void unmap_file(struct past *past, struct xn_xs_map *map)
{
	past->media->ops->unmap(past->media, map);
}

/* An image of another number is the segment's if nothing happened in between. */
static int check_image(struct past *past, struct segment *s)
{
	struct xn_xs_file_head head;
	struct xn_xs_map map;
	int rc;

	if (!s->image || s->image == s->number)
		return 0;
	rc = map_file(past, XN_XS_IMAGE, s->image, &map);
	if (rc < 0)
		return rc;
	if (xn_xs_file_head_parse(map.bytes, map.len, &head) < 0 ||
	    head.generation != s->head.generation)
		s->image = 0;
	unmap_file(past, &map);
	return 0;
}

/* Segments whose heads are not whole were being made when the daemon died. */
static int read_heads(struct past *past)
{
	size_t kept = 0;

	for (size_t i = 0; i < past->n; i++) {
		struct segment *s = &past->segments[i];
		struct xn_xs_map map;
		int rc = map_file(past, XN_XS_SEGMENT, s->number, &map);

		if (rc < 0)
			return rc;
		rc = xn_xs_file_head_parse(map.bytes, map.len, &s->head);
		unmap_file(past, &map);
		if (rc == -EPROTO)
			return rc;
		if (rc == 0)
			past->segments[kept++] = *s;
	}
	past->n = kept;
	return 0;
}

/* ---- what leads to what ---- */

struct looking {
	uint64_t generation; /* of the last commit */
	int64_t us, until_us;
};

/* The commits of one segment without their changes. */
static int scan_segment(struct past *past, const struct segment *s, struct looking *l,
			uint64_t until)
{
	struct xn_xs_record record;
	struct xn_xs_part part;
	struct xn_reader in;
	struct xn_xs_map map;
	int rc = map_file(past, XN_XS_SEGMENT, s->number, &map);

	if (rc < 0)
		return rc;
	in = (struct xn_reader){.at = map.bytes, .left = map.len};
	xn_take(&in, XN_XS_FILE_HEAD);
	while (xn_xs_record_next(&in, &record) && record.wall_us <= l->until_us)
		while (xn_xs_record_part(&record, &part) == 1)
			if (part.kind == XN_XS_PART_COMMIT && part.commit.generation <= until) {
				l->generation = part.commit.generation;
				l->us = record.wall_us;
			}
	unmap_file(past, &map);
	return 0;
}

static void note_gap(struct past *past, const struct past_gap *gap)
{
	struct past_bounds *b = &past->bounds;

	if (b->n_gaps == past->cap_gaps) {
		past->cap_gaps = past->cap_gaps ? past->cap_gaps * 2 : 4;
		past->gaps = xn_realloc(past->gaps, past->cap_gaps * sizeof(past->gaps[0]));
	}
	past->gaps[b->n_gaps++] = *gap;
	b->gaps = past->gaps;
}

static bool is_begin(const struct segment *s)
{
	return s->image || s->is_first;
}

/* Numbers leave some out where a segment was prepared and never begun; then nothing is missing. */
static int find_hole(struct past *past, const struct segment *before, struct segment *s)
{
	struct looking l = {.generation = before->head.generation,
			    .us = before->head.wall_us,
			    .until_us = INT64_MAX};
	int rc;

	if (before->number + 1 == s->number || s->is_anew)
		return 0;
	rc = scan_segment(past, before, &l, UINT64_MAX);
	s->is_behind_hole = l.generation < s->head.generation;
	s->hole = (struct past_gap){l.generation + 1, s->head.generation + 1, l.us,
				    s->head.wall_us};
	return rc;
}

static int find_begins(struct past *past)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < past->n; i++) {
		struct segment *s = &past->segments[i], *before = i ? s - 1 : NULL;

		s->image = find_image(past, s->number, before ? before->number : 0);
		rc = check_image(past, s);
		s->is_first = s->number == 1 || (!before && s->image == 1);
		s->is_anew = s->is_first ||
			     (before && s->image &&
			      memcmp(before->head.boot_id, s->head.boot_id, XN_XS_BOOT_ID) != 0);
		if (rc == 0 && before)
			rc = find_hole(past, before, s);
	}
	return rc;
}

/* Segments that nothing leads to: behind a hole, up to where one can begin again. */
static void drop_unreachable(struct past *past)
{
	bool is_reached = false;
	struct past_gap gap = {0};
	size_t kept = 0;

	for (size_t i = 0; i < past->n; i++) {
		struct segment *s = &past->segments[i];

		if (s->is_behind_hole && is_reached)
			gap = s->hole;
		is_reached = is_begin(s) || (is_reached && !s->is_behind_hole);
		if (!is_reached)
			continue;
		if (kept && gap.first) {
			s->is_behind_hole = true;
			gap.next = s->head.generation + 1;
			gap.to_us = s->head.wall_us;
			note_gap(past, &gap);
		}
		gap.first = 0;
		past->segments[kept++] = *s;
	}
	past->n = kept;
}

/* ---- the bytes of an image ---- */

/* Its last record says from which generation on it is exact. 0; -EINVAL: it is not whole. */
static int find_image_end(const struct xn_xs_map *map, uint64_t *generation)
{
	struct xn_reader in = {.at = map->bytes, .left = map->len}, last = {0};
	struct xn_xs_record record;
	struct xn_xs_part part;
	int rc = 0;

	xn_take(&in, XN_XS_FILE_HEAD);
	while (!in.is_short && in.left) {
		uint32_t len;

		last = in;
		len = xn_take_u32(&in);
		if (!len)
			break;
		xn_take(&in, XN_XS_RECORD_FRAME - 4 + (size_t)len);
	}
	if (in.is_short || !last.at || !xn_xs_record_next(&last, &record))
		return -EINVAL;
	while ((rc = xn_xs_record_part(&record, &part)) == 1) {
		if (part.kind != XN_XS_PART_IMAGE_END)
			continue;
		*generation = part.image_end.generation;
		return 0;
	}
	return -EINVAL;
}

static int image_generation(struct past *past, const struct segment *s, uint64_t *generation)
{
	struct xn_xs_map map;
	int rc;

	*generation = s->head.generation;
	if (!s->image)
		return 0;
	rc = map_file(past, XN_XS_IMAGE, s->image, &map);
	if (rc < 0)
		return rc;
	rc = find_image_end(&map, generation);
	if (*generation < s->head.generation)
		*generation = s->head.generation;
	unmap_file(past, &map);
	return rc;
}

static int load_slice(struct past *past, struct xn_xs_text bytes, struct past_tree *tree)
{
	struct xn_xs_slice_node node;
	int rc = xn_xs_slice_open(&past->slice, bytes);

	while (rc >= 0 && (rc = xn_xs_slice_next(&past->slice, &node)) == 1)
		past_tree_put(tree, node.path.bytes, node.path.len, &node.value,
			      &node.perms);
	return rc;
}

static int load_part(struct past *past, const struct xn_xs_part *part, struct past_tree *tree)
{
	if (part->kind == XN_XS_PART_SLICE)
		return load_slice(past, part->slice, tree);
	if (part->kind == XN_XS_PART_DOMAIN)
		past_tree_domain(tree, part->domain.who.birth, true);
	return 0;
}

static int load_image(struct past *past, const struct segment *s, struct past_tree *tree)
{
	struct xn_xs_file_head head;
	struct xn_xs_record record;
	struct xn_xs_part part;
	struct xn_reader in;
	struct xn_xs_map map;
	int rc = map_file(past, XN_XS_IMAGE, s->image, &map);

	if (rc < 0)
		return rc;
	rc = xn_xs_file_head_parse(map.bytes, map.len, &head);
	in = (struct xn_reader){.at = map.bytes, .left = map.len};
	xn_take(&in, XN_XS_FILE_HEAD);
	while (rc >= 0 && xn_xs_record_next(&in, &record))
		while (rc >= 0 && (rc = xn_xs_record_part(&record, &part)) == 1)
			rc = load_part(past, &part, tree);
	unmap_file(past, &map);
	return rc < 0 ? rc : 0;
}

/* ---- the walk ---- */

struct walking {
	struct past *past;
	struct past_tree *tree;
	const struct past_visitor *visitor;
	void *arg;
	uint64_t exact_from; /* generation */
	uint64_t generation; /* of the last commit */
	bool is_told;	     /* the visitor knows where it begins */
};

static int tell_begin(struct walking *w, int64_t us, bool is_anew)
{
	w->is_told = true;
	return w->visitor->at ? w->visitor->at(w->arg, w->generation, us, is_anew) : 0;
}

static bool is_path(const struct xn_xs_text *path)
{
	const char *at = path->bytes, *end = at + path->len, *name;
	size_t len;

	if (!path->len || *at != '/' || (path->len > 1 && end[-1] == '/'))
		return false;
	while ((name = xn_xs_path_next(&at, end, &len)))
		if (!xn_xs_name_is_valid(name, len))
			return false;
	return true;
}

static void carry_out(struct past_tree *tree, const struct xn_xs_record_change *c)
{
	bool has_value = c->kind == XN_XS_CREATED || c->kind == XN_XS_VALUE;

	if (c->kind == XN_XS_REMOVED)
		past_tree_remove(tree, c->path.bytes, c->path.len);
	else
		past_tree_put(tree, c->path.bytes, c->path.len, has_value ? &c->value : NULL,
			      &c->perms);
}

static int walk_changes(struct walking *w, struct xn_xs_part *part,
			const struct past_commit *commit, bool is_silent)
{
	const struct past_visitor *v = w->visitor;
	struct xn_xs_record_change change;
	int rc = 0, more;

	while (rc == 0 && (more = xn_xs_part_change(part, &change)) != 0) {
		if (more < 0 || !is_path(&change.path))
			return more < 0 ? more : -EINVAL;
		if (!is_silent && v->change)
			rc = v->change(w->arg, commit, &change);
		if (rc != 0)
			return rc;
		carry_out(w->tree, &change);
		if (!is_silent && v->changed)
			rc = v->changed(w->arg, commit, &change);
	}
	return rc;
}

static int walk_commit(struct walking *w, struct xn_xs_part *part, int64_t us)
{
	const struct past_visitor *v = w->visitor;
	struct past_commit commit = {part->commit.generation, us, part->commit.by,
				     part->commit.transaction, part->commit.n};
	bool is_silent = commit.generation <= w->exact_from;
	int rc = 0;

	if (!is_silent && !w->is_told)
		rc = tell_begin(w, us, false);
	if (rc == 0 && !is_silent && v->commit)
		rc = v->commit(w->arg, &commit);
	if (rc == 0)
		rc = walk_changes(w, part, &commit, is_silent);
	if (rc == 0 && !is_silent && v->committed)
		rc = v->committed(w->arg, &commit);
	w->generation = commit.generation;
	if (rc == 0 && !w->is_told && commit.generation == w->exact_from)
		rc = tell_begin(w, us, false);
	return rc;
}

static int walk_record(struct walking *w, struct xn_xs_record *record)
{
	struct xn_xs_part part;
	int rc = 0, more;

	while (rc == 0 && (more = xn_xs_record_part(record, &part)) != 0) {
		if (more < 0)
			return more;
		if (part.kind == XN_XS_PART_COMMIT) {
			rc = walk_commit(w, &part, record->wall_us);
		} else if (part.kind == XN_XS_PART_DOMAIN) {
			past_tree_domain(w->tree, part.domain.who.birth, true);
		} else if (part.kind == XN_XS_PART_GONE) {
			past_tree_domain(w->tree, part.domain.who.birth, false);
			if (w->is_told && w->visitor->gone)
				rc = w->visitor->gone(w->arg, &part.domain.who, w->generation,
						      record->wall_us);
		}
	}
	return rc;
}

static int walk_segment(struct walking *w, const struct segment *s)
{
	struct xn_xs_record record;
	struct xn_reader in;
	struct xn_xs_map map;
	int rc = map_file(w->past, XN_XS_SEGMENT, s->number, &map);

	if (rc < 0)
		return rc;
	in = (struct xn_reader){.at = map.bytes, .left = map.len};
	xn_take(&in, XN_XS_FILE_HEAD);
	while (rc == 0 && xn_xs_record_next(&in, &record))
		rc = walk_record(w, &record);
	unmap_file(w->past, &map);
	return rc;
}

static int begin_with(struct walking *w, const struct segment *s)
{
	int rc;

	past_tree_empty(w->tree);
	w->is_told = false;
	w->generation = s->head.generation;
	rc = image_generation(w->past, s, &w->exact_from);
	if (rc == 0 && s->image)
		rc = load_image(w->past, s, w->tree);
	if (rc == 0 && w->exact_from == s->head.generation)
		rc = tell_begin(w, s->head.wall_us, s->is_anew);
	return rc;
}

/* Where to begin for a tree that is exact at the generation: the last such place, or the first. */
static int find_begin(struct past *past, uint64_t generation, size_t *out)
{
	*out = past->n;
	for (size_t i = past->n; i-- > 0;) {
		uint64_t exact;
		int rc;

		if (!is_begin(&past->segments[i]))
			continue;
		if (*out != past->n && past->segments[i].head.generation > generation)
			continue;
		rc = image_generation(past, &past->segments[i], &exact);
		if (rc == -EINVAL)
			continue; /* not whole: as if it were not there */
		if (rc < 0)
			return rc;
		*out = i;
		if (exact <= generation)
			break;
	}
	return *out == past->n ? -ENODATA : 0;
}

int past_walk(struct past *past, uint64_t generation, struct past_tree *tree,
	      const struct past_visitor *visitor, void *arg)
{
	struct walking w = {.past = past, .tree = tree, .visitor = visitor, .arg = arg};
	size_t first;
	int rc = find_begin(past, generation, &first);

	for (size_t i = first; rc == 0 && i < past->n; i++) {
		const struct segment *s = &past->segments[i];

		if (i == first || s->is_anew || s->is_behind_hole)
			rc = begin_with(&w, s);
		if (rc == 0)
			rc = walk_segment(&w, s);
	}
	if (rc == 0 && !w.is_told)
		rc = tell_begin(&w, past->bounds.last_us, false);
	return rc;
}

/* ---- bounds ---- */

static int find_bounds(struct past *past)
{
	struct past_bounds *b = &past->bounds;
	const struct segment *first, *last;
	struct looking l = {.until_us = INT64_MAX};
	size_t begin;
	int rc = find_begin(past, 0, &begin);

	if (rc < 0)
		return rc == -ENODATA ? 0 : rc;
	first = &past->segments[begin];
	last = &past->segments[past->n - 1];
	rc = image_generation(past, first, &b->first);
	b->is_whole = first->is_first;
	l.generation = first->head.generation;
	l.us = first->head.wall_us;
	if (rc == 0 && b->first != first->head.generation)
		rc = scan_segment(past, first, &l, b->first);
	b->first_us = l.us;
	l.generation = last->head.generation;
	l.us = last->head.wall_us;
	if (rc == 0)
		rc = scan_segment(past, last, &l, UINT64_MAX);
	b->last = l.generation;
	b->last_us = l.us;
	return rc;
}

/* Of those that are known; @note ends it with a return other than 0. */
static int each_commit(struct past *past, int (*note)(void *arg, int64_t us, uint64_t generation),
		       void *arg)
{
	struct xn_xs_record record;
	struct xn_xs_part part;
	struct xn_reader in;
	struct xn_xs_map map;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < past->n; i++) {
		rc = map_file(past, XN_XS_SEGMENT, past->segments[i].number, &map);
		if (rc < 0)
			return rc;
		in = (struct xn_reader){.at = map.bytes, .left = map.len};
		xn_take(&in, XN_XS_FILE_HEAD);
		while (rc == 0 && xn_xs_record_next(&in, &record))
			while (rc == 0 && xn_xs_record_part(&record, &part) == 1)
				if (part.kind == XN_XS_PART_COMMIT &&
				    part.commit.generation > past->bounds.first)
					rc = note(arg, record.wall_us, part.commit.generation);
		unmap_file(past, &map);
	}
	return rc;
}

static int note_time(void *arg, int64_t us, uint64_t generation)
{
	xn_time_search_note(arg, us, generation);
	return 0;
}

int past_generation_at(struct past *past, int64_t us, uint64_t *out)
{
	struct xn_time_search at = {.us = us,
				    .latest_us = past->bounds.first_us,
				    .last = past->bounds.first};
	int rc;

	*out = 0;
	if (us < past->bounds.first_us || !past->n)
		return 0;
	rc = each_commit(past, note_time, &at);
	*out = at.last;
	return rc == 0 && at.is_again ? -ENOTUNIQ : rc;
}

struct beginning {
	int64_t us;
	uint64_t before;
};

static int note_beginning(void *arg, int64_t us, uint64_t generation)
{
	struct beginning *at = arg;

	if (us >= at->us)
		return 1;
	at->before = generation;
	return 0;
}

int past_generation_before(struct past *past, int64_t us, uint64_t *out)
{
	struct beginning at = {us, 0};
	int rc = each_commit(past, note_beginning, &at);

	*out = at.before;
	return rc < 0 ? rc : 0;
}

const struct past_bounds *past_bounds(const struct past *past)
{
	return &past->bounds;
}

/* ---- open and close ---- */

static int open_once(struct xn_xs_media *media, struct past **out)
{
	struct past *past = xn_calloc(1, sizeof(*past));
	int rc;

	past->media = media;
	rc = media->ops->list(media, note_file, past);
	if (rc == 0 && past->n)
		qsort(past->segments, past->n, sizeof(past->segments[0]), by_number);
	if (rc == 0)
		rc = read_heads(past);
	if (rc == 0) {
		rc = find_begins(past);
		drop_unreachable(past);
	}
	if (rc == 0)
		rc = find_bounds(past);
	if (rc < 0) {
		past_close(past);
		return rc;
	}
	*out = past;
	return 0;
}

int past_open(struct xn_xs_media *media, struct past **out)
{
	int rc = -ESTALE;

	/* Old files go while they are listed; the oldest first, so that none is missing in between. */
	for (int tries = 0; tries < 5 && rc == -ESTALE; tries++)
		rc = open_once(media, out);
	return rc;
}

void past_close(struct past *past)
{
	if (!past)
		return;
	free(past->segments);
	free(past->images);
	free(past->gaps);
	free(past);
}
