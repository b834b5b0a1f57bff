/* The bytes of the journal's files; see record.h. */
#include "modules/xenstore/journal/record.h"

#include "core/crc32c.h"
#include "modules/xenstore/store/store_internal.h"

#include <errno.h>
#include <stdio.h>

static const char magic[8] = "XNXSLOG\n";
enum { HEAD_USED = 60, HEAD_SUMMED = 56 };

/* ---- the head of a file ---- */

void xn_xs_file_head_put(const struct xn_xs_file_head *head, struct xn_buf *out)
{
	size_t start = out->len;

	xn_buf_add(out, magic, sizeof(magic));
	xn_put_u32(out, XN_XS_FILE_VERSION);
	xn_put_u32(out, head->kind);
	xn_buf_add(out, head->boot_id, sizeof(head->boot_id));
	xn_put_u64(out, head->number);
	xn_put_u64(out, head->generation);
	xn_put_u64(out, (uint64_t)head->wall_us);
	xn_put_u32(out, xn_crc32c(0, out->data + start, HEAD_SUMMED));
	xn_put_u32(out, 0);
}

int xn_xs_file_head_parse(const void *bytes, size_t len, struct xn_xs_file_head *out)
{
	struct xn_reader in = {.at = bytes, .left = len};
	uint32_t version, kind;
	const char *boot_id;

	if (len < XN_XS_FILE_HEAD || memcmp(xn_take(&in, sizeof(magic)), magic, sizeof(magic)))
		return -EINVAL;
	version = xn_take_u32(&in);
	kind = xn_take_u32(&in);
	boot_id = xn_take(&in, XN_XS_BOOT_ID);
	memcpy(out->boot_id, boot_id, XN_XS_BOOT_ID);
	out->number = xn_take_u64(&in);
	out->generation = xn_take_u64(&in);
	out->wall_us = (int64_t)xn_take_u64(&in);
	if (xn_take_u32(&in) != xn_crc32c(0, bytes, HEAD_SUMMED))
		return -EINVAL;
	if (version != XN_XS_FILE_VERSION)
		return -EPROTO;
	if (kind != XN_XS_SEGMENT && kind != XN_XS_IMAGE)
		return -EINVAL;
	out->kind = (enum xn_xs_file_kind)kind;
	return 0;
}

static const char *const file_names[] = {[XN_XS_SEGMENT] = "segment-", [XN_XS_IMAGE] = "image-"};

void xn_xs_file_name(enum xn_xs_file_kind kind, uint64_t number, char *room)
{
	snprintf(room, XN_XS_FILE_NAME, "%s%08llx", file_names[kind], (unsigned long long)number);
}

bool xn_xs_file_name_parse(const char *name, enum xn_xs_file_kind *kind, uint64_t *number)
{
	for (int k = XN_XS_SEGMENT; k <= XN_XS_IMAGE; k++) {
		size_t prefix = strlen(file_names[k]), len = strlen(name);

		if (strncmp(name, file_names[k], prefix) || len < prefix + 8 || len > prefix + 16)
			continue;
		*kind = (enum xn_xs_file_kind)k;
		*number = 0;
		for (const char *at = name + prefix; *at; at++) {
			const char *digit = strchr("0123456789abcdef", *at);

			if (!digit)
				return false;
			*number = *number << 4 | (unsigned)(digit - "0123456789abcdef");
		}
		return true;
	}
	return false;
}

/* ---- reading records ---- */

enum { IS_INTRODUCED = 1, IS_STOPPED = 2 };

bool xn_xs_record_next(struct xn_reader *file, struct xn_xs_record *out)
{
	struct xn_reader in = *file;
	uint32_t len = xn_take_u32(&in), sum = xn_take_u32(&in);
	const char *payload = len > XN_XS_RECORD_HEAD - XN_XS_RECORD_FRAME ? xn_take(&in, len)
									   : NULL;

	if (!payload || xn_crc32c(0, payload, len) != sum)
		return false;
	*file = in;
	out->parts = (struct xn_reader){.at = payload, .left = len};
	out->wall_us = (int64_t)xn_take_u64(&out->parts);
	return true;
}

static struct xn_xs_who take_who(struct xn_reader *in)
{
	struct xn_xs_who who = {.domid = xn_take_u16(in)};

	who.birth = xn_take_u64(in);
	if (who.domid >= XN_XS_DOMID_END)
		in->is_short = true; /* nothing of ours */
	return who;
}

