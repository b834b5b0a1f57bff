/*
 * The memory image of a VM: a disk of type suspend that its memory is written to and read from.
 * Steps of VM.suspend, VM.checkpoint and VM.resume. The file is opened, looked at and synced by
 * workers; the back end gets a descriptor of its own. In an operation that makes one, it is the
 * first of the "disks" in its arguments (vm_disks.c), with "memory" set.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "modules/domain/domain_internal.h"

enum { LOOK_US = 500 * 1000, WORKERS = 8 };
static const uint64_t FULL_BYTES = 4 << 20; /* a file system with less is what made a save fail */

/* Owned by the operation while `vmo` is set, and then by whoever still works on it. */
struct xn_image {
	struct xn_list link; /* d->images */
	struct xn_domains *d;
	struct xn_vm_op *vmo;
	char vdi[48], dp[64];
	bool writable, is_active;
	char *path;
	int fd;
	unsigned busy; /* calls to storage and workers that will come back */
	struct xn_work work;
	bool is_working;
	/* What the step that opens or syncs it waits for. */
	struct xn_pending *pending;
	void (*opened)(struct xn_vm_op *vmo);
	/* How far the back end is. */
	struct xn_timer tick;
	struct xn_op_token watched;
	uint64_t expected, seen, now; /* bytes */
};

/* ---- the object ---- */

static void ignore_storage(const struct xn_error *err, void *arg)
{
}

static void free_image(struct xn_image *image)
{
	xn_list_remove(&image->link);
	xn_timer_cancel(&image->tick);
	if (image->pending)
		xn_pending_free(image->pending);
	if (image->fd >= 0)
		close(image->fd);
	free(image->path);
	free(image);
}

static void release(struct xn_image *image)
{
	if (!image->vmo && !image->busy)
		free_image(image);
}

void xn_image_close(struct xn_vm_op *vmo)
{
	struct xn_image *image = vmo->image;

	if (!image)
		return;
	vmo->image = NULL;
	image->vmo = NULL;
	xn_timer_cancel(&image->tick);
	if (image->is_active)
		xn_storage_deactivate(image->d->storage, image->vdi, image->dp, ignore_storage,
				      NULL);
	image->is_active = false;
	release(image);
}

void xn_images_init(struct xn_domains *d)
{
	xn_list_init(&d->images);
	d->image_workers = xn_pool_new(d->core->loop, "image", WORKERS);
}

void xn_images_stop(struct xn_domains *d)
{
	xn_pool_free(d->image_workers);
	xn_list_each_safe(node, &d->images)
		free_image(xn_list_entry(node, struct xn_image, link));
}

/* Ends the step that waits; @err may be NULL, what it holds is taken. */
static void end_wait(struct xn_image *image, struct xn_error *err)
{
	struct xn_pending *pending = image->pending;

	image->pending = NULL;
	if (pending)
		xn_pending_storage_done(err && err->code ? err : NULL, pending);
	if (err)
		xn_error_clear(err);
}

/* ---- workers ---- */

static void submit(struct xn_image *image, int (*run)(struct xn_work *work),
		   void (*done)(struct xn_work *work, int rc))
{
	image->busy++;
	image->is_working = true;
	image->work.run = run;
	image->work.done = done;
	xn_pool_submit(image->d->image_workers, &image->work);
}

/* The worker is back; false: nobody wants the image any more. */
static bool is_back(struct xn_image *image)
{
	image->busy--;
	image->is_working = false;
	if (image->vmo)
		return true;
	release(image);
	return false;
}

