/* Bytes of values, rows and transactions; see codec.h. */
#include "modules/db/codec.h"

#include <errno.h>

enum tag {
	TAG_NIL,
	TAG_STRING, /* text */
	TAG_INT,    /* varint, zigzag */
	TAG_FLOAT,  /* fixed: the bits */
	TAG_FALSE,
	TAG_TRUE,
	TAG_DATETIME, /* varint, zigzag */
	TAG_SET,      /* varint n, n values */
	TAG_MAP,      /* varint n, n times: text key, value; keys ascending */
	TAG_REF,      /* 16 bytes: "OpaqueRef:" and a lower-case UUID */
	TAG_NULL_REF,
	TAG_UUID, /* 16 bytes */
};

enum { UUID_TEXT = 36, UUID_BYTES = 16, REF_TEXT = 46 };
static const char ref_prefix[] = "OpaqueRef:";
enum { REF_PREFIX = sizeof(ref_prefix) - 1 };

/* ---- writing ---- */

void xn_put_varint(struct xn_buf *out, uint64_t n)
{
	unsigned char *p = (unsigned char *)xn_buf_reserve(out, 10), *start = p;

	while (n >= 0x80) {
		*p++ = (unsigned char)(n | 0x80);
		n >>= 7;
	}
	*p++ = (unsigned char)n;
	out->len += (size_t)(p - start);
}

void xn_put_fixed(struct xn_buf *out, uint64_t n)
{
	unsigned char *p = (unsigned char *)xn_buf_reserve(out, 8);

	for (int i = 0; i < 8; i++)
		p[i] = (unsigned char)(n >> (8 * i));
	out->len += 8;
}

static void put_zigzag(struct xn_buf *out, int64_t i)
{
	xn_put_varint(out, ((uint64_t)i << 1) ^ (uint64_t)(i >> 63));
}

void xn_put_text(struct xn_buf *out, const char *s, size_t len)
{
	xn_put_varint(out, len);
	xn_buf_add(out, s, len);
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1; /* upper case too: it would come back as lower case */
}

/* @s: UUID_TEXT characters. */
static bool uuid_pack(const char *s, unsigned char out[UUID_BYTES])
{
	for (int i = 0; i < UUID_BYTES; i++) {
		int high, low;

		if (i == 4 || i == 6 || i == 8 || i == 10)
			if (*s++ != '-')
				return false;
		high = hex_digit(*s++);
		low = hex_digit(*s++);
		if (high < 0 || low < 0)
			return false;
		out[i] = (unsigned char)(high << 4 | low);
	}
	return true;
}

static void uuid_unpack(const unsigned char in[UUID_BYTES], char *out)
{
	static const char digits[] = "0123456789abcdef";

	for (int i = 0; i < UUID_BYTES; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*out++ = '-';
		*out++ = digits[in[i] >> 4];
		*out++ = digits[in[i] & 15];
	}
}

static void put_string(struct xn_buf *out, const char *s, size_t len)
{
	unsigned char packed[1 + UUID_BYTES];

	if (len == UUID_TEXT && uuid_pack(s, packed + 1)) {
		packed[0] = TAG_UUID;
		xn_buf_add(out, packed, sizeof(packed));
	} else if (len == REF_TEXT && memcmp(s, ref_prefix, REF_PREFIX) == 0 &&
		   uuid_pack(s + REF_PREFIX, packed + 1)) {
		packed[0] = TAG_REF;
		xn_buf_add(out, packed, sizeof(packed));
	} else if (len == sizeof(XN_NULL_REF) - 1 && memcmp(s, XN_NULL_REF, len) == 0) {
		xn_buf_add_char(out, TAG_NULL_REF);
	} else {
		xn_buf_add_char(out, TAG_STRING);
		xn_put_text(out, s, len);
	}
}

void xn_put_string(struct xn_buf *out, const char *s)
{
	put_string(out, s, strlen(s));
}

