/*
 * The loop in virtual time, for simulation and tests: waiting is a jump of the clock, randomness
 * comes from the seed, and there are no descriptors. The same seed gives the same run.
 */
#include "core/loop_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

enum { EPOCH_S = 1800000000 }; /* where a virtual wall clock begins: in January 2027 */

struct virtual_loop {
	struct xn_loop loop;
	uint64_t random[4]; /* xoshiro256** */
	int64_t wall_offset_us;
	void (*after)(void *arg);
	void *after_arg;
};

static struct virtual_loop *from_loop(const struct xn_loop *loop)
{
	return xn_container_of(loop, struct virtual_loop, loop);
}

static bool virtual_wait(struct xn_loop *loop, int64_t wait_us)
{
	if (wait_us < 0)
		return false;
	loop->now_us += wait_us;
	return true;
}

/* Asked for at the end of every callback, by all loops: no hook that costs the real one. */
static int64_t virtual_now_us(const struct xn_loop *loop)
{
	const struct virtual_loop *v = from_loop(loop);

	if (v->after)
		v->after(v->after_arg);
	return loop->now_us;
}

static int64_t virtual_wall_us(const struct xn_loop *loop)
{
	return from_loop(loop)->wall_offset_us + loop->now_us;
}

void xn_loop_virtual_set_wall(struct xn_loop *loop, int64_t wall_us)
{
	from_loop(loop)->wall_offset_us = wall_us - loop->now_us;
}

void xn_loop_virtual_watch(struct xn_loop *loop, void (*after)(void *arg), void *arg)
{
	struct virtual_loop *v = from_loop(loop);

	v->after = after;
	v->after_arg = arg;
}

/* Expands a seed, however poor, to a good state. */
static uint64_t splitmix64(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static uint64_t rotate_left(uint64_t x, int k)
{
	return x << k | x >> (64 - k);
}

static uint64_t xoshiro256(uint64_t s[4])
{
	uint64_t result = rotate_left(s[1] * 5, 7) * 9, t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rotate_left(s[3], 45);
	return result;
}

static void virtual_random_bytes(struct xn_loop *loop, void *out, size_t len)
{
	struct virtual_loop *v = from_loop(loop);
	uint8_t *p = out;

	while (len) {
		uint64_t r = xoshiro256(v->random);
		size_t n = len < sizeof(r) ? len : sizeof(r);

		memcpy(p, &r, n);
		p += n;
		len -= n;
	}
}

static struct xn_io *virtual_io_new(struct xn_loop *loop, int fd, int events,
				    void (*ready)(int fd, int events, void *arg), void *arg)
{
	assert(!"a virtual loop has no descriptors");
	return NULL;
}

static void virtual_io_set(struct xn_io *io, int events)
{
}

static void virtual_io_free(struct xn_io *io)
{
}

static int virtual_on_signal(struct xn_loop *loop, int signo, void (*run)(int signo, void *arg),
			     void *arg)
{
	return -ENOTSUP;
}

static void virtual_free(struct xn_loop *loop)
{
	free(from_loop(loop));
}

static const struct xn_loop_ops virtual_ops = {
	.wait = virtual_wait,
	.now_us = virtual_now_us,
	.wall_us = virtual_wall_us,
	.random_bytes = virtual_random_bytes,
	.io_new = virtual_io_new,
	.io_set = virtual_io_set,
	.io_free = virtual_io_free,
	.on_signal = virtual_on_signal,
	.free = virtual_free,
	.is_virtual = true,
};

struct xn_loop *xn_loop_new_virtual(uint64_t seed)
{
	struct virtual_loop *v = xn_calloc(1, sizeof(*v));

	for (int i = 0; i < 4; i++)
		v->random[i] = splitmix64(&seed);
	v->wall_offset_us = EPOCH_S * INT64_C(1000000);
	xn_loop_init_(&v->loop, &virtual_ops);
	v->loop.cpu_read_at_us = INT64_MAX; /* no stalls in virtual time: never look */
	return &v->loop;
}
