/* The simulated hypervisor and its guests, in virtual time. */
#include "tests/unit/cmocka_all.h"

#include "core/state_dir.h"
#include "modules/domain/sim/sim.h"
#include "modules/xenstore/store/store.h"
#include "modules/xenstore/xenstore.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define UUID "9b1c7a52-0000-4000-8000-00000000000"

struct fixture {
	struct xn_core core;
	struct xn_backend *b;
	struct xn_xs_conn *dom0;
	char *folder; /* NULL: no world file */
	int rc;       /* of the last callback; 1: none yet */
	uint32_t domid;
	unsigned n_done;
};

/* ---- a daemon's worth of surroundings ---- */

static void begin(struct fixture *f)
{
	static const struct xn_module *const list[] = {&xn_xenstore_module, NULL};
	struct xn_error err = {0};
	char *why = NULL;

	f->core.loop = xn_loop_new_virtual(1);
	f->core.bus = xn_bus_new(f->core.loop);
	f->core.methods = xn_methods_new();
	f->core.workers = xn_pool_new(f->core.loop, "test", 1);
	f->core.config = xn_config_new();
	if (f->folder)
		assert_int_equal(
			xn_config_set(f->core.config, "state-dir", f->folder, true, "", &why), 0);
	assert_int_equal(xn_config_set(f->core.config, "sim-memory", "64G", true, "", &why), 0);
	if (!xn_modules_start(&f->core, list, &err))
		fail_msg("%s: %s", err.code, err.n_params ? err.params[0] : "");
	f->b = xn_backend_sim_new(&f->core);
	assert_int_equal(f->b->ops->open(f->b, &err), 0);
	f->dom0 = xn_xs_conn_new(
		xn_xs_domain_find(xn_xenstore_embedded(xn_xenstore_of(&f->core)), 0));
}

static void end(struct fixture *f)
{
	xn_xs_conn_free(f->dom0);
	f->b->ops->free(f->b);
	xn_modules_stop(f->core.modules);
	xn_pool_free(f->core.workers);
	xn_methods_free(f->core.methods);
	xn_bus_free(f->core.bus);
	xn_config_free(f->core.config);
	xn_loop_free(f->core.loop);
}

static int set_up(void **state)
{
	struct fixture *f = xn_calloc(1, sizeof(*f));

	begin(f);
	*state = f;
	return 0;
}

static int set_up_with_folder(void **state)
{
	struct fixture *f = xn_calloc(1, sizeof(*f));
	char name[] = "/dev/shm/test_sim_XXXXXX";

	f->folder = xn_strdup(mkdtemp(name));
	begin(f);
	*state = f;
	return 0;
}

static void remove_folder(struct fixture *f)
{
	assert_int_equal(xn_remove_folder(f->folder), 0);
	free(f->folder);
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	end(f);
	if (f->folder)
		remove_folder(f);
	free(f);
	return 0;
}

static void run_ms(struct fixture *f, int64_t ms)
{
	int64_t until = xn_now_us(f->core.loop) + ms * 1000;

	while (xn_now_us(f->core.loop) < until)
		xn_loop_turn(f->core.loop, until - xn_now_us(f->core.loop));
	xn_loop_turn(f->core.loop, 0);
}

/* ---- calls ---- */

static void on_done(int rc, void *arg)
{
	struct fixture *f = arg;

	f->rc = rc;
	f->n_done++;
}

static void on_created(int rc, uint32_t domid, void *arg)
{
	struct fixture *f = arg;

	f->domid = domid;
	on_done(rc, arg);
}

static struct xn_value *config_of(const char *uuid, const char *const *options)
{
	struct xn_value *config = xn_map_new(), *other = xn_map_new(), *data = xn_map_new();

	for (; options && *options; options += 2)
		xn_map_put_string(&other, options[0], options[1]);
	xn_map_put_string(&data, "vm-data/hello", "world");
	xn_map_put_string(&data, "control/evil", "1");
	xn_map_put_string(&config, "uuid", uuid);
	xn_map_put_string(&config, "name", "a VM");
	xn_map_put_string(&config, "type", "pv");
	xn_map_put(&config, "memory", xn_int(256 << 20));
	xn_map_put(&config, "max_memory", xn_int(512 << 20));
	xn_map_put(&config, "vcpus", xn_int(1));
	xn_map_put(&config, "max_vcpus", xn_int(2));
	xn_map_put(&config, "other_config", other);
	xn_map_put(&config, "xenstore_data", data);
	return config;
}

static int create(struct fixture *f, const char *uuid, const char *const *options)
{
	struct xn_value *config = config_of(uuid, options);
	int rc;

	f->rc = 1;
	rc = f->b->ops->create(f->b, config, on_created, f);
	xn_value_unref(config);
	return rc;
}

static void plug_all(struct fixture *f)
{
	const struct xn_disk_config disk = {
		.vdev = "xvda", .devid = 51712, .path = "/img", .format = "raw"};
	const struct xn_disk_config cd = {
		.vdev = "xvdd", .devid = 51760, .is_cdrom = true, .read_only = true};
	const struct xn_nic_config nic = {
		.devid = 0, .mac = "02:00:00:00:00:01", .bridge = "xenbr0", .mtu = 1500};

	assert_int_equal(f->b->ops->plug_disk(f->b, f->domid, &disk, on_done, f), 0);
	assert_int_equal(f->b->ops->plug_disk(f->b, f->domid, &cd, on_done, f), 0);
	assert_int_equal(f->b->ops->plug_nic(f->b, f->domid, &nic, on_done, f), 0);
}

