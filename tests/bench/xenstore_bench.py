"""The embedded xenstore beside Debian's C xenstored and oxenstored and an empty server, under the same
load (bench_xenstore speaks the raw protocol to any xenstored's socket). For tests/bench/run.

Server and client share a core unless the row says otherwise. Each number is the median of some
repetitions, in which the servers take turns. The other xenstoreds run without a hypervisor under a
preloaded shim. Beside the rate, the server's own CPU time a request is kept (server_us): it says
more than the rate on a machine that has other things to do.
"""
import glob
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import time


def first_that_exists(*patterns):
    return next((path for pattern in patterns for path in sorted(glob.glob(pattern))), None)


class Server:
    """A xenstored in a scratch folder."""
    name, title = "", ""

    def __init__(self, bench, folder):
        self.bench, self.folder, self.process = bench, folder, None
        folder.mkdir(parents=True, exist_ok=True)
        self.socket = folder / "socket"

    def command(self):
        """Its words and its environment."""
        raise NotImplementedError

    def spawn(self):
        words, environment = self.command()
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                [str(word) for word in words], env=os.environ | environment, stdout=log, stderr=log,
                stdin=subprocess.DEVNULL, preexec_fn=self.bench.pinned({self.bench.server_core}))

    def start(self):
        self.socket.unlink(missing_ok=True)
        self.spawn()
        self.bench.xs("first", self)
        return self

    def stop(self, signo=signal.SIGKILL):
        if self.process:
            self.process.send_signal(signo)
            self.process.wait()
        self.process = None

    def rss_mb(self):
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        return 0.0

    def cpu_us(self):
        tasks = pathlib.Path(f"/proc/{self.process.pid}/task")
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir()) / 1e3


class Preloaded(Server):
    program = None

    def environment(self):
        return {"LD_PRELOAD": str(self.bench.programs / "xen_shim.so"),
                "XENSTORED_RUNDIR": str(self.folder), "XENSTORED_ROOTDIR": str(self.folder)}


class CXenstored(Preloaded):
    name, title = "c", "C xenstored"
    program = first_that_exists("/usr/lib/xen-*/bin/xenstored", "/usr/libexec/xen/bin/xenstored",
                                "/usr/sbin/xenstored")

    def command(self):
        return [self.program, "-N", "-F", self.folder / "pid"], self.environment()


class OXenstored(Preloaded):
    name, title = "ocaml", "oxenstored"
    program = first_that_exists("/usr/lib/xen-*/bin/oxenstored", "/usr/libexec/xen/bin/oxenstored",
                                "/usr/sbin/oxenstored")

    def command(self):
        """As packaged, but silent: its log of every access costs it much."""
        config = self.folder / "config"
        config.write_text(f"pid-file = {self.folder}/pid\npersistent = false\n"
                          f"xenstored-log-file = {self.folder}/log\nxenstored-log-level = null\n"
                          "merge-activate = true\nperms-activate = true\n"
                          "perms-watch-activate = true\nquota-activate = true\n")
        return [self.program, "--no-fork", "--no-domain-init", "--no-access-log",
                "--config-file", config], self.environment()


class Empty(Server):
    name, title = "ceiling", "ceiling"

    def command(self):
        return [self.bench.programs / "bench_xs_empty", self.socket], {}


class Ours(Server):
    name, title = "ours", "xenolith"

    def command(self):
        port = self.bench.free_port()
        password = self.folder / "password"
        password.write_text("bench\n")
        password.chmod(0o600)
        return [self.bench.args.daemon, "--state-dir", self.folder / "state", "--hypervisor", "sim",
                "--http", f"127.0.0.1:{port}", "--password-file", password,
                "--xenstore-socket", self.socket], {}


class Guests(Server):
    """Ours alone, with a socket for each of some guests."""
    name, quota_bytes = "guests", 0

    def __init__(self, bench, folder, guests):
        super().__init__(bench, folder)
        self.guests = guests

    def command(self):
        return [self.bench.programs / "bench_xs_guests", self.socket, str(self.guests)], {}

    def start(self):
        (self.folder / "log").unlink(missing_ok=True)
        super().start()
        self.quota_bytes = json.loads((self.folder / "log").read_text())["quota_bytes"]
        return self


