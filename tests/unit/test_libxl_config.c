/*
 * What libxl is told about a domain: each file of libxl_config/ holds a configuration map
 * (backend.h) and the libxl JSON that it must become, and libxl's own checks must pass it.
 * XN_WRITE=1 writes what it becomes now into the files, for a reviewer's eyes. No hypervisor is
 * needed: what libxl would ask one is answered here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <jansson.h>

#include "core/json.h"
#include "modules/domain/libxl/config.h"

/* ---- instead of a hypervisor: a host of four CPUs ---- */

xc_interface *xc_interface_open(xentoollog_logger *logger, xentoollog_logger *dombuild,
				unsigned flags)
{
	static char handle;

	return (xc_interface *)&handle;
}

int xc_interface_close(xc_interface *xch)
{
	return 0;
}

int xc_get_max_cpus(xc_interface *xch)
{
	return 4;
}

/* It can do all that a guest may want. */
int xc_physinfo(xc_interface *xch, xc_physinfo_t *info)
{
	*info = (xc_physinfo_t){
		.nr_cpus = 4,
		.total_pages = 1 << 20,
		.capabilities = XEN_SYSCTL_PHYSCAP_hvm | XEN_SYSCTL_PHYSCAP_pv |
				XEN_SYSCTL_PHYSCAP_directio | XEN_SYSCTL_PHYSCAP_hap |
				XEN_SYSCTL_PHYSCAP_shadow,
	};
	return 0;
}

long xc_sharing_freed_pages(xc_interface *xch)
{
	return 0;
}

long xc_sharing_used_frames(xc_interface *xch)
{
	return 0;
}

int xc_maximum_ram_page(xc_interface *xch, unsigned long *max_mfn)
{
	*max_mfn = 1 << 20;
	return 0;
}

int xc_flask_context_to_sid(xc_interface *xch, char *buf, uint32_t size, uint32_t *sid)
{
	*sid = 42;
	return 0;
}

/* Nothing but the name of its only pool of CPUs. */
void *xs_read(struct xs_handle *xs, xs_transaction_t t, const char *path, unsigned int *len)
{
	return strcmp(path, "/local/pool/0/name") == 0 ? strdup("Pool-0") : NULL;
}

struct xs_handle *xs_open(unsigned long flags)
{
	static char handle;

	return (struct xs_handle *)&handle;
}

void xs_close(struct xs_handle *xs)
{
}

/* ---- fixture ---- */

struct fixture {
	struct xn_libxl_child child;
	struct xn_libxl_answer answer;
	libxl_domain_config config;
};

/* libxl's errors become the answer's text, as in the worker. */
static void hear(xentoollog_logger *logger, xentoollog_level level, int errnoval,
		 const char *context, const char *format, va_list args)
{
	struct xn_libxl_child *child = xn_container_of(logger, struct xn_libxl_child, logger);

	if (level >= XTL_ERROR)
		vsnprintf(child->answer->message, sizeof(child->answer->message), format, args);
}

static int set_up(void **state)
{
	struct fixture *f = xn_calloc(1, sizeof(*f));

	f->child.logger.vmessage = hear;
	f->child.answer = &f->answer;
	libxl_domain_config_init(&f->config);
	*state = f;
	return libxl_ctx_alloc(&f->child.ctx, LIBXL_VERSION, 0, &f->child.logger);
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	libxl_domain_config_dispose(&f->config);
	libxl_ctx_free(f->child.ctx);
	free(f);
	return 0;
}

static struct xn_value *map_from(const char *text)
{
	struct xn_value *map = NULL;
	struct xn_buf why XN_CLEANUP(xn_buf_clear_p) = {0};

	if (xn_json_parse(text, strlen(text), &map, &why) < 0)
		fail_msg("%s: %s", text, xn_buf_cstr(&why));
	return map;
}

static int fill(struct fixture *f, const char *text, bool pygrub)
{
	struct xn_value *map XN_CLEANUP(xn_value_unref_p) = map_from(text);

	return xn_libxl_config_fill(&f->child, map, pygrub, &f->config);
}

/* ---- the files ---- */

static json_t *load(const char *path)
{
	json_error_t why;
	json_t *file = json_load_file(path, 0, &why);

	if (!file)
		fail_msg("%s:%d: %s", path, why.line, why.text);
	return file;
}

static json_t *becomes(struct fixture *f, const json_t *file)
{
	char *map = json_dumps(json_object_get(file, "map"), 0), *text;
	json_t *config;

	assert_int_equal(fill(f, map, json_is_true(json_object_get(file, "pygrub"))), 0);
	text = libxl_domain_config_to_json(f->child.ctx, &f->config);
	assert_non_null(text);
	config = json_loads(text, 0, NULL);
	assert_non_null(config);
	free(text);
	free(map);
	return config;
}

/* libxl fills in what was left alone, and finds then what does not go together. */
static void check_takes(struct fixture *f, const char *path)
{
	uint64_t need_kib;

	if (libxl_domain_need_memory(f->child.ctx, &f->config, INVALID_DOMID, &need_kib) != 0)
		fail_msg("%s: %s", path, f->answer.message);
}

static void check_file(const char *path)
{
	struct fixture *f;
	json_t *file = load(path), *config;

	assert_int_equal(set_up((void **)&f), 0);
	config = becomes(f, file);
	check_takes(f, path);
	if (getenv("XN_WRITE")) {
		json_object_set(file, "libxl", config);
		assert_int_equal(json_dump_file(file, path, JSON_INDENT(2)), 0);
	} else if (!json_equal(config, json_object_get(file, "libxl"))) {
		fail_msg("%s: became %s", path, json_dumps(config, JSON_INDENT(2)));
	}
	json_decref(config);
	json_decref(file);
	tear_down((void **)&f);
}

