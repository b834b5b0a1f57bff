/*
 * The libxl back end on the loop, with this program as its worker children: they play a hypervisor
 * whose domains are lines of a file. Needs no Xen.
 */
#include "tests/unit/turn_until.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "core/buf.h"
#include "modules/domain/libxl/calls.h"
#include "modules/domain/libxl/libxl.h"
#include "modules/xenstore/xenstore.h"

#define UUID_A "11111111-1111-1111-1111-111111111111"
#define UUID_B "22222222-2222-2222-2222-222222222222"
#define FOREIGN "99999999-9999-9999-9999-999999999999"

enum { SOCKET = 3, MAX_DOMAINS = 16 };

/* ---- the child: one domain a line, "DOMID UUID PAUSED" ---- */

struct world {
	FILE *file;
	unsigned n;
	struct {
		unsigned domid, paused;
		char uuid[37];
	} domains[MAX_DOMAINS];
};

static const char *world_path; /* the child's argument */

static void open_world(struct world *w)
{
	*w = (struct world){.file = fopen(world_path, "r+")};
	if (!w->file || flock(fileno(w->file), LOCK_EX) < 0)
		_exit(1);
	while (w->n < MAX_DOMAINS && fscanf(w->file, "%u %36s %u", &w->domains[w->n].domid,
					    w->domains[w->n].uuid, &w->domains[w->n].paused) == 3)
		w->n++;
}

static void close_world(struct world *w)
{
	rewind(w->file);
	if (ftruncate(fileno(w->file), 0) < 0)
		_exit(1);
	for (unsigned i = 0; i < w->n; i++)
		if (w->domains[i].domid)
			fprintf(w->file, "%u %s %u\n", w->domains[i].domid, w->domains[i].uuid,
				w->domains[i].paused);
	fclose(w->file);
}

static unsigned add_domain(const char *uuid)
{
	unsigned domid = 0;
	struct world w;

	open_world(&w);
	for (unsigned i = 0; i < w.n; i++)
		domid = w.domains[i].domid > domid ? w.domains[i].domid : domid;
	w.domains[w.n].domid = ++domid;
	w.domains[w.n].paused = 1;
	snprintf(w.domains[w.n].uuid, sizeof(w.domains[w.n].uuid), "%s", uuid);
	w.n++;
	close_world(&w);
	return domid;
}

/* 0 removes it. */
static int change_domain(int64_t domid, int paused, bool remove)
{
	int rc = -ENOENT;
	struct world w;

	open_world(&w);
	for (unsigned i = 0; i < w.n; i++)
		if (w.domains[i].domid == domid) {
			w.domains[i].paused = paused;
			w.domains[i].domid = remove ? 0 : w.domains[i].domid;
			rc = 0;
		}
	close_world(&w);
	return rc;
}

static struct xn_value *list_domains(void)
{
	struct xn_value *list = xn_set_new();
	struct world w;

	open_world(&w);
	for (unsigned i = 0; i < w.n; i++) {
		struct xn_value *map = xn_map_new();

		xn_map_put(&map, "domid", xn_int(w.domains[i].domid));
		xn_map_put_string(&map, "uuid", w.domains[i].uuid);
		xn_map_put_string(&map, "type", "pv");
		xn_map_put(&map, "paused", xn_bool(w.domains[i].paused));
		xn_set_append(&list, map);
	}
	close_world(&w);
	return list;
}

static struct xn_value *tell_host(void)
{
	struct xn_value *map = xn_map_new();

	xn_map_put(&map, "memory_total", xn_int(INT64_C(8) << 30));
	xn_map_put(&map, "memory_free",
		   xn_int((INT64_C(8) << 30) - (int64_t)xn_set_len(list_domains()) * (1 << 30)));
	xn_map_put(&map, "cpus", xn_int(4));
	xn_map_put(&map, "cpu_khz", xn_int(2500000));
	xn_map_put_string(&map, "xen_version", "4.17.5");
	return map;
}

