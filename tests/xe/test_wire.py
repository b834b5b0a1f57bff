"""The thin CLI protocol byte for byte, with clients that break each of its rules, over plain TCP, TLS and
the Unix socket. Whatever a client does, the daemon goes on, its conversation is soon gone with all its
descriptors, and a task that it was to work for ends failed."""
import concurrent.futures
import contextlib
import os
import random
import re
import socket
import struct
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "integration"))
import harness  # noqa: E402
import thin  # noqa: E402

LOGIN = ["username=root", "password=" + harness.PASSWORD]
TCP, TLS, UNIX = "tcp", "tls", "unix"
EXIT_0 = thin.frame(thin.int32(thin.COMMAND), thin.int32(thin.EXIT), thin.int32(0))
EXIT_1 = thin.frame(thin.int32(thin.COMMAND), thin.int32(thin.EXIT), thin.int32(1))
WAIT = thin.response(thin.WAIT)
WAITS = ("event-wait", "class=vm", "name-label=nobody")  # a command that goes on and asks nothing


def chunk(size, data=b""):
    return thin.frame(thin.int32(thin.BLOB), thin.int32(thin.CHUNK), thin.int32(size)) + data


END = thin.frame(thin.int32(thin.BLOB), thin.int32(thin.END))


def on_each_door(test):
    """The test over each transport, at the same time; then nothing may be left of it."""
    def run(self):
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            runs = {door: pool.submit(test, self, door) for door in (TCP, TLS, UNIX)}
        for door, run_ in runs.items():
            with self.subTest(door):
                run_.result()
        self.assert_all_is_gone()
    return run


class Case(harness.TestCase):
    """Limits of time are short, so that what waits for one is soon over."""

    daemon_options = ("--https", "127.0.0.1:0", "--xe-handshake-time", "1", "--http-body-idle", "1",
                      "--http-linger", "1", "--xe-answer-time", "2")
    daemons = {}  # by their options: a certificate's key takes seconds

    @classmethod
    def setUpClass(cls):
        daemon = Case.daemons.get(cls.daemon_options)
        if not daemon:
            daemon = Case.daemons[cls.daemon_options] = harness.Daemon(*cls.daemon_options)
            unittest.addModuleCleanup(daemon.clear)
            daemon.start()
        cls.daemon = daemon
        client = daemon.client()
        cls.host = client("host.get_uuid", client("host.get_all")[0])
        cls.sockets = daemon.open_sockets()

    def where(self, door):
        return {TCP: (self.daemon.address, False), TLS: (self.daemon.https_address, True),
                UNIX: (self.daemon.socket, False)}[door]

    def connect(self, door):
        conversation = thin.Conversation(*self.where(door))
        self.addCleanup(conversation.close)
        return conversation

    def begin(self, door, *arguments):
        return self.connect(door).begin([*arguments, *LOGIN])

    def send_request(self, door, *arguments):
        conversation = self.connect(door)
        conversation.send(conversation.request([*arguments, *LOGIN]))
        return conversation

    @staticmethod
    def to_exit(conversation):
        """All messages to the last; then it hangs up, as a client does."""
        messages = conversation.until_exit()
        conversation.close()
        return messages

    def metric(self, name):
        request = b"GET /metrics HTTP/1.0\r\n\r\n"
        with thin.connect(self.daemon.socket) as sock:
            sock.sendall(request)
            page = thin.receive_all(sock).decode()
        return int(float(re.search(rf"^{name}(?:\{{[^}}]*\}})? (\S+)$", page, re.M).group(1)))

    def until(self, what, is_so):
        """Asked again and again: nothing tells a client of these."""
        end = time.monotonic() + harness.DEADLINE
        while not is_so():
            if time.monotonic() > end:
                self.fail(f"not in time: {what}\n{self.daemon.log_text()}")

    def assert_all_is_gone(self):
        """No conversation, no descriptor, and the daemon does what it is for."""
        self.until("no conversations", lambda: self.metric("xenolith_xe_conversations") == 0)
        self.assertEqual(self.metric("xenolith_xe_unread_bytes"), 0)
        self.assertEqual(self.metric("xenolith_xe_loaded_bytes"), 0)
        own = len(self.daemon.clients)
        self.until("no descriptors", lambda: self.daemon.open_sockets() <= self.sockets + own)
        self.assert_lists(UNIX)

    def assert_lists(self, door):
        result = thin.Client(*self.where(door)[:1], tls=self.where(door)[1],
                             password=harness.PASSWORD).run("network-list", "--minimal")
        self.assertEqual((result.code, result.stderr), (0, b""))
        self.assertRegex(result.stdout.decode(), r"\A[0-9a-f-]{36}(,[0-9a-f-]{36})*\n\Z")


