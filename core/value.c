/* The dynamic value; see value.h. Small common values are immortal and shared. */
#include "core/value.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { SMALL_INT_MIN = -1 };
#define IMMORTAL UINT32_MAX

/* All immortal: never written again, so they may be shared by everything. The bytes of the empty
 * string lie inside the union, which is zero. */
static const struct xn_value nil_value = {.refs = IMMORTAL, .kind = XN_NIL};
static const struct xn_value true_value = {.refs = IMMORTAL, .kind = XN_BOOL, .i = 1};
static const struct xn_value false_value = {.refs = IMMORTAL, .kind = XN_BOOL, .i = 0};
static const struct xn_value zero_float = {.refs = IMMORTAL, .kind = XN_FLOAT, .f = 0.0};
static const struct xn_value empty_string = {.refs = IMMORTAL, .kind = XN_STRING};
static const struct xn_value empty_set = {.refs = IMMORTAL, .kind = XN_SET};
static const struct xn_value empty_map = {.refs = IMMORTAL, .kind = XN_MAP};
/* As a struct xn_value that holds a string, for an array member cannot be initialised in there. */
static const struct {
	uint32_t refs, kind, len;
	char bytes[sizeof(XN_NULL_REF)];
} null_ref = {IMMORTAL, XN_STRING, sizeof(XN_NULL_REF) - 1, XN_NULL_REF};
_Static_assert(offsetof(struct xn_value, string.bytes) == 12, "null_ref has another layout");
#define SMALL_INT(n)   {.refs = IMMORTAL, .kind = XN_INT, .i = (n) + SMALL_INT_MIN}
#define SMALL_INT8(n)                                                                 \
	SMALL_INT(n), SMALL_INT((n) + 1), SMALL_INT((n) + 2), SMALL_INT((n) + 3),     \
		SMALL_INT((n) + 4), SMALL_INT((n) + 5), SMALL_INT((n) + 6),           \
		SMALL_INT((n) + 7)
static const struct xn_value small_ints[] = {
	SMALL_INT8(0), SMALL_INT8(8), SMALL_INT8(16), SMALL_INT8(24), SMALL_INT8(32),
	SMALL_INT8(40), SMALL_INT8(48), SMALL_INT8(56),
};

static struct xn_value *shared(const struct xn_value *v)
{
	return (struct xn_value *)v; /* immortal: every writer unshares first */
}

static struct xn_value *value_new(enum xn_kind kind, size_t size)
{
	struct xn_value *v = xn_malloc(size < sizeof(*v) ? sizeof(*v) : size);

	v->refs = 1;
	v->kind = kind;
	return v;
}

struct xn_value *xn_nil(void)
{
	return shared(&nil_value);
}

struct xn_value *xn_string_len(const char *s, size_t len)
{
	struct xn_value *v;

	if (!len)
		return shared(&empty_string);
	if (len == null_ref.len && memcmp(s, null_ref.bytes, len) == 0)
		return shared((const struct xn_value *)&null_ref);
	v = value_new(XN_STRING, offsetof(struct xn_value, string.bytes) + len + 1);
	v->string.len = (uint32_t)len;
	memcpy(v->string.bytes, s, len);
	v->string.bytes[len] = '\0';
	return v;
}

struct xn_value *xn_string(const char *s)
{
	return xn_string_len(s, strlen(s));
}

struct xn_value *xn_stringf(const char *fmt, ...)
{
	struct xn_value *v;
	va_list ap;
	char *text;

	va_start(ap, fmt);
	text = xn_vasprintf(fmt, ap);
	va_end(ap);
	v = xn_string(text);
	free(text);
	return v;
}

struct xn_value *xn_int(int64_t i)
{
	struct xn_value *v;

	if (i >= SMALL_INT_MIN && i < SMALL_INT_MIN + (int64_t)XN_ARRAY_SIZE(small_ints))
		return shared(&small_ints[i - SMALL_INT_MIN]);
	v = value_new(XN_INT, sizeof(*v));
	v->i = i;
	return v;
}

struct xn_value *xn_float(double f)
{
	struct xn_value *v;

	if (memcmp(&f, &zero_float.f, sizeof(f)) == 0) /* not -0.0 */
		return shared(&zero_float);
	v = value_new(XN_FLOAT, sizeof(*v));
	v->f = f;
	return v;
}

struct xn_value *xn_bool(bool b)
{
	return shared(b ? &true_value : &false_value);
}