/* What a domain's name asks for. */
static int create(const struct xn_value *config, struct xn_value **result)
{
	const char *name = xn_map_get_string(config, "name");
	unsigned domid;

	if (strcmp(name, "refused") == 0)
		return -ENOMEM;
	domid = add_domain(xn_map_get_string(config, "uuid"));
	if (strcmp(name, "crashes") == 0)
		raise(SIGKILL);
	while (strcmp(name, "hangs") == 0)
		pause();
	*result = xn_int(domid);
	return 0;
}

static int serve(const char *call, const struct xn_value *args, struct xn_value **result)
{
	int64_t domid = xn_map_get_int(args, "domid", 0);

	if (strcmp(call, "list") == 0)
		*result = list_domains();
	else if (strcmp(call, "host_info") == 0)
		*result = tell_host();
	else if (strcmp(call, "create") == 0)
		return create(xn_map_get(args, "config"), result);
	else if (strcmp(call, "destroy") == 0)
		return change_domain(domid, 0, true) == -ENOENT ? 0 : 0;
	else if (strcmp(call, "pause") == 0 || strcmp(call, "unpause") == 0)
		return change_domain(domid, call[0] == 'p', false);
	else
		return -EOPNOTSUPP;
	return 0;
}

static int child_main(void)
{
	struct xn_value *request, *answer, *result;
	struct xn_buf in = {0}, out = {0};
	ssize_t n;

	while ((n = read(SOCKET, xn_buf_reserve(&in, 4096), 4096)) > 0) {
		in.len += (size_t)n;
		while (xn_libxl_frame_take(&in, &request) > 0) {
			result = NULL;
			answer = xn_map_new();
			xn_map_put(&answer, "rc",
				   xn_int(serve(xn_map_get_string(request, "call"),
						xn_map_get(request, "args"), &result)));
			xn_map_put(&answer, "result", result ? result : xn_nil());
			xn_libxl_frame_add(&out, answer);
			if (write(SOCKET, out.data, out.len) != (ssize_t)out.len)
				return EXIT_FAILURE;
			xn_buf_drop(&out, out.len);
			xn_value_unref(answer);
			xn_value_unref(request);
		}
	}
	xn_buf_clear(&in);
	xn_buf_clear(&out);
	return EXIT_SUCCESS;
}

/* ---- the fixture ---- */

struct fixture {
	struct xn_core core;
	struct xn_loop *loop;
	struct xn_log *log;
	struct xn_modules *modules;
	struct xn_backend *backend;
	char world[32];
	const char *worker[4];
	unsigned ended;
	struct xn_buf progress;
	unsigned listed; /* so often told that there is a new list */
};

struct wait {
	struct fixture *f;
	bool ended;
	int rc;
	uint32_t domid;
	char state[16]; /* of UUID_A when it ended */
};

static const struct xn_module *const modules[] = {&xn_xenstore_module, NULL};

static void on_told(const char *vm_uuid, const char *what, double fraction, void *arg)
{
	struct fixture *f = arg;

	xn_buf_printf(&f->progress, "%.4s ", vm_uuid);
}

static void on_listed(void *arg)
{
	struct fixture *f = arg;

	f->listed++;
}

static void open_backend(struct fixture *f)
{
	struct xn_error err = {0};

	f->backend = xn_libxl_backend_new(&f->core, f->worker);
	f->backend->progress = on_told;
	f->backend->listed = on_listed;
	f->backend->listener = f;
	assert_int_equal(f->backend->ops->open(f->backend, &err), 0);
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct xn_error err = {0};
	int fd;

	f->loop = xn_loop_new();
	f->log = xn_log_new(XN_LOG_ERROR, false, STDERR_FILENO);
	xn_core_init(&f->core, f->loop, f->log, NULL);
	f->modules = xn_modules_start(&f->core, modules, &err);
	assert_non_null(f->modules);
	strcpy(f->world, "/tmp/xn-test-XXXXXX");
	fd = mkstemp(f->world);
	dprintf(fd, "7 " FOREIGN " 0\n");
	close(fd);
	f->worker[0] = "/proc/self/exe";
	f->worker[1] = "child";
	f->worker[2] = f->world;
	open_backend(f);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	f->backend->ops->close(f->backend);
	f->backend->ops->free(f->backend);
	xn_modules_stop(f->modules);
	xn_core_clear(&f->core);
	xn_loop_free(f->loop);
	xn_log_free(f->log);
	xn_buf_clear(&f->progress);
	unlink(f->world);
	free(f);
	return 0;
}