static struct xn_xs_text take_text(struct xn_reader *in)
{
	struct xn_xs_text text = {.len = xn_take_u32(in)};

	text.bytes = xn_take(in, text.len);
	if (!text.bytes)
		text = (struct xn_xs_text){"", 0};
	return text;
}

/* A path, a token: without a NUL, and not too long. */
static struct xn_xs_text take_string(struct xn_reader *in, size_t max)
{
	struct xn_xs_text text = {.len = xn_take_u16(in)};

	text.bytes = xn_take(in, text.len);
	if (!text.bytes || text.len > max || memchr(text.bytes, '\0', text.len)) {
		in->is_short = true;
		text = (struct xn_xs_text){"", 0};
	}
	return text;
}

static struct xn_xs_text take_path(struct xn_reader *in)
{
	return take_string(in, XN_XS_PATH_MAX);
}

static struct xn_xs_text take_perms(struct xn_reader *in)
{
	struct xn_xs_text text = take_string(in, UINT16_MAX);

	if (!text.len)
		in->is_short = true;
	return text;
}

static void take_commit(struct xn_reader *in, struct xn_xs_part *part)
{
	part->commit.generation = xn_take_u64(in);
	part->commit.by = take_who(in);
	part->commit.transaction = xn_take_u32(in);
	part->commit.n = xn_take_u32(in);
	part->commit.changes = *in;
	in->left = 0;
}

static void take_domain(struct xn_reader *in, struct xn_xs_part *part)
{
	unsigned flags;

	part->domain.who = take_who(in);
	if (part->kind == XN_XS_PART_DOMAIN) {
		flags = xn_take_u8(in);
		part->domain.introduced = flags & IS_INTRODUCED;
		part->domain.stopped = flags & IS_STOPPED;
		part->domain.target = take_who(in);
		part->domain.hidden_features = xn_take_u32(in);
		part->domain.n_limits = xn_take_u8(in);
		part->domain.limits = *in;
		in->left = 0;
	}
	if (!part->domain.who.birth)
		in->is_short = true;
}

static void take_ring(struct xn_reader *in, struct xn_xs_part *part)
{
	part->ring.birth = xn_take_u64(in);
	switch (part->kind) {
	case XN_XS_PART_RING_OPEN:
		part->ring.domid = xn_take_u32(in);
		part->ring.gfn = xn_take_u64(in);
		part->ring.port = xn_take_u32(in);
		break;
	case XN_XS_PART_RING_INPUT:
		part->ring.at = xn_take_u32(in);
		part->ring.bytes = take_text(in);
		break;
	case XN_XS_PART_RING_OUTPUT:
		part->ring.sent = xn_take_u32(in);
		part->ring.at = xn_take_u32(in);
		part->ring.events = xn_take_u32(in);
		part->ring.bytes = take_text(in);
		break;
	case XN_XS_PART_RING_TX:
		part->ring.tx = xn_take_u32(in);
		break;
	case XN_XS_PART_WATCH:
		part->ring.depth = (int)(int32_t)xn_take_u32(in);
		part->ring.path = take_path(in);
		part->ring.token = take_string(in, XN_XS_VALUE_MAX);
		break;
	case XN_XS_PART_UNWATCH:
		part->ring.all = xn_take_u8(in) & 1;
		part->ring.path = take_path(in);
		part->ring.token = take_string(in, XN_XS_VALUE_MAX);
		break;
	case XN_XS_PART_EVENT:
		part->ring.path = take_path(in);
		part->ring.token = take_string(in, XN_XS_VALUE_MAX);
		part->ring.event = take_path(in);
		part->ring.all = xn_take_u8(in) & 1;
		break;
	default: /* RING_CLOSE */
		break;
	}
}

