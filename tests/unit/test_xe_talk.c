/*
 * Conversations in the thin CLI protocol over real sockets: what goes out is the bytes that the field's
 * client expects; a client that breaks a rule ends its own conversation and nothing else. Started with an
 * argument, all of it over TLS.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "rpc/xe/talk.h"
#include "tests/unit/tls_client.h"

/* What one test's commands do, and what they saw. */
static struct script {
	struct fixture *f;
	struct xe_talks *talks;
	void (*run)(struct xe_talk *talk); /* in begin() */
	struct xe_talk *talk;		   /* the last one that began; NULL: it ended */
	const struct xe_request *request;
	bool logs_in;
	unsigned n_begun, n_wanted, n_ended, n_rooms, n_interrupts;
	unsigned n_answers;
	enum xe_answer answer;
	struct xn_buf data; /* of the last answer */
	size_t to_print;    /* pieces of output that are still to be said */
	size_t most_waiting;
} script;

static void *begin(struct xe_talk *talk, const struct xe_request *request, void *arg)
{
	assert_ptr_equal(arg, &script);
	script.talk = talk;
	script.request = request;
	script.n_begun++;
	if (script.logs_in)
		xe_talk_set_authenticated(talk);
	if (script.run)
		script.run(talk);
	return &script;
}

static void print_more(struct xe_talk *talk)
{
	static char piece[10000];

	while (script.to_print && !xe_talk_is_full(talk)) {
		memset(piece, 'a' + (int)(script.to_print % 26), sizeof(piece));
		xe_talk_print(talk, piece, sizeof(piece));
		script.to_print--;
	}
	if (!script.to_print)
		xe_talk_exit(talk, 0);
}

static void room(void *command)
{
	script.n_rooms++;
	print_more(script.talk);
}

static void answered(void *command, enum xe_answer answer, const char *data, size_t len)
{
	assert_ptr_equal(command, &script);
	script.n_answers++;
	script.answer = answer;
	script.data.len = 0;
	xn_buf_add(&script.data, data, len);
	xe_talk_exit(script.talk, 7);
}

static void interrupted(void *command)
{
	script.n_interrupts++;
}

static void ended(void *command)
{
	assert_ptr_equal(command, &script);
	script.talk = NULL;
	script.n_ended++;
}

static const struct xe_talk_ops ops = {begin, room, answered, interrupted, ended};

static bool over_tls;

static void configure(const char *key, const char *value)
{
	char *why = NULL;

	assert_int_equal(xn_config_set(script.f->core.config, key, value, true, key, &why), 0);
}

static void reopen(void)
{
	xe_talk_close(script.talks);
	script.talks = xe_talk_open(&script.f->core, script.f->http, &ops, &script);
}

static int setup(void **state)
{
	struct fixture *f;

	http_setup(state);
	f = *state;
	f->core.config = xn_config_new();
	script = (struct script){.f = f, .logs_in = true};
	reopen();
	if (over_tls)
		tls_serve(f);
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	xe_talk_close(script.talks);
	xn_config_free(f->core.config);
	f->core.config = NULL;
	xn_buf_clear(&script.data);
	tls_clients_free(f);
	return http_teardown(state);
}

/* ---- a client ---- */

#define HELLO XE_MAGIC "\0\0\0\0\2\0\0\0"
#define REQUEST                            \
	"POST /cli HTTP/1.0\r\n"           \
	"User-agent: xe-cli/Unix/0.2\r\n"  \
	"originator: cli\r\n"              \
	"content-length: 7\r\n"            \
	"\r\n"                             \
	"vm-list"
#define OURS                                               \
	"POST /cli HTTP/1.0\r\n"                           \
	"User-agent: xe-cli/Xenolith/0.1.0\r\n"            \
	"xe-terminal: columns=120 colour stdin stderr\r\n" \
	"content-length: 0\r\n"                            \
	"\r\n"
#define OK     "\x08\0\0\0\x0a\0\0\0\x05\0\0\0"
#define FAILED "\x08\0\0\0\x0a\0\0\0\x06\0\0\0"
#define WAIT   "\x08\0\0\0\x0a\0\0\0\x12\0\0\0"
#define END    "\x08\0\0\0\x0b\0\0\0\x08\0\0\0"
#define CHUNK(n) "\x0c\0\0\0\x0b\0\0\0\x07\0\0\0" n
#define EXIT(n) "\x0c\0\0\0\x09\0\0\0\x04\0\0\0" n "\0\0\0"

