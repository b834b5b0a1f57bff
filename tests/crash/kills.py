#!/usr/bin/env python3
"""SIGKILL at random moments, under clients that write and clients that follow.

    kills.py --schema schema.json [--kills 40] [--seed N] [--check-db-every 5] [--folder DIR]

Eight writers (writer.py) change objects of their own and note what was acknowledged; eight followers
(follower.py) build pictures of the whole state from events alone and never start again from "". The
daemon is killed again and again, also while it starts. After each restart every writer finds what
it was told; at the end every picture equals get_all_records, tasks have told the truth, nothing is
held by an operation, and `--check-db` is clean. Prints the seed first and the times of restarts last.

With --faults N (and --shim, see disk_shim.c) the disk fails N times instead: it is full, read-only,
or answers with I/O errors, for a while. What is refused did not happen or is found later; reads and
events go on; no restart is needed after, and now and then it is killed while the disk fails.
"""
import argparse
import errno
import json
import os
import random
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "integration"))
import harness  # noqa: E402
from follower import Follower  # noqa: E402
from writer import Writer, is_refusal  # noqa: E402

WRITERS = FOLLOWERS = 8
LONGEST_LIFE_S = 0.25  # after it serves
LONGEST_BIRTH_S = 0.05  # of those that are killed while they start
SETTLE_S = 60.0
LONGEST_FAULT_S = 1.5
FAULTS = {  # of writes, of syncs
    "full": (errno.ENOSPC, 0), "read-only": (errno.EROFS, errno.EROFS),
    "write error": (errno.EIO, 0), "sync error": (0, errno.EIO),
    "dead": (errno.EIO, errno.EIO),
}


