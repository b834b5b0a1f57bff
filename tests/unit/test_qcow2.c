/* QEMU images: the bytes of an empty one, growing, and what is refused. QEMU itself reads them in the
 * tests on a real Xen host. */
#include "tests/unit/cmocka_all.h"

#include "modules/storage/qcow2.h"
#include "modules/storage/qcow2_read.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

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

static void an_image_grows_and_shrinks_only_when_that_is_meant(void **state)
{
	int fd = given_image(GIB);

	assert_int_equal(xn_qcow2_grow(fd, 3 * GIB), 0);
	assert_true(size_of(fd) == 3 * GIB);
	assert_int_equal(xn_qcow2_grow(fd, 2 * GIB), -EINVAL);
	assert_int_equal(xn_qcow2_grow(fd, 4096 * GIB), 0);
	assert_int_equal(xn_qcow2_grow(fd, 4096 * GIB + 4096), -EFBIG);
	assert_true(size_of(fd) == 4096 * GIB);
	assert_int_equal(xn_qcow2_shrink(fd, 4096 * GIB + 4096), -EINVAL);
	assert_int_equal(xn_qcow2_shrink(fd, -4096), -EINVAL);
	assert_int_equal(xn_qcow2_shrink(fd, GIB), 0);
	assert_true(size_of(fd) == GIB);
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

/* ---- content ---- */

enum { CLUSTER = 65536, FIRST_TABLE = 3, TABLE = 8, DATA = 9, PACKED = 10 };
static const uint64_t copied = (uint64_t)1 << 63, packed = (uint64_t)1 << 62;

/* An image whose first clusters are looked up in one table, which is empty. */
static int given_image_with_a_table(void)
{
	int fd = given_image(GIB);

	assert_int_equal(ftruncate(fd, 16 * CLUSTER), 0);
	write_be(fd, FIRST_TABLE * CLUSTER, 8, TABLE * CLUSTER | copied);
	return fd;
}

static void set_entry(int fd, unsigned i, uint64_t entry)
{
	write_be(fd, TABLE * CLUSTER + 8 * i, 8, entry);
}

static void fill(int fd, off_t at, char with)
{
	char bytes[CLUSTER];

	memset(bytes, with, sizeof(bytes));
	assert_int_equal(pwrite(fd, bytes, sizeof(bytes), at), sizeof(bytes));
}

/* How a cluster full of @with looks when it is compressed; its entry. */
static uint64_t add_packed(int fd, unsigned compression, char with)
{
	char bytes[CLUSTER], small[CLUSTER];
	z_stream z = {.next_in = (Bytef *)bytes, .avail_in = CLUSTER, .next_out = (Bytef *)small,
		      .avail_out = CLUSTER};
	uint64_t at = PACKED * CLUSTER + 100, sectors;
	size_t len;

	memset(bytes, with, sizeof(bytes));
	if (compression == XN_QCOW2_ZSTD) {
		len = ZSTD_compress(small, sizeof(small), bytes, sizeof(bytes), 1);
	} else {
		assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, -12, 8, Z_DEFAULT_STRATEGY), Z_OK);
		assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
		deflateEnd(&z);
		len = z.total_out;
	}
	assert_int_equal(pwrite(fd, small, len, (off_t)at), len);
	sectors = (at % 512 + len + 511) / 512;
	return packed | (sectors - 1) << (62 - 8) | at;
}

static void set_features(int fd, uint64_t incompatible, uint8_t compression)
{
	write_be(fd, 72, 8, incompatible);
	write_be(fd, 100, 4, 112);
	write_be(fd, 104, 1, compression);
}

static struct xn_qcow2 *opened(int fd)
{
	struct xn_qcow2 *image = NULL;

	assert_int_equal(xn_qcow2_open(fd, &image), 0);
	return image;
}

/* All @len bytes from @at on are @with. */
static void assert_content(struct xn_qcow2 *image, int64_t at, size_t len, char with)
{
	char *bytes = malloc(len);

	memset(bytes, with + 1, len);
	assert_int_equal(xn_qcow2_read(image, at, bytes, len), 0);
	for (size_t i = 0; i < len; i++)
		if (bytes[i] != with)
			fail_msg("byte %zu is %d", i, bytes[i]);
	free(bytes);
}

static int64_t next_data(struct xn_qcow2 *image, int64_t from)
{
	int64_t at = -1;

	assert_int_equal(xn_qcow2_next_data(image, from, &at), 0);
	return at;
}

static void an_empty_image_is_zeros(void **state)
{
	int fd = given_image(GIB);
	struct xn_qcow2 *image = opened(fd);

	assert_true(xn_qcow2_disk_size(image) == GIB);
	assert_content(image, 12345, 200000, 0);
	assert_true(next_data(image, 0) == GIB);
	xn_qcow2_close(image);
	close(fd);
}

