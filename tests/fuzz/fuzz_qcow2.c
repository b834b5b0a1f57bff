/* A QEMU image that somebody put into an SR's folder: no bytes break what reads it, what is accepted can
 * be made larger within its bounds, and its content comes to an end. */
#include <assert.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "modules/storage/qcow2.h"
#include "modules/storage/qcow2_read.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { READS = 64 };

/* From data to data: zeros in between, and what is read twice is the same. */
static void read_content(int fd)
{
	char once[3000], again[3000];
	struct xn_qcow2 *image;
	int64_t at = 0, next = 0, disk_size;

	if (xn_qcow2_open(fd, &image) < 0)
		return;
	disk_size = xn_qcow2_disk_size(image);
	for (int i = 0; i < READS && at < disk_size; i++, at = next + 1 + i * 1000) {
		int64_t left;

		if (xn_qcow2_next_data(image, at, &next) < 0)
			break;
		assert(next >= at && next <= disk_size);
		left = disk_size - next < (int64_t)sizeof(once) ? disk_size - next
								: (int64_t)sizeof(once);
		if (xn_qcow2_read(image, next, once, (size_t)left) == 0) {
			assert(xn_qcow2_read(image, next, again, (size_t)left) == 0);
			assert(memcmp(once, again, (size_t)left) == 0);
		}
	}
	xn_qcow2_close(image);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int fd = memfd_create("image", MFD_CLOEXEC);
	int64_t found = -1, grown = -1;

	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		abort();
	read_content(fd);
	if (xn_qcow2_size(fd, &found) == 0) {
		assert(found >= 0);
		assert(found == 0 || xn_qcow2_grow(fd, found - 1) < 0);
		if (xn_qcow2_grow(fd, found + 4096) == 0)
			assert(xn_qcow2_size(fd, &grown) == 0 && grown == found + 4096);
		assert(xn_qcow2_shrink(fd, found) == 0);
		assert(xn_qcow2_size(fd, &grown) == 0 && grown == found);
		assert(xn_qcow2_shrink(fd, found + 4096) < 0);
	} else {
		assert(xn_qcow2_shrink(fd, 0) < 0);
		assert(xn_qcow2_grow(fd, 1 << 20) < 0);
	}
	close(fd);
	return 0;
}
