/*
 * The real loop: waiting, descriptors and signals on libevent, time from the kernel. Timers are
 * loop.c's own; one timerfd wakes us for the earliest of them and is set again only when an earlier
 * one appears, so that a busy turn costs one epoll_wait and nothing else.
 */
#include "core/loop_internal.h"
#include "core/slab.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

struct signal_watch {
	struct signal_watch *next;
	struct event event;
	struct xn_loop *loop;
	void (*run)(int signo, void *arg);
	void *arg;
};

struct event_loop {
	struct xn_loop loop;
	struct event_base *base;
	struct event wakeup;
	int timer_fd;
	int64_t wakeup_us; /* when timer_fd fires; 0: not set */
	struct signal_watch *signals;
	struct xn_list ready; /* clients' descriptors that are, in the order in which it was seen */
	struct xn_list gone;  /* those of them whose peers have hung up; not watched */
	struct xn_slab ios; /* one a connection: they come and go in crowds */
	uint8_t random[512]; /* read ahead from the kernel, wiped as it is used */
	size_t random_left;
};

struct event_io {
	struct xn_io io;
	struct event event;
	struct xn_list link; /* while ready or gone */
	uint8_t events;	     /* XN_IO_READ, XN_IO_WRITE */
	uint8_t seen;	     /* those it is ready for */
	bool is_client;
	bool is_judged; /* whether the peer has hung up was looked at */
	void (*ready)(int fd, int events, void *arg);
	void *arg;
};

static struct event_loop *from_loop(const struct xn_loop *loop)
{
	return xn_container_of(loop, struct event_loop, loop);
}

static int64_t clock_us(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return ts.tv_sec * INT64_C(1000000) + ts.tv_nsec / 1000;
}

static int64_t event_now_us(const struct xn_loop *loop)
{
	return clock_us(CLOCK_MONOTONIC);
}

static int64_t event_wall_us(const struct xn_loop *loop)
{
	return clock_us(CLOCK_REALTIME);
}

static void event_random_bytes(struct xn_loop *loop, void *out, size_t len)
{
	struct event_loop *e = from_loop(loop);
	uint8_t *p = out;

	while (len) {
		size_t n;

		if (!e->random_left) {
			ssize_t got = getrandom(e->random, sizeof(e->random), 0);

			if (got < 0 && errno == EINTR)
				continue;
			if (got != sizeof(e->random))
				abort(); /* no randomness, no secrets: nothing to go on with */
			e->random_left = sizeof(e->random);
		}
		n = len < e->random_left ? len : e->random_left;
		e->random_left -= n;
		memcpy(p, e->random + e->random_left, n);
		explicit_bzero(e->random + e->random_left, n);
		p += n;
		len -= n;
	}
}

/* ---- waiting ---- */

static void on_wakeup(evutil_socket_t fd, short what, void *arg)
{
	struct event_loop *e = arg;
	uint64_t times;

	e->wakeup_us = 0;
	if (read(fd, &times, sizeof(times)) < 0)
		return; /* set anew since it fired */
}

/* An alarm that comes too early only costs an empty turn, so a later one is not worth a call. */
static void set_wakeup(struct event_loop *e, int64_t due_us)
{
	struct itimerspec when = {.it_value = {due_us / 1000000, due_us % 1000000 * 1000}};

	if (e->wakeup_us && e->wakeup_us <= due_us)
		return;
	e->wakeup_us = due_us;
	if (timerfd_settime(e->timer_fd, TFD_TIMER_ABSTIME, &when, NULL) < 0)
		abort();
}

struct judged { /* by one call to poll() */
	struct event_io *ios[64];
	struct pollfd fds[64];
	unsigned n;
};

static void judge(struct event_loop *e, struct judged *judged)
{
	int gone = judged->n ? poll(judged->fds, judged->n, 0) : 0;

	for (unsigned i = 0; gone > 0 && i < judged->n; i++) {
		if (!judged->fds[i].revents)
			continue;
		event_del(&judged->ios[i]->event);
		xn_list_remove(&judged->ios[i]->link);
		xn_list_push(&e->gone, &judged->ios[i]->link);
	}
	judged->n = 0;
}

