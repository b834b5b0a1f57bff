/* Looking into the table of commands. */
#include "rpc/xe/commands.h"

#include <stdlib.h>

static int compare(const void *name, const void *row)
{
	return strcmp(name, xe_command_text(((const struct xe_command_row *)row)->name));
}

const struct xe_command_row *xe_command_find(const char *name)
{
	return bsearch(name, xe_command_rows, xe_n_command_rows, sizeof(*xe_command_rows), compare);
}

static bool is_answered(const struct xn_methods *methods, const char *name, size_t len)
{
	char text[80];
	const struct xn_method *method;
	void *state;

	if (len >= sizeof(text))
		return false;
	memcpy(text, name, len);
	text[len] = '\0';
	method = xn_method_find(text);
	return method && !(method->flags & XN_MF_REMOVED) &&
	       xn_methods_find(methods, method, &state);
}

bool xe_command_is_there(const struct xn_methods *methods, const struct xe_command_row *row)
{
	const char *at = xe_command_text(row->calls);

	while (row->run && *at) {
		size_t len = strcspn(at, " ");

		if (!is_answered(methods, at, len))
			return false;
		at += len + (at[len] == ' ');
	}
	return row->run != NULL;
}

bool xe_command_list_has(const char *list, const char *name)
{
	while (*list) {
		size_t len = strcspn(list, " "), same = len;
		bool is_map = len && (list[len - 1] == ':' || list[len - 1] == '-');

		if (is_map)
			same--;
		if (strncmp(list, name, same) == 0 &&
		    (is_map ? name[same] == ':' || name[same] == '-' : !name[same]))
			return true;
		list += len + (list[len] == ' ');
	}
	return false;
}
