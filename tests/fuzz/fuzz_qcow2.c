/* The header of a QEMU image that somebody put into an SR's folder: no bytes break what reads it, and what
 * it accepts can be made larger within its bounds. */
#include <assert.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "modules/storage/qcow2.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int fd = memfd_create("image", MFD_CLOEXEC);
	int64_t found = -1, grown = -1;

	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		abort();
	if (xn_qcow2_size(fd, &found) == 0) {
		assert(found >= 0);
		assert(found == 0 || xn_qcow2_grow(fd, found - 1) < 0);
		if (xn_qcow2_grow(fd, found + 4096) == 0)
			assert(xn_qcow2_size(fd, &grown) == 0 && grown == found + 4096);
	} else {
		assert(xn_qcow2_grow(fd, 1 << 20) < 0);
	}
	close(fd);
	return 0;
}