class Bytes(Case):
    """What the field's client sees."""

    def test_a_whole_conversation(self):
        for door in (TCP, TLS, UNIX):
            with self.subTest(door), self.send_request(door, "network-list", "params=none") as c:
                self.assertEqual(c.read(35), b"XenSource thin CLI protocol\0\0\0\0\x02\0\0\0")
                c.send(thin.HELLO)
                said = thin.receive_all(c.sock)
                self.assertEqual(said[-16:], EXIT_0)

    def test_an_error_is_on_stderr_and_exits_1(self):
        for door in (TCP, TLS, UNIX):
            with self.subTest(door), self.begin(door, "no-such-command") as c:
                messages = self.to_exit(c)
                self.assertEqual({m.tag for m in messages[:-1]}, {thin.PRINT_STDERR})
                self.assertEqual(messages[0].fields[0], b"Unknown command: no-such-command\n")
                self.assertEqual(messages[-1].fields, [1])

    def test_a_wrong_password_is_told_inside_the_protocol(self):
        for door in (TCP, TLS):
            with self.subTest(door):
                c = self.connect(door).begin(["network-list", "username=root", "password=no"])
                messages = self.to_exit(c)
                self.assertEqual(messages[0].fields[0], b"Authentication failed\n")
                self.assertEqual(messages[-1].fields, [1])

    def test_lines_may_end_in_a_carriage_return(self):
        for body in (b"network-list\r\n--minimal\r\n", b"network-list\n--minimal\n", b"network-list\r\n--minimal"):
            ends = b"" if body.endswith(b"\n") else b"\r\n"
            c = self.connect(TCP).begin(body + ends + "\r\n".join(LOGIN).encode())
            messages = self.to_exit(c)
            self.assertEqual([m.tag for m in messages], [thin.PRINT, thin.EXIT])
            self.assertRegex(messages[0].fields[0].decode(), r"\A[0-9a-f-]{36}")

    def test_the_daemon_waits_for_the_client_to_close(self):
        """Its own side is closed after Exit; whoever reads late still gets all of it."""
        for door in (TCP, TLS, UNIX):
            with self.subTest(door), self.begin(door, "network-list", "--minimal") as c:
                self.until("it has been said",
                           lambda: self.metric("xenolith_xe_conversations") == 1
                           and self.metric("xenolith_xe_unread_bytes") == 0)
                self.assertTrue(thin.receive_all(c.sock).endswith(EXIT_0))
        self.assert_all_is_gone()

    def test_the_field_s_headers(self):
        c = self.connect(TCP)
        c.send(c.request(["network-list", "--minimal", *LOGIN],
                         ("traceparent: 00-0123456789abcdef0123456789abcdef-0123456789abcdef-01",
                          "baggage: a=b")))
        c.greet()
        self.assertEqual(self.to_exit(c)[-1].fields, [0])

    def test_http_that_is_no_command(self):
        for request, status in ((b"GET /cli HTTP/1.0\r\n\r\n", b"405"),
                                (b"POST /cli HTTP/1.0\r\n\r\nvm-list", b"411"),
                                (b"POST /cli HTTP/1.0\r\ncontent-length: 204801\r\n\r\n", b"413"),
                                (b"POST /cli HTTP/1.0\r\ncontent-length: -5\r\n\r\n", b"400"),
                                (b"POST /cli HTTP/1.0\r\ncontent-length: x\r\n\r\n", b"400")):
            for door in (TCP, TLS, UNIX):
                with self.subTest(request=request, door=door), self.connect(door) as c:
                    c.send(request)
                    self.assertEqual(thin.receive_all(c.sock)[:12], b"HTTP/1.1 " + status)
        self.assert_all_is_gone()

    def test_the_largest_body(self):
        filler = b"\n".join([b"network-list", b"--minimal", *(a.encode() for a in LOGIN)])
        filler += b"\nx=" + b"y" * (204800 - len(filler) - 3)
        self.assertEqual(len(filler), 204800)
        messages = self.to_exit(self.connect(TCP).begin(filler))
        self.assertEqual(messages[-1].tag, thin.EXIT)
        self.assert_all_is_gone()


