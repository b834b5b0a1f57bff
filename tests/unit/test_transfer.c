/* What archives of virtual machines are made of: tar headers, checksums, compression. */
#include "tests/unit/cmocka_all.h"

#include "modules/transfer/pack.h"
#include "modules/transfer/tar.h"
#include "modules/transfer/xxh64.h"

#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

/* Known: what the reference implementation says of the same bytes. */
static void checksums_are_those_of_the_reference_implementation(void **state)
{
	unsigned char bytes[222];
	uint32_t next = 2654435761U;
	static const struct {
		size_t len;
		uint64_t sum;
	} known[] = {
		{0, 0xef46db3751d8e999},  {1, 0x4fce394cc88952d8},   {4, 0x9256e58aa397aef1},
		{14, 0xcffa8db881bc3a3d}, {222, 0x9dd507880debb03d},
	};

	for (size_t i = 0; i < sizeof(bytes); i++) {
		bytes[i] = (unsigned char)(next >> 24);
		next *= next;
	}
	for (size_t i = 0; i < XN_ARRAY_SIZE(known); i++)
		assert_true(xn_xxh64(bytes, known[i].len) == known[i].sum);
	assert_true(xn_xxh64("abc", 3) == 0x44bc2cf5ad770999);
}

static void headers_are_of_the_format_ustar(void **state)
{
	struct xn_buf out = {0};
	unsigned sum = 0;

	xn_tar_add_header(&out, "Ref:7/00000012", 01234567);
	assert_int_equal(out.len, XN_TAR_BLOCK);
	assert_string_equal(out.data, "Ref:7/00000012");
	assert_memory_equal(out.data + 124, "00001234567", 12);
	assert_memory_equal(out.data + 257, "ustar\00000", 8);
	for (size_t i = 0; i < out.len; i++)
		sum += i >= 148 && i < 156 ? ' ' : (unsigned char)out.data[i];
	assert_int_equal(strtoul(out.data + 148, NULL, 8), sum);
	xn_buf_clear(&out);
}

static void files_are_padded_to_whole_blocks(void **state)
{
	struct xn_buf out = {0};

	xn_tar_add_padding(&out, 0);
	xn_tar_add_padding(&out, 1024);
	assert_int_equal(out.len, 0);
	xn_tar_add_padding(&out, 1025);
	assert_int_equal(out.len, 511);
	xn_tar_add_end(&out);
	assert_int_equal(out.len, 511 + 1024);
	xn_buf_clear(&out);
}

enum { SIZE = 300000, PART = 7000 };

static unsigned char *given_bytes(void)
{
	unsigned char *bytes = malloc(SIZE);
	uint32_t next = 1;

	for (size_t i = 0; i < SIZE; i++) {
		next = next * 1103515245 + 12345;
		bytes[i] = (unsigned char)(next >> 20 & 31);
	}
	return bytes;
}

static void pack_in_parts(enum xn_pack_kind kind, const unsigned char *bytes, struct xn_buf *out)
{
	struct xn_pack *pack = xn_pack_new(kind);

	for (size_t at = 0; at < SIZE; at += PART)
		xn_pack_add(pack, bytes + at, SIZE - at < PART ? SIZE - at : PART,
			    at / PART % 10 == 9 ? XN_PACK_FLUSH : XN_PACK_MORE, out);
	xn_pack_add(pack, NULL, 0, XN_PACK_END, out);
	xn_pack_free(pack);
}

static void gzip_gives_the_bytes_again(void **state)
{
	unsigned char *bytes = given_bytes(), *back = malloc(SIZE + 1);
	struct xn_buf out = {0};
	z_stream z = {.next_out = back, .avail_out = SIZE + 1};

	pack_in_parts(XN_PACK_GZIP, bytes, &out);
	assert_true(out.len < SIZE);
	z.next_in = (Bytef *)out.data;
	z.avail_in = (uInt)out.len;
	assert_int_equal(inflateInit2(&z, 15 + 16), Z_OK);
	assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
	assert_int_equal(z.total_out, SIZE);
	assert_int_equal(z.avail_in, 0);
	assert_memory_equal(back, bytes, SIZE);
	inflateEnd(&z);
	xn_buf_clear(&out);
	free(bytes);
	free(back);
}

static void zstd_gives_the_bytes_again(void **state)
{
	unsigned char *bytes = given_bytes(), *back = malloc(SIZE + 1);
	struct xn_buf out = {0};

	pack_in_parts(XN_PACK_ZSTD, bytes, &out);
	assert_true(out.len < SIZE);
	assert_int_equal(ZSTD_decompress(back, SIZE + 1, out.data, out.len), SIZE);
	assert_memory_equal(back, bytes, SIZE);
	xn_buf_clear(&out);
	free(bytes);
	free(back);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(checksums_are_those_of_the_reference_implementation),
		cmocka_unit_test(headers_are_of_the_format_ustar),
		cmocka_unit_test(files_are_padded_to_whole_blocks),
		cmocka_unit_test(gzip_gives_the_bytes_again),
		cmocka_unit_test(zstd_gives_the_bytes_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
