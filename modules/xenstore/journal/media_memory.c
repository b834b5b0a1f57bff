/* The journal's files in memory; see media.h. */
#include "modules/xenstore/journal/media.h"

#include "core/buf.h"
#include "core/list.h"

#include <errno.h>
#include <stdlib.h>

struct file {
	struct xn_list link;
	char *name;
	char *bytes; /* stays where it is while mapped: a file that is mapped for writing does not grow */
	size_t len;
	unsigned maps;
	bool is_removed; /* goes with its last mapping */
};

struct memory {
	struct xn_xs_media media;
	struct xn_list files, removed;
	uint64_t limit;
	int (*at)(const char *call, void *arg);
	void *at_arg;
};

static struct memory *memory_of(struct xn_xs_media *media)
{
	return xn_container_of(media, struct memory, media);
}

static int ask(struct xn_xs_media *media, const char *call)
{
	struct memory *memory = memory_of(media);

	return memory->at ? memory->at(call, memory->at_arg) : 0;
}

static struct file *find(struct xn_xs_media *media, const char *name)
{
	xn_list_each(link, &memory_of(media)->files)
	{
		struct file *file = xn_list_entry(link, struct file, link);

		if (!strcmp(file->name, name))
			return file;
	}
	return NULL;
}

static uint64_t used(const struct memory *memory)
{
	uint64_t bytes = 0;

	xn_list_each(link, &memory->files)
		bytes += xn_list_entry(link, struct file, link)->len;
	return bytes;
}

static bool has_room(struct xn_xs_media *media, size_t more)
{
	struct memory *memory = memory_of(media);

	return !memory->limit || used(memory) + more <= memory->limit;
}

static void file_free(struct file *file)
{
	xn_list_remove(&file->link);
	free(file->name);
	free(file->bytes);
	free(file);
}

static void drop(struct xn_xs_media *media, struct file *file)
{
	if (!file->maps) {
		file_free(file);
		return;
	}
	xn_list_remove(&file->link);
	xn_list_push(&memory_of(media)->removed, &file->link);
	file->is_removed = true;
}

static struct file *add(struct xn_xs_media *media, const char *name, size_t len)
{
	struct file *old = find(media, name), *file;

	if (old)
		drop(media, old);
	file = xn_calloc(1, sizeof(*file));
	file->name = xn_strdup(name);
	file->bytes = xn_calloc(1, len);
	file->len = len;
	xn_list_push(&memory_of(media)->files, &file->link);
	return file;
}

static int memory_list(struct xn_xs_media *media,
		       void (*visit)(const char *name, uint64_t size, void *arg), void *arg)
{
	xn_list_each(link, &memory_of(media)->files)
	{
		const struct file *file = xn_list_entry(link, struct file, link);

		visit(file->name, file->len, arg);
	}
	return 0;
}

static int memory_create(struct xn_xs_media *media, const char *name, size_t len,
			 struct xn_xs_map *out)
{
	int rc = ask(media, "create");
	struct file *file;

	if (rc < 0)
		return rc;
	if (!has_room(media, len))
		return -ENOSPC;
	file = add(media, name, len);
	file->maps++;
	*out = (struct xn_xs_map){file->bytes, len};
	return 0;
}

static int memory_map(struct xn_xs_media *media, const char *name, struct xn_xs_map *out)
{
	struct file *file = find(media, name);

	if (!file)
		return -ENOENT;
	file->maps++;
	*out = (struct xn_xs_map){file->bytes, file->len};
	return 0;
}

static bool unmap_in(struct xn_list *files, const char *bytes)
{
	xn_list_each(link, files)
	{
		struct file *file = xn_list_entry(link, struct file, link);

		if (file->bytes != bytes)
			continue;
		if (!--file->maps && file->is_removed)
			file_free(file);
		return true;
	}
	return false;
}

static void memory_unmap(struct xn_xs_media *media, struct xn_xs_map *map)
{
	struct memory *memory = memory_of(media);

	if (map->bytes && !unmap_in(&memory->files, map->bytes))
		(void)unmap_in(&memory->removed, map->bytes);
	*map = (struct xn_xs_map){0};
}

static int memory_append(struct xn_xs_media *media, const char *name, const void *bytes,
			 size_t len)
{
	struct file *file = find(media, name);
	int rc = ask(media, "append");

	if (rc < 0)
		return rc;
	if (!has_room(media, len))
		return -ENOSPC;
	if (!file)
		file = add(media, name, 0);
	file->bytes = xn_realloc(file->bytes, file->len + len);
	memcpy(file->bytes + file->len, bytes, len);
	file->len += len;
	return 0;
}

static int memory_truncate(struct xn_xs_media *media, const char *name, uint64_t len)
{
	struct file *file = find(media, name);
	int rc = ask(media, "truncate");

	if (rc < 0)
		return rc;
	if (!file)
		return -ENOENT;
	if (len < file->len)
		file->len = (size_t)len;
	return 0;
}

static int memory_rename(struct xn_xs_media *media, const char *from, const char *to)
{
	struct file *file = find(media, from), *old = find(media, to);
	int rc = ask(media, "rename");

	if (rc < 0)
		return rc;
	if (!file)
		return -ENOENT;
	if (old && old != file)
		drop(media, old);
	free(file->name);
	file->name = xn_strdup(to);
	return 0;
}

static int memory_remove(struct xn_xs_media *media, const char *name)
{
	struct file *file = find(media, name);
	int rc = ask(media, "remove");

	if (rc < 0)
		return rc;
	if (!file)
		return -ENOENT;
	drop(media, file);
	return 0;
}

static void memory_free(struct xn_xs_media *media)
{
	/* Its user goes, the files stay. */
}

static const struct xn_xs_media_ops memory_ops = {
	.list = memory_list,
	.create = memory_create,
	.map = memory_map,
	.unmap = memory_unmap,
	.append = memory_append,
	.truncate = memory_truncate,
	.rename = memory_rename,
	.remove = memory_remove,
	.free = memory_free,
};

struct xn_xs_media *xn_xs_media_memory_new(void)
{
	struct memory *memory = xn_calloc(1, sizeof(*memory));

	memory->media.ops = &memory_ops;
	xn_list_init(&memory->files);
	xn_list_init(&memory->removed);
	return &memory->media;
}

void xn_xs_media_memory_watch(struct xn_xs_media *media, int (*at)(const char *call, void *arg),
			      void *arg)
{
	memory_of(media)->at = at;
	memory_of(media)->at_arg = arg;
}

void xn_xs_media_memory_limit(struct xn_xs_media *media, uint64_t bytes)
{
	memory_of(media)->limit = bytes;
}

void xn_xs_media_memory_destroy(struct xn_xs_media *media)
{
	struct memory *memory = memory_of(media);

	while (!xn_list_empty(&memory->files))
		file_free(xn_list_entry(memory->files.next, struct file, link));
	while (!xn_list_empty(&memory->removed))
		file_free(xn_list_entry(memory->removed.next, struct file, link));
	free(memory);
}
