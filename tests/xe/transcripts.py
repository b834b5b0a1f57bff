#!/usr/bin/env python3
"""Transcripts of xe: what is typed, and exactly what comes out, replayed against the daemon.

    transcripts.py [GROUP ...]            replays transcripts/GROUP.txt, all of them without a name
    transcripts.py --accept [GROUP ...]   writes into the files what came out, for a person to look at
    transcripts.py --coverage             is there one for each command the daemon offers?
    XENOLITHD=BUILD/xenolithd             the daemon to play with

Each file gets a daemon of its own, on a copy of the world in world.py: nothing that one file does is
seen in another. A new file needs nothing but its `$ xe` lines; --accept fills in the rest.

    # A line that begins with # is a comment.
    $ xe vm-list params=name-label,power-state name-label=web
    name-label ( RW)     : web
       power-state ( RO): running
                                        the two empty lines of a list are output, too; the empty line
                                        that ends a block is not
    $ xe vm-start uuid=<VM web>
    ! The VM is not in the power state that this needs.       a line on stderr
    = 1                                                       the exit code, where it is not 0

    $ xe vm-uninstall uuid=<VM web>
    < yes                               a line on stdin; as many as there are questions

Before the `$` may stand who types:  nothing: the field's client over TCP;  tls, unix: the same over
these;  ours: our own client, its output into a file;  ours80: at a terminal of 80 columns.
`-u NAME -pw PASSWORD` are as everywhere. `$ cat FILE` and `$ ls` show what is in the client's folder.

What differs from run to run has a name that does not: <VM web> is its uuid, <VM web ref> its reference, in
both directions. Names come from the rows: CLASS and a name that people would know the row by
(<VBD web:0>, <VIF web/1>, <PBD fast>, <task LABEL>; <VM twin 2> the second of that name). What has no row
any more is <uuid 1>, <ref 1>. Times are <time>, what the machine says about itself is <machine>. How many
cards, PCI devices, processors it has is its own affair: <PIF card>, <PCI device>, <network of card>,
<host_cpu 0> are the first of them; lists of these (and of networks) want a filter here.
Records of a list are put in the order of their text: theirs means nothing.

Lines that begin with @ do something beside:
    @ api METHOD ARG ...        a call to the API (words, or JSON: "300" is a string)
    @ wait CLASS NAME FIELD VALUE    until the row's field, as the API has it, is so; as text, or JSON
    @ booted NAME               until the VM's guest has told what it can do
    @ file NAME TEXT            a file in the client's folder
    @ needs PIF                 not replayed on machines without a network card
    @ daemon OPTION ...         more options for this file's daemon
    @ account NAME PASSWORD ROLE    somebody who may log in; not replayed where PAM cannot be asked
    @ mask REGEX NAME           what matches is <NAME> from here on (of a group: only that)
"""
import argparse
import concurrent.futures
import difflib
import glob
import json
import os
import re
import shlex
import shutil
import sys
import tempfile
import time

import thin
import world as worlds
from world import harness
import accounts  # noqa: E402, from the integration tests, too

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "transcripts")
UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
TIME = re.compile(r"\b(?!1970|2099)[12]\d{3}-?\d\d-?\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z")
PROMPT = re.compile(r"(ours\d*|tls|unix|)\$ (.*)")
PLACEHOLDER = re.compile(r"<(\w+ [^<>]+)>")
# A set of references, as text, JSON, or lines of a table: in no order.
SETS = re.compile(r"""<[^<>]+>(?:(; |\n +)<[^<>]+>)(?:\1<[^<>]+>)*|"<[^<>"]+>"(?:(,)"<[^<>"]+>")+""")
# Lines about one of several objects.
ITEMS = re.compile(r"(?m)(?:^VM : <.*\n)+|(?:^VDI: <.*\n)+")
# Lists whose order says something.
ORDERED = {"vm-disk-list", "vm-cd-list", "snapshot-disk-list"}
RECORD = re.compile(r"\S+ \([ SM]R[OW]\)")
# Fields that the machine decides, as the command line calls them.
MACHINE = ("address|boot_time|build_number|capabilities|chipset-info|cpu_info|cpu-info|device-name|features"
           "|flags|gateway|hostname|ip|IP|IPv6|iscsi_iqn|linux|MAC-address|memory-free|memory-free-computed"
           "|memory-total|model|modelname|netmask|physical-size|physical-utilisation|software-version"
           "|speed|stepping|uptime|vendor|DNS|IP-configuration-mode|IPv6-configuration-mode|family")