class Broken(Case):
    """Clients that keep to no rule."""

    @on_each_door
    def test_a_late_body(self, door):
        c = self.connect(door)
        whole = c.request(["network-list", "--minimal", *LOGIN])
        for at in range(0, len(whole), 40):
            c.send(whole[at:at + 40])
        c.greet()
        self.assertEqual(self.to_exit(c)[-1].fields, [0])

    @on_each_door
    def test_a_body_that_never_comes(self, door):
        with self.connect(door) as c:
            c.send(b"POST /cli HTTP/1.0\r\ncontent-length: 100\r\n\r\nvm-list")
            self.assertEqual(thin.receive_all(c.sock)[:12], b"HTTP/1.1 408")

    @on_each_door
    def test_an_early_hello(self, door):
        c = self.connect(door)
        c.send(c.request(["network-list", "--minimal", *LOGIN]) + thin.HELLO)
        self.assertEqual(c.read(35), thin.HELLO)
        self.assertEqual(self.to_exit(c)[-1].fields, [0])

    @on_each_door
    def test_a_hello_that_is_none(self, door):
        for hello in (b"GET / HTTP/1.0\r\n\r\n", b"XenSource thin CLI protocoL" + bytes(8),
                      thin.MAGIC + struct.pack("<ii", 1, 2), thin.MAGIC + struct.pack("<ii", -1, 2)):
            with self.send_request(door, "network-list") as c:
                c.send(hello)
                self.assertEqual(thin.receive_all(c.sock), thin.HELLO)

    @on_each_door
    def test_half_a_hello(self, door):
        with self.send_request(door, "network-list") as c:
            c.send(thin.HELLO[:30])
            self.assertEqual(thin.receive_all(c.sock), thin.HELLO)

    @on_each_door
    def test_a_body_longer_than_it_says(self, door):
        with self.connect(door) as c:
            c.send(b"POST /cli HTTP/1.0\r\ncontent-length: 4\r\n\r\nhelp and more" + thin.HELLO)
            self.assertEqual(thin.receive_all(c.sock), thin.HELLO)

    def assert_sent_away(self, conversation):
        said = thin.receive_all(conversation.sock)
        conversation.close()
        self.assertEqual(said[-16:], EXIT_1)
        self.assertIn(b"did not keep to the protocol", said)

    @on_each_door
    def test_messages_that_mean_nothing(self, door):
        for bad in (b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", thin.int32(4) + bytes(4),
                    thin.frame(thin.int32(9), thin.int32(0), thin.string("x")),
                    thin.frame(thin.int32(10), thin.int32(99)), thin.frame(thin.int32(77), thin.int32(5)),
                    thin.frame(thin.int32(10), thin.int32(5), b"more"), thin.response(thin.OK),
                    thin.response(thin.FAILED), chunk(3, b"yes") + END, thin.HELLO, os.urandom(8) * 500):
            with self.begin(door, *WAITS) as c:
                c.send(bad)
                self.assert_sent_away(c)

    @on_each_door
    def test_waits_without_end(self, door):
        with self.begin(door, *WAITS) as c:
            c.send(WAIT * 20000)

    @on_each_door
    def test_it_leaves_at_each_point(self, door):
        whole = thin.Conversation.request(["network-list", *LOGIN]) + thin.HELLO
        for at in range(0, len(whole) + 1, 7):
            with self.connect(door) as c:
                c.send(whole[:at])
        for point in (b"", b"\x08", WAIT, WAIT + b"\x08\0\0\0\x0a"):
            with self.begin(door, *WAITS) as c:
                c.send(point)

    @on_each_door
    def test_exit_that_is_never_read(self, door):
        kept = [self.begin(door, "network-list", "--minimal") for _ in range(5)]
        self.until("they are gone", lambda: self.metric("xenolith_xe_conversations") == 0)
        if door != UNIX:
            self.until("their sockets, too",
                       lambda: self.daemon.open_sockets() <= self.sockets + len(self.daemon.clients))
        for c in kept:
            c.close()

    # Questions: Load in host-server-certificate-install, Prompt in host-forget

    def asked(self, door, *arguments):
        c = self.begin(door, *arguments)
        while (message := c.message()).tag not in (thin.LOAD, thin.PROMPT):
            self.assertNotIn(message.tag, (thin.PRINT_STDERR, thin.EXIT), message)
        return c

    def load(self, door):
        return self.asked(door, "host-server-certificate-install", "certificate=c", "private-key=k")

    @on_each_door
    def test_a_file_breaks_off(self, door):
        for sent in (b"", thin.response(thin.OK), thin.response(thin.OK) + chunk(100, b"only so much"),
                     thin.response(thin.OK) + chunk(0x7fffffff, b"huge")):
            with self.load(door) as c:
                c.send(sent)

    @on_each_door
    def test_a_file_whose_rest_never_comes(self, door):
        with self.load(door) as c:
            c.send(thin.response(thin.OK) + chunk(100, b"only so much"))
            said = thin.receive_all(c.sock)
            self.assertIn(b"No answer came in time", said)
            self.assertEqual(said[-16:], EXIT_1)

    @on_each_door
    def test_a_file_that_grows_or_lies_about_its_length(self, door):
        for sent in (chunk(4, b"12345678") + END, chunk(-1), chunk(-0x80000000), chunk(4, b"1234") + b"junk" * 9):
            with self.load(door) as c:
                c.send(thin.response(thin.OK) + sent)
                self.assert_sent_away(c)

    @on_each_door
    def test_a_file_that_cannot_be_opened(self, door):
        with self.load(door) as c:
            c.failed()
            messages = self.to_exit(c)
            self.assertEqual((messages[0].tag, messages[-1].fields), (thin.PRINT_STDERR, [1]))

    @on_each_door
    def test_a_file_over_the_limit(self, door):
        piece = bytes(1 << 20)
        with self.load(door) as c:
            c.ok()
            for _ in range(33):
                c.send(chunk(len(piece), piece))
            c.send(END)
            messages = self.to_exit(c)
            self.assertIn(b"too large", messages[0].fields[0])
            self.assertEqual(messages[-1].fields, [1])

    def prompt(self, door):
        return self.asked(door, "host-forget", "uuid=" + self.host)

    @on_each_door
    def test_no_answer_to_a_question(self, door):
        with self.prompt(door) as c:
            said = thin.receive_all(c.sock)
            self.assertIn(b"No answer came in time", said)
            self.assertEqual(said[-16:], EXIT_1)

    def test_answers_to_a_question(self):
        for sent, is_sane in ((thin.blob(b"no"), True), (thin.blob(b"x" * 200000), True), (chunk(0) + END, True),
                              (END, True), (thin.response(thin.OK), False), (thin.response(thin.FAILED), False)):
            with self.subTest(sent[:40]), self.prompt(TCP) as c:
                c.send(sent)
                if is_sane:
                    messages = self.to_exit(c)
                    self.assertEqual(messages[-1].fields, [0])
                    self.assertRegex(messages[-2].fields[0], rb"\AAborted \(you typed: '")
                else:
                    self.assert_sent_away(c)
        self.assert_all_is_gone()