static const struct xn_domain_info *find(struct fixture *f, const char *uuid)
{
	return f->backend->ops->find(f->backend, uuid);
}

static void note(struct wait *w, int rc)
{
	const struct xn_domain_info *info = find(w->f, UUID_A);

	assert_false(w->ended);
	w->ended = true;
	w->rc = rc;
	snprintf(w->state, sizeof(w->state), "%s",
		 !info ? "none" : info->paused ? "paused" : "running");
}

static void on_done(int rc, void *arg)
{
	note(arg, rc);
}

static void on_created(int rc, uint32_t domid, void *arg)
{
	struct wait *w = arg;

	w->domid = domid;
	note(w, rc);
}

static void start_create(struct fixture *f, struct wait *w, const char *uuid, const char *name)
{
	struct xn_value *config = xn_map_new();

	*w = (struct wait){.f = f};
	xn_map_put_string(&config, "uuid", uuid);
	xn_map_put_string(&config, "name", name);
	xn_map_put_string(&config, "type", "pv");
	assert_int_equal(f->backend->ops->create(f->backend, config, on_created, w), 0);
	assert_false(w->ended);
	xn_value_unref(config);
}

static uint32_t create_one(struct fixture *f, const char *uuid)
{
	struct wait w;

	start_create(f, &w, uuid, "plain");
	TURN_UNTIL(f->loop, w.ended);
	assert_int_equal(w.rc, 0);
	return w.domid;
}

typedef int simple_call(struct xn_backend *b, uint32_t domid, xn_backend_done *done, void *arg);

static void make(struct fixture *f, struct wait *w, simple_call *call, uint32_t domid)
{
	*w = (struct wait){.f = f};
	assert_int_equal(call(f->backend, domid, on_done, w), 0);
	TURN_UNTIL(f->loop, w->ended);
}

static uint64_t free_gib(struct fixture *f)
{
	struct xn_host_info info;

	assert_int_equal(f->backend->ops->host_info(f->backend, &info), 0);
	return info.memory_free >> 30;
}

/* ---- tests ---- */

static void what_is_there_is_known_once_it_is_open(void **state)
{
	struct fixture *f = *state;
	struct xn_host_info host;
	size_t n;

	assert_int_equal(find(f, FOREIGN)->domid, 7);
	(void)f->backend->ops->list(f->backend, &n);
	assert_int_equal(n, 1);
	assert_int_equal(f->backend->ops->host_info(f->backend, &host), 0);
	assert_int_equal(host.cpus, 4);
	assert_int_equal(host.cpu_mhz, 2500);
	assert_string_equal(host.xen_version, "4.17.5");
	assert_int_equal(free_gib(f), 7);
}

static void a_created_domain_is_found_when_its_call_ends(void **state)
{
	struct fixture *f = *state;
	struct wait w;

	start_create(f, &w, UUID_A, "plain");
	TURN_UNTIL(f->loop, w.ended);
	assert_int_equal(w.rc, 0);
	assert_string_equal(w.state, "paused");
	assert_int_equal(find(f, UUID_A)->domid, w.domid);
	assert_int_equal(free_gib(f), 6); /* so is what it took */
	assert_string_equal(xn_buf_cstr(&f->progress), "1111 ");
}

static void pausing_and_unpausing_shows_when_the_call_ends(void **state)
{
	struct fixture *f = *state;
	uint32_t domid = create_one(f, UUID_A);
	struct wait w;

	make(f, &w, f->backend->ops->unpause, domid);
	assert_string_equal(w.state, "running");
	make(f, &w, f->backend->ops->pause, domid);
	assert_string_equal(w.state, "paused");
}