# ---- names ----

def label_of(cls, record, name):
    """What people would call a row; name(cls, ref) names another row."""
    if cls in ("VBD", "VUSB"):
        return f"{name('VM', record['VM'])}:{record.get('userdevice', '')}"
    if cls == "VIF":
        return f"{name('VM', record['VM'])}/{record['device']}"
    if cls == "PBD":
        return name("SR", record["SR"])
    if cls == "console":
        return f"{name('VM', record['VM'])} {record['protocol']}"
    if cls == "PIF":
        return "card" + (f".{record['VLAN']}" if record["VLAN"] != -1 else "")
    if cls == "PCI":
        return "device"
    if cls == "network" and record["PIFs"] and record["bridge"].startswith("xenbr"):
        return "of card"
    if cls == "VLAN":
        return str(record["tag"])
    if cls == "host_cpu":
        return str(record["number"])
    if cls == "VM" and record["is_control_domain"]:
        return "dom0"
    if cls == "message":
        return record["name"] + " of " + name(record["cls"], record["obj_uuid"])
    if cls == "VDI" and len(record["VBDs"]) == 1:
        vbd = name.rows["VBD"].get(record["VBDs"][0])
        vm = name("VM", vbd["VM"]) if vbd else ""
        if vm not in record["name_label"]:
            return f"{record['name_label']} of {vm}"
    for field in ("name_label", "name", "subject_identifier", "value", "pci_id", "type"):
        if record.get(field):
            return str(record[field])
    return ""


