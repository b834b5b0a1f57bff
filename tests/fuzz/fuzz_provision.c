/* What a client says about a template's disks: no text breaks the parser, and what it accepts is within
 * its bounds. */
#include <assert.h>

#include "modules/domain/copy/provision_disks.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	XN_CLEANUP(xn_value_unref_p) struct xn_value *disks = NULL;
	const char *why = NULL;

	if (xn_provision_disks_parse((const char *)data, size, &disks, &why) < 0) {
		assert(!disks && why && *why);
		return 0;
	}
	assert(xn_set_len(disks) <= XN_PROVISION_MAX_DISKS);
	for (size_t i = 0; i < xn_set_len(disks); i++) {
		const struct xn_value *disk = xn_set_at(disks, i);
		const char *device = xn_map_get_string(disk, "device");

		assert(device && *device && xn_text_is_valid(device, strlen(device)));
		assert(xn_map_get_int(disk, "size", 0) > 0);
		assert(xn_map_get_string(disk, "sr") && xn_map_get_string(disk, "type"));
	}
	return 0;
}