void xn_put_set_head(struct xn_buf *out, uint64_t n)
{
	xn_buf_add_char(out, TAG_SET);
	xn_put_varint(out, n);
}

static void put_set(struct xn_buf *out, const struct xn_value *set)
{
	xn_put_set_head(out, set->set.len);
	for (uint32_t i = 0; i < set->set.len; i++)
		xn_put_value(out, set->set.items[i]);
}

static void put_map(struct xn_buf *out, const struct xn_value *map)
{
	xn_buf_add_char(out, TAG_MAP);
	xn_put_varint(out, map->map.len);
	for (uint32_t i = 0; i < map->map.len; i++) {
		const struct xn_value *key = map->map.entries[i].key;

		xn_put_text(out, key->string.bytes, key->string.len);
		xn_put_value(out, map->map.entries[i].value);
	}
}

void xn_put_value(struct xn_buf *out, const struct xn_value *v)
{
	uint64_t bits;

	switch ((enum xn_kind)v->kind) {
	case XN_NIL:
	case XN_EMBED: /* never a field's value */
		xn_buf_add_char(out, TAG_NIL);
		break;
	case XN_STRING:
		put_string(out, v->string.bytes, v->string.len);
		break;
	case XN_INT:
		xn_buf_add_char(out, TAG_INT);
		put_zigzag(out, v->i);
		break;
	case XN_DATETIME:
		xn_buf_add_char(out, TAG_DATETIME);
		put_zigzag(out, v->i);
		break;
	case XN_FLOAT:
		memcpy(&bits, &v->f, sizeof(bits));
		xn_buf_add_char(out, TAG_FLOAT);
		xn_put_fixed(out, bits);
		break;
	case XN_BOOL:
		xn_buf_add_char(out, v->i ? TAG_TRUE : TAG_FALSE);
		break;
	case XN_SET:
		put_set(out, v);
		break;
	case XN_MAP:
		put_map(out, v);
		break;
	}
}

/* ---- reading ---- */

static size_t left(const struct xn_cursor *in)
{
	return (size_t)(in->end - in->at);
}

int xn_take_byte(struct xn_cursor *in, unsigned *out)
{
	if (in->at == in->end)
		return -EBADMSG;
	*out = *in->at++;
	return 0;
}

int xn_take_varint(struct xn_cursor *in, uint64_t *out)
{
	uint64_t n = 0;

	if (in->at < in->end && *in->at < 0x80) { /* nearly all are of one byte */
		*out = *in->at++;
		return 0;
	}
	for (unsigned shift = 0; shift < 70; shift += 7) {
		unsigned byte;

		if (xn_take_byte(in, &byte) < 0 || (shift == 63 && byte > 1))
			return -EBADMSG;
		n |= (uint64_t)(byte & 0x7f) << shift;
		if (byte < 0x80) {
			*out = n;
			return 0;
		}
	}
	return -EBADMSG;
}

int xn_take_fixed(struct xn_cursor *in, uint64_t *out)
{
	uint64_t n = 0;

	if (left(in) < 8)
		return -EBADMSG;
	for (int i = 0; i < 8; i++)
		n |= (uint64_t)in->at[i] << (8 * i);
	in->at += 8;
	*out = n;
	return 0;
}

static int take_bytes(struct xn_cursor *in, size_t len, struct xn_slice *out)
{
	if (left(in) < len)
		return -EBADMSG;
	*out = (struct xn_slice){in->at, len};
	in->at += len;
	return 0;
}

int xn_take_text(struct xn_cursor *in, struct xn_slice *out)
{
	uint64_t len;

	if (xn_take_varint(in, &len) < 0 || len > left(in))
		return -EBADMSG;
	return take_bytes(in, (size_t)len, out);
}

static int take_zigzag(struct xn_cursor *in, int64_t *out)
{
	uint64_t n;

	if (xn_take_varint(in, &n) < 0)
		return -EBADMSG;
	*out = (int64_t)(n >> 1) ^ -(int64_t)(n & 1);
	return 0;
}