struct bytes {
	const char *data;
	size_t len;
};
#define BYTES(text) ((struct bytes){(text), sizeof(text) - 1})

static void give(int fd, struct bytes bytes)
{
	send_bytes(script.f, fd, bytes.data, bytes.len);
}

static int ask(struct bytes request)
{
	int fd = connect_pair(script.f);

	give(fd, request);
	return fd;
}

static bool has_begun(struct fixture *f)
{
	return script.n_begun == script.n_wanted;
}

/* A conversation whose command has begun. */
static int talk_as(struct bytes request)
{
	int fd = ask(request);

	script.n_wanted = script.n_begun + 1;
	give(fd, BYTES(HELLO));
	turn_until(script.f, has_begun);
	return fd;
}

static int talk(void)
{
	return talk_as(BYTES(REQUEST));
}

/* All that comes until the daemon has closed its side. */
static void assert_says(int fd, struct bytes bytes)
{
	read_to_eof(script.f, fd);
	assert_int_equal(script.f->got.len, bytes.len);
	assert_memory_equal(script.f->got.data, bytes.data, bytes.len);
}

static bool has_ended(struct fixture *f)
{
	return script.n_ended > 0;
}

static void hang_up(int fd)
{
	close(fd);
	turn_until(script.f, has_ended);
	settle_loop(script.f);
	assert_int_equal(script.n_ended, 1);
}

/* ---- commands of these tests ---- */

static void print_and_exit(struct xe_talk *talk)
{
	xe_talk_print(talk, "hi", 2);
	xe_talk_exit(talk, 0);
	xe_talk_print(talk, "too late", 8);
}

static void say_each(struct xe_talk *talk)
{
	static const char *const params[] = {"a", "b"};

	xe_talk_print_stderr(talk, "bad thing\n", 10);
	xe_talk_error(talk, "VM_BAD_POWER_STATE", params, 2);
	xe_talk_debug(talk, "d");
	xe_talk_progress(talk, 500, "up");
	xe_talk_interruptible(talk, "");
	xe_talk_exit(talk, 1);
}

static void load(struct xe_talk *talk)
{
	xe_talk_load(talk, "f");
}

static void prompt(struct xe_talk *talk)
{
	xe_talk_prompt(talk);
}

static void get(struct xe_talk *talk)
{
	xe_talk_get(talk, "o2", "/export?x=1");
}

/* ---- the handshake ---- */

static void a_command_prints_and_exits_in_the_bytes_of_the_field(void **state)
{
	int fd;

	script.run = print_and_exit;
	fd = talk();
	assert_says(fd, BYTES(HELLO "\x0e\0\0\0\x09\0\0\0\0\0\0\0\x02\0\0\0hi" EXIT("\0")));
	assert_int_equal(script.n_ended, 0); /* the client has not closed */
	hang_up(fd);
}

static void errors_are_said_in_the_bytes_of_the_field(void **state)
{
	int fd;

	script.run = say_each;
	fd = talk();
	assert_says(fd, BYTES(HELLO "\x16\0\0\0\x09\0\0\0\x10\0\0\0\x0a\0\0\0bad thing\n"
				    "\x2c\0\0\0\x09\0\0\0\x0e\0\0\0\x12\0\0\0VM_BAD_POWER_STATE"
				    "\x02\0\0\0\x01\0\0\0a\x01\0\0\0b"
				    "\x0d\0\0\0\x09\0\0\0\x0f\0\0\0\x01\0\0\0d" EXIT("\1")));
	hang_up(fd);
}

static void our_own_client_hears_of_progress(void **state)
{
	int fd;

	script.run = say_each;
	fd = talk_as(BYTES(OURS));
	read_to_eof(script.f, fd);
	assert_non_null(memmem(script.f->got.data, script.f->got.len,
			       "\x09\0\0\0\xe8\x03\0\0\xf4\x01\0\0\x02\0\0\0up", 18));
	assert_non_null(memmem(script.f->got.data, script.f->got.len,
			       "\x09\0\0\0\xe9\x03\0\0\0\0\0\0", 12));
	assert_true(script.request->is_ours);
	assert_int_equal(script.request->columns, 120);
	assert_true(script.request->colour && script.request->stdin_is_terminal &&
		    script.request->stderr_is_terminal);
	close(fd);
}

