/*
 * Frames of worker children: no bytes break the reader, what it takes is written and read back as
 * the same, and it makes no difference in which pieces the bytes come.
 */
#include <assert.h>
#include <string.h>

#include "modules/domain/libxl/calls.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_frame(const struct xn_value *v)
{
	struct xn_buf once XN_CLEANUP(xn_buf_clear_p) = {0};
	struct xn_buf twice XN_CLEANUP(xn_buf_clear_p) = {0};
	struct xn_buf rest XN_CLEANUP(xn_buf_clear_p) = {0};
	struct xn_value *again;

	xn_libxl_frame_add(&once, v);
	if (once.len > XN_LIBXL_FRAME_MAX)
		return; /* numbers can grow when they are written */
	xn_buf_add(&rest, once.data, once.len);
	assert(xn_libxl_frame_take(&rest, &again) == 1);
	assert(rest.len == 0);
	xn_libxl_frame_add(&twice, again); /* not the values: null is written as an empty string */
	assert(once.len == twice.len && memcmp(once.data, twice.data, once.len) == 0);
	xn_value_unref(again);
}

/* How many frames were taken; *rc_out is what ended it. */
static unsigned take_all(struct xn_buf *in, int *rc_out)
{
	struct xn_value *v;
	unsigned n = 0;

	while ((*rc_out = xn_libxl_frame_take(in, &v)) > 0) {
		check_frame(v);
		xn_value_unref(v);
		n++;
	}
	assert(*rc_out <= 0);
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct xn_buf whole XN_CLEANUP(xn_buf_clear_p) = {0};
	struct xn_buf pieces XN_CLEANUP(xn_buf_clear_p) = {0};
	unsigned n, n_pieces = 0;
	int rc, rc_pieces = 0;

	xn_buf_add(&whole, data, size);
	n = take_all(&whole, &rc);
	for (size_t at = 0; at < size && rc_pieces == 0;) {
		size_t piece = 1 + data[at] % 7;

		if (piece > size - at)
			piece = size - at;
		xn_buf_add(&pieces, data + at, piece);
		n_pieces += take_all(&pieces, &rc_pieces);
		at += piece;
	}
	assert(n == n_pieces && rc == rc_pieces);
	return 0;
}
