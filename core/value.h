/*
 * The one dynamic value: arguments, results, database fields, task results, event snapshots.
 * Immutable once shared; reference counted by the loop thread only (a worker gets encoded
 * bytes, never a value). Codecs (JSON, XML-RPC, rows) and the schema's type checks work on it.
 */
#ifndef XN_VALUE_H
#define XN_VALUE_H

#include "core/base.h"
#include "core/buf.h"

enum xn_kind {
	XN_NIL,	     /* void result; JSON null on input */
	XN_STRING,   /* also references and enum values; valid UTF-8, no NUL */
	XN_INT,	     /* 64 bit */
	XN_FLOAT,
	XN_BOOL,
	XN_DATETIME, /* seconds since the epoch, UTC */
	XN_SET,	     /* ordered list */
	XN_MAP,	     /* string keys, kept sorted by byte order, unique; also records */
	XN_EMBED,    /* encodes itself, e.g. a database row: only in results */
};

enum xn_format { XN_FORMAT_JSON, XN_FORMAT_XML };

struct xn_value;

/*
 * Something outside core that can write itself into a result: at once, or, what may be long, in parts
 * of some 64 KB and a fraction of a millisecond each, so that others have their turns in between.
 */
struct xn_embed_ops {
	void (*write)(const void *object, enum xn_format format, struct xn_buf *out);
	void (*release)(void *object); /* may be NULL */
	/* In place of write(): appends the part at *at (0 at first) and moves it on; false: that was the
	 * last. One that only prepares appends nothing. */
	bool (*part)(const void *object, enum xn_format format, size_t *at, struct xn_buf *out);
	/* With part(): a step towards the length of all parts, or -1: not known yet. */
	int64_t (*measure)(const void *object, enum xn_format format);
	/* With part(): bytes that it keeps from being freed, about. */
	size_t (*held)(const void *object);
};

struct xn_map_entry {
	struct xn_value *key; /* an XN_STRING */
	struct xn_value *value;
};

/* Read the members through the functions below; the layout is here for inlining. */
struct xn_value {
	uint32_t refs; /* UINT32_MAX: immortal */
	uint32_t kind;
	union {
		int64_t i; /* XN_INT, XN_DATETIME, XN_BOOL */
		double f;
		struct {
			uint32_t len;
			char bytes[]; /* terminated */
		} string;
		struct {
			uint32_t len, cap;
			struct xn_value **items;
		} set;
		struct {
			uint32_t len, cap;
			struct xn_map_entry *entries;
		} map;
		struct {
			const struct xn_embed_ops *ops;
			void *object;
		} embed;
	};
};

/* Constructors return a reference that the caller owns. Common small values are shared. */
struct xn_value *xn_nil(void);
struct xn_value *xn_string(const char *s);
struct xn_value *xn_string_len(const char *s, size_t len);
struct xn_value *xn_stringf(const char *fmt, ...) XN_PRINTF(1, 2);
struct xn_value *xn_int(int64_t i);
struct xn_value *xn_float(double f);
struct xn_value *xn_bool(bool b);
struct xn_value *xn_datetime(int64_t epoch_seconds);
struct xn_value *xn_set_new(void); /* empty */
struct xn_value *xn_map_new(void); /* empty */
struct xn_value *xn_embed(const struct xn_embed_ops *ops, void *object);
/* What a buffer holds, encoded already in the format that will be asked for; takes it, in slices. */
struct xn_value *xn_embed_text(struct xn_buf *text);
/* Whether the value is one that may be long and comes in parts. */
static inline bool xn_value_has_parts(const struct xn_value *v)
{
	return v->kind == XN_EMBED && v->embed.ops->part;
}
void xn_embed_write(const struct xn_value *v, enum xn_format format, struct xn_buf *out); /* all of it */

struct xn_value *xn_value_ref(const struct xn_value *v); /* the same value, one more owner */
void xn_value_unref(struct xn_value *v);		 /* NULL is fine */
XN_DEFINE_CLEANUP(struct xn_value *, xn_value_unref)

bool xn_value_equal(const struct xn_value *a, const struct xn_value *b);

/* Readers. Asking for another kind than the value has is our bug: asserts. */
const char *xn_value_string(const struct xn_value *v);
size_t xn_value_string_len(const struct xn_value *v);
int64_t xn_value_int(const struct xn_value *v); /* XN_INT or XN_DATETIME */
double xn_value_float(const struct xn_value *v);
bool xn_value_bool(const struct xn_value *v);

size_t xn_set_len(const struct xn_value *set);
const struct xn_value *xn_set_at(const struct xn_value *set, size_t index);
bool xn_set_has_string(const struct xn_value *set, const char *s);

size_t xn_map_len(const struct xn_value *map);
const char *xn_map_key_at(const struct xn_value *map, size_t index);
const struct xn_value *xn_map_at(const struct xn_value *map, size_t index);
const struct xn_value *xn_map_get(const struct xn_value *map, const char *key);	 /* or NULL */
const char *xn_map_get_string(const struct xn_value *map, const char *key);	 /* or NULL */
int64_t xn_map_get_int(const struct xn_value *map, const char *key, int64_t otherwise);
bool xn_map_get_bool(const struct xn_value *map, const char *key, bool otherwise);

/*
 * Changes copy first when the value has other owners: *v may point to a new value afterwards.
 * `item`, `value` are taken (the callee owns the reference passed).
 */
void xn_set_append(struct xn_value **set, struct xn_value *item);
void xn_set_append_string(struct xn_value **set, const char *s);
/* For relation ends: kept sorted by bytes, no duplicates. Return whether something changed. */
bool xn_set_insert_sorted(struct xn_value **set, struct xn_value *item);
bool xn_set_remove_sorted(struct xn_value **set, const char *s);
bool xn_set_remove_string(struct xn_value **set, const char *s); /* every occurrence, any order */
void xn_map_put(struct xn_value **map, const char *key, struct xn_value *value); /* replaces */
void xn_map_put_string(struct xn_value **map, const char *key, const char *s);
bool xn_map_remove(struct xn_value **map, const char *key);

/* Appends a text, number without fraction, boolean or date as the XenAPI spells it; false: it is none. */
bool xn_value_add_plain(const struct xn_value *v, struct xn_buf *out);

/* Date text of the XenAPI: YYYYMMDDTHH:MM:SSZ. @out holds at least 19 bytes. */
void xn_date_print(int64_t epoch_seconds, char out[19]);
/* Accepts with and without dashes and colons, fraction (dropped), Z or +HH:MM or nothing. 0 or -EINVAL. */
int xn_date_parse(const char *text, int64_t *epoch_seconds_out) XN_MUST_CHECK;

/* Valid UTF-8, no NUL, and only what XML 1.0 can carry (TAB, LF, CR, U+20 and up without FFFE/FFFF). */
bool xn_text_is_valid(const char *s, size_t len);
/* Appends @s with each byte that makes it invalid replaced by U+FFFD: at most three times as long. */
void xn_text_recode(const char *s, size_t len, struct xn_buf *out);

/* How much of valid text to take where only @max bytes of it fit: no part of a character. */
size_t xn_text_fit(const char *text, size_t max);
/* What fits into @size bytes, terminated. */
void xn_text_copy(char *out, size_t size, const char *text);

#define XN_NULL_REF "OpaqueRef:NULL"

#endif