static int open_file(struct xn_work *work)
{
	struct xn_image *image = xn_container_of(work, struct xn_image, work);

	image->fd = open(image->path,
			 (image->writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOFOLLOW);
	return image->fd < 0 ? -errno : 0;
}

static int sync_file(struct xn_work *work)
{
	return fsync(xn_container_of(work, struct xn_image, work)->fd) < 0 ? -errno : 0;
}

/* Where the shared descriptor stands, or how much of the sparse file there is: a back end may write
 * in either way. */
static int look_at_file(struct xn_work *work)
{
	struct xn_image *image = xn_container_of(work, struct xn_image, work);
	off_t at = lseek(image->fd, 0, SEEK_CUR);
	struct stat st;

	image->now = at > 0 ? (uint64_t)at : 0;
	if (image->writable && fstat(image->fd, &st) == 0 &&
	    (uint64_t)st.st_blocks * 512 > image->now)
		image->now = (uint64_t)st.st_blocks * 512;
	return 0;
}

static int is_disk_full(struct xn_work *work)
{
	struct xn_image *image = xn_container_of(work, struct xn_image, work);
	struct statvfs fs;

	if (fstatvfs(image->fd, &fs) < 0)
		return -errno;
	return (uint64_t)fs.f_bavail * fs.f_frsize < FULL_BYTES ? -ENOSPC : 0;
}

/* ---- open ---- */

static void on_opened(struct xn_work *work, int rc)
{
	struct xn_image *image = xn_container_of(work, struct xn_image, work);
	struct xn_vm_op *vmo;
	struct xn_error err = {0};

	if (!is_back(image))
		return;
	if (rc < 0) {
		xn_error_set(&err, XN_ERR_SUSPEND_IMAGE_NOT_ACCESSIBLE, image->vdi);
		end_wait(image, &err);
		return;
	}
	vmo = xn_pending_op(image->pending);
	xn_pending_free(image->pending);
	image->pending = NULL;
	if (vmo)
		image->opened(vmo);
}

static void on_active(const struct xn_error *err, const char *path, const char *format, void *arg)
{
	struct xn_image *image = arg;
	struct xn_error copy = {0};

	image->busy--;
	if (!image->vmo) {
		if (!err)
			xn_storage_deactivate(image->d->storage, image->vdi, image->dp,
					      ignore_storage, NULL);
		release(image);
		return;
	}
	if (err) {
		xn_error_copy(&copy, err);
		end_wait(image, &copy);
		return;
	}
	image->is_active = true;
	image->path = xn_strdup(path);
	submit(image, open_file, on_opened);
}

void xn_image_open(struct xn_vm_op *vmo, const char *vdi, bool writable,
		   void (*opened)(struct xn_vm_op *vmo))
{
	struct xn_image *image = xn_calloc(1, sizeof(*image));

	xn_image_close(vmo);
	vmo->image = image;
	image->d = vmo->d;
	image->vmo = vmo;
	image->fd = -1;
	image->writable = writable;
	image->opened = opened;
	image->pending = xn_pending_new(vmo, NULL, 0);
	snprintf(image->vdi, sizeof(image->vdi), "%s", vdi);
	snprintf(image->dp, sizeof(image->dp), "suspend/%s", vmo->uuid);
	xn_list_push(&vmo->d->images, &image->link);
	image->busy++;
	xn_op_waiting(&vmo->op, "storage to open the memory image");
	xn_storage_activate(vmo->d->storage, vdi, image->dp, writable, on_active, image);
}

int xn_image_dup(const struct xn_vm_op *vmo)
{
	int fd = fcntl(vmo->image->fd, F_DUPFD_CLOEXEC, 3);

	return fd < 0 ? -errno : fd;
}

/* ---- progress ---- */

static void on_tick(struct xn_timer *timer);

static void on_looked(struct xn_work *work, int rc)
{
	struct xn_image *image = xn_container_of(work, struct xn_image, work);
	struct xn_op *op;

	if (!is_back(image))
		return;
	op = xn_op_find(image->d->core, &image->watched);
	if (!op)
		return;
	if (image->now > image->seen && image->expected > 0) {
		image->seen = image->now;
		xn_op_progress(op, (double)image->now / (double)image->expected);
	}
	xn_timer_arm(image->d->core->loop, &image->tick, LOOK_US, on_tick);
}

static void on_tick(struct xn_timer *timer)
{
	struct xn_image *image = xn_container_of(timer, struct xn_image, tick);

	if (xn_op_find(image->d->core, &image->watched) && !image->is_working)
		submit(image, look_at_file, on_looked);
}

void xn_image_watch(struct xn_vm_op *vmo, uint64_t expected)
{
	struct xn_image *image = vmo->image;

	image->watched = xn_op_token(&vmo->op);
	image->expected = expected;
	image->seen = 0;
	xn_timer_arm(vmo->d->core->loop, &image->tick, LOOK_US, on_tick);
}

/* ---- step: where memory goes ---- */

/* The first that this host can use of those that the VM, the pool and the host name. */
static const struct xn_row *choose_sr(struct xn_domains *d, const struct xn_row *vm)
{
	const struct xn_row *host = xn_domains_host(d), *pool = xn_db_first(d->db, XN_CLASS_pool);
	const struct xn_row *wanted[] = {
		xn_row_follow(d->db, vm, XN_VM_suspend_SR),
		pool ? xn_row_follow(d->db, pool, XN_pool_suspend_image_SR) : NULL,
		host ? xn_row_follow(d->db, host, XN_host_suspend_image_sr) : NULL,
	};

	for (size_t i = 0; i < XN_ARRAY_SIZE(wanted); i++)
		if (wanted[i] && host && xn_sr_is_attached(d, wanted[i], host) &&
		    strcmp(xn_row_string(wanted[i], XN_SR_content_type), "iso") != 0)
			return wanted[i];
	return NULL;
}

int xn_image_plan(struct xn_vm_op *vmo, struct xn_value **disk_out, struct xn_error *err)
{
	struct xn_row *vm = xn_db_need(vmo->d->db, XN_CLASS_VM, vmo->vm, err);
	const struct xn_row *sr;
	struct xn_value *disk;
	char fresh[48];

	if (!vm)
		return -1;
	sr = choose_sr(vmo->d, vm);
	if (!sr)
		return xn_error_set(err, XN_ERR_VM_NO_SUSPEND_SR, vmo->vm);
	xn_ref_new(vmo->d->core->loop, fresh);
	disk = xn_map_new();
	xn_map_put_string(&disk, "new", fresh);
	xn_map_put_string(&disk, "sr", xn_row_ref(sr));
	xn_map_put(&disk, "memory", xn_bool(true));
	*disk_out = disk;
	return 0;
}

const char *xn_image_ref(const struct xn_op *op)
{
	const struct xn_value *first = xn_vm_count_disks(op) ? xn_vm_disk_at(op, 0) : NULL;

	return first && xn_map_get_bool(first, "memory", false) ? xn_map_get_string(first, "new")
								 : NULL;
}

/* ---- step: make it ---- */

/* Memory, what its pages' state takes, and something for the devices. */
static int64_t image_size(const struct xn_row *vm)
{
	double most = (double)xn_row_int(vm, XN_VM_memory_static_max) * 1.2 * 1.05;

	return (most < 1e18 ? (int64_t)most : (int64_t)1e18) + (100 << 20);
}

static void make_one(struct xn_group *group, unsigned index, void *arg)
{
	struct xn_vm_op *vmo = arg;
	const struct xn_row *vm = xn_db_get(vmo->d->db, XN_CLASS_VM, vmo->vm);
	XN_CLEANUP(xn_value_unref_p) struct xn_value *record = xn_map_new();
	struct xn_vdi_plan plan = {.record = record};

	xn_map_put_string(&record, "name_label", "Suspend image");
	xn_map_put_string(&record, "name_description", "Suspend image");
	xn_map_put_string(&record, "type", "suspend");
	xn_map_put(&record, "virtual_size", xn_int(vm ? image_size(vm) : 0));
	plan.record = record;
	plan.sr = xn_map_get_string(xn_vm_disk_at(&vmo->op, 0), "sr");
	xn_vm_make_disk(vmo, group, index, &plan);
}

void xn_step_make_image(struct xn_op *op)
{
	xn_group_start(op, xn_image_ref(op) ? 1 : 0, 1, make_one, xn_vm_op_of(op));
}

/* ---- step: save ---- */

static const char *sr_of_image(const struct xn_image *image)
{
	const struct xn_row *vdi = xn_db_get(image->d->db, XN_CLASS_VDI, image->vdi);

	return vdi ? xn_row_string(vdi, XN_VDI_SR) : XN_NULL_REF;
}

static void on_space_known(struct xn_work *work, int rc)
{
	struct xn_image *image = xn_container_of(work, struct xn_image, work);
	struct xn_error err = {0};

	if (!is_back(image))
		return;
	if (rc == -ENOSPC)
		xn_error_set(&err, XN_ERR_SR_SUSPEND_SPACE_INSUFFICIENT, sr_of_image(image));
	else
		xn_error_from_errno(&err, -EIO, "saving the domain");
	end_wait(image, &err);
}

static void save_failed(struct xn_vm_op *vmo, int rc)
{
	struct xn_image *image = vmo->image;
	struct xn_error err = {0};

	xn_log_warn(vmo->d->core->log, "domain", "saving VM %s failed: %s", vmo->uuid,
		    strerror(-rc));
	xn_timer_cancel(&image->tick);
	if (rc == -ETIMEDOUT) {
		xn_error_set(&err, XN_ERR_VM_FAILED_SUSPEND_ACKNOWLEDGMENT, vmo->vm);
	} else if (rc == -ENOSPC || rc == -EDQUOT) {
		xn_error_set(&err, XN_ERR_SR_SUSPEND_SPACE_INSUFFICIENT, sr_of_image(image));
	} else if (!image->is_working) { /* a back end may not know what stopped its write */
		image->pending = xn_pending_new(vmo, NULL, 0);
		submit(image, is_disk_full, on_space_known);
		return;
	} else {
		xn_error_from_errno(&err, rc, "saving the domain");
	}
	xn_op_fail(&vmo->op, &err);
}

static void on_saved(int rc, void *arg)
{
	struct xn_pending *pending = arg;
	struct xn_vm_op *vmo = xn_pending_op(pending);

	xn_pending_free(pending);
	if (!vmo)
		return;
	if (rc < 0) {
		save_failed(vmo, rc);
		return;
	}
	xn_timer_cancel(&vmo->image->tick);
	xn_op_done(&vmo->op, 0);
}

static void save_now(struct xn_vm_op *vmo)
{
	struct xn_backend *backend = vmo->d->backend;
	const struct xn_domain_info *domain = xn_vm_op_domain(vmo);
	int fd = domain ? xn_image_dup(vmo) : -ENOENT;
	struct xn_pending *pending = xn_pending_new(vmo, NULL, 0);
	int rc = fd;

	xn_op_waiting(&vmo->op, "the guest to suspend and its memory to be written");
	if (fd >= 0) {
		xn_image_watch(vmo, domain->memory_bytes);
		rc = backend->ops->save(backend, domain->domid, fd, false, on_saved, pending);
	}
	if (rc < 0)
		on_saved(rc, pending);
}

void xn_step_save(struct xn_op *op)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);

	if (xn_image_ref(op))
		xn_image_open(vmo, xn_image_ref(op), true, save_now);
	else
		xn_op_done(op, 0);
}

