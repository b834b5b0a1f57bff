/* Facts about the machine from /proc and /sys; see host_facts.h. */
#include "modules/host/host_facts.h"

#include "core/buf.h"
#include "core/value.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/utsname.h>
#include <unistd.h>
#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#endif

enum { FILE_MAX = 8 << 20 }; /* /proc/cpuinfo of thousands of processors */

/* 0 with the terminated content in @out, or -errno. */
static int read_file(const char *path, struct xn_buf *out)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	for (;;) {
		char *room = xn_buf_reserve(out, 4096);
		ssize_t n = read(fd, room, 4096);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0 || out->len + (size_t)n > FILE_MAX) {
			int rc = n < 0 ? -errno : 0;

			close(fd);
			xn_buf_cstr(out);
			return rc;
		}
		out->len += (size_t)n;
	}
}

/* One line of a small file without its white space; "" when it is absent or not text. */
static void read_line(const char *path, char *out, size_t size)
{
	XN_CLEANUP(xn_buf_clear_p) struct xn_buf buf = {0};
	size_t len;

	out[0] = '\0';
	if (read_file(path, &buf) < 0 || buf.len == 0)
		return;
	len = strcspn(buf.data, "\n");
	while (len > 0 && isspace((unsigned char)buf.data[len - 1]))
		len--;
	if (len >= size || !xn_text_is_valid(buf.data, len))
		return;
	memcpy(out, buf.data, len);
	out[len] = '\0';
}

/* ---- /proc/cpuinfo ---- */

/* If @line is "key : value" with this key, the value; else NULL. */
static const char *value_of(const char *line, const char *key)
{
	size_t len = strlen(key);

	if (strncmp(line, key, len) != 0)
		return NULL;
	line += len;
	line += strspn(line, " \t");
	if (*line != ':')
		return NULL;
	line++;
	return line + strspn(line, " \t");
}

static void copy_line(char *out, size_t size, const char *from)
{
	size_t len = strcspn(from, "\n");

	if (len >= size)
		len = size - 1;
	if (!xn_text_is_valid(from, len))
		len = 0;
	memcpy(out, from, len);
	out[len] = '\0';
}

struct cpuinfo_scan {
	int siblings, cores;
	int packages[64]; /* physical ids seen; more sockets than that count as 64 */
	unsigned n_packages;
};

static void note_package(struct cpuinfo_scan *scan, int id)
{
	for (unsigned i = 0; i < scan->n_packages; i++)
		if (scan->packages[i] == id)
			return;
	if (scan->n_packages < XN_ARRAY_SIZE(scan->packages))
		scan->packages[scan->n_packages++] = id;
}

static void parse_cpuinfo_line(struct xn_host_facts *f, struct cpuinfo_scan *scan, const char *line)
{
	const char *v;
	bool first = f->n_cpus <= 1;

	if ((v = value_of(line, "processor"))) {
		f->cpus = xn_realloc(f->cpus, (f->n_cpus + 1) * sizeof(*f->cpus));
		f->cpus[f->n_cpus++] = (struct xn_cpu_facts){.number = atoi(v)};
	} else if (f->n_cpus && (v = value_of(line, "cpu MHz"))) {
		f->cpus[f->n_cpus - 1].mhz = atoi(v);
	} else if ((v = value_of(line, "physical id"))) {
		note_package(scan, atoi(v));
	} else if (!first) {
		return;
	} else if ((v = value_of(line, "vendor_id"))) {
		copy_line(f->vendor, sizeof(f->vendor), v);
	} else if ((v = value_of(line, "model name"))) {
		copy_line(f->model_name, sizeof(f->model_name), v);
	} else if ((v = value_of(line, "cpu family"))) {
		f->family = atoi(v);
	} else if ((v = value_of(line, "model"))) {
		f->model = atoi(v);
	} else if ((v = value_of(line, "stepping"))) {
		copy_line(f->stepping, sizeof(f->stepping), v);
	} else if ((v = value_of(line, "siblings"))) {
		scan->siblings = atoi(v);
	} else if ((v = value_of(line, "cpu cores"))) {
		scan->cores = atoi(v);
	} else if (!f->flags &&
		   ((v = value_of(line, "flags")) || (v = value_of(line, "Features")))) {
		size_t len = strcspn(v, "\n");

		f->flags = xn_strndup(v, xn_text_is_valid(v, len) ? len : 0);
	}
}

static bool has_word(const char *words, const char *word)
{
	size_t len = strlen(word);

	for (const char *p = words; p && (p = strstr(p, word)); p += len)
		if ((p == words || p[-1] == ' ') && (p[len] == '\0' || p[len] == ' '))
			return true;
	return false;
}

