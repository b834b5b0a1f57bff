/* What the kernel tells of this process. Counting descriptors takes a while, so a worker does it. */
#include <dirent.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "modules/metrics/metrics_internal.h"

static int64_t us_of(struct timeval tv)
{
	return (int64_t)tv.tv_sec * 1000000 + tv.tv_usec;
}

static int64_t count_entries(const char *path)
{
	DIR *dir = opendir(path);
	const struct dirent *entry;
	int64_t n = 0;

	if (!dir)
		return 0;
	while ((entry = readdir(dir)))
		n += entry->d_name[0] != '.';
	closedir(dir);
	return n;
}

static void read_memory(struct process_numbers *out)
{
	long long pages = 0, resident = 0, page_bytes = sysconf(_SC_PAGESIZE);
	FILE *file = fopen("/proc/self/statm", "re");

	if (file && fscanf(file, "%lld %lld", &pages, &resident) == 2) {
		out->virtual_bytes = pages * page_bytes;
		out->resident_bytes = resident * page_bytes;
	}
	if (file)
		fclose(file);
}

void process_numbers_read(struct process_numbers *out)
{
	struct rusage usage;
	struct rlimit limit;

	*out = (struct process_numbers){0};
	read_memory(out);
	if (getrusage(RUSAGE_SELF, &usage) == 0)
		out->cpu_us = us_of(usage.ru_utime) + us_of(usage.ru_stime);
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
		out->max_files = limit.rlim_cur == RLIM_INFINITY ? -1 : (int64_t)limit.rlim_cur;
	out->open_files = count_entries("/proc/self/fd") - 1; /* but for the one that looks */
	out->threads = count_entries("/proc/self/task");
}