static void the_daemon_speaks_first_and_nothing_runs_before_the_client_does(void **state)
{
	int fd = ask(BYTES(REQUEST));

	read_until(script.f, fd, "protocol");
	assert_int_equal(script.f->got.len, XE_HELLO_LEN);
	assert_int_equal(script.n_begun, 0);
	give(fd, (struct bytes){HELLO, XE_HELLO_LEN - 1});
	settle_loop(script.f);
	assert_int_equal(script.n_begun, 0);
	give(fd, (struct bytes){"", 1});
	settle_loop(script.f);
	assert_int_equal(script.n_begun, 1);
	close(fd);
}

static void a_client_may_speak_at_once(void **state)
{
	int fd;

	script.run = print_and_exit;
	fd = ask(BYTES(REQUEST HELLO));
	read_to_eof(script.f, fd);
	assert_int_equal(script.f->got.len, 35 + 18 + 16);
	close(fd);
}

static void the_request_is_handed_on_as_it_came(void **state)
{
	int fd = talk_as(BYTES("POST /cli HTTP/1.0\r\n"
			       "User-agent: xe-cli/Unix/0.2\r\n"
			       "traceparent: 00-0123456789abcdef0123456789abcdef-0123456789abcdef-01\r\n"
			       "content-length: 17\r\n\r\n"
			       "vm-list\r\n\na=b\r\n\0c"));

	assert_int_equal(script.n_begun, 1);
	assert_int_equal(script.request->len, 17);
	assert_memory_equal(script.request->body, "vm-list\r\n\na=b\r\n\0c", 18);
	assert_string_equal(script.request->user_agent, "xe-cli/Unix/0.2");
	assert_string_equal(script.request->trace, "0123456789abcdef0123456789abcdef");
	assert_int_equal(script.request->caller.is_trusted_socket, !over_tls);
	if (over_tls)
		assert_int_equal(strncmp(script.request->local_host, "localhost:", 10), 0);
	else
		assert_string_equal(script.request->local_host, "");
	assert_false(script.request->is_ours);
	close(fd);
}

static void what_is_no_request_for_a_command_is_answered_in_http(void **state)
{
	static const struct {
		const char *request, *status;
	} cases[] = {
		{"GET /cli HTTP/1.0\r\n\r\n", "HTTP/1.1 405 "},
		{"POST /cli HTTP/1.0\r\n\r\n", "HTTP/1.1 411 "},
		{"POST /cli HTTP/1.0\r\ncontent-length: 204801\r\n\r\n", "HTTP/1.1 413 "},
		{"POST /cli HTTP/1.0\r\ncontent-length: -1\r\n\r\n", "HTTP/1.1 400 "},
	};

	for (size_t i = 0; i < XN_ARRAY_SIZE(cases); i++) {
		int fd = ask((struct bytes){cases[i].request, strlen(cases[i].request)});

		if (strncmp(read_to_eof(script.f, fd), cases[i].status, strlen(cases[i].status)) != 0)
			fail_msg("%s: %s", cases[i].request, xn_buf_cstr(&script.f->got));
		close(fd);
	}
	assert_int_equal(script.n_begun, 0);
}

static void another_protocol_or_version_is_hung_up_on(void **state)
{
	static const struct bytes cases[] = {
		{"HTTP/1.1 200 OK\r\n\r\n", 19},
		{XE_MAGIC "\1\0\0\0\2\0\0\0", XE_HELLO_LEN},
	};

	for (size_t i = 0; i < XN_ARRAY_SIZE(cases); i++) {
		int fd = ask(BYTES(REQUEST));

		give(fd, cases[i]);
		assert_says(fd, BYTES(HELLO));
		close(fd);
	}
	assert_int_equal(script.n_begun, 0);
}

/* ---- questions ---- */

static void a_file_comes_in_one_chunk_or_in_several(void **state)
{
	static const struct {
		struct bytes reply;
		const char *file;
	} cases[] = {
		{BYTES(OK CHUNK("\x05\0\0\0") "hello" END), "hello"},
		{BYTES(WAIT OK WAIT CHUNK("\x02\0\0\0") "he" CHUNK("\0\0\0\0") CHUNK("\x03\0\0\0") "llo" END),
		 "hello"},
		{BYTES(OK END), ""},
	};

	script.run = load;
	for (size_t i = 0; i < XN_ARRAY_SIZE(cases); i++) {
		int fd = talk();

		give(fd, cases[i].reply);
		assert_says(fd, BYTES(HELLO "\x0d\0\0\0\x09\0\0\0\x01\0\0\0\x01\0\0\0f" EXIT("\7")));
		assert_int_equal(script.n_answers, i + 1);
		assert_int_equal(script.answer, XE_ANSWER_OK);
		assert_string_equal(xn_buf_cstr(&script.data), cases[i].file);
		close(fd);
	}
}