static void every_reading_of_the_list_is_told_of(void **state)
{
	struct fixture *f = *state;
	unsigned before;

	assert_int_equal(f->listed, 0); /* the first one is no news */
	create_one(f, UUID_A);
	before = f->listed;
	assert_int_equal(f->backend->ops->refresh(f->backend, NULL, NULL), 0);
	TURN_UNTIL(f->loop, f->listed > before);
}

static void a_destroyed_domain_is_gone_when_its_call_ends(void **state)
{
	struct fixture *f = *state;
	uint32_t domid = create_one(f, UUID_A);
	struct wait w;

	make(f, &w, f->backend->ops->destroy, domid);
	assert_int_equal(w.rc, 0);
	assert_string_equal(w.state, "none");
	assert_int_equal(free_gib(f), 7);
	make(f, &w, f->backend->ops->destroy, domid); /* once more is success */
	assert_int_equal(w.rc, 0);
}

static void a_refused_creation_tells_why_and_leaves_nothing(void **state)
{
	struct fixture *f = *state;
	struct wait w;

	start_create(f, &w, UUID_A, "refused");
	TURN_UNTIL(f->loop, w.ended);
	assert_int_equal(w.rc, -ENOMEM);
	assert_string_equal(w.state, "none");
}

static void what_a_crashed_worker_has_left_is_destroyed_before_its_call_ends(void **state)
{
	struct fixture *f = *state;
	struct wait w;

	start_create(f, &w, UUID_A, "crashes");
	TURN_UNTIL(f->loop, w.ended);
	assert_int_equal(w.rc, -EIO);
	assert_string_equal(w.state, "none");
	assert_int_equal(free_gib(f), 7);
	assert_non_null(find(f, FOREIGN)); /* which nobody touches */
	assert_true(create_one(f, UUID_A) > 0);
}

static void a_destroy_gives_up_the_creation_of_its_domain(void **state)
{
	struct fixture *f = *state;
	const struct xn_domain_info *half;
	struct wait w, read, gone;

	start_create(f, &w, UUID_A, "hangs");
	do { /* as an undo does: look, then destroy what is there */
		read = (struct wait){.f = f};
		assert_int_equal(f->backend->ops->refresh(f->backend, on_done, &read), 0);
		TURN_UNTIL(f->loop, read.ended);
		half = find(f, UUID_A);
	} while (!half);
	assert_false(w.ended);
	make(f, &gone, f->backend->ops->destroy, half->domid);
	assert_int_equal(gone.rc, 0);
	assert_string_equal(gone.state, "none");
	assert_true(w.ended);
	assert_int_equal(w.rc, -ECANCELED);
	assert_true(create_one(f, UUID_A) > 0);
}

static int plug(struct fixture *f, uint32_t domid, int devid)
{
	struct xn_disk_config disk = {.vdev = "xvda", .devid = devid, .path = "/d", .format = "raw"};
	struct wait w = {.f = f};

	assert_int_equal(f->backend->ops->plug_disk(f->backend, domid, &disk, on_done, &w), 0);
	TURN_UNTIL(f->loop, w.ended);
	return w.rc;
}

/* The workers of this test cannot plug anything. */
static void a_device_that_the_domain_was_built_with_is_not_plugged_again(void **state)
{
	struct fixture *f = *state;
	struct xn_value *config = xn_map_new(), *disks = xn_set_new(), *disk = xn_map_new();
	struct wait w = {.f = f};

	xn_map_put_string(&config, "uuid", UUID_A);
	xn_map_put_string(&config, "name", "plain");
	xn_map_put(&disk, "devid", xn_int(51712));
	xn_set_append(&disks, disk);
	xn_map_put(&config, "disks", disks);
	assert_int_equal(f->backend->ops->create(f->backend, config, on_created, &w), 0);
	xn_value_unref(config);
	TURN_UNTIL(f->loop, w.ended);
	assert_int_equal(plug(f, w.domid, 51712), 0);
	assert_int_equal(plug(f, w.domid, 51712), -EOPNOTSUPP); /* asked by somebody else */
	assert_int_equal(plug(f, w.domid, 51728), -EOPNOTSUPP);
}