/* A count of things that take at least @least bytes each. */
static int take_count(struct xn_cursor *in, unsigned least, uint64_t *out)
{
	if (xn_take_varint(in, out) < 0 || *out > left(in) / least)
		return -EBADMSG;
	return 0;
}

static int skip_value(struct xn_cursor *in, unsigned depth)
{
	struct xn_slice bytes;
	uint64_t n;
	unsigned tag;

	if (depth > XN_VALUE_MAX_DEPTH || xn_take_byte(in, &tag) < 0)
		return -EBADMSG;
	switch ((enum tag)tag) {
	case TAG_NIL:
	case TAG_FALSE:
	case TAG_TRUE:
	case TAG_NULL_REF:
		return 0;
	case TAG_STRING:
		return xn_take_text(in, &bytes);
	case TAG_INT:
	case TAG_DATETIME:
		return xn_take_varint(in, &n);
	case TAG_FLOAT:
		return take_bytes(in, 8, &bytes);
	case TAG_REF:
	case TAG_UUID:
		return take_bytes(in, UUID_BYTES, &bytes);
	case TAG_SET:
		if (take_count(in, 1, &n) < 0)
			return -EBADMSG;
		while (n--)
			if (skip_value(in, depth + 1) < 0)
				return -EBADMSG;
		return 0;
	case TAG_MAP:
		if (take_count(in, 2, &n) < 0)
			return -EBADMSG;
		while (n--)
			if (xn_take_text(in, &bytes) < 0 || skip_value(in, depth + 1) < 0)
				return -EBADMSG;
		return 0;
	}
	return -EBADMSG;
}

int xn_skip_value(struct xn_cursor *in)
{
	return skip_value(in, 0);
}

static int take_packed(struct xn_cursor *in, bool is_ref, struct xn_token *token)
{
	size_t prefix = is_ref ? REF_PREFIX : 0;
	struct xn_slice bytes;

	if (take_bytes(in, UUID_BYTES, &bytes) < 0)
		return -EBADMSG;
	memcpy(token->packed, ref_prefix, prefix);
	uuid_unpack(bytes.data, token->packed + prefix);
	token->text = (struct xn_slice){(unsigned char *)token->packed, prefix + UUID_TEXT};
	return 0;
}

static int take_token_text(struct xn_cursor *in, struct xn_token *token)
{
	if (xn_take_text(in, &token->text) < 0 ||
	    !xn_text_is_valid((const char *)token->text.data, token->text.len))
		return -EBADMSG;
	return 0;
}

int xn_take_token(struct xn_cursor *in, struct xn_token *token)
{
	static const enum xn_kind kinds[] = {
		[TAG_NIL] = XN_NIL,	      [TAG_STRING] = XN_STRING,	 [TAG_INT] = XN_INT,
		[TAG_FLOAT] = XN_FLOAT,	      [TAG_FALSE] = XN_BOOL,	 [TAG_TRUE] = XN_BOOL,
		[TAG_DATETIME] = XN_DATETIME, [TAG_SET] = XN_SET,	 [TAG_MAP] = XN_MAP,
		[TAG_REF] = XN_STRING,	      [TAG_NULL_REF] = XN_STRING, [TAG_UUID] = XN_STRING,
	};
	uint64_t bits;
	unsigned tag;
	int rc = 0;

	if (xn_take_byte(in, &tag) < 0 || tag >= XN_ARRAY_SIZE(kinds))
		return -EBADMSG;
	token->kind = kinds[tag];
	token->i = tag == TAG_TRUE;
	switch ((enum tag)tag) {
	case TAG_NIL:
	case TAG_FALSE:
	case TAG_TRUE:
		break;
	case TAG_STRING:
		return take_token_text(in, token);
	case TAG_INT:
	case TAG_DATETIME:
		return take_zigzag(in, &token->i);
	case TAG_FLOAT:
		rc = xn_take_fixed(in, &bits);
		if (rc == 0)
			memcpy(&token->f, &bits, sizeof(bits));
		break;
	case TAG_SET:
		return take_count(in, 1, &token->n);
	case TAG_MAP:
		return take_count(in, 2, &token->n);
	case TAG_REF:
	case TAG_UUID:
		return take_packed(in, tag == TAG_REF, token);
	case TAG_NULL_REF:
		token->text = (struct xn_slice){(const unsigned char *)XN_NULL_REF,
						sizeof(XN_NULL_REF) - 1};
		break;
	}
	return rc;
}