class Names:
    """uuids and references to names and back, as the API shows the rows."""

    classes = ("pool", "host", "VM", "SR", "VDI", "network", "PIF", "PBD", "VBD", "VIF", "console", "task",
               "subject", "role", "secret", "VM_appliance", "VM_group", "SM", "host_cpu", "PCI",
               "Bond", "VLAN", "blob", "VM_metrics", "VM_guest_metrics", "host_metrics", "PIF_metrics",
               "Certificate", "VTPM", "tunnel", "crashdump", "host_crashdump", "pool_update",
               "Observer", "PGPU", "GPU_group", "VGPU", "VGPU_type", "PUSB", "USB_group", "VUSB", "VMSS", "Caller",
               "Rate_limit", "message")

    def __init__(self, client):
        self.client = client
        self.of, self.back, self.labels, self.cards = {}, {}, {}, []  # uuid or ref to name; name to it; ref to label
        self.unknown = {}
        self.refresh()

    def refresh(self):
        rows = {cls: self.client(cls + ".get_all_records") for cls in self.classes}
        self.cards = sorted({pif["device"] for pif in rows["PIF"].values()} | {"eth0"})
        holders = {}  # rows without a name of their own are called as what has them
        for holder, field in (("VM", "metrics"), ("VM", "guest_metrics"), ("host", "metrics"),
                              ("PIF", "metrics")):
            holders.update({record[field]: (holder, ref) for ref, record in rows[holder].items()})

        def name(cls, ref):
            record = rows.get(cls, {}).get(ref)
            if record and ref not in self.labels:
                label = label_of(cls, record, name) or str(len(self.labels))
                self.labels[ref] = self.labels[record["uuid"]] = label
            return self.labels.get(ref, "nothing")

        name.rows = rows
        for cls, records in rows.items():
            plain = {ref: json.dumps([record.get("name_label"), record.get("name_description")])
                     for ref, record in records.items() if ref not in self.of}
            for ref in sorted(plain, key=lambda ref: (plain[ref], records[ref].get("is_a_snapshot"))):
                label = name(*holders[ref]) if ref in holders else name(cls, ref)
                self.add(f"{cls} {label}".rstrip(), ref, records[ref]["uuid"])

    def add(self, name, ref, uuid):
        name = re.sub("[<>]", "", name)
        if name in self.back:
            name = next(f"{name} {n}" for n in range(2, 10000) if f"{name} {n}" not in self.back)
        self.of[ref], self.of[uuid] = name + " ref", name
        self.back[name], self.back[name + " ref"] = uuid, ref

    def resolve(self, text):
        """<VM web> to its uuid."""
        def value(match):
            if match[1] not in self.back:
                self.refresh()
            if match[1] not in self.back:
                cls = match[1].split()[0]
                raise LookupError(f"there is no <{match[1]}>; of its class there are: " + ", ".join(
                    f"<{name}>" for name in sorted(self.back) if name.split()[0] == cls))
            return self.back[match[1]]
        return PLACEHOLDER.sub(value, text)

    def hide(self, text, typed=""):
        """uuids to names; those that were typed stay."""
        found = set(re.findall(f"OpaqueRef:{UUID}|(?<!:){UUID}", text))
        if any(word not in self.of and word not in typed for word in found):
            self.refresh()

        def name(match):
            word = match[0]
            if word in self.of:
                return f"<{self.of[word]}>"
            if word in typed:
                return word
            kind = "ref" if word.startswith("OpaqueRef:") else "uuid"
            number = self.unknown.setdefault(word, sum(k.startswith("OpaqueRef:") == (kind == "ref")
                                                       for k in self.unknown) + 1)
            return f"<{kind} {number}>"
        return re.sub(f"OpaqueRef:{UUID}|{UUID}", name, text)


# ---- files ----

class Block:
    """A line of a transcript with what belongs to it. kind: $ @ #"""

    def __init__(self, kind, text, who=""):
        self.kind, self.text, self.who = kind, text, who
        self.stdin, self.output = [], []

    def lines(self):
        if self.kind == "$":
            return [f"{self.who}$ {self.text}", *("< " + line for line in self.stdin), *self.output, ""]
        return [f"{self.kind} {self.text}".rstrip() if self.kind else ""]


def read_transcript(path):
    with open(path, encoding="utf-8") as file:
        lines = file.read().split("\n")[:-1]
    blocks, current = [], None
    for line in lines:
        command = PROMPT.fullmatch(line)
        if command:
            current = Block("$", command[2], command[1])
            blocks.append(current)
        elif line[:2] in ("@ ", "# ") or line in ("@", "#"):
            current = None
            blocks.append(Block(line[0], line[2:]))
        elif current is None:
            blocks.append(Block("", ""))
        elif line.startswith("< ") and not current.output:
            current.stdin.append(line[2:])
        else:
            current.output.append(line)
    for block in blocks:
        if block.output and block.output[-1] == "":
            block.output.pop()
    return blocks


def write_transcript(blocks):
    out = []
    for i, block in enumerate(blocks):
        out += block.lines()
        if block.kind == "@" and i + 1 < len(blocks) and blocks[i + 1].kind not in ("", "@"):
            out.append("")
    return "\n".join(out) + "\n"


def guarded(line):
    """A line of output that would read as something else in the file."""
    return "\\" + line if line[:2] in ("! ", "= ", "< ", "@ ", "# ") or line[:1] == "\\" \
        or line in ("@", "#") or PROMPT.fullmatch(line) else line


# ---- playing ----

class Skip(Exception):
    pass


