"""A real Xen host for tests: the lab's dom0 with the daemon in it, driven from outside.

The daemon is reached through a loopback port that the lab forwards; its log lies in a folder that
both sides see. dom0 itself is asked through one shell that stays open (a command of its own would
take half a second in emulation). Nothing sleeps here: what the API tells is waited for with
event.from, what dom0 tells by a loop in dom0 with a deadline.

    XENOLITHD   the daemon to test, built with libxl; without it: build/xenolithd
    XN_LAB      a lab that is up already (lab up NAME --fwd 0:8080 --share FOLDER:/xn), with its
                FOLDER in XN_LAB_SHARE, to save the boot; it is left up
"""
import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "integration"))

import harness  # noqa: E402 pylint: disable=wrong-import-position
from harness import Failure  # noqa: E402 pylint: disable=wrong-import-position

LAB = os.path.join(HERE, "lab", "lab")
LIMIT = float(os.environ.get("XN_TEST_DEADLINE", "240"))  # for anything that a test waits for
LAB_LIMIT = 3000
SKIP = 77
PORT = 8080
NULL = "OpaqueRef:NULL"
MIB = 2**20
FILES = "/var/lib/xcp/guest"  # where kernels for guests must lie


# ---- dom0 ----

class Dom0:
    """The lab, and a shell in its dom0."""

    def __init__(self, *lab_options):
        self.name = os.environ.get("XN_LAB")
        self.is_ours = self.name is None
        if self.is_ours:
            self.name = f"test-{os.getpid()}"
            self.share = tempfile.mkdtemp(prefix="xn-lab-")
            status = subprocess.run(
                [LAB, "up", self.name, "--owner", str(os.getpid()), "--timeout", str(LAB_LIMIT),
                 "--fwd", f"0:{PORT}", "--share", self.share + ":/xn", *lab_options],
                stdin=subprocess.DEVNULL, check=False).returncode
            if status:
                shutil.rmtree(self.share)
                sys.exit(status)
        else:
            self.share = os.environ["XN_LAB_SHARE"]
        self.port = int(subprocess.run([LAB, "port", self.name, str(PORT)], check=True, text=True,
                                       stdout=subprocess.PIPE).stdout)
        self.lock = threading.Lock()
        self.shell = subprocess.Popen(
            [LAB, "exec", self.name, "--", "exec bash 2>&1"], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True, errors="replace")
        self.run("mkdir -p %s && ln -f /usr/lib/xenlab/guest/* %s/" % (FILES, FILES))

    def clear(self):
        self.shell.stdin.close()
        self.shell.wait()
        self.shell.stdout.close()
        if self.is_ours:
            subprocess.run([LAB, "down", self.name], check=True)
            shutil.rmtree(self.share)

    def try_run(self, command, limit=LIMIT):
        """(exit status, output and errors)"""
        with self.lock:
            self.shell.stdin.write(
                f"timeout {limit:.0f} bash -c {shlex.quote(command)} </dev/null\n"
                'printf "\\n=end= %d\\n" $?\n')
            self.shell.stdin.flush()
            said = []
            for line in self.shell.stdout:
                if line.startswith("=end= "):
                    return int(line.split()[1]), "".join(said)[:-1]
                said.append(line)
        raise AssertionError("the lab is gone:\n" + "".join(said))

    def run(self, command, limit=LIMIT):
        """What the command printed; it must succeed."""
        status, said = self.try_run(command, limit)
        if status:
            raise AssertionError(f"in dom0, `{command}` ended with {status}:\n{said}")
        return said

    def until(self, condition, limit=LIMIT):
        """Until the shell condition holds."""
        status, said = self.try_run(f"until {condition}; do sleep 0.1; done", limit)
        if status:
            raise AssertionError(f"in dom0, not in {limit:.0f} s: {condition}\n{said}")

    def start_xen_daemons(self):
        """What runs beside a xenstored and needs one; the lab has started none of them."""
        self.run("/usr/lib/xen-*/bin/xen-init-dom0 && /usr/lib/xenlab/daemons xenconsoled,qemu")

    # ---- what it knows of domains ----

    def domains(self):
        """{name: domid} of all domains but dom0, dying ones too."""
        lines = self.run("xl list").splitlines()[1:]
        found = {line.split()[0]: int(line.split()[1]) for line in lines}
        found.pop("Domain-0")
        return found

    def key(self, path):
        """A xenstore value, or None."""
        status, said = self.try_run(f"xenstore-read {path}")
        return None if status else said.rstrip("\n")

    def console_log(self, domid):
        name = self.key(f"/local/domain/{domid}/name")
        return f"/var/log/xen/console/guest-{name}.log"

    def ready_line(self, domid, count=1):
        """The guest's READY line on its console, the count-th."""
        log = self.console_log(domid)
        self.until(f'[ "$(grep -ac "XENLAB-GUEST READY" {log})" -ge {count} ]')
        return self.run(f'grep -a "XENLAB-GUEST READY" {log} | tail -1')

    def tick(self, domid):
        return int(self.key(f"/local/domain/{domid}/data/xenlab/tick") or 0)

    def order(self, domid, word):
        """Tells the guest to do something by itself."""
        self.run(f"xenstore-write /local/domain/{domid}/data/xenlab/order '{word}'")

    def leftovers(self):
        """All that a domain may leave in dom0, as text; empty: nothing."""
        return self.run(
            "xl list | tail -n +2 | grep -v '^Domain-0'; losetup -a;"
            "for d in $(xenstore-list /local/domain/0/backend 2>/dev/null); do"
            "  for i in $(xenstore-list /local/domain/0/backend/$d); do"
            "    [ -z \"$(xenstore-list /local/domain/0/backend/$d/$i)\" ] ||"
            "      echo backend $d/$i; done; done;"
            "ls /sys/class/net | grep -E '^(vif|tap)';"
            "pgrep -a qemu-system | grep -v -- '-xen-domid 0 '; true").strip()

    def frontend_state(self, domid, kind, devid):
        return self.key(f"/local/domain/{domid}/device/{kind}/{devid}/state")