/* Created, plugged, unpaused, and long enough ago to be up and connected. */
static void given_running(struct fixture *f, const char *const *options)
{
	assert_int_equal(create(f, UUID "1", options), 0);
	run_ms(f, 20);
	assert_int_equal(f->rc, 0);
	plug_all(f);
	run_ms(f, 20);
	f->rc = 1;
	assert_int_equal(f->b->ops->unpause(f->b, f->domid, on_done, f), 0);
	run_ms(f, 100);
	assert_int_equal(f->rc, 0);
}

static const struct xn_domain_info *info(struct fixture *f)
{
	return f->b->ops->find(f->b, UUID "1");
}

static const char *key(struct fixture *f, const char *fmt, ...) XN_PRINTF(2, 3);

/* "-" when it is not there; valid until the next call. */
static const char *key(struct fixture *f, const char *fmt, ...)
{
	static char text[256];
	char path[256];
	const char *value;
	size_t len;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(path, sizeof(path), fmt, ap);
	va_end(ap);
	if (xn_xs_conn_read(f->dom0, 0, path, &value, &len) < 0)
		return "-";
	snprintf(text, sizeof(text), "%.*s", (int)len, value);
	return text;
}

static void assert_nothing_left(struct fixture *f)
{
	struct xn_host_info host;
	size_t n;

	f->b->ops->list(f->b, &n);
	assert_int_equal(n, 0);
	assert_int_equal(f->b->ops->host_info(f->b, &host), 0);
	assert_int_equal(host.memory_free, 56ull << 30);
	assert_string_equal(key(f, "/local/domain/%u", f->domid), "-");
	assert_string_equal(key(f, "/local/domain/0/backend/vbd/%u", f->domid), "-");
	assert_string_equal(key(f, "/vm/" UUID "1"), "-");
	assert_string_equal(key(f, "/libxl/%u", f->domid), "-");
}

static void destroy(struct fixture *f)
{
	f->rc = 1;
	assert_int_equal(f->b->ops->destroy(f->b, f->domid, on_done, f), 0);
	run_ms(f, 10);
	assert_int_equal(f->rc, 0);
}

/* ---- life ---- */

static void a_created_domain_is_paused_and_has_its_keys(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(create(f, UUID "1", NULL), 0);
	assert_int_equal(f->rc, 1);
	run_ms(f, 10);
	assert_int_equal(f->rc, 0);
	assert_true(info(f)->paused);
	assert_string_equal(key(f, "/local/domain/%u/vm", f->domid), "/vm/" UUID "1");
	assert_string_equal(key(f, "/local/domain/%u/memory/target", f->domid), "262144");
	assert_string_equal(key(f, "/local/domain/%u/cpu/1/availability", f->domid), "offline");
	assert_string_equal(key(f, "/local/domain/%u/vm-data/hello", f->domid), "world");
	assert_string_equal(key(f, "/local/domain/%u/control/evil", f->domid), "-");
	run_ms(f, 1000);
	assert_string_equal(key(f, "/local/domain/%u/data/updated", f->domid), "-");
	destroy(f);
	assert_nothing_left(f);
}

static void an_unpaused_guest_boots_connects_and_reports(void **state)
{
	struct fixture *f = *state;

	given_running(f, NULL);
	assert_string_equal(key(f, "/local/domain/%u/device/vbd/51712/state", f->domid), "4");
	assert_string_equal(key(f, "/local/domain/0/backend/vbd/%u/51712/state", f->domid), "4");
	assert_string_equal(key(f, "/local/domain/0/backend/qdisk/%u/51760/device-type", f->domid),
			    "cdrom");
	assert_string_equal(key(f, "/local/domain/%u/device/vif/0/state", f->domid), "4");
	assert_string_equal(key(f, "/local/domain/%u/attr/PVAddons/MajorVersion", f->domid), "8");
	assert_string_equal(key(f, "/local/domain/%u/attr/vif/0/ipv4/0", f->domid), "10.0.1.2");
	assert_string_equal(key(f, "/local/domain/%u/control/feature-shutdown", f->domid), "1");
	assert_string_equal(key(f, "/local/domain/%u/data/updated", f->domid), "1");
	destroy(f);
	assert_nothing_left(f);
}

static void a_guest_without_agent_reports_nothing(void **state)
{
	const char *const options[] = {"sim-agent", "none", NULL};
	struct fixture *f = *state;

	given_running(f, options);
	assert_string_equal(key(f, "/local/domain/%u/device/vif/0/state", f->domid), "4");
	assert_string_equal(key(f, "/local/domain/%u/data/updated", f->domid), "-");
	assert_string_equal(key(f, "/local/domain/%u/control/feature-suspend", f->domid), "1");
}

static void a_failed_build_leaves_nothing(void **state)
{
	const char *const options[] = {"sim-build", "fail", NULL};
	struct fixture *f = *state;

	assert_int_equal(create(f, UUID "1", options), 0);
	run_ms(f, 10);
	assert_int_equal(f->rc, -ENOEXEC);
	assert_nothing_left(f);
}

static void a_hung_build_ends_when_its_domain_is_destroyed(void **state)
{
	const char *const options[] = {"sim-build", "hang", NULL};
	struct fixture *f = *state;

	assert_int_equal(create(f, UUID "1", options), 0);
	run_ms(f, 100000);
	assert_int_equal(f->rc, 1);
	assert_int_equal(f->b->ops->destroy(f->b, info(f)->domid, NULL, NULL), 0);
	run_ms(f, 10);
	assert_int_equal(f->rc, -ECANCELED);
	assert_nothing_left(f);
}