struct xn_value *xn_datetime(int64_t epoch_seconds)
{
	struct xn_value *v = value_new(XN_DATETIME, sizeof(*v));

	v->i = epoch_seconds;
	return v;
}

struct xn_value *xn_set_new(void)
{
	return shared(&empty_set);
}

struct xn_value *xn_map_new(void)
{
	return shared(&empty_map);
}

struct xn_value *xn_embed(const struct xn_embed_ops *ops, void *object)
{
	struct xn_value *v = value_new(XN_EMBED, sizeof(*v));

	v->embed.ops = ops;
	v->embed.object = object;
	return v;
}

/* ---- text that is written already ---- */

enum { TEXT_SLICE = 64 << 10 };

static bool text_part(const void *object, enum xn_format format, size_t *at, struct xn_buf *out)
{
	const struct xn_buf *text = object;
	size_t n = text->len - *at < TEXT_SLICE ? text->len - *at : TEXT_SLICE;

	xn_buf_add(out, text->data + *at, n);
	*at += n;
	return *at < text->len;
}

static int64_t text_measure(const void *object, enum xn_format format)
{
	const struct xn_buf *text = object;

	return (int64_t)text->len;
}

static size_t text_held(const void *object)
{
	const struct xn_buf *text = object;

	return text->cap;
}

static void text_release(void *object)
{
	struct xn_buf *text = object;

	xn_buf_clear(text);
	free(text);
}

struct xn_value *xn_embed_text(struct xn_buf *text)
{
	static const struct xn_embed_ops ops = {.part = text_part,
						.measure = text_measure,
						.held = text_held,
						.release = text_release};
	struct xn_buf *taken = xn_malloc(sizeof(*taken));

	*taken = *text;
	*text = (struct xn_buf){0};
	return xn_embed(&ops, taken);
}

void xn_embed_write(const struct xn_value *v, enum xn_format format, struct xn_buf *out)
{
	size_t at = 0;

	if (!v->embed.ops->part) {
		v->embed.ops->write(v->embed.object, format, out);
		return;
	}
	while (v->embed.ops->part(v->embed.object, format, &at, out))
		;
}

struct xn_value *xn_value_ref(const struct xn_value *v)
{
	struct xn_value *same = (struct xn_value *)v;

	if (same->refs != IMMORTAL)
		same->refs++;
	return same;
}

static void free_members(struct xn_value *v)
{
	switch ((enum xn_kind)v->kind) {
	case XN_SET:
		for (uint32_t i = 0; i < v->set.len; i++)
			xn_value_unref(v->set.items[i]);
		free(v->set.items);
		break;
	case XN_MAP:
		for (uint32_t i = 0; i < v->map.len; i++) {
			xn_value_unref(v->map.entries[i].key);
			xn_value_unref(v->map.entries[i].value);
		}
		free(v->map.entries);
		break;
	case XN_EMBED:
		if (v->embed.ops->release)
			v->embed.ops->release(v->embed.object);
		break;
	default:
		break;
	}
}

void xn_value_unref(struct xn_value *v)
{
	if (!v || v->refs == IMMORTAL || --v->refs)
		return;
	free_members(v);
	free(v);
}

static bool sets_equal(const struct xn_value *a, const struct xn_value *b)
{
	if (a->set.len != b->set.len)
		return false;
	for (uint32_t i = 0; i < a->set.len; i++)
		if (!xn_value_equal(a->set.items[i], b->set.items[i]))
			return false;
	return true;
}

static bool maps_equal(const struct xn_value *a, const struct xn_value *b)
{
	if (a->map.len != b->map.len)
		return false;
	for (uint32_t i = 0; i < a->map.len; i++)
		if (!xn_value_equal(a->map.entries[i].key, b->map.entries[i].key) ||
		    !xn_value_equal(a->map.entries[i].value, b->map.entries[i].value))
			return false;
	return true;
}

bool xn_value_equal(const struct xn_value *a, const struct xn_value *b)
{
	if (a == b)
		return true;
	if (a->kind != b->kind)
		return false;
	switch ((enum xn_kind)a->kind) {
	case XN_NIL:
		return true;
	case XN_STRING:
		return a->string.len == b->string.len &&
		       memcmp(a->string.bytes, b->string.bytes, a->string.len) == 0;
	case XN_INT:
	case XN_BOOL:
	case XN_DATETIME:
		return a->i == b->i;
	case XN_FLOAT:
		return memcmp(&a->f, &b->f, sizeof(a->f)) == 0;
	case XN_SET:
		return sets_equal(a, b);
	case XN_MAP:
		return maps_equal(a, b);
	case XN_EMBED:
		return a->embed.ops == b->embed.ops && a->embed.object == b->embed.object;
	}
	return false;
}