class Transfers(Case):
    """The command and the file's own connection, tied by a task."""

    def transfer(self, door, *more):
        """pool-dump-database up to HttpGet: the conversation, the path, the task."""
        c = self.begin(door, "pool-dump-database", "file-name=dump", *more)
        message = c.message()
        self.assertEqual(message.tag, thin.HTTP_GET, message)
        self.assertEqual(message.fields[0], b"dump")
        url = message.fields[1].decode()
        host, path = re.fullmatch(r"https://([^/]+)(/pool/xmldbdump\?.*)", url).groups()
        self.assertNotIn(":", host)
        task = re.search(r"task_id=(OpaqueRef:[0-9a-f-]+)", path).group(1)
        self.assertIn("session_id=OpaqueRef:", path)
        return c, path, task

    def fetch(self, door, path):
        sock = thin.connect(*self.where(TCP if door == UNIX else door))
        self.addCleanup(sock.close)
        sock.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        return sock

    def assert_no_task(self, task):
        with self.fails("HANDLE_INVALID"):
            self.client("task.get_record", task)

    def test_a_transfer(self):
        for door in (TCP, TLS, UNIX):
            with self.subTest(door):
                c, path, task = self.transfer(door)
                record = self.client("task.get_record", task)
                self.assertEqual((record["status"], record["progress"]), ("pending", -1.0))
                with self.fetch(door, path) as sock:
                    got = thin.receive_all(sock)
                self.assertTrue(got.startswith(b"HTTP/1.1 200 ") and got.endswith(b"</database>"), got[-40:])
                c.send(WAIT * 3)
                c.ok()
                self.assertEqual([m.tag for m in self.to_exit(c)], [thin.EXIT])
                self.assert_no_task(task)
        self.assert_all_is_gone()

    def test_ok_before_the_handler_has_ended(self):
        c, path, task = self.transfer(TCP)
        with self.fetch(TCP, path) as sock:
            first = sock.recv(100)
            c.ok()
            got = first + thin.receive_all(sock)
        self.assertTrue(got.endswith(b"</database>"))
        self.assertEqual(self.to_exit(c)[-1].fields, [0])
        self.assert_no_task(task)
        self.assert_all_is_gone()

    def made_task(self):
        task = self.client("task.create", "mine", "")
        return task, "task-uuid=" + self.client("task.get_uuid", task)

    def assert_failed(self, task, code):
        record = harness.wait_for_task(self.client, task)
        self.assertEqual((record["status"], record["error_info"][0]), ("failure", code))
        self.client("task.destroy", task)

    def test_a_handler_that_was_never_reached(self):
        for door in (TCP, TLS, UNIX):
            for says in (thin.response(thin.FAILED), thin.response(thin.OK), WAIT + thin.response(thin.FAILED)):
                with self.subTest(door=door, says=says):
                    task, parameter = self.made_task()
                    c, _, tied = self.transfer(door, parameter)
                    self.assertEqual(tied, task)
                    c.send(says)
                    messages = self.to_exit(c)
                    self.assertEqual((messages[0].tag, messages[-1].fields), (thin.PRINT_STDERR, [1]))
                    self.assert_failed(task, "CLIENT_ERROR")
        self.assert_all_is_gone()

    def test_it_leaves_before_the_handler_was_reached(self):
        for door in (TCP, TLS, UNIX):
            with self.subTest(door):
                task, parameter = self.made_task()
                c, _, _ = self.transfer(door, parameter)
                c.close()
                self.assert_failed(task, "CLIENT_ERROR")
        self.assert_all_is_gone()

    def test_it_says_nothing_any_more(self):
        task, parameter = self.made_task()
        c, _, _ = self.transfer(TCP, parameter)
        said = thin.receive_all(c.sock)
        self.assertIn(b"No answer came in time", said)
        self.assert_failed(task, "CLIENT_ERROR")
        self.assert_all_is_gone()

    def test_it_answers_what_does_not_fit(self):
        for says in (thin.HELLO, chunk(5, b"hello") + END, thin.response(99), b"\xff" * 8):
            task, parameter = self.made_task()
            c, _, _ = self.transfer(TCP, parameter)
            c.send(says)
            self.assertEqual(thin.receive_all(c.sock)[-16:], EXIT_1)
            self.assert_failed(task, "CLIENT_ERROR")
        self.assert_all_is_gone()

    def test_both_leave_in_the_middle(self):
        """The handler has begun: what becomes of the task is its word."""
        for door in (TCP, TLS):
            with self.subTest(door):
                task, parameter = self.made_task()
                c, path, _ = self.transfer(door, parameter)
                with self.fetch(door, path) as sock:
                    sock.recv(1)
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    c.close()
                self.assertIn(harness.wait_for_task(self.client, task)["status"], ("failure", "success"))
                self.client("task.destroy", task)
        self.assert_all_is_gone()

    def test_a_cancelled_task(self):
        task, parameter = self.made_task()
        c, _, _ = self.transfer(TCP, parameter)
        self.client("task.cancel", task)
        c.failed()
        messages = self.to_exit(c)
        self.assertEqual((messages[0].tag, messages[-1].fields), (thin.PRINT_STDERR, [1]))
        self.assertEqual(self.client("task.get_status", task), "cancelled")
        self.client("task.destroy", task)

    def test_a_task_that_is_not_there_or_not_for_it(self):
        for given in ("00000000-0000-4000-8000-000000000000", "x"):
            messages = self.to_exit(self.begin(TCP, "pool-dump-database", "file-name=dump", "task-uuid=" + given))
            self.assertEqual((messages[0].tag, messages[-1].fields), (thin.PRINT_STDERR, [1]))
        task, parameter = self.made_task()
        self.client("task.cancel", task)
        messages = self.to_exit(self.begin(TCP, "pool-dump-database", "file-name=dump", parameter))
        self.assertEqual((messages[0].tag, messages[-1].fields), (thin.PRINT_STDERR, [1]))
        self.client("task.destroy", task)
        self.assert_all_is_gone()


