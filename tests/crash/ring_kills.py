"""A guest talks to the xenstore through its ring while the daemon is killed again and again.

The guest is this program: its page is a file that it shares with the daemon, its event channel is
datagrams (modules/xenstore/server/ring_folder.h). It asks without a pause, in pieces of any size, and
knows what each answer must be. Whatever it sees of a kill is wrong, but for two things: a transaction
may have been aborted (EAGAIN), and a watch event may come twice.

    ring_kills.py [--kills N] [--seed S]
"""
import argparse
import mmap
import os
import random
import select
import socket
import struct
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "integration"))
import harness  # noqa: E402 pylint: disable=wrong-import-position

RING = 1024
PAGE = 4096
DOMID = 77
REQ_CONS, REQ_PROD, RSP_CONS, RSP_PROD = 2048, 2052, 2056, 2060
(DIRECTORY, READ, GET_PERMS, WATCH, UNWATCH, START, END, INTRODUCE, RELEASE, GET_PATH, WRITE, MKDIR, RM,
 SET_PERMS, EVENT, ERROR) = range(1, 17)
HEADER = struct.Struct("=IIII")
LIMIT = 60  # for an answer; a start of the daemon lies in between


class Socket:
    """Domain 0, on the daemon's socket."""

    def __init__(self, path):
        self.path = path
        self.wire = None

    def ask(self, kind, *strings):
        if not self.wire:
            self.wire = socket.socket(socket.AF_UNIX)
            self.wire.connect(self.path)
        body = b"".join(strings)
        self.wire.sendall(HEADER.pack(kind, 1, 0, len(body)) + body)
        answer = self.take(HEADER.size)
        kind, _, _, length = HEADER.unpack(answer)
        return kind, self.take(length)

    def take(self, length):
        data = b""
        while len(data) < length:
            piece = self.wire.recv(length - len(data))
            if not piece:
                raise ConnectionError("the daemon is gone")
            data += piece
        return data

    def close(self):
        if self.wire:
            self.wire.close()
            self.wire = None


