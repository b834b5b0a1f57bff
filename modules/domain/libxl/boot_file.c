/* See boot_file.h; in the worker child, because a file system may block. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/base.h"
#include "modules/domain/libxl/boot_file.h"

static bool is_below(const char *path, const char *folder)
{
	char *real = realpath(folder, NULL);
	size_t len = real ? strlen(real) : 0;
	bool below = len > 1 && strncmp(path, real, len) == 0 && path[len] == '/';

	free(real);
	return below;
}

static bool is_below_any(const char *path, const char *folders)
{
	char *list = xn_strdup(folders), *rest = list, *folder;
	bool below = false;

	while (!below && (folder = strsep(&rest, ":")))
		below = folder[0] == '/' && is_below(path, folder);
	free(list);
	return below;
}

char *xn_boot_file_resolve(const char *path, const char *folders)
{
	char *real = path[0] == '/' ? realpath(path, NULL) : NULL;
	struct stat st;

	if (real && stat(real, &st) == 0 && S_ISREG(st.st_mode) && is_below_any(real, folders))
		return real;
	free(real);
	return NULL;
}