const char *xn_value_string(const struct xn_value *v)
{
	assert(v->kind == XN_STRING);
	return v->string.bytes;
}

size_t xn_value_string_len(const struct xn_value *v)
{
	assert(v->kind == XN_STRING);
	return v->string.len;
}

int64_t xn_value_int(const struct xn_value *v)
{
	assert(v->kind == XN_INT || v->kind == XN_DATETIME);
	return v->i;
}

double xn_value_float(const struct xn_value *v)
{
	assert(v->kind == XN_FLOAT);
	return v->f;
}

bool xn_value_bool(const struct xn_value *v)
{
	assert(v->kind == XN_BOOL);
	return v->i != 0;
}

/* ---- sets ---- */

size_t xn_set_len(const struct xn_value *set)
{
	assert(set->kind == XN_SET);
	return set->set.len;
}

const struct xn_value *xn_set_at(const struct xn_value *set, size_t index)
{
	assert(set->kind == XN_SET && index < set->set.len);
	return set->set.items[index];
}

static bool is_string(const struct xn_value *v, const char *s, size_t len)
{
	return v->kind == XN_STRING && v->string.len == len && memcmp(v->string.bytes, s, len) == 0;
}

bool xn_set_has_string(const struct xn_value *set, const char *s)
{
	size_t len = strlen(s);

	for (size_t i = 0; i < xn_set_len(set); i++)
		if (is_string(set->set.items[i], s, len))
			return true;
	return false;
}

/* Makes *v this owner's alone. */
static void unshare_set(struct xn_value **v)
{
	struct xn_value *old = *v, *own;

	assert(old->kind == XN_SET);
	if (old->refs == 1)
		return;
	own = value_new(XN_SET, sizeof(*own));
	own->set.len = own->set.cap = old->set.len;
	own->set.items = xn_malloc(own->set.cap * sizeof(*own->set.items));
	for (uint32_t i = 0; i < old->set.len; i++)
		own->set.items[i] = xn_value_ref(old->set.items[i]);
	xn_value_unref(old);
	*v = own;
}

static void set_insert_at(struct xn_value **set, uint32_t at, struct xn_value *item)
{
	struct xn_value *s;

	unshare_set(set);
	s = *set;
	if (s->set.len == s->set.cap) {
		s->set.cap = s->set.cap ? s->set.cap * 2 : 4;
		s->set.items = xn_realloc(s->set.items, s->set.cap * sizeof(*s->set.items));
	}
	memmove(s->set.items + at + 1, s->set.items + at,
		(s->set.len - at) * sizeof(*s->set.items));
	s->set.items[at] = item;
	s->set.len++;
}

static void set_remove_at(struct xn_value **set, uint32_t at)
{
	struct xn_value *s;

	unshare_set(set);
	s = *set;
	xn_value_unref(s->set.items[at]);
	s->set.len--;
	memmove(s->set.items + at, s->set.items + at + 1,
		(s->set.len - at) * sizeof(*s->set.items));
}

void xn_set_append(struct xn_value **set, struct xn_value *item)
{
	set_insert_at(set, (uint32_t)xn_set_len(*set), item);
}

void xn_set_append_string(struct xn_value **set, const char *s)
{
	xn_set_append(set, xn_string(s));
}

