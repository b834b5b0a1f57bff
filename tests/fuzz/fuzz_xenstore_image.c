/* Images of the store: no bytes break the loader, and what was loaded is dumped and loaded the
 * same. */
#include <assert.h>
#include <stdlib.h>

#include "modules/xenstore/store/store.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void dump(struct xn_xs_store *store, struct xn_buf *out)
{
	char *cursor = xn_calloc(1, XN_XS_PATH_MAX + 1);
	bool has_more = xn_xs_store_dump(store, cursor, 1000000, XN_XS_BY_DOMID, out);

	assert(!has_more);
	free(cursor);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct xn_buf first XN_CLEANUP(xn_buf_clear_p) = {0};
	struct xn_buf again XN_CLEANUP(xn_buf_clear_p) = {0};
	struct xn_xs_store *store = xn_xs_store_new(NULL, NULL), *other;
	int rc;

	(void)xn_xs_store_load(store, data, size); /* what was right before the error stays */
	dump(store, &first);
	other = xn_xs_store_new(NULL, NULL);
	rc = first.len ? xn_xs_store_load(other, first.data, first.len) : 0;
	assert(rc == 0);
	dump(other, &again);
	assert(first.len == again.len &&
	       (!first.len || !memcmp(first.data, again.data, first.len)));
	xn_xs_store_free(store);
	xn_xs_store_free(other);
	return 0;
}