# ---- the daemon in it ----

class Daemon(harness.Daemon):
    """xenolithd in dom0. Its state and its disks are on dom0's own file system."""

    def __init__(self, dom0, *options):
        super().__init__(*options)
        self.dom0 = dom0
        self.address = ("127.0.0.1", dom0.port)
        self.root = "/var/lib/xenolith-test"
        self.log_file = os.path.join(dom0.share, "xenolithd.log")
        shutil.copy(harness.XENOLITHD, os.path.join(dom0.share, "xenolithd.new"))
        os.replace(os.path.join(dom0.share, "xenolithd.new"),
                   os.path.join(dom0.share, "xenolithd"))
        shutil.copy(self.password_file, os.path.join(dom0.share, "password"))
        dom0.run(f"rm -rf {self.root} && mkdir -p -m 700 {self.root} && cp /xn/xenolithd {self.root}/ &&"
                 f"install -m 600 /xn/password {self.root}/password")
        with open(self.log_file, "w", encoding="utf-8"):
            pass

    def start(self):
        line = self.run_line()
        before = os.path.getsize(self.log_file)
        self.dom0.run(f"setsid {line} </dev/null >>/xn/xenolithd.log 2>&1 & echo $! >{self.root}/pid")
        end = time.monotonic() + LIMIT
        while " serves " not in self.log_text(before):
            if time.monotonic() > end or self.dom0.try_run(f"kill -0 $(cat {self.root}/pid)")[0]:
                raise AssertionError("the daemon did not start:\n" + self.log_text())
        self.process = self
        return self

    def run_line(self):
        return " ".join([f"{self.root}/xenolithd --state-dir {self.root}/state --hypervisor xen",
                         f"--http 10.0.2.15:{PORT} --socket {self.root}/xapi",
                         f"--password-file {self.root}/password", *self.options])

    def poll(self):
        return self.dom0.try_run(f"kill -0 $(cat {self.root}/pid)")[0] or None

    def log_text(self, start=None):
        with open(self.log_file, "rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(size - 20000, 0) if start is None else start)
            return log.read().decode(errors="replace")

    def end(self, name):
        """Sends a signal; returns when the process is gone."""
        if self.process:
            self.process = None
            self.dom0.run(f"pid=$(cat {self.root}/pid); kill -{name} $pid;"
                          "while kill -0 $pid 2>/dev/null; do sleep 0.02; done", 60)

    def kill(self):
        self.end("KILL")

    def stop(self):
        self.end("TERM")
        return 0

    def image(self, client, vdi):
        """The path, in dom0, of a disk's image."""
        record = client("VDI.get_record", vdi)
        pbd = client("SR.get_PBDs", record["SR"])[0]
        folder = os.path.join(f"{self.root}/state",
                              client("PBD.get_device_config", pbd)["location"])
        kind = client("SR.get_type", record["SR"])
        if kind == "iso":
            return f"{folder}/{record['location']}"
        return f"{folder}/{record['uuid']}.{record['sm_config'].get('image-format', 'raw')}"


# ---- what events have told ----

class World:
    """The records of a client's view that only event.from fills, and all that they have been."""

    CLASSES = ["vm", "vbd", "vif", "vdi", "task", "vm_metrics", "vm_guest_metrics", "host"]

    def __init__(self, client):
        self.client = client.another()
        self.token = ""
        self.records = {}
        self.history = {}  # ref: its records, oldest first
        self.next(0)

    def next(self, timeout):
        reply = self.client("event.from", self.CLASSES, self.token, float(timeout))
        self.token = reply["token"]
        for event in reply["events"]:
            record = event.get("snapshot")
            if event["operation"] == "del":
                record = None
                self.records.pop(event["ref"], None)
            else:
                self.records[event["ref"]] = record
            self.history.setdefault(event["ref"], []).append(record)

    def until(self, condition, what, limit=LIMIT):
        end = time.monotonic() + limit
        while not (found := condition()):
            left = end - time.monotonic()
            if left <= 0:
                raise AssertionError(f"not seen in {limit:.0f} s: {what() if callable(what) else what}")
            self.next(min(left, 10))
        return found

    def becomes(self, ref, limit=LIMIT, **fields):
        """Until the events have shown the object so; its record."""
        def is_so():
            record = self.records.get(ref)
            return record and all(
                wanted(record[name]) if callable(wanted) else record[name] == wanted
                for name, wanted in fields.items()) and record

        def what():
            record = self.records.get(ref)
            return f"{ref} {fields}; it is {record and {name: record[name] for name in fields}}"
        return self.until(is_so, what, limit)

    def gone(self, ref, limit=LIMIT):
        self.until(lambda: ref not in self.records, f"{ref} gone", limit)

    def seen(self, ref, field):
        """The values that it has had, each once in a row."""
        values = []
        for record in self.history.get(ref, []):
            if record and values[-1:] != [record[field]]:
                values.append(record[field])
        return values

    def begin(self, method, *params):
        """An asynchronous call: its task."""
        return self.client("Async." + method, *params)

    def finish(self, task, limit=LIMIT):
        """Until the events show that the task has ended; its result. A failure is raised."""
        record = self.becomes(task, limit, status=lambda status: status != "pending")
        if record["status"] != "success":
            error = record["error_info"] or [record["status"]]
            raise Failure(error[0], error[1:])
        found = re.search(r"<value>(.*)</value>", record["result"])
        return found.group(1) if found else record["result"]

    def run(self, method, *params, limit=LIMIT):
        return self.finish(self.begin(method, *params), limit)


@contextlib.contextmanager
def timed(what):
    """Says on standard output what took how long: a lab is slow, and one wants to know where."""
    begun = time.monotonic()
    yield
    print(f"    {what}: {time.monotonic() - begun:.1f} s", flush=True)
