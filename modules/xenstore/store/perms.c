/*
 * Permissions of nodes: an owner, what all others may, and exceptions; parsed, shared between
 * nodes, evaluated. Most nodes of a domain have one of a handful of lists, so equal lists are one
 * object.
 */
#include "modules/xenstore/store/store_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

static const struct {
	char letter;
	unsigned mode;
} modes[] = {
	{'n', 0},
	{'r', XN_XS_MAY_READ},
	{'w', XN_XS_MAY_WRITE},
	{'b', XN_XS_MAY_READ | XN_XS_MAY_WRITE},
};

static int parse_number(const char *at, const char *end, int max_digits, uint64_t *out)
{
	if (at >= end || end - at > max_digits)
		return -EINVAL;
	for (*out = 0; at < end; at++) {
		if (*at < '0' || *at > '9')
			return -EINVAL;
		*out = *out * 10 + (uint64_t)(*at - '0');
	}
	return 0;
}

static int parse_one(const char *text, size_t len, bool births, struct xn_xs_perm_spec *out)
{
	const char *dot = births ? memchr(text, '.', len) : NULL;
	const char *end = dot ? dot : text + len;
	uint64_t domid;
	size_t i;

	for (i = 0; i < XN_ARRAY_SIZE(modes) && modes[i].letter != text[0]; i++)
		;
	if (i == XN_ARRAY_SIZE(modes) || parse_number(text + 1, end, 5, &domid) < 0 ||
	    domid >= XN_XS_DOMID_END)
		return -EINVAL;
	*out = (struct xn_xs_perm_spec){
		.domid = (uint32_t)domid, .mode = modes[i].mode, .has_birth = dot != NULL};
	return births ? dot ? parse_number(dot + 1, text + len, 18, &out->birth) : -EINVAL : 0;
}

int xn_xs_perms_parse(const char *text, size_t len, bool births, struct xn_xs_perm_spec *out)
{
	int n = 0;
	size_t i = 0;

	while (i < len) {
		size_t start;

		if (text[i] == ' ' || text[i] == '\0') {
			i++;
			continue;
		}
		start = i;
		while (i < len && text[i] != ' ' && text[i] != '\0')
			i++;
		if (n == XN_XS_PERMS_MAX)
			return -ENOSPC;
		if (parse_one(text + start, i - start, births, &out[n]) < 0)
			return -EINVAL;
		n++;
	}
	return n ? n : -EINVAL;
}

static uint64_t hash_entries(const struct xn_xs_ace *entries, unsigned n)
{
	uint64_t h = n;

	for (unsigned i = 0; i < n; i++) {
		uint64_t words[3] = {h, entries[i].domain->birth << 16 | entries[i].domain->domid,
				     entries[i].mode};

		h = xn_hash_bytes(words, sizeof(words));
	}
	return h;
}

static bool are_entries(const struct xn_xs_perms *perms, const struct xn_xs_ace *entries,
			unsigned n)
{
	if (perms->n != n)
		return false;
	for (unsigned i = 0; i < n; i++)
		if (perms->entries[i].domain != entries[i].domain ||
		    perms->entries[i].mode != entries[i].mode)
			return false;
	return true;
}

/* The one object with @entries; a new reference. */
static struct xn_xs_perms *intern(struct xn_xs_store *store, const struct xn_xs_ace *entries,
				  unsigned n)
{
	uint64_t hash = hash_entries(entries, n);
	struct xn_hnode *at = xn_hmap_first_same(&store->perms, hash);
	struct xn_xs_perms *perms;

	for (; at; at = xn_hmap_next_same(at)) {
		perms = xn_container_of(at, struct xn_xs_perms, hash);
		if (are_entries(perms, entries, n))
			return xn_xs_perms_ref(perms);
	}
	perms = xn_malloc(sizeof(*perms) + n * sizeof(entries[0]));
	*perms = (struct xn_xs_perms){.store = store, .refs = 1, .n = n};
	memcpy(perms->entries, entries, n * sizeof(entries[0]));
	for (unsigned i = 0; i < n; i++)
		entries[i].domain->refs++;
	xn_hmap_insert(&store->perms, &perms->hash, hash);
	return perms;
}

static struct xn_xs_domain *meant(struct xn_xs_store *store, const struct xn_xs_perm_spec *spec)
{
	return spec->has_birth ? xn_xs_domain_meant(store, spec->domid, spec->birth)
			       : xn_xs_domain_named(store, spec->domid);
}

