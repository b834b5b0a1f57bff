/* Paths of the xenstore: which are valid, what a relative one means. */
#ifndef XN_XENSTORE_PATH_H
#define XN_XENSTORE_PATH_H

#include "modules/xenstore/store/store.h"

bool xn_xs_name_is_valid(const char *name, size_t len); /* one component */
/* Whether @path is a valid node path as such; *len_out its length. */
bool xn_xs_path_is_valid(const char *path, size_t *len_out);
bool xn_xs_path_is_special(const char *path); /* @something */
/*
 * The absolute path that @path means to @domid: @path itself or built in @room. 0 or -EINVAL.
 */
struct xn_xs_path {
	const char *text;
	size_t len;
	char room[XN_XS_PATH_MAX + 1];
};
int xn_xs_path_resolve(struct xn_xs_path *out, uint32_t domid, const char *path);
/* As @who may name it: within its quota. */
int xn_xs_path_for(struct xn_xs_path *out, struct xn_xs_domain *who, const char *path);
/* The next component at *at, which then points behind it; NULL at the end. */
static inline const char *xn_xs_path_next(const char **at, const char *end, size_t *len_out)
{
	const char *name = *at, *stop;

	if (name < end && *name == '/')
		name++;
	if (name >= end)
		return NULL;
	for (stop = name; stop < end && *stop != '/'; stop++)
		;
	*at = stop;
	*len_out = (size_t)(stop - name);
	return name;
}

#endif