class XenstoreBench:
    def __init__(self, bench, pinned, free_port):
        """@bench: tests/bench/run's own; its rows and numbers get ours too."""
        self.bench, self.pinned, self.free_port = bench, pinned, free_port
        self.args, self.short, self.add = bench.args, bench.short, bench.add
        self.programs = pathlib.Path(self.args.build) / "tests" / "bench"
        cores = sorted(os.sched_getaffinity(0))
        self.server_core, self.other_core = cores[0], cores[-1]
        self.kinds = [CXenstored, OXenstored, Empty, Ours]
        if self.args.servers:
            self.kinds = [kind for kind in self.kinds if kind.name in self.args.servers.split(",")]
        for kind in (CXenstored, OXenstored):
            if kind in self.kinds and not kind.program:
                print(f"  {kind.title} is not installed (Debian: xen-utils): its column stays "
                      "empty and goals against it are not judged", file=sys.stderr)
                self.kinds.remove(kind)
        self.numbers = bench.numbers.setdefault("xenstore", {})

    def xs(self, load, server, *words, cores=None):
        """One run of bench_xenstore; its JSON."""
        out = subprocess.run([self.programs / "bench_xenstore", load, server.socket,
                              *map(str, words)], check=True, stdout=subprocess.PIPE, timeout=600,
                             preexec_fn=self.pinned(cores or {self.server_core})).stdout
        return json.loads(out)

    def server(self, kind, name):
        return kind(self, self.bench.scratch / f"{kind.name}-{name}")

    # -- rates --

    def measure(self, server, load, words, apart):
        before = server.cpu_us()
        result = self.xs(load, server, *words, cores={self.other_core} if apart else None)
        count = result.get("requests") or result["commits"] + result["aborted"]
        result["server_us"] = (server.cpu_us() - before) / max(count, 1)
        return result

    def in_turns(self, name, load, words, apart=False, kinds=None):
        """Medians by server's name of everything the load tells."""
        servers = [self.server(kind, name).start() for kind in kinds or self.kinds]
        results = {server.name: [] for server in servers}
        for _ in range(self.short(5, 1)):
            for server in servers:
                results[server.name].append(self.measure(server, load, words, apart))
        for server in servers:
            server.stop()
        medians = {
            server: {key: statistics.median(one[key] for one in each) if key != "right"
                     else all(one[key] for one in each) for key in each[0]}
            for server, each in results.items()}
        self.numbers[name] = medians
        return medians

    @staticmethod
    def columns(medians, show):
        return "  ".join(f"{kind.name} {show(medians[kind.name])}"
                         for kind in (CXenstored, OXenstored, Empty) if kind.name in medians)

    def row(self, what, medians, goal, show, is_met):
        """One line: what the others have, then ours, judged if there is something to judge by."""
        print(f"  {what}: {self.columns(medians, show)}")
        ours = medians.get("ours")
        if ours:
            self.add(what, goal, show(ours), is_met(ours))

    def rate_row(self, what, medians, times, against=("c", "ocaml")):
        peers = [medians[name]["per_second"] for name in against if name in medians]

        def show(one):
            return f"{one['per_second'] / 1e3:.1f} k ({one['server_us']:.1f} us)"
        self.row(what, medians, f">= {times}x " + ("the better" if len(against) > 1 else against[0]),
                 lambda one: show(one) + (f" {one['per_second'] / max(peers):.1f}x"
                                          if peers and one is medians.get("ours") else ""),
                 lambda ours: ours["per_second"] >= times * max(peers) if peers else None)

    def rates(self):
        seconds = self.short(1, 0.1)
        for kind in ("read", "write"):
            self.rate_row(f"{kind}, 1 in flight",
                          self.in_turns(f"{kind}-1", "rate", (kind, 1, 1, seconds)), 1.5)
        for kind in ("read", "write"):
            self.rate_row(f"{kind}, 32 in flight",
                          self.in_turns(f"{kind}-32", "rate", (kind, 1, 32, seconds)), 6)
        for kind in ("read", "write"):
            self.rate_row(f"{kind}, 8 sockets, cores apart",
                          self.in_turns(f"{kind}-8", "rate", (kind, 8, 1, seconds), apart=True), 1.5)

    # -- transactions --

    def transactions(self):
        seconds = self.short(1, 0.1)
        self.rate_row("transactions of 4 writes, 8 clients", self.in_turns(
            "transactions", "transactions", ("own", 8, seconds)), 1.6)
        real = [kind for kind in self.kinds if kind is not Empty]
        # Before the clients are known to conflict each has lost once: a share of a long enough run.
        seconds = self.short(2, 0.1)
        # One request at a time, the clients being one after the other, ten round trips a commit: no
        # server comes much above 9 k there, so the rate is judged where they come in batches.
        for how, what, least in (("same", "one by one", 0), ("same-batched", "batched", 10000)):
            medians = self.in_turns(how, "transactions", (how, 8, seconds), kinds=real)
            self.conflict_row(f"same 4 keys, {what}", medians,
                              (">= 10 k, " if least else "") + "<= 0.05%",
                              lambda ours, least=least: ours["per_second"] >= least
                              and ours["aborted_share"] <= 0.0005)
        storm = self.in_turns("storm", "storm", (32, 200, 3, self.short(3, 1)), apart=True)
        peer = storm.get("ocaml")
        self.conflict_row("boot storm, 32 sockets, cores apart", storm, ">= 4x ocaml, 0",
                          lambda ours: ours["per_second"] >= 4 * peer["per_second"] and
                          ours["aborted"] == 0 if peer else None)

    def conflict_row(self, what, medians, goal, is_met):
        def show(one):
            return (f"{one['per_second'] / 1e3:.1f} k, {one['aborted_share'] * 100:.2f}%"
                    + ("" if one["right"] else " WRONG"))
        self.row(what, medians, goal, show, lambda ours: is_met(ours) and ours["right"])

    # -- watches --

    def watchers(self):
        medians = self.in_turns_watchers()
        self.row("1,000 connections watch: last told", medians, "< 2.4 ms",
                 lambda one: f"{one['last_us'] / 1e3:.2f} ms", lambda ours: ours["last_us"] < 2400)

    def in_turns_watchers(self):
        servers = [self.server(kind, "watchers").start() for kind in self.kinds if kind is not Empty]
        results = {server.name: [] for server in servers}
        for _ in range(self.short(5, 1)):
            for server in servers:
                results[server.name].append(self.xs("watchers", server, 1000, self.short(21, 3)))
        for server in servers:
            server.stop()
        self.numbers["watchers"] = {name: {"last_us": statistics.median(
            one["last_us"] for one in each)} for name, each in results.items()}
        return self.numbers["watchers"]

    # -- memory --

    def memory(self):
        for nodes, goal in ((100000, 13), (1000000, 130)):
            if nodes > self.short(1000000, 100000):
                continue
            grown = {}
            for kind in self.kinds:
                if kind is Empty or (nodes > 100000 and kind is not Ours):
                    continue  # the others take minutes to make a million
                server = self.server(kind, f"memory-{nodes}").start()
                before = server.rss_mb()
                filled = self.xs("fill", server, nodes, cores={self.other_core})
                grown[kind.name] = {"mb": server.rss_mb() - before, **filled}
                server.stop()
            self.numbers[f"memory-{nodes}"] = grown
            self.row(f"RSS growth, {nodes:,} nodes", grown, f"< {goal} MB",
                     lambda one: f"{one['mb']:.1f} MB", lambda ours: ours["mb"] < goal)

    # -- crash --

    def crash(self):
        nodes, left = 100000, {}
        for kind in self.kinds:
            if kind is Empty:
                continue
            server = self.server(kind, "crash").start()
            self.xs("fill", server, nodes, cores={self.other_core})
            firsts = []
            for _ in range(self.short(5, 2)):
                began_us = time.monotonic() * 1e6
                server.stop(signal.SIGKILL)
                server.spawn()
                firsts.append(self.xs("first", server,
                                      cores={self.other_core})["at_us"] - began_us)
            left[kind.name] = {**self.xs("count", server, nodes),
                               "first_ms": statistics.median(firsts) / 1e3}
            server.stop()
        self.numbers["crash"] = left
        self.row("after SIGKILL, 100,000 nodes: left, first reply", left, "all, < 100 ms",
                 lambda one: f"{one['nodes']}, {one['first_ms']:.0f} ms",
                 lambda ours: ours["nodes"] == nodes and ours["first_ms"] < 100)

    # -- hostile guests --

    def humble(self):
        """The guests' own need for a core shall not be in the way of who is measured there."""
        self.pinned({self.other_core})()
        os.nice(19)

    def hostile(self):
        """The control domain's reads while guests have all they may and ask for more."""
        seconds, folder = self.short(4, 0.5), self.bench.scratch / "guests"
        for guests in (1, 8):
            server = Guests(self, folder, guests).start()
            quiet = self.xs("latency", server, seconds / 2, cores={self.other_core})
            before = server.rss_mb()
            sieges = [subprocess.Popen(
                [self.programs / "bench_xenstore", "siege", f"{server.socket}.{domid}", "8",
                 str(seconds + 60)], stdout=subprocess.PIPE,
                preexec_fn=self.humble) for domid in range(1, guests + 1)]
            for siege in sieges:
                siege.stdout.readline()
            loud = self.xs("latency", server, seconds, cores={self.other_core})
            grown, quota = server.rss_mb() - before, guests * server.quota_bytes / (1 << 20)
            for siege in sieges:
                siege.kill()
                siege.wait()
            server.stop()
            self.numbers[f"hostile-{guests}"] = {"quiet": quiet, "loud": loud, "grown_mb": grown,
                                                 "quota_mb": quota}
            what = f"{guests} hostile guest{'s' if guests > 1 else ''}"
            self.add(f"{what}: memory", f"< {quota:.1f} MB, the quotas", f"{grown:.1f} MB",
                     grown < quota)
            self.add("  control domain's reads, p50: quiet, now", "",
                     f"{quiet['p50_us']} us, {loud['p50_us']} us")
            self.add("  p99", "< 10 ms", f"{quiet['p99_us']} us, {loud['p99_us']} us",
                     loud["p99_us"] < 10000)

    def run(self):
        parts = ("rates", "transactions", "watchers", "memory", "crash", "hostile")
        for name in self.args.xenstore.split(",") if self.args.xenstore else parts:
            getattr(self, name)()
