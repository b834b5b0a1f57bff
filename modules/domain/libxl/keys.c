/* Keys of real domains beside libxl's own; see keys.h. */
#include "modules/domain/libxl/keys.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { KEYS_MAX = 200, PATH_MAX_BYTES = 512, VALUE_MAX_BYTES = 3072 };

struct changes {
	struct xn_xs_change list[KEYS_MAX];
	char *owned[KEYS_MAX * 3];
	size_t n, n_owned;
};

static const char *own(struct changes *c, char *text)
{
	c->owned[c->n_owned++] = text;
	return text;
}

/* @value NULL: remove. Takes @path; copies the others. */
static void add(struct changes *c, char *path, const char *value, const char *perms)
{
	struct xn_xs_change *change = &c->list[c->n];

	own(c, path);
	if (c->n == KEYS_MAX - 1 || strlen(path) > PATH_MAX_BYTES ||
	    (value && strlen(value) > VALUE_MAX_BYTES))
		return;
	c->n++;
	change->path = path;
	change->value = value ? own(c, xn_strdup(value)) : NULL;
	change->perms = perms ? own(c, xn_strdup(perms)) : NULL;
}

static struct xn_xs_request *commit(struct xn_xenstore *xs, struct changes *c,
				    void (*done)(int rc, void *arg), void *arg)
{
	struct xn_xs_request *request = xn_xs_write(xs, c->list, c->n, done, arg);

	for (size_t i = 0; i < c->n_owned; i++)
		free(c->owned[i]);
	return request;
}

/* A VM's xenstore_data may only go where it cannot pass for something else. */
static bool is_allowed(const char *key)
{
	bool inside = strncmp(key, "vm-data/", 8) == 0 || strncmp(key, "FIST/", 5) == 0;
	size_t len = strlen(key);

	return inside && !strstr(key, "//") && key[len - 1] != '/' &&
	       strspn(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-/_@") ==
		       len;
}

static void add_data(struct changes *c, uint32_t domid, const struct xn_value *data)
{
	for (size_t i = 0; data && i < xn_map_len(data); i++) {
		const char *key = xn_map_key_at(data, i);

		if (is_allowed(key))
			add(c, xn_asprintf("/local/domain/%u/%s", domid, key),
			    xn_value_string(xn_map_at(data, i)), NULL);
	}
}

static const char *const guest_folders[] = {
	"messages",
	"rrd",
	"vm-data",
	"xenserver/attr",
};

struct xn_xs_request *xn_libxl_keys_add(struct xn_xenstore *xs, uint32_t domid,
					const struct xn_value *config, int64_t now_us,
					void (*done)(int rc, void *arg), void *arg)
{
	const char *uuid = xn_map_get_string(config, "uuid");
	struct changes c = {0};
	char perms[32], text[64];

	snprintf(perms, sizeof(perms), "n%u", domid);
	for (size_t i = 0; i < XN_ARRAY_SIZE(guest_folders); i++)
		add(&c, xn_asprintf("/local/domain/%u/%s", domid, guest_folders[i]), "", perms);
	add_data(&c, domid, xn_map_get(config, "xenstore_data"));
	snprintf(text, sizeof(text), "/local/domain/%u", domid);
	add(&c, xn_asprintf("/vm/%s/domains/%u", uuid, domid), text, NULL);
	snprintf(text, sizeof(text), "%" PRId64, now_us * 1000);
	add(&c, xn_asprintf("/vm/%s/domains/%u/create-time", uuid, domid), text, NULL);
	return commit(xs, &c, done, arg);
}

struct xn_xs_request *xn_libxl_keys_remove(struct xn_xenstore *xs, uint32_t domid, const char *uuid,
					   void (*done)(int rc, void *arg), void *arg)
{
	static const char *const kinds[] = {"vbd",   "vif", "qdisk", "console", "pci",
					    "vkbd", "vfb", "9pfs",  "vusb",    "qusb"};
	struct changes c = {0};

	add(&c, xn_asprintf("/local/domain/%u", domid), NULL, NULL);
	add(&c, xn_asprintf("/libxl/%u", domid), NULL, NULL);
	for (size_t i = 0; i < XN_ARRAY_SIZE(kinds); i++)
		add(&c, xn_asprintf("/local/domain/0/backend/%s/%u", kinds[i], domid), NULL, NULL);
	if (uuid)
		add(&c, xn_asprintf("/vm/%s", uuid), NULL, NULL);
	return commit(xs, &c, done, arg);
}