/* First index whose string is not below @s; *found tells whether it is @s. */
static uint32_t set_search(const struct xn_value *set, const char *s, bool *found)
{
	uint32_t low = 0, high = set->set.len;

	*found = false;
	while (low < high) {
		uint32_t mid = low + (high - low) / 2;
		int order = strcmp(xn_value_string(set->set.items[mid]), s);

		if (order == 0) {
			*found = true;
			return mid;
		}
		if (order < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

bool xn_set_insert_sorted(struct xn_value **set, struct xn_value *item)
{
	bool found;
	uint32_t at = set_search(*set, xn_value_string(item), &found);

	if (found)
		xn_value_unref(item);
	else
		set_insert_at(set, at, item);
	return !found;
}

bool xn_set_remove_sorted(struct xn_value **set, const char *s)
{
	bool found;
	uint32_t at = set_search(*set, s, &found);

	if (found)
		set_remove_at(set, at);
	return found;
}

bool xn_set_remove_string(struct xn_value **set, const char *s)
{
	size_t len = strlen(s);
	bool changed = false;

	for (uint32_t i = (uint32_t)xn_set_len(*set); i-- > 0;) {
		if (is_string((*set)->set.items[i], s, len)) {
			set_remove_at(set, i);
			changed = true;
		}
	}
	return changed;
}

/* ---- maps ---- */

size_t xn_map_len(const struct xn_value *map)
{
	assert(map->kind == XN_MAP);
	return map->map.len;
}

const char *xn_map_key_at(const struct xn_value *map, size_t index)
{
	assert(map->kind == XN_MAP && index < map->map.len);
	return map->map.entries[index].key->string.bytes;
}

const struct xn_value *xn_map_at(const struct xn_value *map, size_t index)
{
	assert(map->kind == XN_MAP && index < map->map.len);
	return map->map.entries[index].value;
}

static uint32_t map_search(const struct xn_value *map, const char *key, bool *found)
{
	uint32_t low = 0, high;

	assert(map->kind == XN_MAP);
	high = map->map.len;
	*found = false;
	/* Records and most maps are built in order: look at the end first. */
	if (high && strcmp(map->map.entries[high - 1].key->string.bytes, key) < 0)
		return high;
	while (low < high) {
		uint32_t mid = low + (high - low) / 2;
		int order = strcmp(map->map.entries[mid].key->string.bytes, key);

		if (order == 0) {
			*found = true;
			return mid;
		}
		if (order < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

const struct xn_value *xn_map_get(const struct xn_value *map, const char *key)
{
	bool found;
	uint32_t at = map_search(map, key, &found);

	return found ? map->map.entries[at].value : NULL;
}

const char *xn_map_get_string(const struct xn_value *map, const char *key)
{
	const struct xn_value *v = xn_map_get(map, key);

	return v && v->kind == XN_STRING ? v->string.bytes : NULL;
}

int64_t xn_map_get_int(const struct xn_value *map, const char *key, int64_t otherwise)
{
	const struct xn_value *v = xn_map_get(map, key);

	return v && v->kind == XN_INT ? v->i : otherwise;
}

bool xn_map_get_bool(const struct xn_value *map, const char *key, bool otherwise)
{
	const struct xn_value *v = xn_map_get(map, key);

	return v && v->kind == XN_BOOL ? v->i != 0 : otherwise;
}

static void unshare_map(struct xn_value **v)
{
	struct xn_value *old = *v, *own;

	assert(old->kind == XN_MAP);
	if (old->refs == 1)
		return;
	own = value_new(XN_MAP, sizeof(*own));
	own->map.len = own->map.cap = old->map.len;
	own->map.entries = xn_malloc(own->map.cap * sizeof(*own->map.entries));
	for (uint32_t i = 0; i < old->map.len; i++) {
		own->map.entries[i].key = xn_value_ref(old->map.entries[i].key);
		own->map.entries[i].value = xn_value_ref(old->map.entries[i].value);
	}
	xn_value_unref(old);
	*v = own;
}

void xn_map_put(struct xn_value **map, const char *key, struct xn_value *value)
{
	bool found;
	uint32_t at = map_search(*map, key, &found);
	struct xn_value *m;

	unshare_map(map);
	m = *map;
	if (found) {
		xn_value_unref(m->map.entries[at].value);
		m->map.entries[at].value = value;
		return;
	}
	if (m->map.len == m->map.cap) {
		m->map.cap = m->map.cap ? m->map.cap * 2 : 4;
		m->map.entries = xn_realloc(m->map.entries, m->map.cap * sizeof(*m->map.entries));
	}
	memmove(m->map.entries + at + 1, m->map.entries + at,
		(m->map.len - at) * sizeof(*m->map.entries));
	m->map.entries[at].key = xn_string(key);
	m->map.entries[at].value = value;
	m->map.len++;
}

void xn_map_put_string(struct xn_value **map, const char *key, const char *s)
{
	xn_map_put(map, key, xn_string(s));
}

bool xn_map_remove(struct xn_value **map, const char *key)
{
	bool found;
	uint32_t at = map_search(*map, key, &found);
	struct xn_value *m;

	if (!found)
		return false;
	unshare_map(map);
	m = *map;
	xn_value_unref(m->map.entries[at].key);
	xn_value_unref(m->map.entries[at].value);
	m->map.len--;
	memmove(m->map.entries + at, m->map.entries + at + 1,
		(m->map.len - at) * sizeof(*m->map.entries));
	return true;
}