int xn_xs_record_part(struct xn_xs_record *record, struct xn_xs_part *out)
{
	struct xn_reader in;
	unsigned kind;

	if (!record->parts.left)
		return 0;
	kind = xn_take_u8(&record->parts);
	in.left = xn_take_u32(&record->parts);
	in.at = xn_take(&record->parts, in.left);
	in.is_short = false;
	if (!in.at)
		return -EINVAL;
	if (!kind || kind >= XN_XS_PARTS)
		return -EPROTO;
	memset(out, 0, sizeof(*out));
	out->kind = (enum xn_xs_part_kind)kind;
	switch (out->kind) {
	case XN_XS_PART_COMMIT:
		take_commit(&in, out);
		break;
	case XN_XS_PART_DOMAIN:
	case XN_XS_PART_GONE:
		take_domain(&in, out);
		break;
	case XN_XS_PART_SPECIAL:
		out->special.path = take_path(&in);
		out->special.perms = take_perms(&in);
		break;
	case XN_XS_PART_SLICE:
		out->slice = (struct xn_xs_text){in.at, in.left};
		in.left = 0;
		break;
	case XN_XS_PART_IMAGE_END:
		out->image_end.nodes = xn_take_u64(&in);
		out->image_end.generation = xn_take_u64(&in);
		out->image_end.next_birth = xn_take_u64(&in);
		break;
	case XN_XS_PART_KEPT_AGAIN:
		break;
	case XN_XS_PART_LIMIT:
		out->limit.quota = xn_take_u8(&in);
		out->limit.soft = xn_take_u64(&in);
		out->limit.hard = xn_take_u64(&in);
		break;
	default:
		take_ring(&in, out);
		break;
	}
	return in.is_short || in.left ? -EINVAL : 1;
}

int xn_xs_part_limit(struct xn_xs_part *domain, unsigned *quota, uint64_t *soft, uint64_t *hard)
{
	struct xn_reader *in = &domain->domain.limits;

	if (!in->left)
		return domain->domain.n_limits ? -EINVAL : 0;
	if (!domain->domain.n_limits--)
		return -EINVAL;
	*quota = xn_take_u8(in);
	*soft = xn_take_u64(in);
	*hard = xn_take_u64(in);
	return in->is_short ? -EINVAL : 1;
}

int xn_xs_part_change(struct xn_xs_part *commit, struct xn_xs_record_change *out)
{
	struct xn_reader *in = &commit->commit.changes;
	unsigned kind;

	if (!in->left)
		return commit->commit.n ? -EINVAL : 0;
	if (!commit->commit.n--)
		return -EINVAL;
	kind = xn_take_u8(in);
	out->kind = (enum xn_xs_delta_kind)(kind & 0x7f);
	out->implied = kind & 0x80;
	out->path = take_path(in);
	out->value = (struct xn_xs_text){"", 0};
	out->perms = (struct xn_xs_text){"", 0};
	if (out->kind > XN_XS_REMOVED)
		return -EPROTO;
	if (out->kind == XN_XS_CREATED || out->kind == XN_XS_VALUE) {
		out->value.len = xn_take_u16(in);
		out->value.bytes = xn_take(in, out->value.len);
	}
	if (out->kind == XN_XS_CREATED || out->kind == XN_XS_PERMS)
		out->perms = take_perms(in);
	return in->is_short || out->value.len > XN_XS_VALUE_MAX ? -EINVAL : 1;
}

/* Decimal digits at the front of @text. */
static bool take_number(struct xn_xs_text *text, uint64_t *out)
{
	size_t start = text->len;

	*out = 0;
	for (; text->len && *text->bytes >= '0' && *text->bytes <= '9'; text->bytes++, text->len--)
		if (start - text->len > 18)
			return false;
		else
			*out = *out * 10 + (unsigned)(*text->bytes - '0');
	return text->len < start;
}

static bool take_char(struct xn_xs_text *text, char c)
{
	if (!text->len || *text->bytes != c)
		return false;
	text->bytes++;
	text->len--;
	return true;
}

int xn_xs_perm_next(struct xn_xs_text *perms, struct xn_xs_perm *out)
{
	uint64_t domid;

	if (!perms->len)
		return 0;
	out->mode = *perms->bytes;
	if (!memchr("nrwb", out->mode, 4))
		return -EINVAL;
	perms->bytes++;
	perms->len--;
	if (!take_number(perms, &domid) || domid >= XN_XS_DOMID_END || !take_char(perms, '.') ||
	    !take_number(perms, &out->who.birth) || !take_char(perms, ' '))
		return -EINVAL;
	out->who.domid = (uint32_t)domid;
	return 1;
}

/* ---- slices ---- */

int xn_xs_slice_open(struct xn_xs_slice *slice, struct xn_xs_text bytes)
{
	struct xn_reader in = {.at = bytes.bytes, .left = bytes.len};
	struct xn_xs_text parent = take_path(&in);

	slice->level = 0;
	slice->perms = (struct xn_xs_text){"", 0};
	slice->has_root = !parent.len;
	slice->path_len = 0;
	for (size_t i = 0; i < parent.len; i++)
		slice->level += parent.bytes[i] == '/' && parent.len > 1;
	if (parent.len > 1) {
		memcpy(slice->path, parent.bytes, parent.len);
		slice->path_len = parent.len;
	}
	slice->path[slice->path_len] = '\0';
	if (in.is_short || (parent.len && parent.bytes[0] != '/'))
		return -EINVAL;
	slice->in = in;
	return 0;
}

