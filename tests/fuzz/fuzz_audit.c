/* Lines of the audit log: the reader takes any bytes, and takes for whole only what fits its hash. */
#include <assert.h>

#include "modules/audit/line.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A line that the reader took, written again from what it says, is the same up to its members. */
static void write_again(const char *text, const struct audit_line *line)
{
	struct audit_head head = {.seq = line->seq - 1};
	struct xn_buf again XN_CLEANUP(xn_buf_clear_p) = {0};
	const char *from;

	memcpy(head.hash, line->prev, sizeof(head.hash));
	audit_line_begin(&again, &head, 0, line->event);
	from = memchr(again.data, ',', again.len);
	assert(memcmp(again.data, text, (size_t)(from - again.data)) == 0); /* its number */
	assert(again.data[again.len - 1] == '"');
}

/* What audit_line_end() closes is always read back whole, whatever members it has. */
static void read_own(const uint8_t *data, size_t size)
{
	struct audit_head head = {0};
	struct xn_buf text XN_CLEANUP(xn_buf_clear_p) = {0};
	struct audit_line line;

	audit_line_begin(&text, &head, 1, "call");
	xn_buf_add(&text, data, size);
	audit_line_end(&text, &head);
	if (memchr(data, '\n', size) || text.len > AUDIT_LINE_MAX)
		return;
	assert(audit_line_read(text.data, text.len - 1, &line) == 0);
	assert(line.is_whole && strcmp(line.hash, head.hash) == 0 && line.seq == 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct audit_line line;

	if (audit_line_read((const char *)data, size, &line) == 0) {
		assert(line.seq > 0 && strlen(line.hash) == XN_SHA256_HEX - 1);
		write_again((const char *)data, &line);
	}
	if (size < 4096)
		read_own(data, size);
	return 0;
}