class Player:
    """One transcript, with a daemon on a copy of the world."""

    def __init__(self, path, world):
        self.path, self.world = path, world
        self.group = os.path.splitext(os.path.relpath(path, FOLDER))[0]
        self.blocks = read_transcript(path)
        self.folder = tempfile.mkdtemp(prefix="xe-transcript-")
        self.masks = []
        self.daemon = self.client = self.names = None
        self.commands = 0

    def play(self):
        """The blocks as they came out."""
        options = [word for block in self.blocks if block.kind == "@"
                   and block.text.startswith("daemon ") for word in shlex.split(block.text)[1:]]
        if any(block.who == "tls" for block in self.blocks) and "--https" not in options:
            options += ["--https", "127.0.0.1:0"]
        people = {name: password for name, password, _ in self.accounts()}
        self.people = accounts.Accounts(**people) if people and accounts.pam_is_there() else None
        if people and not self.people:
            raise Skip("no PAM here")
        options += self.people.options() if people else []
        state = worlds.copy(self.world, self.folder)
        self.daemon = worlds.Daemon(state, *options)
        os.mkdir(os.path.join(self.folder, "files"))
        try:
            self.daemon.start()
            self.client = self.daemon.client()
            self.add_people()
            self.names = Names(self.client)
            done = [self.play_block(block) for block in self.blocks]
            self.daemon.close_clients()
            status = self.daemon.stop()  # a sanitizer may have something to say
            if status:
                raise RuntimeError(f"the daemon ended with {status}:\n" + self.daemon.log_text())
            return done
        finally:
            self.daemon.close_clients()
            self.daemon.kill()
            shutil.rmtree(self.daemon.folder, ignore_errors=True)
            shutil.rmtree(self.folder, ignore_errors=True)
            if self.people:
                self.people.clear()

    def accounts(self):
        return [shlex.split(block.text)[1:] for block in self.blocks
                if block.kind == "@" and block.text.startswith("account ")]

    def add_people(self):
        for name, _, role in self.accounts():
            known = [ref for ref, subject in self.client("subject.get_all_records").items()
                     if subject["subject_identifier"] == name]
            subject = known[0] if known else self.client("subject.create", {
                "subject_identifier": name, "other_config": {"subject-name": name}})
            for held in self.client("subject.get_roles", subject):
                self.client("subject.remove_from_roles", subject, held)
            self.client("subject.add_to_roles", subject, self.client("role.get_by_name_label", role)[0])

    def play_block(self, block):
        if block.kind == "$":
            return self.play_command(block)
        if block.kind == "@":
            word, _, rest = block.text.partition(" ")
            getattr(self, "do_" + word)(rest)
        return block

    def do_api(self, text):
        method, *words = re.findall(r'"[^"]*"|<[^<>]*>|[{[].*[]}]|\S+', text)
        self.client(method, *(as_json(self.names.resolve(word)) for word in words))

    def do_wait(self, text):
        cls, name, field, value = shlex.split(text)
        name = f"{cls} {name}"
        self.names.resolve(f"<{name}>")
        ref = self.names.back[name + " ref"]
        harness.Events(self.client, [f"{cls.lower()}/{ref}"], token="").wait_for(
            ref, **{field: as_json(value)})

    def do_booted(self, text):
        self.names.resolve(f"<VM {text}>")
        worlds.wait_for_guest(self.client, self.names.back[f"VM {text} ref"])

    def do_file(self, text):
        name, _, content = text.partition(" ")
        with open(os.path.join(self.folder, "files", name), "w", encoding="utf-8") as file:
            file.write(content)

    def do_needs(self, text):
        if not self.client(text + ".get_all"):
            raise Skip(f"no {text} here")

    def do_daemon(self, text):
        pass  # was looked at before the start

    do_account = do_daemon

    def do_mask(self, text):
        pattern, name = shlex.split(text)
        self.masks.append((re.compile(pattern), f"<{name}>"))

    def play_command(self, block):
        done = Block("$", block.text, block.who)
        done.stdin = block.stdin
        typed = self.names.resolve(block.text)
        words = shlex.split(typed)
        self.commands += 1
        if words[0] == "xe":
            result = self.run(block.who, words[1:], "".join(line + "\n" for line in block.stdin))
        else:
            result = getattr(self, "run_" + words[0])(*words[1:])
        done.output = self.shown(words, result, typed)
        return done

    def run_cat(self, name):
        with open(os.path.join(self.folder, "files", name), "rb") as file:
            return thin.Result(file.read(), b"", 0)

    def run_ls(self):
        folder = os.path.join(self.folder, "files")
        lines = [f"{name} {os.path.getsize(os.path.join(folder, name))}" for name in sorted(os.listdir(folder))]
        return thin.Result("".join(line + "\n" for line in lines).encode(), b"", 0)

    def run(self, who, words, stdin):
        login = {"-u": "root", "-pw": harness.PASSWORD}
        while words and words[0] in login:
            login[words[0]] = words[1]
            words = words[2:]
        options = {"user": login["-u"], "password": login["-pw"],
                   "folder": os.path.join(self.folder, "files")}
        address = self.daemon.address
        if who == "tls":
            address, options["tls"] = self.daemon.https_address, True
        elif who == "unix":
            address, options["transfers"] = self.daemon.socket, self.daemon.address
        elif who.startswith("ours"):
            options.update(ours=True, columns=int(who[4:] or 0))
        return thin.Client(address, **options).run(*words, stdin=stdin.encode())

    # What came out, as the file has it

    def shown(self, words, result, typed):
        out = result.stdout.decode("utf-8", "backslashreplace")
        err = result.stderr.decode("utf-8", "backslashreplace")
        out, err = self.masked(out, typed), self.masked(err, typed)
        command = words[1] if len(words) > 1 else ""
        if command == "complete":
            out = "".join(sorted(out.splitlines(True)))
        elif command.endswith("-list") and not command.endswith("-param-list") and command not in ORDERED:
            out = in_order(out, "--minimal" in words)
        elif "--multiple" in words:
            out = "operation failed on".join(sorted(out.split("operation failed on")))
        lines = []
        for text, mark in ((out, ""), (err, "! ")):
            if text:
                rows = text.split("\n")
                last = rows.pop()
                lines += [mark + row if mark else guarded(row) for row in rows]
                if last:
                    lines += [mark + last, mark + "\\(no newline)"]
        return lines + ([f"= {result.code}"] if result.code else [])

    def masked(self, text, typed):
        text = self.names.hide(text, typed)
        text = SETS.sub(sorted_set, text)
        text = ITEMS.sub(lambda match: "".join(sorted(match[0].splitlines(True))), text)
        text = re.sub(r"(?m)^domid: \d+$", "domid: <domid>", text)
        for pattern, name in self.masks:
            text = pattern.sub(lambda match, name=name: name if not pattern.groups else text_with(
                match, name), text)
        text = re.sub(r"\b(?:%s)\b" % "|".join(map(re.escape, self.names.cards)), "<card>", text)
        text = re.sub(r"\b[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.\d\b", "<PCI address>", text)
        text = re.sub(r"https://[\w.:\[\]]+/console", "https://<machine>/console", text)
        text = re.sub(r"\bxenbr\d+\b", "<bridge>", text)
        text = re.sub(r"(?<=Control domain on host: )[\w.-]+", "<machine>", text)
        text = TIME.sub(lambda match: match[0] if match[0] in typed else "<time>", text)
        text = text.replace(self.daemon.state, "<state>").replace("\r", "<CR>")
        text = re.sub(r"(?<!\d)-?\d{12,20}:-?\d{12,20}\b", "<generation>", text)
        text = re.sub(r"\b(ago|in) \d+ s\b", r"\1 <n> s", text)
        text = re.sub(r"(?m)^( *(?:%s) \([ SM]R[OW]\)(?: \[DEPRECATED\])? *: ).*$" % MACHINE,
                      r"\1<machine>", text)
        return re.sub(r"\b1[6-9]\d{8}(\.\d*)?\b", "<seconds>", text)