/* The path of the next node: up to its parent, and down by its name. */
static int step(struct xn_xs_slice *slice, unsigned level, struct xn_xs_text name)
{
	if (!level || level > slice->level + 1 || !xn_xs_name_is_valid(name.bytes, name.len))
		return -EINVAL;
	for (; slice->level >= level; slice->level--)
		while (slice->path_len && slice->path[--slice->path_len] != '/')
			;
	if (slice->path_len + 1 + name.len > XN_XS_PATH_MAX)
		return -EINVAL;
	slice->path[slice->path_len++] = '/';
	memcpy(slice->path + slice->path_len, name.bytes, name.len);
	slice->path_len += name.len;
	slice->path[slice->path_len] = '\0';
	slice->level = level;
	return 0;
}

int xn_xs_slice_next(struct xn_xs_slice *slice, struct xn_xs_slice_node *out)
{
	struct xn_reader *in = &slice->in;

	if (!in->left)
		return 0;
	out->level = xn_take_u16(in);
	out->generation = xn_take_u64(in);
	out->name.len = xn_take_u16(in);
	out->value.len = xn_take_u16(in);
	out->perms = take_string(in, UINT16_MAX);
	if (out->perms.len)
		slice->perms = out->perms;
	else
		out->perms = slice->perms; /* the same as before */
	out->name.bytes = xn_take(in, out->name.len);
	out->value.bytes = xn_take(in, out->value.len);
	if (in->is_short || !slice->perms.len || out->value.len > XN_XS_VALUE_MAX)
		return -EINVAL;
	if (slice->has_root) { /* the first node of all */
		slice->has_root = false;
		if (out->level || out->name.len)
			return -EINVAL;
		out->path = (struct xn_xs_text){"/", 1};
		return 1;
	}
	if (step(slice, out->level, out->name) < 0)
		return -EINVAL;
	out->path = (struct xn_xs_text){slice->path, slice->path_len};
	return 1;
}

/* ---- writing ---- */

static void patch_u32(struct xn_buf *out, size_t at, uint32_t n)
{
	n = htole32(n);
	memcpy(out->data + at, &n, sizeof(n));
}

size_t xn_xs_record_begin(struct xn_buf *out, int64_t wall_us)
{
	size_t start = out->len;

	xn_put_u64(out, 0);
	xn_put_u64(out, (uint64_t)wall_us);
	return start;
}

void xn_xs_record_end(struct xn_buf *out, size_t start)
{
	size_t payload = start + XN_XS_RECORD_FRAME;

	patch_u32(out, start, (uint32_t)(out->len - payload));
	patch_u32(out, start + 4, xn_crc32c(0, out->data + payload, out->len - payload));
}

size_t xn_xs_part_begin(struct xn_buf *out, enum xn_xs_part_kind kind)
{
	size_t start = out->len;

	xn_buf_add_char(out, (char)kind);
	xn_put_u32(out, 0);
	return start;
}

void xn_xs_part_end(struct xn_buf *out, size_t start)
{
	patch_u32(out, start + 1, (uint32_t)(out->len - start - 5));
}

static void put_who(struct xn_buf *out, struct xn_xs_who who)
{
	xn_put_u16(out, who.domid);
	xn_put_u64(out, who.birth);
}

void xn_xs_put_text(struct xn_buf *out, struct xn_xs_text text)
{
	xn_put_u16(out, text.len);
	xn_buf_add(out, text.bytes, text.len);
}

static void put_bytes(struct xn_buf *out, struct xn_xs_text text)
{
	xn_put_u32(out, text.len);
	xn_buf_add(out, text.bytes, text.len);
}

void xn_xs_put_perms(struct xn_buf *out, const struct xn_xs_perms *perms)
{
	size_t at = out->len;
	uint16_t len;

	xn_put_u16(out, 0);
	xn_xs_perms_print_births(perms, out);
	len = htole16((uint16_t)(out->len - at - sizeof(len)));
	memcpy(out->data + at, &len, sizeof(len));
}

