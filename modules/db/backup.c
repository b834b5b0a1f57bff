/* Writing and reading the bytes of a backup; see backup.h. */
#include "modules/db/backup.h"

#include "core/crc32c.h"
#include "modules/db/db_internal.h"
#include "modules/db/format.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define MAGIC "XNBACKUP"
enum { MAGIC_LEN = 8, VERSION = 1, FRAME_HEAD = 8, FRAME_MAX = XN_TX_MAX + 64 };

/* ---- frames ---- */

static uint32_t fixed32(const unsigned char *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint32_t frame_crc(uint64_t number, const void *bytes, size_t len)
{
	unsigned char head[8];

	xn_fixed32_at(head, (uint32_t)number);
	xn_fixed32_at(head + 4, (uint32_t)(number >> 32));
	return xn_crc32c(xn_crc32c(0, head, sizeof(head)), bytes, len);
}

static uint32_t crc_of_crcs(uint32_t sum, uint32_t crc)
{
	unsigned char bytes[4];

	xn_fixed32_at(bytes, crc);
	return xn_crc32c(sum, bytes, sizeof(bytes));
}

/* ---- writing ---- */

struct xn_backup {
	struct xn_store *store;
	struct xn_store_copy *copy;
	struct xn_backup_head head;
	uint64_t frames;
	uint32_t sum;
	bool begun;
	size_t frame_at; /* of the frame being written */
};

struct xn_backup *xn_backup_begin(struct xn_db *db)
{
	const char *hypervisor = xn_config_string(db->core->config, "hypervisor");
	struct xn_backup *backup;

	if (!db->store->ops->copy_begin)
		return NULL;
	backup = xn_calloc(1, sizeof(*backup));
	backup->store = db->store;
	backup->copy = db->store->ops->copy_begin(db->store);
	backup->head = (struct xn_backup_head){.version = VERSION,
					       .format = XN_DB_FORMAT,
					       .generation = xn_db_durable_generation(db),
					       .wall_us = (uint64_t)xn_wall_us(db->core->loop)};
	memcpy(backup->head.hypervisor, hypervisor,
	       strnlen(hypervisor, sizeof(backup->head.hypervisor) - 1));
	memcpy(backup->head.program, XN_VERSION,
	       strnlen(XN_VERSION, sizeof(backup->head.program) - 1));
	return backup;
}

void xn_backup_end(struct xn_backup *backup)
{
	if (!backup)
		return;
	backup->store->ops->copy_end(backup->copy);
	free(backup);
}

static void open_frame(struct xn_backup *backup, struct xn_buf *out, char kind)
{
	backup->frame_at = out->len;
	memset(xn_buf_reserve(out, FRAME_HEAD), 0, FRAME_HEAD);
	out->len += FRAME_HEAD;
	xn_buf_add_char(out, kind);
}

static void close_frame(struct xn_backup *backup, struct xn_buf *out)
{
	unsigned char *head = (unsigned char *)out->data + backup->frame_at;
	size_t len = out->len - backup->frame_at - FRAME_HEAD;
	uint32_t crc = frame_crc(backup->frames++, head + FRAME_HEAD, len);

	xn_fixed32_at(head, (uint32_t)len);
	xn_fixed32_at(head + 4, crc);
	backup->sum = crc_of_crcs(backup->sum, crc);
}

static void write_head(struct xn_backup *backup, struct xn_buf *out)
{
	const struct xn_backup_head *head = &backup->head;

	xn_buf_add(out, MAGIC, MAGIC_LEN);
	open_frame(backup, out, 'H');
	xn_put_varint(out, head->version);
	xn_put_varint(out, head->format);
	xn_put_fixed(out, head->generation);
	xn_put_fixed(out, head->wall_us);
	xn_put_text(out, head->hypervisor, strlen(head->hypervisor));
	xn_put_text(out, head->program, strlen(head->program));
	close_frame(backup, out);
}

static void write_item(struct xn_backup *backup, struct xn_buf *out,
		       const struct xn_store_item *item)
{
	open_frame(backup, out, item->is_transaction ? 'T' : 'E');
	if (item->is_transaction) {
		xn_buf_add(out, item->value.data, item->value.len);
	} else {
		xn_buf_add_char(out, (char)item->space);
		xn_put_text(out, (const char *)item->key.data, item->key.len);
		xn_put_text(out, (const char *)item->value.data, item->value.len);
	}
	close_frame(backup, out);
}

static void write_end(struct xn_backup *backup, struct xn_buf *out)
{
	uint64_t frames = backup->frames;
	uint32_t sum = backup->sum;

	open_frame(backup, out, 'Z');
	xn_put_fixed(out, frames);
	xn_put_fixed(out, sum);
	close_frame(backup, out);
}

int xn_backup_write(struct xn_backup *backup, struct xn_buf *out, size_t size)
{
	struct xn_store_item item;
	int rc = 1;

	if (!backup->begun)
		write_head(backup, out);
	backup->begun = true;
	while (rc == 1 && out->len < size) {
		rc = backup->store->ops->copy_next(backup->copy, &item);
		if (rc == 1)
			write_item(backup, out, &item);
	}
	if (rc == 0)
		write_end(backup, out);
	return rc;
}

/* ---- reading ---- */

struct reading {
	const struct xn_backup_reader *reader;
	void *arg;
	int fd;
	struct xn_buf frame;
	uint64_t frames;
	uint32_t sum;
	bool ended;
	const char *what; /* is wrong */
};

static int wrong(struct reading *r, const char *what)
{
	r->what = what;
	return -EBADMSG;
}

/* @len bytes: 1; 0: the file ends before the first; -errno. */
static int read_whole(struct reading *r, void *to, size_t len)
{
	size_t got = 0;

	while (got < len) {
		ssize_t n = read(r->fd, (char *)to + got, len - got);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return got ? wrong(r, "it ends in the middle") : 0;
		got += (size_t)n;
	}
	return 1;
}

/* No more is allocated than the file has sent already, but for a piece. */
static int read_frame_bytes(struct reading *r, size_t len)
{
	enum { PIECE = 64 << 10 };
	int rc = 1;

	r->frame.len = 0;
	while (rc == 1 && r->frame.len < len) {
		size_t n = len - r->frame.len < PIECE ? len - r->frame.len : PIECE;

		rc = read_whole(r, xn_buf_reserve(&r->frame, n), n);
		if (rc == 1)
			r->frame.len += n;
	}
	return rc == 0 ? wrong(r, "it ends in the middle") : rc;
}

static int take_head(struct reading *r, struct xn_cursor in)
{
	struct xn_backup_head head = {0};
	struct xn_slice hypervisor, program;
	uint64_t version, format;

	if (xn_take_varint(&in, &version) < 0)
		return wrong(r, "its head is malformed");
	if (version != VERSION)
		return wrong(r, "a newer version wrote it");
	if (xn_take_varint(&in, &format) < 0 || xn_take_fixed(&in, &head.generation) < 0 ||
	    xn_take_fixed(&in, &head.wall_us) < 0 || xn_take_text(&in, &hypervisor) < 0 ||
	    xn_take_text(&in, &program) < 0 || in.at != in.end || !format ||
	    hypervisor.len >= sizeof(head.hypervisor) || program.len >= sizeof(head.program))
		return wrong(r, "its head is malformed");
	if (format > XN_DB_FORMAT)
		return wrong(r, "its database has a format that a newer version wrote");
	head.version = (unsigned)version;
	head.format = (unsigned)format;
	memcpy(head.hypervisor, hypervisor.data, hypervisor.len);
	memcpy(head.program, program.data, program.len);
	if (r->reader->head)
		r->reader->head(r->arg, &head);
	return 0;
}

static int take_entry(struct reading *r, struct xn_cursor in)
{
	struct xn_slice key, value;
	unsigned space;

	if (xn_take_byte(&in, &space) < 0 || space >= XN_SPACE_STORE ||
	    xn_take_text(&in, &key) < 0 || xn_take_text(&in, &value) < 0 || in.at != in.end ||
	    !key.len)
		return wrong(r, "an entry is malformed");
	return r->reader->entry ? r->reader->entry(r->arg, space, key.data, key.len, value.data,
						   value.len)
				: 0;
}

static int take_end(struct reading *r, struct xn_cursor in)
{
	uint64_t frames, sum;

	if (xn_take_fixed(&in, &frames) < 0 || xn_take_fixed(&in, &sum) < 0 || in.at != in.end ||
	    frames != r->frames || sum != r->sum)
		return wrong(r, "its end does not fit what is before");
	r->ended = true;
	return 0;
}

static int take_frame(struct reading *r)
{
	struct xn_cursor in = xn_cursor(r->frame.data, r->frame.len);
	unsigned kind;

	if (xn_take_byte(&in, &kind) < 0 || (r->frames == 0) != (kind == 'H'))
		return wrong(r, "its head is not where it belongs");
	switch (kind) {
	case 'H':
		return take_head(r, in);
	case 'E':
		return take_entry(r, in);
	case 'T':
		return r->reader->transaction
			       ? r->reader->transaction(r->arg, in.at, (size_t)(in.end - in.at))
			       : 0;
	case 'Z':
		return take_end(r, in);
	}
	return wrong(r, "it holds a part of no known kind");
}

static int read_frame(struct reading *r)
{
	unsigned char head[FRAME_HEAD];
	uint32_t len, crc;
	int rc = read_whole(r, head, sizeof(head));

	if (rc <= 0)
		return rc < 0 ? rc : wrong(r, "its end is missing");
	len = fixed32(head);
	crc = fixed32(head + 4);
	if (!len || len > FRAME_MAX)
		return wrong(r, "a part has a length that cannot be");
	rc = read_frame_bytes(r, len);
	if (rc < 0)
		return rc;
	if (crc != frame_crc(r->frames, r->frame.data, r->frame.len))
		return wrong(r, "a checksum is wrong");
	rc = take_frame(r);
	r->frames++;
	r->sum = crc_of_crcs(r->sum, crc);
	return rc;
}

static int read_all(struct reading *r)
{
	char magic[MAGIC_LEN];
	int rc = read_whole(r, magic, sizeof(magic));

	if (rc < 0)
		return rc;
	if (rc == 0 || memcmp(magic, MAGIC, MAGIC_LEN) != 0)
		return wrong(r, "it is no backup");
	while (!r->ended) {
		rc = read_frame(r);
		if (rc < 0)
			return rc;
	}
	rc = read_whole(r, magic, 1);
	return rc == 1 ? wrong(r, "something follows its end") : rc;
}

int xn_backup_read(int fd, const struct xn_backup_reader *reader, void *arg, char **why)
{
	struct reading r = {.reader = reader, .arg = arg, .fd = fd};
	int rc = read_all(&r);

	xn_buf_clear(&r.frame);
	if (rc < 0)
		*why = xn_strdup(r.what ? r.what : strerror(-rc));
	return rc;
}
