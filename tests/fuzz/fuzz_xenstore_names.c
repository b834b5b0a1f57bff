/* Paths and permissions as xenstore clients send them: what is taken means the same a second time.
 */
#include <assert.h>
#include <stdlib.h>

#include "modules/xenstore/store/store_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_path(const char *text)
{
	struct xn_xs_path first, again;
	const char *at, *name;
	size_t len, n = 0;

	if (xn_xs_path_resolve(&first, 5, text) < 0)
		return;
	assert(first.len == strlen(first.text) && first.len <= XN_XS_PATH_MAX);
	assert(xn_xs_path_resolve(&again, 7, first.text) == 0 && again.text == first.text);
	for (at = first.text; (name = xn_xs_path_next(&at, first.text + first.len, &len));
	     n += len + 1)
		assert(xn_xs_name_is_valid(name, len));
	assert(n == first.len || (first.len == 1 && n == 0));
}

static void check_perms(struct xn_xs_conn *conn, const char *text, size_t len)
{
	struct xn_buf first XN_CLEANUP(xn_buf_clear_p) = {0};
	struct xn_buf again XN_CLEANUP(xn_buf_clear_p) = {0};

	if (xn_xs_conn_set_perms(conn, 0, "/", text, len) < 0)
		return;
	assert(xn_xs_conn_get_perms(conn, 0, "/", &first) == 0);
	assert(xn_xs_conn_set_perms(conn, 0, "/", first.data, first.len) == 0);
	assert(xn_xs_conn_get_perms(conn, 0, "/", &again) == 0);
	assert(first.len == again.len && !memcmp(first.data, again.data, first.len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct xn_xs_store *store = xn_xs_store_new(NULL, NULL);
	struct xn_xs_conn *conn = xn_xs_conn_new(xn_xs_domain_find(store, 0));
	char *text = xn_strndup((const char *)data, size);

	check_path(text);
	check_perms(conn, (const char *)data, size);
	free(text);
	xn_xs_conn_free(conn);
	xn_xs_store_free(store);
	return 0;
}