void xn_host_facts_parse_cpuinfo(struct xn_host_facts *f, const char *text)
{
	struct cpuinfo_scan scan = {0};

	for (const char *line = text; *line;) {
		parse_cpuinfo_line(f, &scan, line);
		line += strcspn(line, "\n");
		line += *line == '\n';
	}
	f->sockets = scan.n_packages ? scan.n_packages : 1;
	f->threads_per_core = scan.cores > 0 && scan.siblings >= scan.cores
				      ? (unsigned)(scan.siblings / scan.cores)
				      : 1;
	if (!f->flags)
		f->flags = xn_strdup("");
	f->virtualisation = has_word(f->flags, "vmx") || has_word(f->flags, "svm");
}

/* The feature words in the order that Xen's tools use; those of leaves the processor lacks are 0.
 */
static void read_features(struct xn_host_facts *f)
{
	uint32_t word[8] = {0};
#if defined(__x86_64__) || defined(__i386__)
	uint32_t a = 0, b = 0, c = 0, d = 0;

	if (__get_cpuid(1, &a, &b, &c, &d)) {
		word[0] = d;
		word[1] = c;
	}
	if (__get_cpuid(0x80000001, &a, &b, &c, &d)) {
		word[2] = d;
		word[3] = c;
	}
	if (__get_cpuid_count(0xd, 1, &a, &b, &c, &d))
		word[4] = a;
	if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
		word[5] = b;
		word[6] = c;
	}
	if (__get_cpuid(0x80000007, &a, &b, &c, &d))
		word[7] = d;
#endif
	snprintf(f->features, sizeof(f->features), "%08x-%08x-%08x-%08x-%08x-%08x-%08x-%08x",
		 word[0], word[1], word[2], word[3], word[4], word[5], word[6], word[7]);
}

/* ---- memory, firmware, the rest ---- */

static uint64_t meminfo_bytes(const char *text, const char *key)
{
	size_t len = strlen(key);

	for (const char *line = text; line && *line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, key, len) == 0 && line[len] == ':')
			return strtoull(line + len + 1, NULL, 10) * 1024;
	}
	return 0;
}

void xn_host_facts_parse_meminfo(struct xn_host_facts *f, const char *text)
{
	f->memory_total = meminfo_bytes(text, "MemTotal");
	f->memory_free = meminfo_bytes(text, "MemAvailable");
	if (f->memory_free == 0)
		f->memory_free = meminfo_bytes(text, "MemFree");
}

uint64_t xn_host_facts_memory_free(void)
{
	XN_CLEANUP(xn_buf_clear_p) struct xn_buf buf = {0};
	struct xn_host_facts f = {0};

	if (read_file("/proc/meminfo", &buf) == 0)
		xn_host_facts_parse_meminfo(&f, buf.data);
	return f.memory_free;
}

/* Keys that clients know, and the kernel's file for each; the serial numbers need root. */
static const struct {
	const char *key, *file;
} bios_files[] = {
	{"bios-vendor", "bios_vendor"},
	{"bios-version", "bios_version"},
	{"system-manufacturer", "sys_vendor"},
	{"system-product-name", "product_name"},
	{"system-version", "product_version"},
	{"system-serial-number", "product_serial"},
	{"enclosure-asset-tag", "chassis_asset_tag"},
	{"baseboard-manufacturer", "board_vendor"},
	{"baseboard-product-name", "board_name"},
	{"baseboard-version", "board_version"},
	{"baseboard-serial-number", "board_serial"},
	{"oem-1", NULL},
	{"hp-rombios", NULL},
};
_Static_assert(XN_ARRAY_SIZE(bios_files) <= XN_BIOS_STRINGS, "room for all firmware strings");

static void read_bios(struct xn_host_facts *f)
{
	for (unsigned i = 0; i < XN_ARRAY_SIZE(bios_files); i++) {
		struct xn_bios_string *s = &f->bios[f->n_bios++];
		char path[PATH_MAX];

		s->key = bios_files[i].key;
		if (!bios_files[i].file) {
			/* Guests look here for the name of their hypervisor. */
			snprintf(s->value, sizeof(s->value), "%s",
				 strcmp(s->key, "oem-1") ? "" : "Xen");
			continue;
		}
		snprintf(path, sizeof(path), "/sys/class/dmi/id/%s", bios_files[i].file);
		read_line(path, s->value, sizeof(s->value));
	}
}