static void memory_is_counted(void **state)
{
	struct fixture *f = *state;
	struct xn_value *config = config_of(UUID "1", NULL);
	struct xn_host_info host;

	xn_map_put(&config, "memory", xn_int(60ll << 30));
	xn_map_put(&config, "max_memory", xn_int(60ll << 30));
	assert_int_equal(f->b->ops->create(f->b, config, on_created, f), -ENOMEM);
	xn_value_unref(config);
	assert_nothing_left(f);
	given_running(f, NULL);
	f->b->ops->host_info(f->b, &host);
	assert_int_equal(host.memory_free, (56ull << 30) - (256 << 20));
}

static void memory_follows_its_target(void **state)
{
	struct fixture *f = *state;
	struct xn_host_info host;

	given_running(f, NULL);
	assert_int_equal(f->b->ops->set_memory(f->b, f->domid, 512 << 20, on_done, f), 0);
	run_ms(f, 20);
	assert_int_equal(info(f)->memory_bytes, 512 << 20);
	assert_int_equal(f->b->ops->set_memory(f->b, f->domid, 128 << 20, on_done, f), 0);
	f->b->ops->host_info(f->b, &host);
	assert_int_equal(host.memory_free,
			 (56ull << 30) - (512 << 20)); /* until it has given it back */
	run_ms(f, 20);
	assert_int_equal(info(f)->memory_bytes, 128 << 20);
	f->b->ops->host_info(f->b, &host);
	assert_int_equal(host.memory_free, (56ull << 30) - (128 << 20));
	assert_int_equal(f->b->ops->set_memory(f->b, f->domid, 1 << 30, on_done, f), -EINVAL);
}

static void processors_come_and_go(void **state)
{
	struct fixture *f = *state;

	given_running(f, NULL);
	assert_int_equal(f->b->ops->set_vcpus(f->b, f->domid, 2, on_done, f), 0);
	run_ms(f, 20);
	assert_int_equal(info(f)->vcpus, 2);
	assert_string_equal(key(f, "/local/domain/%u/cpu/1/availability", f->domid), "online");
	assert_int_equal(f->b->ops->set_vcpus(f->b, f->domid, 3, on_done, f), -EINVAL);
}

static void a_paused_guest_stands_still(void **state)
{
	const char *const options[] = {"sim-crash-after-ms", "1000", NULL};
	struct fixture *f = *state;
	int64_t counter;

	given_running(f, options);
	assert_int_equal(f->b->ops->pause(f->b, f->domid, on_done, f), 0);
	counter = xn_sim_guest_counter(f->b, f->domid);
	run_ms(f, 100000);
	assert_false(info(f)->shut_down);
	assert_int_equal(xn_sim_guest_counter(f->b, f->domid), counter);
	assert_int_equal(f->b->ops->unpause(f->b, f->domid, on_done, f), 0);
	run_ms(f, 2000);
	assert_true(info(f)->shut_down);
	assert_int_equal(info(f)->shutdown_code, XN_SHUTDOWN_CRASH);
}

/* ---- shutting down ---- */

static void ask(struct fixture *f, enum xn_domain_shutdown reason)
{
	f->rc = 1;
	assert_int_equal(f->b->ops->shutdown(f->b, f->domid, reason, on_done, f), 0);
	xn_loop_turn(f->core.loop, 0);
	assert_int_equal(f->rc, 0);
}

static void an_obedient_guest_acknowledges_and_goes(void **state)
{
	struct fixture *f = *state;

	given_running(f, NULL);
	ask(f, XN_SHUTDOWN_REBOOT);
	assert_string_equal(key(f, "/local/domain/%u/control/shutdown", f->domid), "reboot");
	run_ms(f, 2);
	assert_string_equal(key(f, "/local/domain/%u/control/shutdown", f->domid), "");
	assert_false(info(f)->shut_down);
	run_ms(f, 20);
	assert_true(info(f)->shut_down);
	assert_int_equal(info(f)->shutdown_code, XN_SHUTDOWN_REBOOT);
	destroy(f);
	assert_nothing_left(f);
}

static void a_guest_asked_while_booting_obeys_when_it_is_up(void **state)
{
	const char *const options[] = {"sim-boot-ms", "1000", NULL};
	struct fixture *f = *state;

	given_running(f, options);
	ask(f, XN_SHUTDOWN_POWEROFF);
	run_ms(f, 500);
	assert_false(info(f)->shut_down);
	run_ms(f, 1000);
	assert_true(info(f)->shut_down);
}

static void refusing_hanging_and_crashing_guests(void **state)
{
	static const struct {
		const char *how, *left;
		bool stops;
	} cases[] = {{"refuse", "poweroff", false}, {"hang", "", false}, {"crash", "", true}};
	struct fixture *f = *state;

	for (size_t i = 0; i < XN_ARRAY_SIZE(cases); i++) {
		const char *const options[] = {"sim-shutdown", cases[i].how, NULL};

		given_running(f, options);
		ask(f, XN_SHUTDOWN_POWEROFF);
		run_ms(f, 10000);
		assert_string_equal(key(f, "/local/domain/%u/control/shutdown", f->domid),
				    cases[i].left);
		assert_int_equal(info(f)->shut_down, cases[i].stops);
		if (cases[i].stops)
			assert_int_equal(info(f)->shutdown_code, XN_SHUTDOWN_CRASH);
		destroy(f);
		assert_nothing_left(f);
	}
}

