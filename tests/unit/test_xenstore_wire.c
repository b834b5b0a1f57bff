/* Frames of the xenstore protocol, and what the client does with frames that no test daemon sends:
 * pieces, floods, replies that are too long, nonsense. */
#include "tests/unit/cmocka_all.h"

#include "modules/xenstore/client/wire_client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- frames ---- */

static void what_is_added_is_read_again_in_whatever_pieces(void **state)
{
	static struct xn_xs_reader reader;
	const struct xn_xs_part parts[] = {{"/a/b", 5}, {"value", 5}};
	struct xn_buf out = {0};
	struct xn_xs_frame frame;
	size_t room, at = 0, len;

	assert_int_equal(xn_xs_frame_add(&out, XN_XS_WIRE_WRITE, 7, 9, parts, 2), 0);
	for (size_t i = 0; i < out.len; i++) {
		assert_int_equal(xn_xs_reader_next(&reader, &frame), 0);
		*xn_xs_reader_room(&reader, &room) = out.data[i];
		assert_true(room > 0);
		xn_xs_reader_added(&reader, 1);
	}
	assert_int_equal(xn_xs_reader_next(&reader, &frame), 1);
	assert_int_equal(frame.type, XN_XS_WIRE_WRITE);
	assert_int_equal(frame.request, 7);
	assert_int_equal(frame.transaction, 9);
	assert_string_equal(xn_xs_frame_string(&frame, &at, &len), "/a/b");
	assert_memory_equal(xn_xs_frame_string(&frame, &at, &len), "value", len);
	assert_int_equal(len, 5);
	assert_null(xn_xs_frame_string(&frame, &at, &len));
	assert_int_equal(xn_xs_reader_next(&reader, &frame), 0);
	xn_buf_clear(&out);
}

static void a_body_that_is_too_long_is_not_sent(void **state)
{
	char body[XN_XS_BODY_MAX + 1] = "";
	const struct xn_xs_part parts[] = {{body, XN_XS_BODY_MAX}, {body, 1}};
	struct xn_buf out = {0};

	assert_int_equal(xn_xs_frame_add(&out, XN_XS_WIRE_WRITE, 1, 0, parts, 2), -E2BIG);
	assert_int_equal(out.len, 0);
	assert_int_equal(xn_xs_frame_add(&out, XN_XS_WIRE_WRITE, 1, 0, parts, 1), 0);
	xn_buf_clear(&out);
}

static void errors_travel_by_name(void **state)
{
	assert_int_equal(xn_xs_error_parse("ENOENT", 6), -ENOENT);
	assert_int_equal(xn_xs_error_parse("ENOENTX", 7), -EIO);
	assert_int_equal(xn_xs_error_parse("", 0), -EIO);
	assert_string_equal(xn_xs_error_name(-EAGAIN), "EAGAIN");
	assert_string_equal(xn_xs_error_name(-12345), "EIO");
}

/* ---- a client without a connection ---- */

struct fixture {
	struct xn_core core;
	struct xn_xenstore *xs;
	struct xn_buf sent, heard;
	struct xn_xs_reader reader; /* of what it sent */
};

static int set_up(void **state)
{
	struct fixture *f = xn_calloc(1, sizeof(*f));
	struct xn_error err = {0};

	f->core.loop = xn_loop_new_virtual(1);
	f->core.log = xn_log_new(XN_LOG_ERROR, false, -1);
	f->core.config = xn_config_new();
	xn_config_decide(f->core.config, "xenstore", "system");
	assert_int_equal(xn_xenstore_module.init(&f->core, (void **)&f->xs, &err), 0);
	xn_xs_wire_detach(f->xs, &f->sent);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	xn_xenstore_module.stop(f->xs);
	xn_config_free(f->core.config);
	xn_log_free(f->core.log);
	xn_loop_free(f->core.loop);
	xn_buf_clear(&f->sent);
	xn_buf_clear(&f->heard);
	free(f);
	return 0;
}

static void settle(struct fixture *f)
{
	while (xn_loop_turn(f->core.loop, 0))
		;
}

/* The next frame that the client sent; false: none. */
static bool take_sent(struct fixture *f, struct xn_xs_frame *out)
{
	size_t room;
	char *to = xn_xs_reader_room(&f->reader, &room);

	settle(f);
	room = room < f->sent.len ? room : f->sent.len;
	memcpy(to, f->sent.data, room);
	xn_xs_reader_added(&f->reader, room);
	xn_buf_drop(&f->sent, room);
	return xn_xs_reader_next(&f->reader, out) > 0;
}

