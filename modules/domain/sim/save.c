/*
 * Save, resume, restore and core dump of simulated domains. The image is a few bytes: what a guest
 * remembers is its clock, by which a test sees that memory survived. They are written last, so that
 * what a save left unfinished is no image. The descriptor may be a pipe or a socket, so it is read
 * and written by a worker.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "modules/domain/sim/sim_internal.h"

enum { SUSPEND_TIMEOUT_S = 30, IMAGE_BYTES = 32, SAVE_PARTS = 10 };
static const char image_magic[8] = "XNSIMG1\n", core_magic[8] = "XNSIMC1\n";

/* A save, restore or core dump at work; `image` and `offset` are the worker's while it runs. */
struct transfer {
	struct xn_list link;
	struct xn_sim *sim;
	struct xn_work work;
	struct xn_timer timer;
	struct xn_sim_call *call; /* NULL: answered, or nobody is there to hear it */
	struct xn_value *config;  /* restore */
	uint32_t domid;           /* save, core dump */
	unsigned part;            /* of SAVE_PARTS, when saving takes its time */
	bool is_checkpoint, is_core, is_saving, is_working;
	int fd;
	int64_t offset;
	unsigned char image[IMAGE_BYTES];
};

static void put_u64(unsigned char *at, uint64_t n)
{
	for (int i = 0; i < 8; i++)
		at[i] = (unsigned char)(n >> 8 * i);
}

static uint64_t get_u64(const unsigned char *at)
{
	uint64_t n = 0;

	for (int i = 7; i >= 0; i--)
		n = n << 8 | at[i];
	return n;
}

static void transfer_free(struct transfer *t)
{
	xn_list_remove(&t->link);
	xn_timer_cancel(&t->timer);
	xn_value_unref(t->config);
	if (t->fd >= 0)
		close(t->fd);
	free(t);
}

static void answer(struct transfer *t, int rc)
{
	if (t->call)
		xn_sim_answer(t->call, rc);
	t->call = NULL;
}

static struct transfer *transfer_new(struct xn_sim *sim, int fd, struct xn_sim_call *call)
{
	struct transfer *t = xn_calloc(1, sizeof(*t));

	t->sim = sim;
	t->fd = fd;
	t->call = call;
	xn_list_push(&sim->transfers, &t->link);
	return t;
}

/* What a worker has in hand frees itself when it is done. */
static void give_up(struct transfer *t, int rc)
{
	answer(t, rc);
	if (!t->is_working || xn_pool_withdraw(t->sim->backend.core->workers, &t->work))
		transfer_free(t);
}

static void give_to_worker(struct transfer *t, int (*run)(struct xn_work *work),
			   void (*done)(struct xn_work *work, int rc))
{
	t->is_working = true;
	t->work.run = run;
	t->work.done = done;
	xn_pool_submit(t->sim->backend.core->workers, &t->work);
}

/* ---- save ---- */

