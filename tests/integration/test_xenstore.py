"""The xenstore's socket, by clients as they are: Debian's xenstore-* tools, xenstore-control, pyxs, and
a program on libxenstore."""
import glob
import os
import shutil
import stat
import subprocess
import sys
import threading
import unittest

import harness
import xs_wire

DEADLINE = harness.DEADLINE


class XenstoreCase(unittest.TestCase):
    """One daemon that serves a xenstore for all tests of the class."""

    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.daemon = harness.Daemon()
        cls.addClassCleanup(cls.daemon.clear)
        cls.path = cls.daemon.serve_xenstore()
        cls.daemon.start()

    def run_tool(self, name, *args, status=0, stdin=None):
        done = subprocess.run([name, *args], capture_output=True, text=True, input=stdin,
                              timeout=DEADLINE, env={**os.environ, "XENSTORED_PATH": self.path})
        self.assertEqual(done.returncode, status, (name, args, done.stdout, done.stderr))
        return done.stdout

    def wire(self):
        wire = xs_wire.Wire(self.path)
        self.addCleanup(wire.close)
        return wire


@unittest.skipUnless(shutil.which("xenstore-ls"), "Debian's xenstore-utils is not installed")
class Tools(XenstoreCase):
    def test_write_read_list_exists_and_rm(self):
        self.run_tool("xenstore-write", "/tools/a/b", "one", "/tools/c", "two")
        self.assertEqual(self.run_tool("xenstore-read", "/tools/a/b", "/tools/c"), "one\ntwo\n")
        self.assertEqual(self.run_tool("xenstore-list", "/tools"), "a\nc\n")
        self.run_tool("xenstore-exists", "/tools/a")
        self.run_tool("xenstore-exists", "/tools/none", status=1)
        self.run_tool("xenstore-rm", "/tools")
        self.run_tool("xenstore-exists", "/tools", status=1)
        self.run_tool("xenstore-read", "/tools/c", status=1)

    def test_ls_shows_the_tree_with_permissions(self):
        self.run_tool("xenstore-write", "/shown/a", "1", "/shown/b/c", "2")
        self.run_tool("xenstore-chmod", "/shown/a", "n0", "r5", "b7")
        self.assertEqual(self.run_tool("xenstore-ls", "/shown"), 'a = "1"\nb = ""\n c = "2"\n')
        self.assertEqual(self.run_tool("xenstore-ls", "-f", "-p", "/shown"),
                         '/shown/a = "1"   (n0,r5,b7)\n/shown/b = ""   (n0)\n/shown/b/c = "2"   (n0)\n')
        self.run_tool("xenstore-chmod", "-r", "/shown", "b0", "n3")
        self.assertIn('/shown/b/c = "2"   (b0,n3)', self.run_tool("xenstore-ls", "-fp", "/shown"))

    def test_ls_shows_more_children_than_a_message_holds(self):
        with self.wire() as wire:
            for i in range(1000):
                wire.ask(xs_wire.WRITE, f"/many/child-number-{i:05d}", "")
        names = self.run_tool("xenstore-list", "/many").split()
        self.assertEqual(names, [f"child-number-{i:05d}" for i in range(1000)])
        self.assertEqual(len(self.run_tool("xenstore-ls", "/many").splitlines()), 1000)

    def test_watch_prints_each_change(self):
        watching = subprocess.Popen(
            ["xenstore-watch", "-n", "3", "/watched"], stdout=subprocess.PIPE, text=True,
            env={**os.environ, "XENSTORED_PATH": self.path})
        self.addCleanup(watching.kill)
        self.assertEqual(watching.stdout.readline(), "/watched\n")
        self.run_tool("xenstore-write", "/watched/x", "1")
        self.assertEqual(watching.stdout.readline(), "/watched/x\n")
        self.run_tool("xenstore-rm", "/watched")
        self.assertEqual(watching.stdout.readline(), "/watched\n")
        self.assertEqual(watching.wait(DEADLINE), 0)
        watching.stdout.close()

    def test_simulated_domains_are_there(self):
        self.assertIn("xenolith", self.run_tool("xenstore-list", "/tool"))


CONTROL = (glob.glob("/usr/lib/xen-*/bin/xenstore-control") or [None])[-1]


@unittest.skipUnless(CONTROL, "Debian's xen-utils-4.17 is not installed")
class Control(XenstoreCase):
    def control(self, *args, status=0):
        return self.run_tool(CONTROL, *args, status=status)

    def test_check_finds_nothing(self):
        self.control("check")

    def test_help_names_the_commands(self):
        for name in ("check", "log", "print", "quota", "quota-soft", "memreport"):
            self.assertIn("\n" + name + " ", "\n" + self.control("help"))

    def test_quotas_are_shown_and_set(self):
        self.assertRegex(self.control("quota"), r"nodes +: +8192 ")
        self.assertRegex(self.control("quota-soft"), r"memory +: +2097152 ")
        self.control("quota", "set", "nodes", "9000")
        self.assertRegex(self.control("quota"), r"nodes +: +9000 ")
        self.control("quota", "set", "none", "1", status=3)
        self.assertIn("Domain 0:", self.control("quota", "0"))

    def test_what_is_logged(self):
        self.control("print", "hello from a test")
        self.control("log", "on")
        self.control("check")
        self.control("log", "off")
        self.assertIn("control: hello from a test", self.daemon.log_text())
        self.assertIn(": control check,", self.daemon.log_text())

    def test_memory_is_told(self):
        self.assertRegex(self.control("memreport"), r"all: \d+ bytes in nodes")

    def test_unknown_commands_fail(self):
        self.control("nonsense", status=3)


