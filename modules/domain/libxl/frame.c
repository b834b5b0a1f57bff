/* The frames between the daemon and its worker children; see calls.h. */
#include <errno.h>

#include "core/json.h"
#include "modules/domain/libxl/calls.h"

void xn_libxl_frame_add(struct xn_buf *out, const struct xn_value *v)
{
	size_t at = out->len;
	uint32_t len = 0;

	xn_buf_add(out, &len, sizeof(len));
	xn_json_write(v, out);
	len = out->len - at - sizeof(len);
	memcpy(out->data + at, &len, sizeof(len));
}

int xn_libxl_frame_take(struct xn_buf *in, struct xn_value **v_out)
{
	uint32_t len;

	if (in->len < sizeof(len))
		return 0;
	memcpy(&len, in->data, sizeof(len));
	if (len > XN_LIBXL_FRAME_MAX)
		return -EPROTO;
	if (in->len - sizeof(len) < len)
		return 0;
	if (xn_json_parse(in->data + sizeof(len), len, v_out, NULL) < 0)
		return -EPROTO;
	xn_buf_drop(in, sizeof(len) + len);
	return 1;
}
