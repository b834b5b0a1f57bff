/* A command's parameters, as its handler reads them. */
#include <errno.h>
#include <stdlib.h>

#include "rpc/xe/engine_internal.h"

const char *xe_param(struct xe *x, const char *name)
{
	return xe_arguments_get(&x->line->arguments, name);
}

const char *xe_param_or(struct xe *x, const char *name, const char *otherwise)
{
	const char *value = xe_param(x, name);

	return value ? value : otherwise;
}

bool xe_param_bool(struct xe *x, const char *name, bool otherwise, bool *out)
{
	const char *text = xe_param(x, name);

	*out = otherwise;
	if (!text || xe_bool_parse(text, out))
		return true;
	xe_fail(x, "Parameter %s takes true or false, not '%s'", name, text);
	return false;
}

bool xe_param_size(struct xe *x, const char *name, int64_t otherwise, int64_t *out)
{
	const char *text = xe_param(x, name);

	*out = otherwise;
	if (!text || xe_size_parse(text, out))
		return true;
	xe_fail(x, "Parameter %s takes a size such as 512MiB or 10GiB, not '%s'", name, text);
	return false;
}

bool xe_param_int(struct xe *x, const char *name, int64_t otherwise, int64_t *out)
{
	const char *text = xe_param(x, name);
	char *end;

	*out = otherwise;
	if (!text)
		return true;
	errno = 0;
	*out = strtoll(text, &end, 10);
	if (!errno && end != text && !*end)
		return true;
	xe_fail(x, "Parameter %s takes a number, not '%s'", name, text);
	return false;
}

/* The key of an argument NAME:key or NAME-key; NULL: it is neither. */
static const char *key_of(const char *argument, const char *name)
{
	size_t len = strlen(name);

	return strncmp(argument, name, len) == 0 && (argument[len] == ':' || argument[len] == '-') &&
			       argument[len + 1]
		       ? argument + len + 1
		       : NULL;
}

const struct xn_value *xe_param_map(struct xe *x, const char *name)
{
	const struct xe_arguments *arguments = &x->line->arguments;
	struct xn_value *map = xn_map_new();

	for (unsigned i = 0; i < arguments->n; i++) {
		const char *key = key_of(arguments->items[i].name, name);

		if (key && !xn_map_get(map, key)) /* the first one holds */
			xn_map_put_string(&map, key, arguments->items[i].value);
	}
	return xe_keep_value(x, map);
}

const struct xn_value *xe_param_list(struct xe *x, const char *name)
{
	const char *at = xe_param(x, name);
	struct xn_value *list = xn_set_new();

	while (at && *at) {
		size_t len = strcspn(at, ",");

		if (len)
			xn_set_append(&list, xn_string_len(at, len));
		at += len + (at[len] == ',');
	}
	return xe_keep_value(x, list);
}
