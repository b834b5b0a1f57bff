/* An archive of a VM that somebody uploads: no bytes break what reads it, nothing is written beyond a
 * disk, and it does not matter in which pieces they come. */
#include <assert.h>
#include <stdlib.h>

#include "core/value.h"
#include "modules/transfer/xva_reader.h"
#include "rpc/rpc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct sums {
	uint64_t written; /* of places and bytes */
	int rc;
	size_t used;
};

static int note(const struct xn_xva_disk *disk, int64_t at, const void *bytes, size_t len)
{
	struct sums *sums = disk->arg;
	const unsigned char *p = bytes;

	assert(at >= 0 && (int64_t)len <= disk->size && at <= disk->size - (int64_t)len);
	for (size_t i = 0; i < len; i++)
		sums->written = sums->written * 31 + p[i];
	sums->written = sums->written * 31 + (uint64_t)at;
	return 0;
}

static void look_at_ova(struct xn_xva *xva)
{
	struct xn_buf ova = xn_xva_take_ova(xva), why = {0};

	xn_value_unref(xn_rpc_read_value(ova.data ? ova.data : "", ova.len, &why));
	xn_buf_clear(&ova);
	xn_buf_clear(&why);
}

static struct sums read_in_pieces(const char *data, size_t size, size_t piece)
{
	struct sums sums = {.rc = XN_XVA_MORE};
	const struct xn_xva_disk disks[] = {{"Ref:1", 3000, note, &sums},
					    {"Ref:2", 2100000, note, &sums}};
	struct xn_xva *xva = xn_xva_new(false);

	while (sums.rc == XN_XVA_OVA || (sums.rc == XN_XVA_MORE && sums.used < size)) {
		size_t left = size - sums.used, used;

		sums.rc = xn_xva_take(xva, data + sums.used, left < piece ? left : piece, &used);
		sums.used += used;
		assert(sums.rc != XN_XVA_MORE || used || !left);
		if (sums.rc == XN_XVA_OVA) {
			look_at_ova(xva);
			xn_xva_set_disks(xva, disks, XN_ARRAY_SIZE(disks));
		}
	}
	xn_xva_free(xva);
	return sums;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sums once = read_in_pieces((const char *)data, size, size ? size : 1);
	struct sums again = read_in_pieces((const char *)data, size, 1000);

	assert(once.rc < 0 || once.rc == again.rc);
	assert(once.rc < 0 || once.written == again.written);
	return 0;
}