static int write_image(struct xn_work *work)
{
	struct transfer *t = xn_container_of(work, struct transfer, work);
	size_t at = 0;

	if (lseek(t->fd, 0, SEEK_SET) < 0 && errno != ESPIPE)
		return -errno;
	while (at < sizeof(t->image)) {
		ssize_t n = write(t->fd, t->image + at, sizeof(t->image) - at);

		if (n < 0 && errno != EINTR)
			return -errno;
		at += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

static void resume_here(struct xn_sim_domain *domain)
{
	domain->info.shut_down = false;
	domain->info.shutdown_code = XN_SHUTDOWN_NONE;
	domain->guest.phase = XN_SIM_RESUMING;
	if (xn_sim_may_run(domain))
		xn_sim_guest_run(domain);
	xn_sim_changed(domain);
	xn_xs_domain_resume(domain->identity); /* or its next end would be told to nobody */
}

static void on_written(struct xn_work *work, int rc)
{
	struct transfer *t = xn_container_of(work, struct transfer, work);
	struct xn_sim_domain *domain = t->call ? xn_sim_domain(t->sim, t->domid) : NULL;

	if (domain && (t->is_checkpoint || rc < 0)) /* unsaved, it must not stay suspended */
		resume_here(domain);
	answer(t, rc);
	transfer_free(t);
}

static void write_out(struct transfer *t, const struct xn_sim_domain *domain, const char *magic)
{
	memcpy(t->image, magic, sizeof(image_magic));
	put_u64(t->image + 8, (uint64_t)xn_sim_guest_clock_us(domain));
	put_u64(t->image + 16, domain->info.memory_bytes);
	give_to_worker(t, write_image, on_written);
}

/* Where the descriptor stands tells whoever looks how far it is. */
static int move_on(struct xn_work *work)
{
	struct transfer *t = xn_container_of(work, struct transfer, work);

	return lseek(t->fd, t->offset, SEEK_SET) < 0 && errno != ESPIPE ? -errno : 0;
}

static void write_part(struct xn_timer *timer);

static void on_moved(struct xn_work *work, int rc)
{
	struct transfer *t = xn_container_of(work, struct transfer, work);
	struct xn_sim_domain *domain = t->call ? xn_sim_domain(t->sim, t->domid) : NULL;

	t->is_working = false;
	if (!domain || rc < 0) {
		answer(t, rc < 0 ? rc : -ENOENT);
		transfer_free(t);
		return;
	}
	xn_timer_arm(xn_sim_loop(t->sim), &t->timer,
		     xn_sim_delay_us(domain, domain->options.save_ms) / SAVE_PARTS, write_part);
}

static void write_part(struct xn_timer *timer)
{
	struct transfer *t = xn_container_of(timer, struct transfer, timer);
	struct xn_sim_domain *domain = xn_sim_domain(t->sim, t->domid);

	if (!domain || domain->options.save == XN_SIM_HANG)
		return;
	if (t->part < SAVE_PARTS && domain->options.save_ms) {
		t->offset = (int64_t)(domain->info.memory_bytes / SAVE_PARTS * t->part++);
		give_to_worker(t, move_on, on_moved);
	} else if (domain->options.save == XN_SIM_FAIL) {
		answer(t, -EIO); /* and the domain stays as it is: resume() is for that */
		transfer_free(t);
	} else {
		write_out(t, domain, image_magic);
	}
}

void xn_sim_save_look(struct xn_sim_domain *domain)
{
	xn_list_each_safe(link, &domain->sim->transfers)
	{
		struct transfer *t = xn_list_entry(link, struct transfer, link);

		if (t->config || t->is_core || t->is_working || t->domid != domain->info.domid)
			continue;
		if (domain->info.dying) {
			give_up(t, -ENOENT);
		} else if (!t->is_saving && domain->info.shutdown_code == XN_SHUTDOWN_SUSPEND) {
			t->is_saving = true;
			xn_timer_cancel(&t->timer);
			write_part(&t->timer);
		} else if (!t->is_saving) {
			give_up(t, -EIO); /* it went another way */
		}
	}
}

static void on_too_late(struct xn_timer *timer)
{
	struct transfer *t = xn_container_of(timer, struct transfer, timer);

	answer(t, -ETIMEDOUT);
	transfer_free(t);
}

int xn_sim_save(struct xn_backend *b, uint32_t domid, int fd, bool checkpoint,
		xn_backend_done *done, void *arg)
{
	struct xn_sim *sim = xn_sim_of(b);
	struct xn_sim_domain *domain = xn_sim_domain(sim, domid);
	struct transfer *t;
	int rc;

	if (!domain || domain->info.dying ||
	    (domain->info.shut_down && domain->info.shutdown_code != XN_SHUTDOWN_SUSPEND)) {
		close(fd);
		return -ENOENT;
	}
	/* Before there is a transfer: a guest without drivers stops at once, and ends those. */
	rc = domain->info.shut_down ? 0 : b->ops->shutdown(b, domid, XN_SHUTDOWN_SUSPEND, NULL, NULL);
	if (rc < 0) {
		close(fd);
		return rc;
	}
	t = transfer_new(sim, fd, xn_sim_call_new(sim, done, arg));
	t->domid = domid;
	t->is_checkpoint = checkpoint;
	if (domain->info.shut_down)
		xn_sim_save_look(domain);
	else
		xn_timer_arm(xn_sim_loop(sim), &t->timer, SUSPEND_TIMEOUT_S * 1000000ll,
			     on_too_late);
	return 0;
}

int xn_sim_resume(struct xn_backend *b, uint32_t domid, xn_backend_done *done, void *arg)
{
	struct xn_sim *sim = xn_sim_of(b);
	struct xn_sim_domain *domain = xn_sim_domain(sim, domid);

	if (!domain || domain->info.dying)
		return -ENOENT;
	xn_list_each_safe(link, &sim->transfers)
	{
		struct transfer *t = xn_list_entry(link, struct transfer, link);

		if (!t->config && !t->is_core && t->domid == domid)
			give_up(t, -ECANCELED);
	}
	xn_sim_guest_stays(domain);
	if (domain->info.shut_down && domain->info.shutdown_code == XN_SHUTDOWN_SUSPEND)
		resume_here(domain);
	xn_sim_answer(xn_sim_call_new(sim, done, arg), 0);
	return 0;
}

/* ---- core dump ---- */

static void on_dumped(struct xn_work *work, int rc)
{
	struct transfer *t = xn_container_of(work, struct transfer, work);
	struct xn_sim_domain *domain = xn_sim_domain(t->sim, t->domid);

	if (domain && xn_sim_may_run(domain))
		xn_sim_guest_run(domain);
	answer(t, rc);
	transfer_free(t);
}

int xn_sim_core_dump(struct xn_backend *b, uint32_t domid, int fd, xn_backend_done *done, void *arg)
{
	struct xn_sim *sim = xn_sim_of(b);
	struct xn_sim_domain *domain = xn_sim_domain(sim, domid);
	struct transfer *t;

	if (!domain || domain->info.dying) {
		close(fd);
		return -ENOENT;
	}
	t = transfer_new(sim, fd, xn_sim_call_new(sim, done, arg));
	t->domid = domid;
	t->is_core = true;
	xn_sim_guest_freeze(domain);
	write_out(t, domain, core_magic);
	t->work.done = on_dumped;
	return 0;
}

/* ---- restore ---- */

static int read_image(struct xn_work *work)
{
	struct transfer *t = xn_container_of(work, struct transfer, work);
	size_t at = 0;

	while (at < sizeof(t->image)) {
		ssize_t n = read(t->fd, t->image + at, sizeof(t->image) - at);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (!n)
			return -EINVAL;
		at += n > 0 ? (size_t)n : 0;
	}
	return memcmp(t->image, image_magic, sizeof(image_magic)) ||
			       get_u64(t->image + 8) > INT64_MAX / 4
		       ? -EINVAL
		       : 0;
}

static void on_read(struct xn_work *work, int rc)
{
	struct transfer *t = xn_container_of(work, struct transfer, work);

	if (!rc && t->call)
		rc = xn_sim_domain_build(t->sim, t->config, (int64_t)get_u64(t->image + 8),
					 t->call);
	if (rc < 0)
		answer(t, rc);
	transfer_free(t); /* the call, if not answered, is the builder's now */
}

int xn_sim_restore(struct xn_backend *b, const struct xn_value *config, int fd,
		   void (*done)(int rc, uint32_t domid, void *arg), void *arg)
{
	struct xn_sim *sim = xn_sim_of(b);
	struct xn_sim_call *call = xn_sim_call_new(sim, NULL, arg);
	struct transfer *t = transfer_new(sim, fd, call);

	call->created = done;
	t->config = xn_value_ref(config);
	give_to_worker(t, read_image, on_read);
	return 0;
}

/* What a worker still has in hand frees itself when it is done; nobody is told any more. */
void xn_sim_save_drop(struct xn_sim *sim)
{
	xn_list_each_safe(link, &sim->transfers)
	{
		struct transfer *t = xn_list_entry(link, struct transfer, link);

		free(t->call);
		t->call = NULL;
		xn_list_remove(&t->link);
		if (!t->is_working || xn_pool_withdraw(sim->backend.core->workers, &t->work))
			transfer_free(t);
	}
}