static struct xn_value *take_value(struct xn_cursor *in, unsigned depth);

static struct xn_value *take_text_value(struct xn_cursor *in)
{
	struct xn_slice text;

	if (xn_take_text(in, &text) < 0 || !xn_text_is_valid((const char *)text.data, text.len))
		return NULL;
	return xn_string_len((const char *)text.data, text.len);
}

static struct xn_value *take_uuid_value(struct xn_cursor *in, bool is_ref)
{
	char text[REF_TEXT];
	size_t prefix = is_ref ? REF_PREFIX : 0;
	struct xn_slice bytes;

	if (take_bytes(in, UUID_BYTES, &bytes) < 0)
		return NULL;
	memcpy(text, ref_prefix, prefix);
	uuid_unpack(bytes.data, text + prefix);
	return xn_string_len(text, prefix + UUID_TEXT);
}

static struct xn_value *take_set(struct xn_cursor *in, unsigned depth)
{
	struct xn_value *set = xn_set_new();
	uint64_t n;

	if (take_count(in, 1, &n) < 0)
		return NULL;
	while (n--) {
		struct xn_value *item = take_value(in, depth + 1);

		if (!item) {
			xn_value_unref(set);
			return NULL;
		}
		xn_set_append(&set, item);
	}
	return set;
}

static bool take_map_entry(struct xn_cursor *in, unsigned depth, struct xn_value **map)
{
	struct xn_value *key = take_text_value(in), *value = NULL;
	bool good;

	good = key && (value = take_value(in, depth + 1));
	if (good)
		xn_map_put(map, xn_value_string(key), value);
	xn_value_unref(key);
	return good;
}

static struct xn_value *take_map(struct xn_cursor *in, unsigned depth)
{
	struct xn_value *map = xn_map_new();
	uint64_t n;

	if (take_count(in, 2, &n) < 0)
		return NULL;
	while (n--) {
		if (!take_map_entry(in, depth, &map)) {
			xn_value_unref(map);
			return NULL;
		}
	}
	return map;
}

static struct xn_value *take_float(struct xn_cursor *in)
{
	uint64_t bits;
	double f;

	if (xn_take_fixed(in, &bits) < 0)
		return NULL;
	memcpy(&f, &bits, sizeof(f));
	return xn_float(f);
}

static struct xn_value *take_value(struct xn_cursor *in, unsigned depth)
{
	unsigned tag;
	int64_t i;

	if (depth > XN_VALUE_MAX_DEPTH || xn_take_byte(in, &tag) < 0)
		return NULL;
	switch ((enum tag)tag) {
	case TAG_NIL:
		return xn_nil();
	case TAG_STRING:
		return take_text_value(in);
	case TAG_INT:
		return take_zigzag(in, &i) < 0 ? NULL : xn_int(i);
	case TAG_DATETIME:
		return take_zigzag(in, &i) < 0 ? NULL : xn_datetime(i);
	case TAG_FLOAT:
		return take_float(in);
	case TAG_FALSE:
		return xn_bool(false);
	case TAG_TRUE:
		return xn_bool(true);
	case TAG_SET:
		return take_set(in, depth);
	case TAG_MAP:
		return take_map(in, depth);
	case TAG_REF:
	case TAG_UUID:
		return take_uuid_value(in, tag == TAG_REF);
	case TAG_NULL_REF:
		return xn_string_len(XN_NULL_REF, sizeof(XN_NULL_REF) - 1);
	}
	return NULL;
}