/*
 * Of those the last turn had no time for, the ones whose peers have hung up: with a crowd that
 * leaves at once, each poll would find them all again, and who speaks would queue behind them.
 */
static void set_gone_aside(struct event_loop *e)
{
	struct judged judged;

	judged.n = 0;
	xn_list_each_safe(link, &e->ready) {
		struct event_io *io = xn_list_entry(link, struct event_io, link);

		if (io->is_judged)
			continue;
		io->is_judged = true;
		judged.ios[judged.n] = io;
		judged.fds[judged.n++] =
			(struct pollfd){.fd = event_get_fd(&io->event), .events = POLLRDHUP};
		if (judged.n == XN_ARRAY_SIZE(judged.ios))
			judge(e, &judged);
	}
	judge(e, &judged);
}

static void run_ready(struct event_io *io)
{
	struct xn_loop *loop = io->io.loop;
	int seen = io->seen;

	io->seen = 0;
	io->is_judged = false;
	xn_loop_enter_(loop, "descriptor");
	io->ready(event_get_fd(&io->event), seen, io->arg); /* may free io */
	xn_loop_leave_(loop);
}

static bool serve_ready(struct event_loop *e)
{
	struct xn_list *link = xn_list_pop(&e->ready);

	if (link)
		run_ready(xn_list_entry(link, struct event_io, link));
	return link;
}

static bool serve_gone(struct event_loop *e)
{
	struct xn_list *link = xn_list_pop(&e->gone);
	struct event_io *io;

	if (!link)
		return false;
	io = xn_list_entry(link, struct event_io, link);
	if (event_add(&io->event, NULL) < 0)
		abort();
	run_ready(io);
	return true;
}

/* The clients' turn; those who speak and those who have gone alternate. */
static void serve_clients(struct event_loop *e)
{
	bool any;

	do {
		any = serve_ready(e);
		any |= serve_gone(e);
	} while (any && !xn_loop_io_is_over_(&e->loop));
}

static bool event_wait(struct xn_loop *loop, int64_t wait_us)
{
	struct event_loop *e = from_loop(loop);

	set_gone_aside(e);
	if (!xn_list_empty(&e->ready) || !xn_list_empty(&e->gone))
		wait_us = 0;
	if (wait_us > 0)
		set_wakeup(e, loop->now_us + wait_us);
	if (event_base_loop(e->base, EVLOOP_ONCE | (wait_us ? 0 : EVLOOP_NONBLOCK)) < 0)
		abort();
	serve_clients(e);
	return true;
}

/* ---- descriptors ---- */

/* The daemon's own are told at once, the clients' when all are known that are ready. */
static void on_ready(evutil_socket_t fd, short what, void *arg)
{
	struct event_io *io = arg;
	struct event_loop *e = from_loop(io->io.loop);

	io->seen |= (what & EV_READ ? XN_IO_READ : 0) | (what & EV_WRITE ? XN_IO_WRITE : 0);
	if (io->is_client) {
		if (xn_list_empty(&io->link))
			xn_list_push(&e->ready, &io->link);
		return;
	}
	run_ready(io);
	if (xn_loop_io_is_over_(&e->loop))
		event_base_loopbreak(e->base); /* the rest stays ready, in order */
}

static void io_watch(struct event_io *io, int fd, int events)
{
	short what = (events & XN_IO_READ ? EV_READ : 0) | (events & XN_IO_WRITE ? EV_WRITE : 0);

	io->events = (uint8_t)events;
	event_assign(&io->event, from_loop(io->io.loop)->base, fd, what | EV_PERSIST, on_ready, io);
	if (events && event_add(&io->event, NULL) < 0)
		abort();
}

/* What was seen is forgotten; the next poll sees it again. */
static void io_unwatch(struct event_io *io)
{
	event_del(&io->event);
	xn_list_remove(&io->link);
	io->seen = 0;
	io->is_judged = false;
}

