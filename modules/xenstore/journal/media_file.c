/* The journal's files in a folder; see media.h. */
#include "core/write.h"
#include "modules/xenstore/journal/media.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FRAME = 8, PAGE = 64 << 10 /* at most */ };

struct folder {
	struct xn_xs_media media;
	int fd;
};

static int fd_of(struct xn_xs_media *media)
{
	return xn_container_of(media, struct folder, media)->fd;
}

static int file_list(struct xn_xs_media *media,
		     void (*visit)(const char *name, uint64_t size, void *arg), void *arg)
{
	int fd = openat(fd_of(media), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;
	struct stat st;

	if (!dir)
		return -errno;
	while ((entry = readdir(dir)))
		if (!fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) && S_ISREG(st.st_mode))
			visit(entry->d_name, (uint64_t)st.st_size, arg);
	closedir(dir);
	return 0;
}

static int map_fd(int fd, size_t len, int protection, struct xn_xs_map *out)
{
	void *at = mmap(NULL, len, protection, MAP_SHARED, fd, 0);

	if (at == MAP_FAILED)
		return -errno;
	*out = (struct xn_xs_map){at, len};
	return 0;
}

static int file_create(struct xn_xs_media *media, const char *name, size_t len,
		       struct xn_xs_map *out)
{
	int fd = openat(fd_of(media), name, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC,
			0600);
	int rc;

	if (fd < 0)
		return -errno;
	rc = -posix_fallocate(fd, 0, (off_t)len);
	if (!rc)
		rc = map_fd(fd, len, PROT_READ | PROT_WRITE, out);
	close(fd);
	if (rc < 0) {
		unlinkat(fd_of(media), name, 0);
		return rc;
	}
	return 0;
}

static void file_prefault(struct xn_xs_map *map)
{
#ifdef MADV_POPULATE_WRITE
	(void)madvise(map->bytes, map->len, MADV_POPULATE_WRITE); /* an older kernel: later */
#endif
}

static int file_map(struct xn_xs_media *media, const char *name, struct xn_xs_map *out)
{
	int fd = openat(fd_of(media), name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;
	int rc = 0;

	*out = (struct xn_xs_map){0};
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		rc = -errno;
	else if (st.st_size)
		rc = map_fd(fd, (size_t)st.st_size, PROT_READ, out);
	close(fd);
	if (!rc && out->len)
		(void)madvise(out->bytes, out->len, MADV_SEQUENTIAL);
	return rc;
}

static void file_unmap(struct xn_xs_media *media, struct xn_xs_map *map)
{
	if (map->len)
		munmap(map->bytes, map->len);
	*map = (struct xn_xs_map){0};
}

static int file_append(struct xn_xs_media *media, const char *name, const void *bytes, size_t len)
{
	int fd = openat(fd_of(media), name,
			O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
	int rc;

	if (fd < 0)
		return -errno;
	rc = xn_write_all(fd, bytes, len);
	close(fd);
	return rc;
}

static int file_truncate(struct xn_xs_media *media, const char *name, uint64_t len)
{
	int fd = openat(fd_of(media), name, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
	off_t kept = (off_t)((len + FRAME + PAGE - 1) / PAGE * PAGE);
	struct stat st;
	int rc = 0;

	if (fd < 0)
		return -errno;
	/* What a mapping has beyond the last page kills who looks at it. */
	if (fstat(fd, &st) < 0 || (kept < st.st_size && ftruncate(fd, kept) < 0))
		rc = -errno;
	close(fd);
	return rc;
}

static int file_rename(struct xn_xs_media *media, const char *from, const char *to)
{
	return renameat(fd_of(media), from, fd_of(media), to) < 0 ? -errno : 0;
}

static int file_remove(struct xn_xs_media *media, const char *name)
{
	return unlinkat(fd_of(media), name, 0) < 0 ? -errno : 0;
}

static void file_free(struct xn_xs_media *media)
{
	struct folder *folder = xn_container_of(media, struct folder, media);

	close(folder->fd);
	free(folder);
}

static const struct xn_xs_media_ops file_ops = {
	.list = file_list,
	.create = file_create,
	.prefault = file_prefault,
	.map = file_map,
	.unmap = file_unmap,
	.append = file_append,
	.truncate = file_truncate,
	.rename = file_rename,
	.remove = file_remove,
	.free = file_free,
};

struct xn_xs_media *xn_xs_media_file_new(const char *path, int *rc)
{
	struct folder *folder;
	int fd;

	if (mkdir(path, 0700) < 0 && errno != EEXIST) {
		*rc = -errno;
		return NULL;
	}
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) {
		*rc = -errno;
		return NULL;
	}
	folder = xn_calloc(1, sizeof(*folder));
	folder->media.ops = &file_ops;
	folder->media.users = 1;
	folder->fd = fd;
	return &folder->media;
}
