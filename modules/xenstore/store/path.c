/* Paths of the xenstore: which are valid, what a relative one means. Every path from outside passes
 * here. */
#include "modules/xenstore/store/store_internal.h"

#include <errno.h>
#include <stdio.h>

static const bool name_chars[256] = {
	['a' ... 'z'] = true, ['A' ... 'Z'] = true, ['0' ... '9'] = true,
	['-'] = true,         ['_'] = true,         ['@'] = true,
};

bool xn_xs_name_is_valid(const char *name, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!name_chars[(unsigned char)name[i]])
			return false;
	return len > 0;
}

/* Components of name characters with single slashes between them, at most @max bytes; no slash at
 * the end. Stops reading at @max + 1 bytes. */
static bool are_components(const char *s, size_t max, size_t *len_out)
{
	const char *at = s;
	bool after_slash = true;

	for (; *at; at++) {
		if (name_chars[(unsigned char)*at])
			after_slash = false;
		else if (*at != '/' || after_slash)
			return false;
		else
			after_slash = true;
		if (at - s >= (ptrdiff_t)max)
			return false;
	}
	*len_out = (size_t)(at - s);
	return !after_slash;
}

bool xn_xs_path_is_special(const char *path)
{
	return path[0] == '@';
}

bool xn_xs_path_is_valid(const char *path, size_t *len_out)
{
	if (path[0] != '/')
		return !xn_xs_path_is_special(path) &&
		       are_components(path, XN_XS_RELATIVE_PATH_MAX, len_out);
	if (!path[1]) {
		*len_out = 1;
		return true;
	}
	if (!are_components(path + 1, XN_XS_PATH_MAX - 1, len_out))
		return false;
	++*len_out;
	return true;
}

int xn_xs_path_resolve(struct xn_xs_path *out, uint32_t domid, const char *path)
{
	size_t len;
	int prefix;

	if (!xn_xs_path_is_valid(path, &len))
		return -EINVAL;
	if (path[0] == '/') {
		out->text = path;
		out->len = len;
		return 0;
	}
	prefix = snprintf(out->room, sizeof(out->room), "/local/domain/%u/", domid);
	memcpy(out->room + prefix, path, len + 1);
	out->text = out->room;
	out->len = (size_t)prefix + len;
	return 0;
}

/* Bytes of "/local/domain/<domid>/" at the beginning of @path, 0: something else is there. */
static size_t home_len(const char *path)
{
	static const char start[] = "/local/domain/";
	const char *at = path + sizeof(start) - 1;

	if (memcmp(path, start, sizeof(start) - 1) != 0)
		return 0;
	while (*at >= '0' && *at <= '9')
		at++;
	return *at == '/' ? (size_t)(at + 1 - path) : 0;
}

int xn_xs_path_for(struct xn_xs_path *out, struct xn_xs_domain *who, const char *path)
{
	int rc = xn_xs_path_resolve(out, who->domid, path);

	if (rc < 0 || xn_xs_domain_is_privileged(who))
		return rc;
	return xn_xs_quota_check(who, who, XN_XS_QUOTA_PATH,
				 out->len - (out->len > 15 ? home_len(out->text) : 0));
}
