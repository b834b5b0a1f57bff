/*
 * Guests that stand still because storage copies a disk that they write to: what storage.h asks
 * for. Their rows are held meanwhile, so that nobody sees them paused.
 */
#include <stdlib.h>

#include "modules/domain/domain_internal.h"

/* One guest that storage has stopped. */
struct stopped {
	struct xn_list link; /* d->stopped_guests */
	char uuid[37];
};

/* A stop or go_on under way. */
struct asking {
	struct xn_list link; /* d->asked_guests */
	struct xn_job end;
	unsigned left;
	xn_storage_done *done;
	void *arg;
};

static struct stopped *find_stopped(const struct xn_domains *d, const char *uuid)
{
	xn_list_each(node, &d->stopped_guests) {
		struct stopped *stopped = xn_list_entry(node, struct stopped, link);

		if (strcmp(stopped->uuid, uuid) == 0)
			return stopped;
	}
	return NULL;
}

bool xn_disk_writer_is_stopped(const struct xn_domains *d, const char *uuid)
{
	return find_stopped(d, uuid) != NULL;
}

static struct xn_value *running(const char *vdi, void *arg)
{
	struct xn_domains *d = arg;
	const struct xn_row *row = xn_db_get(d->db, XN_CLASS_VDI, vdi);
	const struct xn_value *vbds = row ? xn_row_get(row, XN_VDI_VBDs) : NULL;
	struct xn_value *uuids = xn_set_new();

	for (size_t i = 0; vbds && i < xn_set_len(vbds); i++) {
		struct xn_row *vbd =
			xn_db_get(d->db, XN_CLASS_VBD, xn_value_string(xn_set_at(vbds, i)));
		const struct xn_row *vm = vbd ? xn_row_follow(d->db, vbd, XN_VBD_VM) : NULL;
		const struct xn_domain_info *domain =
			vm ? d->backend->ops->find(d->backend, xn_row_uuid(vm)) : NULL;

		if (domain && !domain->paused && !domain->shut_down && !domain->dying &&
		    strcmp(xn_row_string(vbd, XN_VBD_mode), "RW") == 0)
			xn_set_append_string(&uuids, xn_row_uuid(vm));
	}
	return uuids;
}

static void end_asking(struct xn_job *job)
{
	struct asking *asking = xn_container_of(job, struct asking, end);

	xn_list_remove(&asking->link);
	asking->done(NULL, asking->arg);
	free(asking);
}

/* A guest that could not be stopped or is gone writes no more than before: the copy is made. */
static void on_answer(int rc, void *arg)
{
	struct asking *asking = arg;

	if (--asking->left == 0)
		end_asking(&asking->end);
}

static struct asking *ask(struct xn_domains *d, xn_storage_done *done, void *arg)
{
	struct asking *asking = xn_calloc(1, sizeof(*asking));

	asking->done = done;
	asking->arg = arg;
	xn_list_push(&d->asked_guests, &asking->link);
	return asking;
}

static void begun(struct xn_domains *d, struct asking *asking)
{
	if (asking->left == 0)
		xn_loop_defer(d->core->loop, &asking->end, XN_PRIO_OPERATION, end_asking);
}

static void note_stopped(struct xn_domains *d, const char *uuid)
{
	struct stopped *stopped = xn_calloc(1, sizeof(*stopped));

	memcpy(stopped->uuid, uuid, strnlen(uuid, sizeof(stopped->uuid) - 1));
	xn_list_push(&d->stopped_guests, &stopped->link);
	xn_vm_hold(d, uuid);
}

static void were_stopped(const struct xn_value *vms, void *arg)
{
	struct xn_domains *d = arg;

	for (size_t i = 0; i < xn_set_len(vms); i++) {
		const char *uuid = xn_value_string(xn_set_at(vms, i));

		if (d->backend->ops->find(d->backend, uuid))
			note_stopped(d, uuid);
	}
}

static void stop(const struct xn_value *vms, xn_storage_done *done, void *done_arg, void *arg)
{
	struct xn_domains *d = arg;
	struct asking *asking = ask(d, done, done_arg);

	for (size_t i = 0; i < xn_set_len(vms); i++) {
		const char *uuid = xn_value_string(xn_set_at(vms, i));
		const struct xn_domain_info *domain = d->backend->ops->find(d->backend, uuid);

		if (!domain)
			continue;
		note_stopped(d, uuid);
		if (d->backend->ops->pause(d->backend, domain->domid, on_answer, asking) == 0)
			asking->left++;
	}
	begun(d, asking);
}

static void go_on(const struct xn_value *vms, xn_storage_done *done, void *done_arg, void *arg)
{
	struct xn_domains *d = arg;
	struct asking *asking = ask(d, done, done_arg);

	for (size_t i = 0; i < xn_set_len(vms); i++) {
		const char *uuid = xn_value_string(xn_set_at(vms, i));
		const struct xn_domain_info *domain = d->backend->ops->find(d->backend, uuid);
		struct stopped *stopped = find_stopped(d, uuid);

		if (stopped) {
			xn_list_remove(&stopped->link);
			free(stopped);
		}
		if (domain && !find_stopped(d, uuid) && !xn_vm_is_still(d, uuid) &&
		    d->backend->ops->unpause(d->backend, domain->domid, on_answer, asking) == 0)
			asking->left++;
		if (stopped)
			xn_vm_unhold(d, uuid);
	}
	begun(d, asking);
}

void xn_disk_writers_init(struct xn_domains *d)
{
	static const struct xn_storage_writers writers = {running, stop, were_stopped, go_on};

	xn_list_init(&d->stopped_guests);
	xn_list_init(&d->asked_guests);
	xn_storage_set_writers(d->storage, &writers, d);
}

void xn_disk_writers_stop(struct xn_domains *d)
{
	xn_storage_set_writers(d->storage, NULL, NULL);
	xn_list_each_safe(node, &d->stopped_guests) {
		xn_list_remove(node);
		free(xn_list_entry(node, struct stopped, link));
	}
	xn_list_each_safe(node, &d->asked_guests) {
		struct asking *asking = xn_list_entry(node, struct asking, link);

		xn_job_cancel(&asking->end);
		xn_list_remove(node);
		free(asking);
	}
}