static void put_change(struct xn_buf *out, const struct xn_xs_delta *d)
{
	xn_buf_add_char(out, (char)(d->kind | (d->implied ? 0x80 : 0)));
	xn_xs_put_text(out, (struct xn_xs_text){d->path, d->path_len});
	if (d->kind == XN_XS_CREATED || d->kind == XN_XS_VALUE)
		xn_xs_put_text(out, (struct xn_xs_text){d->value, d->value_len});
	if (d->kind == XN_XS_CREATED || d->kind == XN_XS_PERMS)
		xn_xs_put_perms(out, d->perms);
}

void xn_xs_put_commit(struct xn_buf *out, const struct xn_xs_commit *commit)
{
	size_t start = xn_xs_part_begin(out, XN_XS_PART_COMMIT);

	xn_put_u64(out, commit->generation);
	put_who(out, (struct xn_xs_who){commit->by->domid, commit->by->birth});
	xn_put_u32(out, commit->transaction);
	xn_put_u32(out, commit->n);
	for (size_t i = 0; i < commit->n; i++) {
		struct xn_xs_delta delta;

		xn_xs_commit_delta(commit, i, &delta);
		put_change(out, &delta);
	}
	xn_xs_part_end(out, start);
}

static void put_ring(struct xn_buf *out, const struct xn_xs_part *part)
{
	xn_put_u64(out, part->ring.birth);
	switch (part->kind) {
	case XN_XS_PART_RING_OPEN:
		xn_put_u32(out, part->ring.domid);
		xn_put_u64(out, part->ring.gfn);
		xn_put_u32(out, part->ring.port);
		break;
	case XN_XS_PART_RING_INPUT:
		xn_put_u32(out, part->ring.at);
		put_bytes(out, part->ring.bytes);
		break;
	case XN_XS_PART_RING_OUTPUT:
		xn_put_u32(out, part->ring.sent);
		xn_put_u32(out, part->ring.at);
		xn_put_u32(out, part->ring.events);
		put_bytes(out, part->ring.bytes);
		break;
	case XN_XS_PART_RING_TX:
		xn_put_u32(out, part->ring.tx);
		break;
	case XN_XS_PART_WATCH:
		xn_put_u32(out, (uint32_t)part->ring.depth);
		xn_xs_put_text(out, part->ring.path);
		xn_xs_put_text(out, part->ring.token);
		break;
	case XN_XS_PART_UNWATCH:
		xn_buf_add_char(out, part->ring.all);
		xn_xs_put_text(out, part->ring.path);
		xn_xs_put_text(out, part->ring.token);
		break;
	case XN_XS_PART_EVENT:
		xn_xs_put_text(out, part->ring.path);
		xn_xs_put_text(out, part->ring.token);
		xn_xs_put_text(out, part->ring.event);
		xn_buf_add_char(out, part->ring.all);
		break;
	default: /* RING_CLOSE */
		break;
	}
}

void xn_xs_put_part(struct xn_buf *out, const struct xn_xs_part *part)
{
	size_t start = xn_xs_part_begin(out, part->kind);

	switch (part->kind) {
	case XN_XS_PART_DOMAIN:
		put_who(out, part->domain.who);
		xn_buf_add_char(out, (char)((part->domain.introduced ? IS_INTRODUCED : 0) |
					    (part->domain.stopped ? IS_STOPPED : 0)));
		put_who(out, part->domain.target);
		xn_put_u32(out, part->domain.hidden_features);
		xn_buf_add_char(out, (char)part->domain.n_limits);
		xn_buf_add(out, part->domain.limits.at, part->domain.limits.left);
		break;
	case XN_XS_PART_GONE:
		put_who(out, part->domain.who);
		break;
	case XN_XS_PART_IMAGE_END:
		xn_put_u64(out, part->image_end.nodes);
		xn_put_u64(out, part->image_end.generation);
		xn_put_u64(out, part->image_end.next_birth);
		break;
	case XN_XS_PART_SPECIAL:
		xn_xs_put_text(out, part->special.path);
		xn_xs_put_text(out, part->special.perms);
		break;
	case XN_XS_PART_KEPT_AGAIN:
		break;
	case XN_XS_PART_LIMIT:
		xn_buf_add_char(out, (char)part->limit.quota);
		xn_put_u64(out, part->limit.soft);
		xn_put_u64(out, part->limit.hard);
		break;
	default:
		put_ring(out, part);
		break;
	}
	xn_xs_part_end(out, start);
}