static void count_fired(const char *path, void *arg)
{
	++*(unsigned *)arg;
}

static void the_world_is_told_of_comings_and_goings(void **state)
{
	struct fixture *f = *state;
	struct xn_xenstore *xs = xn_xenstore_of(&f->core);
	unsigned introduced = 0, released = 0;

	xn_xs_watch(xs, "@introduceDomain", count_fired, &introduced);
	xn_xs_watch(xs, "@releaseDomain", count_fired, &released);
	run_ms(f, 1);
	given_running(f, NULL);
	assert_int_equal(introduced, 2); /* the first is for the watch itself */
	assert_int_equal(released, 1);
	xn_sim_guest_stops(f->b, f->domid, XN_SHUTDOWN_CRASH);
	run_ms(f, 1);
	assert_int_equal(released, 2);
	destroy(f);
	assert_int_equal(released, 3);
	assert_null(xn_xs_domain_find(xn_xenstore_embedded(xs), f->domid));
}

/* ---- devices ---- */

static void unplug_nic(struct fixture *f, bool force)
{
	f->rc = 1;
	assert_int_equal(f->b->ops->unplug_nic(f->b, f->domid, 0, force, on_done, f), 0);
}

static void a_connected_device_is_let_go(void **state)
{
	struct fixture *f = *state;

	given_running(f, NULL);
	unplug_nic(f, false);
	assert_string_equal(key(f, "/local/domain/0/backend/vif/%u/0/state", f->domid), "5");
	run_ms(f, 10);
	assert_int_equal(f->rc, 0);
	assert_string_equal(key(f, "/local/domain/0/backend/vif/%u/0", f->domid), "-");
	assert_string_equal(key(f, "/local/domain/%u/device/vif/0", f->domid), "-");
	unplug_nic(f, false); /* what is not there is unplugged */
	run_ms(f, 10);
	assert_int_equal(f->rc, 0);
	plug_all(f); /* and may come again, like those that are there */
	run_ms(f, 50);
	assert_int_equal(f->rc, 0);
	assert_string_equal(key(f, "/local/domain/%u/device/vif/0/state", f->domid), "4");
}

static void a_guest_may_refuse_to_let_go(void **state)
{
	const char *const options[] = {"sim-unplug", "refuse", NULL};
	struct fixture *f = *state;

	given_running(f, options);
	unplug_nic(f, false);
	run_ms(f, 10);
	assert_int_equal(f->rc, -EBUSY);
	assert_string_equal(key(f, "/local/domain/0/backend/vif/%u/0/state", f->domid), "4");
	assert_string_not_equal(key(f, "/local/domain/%u/error/device/vif/0/error", f->domid), "-");
	unplug_nic(f, true);
	run_ms(f, 10);
	assert_int_equal(f->rc, 0);
	assert_string_equal(key(f, "/local/domain/0/backend/vif/%u/0", f->domid), "-");
}

static void a_hung_unplug_ends_when_the_guest_dies(void **state)
{
	const char *const options[] = {"sim-unplug", "hang", NULL};
	struct fixture *f = *state;

	given_running(f, options);
	unplug_nic(f, false);
	run_ms(f, 10000);
	assert_int_equal(f->rc, 1);
	assert_int_equal(xn_sim_guest_stops(f->b, f->domid, XN_SHUTDOWN_CRASH), 0);
	run_ms(f, 10);
	assert_int_equal(f->rc, 0);
}

static void plugging_may_fail_or_hang(void **state)
{
	const char *const fail[] = {"sim-plug", "fail", NULL}, *const hang[] = {"sim-plug", "hang",
										NULL};
	struct fixture *f = *state;

	given_running(f, fail);
	assert_string_equal(key(f, "/local/domain/0/backend/vif/%u/0", f->domid), "-");
	plug_all(f);
	run_ms(f, 10);
	assert_int_equal(f->rc, -EIO);
	destroy(f);
	given_running(f, hang);
	f->n_done = 0;
	f->b->ops->destroy(f->b, f->domid, NULL, NULL);
	run_ms(f, 10);
	assert_int_equal(f->n_done, 3); /* those who waited for the plugs */
	assert_int_equal(f->rc, -ECANCELED);
	assert_nothing_left(f);
}

static void media_are_changed(void **state)
{
	struct xn_disk_config cd = {
		.vdev = "xvdd", .devid = 51760, .path = "/iso", .format = "raw"};
	struct fixture *f = *state;

	given_running(f, NULL);
	assert_int_equal(f->b->ops->change_media(f->b, f->domid, &cd, on_done, f), 0);
	assert_string_equal(key(f, "/local/domain/0/backend/qdisk/%u/51760/params", f->domid),
			    "aio:/iso");
	cd.path = NULL;
	assert_int_equal(f->b->ops->change_media(f->b, f->domid, &cd, on_done, f), 0);
	assert_string_equal(key(f, "/local/domain/0/backend/qdisk/%u/51760/params", f->domid), "");
	cd.devid = 1;
	assert_int_equal(f->b->ops->change_media(f->b, f->domid, &cd, on_done, f), -ENOENT);
}