static void a_file_that_cannot_be_read_is_no_file(void **state)
{
	int fd;

	script.run = load;
	fd = talk();
	give(fd, BYTES(FAILED));
	read_to_eof(script.f, fd);
	assert_int_equal(script.answer, XE_ANSWER_FAILED);
	assert_int_equal(script.data.len, 0);
	close(fd);
}

static void a_file_over_the_limit_is_read_to_its_end_and_not_kept(void **state)
{
	static char rest[100000];
	int fd;

	configure("xe-load", "64K");
	reopen();
	script.run = load;
	fd = talk();
	give(fd, BYTES(OK CHUNK("\xa0\x86\x01\0")));
	give(fd, (struct bytes){rest, sizeof(rest)});
	give(fd, BYTES(END));
	read_to_eof(script.f, fd);
	assert_int_equal(script.answer, XE_ANSWER_FAILED);
	assert_non_null(strstr(xn_buf_cstr(&script.data), "too large"));
	close(fd);
}

static void files_of_all_commands_together_have_a_limit(void **state)
{
	static char part[700000];
	int fds[2];

	configure("xe-all-loads", "1M");
	reopen();
	script.run = load;
	for (int i = 0; i < 2; i++) {
		fds[i] = talk();
		give(fds[i], BYTES(OK CHUNK("\x60\xae\x0a\0")));
		give(fds[i], (struct bytes){part, sizeof(part)});
	}
	give(fds[1], BYTES(END));
	read_to_eof(script.f, fds[1]);
	assert_int_equal(script.answer, XE_ANSWER_FAILED);
	assert_non_null(strstr(xn_buf_cstr(&script.data), "no room"));
	close(fds[0]);
	close(fds[1]);
}

static void a_prompt_gets_its_line_without_an_ok(void **state)
{
	int fd;

	script.run = prompt;
	fd = talk();
	give(fd, BYTES(CHUNK("\x03\0\0\0") "yes" END));
	assert_says(fd, BYTES(HELLO "\x08\0\0\0\x09\0\0\0\x03\0\0\0" EXIT("\7")));
	assert_int_equal(script.answer, XE_ANSWER_LINE);
	assert_string_equal(xn_buf_cstr(&script.data), "yes");
	close(fd);
}

static void a_transfer_may_wait_as_often_as_it_likes(void **state)
{
	XN_CLEANUP(xn_buf_clear_p) struct xn_buf waits = {0};
	int fd;

	script.run = get;
	fd = talk();
	for (int i = 0; i < 10000; i++)
		xn_buf_add(&waits, WAIT, sizeof(WAIT) - 1);
	give(fd, (struct bytes){waits.data, waits.len});
	assert_int_equal(script.n_answers, 0);
	give(fd, BYTES(OK));
	assert_says(fd, BYTES(HELLO "\x1d\0\0\0\x09\0\0\0\x0c\0\0\0\x02\0\0\0o2"
				    "\x0b\0\0\0/export?x=1" EXIT("\7")));
	assert_int_equal(script.answer, XE_ANSWER_OK);
	close(fd);
}

static void a_transfer_may_fail(void **state)
{
	int fd;

	script.run = get;
	fd = talk();
	give(fd, BYTES(WAIT FAILED));
	read_to_eof(script.f, fd);
	assert_int_equal(script.answer, XE_ANSWER_FAILED);
	close(fd);
}

static bool is_interrupted(struct fixture *f)
{
	return script.n_interrupts > 0;
}

static void only_our_own_client_interrupts(void **state)
{
	int fd = talk_as(BYTES(OURS));

	give(fd, BYTES("\x08\0\0\0\x0a\0\0\0\xea\x03\0\0"));
	turn_until(script.f, is_interrupted);
	close(fd);

	fd = talk();
	give(fd, BYTES("\x08\0\0\0\x0a\0\0\0\xea\x03\0\0"));
	read_to_eof(script.f, fd);
	assert_int_equal(script.n_interrupts, 1);
	close(fd);
}

