/*
 * A domain's memory to a descriptor, and from one: save, restore, core dump. The image is libxl's
 * stream and nothing more; the configuration that goes with it is the daemon's.
 */
#include <errno.h>
#include <unistd.h>

#include "modules/domain/libxl/child.h"

/* ---- save ---- */

/* A pipe or socket has nothing to sync. */
static int sync_file(int fd)
{
	return fdatasync(fd) == 0 || errno == EINVAL || errno == EROFS ? 0 : -errno;
}

static int go_on(struct xn_libxl_child *child, uint32_t domid)
{
	/* The guest returns from its suspend call as one that was not moved, and keeps its devices
	 * connected. */
	return xn_libxl_rc(child, libxl_domain_resume(child->ctx, domid, 1, NULL));
}

/* save {domid, checkpoint} + fd */
int xn_libxl_save(struct xn_libxl_child *child, const struct xn_value *args, int fd,
		  struct xn_libxl_answer *answer)
{
	uint32_t domid;
	int rc = xn_libxl_domid(args, &domid);

	if (rc < 0 || fd < 0)
		return -EINVAL;
	if (!xn_libxl_exists(child, domid))
		return -ENOENT;
	rc = xn_libxl_rc(child, libxl_domain_suspend(child->ctx, domid, fd, 0, NULL));
	if (rc == 0)
		rc = sync_file(fd);
	if (rc == 0 && xn_map_get_bool(args, "checkpoint", false))
		rc = go_on(child, domid);
	return rc;
}

/* resume {domid} */
int xn_libxl_resume(struct xn_libxl_child *child, const struct xn_value *args, int fd,
		    struct xn_libxl_answer *answer)
{
	libxl_dominfo info;
	uint32_t domid;
	int rc = xn_libxl_domid(args, &domid);

	if (rc < 0)
		return rc;
	libxl_dominfo_init(&info);
	rc = xn_libxl_rc(child, libxl_domain_info(child->ctx, &info, domid));
	if (rc == 0 && info.shutdown)
		rc = info.shutdown_reason == LIBXL_SHUTDOWN_REASON_SUSPEND ? go_on(child, domid)
									   : -EINVAL;
	libxl_dominfo_dispose(&info);
	return rc;
}

/* ---- core dump ---- */

struct dump {
	struct xn_libxl_child *child;
	int fd, rc;
	uint64_t written, total; /* bytes; the total is a guess, of the domain's memory */
};

static int write_dump(xc_interface *xch, void *arg, char *buffer, unsigned int length)
{
	struct dump *dump = arg;

	while (length) {
		ssize_t n = write(dump->fd, buffer, length);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			dump->rc = n < 0 ? -errno : -EIO;
			return -1;
		}
		buffer += n;
		length -= n;
		dump->written += n;
	}
	if (dump->written < dump->total)
		xn_libxl_progress(dump->child, "core dump", dump->written * 100 / dump->total);
	return 0;
}

/* core_dump {domid} + fd: an ELF file, as `xl dump-core` makes; written from front to end. */
int xn_libxl_core_dump(struct xn_libxl_child *child, const struct xn_value *args, int fd,
		       struct xn_libxl_answer *answer)
{
	struct dump dump = {.child = child, .fd = fd};
	uint32_t domid;
	bool was_paused;
	int rc = xn_libxl_domid(args, &domid);

	if (rc < 0 || fd < 0)
		return -EINVAL;
	dump.total = xn_libxl_memory_of(child, domid);
	rc = xn_libxl_is_paused(child, domid, &was_paused);
	if (rc == 0 && !was_paused)
		rc = xn_libxl_rc(child, libxl_domain_pause(child->ctx, domid, NULL));
	if (rc < 0)
		return rc;
	if (xc_domain_dumpcore_via_callback(child->xc, domid, &dump, write_dump) != 0)
		rc = dump.rc ? dump.rc : -EIO;
	if (rc == 0)
		rc = sync_file(fd);
	if (!was_paused)
		(void)libxl_domain_unpause(child->ctx, domid, NULL);
	return rc;
}
