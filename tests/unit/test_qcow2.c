/* QEMU images: the bytes of an empty one, growing, and what is refused. QEMU itself reads them in the
 * tests on a real Xen host. */
#include "tests/unit/cmocka_all.h"

#include "modules/storage/qcow2.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const int64_t GIB = 1 << 30;

static int given_image(int64_t size)
{
	int fd = memfd_create("image", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(xn_qcow2_make(fd, size), 0);
	return fd;
}

static int64_t size_of(int fd)
{
	int64_t size = -1;

	assert_int_equal(xn_qcow2_size(fd, &size), 0);
	return size;
}

static uint64_t read_be(int fd, off_t at, size_t len)
{
	uint8_t bytes[8] = {0};
	uint64_t value;

	assert_int_equal(pread(fd, bytes + 8 - len, len, at), len);
	memcpy(&value, bytes, 8);
	return be64toh(value);
}

static void write_be(int fd, off_t at, size_t len, uint64_t value)
{
	uint64_t big = htobe64(value);

	assert_int_equal(pwrite(fd, (uint8_t *)&big + 8 - len, len, at), len);
}

static void an_empty_image_is_small_and_says_its_size(void **state)
{
	int fd = given_image(10 * GIB);
	struct stat st;

	assert_true(size_of(fd) == 10 * GIB);
	assert_int_equal(fstat(fd, &st), 0);
	assert_true(st.st_size == 4 * 65536);
	close(fd);
}

/* Where the format has it: an image that only we could read would be none. */
static void the_tables_are_where_the_header_says(void **state)
{
	int fd = given_image(10 * GIB);

	assert_int_equal(read_be(fd, 0, 4), 0x514649fb);
	assert_int_equal(read_be(fd, 4, 4), 3);
	assert_int_equal(read_be(fd, 8, 8), 0);	  /* backing file */
	assert_int_equal(read_be(fd, 20, 4), 16); /* cluster bits */
	assert_int_equal(read_be(fd, 36, 4), 8192);
	assert_int_equal(read_be(fd, 40, 8), 3 * 65536); /* first-level table */
	assert_int_equal(read_be(fd, 48, 8), 65536);	 /* reference counts */
	assert_int_equal(read_be(fd, 56, 4), 1);
	assert_int_equal(read_be(fd, 96, 4), 4); /* of 16 bits */
	assert_int_equal(read_be(fd, 100, 4), 104);
	assert_int_equal(read_be(fd, 65536, 8), 2 * 65536);
	for (int cluster = 0; cluster < 4; cluster++)
		assert_int_equal(read_be(fd, 2 * 65536 + 2 * cluster, 2), 1);
	assert_int_equal(read_be(fd, 2 * 65536 + 8, 2), 0);
	assert_int_equal(read_be(fd, 3 * 65536, 8), 0);
	close(fd);
}

static void an_image_grows_and_does_not_shrink(void **state)
{
	int fd = given_image(GIB);

	assert_int_equal(xn_qcow2_grow(fd, 3 * GIB), 0);
	assert_true(size_of(fd) == 3 * GIB);
	assert_int_equal(xn_qcow2_grow(fd, 2 * GIB), -EINVAL);
	assert_int_equal(xn_qcow2_grow(fd, 4096 * GIB), 0);
	assert_int_equal(xn_qcow2_grow(fd, 4096 * GIB + 4096), -EFBIG);
	assert_true(size_of(fd) == 4096 * GIB);
	close(fd);
}

static void a_very_large_image_has_more_tables(void **state)
{
	int fd = given_image(16384 * GIB);

	assert_int_equal(read_be(fd, 36, 4), 4 * 8192);
	for (int cluster = 0; cluster < 7; cluster++)
		assert_int_equal(read_be(fd, 2 * 65536 + 2 * cluster, 2), 1);
	close(fd);
	fd = memfd_create("image", MFD_CLOEXEC);
	assert_int_equal(xn_qcow2_make(fd, INT64_MAX), -EFBIG);
	close(fd);
}

static void an_image_that_needs_another_file_is_refused(void **state)
{
	static const struct {
		off_t at;
		size_t len;
		uint64_t value;
	} cases[] = {
		{8, 8, 4096},		/* backing file */
		{16, 4, 20},		/* the length of its name alone */
		{72, 8, 4},		/* external data */
		{72, 8, 2},		/* says that it is corrupt */
		{72, 8, 1ull << 40},	/* something newer */
		{32, 4, 1},		/* encrypted */
		{20, 4, 63},		/* clusters of no sense */
		{24, 8, 1ull << 63},	/* size */
		{4, 4, 1},		/* version */
	};

	for (size_t i = 0; i < XN_ARRAY_SIZE(cases); i++) {
		int fd = given_image(GIB);
		int64_t size;

		write_be(fd, cases[i].at, cases[i].len, cases[i].value);
		assert_int_equal(xn_qcow2_size(fd, &size), -EINVAL);
		assert_int_equal(xn_qcow2_grow(fd, 2 * GIB), -EINVAL);
		close(fd);
	}
}

static void what_is_no_image_is_refused(void **state)
{
	int fd = memfd_create("image", MFD_CLOEXEC);
	int64_t size;

	assert_int_equal(xn_qcow2_size(fd, &size), -EINVAL);
	assert_int_equal(ftruncate(fd, 1 << 20), 0);
	assert_int_equal(xn_qcow2_size(fd, &size), -EINVAL);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_image_is_small_and_says_its_size),
		cmocka_unit_test(the_tables_are_where_the_header_says),
		cmocka_unit_test(an_image_grows_and_does_not_shrink),
		cmocka_unit_test(a_very_large_image_has_more_tables),
		cmocka_unit_test(an_image_that_needs_another_file_is_refused),
		cmocka_unit_test(what_is_no_image_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