/* ---- clients that break a rule ---- */

static void what_was_not_asked_for_ends_the_conversation_with_a_sentence(void **state)
{
	static const struct {
		void (*run)(struct xe_talk *talk);
		struct bytes bytes;
	} cases[] = {
		{NULL, BYTES(OK)},
		{NULL, BYTES(FAILED)},
		{NULL, BYTES(CHUNK("\x01\0\0\0") "x" END)},
		{NULL, BYTES(HELLO)},
		{NULL, BYTES("\x08\0\0\0\x0a\0\0\0\x63\0\0\0")}, /* no such tag */
		{NULL, BYTES("\x0e\0\0\0\x09\0\0\0\0\0\0\0\x02\0\0\0hi")}, /* a command, of the daemon's */
		{NULL, BYTES("\xff\xff\xff\xff")},
		{NULL, BYTES("\xff\xff\xff\x7f")},
		{load, BYTES(OK OK)},
		{load, BYTES(CHUNK("\x01\0\0\0") "x" END)}, /* without OK */
		{load, BYTES(OK CHUNK("\xff\xff\xff\xff"))},
		{load, BYTES(OK CHUNK("\x01\0\0\0") "it has grown")},
		{load, BYTES(OK CHUNK("\x01\0\0\0") "x" "\x08\0\0\0\x0b\0\0\0\x09\0\0\0")},
		{prompt, BYTES(OK)},
		{get, BYTES(CHUNK("\x01\0\0\0") "x" END)},
	};

	for (size_t i = 0; i < XN_ARRAY_SIZE(cases); i++) {
		int fd;

		script.run = cases[i].run;
		fd = talk();
		give(fd, cases[i].bytes);
		read_to_eof(script.f, fd);
		if (!memmem(script.f->got.data, script.f->got.len, "keep to the protocol.\n", 22) ||
		    memcmp(script.f->got.data + script.f->got.len - 16, EXIT("\1"), 16) != 0)
			fail_msg("case %zu is not told", i);
		assert_int_equal(script.n_ended, i + 1); /* at once: it need not wait for the close */
		close(fd);
		settle_loop(script.f);
		assert_int_equal(script.n_ended, i + 1);
	}
	assert_int_equal(script.n_answers, 0);
}

static void a_client_may_leave_at_any_point(void **state)
{
	static const struct {
		void (*run)(struct xe_talk *talk);
		struct bytes bytes;
	} cases[] = {
		{NULL, BYTES("")},
		{NULL, BYTES("\x08\0\0")},
		{NULL, BYTES("\x08\0\0\0\x0a\0\0\0\x12\0\0")},
		{load, BYTES("")},
		{load, BYTES(OK)},
		{load, BYTES(OK CHUNK("\x05\0\0\0"))},
		{load, BYTES(OK CHUNK("\x05\0\0\0") "hel")},
		{load, BYTES(OK CHUNK("\xff\xff\xff\x7f") "huge")},
		{prompt, BYTES(CHUNK("\x05\0\0\0"))},
		{get, BYTES(WAIT)},
		{print_and_exit, BYTES("")},
	};

	for (size_t i = 0; i < XN_ARRAY_SIZE(cases); i++) {
		int fd;

		script.n_ended = 0;
		script.run = cases[i].run;
		fd = talk();
		give(fd, cases[i].bytes);
		hang_up(fd);
	}
	close(ask(BYTES(REQUEST)));
	close(ask(BYTES(REQUEST XE_MAGIC)));
	settle_loop(script.f);
	assert_int_equal(script.n_begun, XN_ARRAY_SIZE(cases));
	assert_int_equal(script.n_answers, 0);
}

/* ---- limits ---- */

static void output_waits_for_its_reader(void **state)
{
	enum { PIECES = 1000, PIECE = 10016 };
	char chunk[65536];
	size_t got = 0;
	int fd;

	script.to_print = PIECES;
	script.run = print_more;
	fd = talk();
	settle_loop(script.f);
	assert_true(script.to_print > PIECES / 2); /* the sockets' buffers took the rest */
	while (got < XE_HELLO_LEN + PIECES * PIECE + 16) {
		ssize_t n = recv(fd, chunk, sizeof(chunk), 0);

		assert_true(n > 0 || (n < 0 && errno == EAGAIN));
		got += n > 0 ? (size_t)n : 0;
		xn_loop_turn(script.f->core.loop, 1000);
	}
	assert_int_equal(script.to_print, 0);
	assert_true(script.n_rooms > 0);
	hang_up(fd);
}