static void clusters_are_found_by_both_tables(void **state)
{
	int fd = given_image_with_a_table();
	struct xn_qcow2 *image;

	fill(fd, DATA * CLUSTER, 'd');
	set_entry(fd, 1, DATA * CLUSTER | copied);
	set_entry(fd, 2, DATA * CLUSTER | 1); /* zeros, though it has a place */
	set_entry(fd, 5, add_packed(fd, XN_QCOW2_DEFLATE, 'p'));
	image = opened(fd);
	assert_content(image, 0, CLUSTER, 0);
	assert_content(image, CLUSTER, CLUSTER, 'd');
	assert_content(image, 2 * CLUSTER, 3 * CLUSTER, 0);
	assert_content(image, 5 * CLUSTER + 17, CLUSTER - 17, 'p');
	assert_content(image, 6 * CLUSTER, CLUSTER, 0);
	assert_true(next_data(image, 0) == CLUSTER);
	assert_true(next_data(image, CLUSTER + 5) == CLUSTER + 5);
	assert_true(next_data(image, 2 * CLUSTER) == 5 * CLUSTER);
	assert_true(next_data(image, 6 * CLUSTER) == GIB);
	xn_qcow2_close(image);
	close(fd);
}

static void clusters_may_be_compressed_with_zstd(void **state)
{
	int fd = given_image_with_a_table();
	struct xn_qcow2 *image;

	set_features(fd, 8, XN_QCOW2_ZSTD);
	set_entry(fd, 3, add_packed(fd, XN_QCOW2_ZSTD, 'z'));
	image = opened(fd);
	assert_content(image, 3 * CLUSTER, CLUSTER, 'z');
	xn_qcow2_close(image);
	set_features(fd, 8, 7);
	assert_int_equal(xn_qcow2_open(fd, &image), -EOPNOTSUPP);
	close(fd);
}

static void extended_clusters_have_parts(void **state)
{
	enum { ENTRY = 16, PART = CLUSTER / 32 };
	int fd = given_image_with_a_table();
	struct xn_qcow2 *image;

	set_features(fd, 16, 0);
	fill(fd, DATA * CLUSTER, 'e');
	set_entry(fd, 2 * 4, DATA * CLUSTER | copied);
	set_entry(fd, 2 * 4 + 1, (uint64_t)1 << 3 | (uint64_t)1 << 5 | (uint64_t)1 << (32 + 5));
	image = opened(fd);
	assert_content(image, 4 * CLUSTER, 3 * PART, 0);
	assert_content(image, 4 * CLUSTER + 3 * PART, PART, 'e');
	assert_content(image, 4 * CLUSTER + 4 * PART, CLUSTER - 4 * PART, 0);
	assert_true(next_data(image, 0) == 4 * CLUSTER + 3 * PART);
	assert_true(next_data(image, 4 * CLUSTER + 4 * PART) == GIB);
	xn_qcow2_close(image);
	close(fd);
}

static void a_damaged_image_is_an_error(void **state)
{
	int fd = given_image_with_a_table();
	struct xn_qcow2 *image;
	char bytes[512];

	set_entry(fd, 0, 1000 * CLUSTER | copied); /* behind the file's end */
	set_entry(fd, 1, packed | (uint64_t)5 << 54 | DATA * CLUSTER); /* no stream there */
	write_be(fd, FIRST_TABLE * CLUSTER + 8, 8, (uint64_t)1000 * CLUSTER);
	image = opened(fd);
	assert_int_equal(xn_qcow2_read(image, 0, bytes, sizeof(bytes)), -EIO);
	assert_int_equal(xn_qcow2_read(image, CLUSTER, bytes, sizeof(bytes)), -EIO);
	assert_int_equal(xn_qcow2_read(image, GIB / 2, bytes, sizeof(bytes)), -EIO);
	assert_int_equal(xn_qcow2_read(image, 2 * CLUSTER, bytes, sizeof(bytes)), 0);
	xn_qcow2_close(image);
	write_be(fd, 40, 8, (uint64_t)100 * CLUSTER); /* no room for the first table */
	assert_int_equal(xn_qcow2_open(fd, &image), -EIO);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_image_is_small_and_says_its_size),
		cmocka_unit_test(the_tables_are_where_the_header_says),
		cmocka_unit_test(an_image_grows_and_shrinks_only_when_that_is_meant),
		cmocka_unit_test(a_very_large_image_has_more_tables),
		cmocka_unit_test(an_image_that_needs_another_file_is_refused),
		cmocka_unit_test(what_is_no_image_is_refused),
		cmocka_unit_test(an_empty_image_is_zeros),
		cmocka_unit_test(clusters_are_found_by_both_tables),
		cmocka_unit_test(clusters_may_be_compressed_with_zstd),
		cmocka_unit_test(extended_clusters_have_parts),
		cmocka_unit_test(a_damaged_image_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
