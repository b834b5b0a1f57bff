/* Messages of the thin CLI protocol, against bytes seen on the wire between the field's two ends. */
#include "tests/unit/cmocka_all.h"

#include <errno.h>
#include <stdlib.h>

#include "rpc/xe/protocol.h"

enum { MAX = 65536 };

static struct xe_bytes bytes(const char *text)
{
	return (struct xe_bytes){text, strlen(text)};
}

/* "0e 00 ..." */
static void from_hex(struct xn_buf *out, const char *hex)
{
	for (char *end; *hex; hex = end + strspn(end, " "))
		xn_buf_add_char(out, (char)strtoul(hex, &end, 16));
}

static const struct sample {
	const char *hex;
	struct xe_message message;
} samples[] = {
	{"0e 00 00 00  09 00 00 00  00 00 00 00  02 00 00 00  68 69",
	 {.kind = XE_COMMAND, .tag = XE_PRINT, .text = {"hi", 2}}},
	{"0c 00 00 00  09 00 00 00  04 00 00 00  00 00 00 00", {.kind = XE_COMMAND, .tag = XE_EXIT}},
	{"0c 00 00 00  09 00 00 00  04 00 00 00  ff ff ff ff",
	 {.kind = XE_COMMAND, .tag = XE_EXIT, .number = -1}},
	{"16 00 00 00  09 00 00 00  10 00 00 00  0a 00 00 00  62 61 64 20 74 68 69 6e 67 0a",
	 {.kind = XE_COMMAND, .tag = XE_PRINT_STDERR, .text = {"bad thing\n", 10}}},
	{"2c 00 00 00  09 00 00 00  0e 00 00 00  12 00 00 00 "
	 "56 4d 5f 42 41 44 5f 50 4f 57 45 52 5f 53 54 41 54 45 "
	 "02 00 00 00  01 00 00 00 61  01 00 00 00 62",
	 {.kind = XE_COMMAND,
	  .tag = XE_ERROR,
	  .text = {"VM_BAD_POWER_STATE", 18},
	  .params = {{"a", 1}, {"b", 1}},
	  .n_params = 2}},
	{"08 00 00 00  09 00 00 00  03 00 00 00", {.kind = XE_COMMAND, .tag = XE_PROMPT}},
	{"1d 00 00 00  09 00 00 00  0c 00 00 00  02 00 00 00 6f 32 "
	 "0b 00 00 00 2f 65 78 70 6f 72 74 3f 78 3d 31",
	 {.kind = XE_COMMAND, .tag = XE_HTTP_GET, .text = {"o2", 2}, .url = {"/export?x=1", 11}}},
	{"20 00 00 00  09 00 00 00  0d 00 00 00  05 00 00 00 66 2e 62 69 6e "
	 "0b 00 00 00 2f 69 6d 70 6f 72 74 3f 78 3d 31",
	 {.kind = XE_COMMAND, .tag = XE_HTTP_PUT, .text = {"f.bin", 5}, .url = {"/import?x=1", 11}}},
	{"0d 00 00 00  09 00 00 00  01 00 00 00  01 00 00 00 66",
	 {.kind = XE_COMMAND, .tag = XE_LOAD, .text = {"f", 1}}},
	{"0d 00 00 00  09 00 00 00  0f 00 00 00  01 00 00 00 64",
	 {.kind = XE_COMMAND, .tag = XE_DEBUG, .text = {"d", 1}}},
	{"0d 00 00 00  09 00 00 00  11 00 00 00  01 00 00 00 75",
	 {.kind = XE_COMMAND, .tag = XE_HTTP_CONNECT, .url = {"u", 1}}},
	{"08 00 00 00  0a 00 00 00  05 00 00 00", {.kind = XE_RESPONSE, .tag = XE_OK}},
	{"08 00 00 00  0a 00 00 00  06 00 00 00", {.kind = XE_RESPONSE, .tag = XE_FAILED}},
	{"08 00 00 00  0a 00 00 00  12 00 00 00", {.kind = XE_RESPONSE, .tag = XE_WAIT}},
	{"0c 00 00 00  0b 00 00 00  07 00 00 00  05 00 00 00",
	 {.kind = XE_BLOB, .tag = XE_CHUNK, .number = 5}},
	{"08 00 00 00  0b 00 00 00  08 00 00 00", {.kind = XE_BLOB, .tag = XE_END}},
	/* between a daemon and a client of ours only */
	{"12 00 00 00  09 00 00 00  e8 03 00 00  f4 01 00 00  02 00 00 00 75 70",
	 {.kind = XE_COMMAND, .tag = XE_PROGRESS, .number = 500, .text = {"up", 2}}},
	{"0c 00 00 00  09 00 00 00  e9 03 00 00  00 00 00 00",
	 {.kind = XE_COMMAND, .tag = XE_INTERRUPTIBLE, .text = {"", 0}}},
	{"08 00 00 00  0a 00 00 00  ea 03 00 00", {.kind = XE_RESPONSE, .tag = XE_INTERRUPT}},
};