static void a_writing_guest_writes_at_its_rate(void **state)
{
	const char *const options[] = {"sim-write-rate", "10000", "sim-write-keys", "7", NULL};
	struct fixture *f = *state;
	uint64_t before;

	given_running(f, options);
	before = xn_xs_store_generation(xn_xenstore_embedded(xn_xenstore_of(&f->core)));
	run_ms(f, 1000);
	assert_in_range(xn_xs_store_generation(xn_xenstore_embedded(xn_xenstore_of(&f->core))) -
				before,
			9800, 10200);
	assert_string_not_equal(key(f, "/local/domain/%u/attr/sim/6", f->domid), "-");
	assert_string_equal(key(f, "/local/domain/%u/attr/sim/7", f->domid), "-");
}

/* ---- save and restore ---- */

static int image_file(struct fixture *f, int flags)
{
	char *path = xn_asprintf("%s/image", f->folder);
	int fd = open(path, flags, 0600);

	if (!(flags & O_CREAT))
		unlink(path);
	free(path);
	assert_true(fd >= 0);
	return fd;
}

static void memory_survives_save_and_restore(void **state)
{
	struct fixture *f = *state;
	struct xn_value *config = config_of(UUID "1", NULL);
	int64_t counter;

	given_running(f, NULL);
	run_ms(f, 5000);
	f->rc = 1;
	assert_int_equal(f->b->ops->save(f->b, f->domid, image_file(f, O_WRONLY | O_CREAT), false,
					 on_done, f),
			 0);
	run_ms(f, 1000);
	assert_int_equal(f->rc, 0);
	assert_int_equal(info(f)->shutdown_code, XN_SHUTDOWN_SUSPEND);
	counter = xn_sim_guest_counter(f->b, f->domid);
	assert_true(counter >= 5000);
	destroy(f);
	f->rc = 1;
	assert_int_equal(f->b->ops->restore(f->b, config, image_file(f, O_RDONLY), on_created, f),
			 0);
	xn_value_unref(config);
	run_ms(f, 1000);
	assert_int_equal(f->rc, 0);
	assert_true(info(f)->paused);
	plug_all(f);
	run_ms(f, 20);
	f->b->ops->unpause(f->b, f->domid, on_done, f);
	run_ms(f, 100);
	assert_string_equal(key(f, "/local/domain/%u/device/vif/0/state", f->domid), "4");
	assert_in_range(xn_sim_guest_counter(f->b, f->domid), counter + 90, counter + 110);
}

static void a_checkpoint_goes_on(void **state)
{
	struct fixture *f = *state;

	given_running(f, NULL);
	assert_int_equal(f->b->ops->save(f->b, f->domid, image_file(f, O_WRONLY | O_CREAT), true,
					 on_done, f),
			 0);
	run_ms(f, 1000);
	assert_int_equal(f->rc, 0);
	assert_false(info(f)->shut_down);
	ask(f, XN_SHUTDOWN_POWEROFF);
	run_ms(f, 100);
	assert_true(info(f)->shut_down);
	close(image_file(f, O_RDONLY));
}

static void saving_a_guest_that_refuses_times_out(void **state)
{
	const char *const options[] = {"sim-shutdown", "refuse", NULL};
	struct fixture *f = *state;

	given_running(f, options);
	f->rc = 1;
	assert_int_equal(f->b->ops->save(f->b, f->domid, image_file(f, O_WRONLY | O_CREAT), false,
					 on_done, f),
			 0);
	run_ms(f, 31000);
	assert_int_equal(f->rc, -ETIMEDOUT);
	close(image_file(f, O_RDONLY));
}

static void a_saved_guest_can_go_on_instead(void **state)
{
	struct fixture *f = *state;
	int64_t counter;

	given_running(f, NULL);
	run_ms(f, 1000);
	assert_int_equal(f->b->ops->save(f->b, f->domid, image_file(f, O_WRONLY | O_CREAT), false,
					 on_done, f),
			 0);
	run_ms(f, 1000);
	assert_true(info(f)->shut_down);
	counter = xn_sim_guest_counter(f->b, f->domid);
	f->rc = 1;
	assert_int_equal(f->b->ops->resume(f->b, f->domid, on_done, f), 0);
	run_ms(f, 1000);
	assert_int_equal(f->rc, 0);
	assert_false(info(f)->shut_down);
	assert_true(xn_sim_guest_counter(f->b, f->domid) > counter + 900);
	assert_int_equal(f->b->ops->resume(f->b, f->domid, on_done, f), 0); /* it runs: fine */
	run_ms(f, 10);
	assert_int_equal(f->rc, 0);
	close(image_file(f, O_RDONLY));
}

static void what_goes_on_gives_up_its_save(struct fixture *f, const char *const *options,
					   int64_t after_ms)
{
	given_running(f, options);
	f->rc = 1;
	assert_int_equal(f->b->ops->save(f->b, f->domid, image_file(f, O_WRONLY | O_CREAT), false,
					 on_done, f),
			 0);
	run_ms(f, after_ms);
	assert_int_equal(f->rc, 1);
	assert_int_equal(f->b->ops->resume(f->b, f->domid, NULL, NULL), 0);
	run_ms(f, 100000);
	assert_int_equal(f->rc, -ECANCELED);
	assert_false(info(f)->shut_down);
	close(image_file(f, O_RDONLY));
	destroy(f);
}