try:
    sys.path.append("/usr/lib/python3/dist-packages")  # for a Python that is not Debian's
    import pyxs
except ImportError:
    pyxs = None
finally:
    sys.path.pop()


@unittest.skipUnless(pyxs, "Debian's python3-pyxs is not installed")
class Pyxs(XenstoreCase):
    def client(self):
        return pyxs.Client(unix_socket_path=self.path)

    def test_nodes(self):
        with self.client() as c:
            c[b"/pyxs/a"] = b"one"
            self.assertEqual(c[b"/pyxs/a"], b"one")
            self.assertEqual(c.list(b"/pyxs"), [b"a"])
            self.assertTrue(c.exists(b"/pyxs/a"))
            c.mkdir(b"/pyxs/b")
            c.set_perms(b"/pyxs/b", [b"b0", b"r3"])
            self.assertEqual(c.get_perms(b"/pyxs/b"), [b"b0", b"r3"])
            c.delete(b"/pyxs")
            self.assertFalse(c.exists(b"/pyxs/a"))
            self.assertEqual(c.get_domain_path(3), b"/local/domain/3")
            with self.assertRaises(pyxs.PyXSError):
                c.read(b"/pyxs/none")

    def test_transactions(self):
        with self.client() as c, self.client() as other:
            c.transaction()
            c[b"/pyxs/tx"] = b"in"
            self.assertFalse(other.exists(b"/pyxs/tx"))
            self.assertTrue(c.commit())
            self.assertEqual(other[b"/pyxs/tx"], b"in")
            c.transaction()
            c[b"/pyxs/tx"] = b"out"
            c.rollback()
            self.assertEqual(c[b"/pyxs/tx"], b"in")

    def test_watches(self):
        with self.client() as c:
            monitor = c.monitor()
            monitor.watch(b"/pyxs/w", b"token")
            events = monitor.wait()
            self.assertEqual(next(events), (b"/pyxs/w", b"token"))
            c[b"/pyxs/w/x"] = b"1"
            self.assertEqual(next(events), (b"/pyxs/w/x", b"token"))
            monitor.unwatch(b"/pyxs/w", b"token")


PROGRAM = os.environ.get("XENSTORE_PROGRAM", "")


@unittest.skipUnless(os.path.exists(PROGRAM), "libxenstore is not installed")
class Library(XenstoreCase):
    def test_a_program_on_libxenstore(self):
        self.run_tool(PROGRAM)


