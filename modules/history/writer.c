/* Encoded values as text; see writer.h. */
#include "modules/history/writer.h"

#include <errno.h>

static int put_value(struct xn_writer *w, struct xn_cursor *in)
{
	struct xn_token token;
	bool outer;

	if (xn_take_token(in, &token) < 0)
		return -EBADMSG;
	if (token.kind == XN_STRING) {
		xn_writer_put_text(w, (const char *)token.text.data, token.text.len);
	} else if (token.kind == XN_SET) {
		xn_writer_set_begin(w, &outer);
		for (uint64_t i = 0; i < token.n; i++)
			if (put_value(w, in) < 0)
				return -EBADMSG;
		xn_writer_set_end(w, outer);
	} else if (token.kind == XN_MAP) {
		xn_writer_map_begin(w, &outer);
		for (uint64_t i = 0; i < token.n; i++) {
			struct xn_slice key;

			if (xn_take_text(in, &key) < 0 ||
			    !xn_text_is_valid((const char *)key.data, key.len))
				return -EBADMSG;
			xn_writer_key(w, (const char *)key.data, key.len);
			if (put_value(w, in) < 0)
				return -EBADMSG;
		}
		xn_writer_map_end(w, outer);
	} else {
		struct xn_value v = {.kind = token.kind, .i = token.i};

		if (token.kind == XN_FLOAT)
			v.f = token.f;
		xn_writer_put_scalar(w, &v);
	}
	return 0;
}

int history_put_bytes(struct xn_writer *w, const struct xn_slice *value)
{
	struct xn_cursor in = xn_cursor(value->data, value->len), checked = in;

	if (xn_skip_value(&checked) < 0) /* its depth is bounded */
		return -EBADMSG;
	return put_value(w, &in);
}
