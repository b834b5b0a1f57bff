#!/usr/bin/env python3
"""SIGKILL of the daemon at random moments, under clients of its xenstore.

Each writer has a place of its own, where it writes, removes, and changes four nodes together in a
transaction, without a pause. Whatever was acknowledged is there after each restart, with its
permissions; what was under way is there or not, and of a transaction all four or none. Values are
large now and then, so that segments of the journal fill up and images are made meanwhile.

    store_kills.py [--kills N] [--seed S]
"""
import argparse
import os
import random
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "integration"))
import harness  # noqa: E402 pylint: disable=wrong-import-position
import xs_wire  # noqa: E402 pylint: disable=wrong-import-position

WRITERS = 6
NODES = 8
LONGEST_LIFE_S = 0.4
LONGEST_BIRTH_S = 0.03


class World:
    def __init__(self, options):
        self.random = random.Random(options.seed)
        self.daemon = harness.Daemon()
        self.socket = os.path.join(self.daemon.folder, "xenstored")
        self.daemon.options = ("--xenstore-socket", self.socket, "--xenstore-history-size", "8M")
        self.over = False
        self.failures = []
        self.n_changes = 0

    def fail(self, text):
        self.failures.append(text)
        self.over = True


class Writer(threading.Thread):
    """What it was told: self.known. What it asked and does not know the end of: self.open."""

    def __init__(self, world, number, seed):
        super().__init__(daemon=True)
        self.world, self.number = world, number
        self.random = random.Random(seed)
        self.known = {}  # node -> value, or None: removed
        self.open = {}
        self.count = 0

    def path(self, node):
        return f"/kills/{self.number}/{node}"

    def value(self):
        self.count += 1
        text = f"{self.number}.{self.count}."
        return text + "x" * (self.random.randrange(3500) if self.random.random() < 0.3 else 5)

    # ---- after a kill ----

    def read(self, wire, node):
        try:
            return wire.ask(xs_wire.READ, self.path(node)).decode()
        except OSError as error:
            if str(error) != "ENOENT":
                raise
            return None

    def check(self, wire):
        found = {node: self.read(wire, node)
                 for node in [*range(NODES), *(f"t{i}" for i in range(4))]}
        for node, value in found.items():
            if node in self.open:
                continue
            if value != self.known.get(node):
                self.world.fail(f"{self.path(node)}: {str(value)[:20]}, was told "
                                f"{str(self.known.get(node))[:20]}")
        happened = {node for node in self.open if found[node] == self.open[node]}
        missed = {node for node in self.open if found[node] == self.known.get(node)}
        if happened | missed != set(self.open):
            self.world.fail(f"writer {self.number}: neither before nor after: {self.open}")
        if happened - missed and missed - happened:
            self.world.fail(f"writer {self.number}: half a transaction: {sorted(happened)}")
        self.known.update({node: found[node] for node in self.open})
        self.open = {}

    # ---- changes ----

    def change_one(self, wire):
        node = self.random.randrange(NODES)
        if self.random.random() < 0.2:
            self.open = {node: None}
            try:
                wire.ask(xs_wire.RM, self.path(node))
            except OSError as error:
                if str(error) != "ENOENT":
                    raise
        else:
            self.open = {node: self.value()}
            wire.call(xs_wire.WRITE, self.path(node).encode() + b"\0" +
                      self.open[node].encode())

    def change_four(self, wire):
        tx = int(wire.ask(xs_wire.TRANSACTION_START, "").rstrip(b"\0"))
        wanted = {f"t{i}": self.value() for i in range(4)}
        for node, value in wanted.items():
            wire.call(xs_wire.WRITE, self.path(node).encode() + b"\0" + value.encode(), tx=tx)
        self.open = wanted
        try:
            wire.ask(xs_wire.TRANSACTION_END, "T", tx=tx)
        except OSError as error:
            if str(error) != "EAGAIN":
                raise
            self.open = {}

    def live(self, wire):
        self.check(wire)
        while not self.world.over:
            if self.random.random() < 0.3:
                self.change_four(wire)
            else:
                self.change_one(wire)
            self.known.update(self.open)
            self.open = {}
            self.world.n_changes += 1

    def run(self):
        while not self.world.over:
            try:
                with xs_wire.Wire(self.world.socket) as wire:
                    self.live(wire)
            except (xs_wire.Gone, ConnectionError, FileNotFoundError, BrokenPipeError):
                time.sleep(0.002)  # there is no event for a socket that comes back
            except Exception as error:  # pylint: disable=broad-except
                self.world.fail(f"writer {self.number}: {error!r}")


def kill_at_birth(world):
    process = subprocess.Popen(world.daemon.command(), stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(world.random.uniform(0, LONGEST_BIRTH_S))
    process.kill()
    process.wait()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    print("seed", options.seed, flush=True)
    world = World(options)
    writers = [Writer(world, n, options.seed * 100 + n) for n in range(WRITERS)]
    world.daemon.start()
    for writer in writers:
        writer.start()
    for _ in range(options.kills):
        time.sleep(world.random.uniform(0, LONGEST_LIFE_S))
        world.daemon.kill()
        if world.random.random() < 0.3:  # and while it starts
            kill_at_birth(world)
        world.daemon.start()
        if world.over:
            break
    time.sleep(0.2)
    world.over = True
    for writer in writers:
        writer.join()
    with xs_wire.Wire(world.socket) as wire:
        for writer in writers:
            writer.check(wire)
    world.daemon.clear()
    print(world.n_changes, "changes")
    for failure in world.failures:
        print(failure)
    return 1 if world.failures else 0


if __name__ == "__main__":
    sys.exit(main())