class Socket(XenstoreCase):
    def test_the_file_is_for_its_owner_alone(self):
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)

    def test_a_request_that_is_too_long_ends_the_connection(self):
        wire = self.wire()
        wire.ask(xs_wire.WRITE, "/socket/before", "")
        wire.socket.sendall(xs_wire.HEADER.pack(xs_wire.READ, 9, 0, 4097))
        with self.assertRaises(xs_wire.Gone):
            wire.frame()
        with self.wire() as again:
            self.assertEqual(again.ask(xs_wire.READ, "/socket/before"), b"\0")

    def test_answers_before_nonsense_arrive(self):
        wire = self.wire()
        number = wire.number + 1
        wire.socket.sendall(xs_wire.HEADER.pack(xs_wire.READ, number, 0, 2) + b"/\0"
                            + xs_wire.HEADER.pack(xs_wire.READ, 9, 0, 1 << 31))
        self.assertEqual(wire.receive(number)[0], xs_wire.READ)
        with self.assertRaises(xs_wire.Gone):
            wire.frame()

    def test_requests_may_come_in_pieces_and_in_heaps(self):
        wire = self.wire()
        body = b"/socket/piece\0value"
        frame = xs_wire.HEADER.pack(xs_wire.WRITE, 1, 0, len(body)) + body
        for i in range(len(frame)):
            wire.socket.sendall(frame[i:i + 1])
        self.assertEqual(wire.receive(1), (xs_wire.WRITE, 1, 0, b"OK\0"))
        heap = b"".join(xs_wire.HEADER.pack(xs_wire.READ, i, 0, 14) + b"/socket/piece\0"
                        for i in range(3000))
        sender = threading.Thread(target=wire.socket.sendall, args=(heap,))
        sender.start()
        for i in range(3000):
            self.assertEqual(wire.receive(i), (xs_wire.READ, i, 0, b"value"))
        sender.join()

    def test_replies_that_nobody_reads_hold_up_only_who_asked(self):
        greedy, other = self.wire(), self.wire()
        other.call(xs_wire.WRITE, b"/socket/large\0" + b"v" * 4000)
        heap = b"".join(xs_wire.HEADER.pack(xs_wire.READ, i, 0, 14) + b"/socket/large\0"
                        for i in range(20000))
        greedy.socket.setblocking(False)
        sent = 0
        while True:
            try:
                sent += greedy.socket.send(heap[sent:])
                other.ask(xs_wire.READ, "/")
            except BlockingIOError:
                break
        self.assertLess(sent, len(heap))
        resident = self.resident()
        self.assertLess(resident, 100 << 20)
        self.assertEqual(other.ask(xs_wire.READ, "/socket/large"), b"v" * 4000)
        greedy.socket.settimeout(DEADLINE)
        for i in range(sent // 30):
            self.assertEqual(greedy.receive(i)[3], b"v" * 4000)

    def resident(self):
        with open(f"/proc/{self.daemon.process.pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def test_events_for_one_who_does_not_read_are_bounded(self):
        deaf, writer = self.wire(), self.wire()
        deaf.ask(xs_wire.WATCH, "/socket/deaf", "token")
        writer.ask(xs_wire.WRITE, "/socket/deaf", "")
        before = self.resident()
        for turn in range(3):
            for i in range(2000):
                writer.send(xs_wire.WRITE, b"/socket/deaf/%d\0x" % i)
            for _ in range(2000):
                writer.frame()
        self.assertLess(self.resident() - before, 20 << 20)
        told = set()
        while event := deaf.event(0.2):
            told.add(event.split(b"\0")[0])
        self.assertGreater(len(told), 1000)


class SimulatedGuests(XenstoreCase):
    """A guest of the simulated hypervisor, and what a client of the xenstore does to it."""

    def setUp(self):
        self.client = self.daemon.client()
        template = next(vm for vm in self.client("VM.get_all")
                        if self.client("VM.get_is_a_template", vm))
        self.vm = self.client("VM.clone", template, "guest")
        self.client("VM.set_is_a_template", self.vm, False)
        self.addCleanup(self.daemon.close_clients)

    def introduced(self, domid):
        return self.wire().ask(xs_wire.IS_DOMAIN_INTRODUCED, domid) == b"T\0"

    def test_a_guest_is_in_the_xenstore_while_it_runs(self):
        self.client("VM.start", self.vm, False, False)
        domid = str(self.client("VM.get_domid", self.vm))
        self.assertTrue(self.introduced(domid))
        self.assertIn(domid.encode(), self.wire().ask(xs_wire.DIRECTORY, "/local/domain").split(b"\0"))
        self.client("VM.hard_shutdown", self.vm)
        self.assertFalse(self.introduced(domid))

    def test_it_may_be_released_introduced_again_and_shut_down(self):
        self.client("VM.start", self.vm, False, False)
        domid = str(self.client("VM.get_domid", self.vm))
        self.wire().ask(xs_wire.RELEASE, domid)
        self.assertFalse(self.introduced(domid))
        self.assertEqual(self.client("VM.get_power_state", self.vm), "Running")
        self.wire().ask(xs_wire.INTRODUCE, domid, "1", "1")
        self.assertTrue(self.introduced(domid))
        self.client("VM.hard_shutdown", self.vm)
        self.assertFalse(self.introduced(domid))
        self.wire().ask(xs_wire.CONTROL, "check")

    def test_a_number_that_a_client_introduced_is_not_given_to_a_guest(self):
        self.client("VM.start", self.vm, False, False)
        following = int(self.client("VM.get_domid", self.vm)) + 1
        self.wire().ask(xs_wire.INTRODUCE, str(following), "1", "1")
        self.client("VM.hard_shutdown", self.vm)
        self.client("VM.start", self.vm, False, False)
        self.assertEqual(int(self.client("VM.get_domid", self.vm)), following + 1)
        self.client("VM.hard_shutdown", self.vm)
        self.wire().ask(xs_wire.RELEASE, str(following))


class Restart(unittest.TestCase):
    def test_a_socket_of_a_dead_daemon_is_replaced_and_a_living_one_is_not(self):
        daemon = harness.Daemon()
        self.addCleanup(daemon.clear)
        path = daemon.serve_xenstore()
        daemon.start()
        with xs_wire.Wire(path) as wire:
            wire.ask(xs_wire.WRITE, "/kept", "yes")
        daemon.crash_and_restart()
        with xs_wire.Wire(path) as wire:
            self.assertEqual(wire.ask(xs_wire.READ, "/kept"), b"yes\0")
        other = harness.Daemon("--xenstore-socket", path)
        self.addCleanup(other.clear)
        with self.assertRaisesRegex(AssertionError, "another program is listening there"):
            other.start()
        daemon.stop()
        self.assertFalse(os.path.exists(path))


if __name__ == "__main__":
    harness.main()