static void a_save_is_given_up_at_any_moment(void **state)
{
	const char *const slow[] = {"sim-save-ms", "1000", NULL};
	const char *const hung[] = {"sim-save", "hang", NULL};
	const char *const deaf[] = {"sim-suspend-ms", "100", NULL};

	for (int64_t ms = 10; ms < 1000; ms += 90)
		what_goes_on_gives_up_its_save(*state, slow, ms);
	what_goes_on_gives_up_its_save(*state, hung, 50000);
	what_goes_on_gives_up_its_save(*state, deaf, 50); /* asked, and about to obey */
}

static void a_save_that_fails_leaves_the_guest_suspended(void **state)
{
	const char *const options[] = {"sim-save", "fail", "sim-save-ms", "100", NULL};
	struct fixture *f = *state;
	struct xn_value *config = config_of(UUID "1", NULL);

	given_running(f, options);
	assert_int_equal(f->b->ops->save(f->b, f->domid, image_file(f, O_WRONLY | O_CREAT), false,
					 on_done, f),
			 0);
	run_ms(f, 1000);
	assert_int_equal(f->rc, -EIO);
	assert_true(info(f)->shut_down);
	destroy(f);
	f->rc = 1; /* and what it wrote is no image */
	assert_int_equal(f->b->ops->restore(f->b, config, image_file(f, O_RDONLY), on_created, f),
			 0);
	xn_value_unref(config);
	run_ms(f, 1000);
	assert_int_equal(f->rc, -EINVAL);
}

static void a_core_dump_leaves_the_guest_as_it_was(void **state)
{
	struct fixture *f = *state;
	int64_t counter;
	char magic[8] = "";
	int fd;

	given_running(f, NULL);
	counter = xn_sim_guest_counter(f->b, f->domid);
	assert_int_equal(f->b->ops->core_dump(f->b, f->domid,
					      image_file(f, O_WRONLY | O_CREAT), on_done, f),
			 0);
	run_ms(f, 1000);
	assert_int_equal(f->rc, 0);
	assert_true(xn_sim_guest_counter(f->b, f->domid) > counter + 800);
	fd = image_file(f, O_RDONLY);
	assert_int_equal(read(fd, magic, 7), 7);
	assert_string_equal(magic, "XNSIMC1");
	close(fd);
}

/* ---- the world outlives the daemon ---- */

static void restart(struct fixture *f)
{
	end(f);
	begin(f);
}

static void a_running_guest_runs_on_after_a_restart(void **state)
{
	struct fixture *f = *state;

	given_running(f, NULL);
	assert_int_equal(xn_xs_conn_write_string(f->dom0, 0, "/other/key", "kept"), 0);
	restart(f);
	assert_non_null(info(f));
	assert_int_equal(info(f)->domid, f->domid);
	assert_false(info(f)->paused);
	assert_string_equal(key(f, "/local/domain/%u/data/updated", f->domid), "1");
	assert_string_equal(key(f, "/other/key"), "kept");
	ask(f, XN_SHUTDOWN_POWEROFF);
	run_ms(f, 20);
	assert_true(info(f)->shut_down);
	destroy(f);
	assert_nothing_left(f);
	restart(f);
	assert_nothing_left(f);
}

static void whatever_was_going_on_goes_on(void **state)
{
	const char *const options[] = {"sim-boot-ms", "1000", "sim-shutdown-ms", "1000", NULL};
	struct fixture *f = *state;
	uint32_t first;

	given_running(f, options); /* and booting */
	restart(f);
	run_ms(f, 1100);
	assert_string_equal(key(f, "/local/domain/%u/device/vif/0/state", f->domid), "4");
	ask(f, XN_SHUTDOWN_POWEROFF);
	run_ms(f, 10);
	restart(f);
	assert_false(info(f)->shut_down);
	run_ms(f, 1100);
	assert_true(info(f)->shut_down);
	restart(f);
	assert_true(info(f)->shut_down);
	assert_int_equal(info(f)->shutdown_code, XN_SHUTDOWN_POWEROFF);
	first = f->domid;
	destroy(f);
	assert_int_equal(create(f, UUID "2", NULL), 0);
	run_ms(f, 10);
	assert_int_equal(f->domid, first + 1); /* no domid comes again soon */
}

static void a_half_made_domain_is_found_and_can_be_destroyed(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(create(f, UUID "1", NULL), 0);
	xn_loop_turn(f->core.loop, 0);
	restart(f);
	run_ms(f, 1000);
	assert_non_null(info(f));
	f->domid = info(f)->domid;
	destroy(f);
	assert_nothing_left(f);
}

static void a_half_made_domain_goes_on_dying_after_a_restart(void **state)
{
	const char *const options[] = {"sim-build", "hang", "sim-destroy-ms", "100", NULL};
	struct fixture *f = *state;

	assert_int_equal(create(f, UUID "1", options), 0);
	xn_loop_turn(f->core.loop, 0);
	assert_int_equal(f->b->ops->destroy(f->b, info(f)->domid, NULL, NULL), 0);
	xn_loop_turn(f->core.loop, 0);
	restart(f);
	run_ms(f, 1000);
	assert_nothing_left(f);
}

static void half_a_record_at_the_end_is_left_out(void **state)
{
	struct fixture *f = *state;
	char *path = xn_asprintf("%s/sim.world", f->folder);

	given_running(f, NULL);
	end(f);
	for (int cut = 0; cut < 400; cut++) { /* each time a little more is missing */
		int fd = open(path, O_RDWR);
		off_t size = lseek(fd, 0, SEEK_END);

		assert_true(size > 300);
		assert_int_equal(ftruncate(fd, size - 1 - cut % 17), 0);
		close(fd);
		begin(f);
		end(f);
		if (cut % 50 == 0 && access(path, F_OK) < 0)
			fail();
	}
	begin(f);
	free(path);
}