struct xn_value *xn_take_value(struct xn_cursor *in)
{
	return take_value(in, 0);
}

int xn_take_string(struct xn_cursor *in, char *out, size_t size)
{
	struct xn_slice text;
	unsigned tag;

	if (xn_take_byte(in, &tag) < 0)
		return -EBADMSG;
	if (tag == TAG_REF || tag == TAG_UUID) {
		size_t prefix = tag == TAG_REF ? REF_PREFIX : 0;

		if (prefix + UUID_TEXT >= size || take_bytes(in, UUID_BYTES, &text) < 0)
			return -EBADMSG;
		memcpy(out, ref_prefix, prefix);
		uuid_unpack(text.data, out + prefix);
		out[prefix + UUID_TEXT] = '\0';
		return 0;
	}
	if (tag != TAG_STRING || xn_take_text(in, &text) < 0 || text.len >= size ||
	    !xn_text_is_valid((const char *)text.data, text.len))
		return -EBADMSG;
	memcpy(out, text.data, text.len);
	out[text.len] = '\0';
	return 0;
}

/* ---- rows ---- */

void xn_put_row_head(struct xn_buf *out, const struct xn_row_head *head)
{
	xn_buf_add_char(out, XN_ROW_VERSION);
	xn_put_varint(out, head->class_no);
	xn_put_fixed(out, head->created);
	xn_put_fixed(out, head->modified);
}

static int take_number(struct xn_cursor *in, uint32_t *out)
{
	uint64_t n;

	if (xn_take_varint(in, &n) < 0 || n > UINT16_MAX)
		return -EBADMSG;
	*out = (uint32_t)n;
	return 0;
}

int xn_take_row_head(struct xn_cursor *in, struct xn_row_head *head)
{
	unsigned version;

	if (xn_take_byte(in, &version) < 0 || version != XN_ROW_VERSION ||
	    take_number(in, &head->class_no) < 0 || xn_take_fixed(in, &head->created) < 0 ||
	    xn_take_fixed(in, &head->modified) < 0)
		return -EBADMSG;
	return 0;
}

/* ---- tombstones ---- */

void xn_put_tombstone(struct xn_buf *out, const struct xn_tombstone_bytes *tomb)
{
	xn_buf_add_char(out, XN_ROW_VERSION);
	xn_put_varint(out, tomb->class_no);
	xn_put_string(out, tomb->ref);
	xn_put_fixed(out, tomb->created);
	xn_put_fixed(out, tomb->deleted);
}

int xn_take_tombstone(struct xn_cursor *in, struct xn_tombstone_bytes *tomb)
{
	unsigned version;
	bool bad;

	bad = xn_take_byte(in, &version) < 0 || version != XN_ROW_VERSION ||
	      take_number(in, &tomb->class_no) < 0 ||
	      xn_take_string(in, tomb->ref, sizeof(tomb->ref)) < 0 ||
	      xn_take_fixed(in, &tomb->created) < 0 || xn_take_fixed(in, &tomb->deleted) < 0;
	return bad ? -EBADMSG : 0;
}

/* ---- transactions ---- */

void xn_put_tx_head(struct xn_buf *out, const struct xn_tx_head *head)
{
	xn_buf_add_char(out, XN_TX_VERSION);
	xn_put_fixed(out, (uint64_t)head->wall_us);
	xn_put_fixed(out, head->first);
	xn_put_fixed(out, head->next);
}

int xn_take_tx_head(struct xn_cursor *in, struct xn_tx_head *head)
{
	uint64_t wall_us;
	unsigned version;

	if (xn_take_byte(in, &version) < 0 || version != XN_TX_VERSION ||
	    xn_take_fixed(in, &wall_us) < 0 || xn_take_fixed(in, &head->first) < 0 ||
	    xn_take_fixed(in, &head->next) < 0 || head->next < head->first)
		return -EBADMSG;
	head->wall_us = (int64_t)wall_us;
	return 0;
}