class Uploads(Case):
    """vdi-import: bytes go the other way, and the client's word comes before the daemon has them all."""

    SIZE = 4 << 20

    def setUp(self):
        super().setUp()
        sr = self.client("pool.get_default_SR", self.client("pool.get_all")[0])
        pbd = self.client("SR.get_PBDs", sr)[0]
        harness.Events(self.client, ["pbd/" + pbd], token="").wait_for(pbd, currently_attached=True)
        self.vdi = self.client("VDI.create", {
            "name_label": "disk", "name_description": "", "SR": sr, "virtual_size": str(self.SIZE),
            "type": "user", "sharable": False, "read_only": False, "other_config": {},
            "xenstore_data": {}, "sm_config": {}, "tags": []})
        self.addCleanup(self.client, "VDI.destroy", self.vdi)
        self.uuid = self.client("VDI.get_uuid", self.vdi)
        self.disk = os.urandom(self.SIZE)
        self.path = os.path.join(self.daemon.folder, "disk.raw")
        with open(self.path, "wb") as file:
            file.write(self.disk)

    def begin_upload(self, door, length, ours=False):
        """Up to the answer's headers: the conversation, the upload's socket, the task."""
        task = self.client("task.create", "mine", "")
        kind = thin.OurConversation if ours else thin.Conversation
        c = kind(*self.where(door))
        self.addCleanup(c.close)
        c.begin(["vdi-import", "uuid=" + self.uuid, "filename=f",
                 "task-uuid=" + self.client("task.get_uuid", task), *LOGIN],
                ["xe-terminal: columns=80 stderr"] if ours else ())
        if ours:
            self.assertEqual(c.message(), thin.Message(thin.INTERRUPTIBLE, [b""]))
        message = c.message()
        self.assertEqual((message.tag, message.fields[0]), (thin.HTTP_PUT, b"f"))
        sock = thin.connect(*self.where(TCP if door == UNIX else door))
        self.addCleanup(sock.close)
        sock.sendall(b"PUT %s HTTP/1.0\r\nContent-length: %d\r\n\r\n" % (message.fields[1], length))
        head, rest = thin.Run.read_head(sock)
        self.assertEqual((head[:13], rest), (b"HTTP/1.1 200 ", b""))  # before any byte of the body
        return c, sock, task

    def on_disk(self):
        result = thin.Client(self.daemon.address, password=harness.PASSWORD).run(
            "vdi-export", "uuid=" + self.uuid, "filename=")
        self.assertEqual((result.code, result.stderr), (0, b""))
        return result.stdout

    def ended(self, task):
        record = harness.wait_for_task(self.client, task)
        self.client("task.destroy", task)
        return record

    def test_a_file_becomes_a_disk(self):
        for door in (TCP, TLS, UNIX):
            with self.subTest(door):
                address, tls = self.where(door)
                client = thin.Client(address, tls=tls, password=harness.PASSWORD,
                                     transfers=self.daemon.address if door == UNIX else None,
                                     folder=self.daemon.folder)
                result = client.run("vdi-import", "uuid=" + self.uuid, "filename=disk.raw")
                self.assertEqual(result, thin.Result(b"", b"", 0))
                self.assertTrue(self.on_disk() == self.disk)
        self.assert_all_is_gone()

    def test_ok_comes_before_the_body_has_been_read(self):
        for door in (TCP, TLS):
            with self.subTest(door):
                c, sock, task = self.begin_upload(door, self.SIZE)
                c.ok()
                sock.sendall(self.disk)  # and over TLS it stays open
                self.assertEqual(self.to_exit(c)[-1].fields, [0])
                self.assertEqual(self.ended(task)["status"], "success")
                sock.close()
        self.assertTrue(self.on_disk() == self.disk)
        self.assert_all_is_gone()

    def test_an_upload_breaks_off(self):
        for says in (thin.response(thin.OK), thin.response(thin.FAILED), None):
            with self.subTest(says=says):
                c, sock, task = self.begin_upload(TCP, self.SIZE)
                sock.sendall(self.disk[:100000])
                if says:
                    c.send(says)
                else:
                    c.close()
                sock.close()
                if says:
                    messages = self.to_exit(c)
                    self.assertEqual((messages[0].tag, messages[-1].fields), (thin.PRINT_STDERR, [1]))
                self.assertEqual(self.ended(task)["status"], "failure")
        self.assert_all_is_gone()

    def test_the_client_leaves_and_its_file_still_comes(self):
        c, sock, task = self.begin_upload(TCP, self.SIZE)
        c.close()
        sock.sendall(self.disk)
        self.assertEqual(self.ended(task)["status"], "success")
        sock.close()
        self.assertTrue(self.on_disk() == self.disk)
        self.assert_all_is_gone()

    def test_our_own_client_sees_how_far_it_is(self):
        c, sock, task = self.begin_upload(TLS, self.SIZE, ours=True)
        sock.sendall(self.disk[:self.SIZE // 2])
        seen = c.message()
        while seen.tag != thin.PROGRESS or not 0 < seen.fields[0] < 1000:
            self.assertEqual(seen.tag, thin.PROGRESS)
            seen = c.message()
        self.assertEqual(seen.fields[1], b"vdi-import")
        sock.sendall(self.disk[self.SIZE // 2:])
        c.ok()
        messages = self.to_exit(c)
        self.assertEqual((messages[-2].tag, messages[-2].fields[0]), (thin.PROGRESS, -1))
        self.assertEqual(messages[-1].fields, [0])
        self.assertEqual(self.ended(task)["status"], "success")
        sock.close()
        self.assert_all_is_gone()

    def test_our_own_client_breaks_it_off(self):
        c, sock, task = self.begin_upload(TCP, self.SIZE, ours=True)
        sock.sendall(self.disk[:100000])
        c.send(thin.response(thin.INTERRUPT))
        thin.receive_all(sock)  # the daemon hangs up there
        c.failed()
        messages = self.to_exit(c)
        self.assertEqual(messages[-1].fields, [1])
        self.assertIn(thin.PRINT_STDERR, [m.tag for m in messages])
        self.assertEqual(self.ended(task)["status"], "cancelled")
        sock.close()
        self.assert_all_is_gone()

    def test_a_refusal_is_told(self):
        """409: the client says Failed, and nothing more; the reason is the task's."""
        client = thin.Client(self.daemon.address, password=harness.PASSWORD, folder=self.daemon.folder)
        result = client.run("vdi-import", "uuid=" + self.uuid, "filename=disk.raw", "format=tar")
        self.assertEqual((result.code, result.stdout), (1, b""))
        self.assertNotIn(b"not transferred", result.stderr)
        self.assert_all_is_gone()


class Anything(Case):
    """Conversations of random pieces, right and wrong, that break off anywhere. XN_CONVERSATIONS: how many
    each of 8 clients has."""

    COMMANDS = (WAITS, ("host-forget", "uuid=%s"), ("host-server-certificate-install", "certificate=c", "private-key=k"),
                ("pool-dump-database", "file-name=x"), ("pool-dump-database", "file-name="),
                ("audit-log-get", "filename=x"), ("template-list", "params=all"), ("task-list",), ("help",), ("no",))
    PIECES = (WAIT, thin.response(thin.OK), thin.response(thin.FAILED), thin.response(thin.INTERRUPT),
              thin.blob(b"yes, no"), thin.blob(b"no"), thin.blob(bytes(100000)), chunk(-1), chunk(0x7fffffff), END,
              thin.HELLO, b"\0", b"\xff" * 9)

    def fetch(self, door, said, random_):
        found = re.search(rb"/(pool/xmldbdump|audit_log)\?[!-~]*", said)
        if found and random_.random() < .7:
            with thin.connect(*self.where(TCP if door == UNIX else door)) as sock:
                sock.sendall(b"GET %s HTTP/1.0\r\n\r\n" % found.group())
                for _ in range(random_.randrange(8)):
                    sock.recv(20000)

    def converse(self, random_):
        door = random_.choice((TCP, TLS, UNIX))
        kind = random_.choice((thin.Conversation, thin.OurConversation))
        command = [word.replace("%s", self.host) for word in random_.choice(self.COMMANDS)]
        with contextlib.suppress(OSError, thin.Lost), kind(*self.where(door)) as c:
            data = c.request([*command, *LOGIN]) + random_.choice((thin.HELLO,) * 9 + (b"junk",))
            c.send(data[:random_.randrange(len(data))] if random_.random() < .1 else data)
            if random_.random() < .7:
                c.sock.settimeout(random_.choice((.02, .1)))
                with contextlib.suppress(TimeoutError):
                    self.fetch(door, c.sock.recv(100000), random_)
            for _ in range(random_.randrange(4)):
                c.send(random_.choice(self.PIECES))

    def test_whatever_they_do(self):
        def run(seed):
            random_ = random.Random(seed)
            for _ in range(int(os.environ.get("XN_CONVERSATIONS", "25"))):
                self.converse(random_)
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            for done in [pool.submit(run, seed) for seed in range(8)]:
                done.result()
        self.assert_all_is_gone()
        self.until("no tasks of theirs", lambda: not any(
            task["status"] == "pending" for task in self.client("task.get_all_records").values()))


class Limits(Case):
    daemon_options = ("--https", "127.0.0.1:0", "--xe-conversations", "8", "--xe-write-idle", "2",
                      "--xe-output", "1M", "--http-linger", "1")

    def test_one_more_than_there_may_be(self):
        for door in (TCP, TLS, UNIX):
            with self.subTest(door), contextlib.ExitStack() as stack:
                most = 8 if door == UNIX else 7  # one place is for the Unix socket
                for _ in range(most):
                    c = stack.enter_context(self.begin(door, *WAITS))
                self.until("all are there", lambda: self.metric("xenolith_xe_conversations") == most)
                before = self.metric("xenolith_xe_refused_total")
                one_more = stack.enter_context(self.begin(door, "network-list"))
                messages = self.to_exit(one_more)
                self.assertRegex(messages[0].fields[0], rb"\AToo many xe commands are running .*\n\Z")
                self.assertEqual(messages[-1].fields, [1])
                self.assertEqual(self.metric("xenolith_xe_refused_total"), before + 1)
            self.until("they are gone", lambda: self.metric("xenolith_xe_conversations") == 0)
        self.assert_all_is_gone()

    def test_output_that_nobody_reads(self):
        vms = [self.client("VM.get_by_name_label", "Other install media")[0]]
        for i in range(60):
            vms.append(self.client("VM.clone", vms[0], f"vm{i}"))
        for door in (TCP, UNIX):
            with self.subTest(door):
                c = thin.Conversation(*self.where(door))
                self.addCleanup(c.close)
                if door == TCP:
                    c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                c.begin(["template-list", "params=all", "--all", *LOGIN])
                self.until("it is given up", lambda: self.metric("xenolith_xe_conversations") == 0)
                c.close()
        for vm in vms[1:]:
            self.client("VM.destroy", vm)
        self.assert_all_is_gone()

    def test_values_that_are_too_many_for_one_line(self):
        text = "a,b" * 80000
        networks = [self.client("network.create", {
            "name_label": "much", "name_description": text, "MTU": "1500", "other_config": {}})
            for _ in range(18)]
        ask = ["network-list", "params=name-description", "--minimal", "name-label=much"]
        with self.begin(TCP, *ask) as c:
            messages = self.to_exit(c)
        self.assertRegex(messages[0].fields[0], rb"\AThese values are more than 4 MiB.*\n\Z")
        self.assertEqual(messages[-1].fields, [1])
        while len(networks) > 3:
            self.client("network.destroy", networks.pop())
        with self.begin(TCP, *ask) as c:
            messages = self.to_exit(c)
        line = ",".join([text.replace(",", "\\,")] * 3)
        self.assertTrue(messages[0].fields[0].decode() == line)
        self.assertEqual(messages[-1].fields, [0])
        for network in networks:
            self.client("network.destroy", network)

    def test_limits_are_told(self):
        self.assertEqual(self.metric("xenolith_limit_xe_conversations"), 8)
        self.assertEqual(self.metric("xenolith_limit_xe_write_idle_seconds"), 2)
        self.assertEqual(self.metric("xenolith_limit_xe_load_bytes"), 32 << 20)


class Stop(Case):
    """The daemon stops with conversations in every state."""

    def test_a_stop_ends_them_within_the_second(self):
        open_ones = [self.begin(door, *WAITS)
                     for door in (TCP, TLS, UNIX) for _ in range(3)]
        greeting = [self.send_request(door, "network-list") for door in (TCP, TLS, UNIX)]
        for c in greeting:
            c.read(35)
        task = self.client("task.create", "mine", "")
        uuid = self.client("task.get_uuid", task)
        fetching = self.begin(TCP, "pool-dump-database", "file-name=dump", "task-uuid=" + uuid)
        self.assertEqual(fetching.message().tag, thin.HTTP_GET)
        self.until("all are there", lambda: self.metric("xenolith_xe_conversations") == 13)
        self.daemon.close_clients()
        began = time.monotonic()
        self.assertEqual(self.daemon.stop(), 0)
        took = time.monotonic() - began
        for c in open_ones + greeting + [fetching]:
            self.assertEqual(thin.receive_all(c.sock), b"")
        self.assertLess(took, 1.5 if "asan" not in harness.XENOLITHD else 10)
        self.daemon.start()
        self.assertEqual(self.daemon.client()("task.get_status", task), "failure")


if __name__ == "__main__":
    unittest.main(verbosity=2)