static off_t world_size(struct fixture *f)
{
	char *path = xn_asprintf("%s/sim.world", f->folder);
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	free(path);
	return st.st_size;
}

static void a_long_history_is_shortened_while_the_world_goes_on(void **state)
{
	const char *const options[] = {"sim-write-rate", "1000", "sim-write-keys", "1500", NULL};
	struct fixture *f = *state;
	off_t largest = 0;

	given_running(f, options);
	for (int i = 0; i < 260; i++) {
		run_ms(f, 1000);
		if (world_size(f) > largest)
			largest = world_size(f);
	}
	assert_in_range(largest, 4000000,
			5 << 20); /* the history allowed, and was there a shorter one */
	assert_true(world_size(f) < largest);
	restart(f);
	assert_string_not_equal(key(f, "/local/domain/%u/attr/sim/1499", f->domid), "-");
	ask(f, XN_SHUTDOWN_POWEROFF);
	run_ms(f, 50);
	assert_true(info(f)->shut_down);
}

static void a_full_disk_is_survived_and_made_good(void **state)
{
	struct fixture *f = *state;
	struct rlimit old, tight;

	given_running(f, NULL);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	tight = old;
	tight.rlim_cur = (rlim_t)world_size(f) + 1000; /* half of what follows still fits */
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
	for (int i = 0; i < 100; i++) {
		assert_int_equal(xn_xs_conn_writef(f->dom0, 0, "/full/key", "%099d", i), 0);
		run_ms(f, 1);
	}
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(xn_xs_conn_write_string(f->dom0, 0, "/space/again", "1"), 0);
	run_ms(f, 1);
	restart(f);
	assert_string_equal(key(f, "/full/key") + 97, "99");
	assert_string_equal(key(f, "/space/again"), "1");
	assert_non_null(info(f));
}

/* The domain that a caller is told of, and that it runs, are there for the next daemon, too. */
static void what_the_disk_does_not_take_is_no_success(void **state)
{
	struct fixture *f = *state;
	struct rlimit old, tight;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	tight = old;
	tight.rlim_cur = (rlim_t)world_size(f);
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
	assert_int_equal(create(f, UUID "1", NULL), 0);
	run_ms(f, 20);
	assert_int_equal(f->rc, -EFBIG);
	assert_nothing_left(f);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(create(f, UUID "1", NULL), 0);
	run_ms(f, 20);
	assert_int_equal(f->rc, 0);
	tight.rlim_cur = (rlim_t)world_size(f);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
	assert_int_equal(f->b->ops->unpause(f->b, f->domid, on_done, f), -EFBIG);
	assert_true(info(f)->paused);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(f->b->ops->unpause(f->b, f->domid, on_done, f), 0);
	run_ms(f, 20);
	restart(f);
	assert_false(info(f)->paused);
}

/* ---- any calls in any order ---- */

enum { N_CALLS = 300, N_VMS = 4 };

struct asked {
	unsigned answers, expected;
};

struct chaos {
	struct fixture f;
	uint64_t random;
	struct asked calls[N_CALLS];
};

static unsigned pick(struct chaos *c, unsigned n)
{
	c->random = c->random * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(c->random >> 33) % n;
}

static void on_answer(int rc, void *arg)
{
	struct asked *asked = arg;

	asked->answers++;
}

static void on_answer_created(int rc, uint32_t domid, void *arg)
{
	on_answer(rc, arg);
}

static int create_some(struct chaos *c, struct asked *asked)
{
	static const char *const keys[] = {
		"sim-build", "sim-boot",   "sim-plug",    "sim-connect",  "sim-unplug",
		"sim-agent", "sim-jitter", "sim-balloon", "sim-shutdown", "sim-tick-ms"};
	static const char *const values[] = {"ok",     "hang",  "fail", "crash",
					     "refuse", "never", "none", "9"};
	const char *options[9] = {NULL};
	struct xn_value *config;
	char uuid[40];
	int rc;

	for (unsigned i = 0; i < 8; i += 2) {
		options[i] = keys[pick(c, XN_ARRAY_SIZE(keys))];
		options[i + 1] = values[pick(c, XN_ARRAY_SIZE(values))];
	}
	snprintf(uuid, sizeof(uuid), UUID "%u", pick(c, N_VMS));
	config = config_of(uuid, options);
	rc = c->f.b->ops->create(c->f.b, config, on_answer_created, asked);
	xn_value_unref(config);
	return rc;
}

static int call_some(struct chaos *c, struct asked *asked)
{
	const struct xn_backend_ops *ops = c->f.b->ops;
	struct xn_backend *b = c->f.b;
	struct xn_disk_config disk = {
		.vdev = "xvda", .devid = 51712 + 16 * (int)pick(c, 3), .path = "/i"};
	struct xn_nic_config nic = {.devid = (int)pick(c, 2), .mac = "02:00:00:00:00:01"};
	uint32_t domid = 1 + pick(c, 20);
	bool force = pick(c, 3) == 0;

	switch (pick(c, 13)) {
	case 0:
		return ops->destroy(b, domid, on_answer, asked);
	case 1:
		return ops->pause(b, domid, on_answer, asked);
	case 2:
	case 3:
		return ops->unpause(b, domid, on_answer, asked);
	case 4:
		return ops->plug_disk(b, domid, &disk, on_answer, asked);
	case 5:
		return ops->unplug_disk(b, domid, disk.devid, force, on_answer, asked);
	case 6:
		return ops->plug_nic(b, domid, &nic, on_answer, asked);
	case 7:
		return ops->unplug_nic(b, domid, nic.devid, force, on_answer, asked);
	case 8:
		return ops->shutdown(b, domid, (enum xn_domain_shutdown)pick(c, 4), on_answer,
				     asked);
	case 9:
		return ops->set_memory(b, domid, (uint64_t)(1 + pick(c, 600)) << 20, on_answer,
				       asked);
	case 10:
		return ops->set_vcpus(b, domid, 1 + pick(c, 3), on_answer, asked);
	case 11:
		return ops->save(b, domid, open("/dev/null", O_WRONLY), pick(c, 2), on_answer,
				 asked);
	default:
		return create_some(c, asked);
	}
}