int xn_take_pair(struct xn_cursor *in, uint32_t *name_no, struct xn_slice *value)
{
	if (in->at == in->end)
		return 0;
	if (take_number(in, name_no) < 0)
		return -EBADMSG;
	value->data = in->at;
	if (xn_skip_value(in) < 0)
		return -EBADMSG;
	value->len = (size_t)(in->at - value->data);
	return 1;
}

static int take_pairs(struct xn_cursor *in, struct xn_slice *pairs)
{
	struct xn_slice value;
	uint32_t name_no;
	uint64_t n;

	if (take_count(in, 2, &n) < 0)
		return -EBADMSG;
	pairs->data = in->at;
	while (n--)
		if (xn_take_pair(in, &name_no, &value) != 1)
			return -EBADMSG;
	pairs->len = (size_t)(in->at - pairs->data);
	return 0;
}

static int take_row_name(struct xn_cursor *in, struct xn_tx_entry *entry)
{
	if (take_number(in, &entry->class_no) < 0)
		return -EBADMSG;
	entry->ref.data = in->at;
	if (xn_skip_value(in) < 0)
		return -EBADMSG;
	entry->ref.len = (size_t)(in->at - entry->ref.data);
	return 0;
}

static int take_stamp(struct xn_cursor *in, const struct xn_tx_head *head,
		      struct xn_tx_entry *entry)
{
	uint64_t delta;

	if (xn_take_varint(in, &delta) < 0 || delta >= head->next - head->first)
		return -EBADMSG;
	entry->stamp = head->first + delta;
	return 0;
}

static int take_texts(struct xn_cursor *in, struct xn_tx_entry *entry, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (xn_take_text(in, &entry->texts[i]) < 0)
			return -EBADMSG;
	return 0;
}

static int take_entry_body(struct xn_cursor *in, const struct xn_tx_head *head,
			   struct xn_tx_entry *entry)
{
	bool bad;

	switch (entry->op) {
	case XN_TX_ORIGIN:
		return take_texts(in, entry, 3);
	case XN_TX_CREATE:
	case XN_TX_SET:
		bad = take_row_name(in, entry) < 0 || take_stamp(in, head, entry) < 0 ||
		      take_pairs(in, &entry->pairs) < 0;
		return bad ? -EBADMSG : 0;
	case XN_TX_STAMP:
		bad = take_row_name(in, entry) < 0 || take_stamp(in, head, entry) < 0;
		return bad ? -EBADMSG : 0;
	case XN_TX_DELETE:
		bad = take_row_name(in, entry) < 0 || take_stamp(in, head, entry) < 0 ||
		      xn_take_fixed(in, &entry->created) < 0;
		return bad ? -EBADMSG : 0;
	case XN_TX_LATER:
		bad = xn_take_varint(in, &entry->id) < 0 || take_row_name(in, entry) < 0 ||
		      take_pairs(in, &entry->pairs) < 0;
		return bad ? -EBADMSG : 0;
	case XN_TX_LATER_DONE:
		return xn_take_varint(in, &entry->id);
	case XN_TX_META:
		return take_texts(in, entry, 2);
	case XN_TX_WAS:
		bad = take_row_name(in, entry) < 0 || take_pairs(in, &entry->pairs) < 0;
		return bad ? -EBADMSG : 0;
	}
	return -EBADMSG;
}

int xn_take_tx_entry(struct xn_cursor *in, const struct xn_tx_head *head,
		     struct xn_tx_entry *entry)
{
	unsigned op;

	if (in->at == in->end)
		return 0;
	if (xn_take_byte(in, &op) < 0)
		return -EBADMSG;
	*entry = (struct xn_tx_entry){.op = (enum xn_tx_op)op};
	return take_entry_body(in, head, entry) < 0 ? -EBADMSG : 1;
}
