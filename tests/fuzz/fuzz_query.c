/* Query expressions: no input breaks the parser, and `not (x)` is the opposite of x. */
#include <assert.h>

#include "modules/records/query.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct xn_value *read_field(const void *row, int field)
{
	struct xn_value *v = xn_field_default(&xn_classes[XN_CLASS_VM], (unsigned)field);

	xn_value_unref(v); /* immortal */
	return v;
}

static struct xn_query *parse(const char *text, size_t size)
{
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};
	struct xn_query *query = xn_query_parse(&xn_classes[XN_CLASS_VM], text, size, &err);

	assert(query || (err.n_params == 2 && !strcmp(err.code, XN_ERR_INVALID_VALUE)));
	return query;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct xn_query *query XN_CLEANUP(xn_query_free_p) = parse((const char *)data, size);
	struct xn_query *opposite XN_CLEANUP(xn_query_free_p) = NULL;
	struct xn_buf text XN_CLEANUP(xn_buf_clear_p) = {0};

	if (!query)
		return 0;
	xn_buf_add_string(&text, "not (");
	xn_buf_add(&text, data, size);
	xn_buf_add_string(&text, ")");
	opposite = parse(text.data, text.len); /* NULL: one level or instruction too many */
	if (opposite)
		assert(xn_query_matches(query, read_field, NULL) !=
		       xn_query_matches(opposite, read_field, NULL));
	return 0;
}