static void reply(struct fixture *f, uint32_t type, uint32_t request, const char *body, size_t len)
{
	struct xn_buf out = {0};
	const struct xn_xs_part part = {body, len};

	assert_int_equal(xn_xs_frame_add(&out, type, request, 0, &part, 1), 0);
	xn_xs_wire_input(f->xs, out.data, out.len);
	xn_buf_clear(&out);
}

static void on_fired(const char *path, void *arg)
{
	struct fixture *f = arg;

	xn_buf_printf(&f->heard, "fired:%s ", path);
}

static void on_snapshot(int rc, const struct xn_xs_snapshot *snap, void *arg)
{
	struct fixture *f = arg;
	size_t n;

	if (rc < 0) {
		xn_buf_printf(&f->heard, "failed:%d ", rc);
		return;
	}
	(void)xn_xs_list(snap, "/a", &n);
	xn_buf_printf(&f->heard, "%s:%zu%s ", xn_xs_get(snap, "/a"), n,
		      xn_xs_is_cut(snap) ? ":cut" : "");
}

static void read_a(struct fixture *f, unsigned depth)
{
	static const char *const root[] = {"/a"};

	xn_xs_snapshot(f->xs, root, 1, depth, 100000, on_snapshot, f);
}

static void assert_heard(struct fixture *f, const char *expected)
{
	settle(f);
	assert_string_equal(xn_buf_cstr(&f->heard), expected);
	f->heard.len = 0;
}

static void events_that_wait_are_one_for_a_path_and_few_for_a_watch(void **state)
{
	struct fixture *f = *state;
	struct xn_xs_watch *watch = xn_xs_watch(f->xs, "/a", on_fired, f);
	struct xn_xs_frame frame;
	char body[32];

	assert_true(take_sent(f, &frame));
	assert_int_equal(frame.type, XN_XS_WIRE_WATCH);
	assert_memory_equal(frame.body, "/a\0" "1", 5);
	reply(f, XN_XS_WIRE_WATCH, frame.request, "OK", 3);
	for (int i = 0; i < 1000; i++)
		reply(f, XN_XS_WIRE_WATCH_EVENT, 0, "/a/b\0" "1", 7);
	assert_heard(f, "fired:/a/b ");
	for (int i = 0; i < 1000; i++) {
		int len = snprintf(body, sizeof(body), "/a/%d%c1", i, 0);

		reply(f, XN_XS_WIRE_WATCH_EVENT, 0, body, (size_t)len + 1);
	}
	assert_heard(f, "fired:/a ");
	reply(f, XN_XS_WIRE_WATCH_EVENT, 0, "/a/b\0" "1", 7);
	xn_xs_unwatch(watch);
	assert_heard(f, "");
	reply(f, XN_XS_WIRE_WATCH_EVENT, 0, "/a/b\0" "1", 7); /* it crossed our request */
	assert_heard(f, "");
	assert_true(take_sent(f, &frame));
	assert_int_equal(frame.type, XN_XS_WIRE_UNWATCH);
}

static void a_reply_longer_than_a_reply_may_be_fails_its_request_only(void **state)
{
	struct fixture *f = *state;
	struct xn_xs_frame frame;
	uint32_t header[4] = {XN_XS_WIRE_READ, 0, 0, 100000};
	char *body = xn_calloc(1, 100000);

	read_a(f, 0);
	assert_true(take_sent(f, &frame));
	header[1] = frame.request;
	xn_xs_wire_input(f->xs, header, sizeof(header));
	xn_xs_wire_input(f->xs, body, 100000);
	free(body);
	assert_heard(f, "(null):0 ");
	read_a(f, 0);
	assert_true(take_sent(f, &frame));
	reply(f, XN_XS_WIRE_READ, frame.request, "v", 1);
	assert_heard(f, "v:0 ");
}

