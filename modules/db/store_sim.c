/* The storage engine's simulated twin; see store_sim.h. */
#include "modules/db/store_sim.h"

#include "core/crc32c.h"
#include "modules/db/fold.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { SECTOR = 512, RECORD_HEAD = 16 };

/* ---- a sorted map of bytes to bytes ---- */

struct pair {
	struct xn_buf key, value;
};

struct sorted_map {
	struct pair *pairs;
	size_t n, cap;
};

static int compare(const struct xn_buf *key, const void *other, size_t len)
{
	int order = memcmp(key->data, other, key->len < len ? key->len : len);

	if (order)
		return order;
	return key->len < len ? -1 : key->len > len;
}

/* The first pair that is not below @key. */
static size_t search(const struct sorted_map *map, const void *key, size_t len, bool *found)
{
	size_t low = 0, high = map->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (compare(&map->pairs[mid].key, key, len) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	*found = low < map->n && compare(&map->pairs[low].key, key, len) == 0;
	return low;
}

static struct pair *insert(struct sorted_map *map, size_t at, const void *key, size_t len)
{
	if (map->n == map->cap) {
		map->cap = map->cap ? map->cap * 2 : 64;
		map->pairs = xn_realloc(map->pairs, map->cap * sizeof(*map->pairs));
	}
	memmove(map->pairs + at + 1, map->pairs + at, (map->n - at) * sizeof(*map->pairs));
	map->n++;
	map->pairs[at] = (struct pair){0};
	xn_buf_add(&map->pairs[at].key, key, len);
	return &map->pairs[at];
}

static void clear_pair(struct pair *pair)
{
	xn_buf_clear(&pair->key);
	xn_buf_clear(&pair->value);
}

/* ---- the disk ---- */

struct xn_sim_disk {
	struct xn_kv kv; /* onto .spaces */
	struct sorted_map spaces[XN_SPACE_COUNT];
	struct xn_buf log; /* what is not folded: fixed length, fixed CRC-32C, bytes */
	size_t durable;	   /* bytes of it */
	struct xn_sim_faults faults;
	uint64_t random;
	unsigned boot, life; /* a store of an earlier life is dead */
	bool sync_failed;    /* since then nothing has proven what is behind .durable */
	void (*at)(enum xn_sim_point point, void *arg);
	void *at_arg;
};

static uint64_t draw(struct xn_sim_disk *disk)
{
	uint64_t x = disk->random += 0x9e3779b97f4a7c15u;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

static bool happens(struct xn_sim_disk *disk, unsigned one_in)
{
	return one_in && draw(disk) % one_in == 0;
}

static void pass(struct xn_sim_disk *disk, enum xn_sim_point point)
{
	if (disk->at)
		disk->at(point, disk->at_arg);
}

static int disk_get(struct xn_kv *kv, enum xn_space space, const void *key, size_t key_len,
		    struct xn_slice *value)
{
	struct sorted_map *map = &xn_container_of(kv, struct xn_sim_disk, kv)->spaces[space];
	bool found;
	size_t at = search(map, key, key_len, &found);

	if (!found)
		return -ENOENT;
	*value = (struct xn_slice){(unsigned char *)map->pairs[at].value.data,
				   map->pairs[at].value.len};
	return 0;
}

static int disk_put(struct xn_kv *kv, enum xn_space space, const void *key, size_t key_len,
		    const void *value, size_t len)
{
	struct sorted_map *map = &xn_container_of(kv, struct xn_sim_disk, kv)->spaces[space];
	bool found;
	size_t at = search(map, key, key_len, &found);
	struct pair *pair = found ? &map->pairs[at] : insert(map, at, key, key_len);

	pair->value.len = 0;
	xn_buf_add(&pair->value, value, len);
	return 0;
}

static int disk_del(struct xn_kv *kv, enum xn_space space, const void *key, size_t key_len)
{
	struct sorted_map *map = &xn_container_of(kv, struct xn_sim_disk, kv)->spaces[space];
	bool found;
	size_t at = search(map, key, key_len, &found);

	if (!found)
		return 0;
	clear_pair(&map->pairs[at]);
	map->n--;
	memmove(map->pairs + at, map->pairs + at + 1, (map->n - at) * sizeof(*map->pairs));
	return 0;
}

static int disk_count(struct xn_kv *kv, enum xn_space space, size_t *n_out)
{
	*n_out = xn_container_of(kv, struct xn_sim_disk, kv)->spaces[space].n;
	return 0;
}

static int disk_first(struct xn_kv *kv, enum xn_space space, struct xn_slice *key,
		      struct xn_slice *value)
{
	struct sorted_map *map = &xn_container_of(kv, struct xn_sim_disk, kv)->spaces[space];

	if (!map->n)
		return -ENOENT;
	*key = (struct xn_slice){(unsigned char *)map->pairs[0].key.data, map->pairs[0].key.len};
	*value = (struct xn_slice){(unsigned char *)map->pairs[0].value.data,
				   map->pairs[0].value.len};
	return 0;
}

struct xn_sim_disk *xn_sim_disk_new(uint64_t seed)
{
	struct xn_sim_disk *disk = xn_calloc(1, sizeof(*disk));

	disk->kv = (struct xn_kv){disk_get, disk_put, disk_del, disk_count, disk_first};
	disk->faults = (struct xn_sim_faults){.sync_min_us = 50, .sync_max_us = 2000};
	disk->random = seed;
	return disk;
}

void xn_sim_disk_free(struct xn_sim_disk *disk)
{
	if (!disk)
		return;
	for (int s = 0; s < XN_SPACE_COUNT; s++) {
		for (size_t i = 0; i < disk->spaces[s].n; i++)
			clear_pair(&disk->spaces[s].pairs[i]);
		free(disk->spaces[s].pairs);
	}
	xn_buf_clear(&disk->log);
	free(disk);
}

void xn_sim_disk_set_faults(struct xn_sim_disk *disk, const struct xn_sim_faults *faults)
{
	disk->faults = *faults;
}

void xn_sim_disk_watch(struct xn_sim_disk *disk, void (*at)(enum xn_sim_point point, void *arg),
		       void *arg)
{
	disk->at = at;
	disk->at_arg = arg;
}

bool xn_sim_disk_is_doubtful(const struct xn_sim_disk *disk)
{
	return disk->sync_failed;
}

void xn_sim_disk_crash(struct xn_sim_disk *disk, enum xn_sim_crash kind)
{
	disk->life++;
	if (kind == XN_CRASH_POWER)
		disk->boot++;
	else if (!disk->sync_failed)
		return;
	for (size_t at = disk->durable; at < disk->log.len;) {
		size_t end = (at / SECTOR + 1) * SECTOR;

		if (end > disk->log.len)
			end = disk->log.len;
		if (draw(disk) & 1)
			memset(disk->log.data + at, 0, end - at);
		at = end;
	}
}

/* The next record of the log. False: there is none, or what is there is not whole. */
static bool next_record(const struct xn_sim_disk *disk, size_t at, struct xn_slice *record)
{
	struct xn_cursor in = xn_cursor(disk->log.data, disk->log.len);
	uint64_t len, crc;

	if (at >= disk->log.len)
		return false;
	in.at += at;
	if (xn_take_fixed(&in, &len) < 0 || xn_take_fixed(&in, &crc) < 0 || !len ||
	    len > (size_t)(in.end - in.at))
		return false;
	*record = (struct xn_slice){in.at, len};
	return crc == xn_crc32c(0, in.at, len);
}

/* ---- the store ---- */

struct sync {
	struct xn_list link;
	void (*done)(int rc, void *arg);
	void *arg;
};

struct sim_store {
	struct xn_store store;
	struct xn_sim_disk *disk;
	unsigned life;
	int error;
	bool syncing, folding;
	size_t syncing_to;
	struct xn_list running, next; /* syncs */
	struct xn_timer sync_timer, fold_timer, reopen_timer;
	struct sync reopening;
};

static struct sim_store *from_store(const struct xn_store *store)
{
	return (struct sim_store *)xn_container_of(store, struct sim_store, store);
}

static bool is_dead(const struct sim_store *s)
{
	return s->life != s->disk->life;
}

static int sim_open(struct xn_store *store, const struct xn_store_reader *reader, void *arg,
		    struct xn_error *err)
{
	struct xn_sim_disk *disk = from_store(store)->disk;
	struct xn_slice record;
	size_t at = 0;
	int rc = 0;

	for (int s = 0; s < XN_SPACE_STORE; s++) {
		const struct sorted_map *map = &disk->spaces[s];

		for (size_t i = 0; rc >= 0 && i < map->n; i++)
			rc = reader->entry(arg, (enum xn_space)s, map->pairs[i].key.data,
					   map->pairs[i].key.len, map->pairs[i].value.data,
					   map->pairs[i].value.len);
	}
	while (rc >= 0 && next_record(disk, at, &record)) {
		rc = reader->transaction(arg, record.data, record.len);
		at += RECORD_HEAD + record.len;
	}
	if (at < disk->durable)
		rc = -EBADMSG;
	if (rc < 0)
		return xn_error_from_errno(err, rc, "reading the simulated disk");
	store->was_cut = at < disk->log.len;
	disk->log.len = disk->durable = at; /* the torn end is cut off, durably */
	disk->sync_failed = false;
	return 0;
}

static int sim_append(struct xn_store *store, const void *bytes, size_t len)
{
	struct sim_store *s = from_store(store);
	struct xn_sim_disk *disk = s->disk;

	if (is_dead(s))
		return 0;
	pass(disk, XN_SIM_BEFORE_APPEND);
	if (!s->error && happens(disk, disk->faults.append_failures))
		s->error = -ENOSPC;
	if (s->error)
		return s->error;
	xn_put_fixed(&disk->log, len);
	xn_put_fixed(&disk->log, xn_crc32c(0, bytes, len));
	xn_buf_add(&disk->log, bytes, len);
	pass(disk, XN_SIM_AFTER_APPEND);
	return 0;
}

static void on_sync_time(struct xn_timer *timer);

static int64_t sync_takes_us(struct xn_sim_disk *disk)
{
	const struct xn_sim_faults *faults = &disk->faults;
	int64_t span = faults->sync_max_us - faults->sync_min_us;
	int64_t us = faults->sync_min_us + (int64_t)(draw(disk) % (uint64_t)(span + 1));

	return happens(disk, faults->slow_syncs) ? us * 100 : us;
}

static void begin_sync(struct sim_store *s)
{
	struct xn_list *link;

	while ((link = xn_list_pop(&s->next)))
		xn_list_push(&s->running, link);
	s->syncing = true;
	s->syncing_to = s->disk->log.len;
	xn_timer_arm(s->store.core->loop, &s->sync_timer, sync_takes_us(s->disk), on_sync_time);
}

static void end_syncs(struct xn_list *list, int rc)
{
	struct xn_list done, *link;

	xn_list_init(&done);
	while ((link = xn_list_pop(list)))
		xn_list_push(&done, link);
	while ((link = xn_list_pop(&done))) {
		struct sync *sync = xn_list_entry(link, struct sync, link);

		sync->done(rc, sync->arg);
		free(sync);
	}
}

static void on_sync_time(struct xn_timer *timer)
{
	struct sim_store *s = xn_container_of(timer, struct sim_store, sync_timer);
	int rc = s->error;

	if (is_dead(s))
		return;
	pass(s->disk, XN_SIM_BEFORE_SYNC);
	s->syncing = false;
	if (!rc && happens(s->disk, s->disk->faults.sync_failures)) {
		rc = s->error = -EIO;
		s->disk->sync_failed = true;
	}
	/* Of what a failed sync covered nobody knows what reached the disk: a crash draws. */
	if (rc == 0 && s->syncing_to > s->disk->durable)
		s->disk->durable = s->syncing_to;
	pass(s->disk, XN_SIM_AFTER_SYNC);
	end_syncs(&s->running, rc);
	if (!s->syncing && !xn_list_empty(&s->next))
		begin_sync(s);
}

static void sim_sync(struct xn_store *store, void (*done)(int rc, void *arg), void *arg)
{
	struct sim_store *s = from_store(store);
	struct sync *sync = xn_calloc(1, sizeof(*sync));

	sync->done = done;
	sync->arg = arg;
	xn_list_push(&s->next, &sync->link);
	if (!s->syncing)
		begin_sync(s);
}

static int sim_flush(struct xn_store *store)
{
	struct sim_store *s = from_store(store);

	if (is_dead(s))
		return 0;
	if (!s->error)
		s->disk->durable = s->disk->log.len;
	return s->error;
}

static void on_reopen_time(struct xn_timer *timer)
{
	struct sim_store *s = xn_container_of(timer, struct sim_store, reopen_timer);
	int rc = 0;

	if (is_dead(s))
		return;
	pass(s->disk, XN_SIM_BEFORE_REOPEN);
	if (happens(s->disk, s->disk->faults.reopen_failures)) {
		rc = -ENOSPC;
	} else {
		s->disk->durable = s->disk->log.len;
		s->disk->sync_failed = false;
	}
	s->error = rc;
	pass(s->disk, XN_SIM_AFTER_REOPEN);
	s->reopening.done(rc, s->reopening.arg);
}

static void sim_reopen(struct xn_store *store, void (*done)(int rc, void *arg), void *arg)
{
	struct sim_store *s = from_store(store);

	s->reopening = (struct sync){.done = done, .arg = arg};
	xn_timer_arm(store->core->loop, &s->reopen_timer, s->disk->faults.sync_max_us,
		     on_reopen_time);
}

/* ---- checkpoints ---- */

static void fold(struct xn_sim_disk *disk)
{
	struct xn_fold *f = xn_fold_new(&disk->kv, NULL);
	struct xn_slice record;
	size_t at = 0;

	/* The bytes are this process' own: a failure is a bug. */
	while (at < disk->durable && next_record(disk, at, &record)) {
		if (xn_fold_transaction(f, record.data, record.len) < 0)
			abort();
		at += RECORD_HEAD + record.len;
	}
	if (xn_fold_finish(f) < 0)
		abort();
	xn_fold_free(f);
	xn_buf_drop(&disk->log, at);
	disk->durable -= at;
}

static void on_fold_time(struct xn_timer *timer)
{
	struct sim_store *s = xn_container_of(timer, struct sim_store, fold_timer);
	size_t before = s->disk->log.len;

	if (is_dead(s))
		return;
	pass(s->disk, XN_SIM_BEFORE_FOLD);
	s->folding = false;
	fold(s->disk);
	pass(s->disk, XN_SIM_AFTER_FOLD);
	before -= s->disk->log.len;
	s->syncing_to -= s->syncing_to < before ? s->syncing_to : before;
}

static void sim_checkpoint(struct xn_store *store)
{
	struct sim_store *s = from_store(store);

	if (s->folding || s->error)
		return;
	s->folding = true;
	xn_timer_arm(store->core->loop, &s->fold_timer, s->disk->faults.sync_max_us, on_fold_time);
}

static uint64_t sim_backlog(const struct xn_store *store)
{
	return from_store(store)->disk->log.len;
}

static void drop_syncs(struct xn_list *list)
{
	struct xn_list *link;

	while ((link = xn_list_pop(list)))
		free(xn_list_entry(link, struct sync, link));
}

static void sim_close(struct xn_store *store, bool clean)
{
	struct sim_store *s = from_store(store);

	if (clean && !is_dead(s))
		fold(s->disk);
	xn_timer_cancel(&s->sync_timer);
	xn_timer_cancel(&s->fold_timer);
	xn_timer_cancel(&s->reopen_timer);
	drop_syncs(&s->running);
	drop_syncs(&s->next);
	store->core->store = NULL;
	free(s);
}

struct xn_store *xn_store_sim_new(struct xn_core *core, struct xn_sim_disk *disk)
{
	static const struct xn_store_ops ops = {
		.open = sim_open,
		.append = sim_append,
		.sync = sim_sync,
		.flush = sim_flush,
		.reopen = sim_reopen,
		.checkpoint = sim_checkpoint,
		.backlog = sim_backlog,
		.close = sim_close,
	};
	struct sim_store *s = xn_calloc(1, sizeof(*s));

	s->store.ops = &ops;
	s->store.core = core;
	snprintf(s->store.boot_id, sizeof(s->store.boot_id), "simulated boot %u", disk->boot);
	s->disk = disk;
	s->life = ++disk->life;
	xn_list_init(&s->running);
	xn_list_init(&s->next);
	return &s->store;
}