static void flood(struct xe_talk *talk)
{
	static char piece[100000];

	for (int i = 0; i < 30; i++)
		xe_talk_print(talk, piece, sizeof(piece));
}

static void output_without_end_or_reader_ends_the_conversation(void **state)
{
	int fd;

	configure("xe-output", "1M");
	reopen();
	script.run = flood;
	fd = talk();
	turn_until(script.f, has_ended);
	close(fd);
}

static void strangers_at_their_cap_are_told_so_in_the_protocol(void **state)
{
	enum { CAP = 4 };
	int fds[CAP + 1];

	if (!over_tls)
		return; /* these are trusted */
	configure("xe-strangers", "4");
	reopen();
	script.logs_in = false;
	for (int i = 0; i < CAP; i++)
		fds[i] = talk();
	assert_int_equal(script.n_begun, CAP);
	fds[CAP] = ask(BYTES(REQUEST HELLO));
	read_to_eof(script.f, fds[CAP]);
	assert_non_null(memmem(script.f->got.data, script.f->got.len, "Too many xe commands", 20));
	assert_memory_equal(script.f->got.data + script.f->got.len - 16, EXIT("\1"), 16);
	assert_int_equal(script.n_begun, CAP);

	xe_talk_set_authenticated(script.talk); /* one of them is a stranger no more */
	close(fds[CAP]);
	fds[CAP] = talk();
	assert_int_equal(script.n_begun, CAP + 1);
	for (int i = 0; i <= CAP; i++)
		close(fds[i]);
}

static void who_only_says_hello_makes_room_for_the_next(void **state)
{
	enum { CAP = 4 };
	int fds[CAP + 1];

	if (!over_tls)
		return;
	configure("xe-strangers", "4");
	reopen();
	script.run = print_and_exit;
	for (int i = 0; i < CAP; i++)
		fds[i] = ask(BYTES(REQUEST));
	settle_loop(script.f);
	fds[CAP] = talk();
	assert_int_equal(script.n_begun, 1);
	read_to_eof(script.f, fds[0]); /* the oldest */
	for (int i = 0; i <= CAP; i++)
		close(fds[i]);
}

static void too_many_commands_are_refused_and_too_many_refusals(void **state)
{
	enum { CAP = 8, REFUSALS = 32 };
	int fds[CAP + REFUSALS + 1], n = over_tls ? CAP - 1 : CAP;

	configure("xe-conversations", "8");
	configure("http-linger", "60");
	reopen();
	for (int i = 0; i < n + REFUSALS; i++)
		fds[i] = i < n ? talk() : ask(BYTES(REQUEST));
	settle_loop(script.f);
	assert_int_equal(script.n_begun, n);
	fds[n + REFUSALS] = ask(BYTES(REQUEST));
	assert_non_null(strstr(read_to_eof(script.f, fds[n + REFUSALS]), "HTTP/1.1 503 "));
	for (int i = 0; i <= n + REFUSALS; i++)
		close(fds[i]);
	settle_loop(script.f);
	assert_int_equal(script.n_ended, n);
	fds[0] = talk();
	assert_int_equal(script.n_begun, n + 1);
	close(fds[0]);
}

static void a_slow_handshake_is_cut(void **state)
{
	int fd;

	if (over_tls)
		return; /* clocks are the same */
	configure("xe-handshake-time", "1");
	reopen();
	fd = ask(BYTES(REQUEST XE_MAGIC));
	assert_says(fd, BYTES(HELLO));
	close(fd);
	assert_int_equal(script.n_begun, 0);
}

static void assert_gives_up(int fd)
{
	static const char sentence[] = "No answer came in time.\n";

	read_to_eof(script.f, fd);
	assert_non_null(memmem(script.f->got.data, script.f->got.len, sentence, sizeof(sentence) - 1));
	close(fd);
	settle_loop(script.f);
}