/* ---- step: its guest goes on where it stopped ---- */

void xn_step_resume_domain(struct xn_op *op)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);
	struct xn_backend *backend = vmo->d->backend;
	const struct xn_domain_info *domain = xn_vm_op_domain(vmo);
	struct xn_pending *pending;
	int rc;

	if (!domain || domain->dying) {
		xn_op_done(op, 0);
		return;
	}
	pending = xn_pending_new(vmo, NULL, 0);
	xn_op_waiting(op, "the guest to go on");
	rc = backend->ops->resume(backend, domain->domid, xn_pending_done, pending);
	if (rc < 0)
		xn_pending_failed(pending, rc);
}

void xn_step_save_undo(struct xn_op *op)
{
	xn_image_close(xn_vm_op_of(op));
	if (xn_image_ref(op))
		xn_step_resume_domain(op);
	else
		xn_op_done(op, 0);
}

/* ---- step: it survives power loss ---- */

static void on_synced(struct xn_work *work, int rc)
{
	struct xn_image *image = xn_container_of(work, struct xn_image, work);
	struct xn_error err = {0};
	struct xn_pending *pending;

	if (!is_back(image))
		return;
	if (rc == -ENOSPC || rc == -EDQUOT)
		xn_error_set(&err, XN_ERR_SR_SUSPEND_SPACE_INSUFFICIENT, sr_of_image(image));
	else if (rc < 0)
		xn_error_from_errno(&err, rc, "writing the memory image to disk");
	pending = image->pending;
	image->pending = NULL;
	xn_image_close(image->vmo);
	xn_pending_storage_done(rc < 0 ? &err : NULL, pending);
	xn_error_clear(&err);
}

static void sync_now(struct xn_vm_op *vmo)
{
	struct xn_image *image = vmo->image;

	xn_op_waiting(&vmo->op, "the disk to take the memory image");
	image->pending = xn_pending_new(vmo, NULL, 0);
	submit(image, sync_file, on_synced);
}

void xn_step_sync_image(struct xn_op *op)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);

	if (!xn_image_ref(op))
		xn_op_done(op, 0);
	else if (vmo->image && vmo->image->fd >= 0 && !vmo->image->is_working)
		sync_now(vmo);
	else /* a look at it is under way */
		xn_image_open(vmo, xn_image_ref(op), true, sync_now);
}

/* ---- step: restore ---- */

void xn_step_restore(struct xn_op *op)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);

	xn_image_open(vmo, xn_map_get_string(op->args, "image"), false, xn_vm_create_domain);
}