static void assert_same(struct xe_bytes a, struct xe_bytes b)
{
	assert_int_equal(a.len, b.len);
	if (a.len)
		assert_memory_equal(a.data, b.data, a.len);
}

static void assert_same_message(const struct xe_message *a, const struct xe_message *b)
{
	assert_int_equal(a->kind, b->kind);
	assert_int_equal(a->tag, b->tag);
	assert_int_equal(a->number, b->number);
	assert_same(a->text, b->text);
	assert_same(a->url, b->url);
	assert_int_equal(a->n_params, b->n_params);
	for (unsigned i = 0; i < a->n_params; i++)
		assert_same(a->params[i], b->params[i]);
}

static void each_message_is_written_as_the_bytes_seen(void **state)
{
	for (size_t i = 0; i < XN_ARRAY_SIZE(samples); i++) {
		XN_CLEANUP(xn_buf_clear_p) struct xn_buf seen = {0}, written = {0};

		from_hex(&seen, samples[i].hex);
		xe_message_write(&written, &samples[i].message);
		assert_int_equal(written.len, seen.len);
		assert_memory_equal(written.data, seen.data, seen.len);
	}
}

static void each_message_is_read_when_its_last_byte_is_there(void **state)
{
	for (size_t i = 0; i < XN_ARRAY_SIZE(samples); i++) {
		XN_CLEANUP(xn_buf_clear_p) struct xn_buf seen = {0};
		struct xe_message message;
		size_t size;

		from_hex(&seen, samples[i].hex);
		size = seen.len;
		for (size_t len = 0; len < size; len++)
			assert_int_equal(xe_message_read(seen.data, len, MAX, &message), 0);
		xn_buf_add_string(&seen, "next"); /* is left alone */
		assert_int_equal(xe_message_read(seen.data, seen.len, MAX, &message), size);
		assert_same_message(&message, &samples[i].message);
	}
}

static ssize_t read_hex(const char *hex)
{
	XN_CLEANUP(xn_buf_clear_p) struct xn_buf seen = {0};
	struct xe_message message;

	from_hex(&seen, hex);
	return xe_message_read(seen.data, seen.len, MAX, &message);
}