static void a_guest_is_asked_through_its_node(void **state)
{
	struct fixture *f = *state;
	uint32_t domid = create_one(f, UUID_A);
	struct wait w = {.f = f};

	assert_int_equal(f->backend->ops->shutdown(f->backend, domid, XN_SHUTDOWN_REBOOT, on_done,
						   &w),
			 0);
	TURN_UNTIL(f->loop, w.ended);
	assert_int_equal(w.rc, 0);
	assert_int_equal(f->backend->ops->shutdown(f->backend, 999, XN_SHUTDOWN_REBOOT, on_done,
						   &w),
			 -ENOENT);
}

static void many_refreshes_share_readings(void **state)
{
	struct fixture *f = *state;
	struct wait waits[50];
	struct xn_value *described;
	int64_t served = 0;

	for (size_t i = 0; i < XN_ARRAY_SIZE(waits); i++) {
		waits[i] = (struct wait){.f = f};
		assert_int_equal(f->backend->ops->refresh(f->backend, on_done, &waits[i]), 0);
	}
	for (size_t i = 0; i < XN_ARRAY_SIZE(waits); i++) {
		TURN_UNTIL(f->loop, waits[i].ended);
		assert_int_equal(waits[i].rc, 0);
	}
	described = f->backend->ops->describe(f->backend);
	for (size_t i = 0; i < 2; i++) {
		const struct xn_value *all =
			xn_map_get(xn_map_get(described, "readers"), "children");

		if (i < xn_set_len(all))
			served += xn_map_get_int(xn_set_at(all, i), "served", 0);
	}
	assert_in_range(served, 2, 6); /* two calls a reading */
	xn_value_unref(described);
}

static void a_new_back_end_finds_what_the_old_one_made(void **state)
{
	struct fixture *f = *state;
	uint32_t domid = create_one(f, UUID_B);

	f->backend->ops->close(f->backend);
	f->backend->ops->free(f->backend);
	open_backend(f);
	assert_int_equal(find(f, UUID_B)->domid, domid);
	assert_true(find(f, UUID_B)->paused);
}

static void closing_while_calls_run_answers_nothing(void **state)
{
	struct fixture *f = *state;
	struct wait w, read = {.f = f};

	start_create(f, &w, UUID_A, "hangs");
	assert_int_equal(f->backend->ops->refresh(f->backend, on_done, &read), 0);
	f->backend->ops->close(f->backend);
	assert_false(xn_loop_turn(f->loop, 10000));
	assert_false(w.ended);
	assert_false(read.ended);
}

static void without_a_hypervisor_opening_fails_in_words(void **state)
{
	struct fixture *f = *state;
	static const char *const worker[] = {"/bin/false", NULL};
	struct xn_backend *b = xn_libxl_backend_new(&f->core, worker);
	struct xn_error err = {0};

	assert_int_equal(b->ops->open(b, &err), -1);
	assert_non_null(strstr(err.params[0], "list of domains cannot be read"));
	xn_error_clear(&err);
	b->ops->free(b);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		TEST(what_is_there_is_known_once_it_is_open),
		TEST(a_created_domain_is_found_when_its_call_ends),
		TEST(pausing_and_unpausing_shows_when_the_call_ends),
		TEST(every_reading_of_the_list_is_told_of),
		TEST(a_destroyed_domain_is_gone_when_its_call_ends),
		TEST(a_refused_creation_tells_why_and_leaves_nothing),
		TEST(what_a_crashed_worker_has_left_is_destroyed_before_its_call_ends),
		TEST(a_destroy_gives_up_the_creation_of_its_domain),
		TEST(a_device_that_the_domain_was_built_with_is_not_plugged_again),
		TEST(a_guest_is_asked_through_its_node),
		TEST(many_refreshes_share_readings),
		TEST(a_new_back_end_finds_what_the_old_one_made),
		TEST(closing_while_calls_run_answers_nothing),
		TEST(without_a_hypervisor_opening_fails_in_words),
#undef TEST
	};

	if (argc == 3 && strcmp(argv[1], "child") == 0) {
		world_path = argv[2];
		return child_main();
	}
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