static void a_list_is_read_in_parts_and_anew_when_it_changed(void **state)
{
	struct fixture *f = *state;
	static const struct {
		const char *body;
		size_t len;
	} parts[] = {{"1\0x\0", 4}, {"2\0y\0", 4}, {"2\0x\0y\0", 6}, {"2\0z\0\0", 5}};
	struct xn_xs_frame frame;

	read_a(f, 1);
	assert_true(take_sent(f, &frame));
	reply(f, XN_XS_WIRE_READ, frame.request, "v", 1);
	assert_true(take_sent(f, &frame));
	assert_int_equal(frame.type, XN_XS_WIRE_DIRECTORY);
	reply(f, XN_XS_WIRE_ERROR, frame.request, "E2BIG", 6);
	for (size_t i = 0; i < XN_ARRAY_SIZE(parts); i++) {
		assert_true(take_sent(f, &frame));
		assert_int_equal(frame.type, XN_XS_WIRE_DIRECTORY_PART);
		assert_string_equal(frame.body + 3, i == 1 ? "2" : i == 3 ? "4" : "0");
		reply(f, XN_XS_WIRE_DIRECTORY_PART, frame.request, parts[i].body, parts[i].len);
	}
	for (int i = 0; i < 3; i++) {
		assert_true(take_sent(f, &frame));
		assert_int_equal(frame.type, XN_XS_WIRE_READ);
		reply(f, XN_XS_WIRE_READ, frame.request, "", 0);
	}
	assert_heard(f, "v:3 ");
}

static void a_node_that_vanishes_takes_its_kids_along(void **state)
{
	struct fixture *f = *state;
	struct xn_xs_frame value, kids, frame;

	read_a(f, 2);
	assert_true(take_sent(f, &value));
	assert_true(take_sent(f, &kids));
	reply(f, XN_XS_WIRE_DIRECTORY, kids.request, "x\0y", 4);
	reply(f, XN_XS_WIRE_ERROR, value.request, "ENOENT", 7);
	assert_heard(f, "(null):0 ");
	while (take_sent(f, &frame)) /* late, and nobody's */
		reply(f, XN_XS_WIRE_ERROR, frame.request, "ENOENT", 7);
	assert_heard(f, "");
}

static void nonsense_ends_the_connection(void **state)
{
	struct fixture *f = *state;
	struct xn_xs_frame frame;

	read_a(f, 0);
	assert_true(take_sent(f, &frame));
	reply(f, XN_XS_WIRE_WRITE, frame.request, "OK", 3);
	assert_heard(f, "failed:-5 ");
	read_a(f, 0);
	assert_heard(f, "failed:-5 ");
}

static void a_write_is_made_again_when_it_conflicts(void **state)
{
	struct fixture *f = *state;
	const struct xn_xs_change changes[] = {{.path = "/a", .value = "1"}, {.path = "/b"}};
	struct xn_xs_frame frame;

	xn_xs_write(f->xs, changes, 2, NULL, NULL);
	for (int try = 0; try < 2; try++) {
		assert_true(take_sent(f, &frame));
		assert_int_equal(frame.type, XN_XS_WIRE_TRANSACTION_START);
		reply(f, XN_XS_WIRE_TRANSACTION_START, frame.request, "77", 3);
		assert_true(take_sent(f, &frame));
		assert_int_equal(frame.type, XN_XS_WIRE_WRITE);
		assert_int_equal(frame.transaction, 77);
		reply(f, XN_XS_WIRE_WRITE, frame.request, "OK", 3);
		assert_true(take_sent(f, &frame));
		reply(f, XN_XS_WIRE_ERROR, frame.request, "ENOENT", 7);
		assert_true(take_sent(f, &frame));
		assert_int_equal(frame.type, XN_XS_WIRE_TRANSACTION_END);
		assert_string_equal(frame.body, "T");
		if (try)
			reply(f, XN_XS_WIRE_TRANSACTION_END, frame.request, "OK", 3);
		else
			reply(f, XN_XS_WIRE_ERROR, frame.request, "EAGAIN", 7);
	}
	assert_false(take_sent(f, &frame));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		cmocka_unit_test(what_is_added_is_read_again_in_whatever_pieces),
		cmocka_unit_test(a_body_that_is_too_long_is_not_sent),
		cmocka_unit_test(errors_travel_by_name),
		T(events_that_wait_are_one_for_a_path_and_few_for_a_watch),
		T(a_reply_longer_than_a_reply_may_be_fails_its_request_only),
		T(a_list_is_read_in_parts_and_anew_when_it_changed),
		T(a_node_that_vanishes_takes_its_kids_along),
		T(nonsense_ends_the_connection),
		T(a_write_is_made_again_when_it_conflicts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
