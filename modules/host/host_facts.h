/*
 * What the machine says about itself: processors, memory, kernel, name, firmware strings. Read from
 * /proc and /sys, knows no rows. The virtual loop gets fixed facts, so that a seed decides
 * everything.
 */
#ifndef XN_HOST_FACTS_H
#define XN_HOST_FACTS_H

#include "core/base.h"

struct xn_cpu_facts {
	int number;
	int mhz;
};

enum { XN_BIOS_STRINGS = 16 };

struct xn_host_facts {
	char hostname[65], kernel[66], timezone[64];
	int64_t boot_time;                  /* seconds since the epoch */
	uint64_t memory_total, memory_free; /* bytes */

	/* All processors are taken to be of the first one's kind. */
	char vendor[32], model_name[128], stepping[16];
	int family, model;
	char *flags;               /* blank separated, as the kernel prints them; owned */
	char features[96];         /* hex words joined by '-' */
	struct xn_cpu_facts *cpus; /* owned */
	unsigned n_cpus, sockets, threads_per_core, nodes;
	bool virtualisation, iommu;

	struct xn_bios_string {
		const char *key; /* static */
		char value[96];
	} bios[XN_BIOS_STRINGS];
	unsigned n_bios;
};

/* Some small files; may be called on the loop at start-up. What cannot be read stays empty or 1. */
void xn_host_facts_read(struct xn_host_facts *facts);
void xn_host_facts_fixed(struct xn_host_facts *facts);
void xn_host_facts_clear(struct xn_host_facts *facts);

/* The parsers, for tests. @text is terminated. */
void xn_host_facts_parse_cpuinfo(struct xn_host_facts *facts, const char *text);
void xn_host_facts_parse_meminfo(struct xn_host_facts *facts, const char *text);

/* MemFree and what can be reclaimed, bytes; 0 when unknown. One small file. */
uint64_t xn_host_facts_memory_free(void);

#endif