static void an_answer_that_does_not_come_ends_the_conversation(void **state)
{
	int fd;

	if (over_tls)
		return;
	configure("http-body-idle", "1");
	reopen();
	script.run = load;
	fd = talk();
	give(fd, BYTES(OK CHUNK("\x05\0\0\0") "hel"));
	assert_gives_up(fd);
	assert_int_equal(script.n_ended, 1);

	configure("xe-answer-time", "1");
	reopen();
	script.run = get;
	assert_gives_up(talk());
	assert_int_equal(script.n_ended, 2);
}

static void who_does_not_read_is_cut(void **state)
{
	int fd;

	configure("xe-write-idle", "1");
	reopen();
	script.to_print = 1000;
	script.run = print_more;
	fd = talk();
	turn_until(script.f, has_ended);
	assert_int_equal(script.n_ended, 1);
	close(fd);
}

static void who_does_not_close_after_exit_is_closed(void **state)
{
	int fd;

	if (over_tls)
		return;
	configure("http-linger", "1");
	reopen();
	script.run = print_and_exit;
	fd = talk();
	turn_until(script.f, has_ended);
	assert_int_equal(script.n_ended, 1);
	close(fd);
}

static void a_stop_ends_all_conversations(void **state)
{
	int open, greeting, leaving;

	open = talk();
	greeting = ask(BYTES(REQUEST));
	script.run = print_and_exit;
	leaving = talk();
	settle_loop(script.f);
	xe_talk_close(script.talks);
	script.talks = NULL;
	assert_int_equal(script.n_ended, 2);
	assert_says(open, BYTES(HELLO));
	assert_says(greeting, BYTES(HELLO));
	read_to_eof(script.f, leaving);
	assert_memory_equal(script.f->got.data + script.f->got.len - 16, EXIT("\0"), 16);
	close(open);
	close(greeting);
	close(leaving);
	open = ask(BYTES("POST /cli HTTP/1.0\r\ncontent-length: 0\r\n\r\n"));
	assert_non_null(strstr(read_to_eof(script.f, open), "HTTP/1.1 404 "));
	close(open);
}

/* A connection over TLS is two sockets more: they must not outlive a client that stays. */
static bool no_relay_is_left(struct fixture *f)
{
	return f->http->n_door[XN_DOOR_TLS] == 0;
}

static void a_client_that_stays_after_the_end_costs_nothing_for_long(void **state)
{
	int fd;

	if (!over_tls)
		return;
	configure("http-linger", "1");
	reopen();
	script.run = print_and_exit;
	fd = talk();
	read_to_eof(script.f, fd);
	turn_until(script.f, no_relay_is_left);
	close(fd);
}

int main(int argc, char **argv)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_command_prints_and_exits_in_the_bytes_of_the_field),
		TEST(errors_are_said_in_the_bytes_of_the_field),
		TEST(our_own_client_hears_of_progress),
		TEST(the_daemon_speaks_first_and_nothing_runs_before_the_client_does),
		TEST(a_client_may_speak_at_once),
		TEST(the_request_is_handed_on_as_it_came),
		TEST(what_is_no_request_for_a_command_is_answered_in_http),
		TEST(another_protocol_or_version_is_hung_up_on),
		TEST(a_file_comes_in_one_chunk_or_in_several),
		TEST(a_file_that_cannot_be_read_is_no_file),
		TEST(a_file_over_the_limit_is_read_to_its_end_and_not_kept),
		TEST(files_of_all_commands_together_have_a_limit),
		TEST(a_prompt_gets_its_line_without_an_ok),
		TEST(a_transfer_may_wait_as_often_as_it_likes),
		TEST(a_transfer_may_fail),
		TEST(only_our_own_client_interrupts),
		TEST(what_was_not_asked_for_ends_the_conversation_with_a_sentence),
		TEST(a_client_may_leave_at_any_point),
		TEST(output_waits_for_its_reader),
		TEST(output_without_end_or_reader_ends_the_conversation),
		TEST(strangers_at_their_cap_are_told_so_in_the_protocol),
		TEST(who_only_says_hello_makes_room_for_the_next),
		TEST(too_many_commands_are_refused_and_too_many_refusals),
		TEST(a_slow_handshake_is_cut),
		TEST(an_answer_that_does_not_come_ends_the_conversation),
		TEST(who_does_not_read_is_cut),
		TEST(who_does_not_close_after_exit_is_closed),
		TEST(a_stop_ends_all_conversations),
		TEST(a_client_that_stays_after_the_end_costs_nothing_for_long),
	};
	int failed;

	over_tls = argc > 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	tls_test_identities_free();
	return failed;
}
