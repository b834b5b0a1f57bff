/*
 * A backup as it is found in a file: any bytes, and any frames whose checksums are right. It is
 * read to its end or refused in words, and what is told of it lies within it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/crc32c.h"
#include "modules/db/backup.h"
#include "modules/db/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void put_fixed32(struct xn_buf *out, uint32_t n)
{
	for (int i = 0; i < 4; i++)
		xn_buf_add_char(out, (char)(n >> (8 * i)));
}

/* The input as frames: 16 bits length, bytes. */
static void frame_all(const uint8_t *data, size_t size, struct xn_buf *out)
{
	uint64_t number = 0;

	xn_buf_add_string(out, "XNBACKUP");
	while (size > 2) {
		size_t len = data[0] | (size_t)data[1] << 8;
		struct xn_buf head = {0};

		data += 2;
		size -= 2;
		if (len > size || !len)
			len = size;
		xn_put_fixed(&head, number++);
		put_fixed32(out, (uint32_t)len);
		put_fixed32(out, xn_crc32c(xn_crc32c(0, head.data, head.len), data, len));
		xn_buf_add(out, data, len);
		xn_buf_clear(&head);
		data += len;
		size -= len;
	}
}

static volatile unsigned char sink;

static int touch(void *arg, const void *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		sink = (unsigned char)(sink ^ ((const unsigned char *)bytes)[i]);
	*(size_t *)arg += len;
	return 0;
}

static int on_entry(void *arg, unsigned space, const void *key, size_t key_len, const void *value,
		    size_t len)
{
	return touch(arg, key, key_len) + touch(arg, value, len);
}

static void on_head(void *arg, const struct xn_backup_head *head)
{
	if (memchr(head->hypervisor, '\0', sizeof(head->hypervisor)) == NULL ||
	    memchr(head->program, '\0', sizeof(head->program)) == NULL)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct xn_backup_reader reader = {
		.head = on_head, .entry = on_entry, .transaction = touch};
	struct xn_buf bytes = {0};
	size_t told = 0;
	char *why = NULL;
	int fd;

	if (!size)
		return 0;
	if (data[0] & 1)
		frame_all(data + 1, size - 1, &bytes);
	else
		xn_buf_add(&bytes, data + 1, size - 1);
	fd = memfd_create("backup", MFD_CLOEXEC);
	if (fd < 0 || pwrite(fd, bytes.data, bytes.len, 0) != (ssize_t)bytes.len)
		abort();
	if ((xn_backup_read(fd, &reader, &told, &why) < 0) != (why != NULL) || told > bytes.len)
		abort();
	close(fd);
	free(why);
	xn_buf_clear(&bytes);
	return 0;
}