static struct xn_io *event_io_new(struct xn_loop *loop, int fd, int events,
				  void (*ready)(int fd, int events, void *arg), void *arg)
{
	struct event_io *io = xn_slab_alloc(&from_loop(loop)->ios);

	io->io.loop = loop;
	io->ready = ready;
	io->arg = arg;
	io->is_client = events & XN_IO_CLIENT;
	xn_list_init(&io->link);
	io_watch(io, fd, events & ~XN_IO_CLIENT);
	return &io->io;
}

static void event_io_set(struct xn_io *base, int events)
{
	struct event_io *io = xn_container_of(base, struct event_io, io);

	if (io->events == events)
		return;
	io_unwatch(io);
	io_watch(io, event_get_fd(&io->event), events);
}

static bool event_clients_wait(const struct xn_loop *loop)
{
	return !xn_list_empty(&from_loop(loop)->ready);
}

static void event_io_free(struct xn_io *base)
{
	struct event_io *io = xn_container_of(base, struct event_io, io);

	io_unwatch(io);
	xn_slab_free(&from_loop(base->loop)->ios, io);
}

/* ---- signals ---- */

static void on_signal_event(evutil_socket_t signo, short what, void *arg)
{
	struct signal_watch *watch = arg;
	struct xn_loop *loop = watch->loop;

	xn_loop_enter_(loop, "signal");
	watch->run(signo, watch->arg);
	xn_loop_leave_(loop);
}

static int event_on_signal(struct xn_loop *loop, int signo, void (*run)(int signo, void *arg),
			   void *arg)
{
	struct event_loop *e = from_loop(loop);
	struct signal_watch *watch = xn_calloc(1, sizeof(*watch));

	watch->loop = loop;
	watch->run = run;
	watch->arg = arg;
	event_assign(&watch->event, e->base, signo, EV_SIGNAL | EV_PERSIST, on_signal_event, watch);
	if (event_add(&watch->event, NULL) < 0) {
		free(watch);
		return -EINVAL;
	}
	watch->next = e->signals;
	e->signals = watch;
	return 0;
}

/* ---- life ---- */

static void event_free_loop(struct xn_loop *loop)
{
	struct event_loop *e = from_loop(loop);

	while (e->signals) {
		struct signal_watch *watch = e->signals;

		e->signals = watch->next;
		event_del(&watch->event);
		free(watch);
	}
	event_del(&e->wakeup);
	event_base_free(e->base);
	close(e->timer_fd);
	xn_slab_clear(&e->ios);
	free(e);
}

static const struct xn_loop_ops event_ops = {
	.wait = event_wait,
	.now_us = event_now_us,
	.wall_us = event_wall_us,
	.random_bytes = event_random_bytes,
	.io_new = event_io_new,
	.io_set = event_io_set,
	.io_free = event_io_free,
	.clients_wait = event_clients_wait,
	.on_signal = event_on_signal,
	.free = event_free_loop,
};

struct xn_loop *xn_loop_new(void)
{
	struct event_loop *e = xn_calloc(1, sizeof(*e));
	struct event_config *config = event_config_new();

	/* No locks: one thread. No cached time: libevent's clock is not used. */
	if (!config || event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK) < 0 ||
	    event_config_set_flag(config, EVENT_BASE_FLAG_NO_CACHE_TIME) < 0 ||
	    !(e->base = event_base_new_with_config(config)))
		abort();
	event_config_free(config);
	xn_list_init(&e->ready);
	xn_list_init(&e->gone);
	xn_slab_init(&e->ios, sizeof(struct event_io));
	e->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (e->timer_fd < 0)
		abort();
	event_assign(&e->wakeup, e->base, e->timer_fd, EV_READ | EV_PERSIST, on_wakeup, e);
	if (event_add(&e->wakeup, NULL) < 0)
		abort();
	xn_loop_init_(&e->loop, &event_ops);
	return &e->loop;
}