def text_with(match, name):
    """What was matched, with a name in the place of its group."""
    begin, end = match.start(1) - match.start(), match.end(1) - match.start()
    return match[0][:begin] + name + match[0][end:]


def sorted_set(match):
    separator = match[1] or match[2]
    return separator.join(sorted(match[0].split(separator)))


def as_json(word):
    try:
        return json.loads(word)
    except ValueError:
        return word


def in_order(text, minimal):
    """Records by their text; the members of a minimal list by theirs."""
    if minimal:
        first, newline, rest = text.partition("\n")
        return ",".join(sorted(re.split(r"(?<!\\),", first))) + newline + rest
    if re.match(r"[a-z-]+  +[a-z]", text):  # a table
        head, newline, rows = text.partition("\n")
        return head + newline + "".join(sorted(rows.splitlines(True)))
    records = text.split("\n\n\n")
    if len(records) > 2 and records[-1] == "" and all(map(RECORD.match, records[:-1])):
        return "\n\n\n".join(sorted(records[:-1])) + "\n\n\n"
    return text


# ---- the program ----

def play(path, world, accept):
    """(group, ok, what to say)"""
    player, begin = Player(path, world), time.monotonic()
    try:
        after = write_transcript(player.play())
    except Skip as reason:
        return player.group, True, f"skipped: {reason}"
    except Exception as error:  # of one file: the others are replayed all the same
        return player.group, False, f"{type(error).__name__}: {error}"
    before = write_transcript(player.blocks)
    summary = f"{player.commands} commands, {time.monotonic() - begin:.2f} s"
    if after == before:
        return player.group, True, summary
    if accept:
        with open(path, "w", encoding="utf-8") as file:
            file.write(after)
        return player.group, True, summary + ": written"
    diff = difflib.unified_diff(before.split("\n"), after.split("\n"), "expected", "came out", n=4,
                                lineterm="")
    return player.group, False, "\n".join(diff)