static bool folder_has_entries(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	bool found = false;

	if (!dir)
		return false;
	while (!found && (entry = readdir(dir)))
		found = entry->d_name[0] != '.';
	closedir(dir);
	return found;
}

static unsigned count_nodes(void)
{
	unsigned n = 0;
	char path[64];

	do
		snprintf(path, sizeof(path), "/sys/devices/system/node/node%u", n);
	while (access(path, F_OK) == 0 && ++n < 1024);
	return n ? n : 1;
}

static int64_t read_boot_time(void)
{
	XN_CLEANUP(xn_buf_clear_p) struct xn_buf buf = {0};
	const char *line;

	if (read_file("/proc/stat", &buf) < 0)
		return 0;
	line = strstr(buf.data, "\nbtime ");
	return line ? strtoll(line + 7, NULL, 10) : 0;
}

static void read_timezone(struct xn_host_facts *f)
{
	char target[PATH_MAX];
	ssize_t len = readlink("/etc/localtime", target, sizeof(target) - 1);
	const char *name;

	snprintf(f->timezone, sizeof(f->timezone), "UTC");
	if (len <= 0)
		return;
	target[len] = '\0';
	name = strstr(target, "zoneinfo/");
	if (name && strlen(name + 9) < sizeof(f->timezone) && xn_text_is_valid(name, strlen(name)))
		snprintf(f->timezone, sizeof(f->timezone), "%s", name + 9);
}

static void read_uname(struct xn_host_facts *f)
{
	struct utsname name;

	if (uname(&name) < 0)
		return;
	copy_line(f->hostname, sizeof(f->hostname), name.nodename);
	copy_line(f->kernel, sizeof(f->kernel), name.release);
}

static void fill_gaps(struct xn_host_facts *f)
{
	if (!f->hostname[0])
		snprintf(f->hostname, sizeof(f->hostname), "localhost");
	if (!f->vendor[0])
		snprintf(f->vendor, sizeof(f->vendor), "unknown");
	if (!f->model_name[0])
		snprintf(f->model_name, sizeof(f->model_name), "unknown");
	if (!f->stepping[0])
		snprintf(f->stepping, sizeof(f->stepping), "0");
	if (f->n_cpus == 0) {
		f->cpus = xn_calloc(1, sizeof(*f->cpus));
		f->n_cpus = 1;
	}
}

void xn_host_facts_read(struct xn_host_facts *f)
{
	XN_CLEANUP(xn_buf_clear_p) struct xn_buf cpuinfo = {0};
	XN_CLEANUP(xn_buf_clear_p) struct xn_buf meminfo = {0};

	*f = (struct xn_host_facts){0};
	xn_host_facts_parse_cpuinfo(f,
				    read_file("/proc/cpuinfo", &cpuinfo) < 0 ? "" : cpuinfo.data);
	if (read_file("/proc/meminfo", &meminfo) == 0)
		xn_host_facts_parse_meminfo(f, meminfo.data);
	read_uname(f);
	read_features(f);
	read_bios(f);
	read_timezone(f);
	f->boot_time = read_boot_time();
	f->nodes = count_nodes();
	f->iommu = folder_has_entries("/sys/class/iommu");
	fill_gaps(f);
}

void xn_host_facts_fixed(struct xn_host_facts *f)
{
	*f = (struct xn_host_facts){
		.hostname = "simulated",
		.kernel = "6.1.0",
		.timezone = "UTC",
		.memory_total = 64ull << 30,
		.memory_free = 60ull << 30,
		.vendor = "GenuineIntel",
		.model_name = "Simulated processor",
		.stepping = "1",
		.family = 6,
		.model = 85,
		.features =
			"1fcbfbff-f7fa3223-2d93fbff-00000123-0000000f-219c0ba9-00400004-00000100",
		.n_cpus = 8,
		.sockets = 1,
		.threads_per_core = 2,
		.nodes = 1,
		.virtualisation = true,
	};
	f->flags = xn_strdup("fpu tsc msr pae cx8 apic sse sse2 ht syscall nx lm vmx");
	f->cpus = xn_calloc(f->n_cpus, sizeof(*f->cpus));
	for (unsigned i = 0; i < f->n_cpus; i++)
		f->cpus[i] = (struct xn_cpu_facts){.number = (int)i, .mhz = 2600};
	for (unsigned i = 0; i < XN_ARRAY_SIZE(bios_files); i++)
		f->bios[f->n_bios++].key = bios_files[i].key;
}

void xn_host_facts_clear(struct xn_host_facts *f)
{
	free(f->flags);
	free(f->cpus);
	*f = (struct xn_host_facts){0};
}
