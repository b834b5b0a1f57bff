/* See tar.h. Headers are of the format ustar; readers of the oldest format take them, too. */
#include "modules/transfer/tar.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

struct header { /* numbers: octal digits, ended by NUL or a blank */
	char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], kind;
	char link[100], magic[6], version[2], owner[32], group[32], major[8], minor[8];
	char prefix[155], unused[12];
};
_Static_assert(sizeof(struct header) == XN_TAR_BLOCK, "one block");

/* With the checksum's own bytes as blanks. */
static unsigned checksum_of(const struct header *header)
{
	const unsigned char *bytes = (const unsigned char *)header;
	unsigned sum = 8 * ' ';

	for (size_t i = 0; i < sizeof(*header); i++)
		sum += bytes[i];
	for (size_t i = 0; i < sizeof(header->checksum); i++)
		sum -= (unsigned char)header->checksum[i];
	return sum;
}

void xn_tar_add_header(struct xn_buf *out, const char *name, uint64_t size)
{
	struct header header = {.kind = '0', .magic = "ustar", .version = "00"};

	assert(strlen(name) < sizeof(header.name) && size >> 33 == 0);
	strcpy(header.name, name);
	strcpy(header.mode, "0000400");
	strcpy(header.uid, "0000000");
	strcpy(header.gid, "0000000");
	snprintf(header.size, sizeof(header.size), "%011" PRIo64, size);
	strcpy(header.mtime, "00000000000");
	snprintf(header.checksum, sizeof(header.checksum), "%06o", checksum_of(&header));
	header.checksum[7] = ' ';
	xn_buf_add(out, &header, sizeof(header));
}

static void add_zeros(struct xn_buf *out, size_t len)
{
	memset(xn_buf_reserve(out, len + 1), 0, len);
	out->len += len;
}

void xn_tar_add_padding(struct xn_buf *out, uint64_t size)
{
	add_zeros(out, xn_tar_padding(size));
}

void xn_tar_add_end(struct xn_buf *out)
{
	add_zeros(out, 2 * XN_TAR_BLOCK);
}

/* Blanks before, digits, then NUL, a blank, or the field's end. */
static int read_octal(const char *field, size_t len, uint64_t *out)
{
	size_t i = 0;

	*out = 0;
	while (i < len && field[i] == ' ')
		i++;
	for (; i < len && field[i] >= '0' && field[i] <= '7'; i++) {
		if (*out >> 60)
			return -EBADMSG;
		*out = *out * 8 + (uint64_t)(field[i] - '0');
	}
	return i == len || field[i] == '\0' || field[i] == ' ' ? 0 : -EBADMSG;
}

int xn_tar_read_header(const char block[XN_TAR_BLOCK], struct xn_tar_header *out)
{
	static const char zeros[XN_TAR_BLOCK];
	struct header header;
	uint64_t checksum;

	if (memcmp(block, zeros, sizeof(zeros)) == 0)
		return 0;
	memcpy(&header, block, sizeof(header));
	if (read_octal(header.checksum, sizeof(header.checksum), &checksum) < 0 ||
	    checksum != checksum_of(&header) ||
	    read_octal(header.size, sizeof(header.size), &out->size) < 0)
		return -EBADMSG;
	memcpy(out->name, header.name, sizeof(header.name));
	out->name[sizeof(header.name)] = '\0';
	out->kind = header.kind ? header.kind : '0';
	return 1;
}