class World:
    """The daemon, and what all clients of it share."""

    def __init__(self, options):
        self.random = random.Random(options.seed)
        self.options = options
        self.daemon = harness.Daemon("--sim-memory", "64G")
        self.over = threading.Event()  # clients end their work
        self.alive = threading.Event()
        self.fault = None  # the disk's, as a mapped file
        self.failures = []
        self.restart_ms = []
        self.counts = {}
        self.lock = threading.Lock()
        with open(options.schema, encoding="utf-8") as file:
            self.classes = [c["name"] for c in json.load(file)["classes"]
                            if c["events"] and c["get_all"] and c["lifecycle"] != "removed"
                            and not c["internal"]]

    def count(self, what):
        with self.lock:
            self.counts[what] = self.counts.get(what, 0) + 1

    def fail(self, text):
        with self.lock:
            self.failures.append(text)
        self.over.set()

    # ---- kills ----

    def kill(self):
        self.alive.clear()
        self.killed_at = time.monotonic()
        self.daemon.kill()

    def bring_back(self, probe):
        """Until it answers a question truly; what a client would see."""
        self.daemon.start()
        probe.close()
        while not probe("pool.get_all"):
            pass
        self.restart_ms.append((time.monotonic() - self.killed_at) * 1000)
        self.alive.set()

    def kill_while_it_starts(self):
        process = subprocess.Popen(self.daemon.command(), stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.over.wait(self.random.uniform(0, LONGEST_BIRTH_S))
        process.kill()
        process.wait()

    def check_db(self):
        done = subprocess.run([harness.XENOLITHD, "--check-db", "--state-dir", self.daemon.state],
                              stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            self.fail("--check-db:\n" + done.stdout)

    def one_kill(self, n, probe):
        self.over.wait(self.random.choice((0.04, 0.3, 1)) *
                       self.random.uniform(0, LONGEST_LIFE_S))
        self.kill()
        if n % self.options.check_db_every == 0:
            self.check_db()
        if self.random.random() < 0.1:
            self.kill_while_it_starts()
        self.bring_back(probe)

    # ---- faults of the disk ----

    def prepare_faults(self):
        path = os.path.join(self.daemon.folder, "fault")
        self.fault = open(path, "w+b", buffering=0)
        self.set_fault("none")
        self.daemon.popen = {"env": {
            **os.environ, "LD_PRELOAD": self.options.shim, "XN_DISK_FAULT": path,
            "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"}}

    def set_fault(self, name):
        self.fault.seek(0)
        self.fault.write(bytes(FAULTS.get(name, (0, 0))))

    def wait_until_it_works(self, probe):
        """Without a restart: changes are taken again."""
        end = time.monotonic() + SETTLE_S
        pool = probe("pool.get_all")[0]
        while True:
            try:
                return probe("pool.set_name_description", pool, str(time.monotonic()))
            except harness.Failure as failure:
                if not is_refusal(failure) or time.monotonic() > end:
                    self.fail(f"changes are still refused: {failure}")
                    return None
            self.over.wait(0.05)

    def one_fault(self, n, probe):
        kind = self.random.choice(list(FAULTS))
        self.over.wait(self.random.uniform(0, LONGEST_LIFE_S))
        self.set_fault(kind)
        self.over.wait(self.random.uniform(0, LONGEST_FAULT_S))
        probe("VM.get_all_records")
        killed = n % 4 == 0
        if killed:
            self.kill()
        self.set_fault("none")
        if killed:
            self.check_db()
            self.bring_back(probe)
        self.wait_until_it_works(probe)
        self.count(f"times the disk was {kind}")

    # ---- the end ----

    def records(self, client, name):
        return client(f"{name}.get_all_records")

    def compare(self, client, followers):
        """What is wrong now; some rows change by themselves, so the caller asks again."""
        wrong = []
        for name in self.classes:
            truth = self.records(client, name)
            for follower in followers:
                wrong += follower.compare(name, truth)
        return wrong

    def check_pictures(self, client, followers):
        end = time.monotonic() + SETTLE_S
        while True:
            for follower in followers:
                follower.follow_to_the_end()
            wrong = self.compare(client, followers)
            if not wrong:
                return
            if time.monotonic() > end:
                for line in wrong[:20]:
                    self.fail(line)
                return

    def check_nothing_held(self, client):
        for name in self.classes:
            for ref, record in self.records(client, name).items():
                if record.get("current_operations"):
                    self.fail(f"{name} {ref} is held by {record['current_operations']}")
        if json.loads(client("Diagnostics.get"))["operations"]:
            self.fail("operations are left: " + client("Diagnostics.get_text"))


def run(world):
    options = world.options
    if options.faults:
        world.prepare_faults()
    world.daemon.start()
    world.alive.set()
    probe = world.daemon.local()
    probe.login()
    writers = [Writer(world, i, random.Random(options.seed * 1000 + i)) for i in range(WRITERS)]
    followers = [Follower(world, i) for i in range(FOLLOWERS)]
    for client in writers + followers:
        client.start()
    for n in range(1, (options.faults or options.kills) + 1):
        if world.over.is_set():
            break
        if options.faults:
            world.one_fault(n, probe)
        else:
            world.one_kill(n, probe)
    world.over.set()
    for client in writers + followers:
        client.join(SETTLE_S)
        if client.is_alive():
            world.fail(f"{client.name} does not end: {client.doing}\n" +
                       probe("Diagnostics.get_text"))
    if not world.failures:
        world.check_pictures(probe, followers)
        world.check_nothing_held(probe)
    world.kill()
    world.check_db()


def tell(world):
    times = sorted(world.restart_ms)
    if times:
        print("from SIGKILL to the first true reply: p50 %.0f ms, p99 %.0f ms, longest %.0f ms"
              % (times[len(times) // 2], times[len(times) * 99 // 100], times[-1]))
    print(len(times), "kills;", ", ".join(f"{n} {what}" for what, n in sorted(world.counts.items())))
    for text in world.failures[:20]:
        print("FAILED:", text)
    if world.failures:
        print(f"seed {world.options.seed}; the daemon said:\n{world.daemon.log_text()}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--schema", required=True)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--check-db-every", type=int, default=5)
    parser.add_argument("--faults", type=int, default=0)
    parser.add_argument("--shim")
    options = parser.parse_args()
    print("seed", options.seed, flush=True)
    world = World(options)
    try:
        run(world)
    finally:
        tell(world)
        world.daemon.clear()
    return 1 if world.failures else 0


if __name__ == "__main__":
    sys.exit(main())