static void what_is_not_well_formed_is_refused(void **state)
{
	static const char *const broken[] = {
		"07 00 00 00",							 /* no room for a tag */
		"00 00 00 00",
		"ff ff ff ff",							 /* below 0 */
		"01 00 01 00",							 /* over the limit */
		"08 00 00 00  08 00 00 00  05 00 00 00",			 /* no such kind */
		"08 00 00 00  0a 00 00 00  07 00 00 00",			 /* tag of another kind */
		"08 00 00 00  09 00 00 00  02 00 00 00",			 /* not in use */
		"08 00 00 00  0b 00 00 00  07 00 00 00",			 /* no number */
		"0c 00 00 00  0b 00 00 00  07 00 00 00  ff ff ff ff",		 /* below 0 */
		"0c 00 00 00  0b 00 00 00  07 00 00 00  00 00 00 80",
		"0b 00 00 00  09 00 00 00  04 00 00 00  00 00 00",		 /* half a number */
		"09 00 00 00  0a 00 00 00  05 00 00 00  00",			 /* a byte too many */
		"0d 00 00 00  09 00 00 00  00 00 00 00  02 00 00 00  68",	 /* longer than its frame */
		"0e 00 00 00  09 00 00 00  00 00 00 00  01 00 00 00  68 69",	 /* shorter */
		"0c 00 00 00  09 00 00 00  00 00 00 00  ff ff ff ff",
		"10 00 00 00  09 00 00 00  0e 00 00 00  00 00 00 00  01 00 00 00", /* one is missing */
		"10 00 00 00  09 00 00 00  0e 00 00 00  00 00 00 00  ff ff ff 7f",
	};

	for (size_t i = 0; i < XN_ARRAY_SIZE(broken); i++)
		if (read_hex(broken[i]) != -EPROTO)
			fail_msg("%s is taken", broken[i]);
}

static void an_error_has_so_many_parameters_at_most(void **state)
{
	XN_CLEANUP(xn_buf_clear_p) struct xn_buf out = {0};
	struct xe_message message = {.kind = XE_COMMAND, .tag = XE_ERROR, .text = bytes("X")}, got;

	message.n_params = XE_MAX_PARAMS;
	for (unsigned i = 0; i < XE_MAX_PARAMS; i++)
		message.params[i] = bytes("");
	xe_message_write(&out, &message);
	assert_int_equal(xe_message_read(out.data, out.len, MAX, &got), out.len);
	assert_same_message(&got, &message);

	out.data[0] += 4; /* one more, of no bytes */
	out.data[17]++;
	from_hex(&out, "00 00 00 00");
	assert_int_equal(xe_message_read(out.data, out.len, MAX, &got), -EPROTO);
}

static void both_ends_begin_with_the_same_bytes(void **state)
{
	XN_CLEANUP(xn_buf_clear_p) struct xn_buf seen = {0}, written = {0};
	int minor = -1;

	from_hex(&seen, "58 65 6e 53 6f 75 72 63 65 20 74 68 69 6e 20 43 4c 49 20 70 72 6f 74 6f "
			"63 6f 6c 00 00 00 00 02 00 00 00");
	assert_int_equal(seen.len, XE_HELLO_LEN);
	xe_hello_write(&written);
	assert_int_equal(written.len, seen.len);
	assert_memory_equal(written.data, seen.data, seen.len);

	assert_int_equal(xe_hello_read(NULL, 0, &minor), 0);
	for (size_t len = 1; len < seen.len; len++)
		assert_int_equal(xe_hello_read(seen.data, len, &minor), 0);
	assert_int_equal(xe_hello_read(seen.data, seen.len, &minor), XE_HELLO_LEN);
	assert_int_equal(minor, 2);
}

static void another_protocol_or_version_is_told_apart(void **state)
{
	char hello[XE_HELLO_LEN] = XE_MAGIC "\0\0\0\0\1\0\0";
	int minor;

	assert_int_equal(xe_hello_read("XenSourcE", 9, &minor), -EPROTO);
	assert_int_equal(xe_hello_read("H", 1, &minor), -EPROTO);
	assert_int_equal(xe_hello_read(hello, sizeof(hello), &minor), XE_HELLO_LEN);
	assert_int_equal(minor, 1);
	hello[XE_MAGIC_LEN] = 1;
	assert_int_equal(xe_hello_read(hello, sizeof(hello), &minor), -EPROTONOSUPPORT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_message_is_written_as_the_bytes_seen),
		cmocka_unit_test(each_message_is_read_when_its_last_byte_is_there),
		cmocka_unit_test(what_is_not_well_formed_is_refused),
		cmocka_unit_test(an_error_has_so_many_parameters_at_most),
		cmocka_unit_test(both_ends_begin_with_the_same_bytes),
		cmocka_unit_test(another_protocol_or_version_is_told_apart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
