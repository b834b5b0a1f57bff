#!/usr/bin/env python3
"""Each advisory against another xenstored, or a toolstack's use of it, has a test here that bears its
number: a test function xsa_NUMBER_... that runs. Prints a line for each one that has none, or with
--list which tests they have, and ends with 1 if one is missing."""

import re
import sys
from pathlib import Path

# XSA number, or another name, and what went wrong.
ROWS = {
    "xsa_38": "ring indices that nobody had masked; then a full ring was not read",
    "xs_ed759d27": "a message of more than 4096 bytes",
    "xsa_72": "a reply beyond the maximum stuck",
    "xsa_206": "transactions of a guest starved others'",
    "xsa_233": "a domain and its device model dying together",
    "xsa_272": "the count of a domain's nodes was lost",
    "xsa_115": "watch events without a look at permissions",
    "xsa_322": "rights of a dead domain inherited with its number",
    "xsa_323": "a node whose path was too long to be named",
    "xsa_324": "a token so long that its event was too large",
    "xsa_325": "a guest that misbehaved was never released",
    "xsa_330": "reset watches stayed for ever",
    "xsa_352": "a guest gave its nodes to others",
    "xsa_353": "the root had no permissions checked",
    "xsa_354": "each key written led to a read of all of them, kept in memory",
    "xsa_414": "a creation that failed used the wrong parent",
    "xsa_415": "a creation that failed in a transaction left orphans",
    "xsa_416": "memory was held until a slow guest read its reply",
    "xsa_417": "permissions of an old domain were a new one's",
    "xsa_418": "recursion on deep trees",
    "xsa_419": "nodes of dead domains outside their homes",
    "xsa_420": "a size that was negative",
    "xsa_421": "making and removing in one transaction; a late error committed a part",
    "xsa_326": "unread replies, floods of watch events, many transactions, large ones",
    "xsa_425": "a guest's kernel that started another one",
    "xsa_481": "a path with a slash at its end",
    "xsa_483": "a domid used again began over its quota",
    "xsa_484": "watches reset inside a transaction",
    "xsa_349": "a flood of changes to a path that the toolstack watches",
    "xsa_403": "frontends were not told whom not to trust",
    "xsa_57": "a guest named a file of the host",
    "xsa_175": "configuration was taken from what a guest had written",
    "xsa_178": "teardown followed what a guest had written",
    "support_md": "driver domains that are not trusted",
}


NAME = re.compile(r"\b(?:test_)?((%s)_\w+)" % "|".join(sorted(ROWS, reverse=True)))


def tests_in(root):
    """Names of test functions that are listed to run, with their files, by row."""
    found = {}
    for path in sorted(root.glob("tests/**/*")):
        if path.suffix not in (".c", ".py"):
            continue
        seen = [match.groups() for match in NAME.finditer(path.read_text())]
        for name, row in sorted(set(seen)):
            # In C a test is defined, and in the table of those that run.
            if path.suffix == ".py" or seen.count((name, row)) > 1:
                found.setdefault(row, []).append(f"{path.relative_to(root)}: {name}")
    return found


def main():
    root = Path(sys.argv[1])
    found = tests_in(root)
    for row, what in ROWS.items():
        if "--list" in sys.argv:
            print(f"{row}: {what}")
            for test in found.get(row, []):
                print(f"    {test}")
        elif row not in found:
            print(f"{row} ({what}) has no test")
    return 1 if set(ROWS) - set(found) else 0


sys.exit(main())