struct xn_xs_perms *xn_xs_perms_make(struct xn_xs_store *store, const struct xn_xs_perm_spec *specs,
				     unsigned n)
{
	struct xn_xs_ace entries[XN_XS_PERMS_MAX];
	struct xn_xs_perms *perms;

	assert(n > 0 && n <= XN_XS_PERMS_MAX);
	entries[0] = (struct xn_xs_ace){0}; /* the compiler does not see that there is one */
	for (unsigned i = 0; i < n; i++)
		entries[i] = (struct xn_xs_ace){.domain = meant(store, &specs[i]),
						.mode = specs[i].mode};
	perms = intern(store, entries, n);
	for (unsigned i = 0; i < n; i++)
		xn_xs_domain_unref(entries[i].domain);
	return perms;
}

int xn_xs_perms_read(struct xn_xs_store *store, const char *text, size_t len, bool births,
		     struct xn_xs_perms **perms_out)
{
	struct xn_xs_perm_spec specs[XN_XS_PERMS_MAX];
	int n = xn_xs_perms_parse(text, len, births, specs);

	if (n < 0)
		return n;
	*perms_out = xn_xs_perms_make(store, specs, (unsigned)n);
	return 0;
}

struct xn_xs_perms *xn_xs_perms_ref(struct xn_xs_perms *perms)
{
	perms->refs++;
	return perms;
}

void xn_xs_perms_unref(struct xn_xs_perms *perms)
{
	if (!perms || --perms->refs)
		return;
	xn_hmap_remove(&perms->store->perms, &perms->hash);
	for (unsigned i = 0; i < perms->n; i++)
		xn_xs_domain_unref(perms->entries[i].domain);
	free(perms);
}

struct xn_xs_perms *xn_xs_perms_inherit(struct xn_xs_perms *parent, struct xn_xs_domain *by)
{
	struct xn_xs_ace entries[XN_XS_PERMS_MAX];

	if (xn_xs_domain_is_privileged(by) || parent->entries[0].domain == by)
		return xn_xs_perms_ref(parent);
	memcpy(entries, parent->entries, parent->n * sizeof(entries[0]));
	entries[0].domain = by; /* a guest owns what it makes, wherever that is */
	return intern(parent->store, entries, parent->n);
}

static bool is_meant(const struct xn_xs_ace *entry, const struct xn_xs_domain *who)
{
	return entry->domain == who ||
	       (who->target && who->target->alive && entry->domain == who->target);
}

unsigned xn_xs_perms_mode(const struct xn_xs_perms *perms, const struct xn_xs_domain *who)
{
	if (xn_xs_domain_is_privileged(who) || is_meant(&perms->entries[0], who))
		return XN_XS_MAY_READ | XN_XS_MAY_WRITE | XN_XS_OWNS;
	for (unsigned i = 1; i < perms->n; i++)
		if (is_meant(&perms->entries[i], who))
			return perms->entries[i].mode;
	return perms->entries[0].mode;
}

/* The rights of a dead domain are nobody's; its number may be somebody else's by now. */
static bool is_over(const struct xn_xs_perms *perms, unsigned i)
{
	const struct xn_xs_domain *domain = perms->entries[i].domain;

	return i && !domain->alive && domain->birth;
}

static void print_entry(const struct xn_xs_ace *entry, struct xn_buf *out)
{
	xn_buf_add_char(out, entry->mode == 0 ? 'n' : "?rwb"[entry->mode]);
	xn_buf_add_int(out, entry->domain->domid);
}

void xn_xs_perms_print(const struct xn_xs_perms *perms, char separator, struct xn_buf *out)
{
	for (unsigned i = 0; i < perms->n; i++) {
		if (is_over(perms, i))
			continue;
		print_entry(&perms->entries[i], out);
		xn_buf_add_char(out, separator);
	}
}

void xn_xs_perms_print_births(const struct xn_xs_perms *perms, struct xn_buf *out)
{
	for (unsigned i = 0; i < perms->n; i++) {
		print_entry(&perms->entries[i], out);
		xn_buf_add_char(out, '.');
		xn_buf_add_int(out, (int64_t)perms->entries[i].domain->birth);
		xn_buf_add_char(out, ' ');
	}
}