static void destroy_all(struct chaos *c)
{
	const struct xn_domain_info *infos;
	size_t n;

	infos = c->f.b->ops->list(c->f.b, &n);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(c->f.b->ops->destroy(c->f.b, infos[i].domid, NULL, NULL), 0);
	run_ms(&c->f, 100);
	c->f.domid = 1;
	assert_nothing_left(&c->f);
}

static void run_chaos(uint64_t seed, bool with_restarts)
{
	struct chaos *c = xn_calloc(1, sizeof(*c));
	char name[] = "/dev/shm/test_sim_XXXXXX";
	void *f = &c->f;

	c->random = seed;
	c->f.folder = xn_strdup(mkdtemp(name));
	begin(f);
	for (unsigned i = 0; i < N_CALLS; i++) {
		c->calls[i].expected = call_some(c, &c->calls[i]) == 0;
		run_ms(f, pick(c, 8));
		if (with_restarts && !pick(c, 40)) {
			run_ms(f, 1);
			restart(f);
		}
	}
	destroy_all(c);
	run_ms(f, 40000); /* saves that the guest never acknowledged */
	for (unsigned i = 0; i < N_CALLS && !with_restarts; i++)
		if (c->calls[i].answers != c->calls[i].expected)
			fail_msg("seed %llu: call %u was answered %u times",
				 (unsigned long long)seed, i, c->calls[i].answers);
	if (with_restarts)
		restart(f);
	assert_nothing_left(f);
	end(f);
	remove_folder(f);
	free(c);
}

static void each_call_is_answered_once_and_nothing_is_left(void **state)
{
	for (uint64_t seed = 1; seed <= 200; seed++)
		run_chaos(seed, false);
}

static void the_same_with_restarts(void **state)
{
	for (uint64_t seed = 1; seed <= 100; seed++)
		run_chaos(seed, true);
}

static void the_same_seed_gives_the_same_world(void **state)
{
	const char *const options[] = {"sim-jitter", "100", "sim-poweroff-after-ms", "1000", NULL};
	int64_t seen[2];

	for (int i = 0; i < 2; i++) {
		struct fixture *f = NULL;
		void *s;

		set_up(&s);
		f = s;
		given_running(f, options);
		while (!info(f)->shut_down)
			run_ms(f, 1);
		seen[i] = xn_now_us(f->core.loop);
		tear_down(&s);
	}
	assert_int_equal(seen[0], seen[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define TF(name) cmocka_unit_test_setup_teardown(name, set_up_with_folder, tear_down)
		T(a_created_domain_is_paused_and_has_its_keys),
		T(an_unpaused_guest_boots_connects_and_reports),
		T(a_guest_without_agent_reports_nothing),
		T(a_failed_build_leaves_nothing),
		T(a_hung_build_ends_when_its_domain_is_destroyed),
		T(memory_is_counted),
		T(memory_follows_its_target),
		T(processors_come_and_go),
		T(a_paused_guest_stands_still),
		T(an_obedient_guest_acknowledges_and_goes),
		T(a_guest_asked_while_booting_obeys_when_it_is_up),
		T(refusing_hanging_and_crashing_guests),
		T(the_world_is_told_of_comings_and_goings),
		T(a_connected_device_is_let_go),
		T(a_guest_may_refuse_to_let_go),
		T(a_hung_unplug_ends_when_the_guest_dies),
		T(plugging_may_fail_or_hang),
		T(media_are_changed),
		T(a_writing_guest_writes_at_its_rate),
		TF(memory_survives_save_and_restore),
		TF(a_saved_guest_can_go_on_instead),
		TF(a_save_is_given_up_at_any_moment),
		TF(a_save_that_fails_leaves_the_guest_suspended),
		TF(a_core_dump_leaves_the_guest_as_it_was),
		TF(a_checkpoint_goes_on),
		TF(saving_a_guest_that_refuses_times_out),
		TF(a_running_guest_runs_on_after_a_restart),
		TF(whatever_was_going_on_goes_on),
		TF(a_half_made_domain_is_found_and_can_be_destroyed),
		TF(a_half_made_domain_goes_on_dying_after_a_restart),
		TF(a_long_history_is_shortened_while_the_world_goes_on),
		TF(a_full_disk_is_survived_and_made_good),
		TF(what_the_disk_does_not_take_is_no_success),
		cmocka_unit_test(each_call_is_answered_once_and_nothing_is_left),
		cmocka_unit_test(the_same_with_restarts),
		TF(half_a_record_at_the_end_is_left_out),
		cmocka_unit_test(the_same_seed_gives_the_same_world),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