def coverage(paths, world):
    """The commands that the daemon offers and no transcript has in text, and in --minimal."""
    folder = tempfile.mkdtemp(prefix="xe-transcript-")
    daemon = worlds.Daemon(worlds.copy(world, folder))
    try:
        daemon.start()
        client = thin.Client(daemon.address, password=harness.PASSWORD)
        offered = client.run("help", "--minimal", "--all").stdout.decode().strip().split(",")
    finally:
        daemon.kill()
        shutil.rmtree(daemon.folder, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)
    text, minimal = set(), set()
    for path in paths:
        for block in read_transcript(path):
            words = block.text.split()
            if block.kind == "$" and len(words) > 1:
                (minimal if "--minimal" in words or "minimal=true" in words else text).add(words[1])
    return (sorted(set(offered) - text), sorted(set(offered) - minimal), len(offered))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("groups", nargs="*")
    parser.add_argument("--accept", action="store_true")
    parser.add_argument("--coverage", action="store_true")
    args = parser.parse_args()
    everything = sorted(glob.glob(os.path.join(FOLDER, "**", "*.txt"), recursive=True))
    paths = [os.path.join(FOLDER, group + ".txt") for group in args.groups] or everything
    scratch = tempfile.mkdtemp(prefix="xe-transcripts-")
    try:
        world = worlds.World(scratch).make()
        if args.coverage:
            text, minimal, offered = coverage(everything, world)
            print(f"{offered} commands; without a transcript in text: {len(text)}: {' '.join(text)}\n"
                  f"in --minimal: {len(minimal)}: {' '.join(minimal)}")
            return 1 if text or minimal or offered < 50 else 0
        failed = 0
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            for group, good, words in pool.map(lambda path: play(path, world, args.accept), paths):
                print(f"{'ok  ' if good else 'FAIL'} {group}: {words}", flush=True)
                failed += not good
        return 1 if failed or not paths else 0
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