static void each_map_becomes_what_its_file_says(void **state)
{
	DIR *folder = opendir(LIBXL_CONFIG_FOLDER);
	const struct dirent *entry;
	unsigned n = 0;

	assert_non_null(folder);
	while ((entry = readdir(folder))) {
		char path[512];

		if (!strstr(entry->d_name, ".json"))
			continue;
		snprintf(path, sizeof(path), "%s/%s", LIBXL_CONFIG_FOLDER, entry->d_name);
		check_file(path);
		n++;
	}
	closedir(folder);
	assert_true(n >= 12);
}

/* ---- refusals ---- */

#define PV                                                                                         \
	"\"uuid\": \"11111111-2222-3333-4444-555555555555\", \"type\": \"pv\", \"memory\": "       \
	"1048576"
#define HVM                                                                                        \
	"\"uuid\": \"11111111-2222-3333-4444-555555555555\", \"type\": \"hvm\", \"memory\": "      \
	"1048576"

static void what_makes_no_domain_is_refused_and_told(void **state)
{
	static const struct {
		const char *map;
		int rc;
		const char *why;
	} cases[] = {
		{"{" PV "}", -ENOEXEC, "neither a kernel nor a bootloader"},
		{"{" PV ", \"bootloader\": \"pygrub\"}", -ENOEXEC, "pygrub is not enabled"},
		{"{" PV ", \"bootloader\": \"/bin/sh\"}", -ENOEXEC, "no such bootloader"},
		{"{" PV ", \"kernel\": \"k\", \"max_vcpus\": 0}", -EINVAL, "VCPUs"},
		{"{" PV ", \"kernel\": \"k\", \"max_vcpus\": 2, \"vcpus\": 3}", -EINVAL, "VCPUs"},
		{"{" PV ", \"kernel\": \"k\", \"max_memory\": 4096}", -EINVAL, "memory"},
		{"{" PV ", \"kernel\": \"k\", \"vcpu_params\": {\"mask\": \"1-x\"}}", -EINVAL,
		 "mask"},
		{"{" PV ", \"kernel\": \"k\", \"vcpu_params\": {\"mask\": \"4000\"}}", -EINVAL,
		 "mask"},
		{"{" PV ", \"kernel\": \"k\", \"pci\": [\"0000:00:20.0\"]}", -EINVAL, "PCI"},
		{"{" PV ", \"kernel\": \"k\", \"nics\": [{\"devid\": 0, \"mac\": \"x\"}]}", -EINVAL,
		 "interface"},
		{"{" PV ", \"kernel\": \"k\", \"disks\": [{\"vdev\": \"xvda\"}]}", -EINVAL, "disk"},
		{"{" PV ", \"kernel\": \"k\", \"disks\": [{\"vdev\": \"xvda\", \"path\": \"/x\", "
		 "\"format\": \"zip\"}]}",
		 -EINVAL, "disk"},
		{"{" HVM ", \"boot_order\": \"cdx\"}", -EINVAL, "boot order"},
		{"{" HVM ", \"firmware\": \"coreboot\"}", -EINVAL, "firmware"},
		{"{" HVM ", \"platform\": {\"hvm_serial\": \"file:/etc/passwd\"}}", -EINVAL,
		 "port"},
		{"{" HVM ", \"platform\": {\"parallel\": \"/dev/parport0/../mem\"}}", -EINVAL,
		 "port"},
		{"{" HVM ", \"platform\": {\"cores-per-socket\": \"0\"}}", -EINVAL,
		 "cores-per-socket"},
		{"{\"type\": \"pv\"}", -EINVAL, "UUID"},
		{"{\"uuid\": \"11111111-2222-3333-4444-555555555555\", \"type\": \"vax\"}", -EINVAL,
		 "type"},
	};

	for (size_t i = 0; i < XN_ARRAY_SIZE(cases); i++) {
		struct fixture *f;

		assert_int_equal(set_up((void **)&f), 0);
		assert_int_equal(fill(f, cases[i].map, false), cases[i].rc);
		if (!strstr(f->answer.message, cases[i].why))
			fail_msg("%s: %s", cases[i].map, f->answer.message);
		tear_down((void **)&f);
	}
}

static void a_name_becomes_no_path(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(fill(f,
			      "{" PV ", \"kernel\": \"k\", \"name\": \"../../etc/pass wd\\u00e4\"}",
			      false),
			 0);
	assert_string_equal(f->config.c_info.name, "_._.._etc_pass_wd__");
}

static void xenstore_data_reaches_only_its_own_folders(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(
		fill(f,
		     "{" PV ", \"kernel\": \"k\", \"xenstore_data\": {"
		     "\"device/vbd/1\": \"x\", \"vm-data/a\": \"1\", \"vm-data//b\": \"2\"}}",
		     false),
		0);
	assert_int_equal(libxl_key_value_list_length(&f->config.c_info.xsdata), 1);
	assert_string_equal(f->config.c_info.xsdata[0], "vm-data/a");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_map_becomes_what_its_file_says),
		cmocka_unit_test(what_makes_no_domain_is_refused_and_told),
		cmocka_unit_test_setup_teardown(a_name_becomes_no_path, set_up, tear_down),
		cmocka_unit_test_setup_teardown(xenstore_data_reaches_only_its_own_folders, set_up,
						tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
