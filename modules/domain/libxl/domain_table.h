/*
 * What is known of the hypervisor's domains between two readings of its list. A reading takes a
 * while, and calls end meanwhile: what a call's end told about a domain is newer than a reading that
 * was asked before, and stays.
 */
#ifndef XN_LIBXL_DOMAIN_TABLE_H
#define XN_LIBXL_DOMAIN_TABLE_H

#include "core/hmap.h"
#include "core/list.h"
#include "core/value.h"
#include "modules/domain/backend.h"

struct xn_domain_table { /* all zero bytes: empty */
	struct xn_hmap by_domid, by_uuid;
	struct xn_domain_info *infos; /* what list() gave */
	size_t n_infos;
	uint64_t clock; /* counts readings and changes */
};

void xn_domain_table_clear(struct xn_domain_table *table);
/* The stamp of a reading that is asked for now. */
uint64_t xn_domain_table_ask(struct xn_domain_table *table);
/*
 * xn_domain_table_read - the reading that was asked for at @stamp
 * @list: as a worker child tells it (calls.h): entries that make no sense are left out
 * Return: whether something has changed since it was asked for, so that it wants reading again.
 */
bool xn_domain_table_read(struct xn_domain_table *table, uint64_t stamp,
			  const struct xn_value *list);
/* What the end of a call has told. */
void xn_domain_table_put(struct xn_domain_table *table, const struct xn_domain_info *info);
void xn_domain_table_remove(struct xn_domain_table *table, uint32_t domid);

/* Borrowed until the next change. */
const struct xn_domain_info *xn_domain_table_get(const struct xn_domain_table *table,
						 uint32_t domid);
/* The newest that is not on its way out; or NULL. */
const struct xn_domain_info *xn_domain_table_find(const struct xn_domain_table *table,
						  const char *uuid);
const struct xn_domain_info *xn_domain_table_list(struct xn_domain_table *table, size_t *n_out);

#endif
