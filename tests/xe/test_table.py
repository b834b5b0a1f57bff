#!/usr/bin/env python3
"""The table of xe's commands against the daemon: what could be there is there, what is not is counted.

    XENOLITHD=BUILD/xenolithd test_table.py COMMANDS.TXT README.md
"""
import os
import re
import subprocess
import sys


def commands(path):
    """(name, {line's word: its rest})"""
    out = []
    for line in open(path, encoding="utf-8"):
        line = line.rstrip("\n")
        if line.startswith("command "):
            out.append((line.split()[1], {}))
        elif line.startswith("\t"):
            word, colon, rest = line.strip().partition(":")
            if colon:
                out[-1][1][word] = rest.strip()
    return out


def messages_of(lines):
    match = re.match(r"[\w.]+", lines.get("do", ""))
    text = match[0] if match else lines.get("calls", lines.get("needs", ""))
    return [name for name in text.replace("-", "").split() if not name.startswith("/")] \
        if not match else [text]


def find_faults(rows, unimplemented):
    """Commands without code whose messages are all there, and such that name no message."""
    faults, hidden = [], []
    for name, lines in rows:
        missing = [message for message in messages_of(lines) if message in unimplemented]
        if "do" in lines or "calls" in lines:
            if missing:
                hidden.append(name)
            continue
        hidden.append(name)
        needs = lines.get("needs", "")
        if not needs:
            faults.append(f"{name}: has no code, and no needs: line says why")
        elif not missing and not any(word.startswith("/") for word in needs.split()):
            faults.append(f"{name}: has no code, but {needs} would answer")
    return faults, hidden


def check_of_itself():
    """It would find one."""
    rows = [("a", {"needs": "X.y"}), ("b", {}), ("c", {"needs": "X.z"}), ("d", {"do": "X.z(uuid)"}),
            ("e", {"calls": "X.y"}), ("f", {"needs": "/blob"})]
    faults, hidden = find_faults(rows, {"X.z"})
    assert [fault.split(":")[0] for fault in faults] == ["a", "b"], faults
    assert hidden == ["a", "b", "c", "d", "f"], hidden


def main():
    check_of_itself()
    rows = commands(sys.argv[1])
    listed = subprocess.run([os.environ["XENOLITHD"], "--unimplemented"], capture_output=True,
                            check=True, text=True).stdout.split()
    faults, hidden = find_faults(rows, set(listed))
    readme = open(sys.argv[2], encoding="utf-8").read()
    told = re.search(r"(\d+) of the (\d+) commands", readme)
    if not told or (int(told[1]), int(told[2])) != (len(hidden), len(rows)):
        faults.append(f"README.md does not say that {len(hidden)} of the {len(rows)} commands of the "
                      "table are not implemented")
    print("\n".join(faults) or f"{len(rows) - len(hidden)} of {len(rows)} commands are there")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