class Guest:
    """The guest's end of the ring."""

    def __init__(self, folder, seed):
        self.random = random.Random(seed)
        self.daemon = os.path.join(folder, "events")
        self.channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.channel.bind(os.path.join(folder, f"{DOMID}.events"))
        self.channel.setblocking(False)
        with open(os.path.join(folder, f"{DOMID}.page"), "wb+") as page:
            page.truncate(PAGE)
            self.page = mmap.mmap(page.fileno(), PAGE)
        self.words = memoryview(self.page).cast("I")  # a store of a word is one store
        self.waiting = b""
        self.request = 0
        self.events = []

    def index(self, at):
        return self.words[at // 4]

    def set_index(self, at, value):
        self.words[at // 4] = value & 0xffffffff

    def signal(self):
        try:
            self.channel.sendto(struct.pack("=I", DOMID), self.daemon)
        except (ConnectionError, FileNotFoundError, BlockingIOError):
            pass  # as with an event channel whose other end is gone: it looks when it is back

    def pause(self):
        """Until the xenstore signals; it looks by itself now and then, as signals may be lost."""
        select.select([self.channel], [], [], 0.2)
        try:
            while True:
                self.channel.recv(16)
        except BlockingIOError:
            pass

    def send(self, data):
        end = time.monotonic() + LIMIT
        while data:
            prod = self.index(REQ_PROD)
            used = prod - self.index(REQ_CONS) & 0xffffffff
            assert used <= RING, f"its consumer is {self.index(REQ_CONS)}, our producer {prod}"
            room = min(RING - used, RING - prod % RING, self.random.choice((1, 7, 100, RING)))
            if not room:
                assert time.monotonic() < end, "nobody takes what is in the ring"
                self.signal()
                self.pause()
                continue
            piece, data = data[:room], data[room:]
            self.page[prod % RING:prod % RING + len(piece)] = piece
            self.set_index(REQ_PROD, prod + len(piece))
            self.signal()

    def receive(self):
        """A frame: (type, request, body)."""
        end = time.monotonic() + LIMIT
        while True:
            if len(self.waiting) >= HEADER.size:
                kind, request, _, length = HEADER.unpack_from(self.waiting)
                assert length <= 4096 and kind < 40, f"no frame: {self.waiting[:64]}"
                if len(self.waiting) >= HEADER.size + length:
                    body = self.waiting[HEADER.size:HEADER.size + length]
                    self.waiting = self.waiting[HEADER.size + length:]
                    return kind, request, body
            cons = self.index(RSP_CONS)
            there = self.index(RSP_PROD) - cons & 0xffffffff
            assert there <= RING, f"its producer is {self.index(RSP_PROD)}, our consumer {cons}"
            there = min(there, RING - cons % RING, self.random.choice((1, 7, 100, RING)))
            if not there:
                assert time.monotonic() < end, "no answer"
                self.pause()
                continue
            self.waiting += self.page[RING + cons % RING:RING + cons % RING + there]
            self.set_index(RSP_CONS, cons + there)
            self.signal()

    def ask(self, kind, *strings, tx=0):
        """(type, body) of the answer, which must be the next but for events."""
        self.request += 1
        body = b"".join(strings)
        self.send(HEADER.pack(kind, self.request, tx, len(body)) + body)
        while True:
            answer, request, body = self.receive()
            if answer != EVENT:
                assert request == self.request, f"an answer to {request} instead of {self.request}"
                return answer, body
            self.events.append(body)

    def expect(self, kind, *strings, tx=0):
        answer, body = self.ask(kind, *strings, tx=tx)
        assert answer == kind, f"{kind} {strings} was answered with {body}"
        return body


def one_round(guest, i):
    """What a guest does that would tell it of a request that was lost, or carried out twice."""
    value = b"%d " % i * guest.random.choice((1, 10, 300))
    token = b"token-%d\0" % i
    guest.expect(WRITE, b"data/n\0", value)
    guest.expect(WATCH, b"data/n\0", token)  # a second time it would be EEXIST
    assert guest.expect(READ, b"data/n\0") == value
    tx = int(guest.expect(START, b"\0").rstrip(b"\0"))
    answers = [guest.ask(WRITE, b"data/in-tx\0", b"%d" % i, tx=tx), guest.ask(END, b"T\0", tx=tx)]
    aborted = any(answer == ERROR and body == b"EAGAIN\0" for answer, body in answers)
    assert aborted or all(answer != ERROR for answer, _ in answers), answers
    if not aborted:
        assert guest.expect(READ, b"data/in-tx\0") == b"%d" % i
    guest.expect(UNWATCH, b"data/n\0", token)  # a second time it would be ENOENT
    # By now the watch has fired, at least once: each one does at once.
    assert b"data/n\0" + token in guest.events, (token, guest.events)
    guest.events.clear()
    return aborted


class Player(threading.Thread):
    def __init__(self, guest):
        super().__init__(daemon=True)
        self.guest = guest
        self.rounds = self.aborted = 0
        self.ends = False
        self.error = None

    def run(self):
        try:
            while not self.ends:
                self.rounds += 1
                self.aborted += one_round(self.guest, self.rounds)
        except Exception as error:  # pylint: disable=broad-except
            self.error = error


def introduce(dom0):
    path = b"/local/domain/%d\0" % DOMID
    assert dom0.ask(INTRODUCE, b"%d\0" % DOMID, b"1\0", b"1\0")[0] == INTRODUCE
    assert dom0.ask(WRITE, path, b"")[0] == WRITE
    assert dom0.ask(SET_PERMS, path, b"n%d\0" % DOMID)[0] == SET_PERMS


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    daemon = harness.Daemon()
    rings = os.path.join(daemon.folder, "rings")
    store = os.path.join(daemon.folder, "xenstored")
    daemon.options = ("--xenstore-rings", rings, "--xenstore-socket", store)
    chance = random.Random(options.seed)
    dom0 = Socket(store)
    try:
        daemon.start()
        player = Player(Guest(rings, options.seed))
        introduce(dom0)
        player.start()
        for kill in range(1, options.kills + 1):
            before = player.rounds
            while player.rounds < before + 3 and player.is_alive():
                time.sleep(0.001)
            player.join(chance.random() * 0.02)
            if kill % 5:
                daemon.kill()
            else:
                daemon.stop()  # in order: the same to a guest
            daemon.start()
            if player.error:
                break
        player.ends = True
        player.join(LIMIT)
        assert not player.is_alive(), "the guest is stuck"
        if player.error:
            raise player.error
        dom0.close()
        assert dom0.ask(READ, b"/local/domain/%d/data/n\0" % DOMID)[1].startswith(b"%d " % player.rounds)
        print(f"{options.kills} kills, {player.rounds} rounds of the guest, {player.aborted} "
              "transactions aborted", flush=True)
        dom0.close()
        daemon.stop()
    except BaseException:
        print(f"seed {options.seed}; the daemon said:\n{daemon.log_text()}", flush=True)
        raise
    finally:
        dom0.close()
        daemon.clear()


if __name__ == "__main__":
    main()
