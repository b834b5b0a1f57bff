#!/usr/bin/env python3
"""Who may include whom, and who may reach time, randomness, threads and the big libraries.

core includes only core. A module (rpc is one) includes core, its own folder, and the public header
of each module that it names in .needs; that graph has no cycle. Prints one line for each thing that
is wrong and ends with 1. With --self-test it checks itself on small made-up trees.
"""

import os
import re
import sys
import tempfile

INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]', re.M)
MODULE = re.compile(r"const struct xn_module xn_\w+_module\s*=")
NEEDS_FIELD = re.compile(r"\.needs\s*=\s*(\w+)")
COMMENT = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', re.S)

# Library headers and the only files that may see them.
LIBRARIES = [
    (re.compile(r"^event2?[/.]"), re.compile(r"^core/loop[^/]*\.c$"), "libevent"),
    (re.compile(r"^lmdb\.h$"), re.compile(r"^modules/db/"), "LMDB"),
    (re.compile(r"^libxl|^xenguest|^xentoollog"), re.compile(r"^modules/domain/libxl/"), "libxl"),
    (re.compile(r"^xenctrl"), re.compile(r"^modules/(domain/libxl|xenstore/xen)/"), "libxenctrl"),
    (re.compile(r"^xenevtchn|^xenforeignmemory|^xengnttab|^xen/"), re.compile(r"^modules/xenstore/xen/"), "Xen"),
    (re.compile(r"^mbedtls/(ssl|x509|pk|rsa|net_)"), re.compile(r"^rpc/(xe/client/)?tls[^/]*$"), "mbedtls' TLS"),
    (re.compile(r"^pthread\.h$|^threads\.h$"), re.compile(r"^core/worker\.c$"), "threads"),
]

# What a module's public header shows of its folder, so that its users include it, too.
ALSO_PUBLIC = {"rpc/http.h": "rpc/rpc.h", "rpc/outflow.h": "rpc/rpc.h", "rpc/inflow.h": "rpc/rpc.h",
               "modules/storage/disk_file.h": "modules/storage/storage.h",
               "modules/db/backup.h": "modules/db/db.h"}

# Second doors, each for one module only: the simulated hypervisor's guests speak to the store as
# domains of their own, which the public header's requests cannot.
SECOND_DOORS = {"modules/xenstore/store/store.h": "domain", "modules/db/history.h": "history"}

# A simulation decides these, or the loop must not wait for them: only core may ask the system.
CALLS = re.compile(
    r"\b(time|clock_gettime|gettimeofday|clock|getrandom|getentropy|rand|random|srand|arc4random\w*"
    r"|sleep|usleep|nanosleep|clock_nanosleep|fork|vfork|system|popen|posix_spawnp?)\s*\("
)


# Processes of their own, outside the simulation: the children that run libxl and PAM, and the client xe.
OTHER_PROCESSES = {"modules/auth/pam_child.c", "modules/domain/libxl/worker.c", "modules/domain/libxl/disk_server.c"}


def is_other_process(path):
    return path in OTHER_PROCESSES or path.startswith("rpc/xe/client/")


def without_comments_and_strings(text):
    return COMMENT.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), text)


def owner(path):
    """'core', 'rpc', a module's name, or None for the files that tie all together."""
    parts = path.split("/")
    if parts[0] in ("core", "rpc"):
        return parts[0]
    return parts[1] if len(parts) > 2 else None


def public_header(module):
    return "rpc/rpc.h" if module == "rpc" else "modules/%s/%s.h" % (module, module)


def sources(root):
    for top in ("core", "modules", "rpc"):
        for folder, _, names in os.walk(os.path.join(root, top)):
            for name in sorted(names):
                if name.endswith((".c", ".h")):
                    path = os.path.join(folder, name)
                    with open(path, encoding="utf-8") as f:
                        yield os.path.relpath(path, root).replace(os.sep, "/"), f.read()


def needs_of(files):
    """{module: set of modules it needs}, read from its struct xn_module; no entry without one."""
    needs = {}
    for path, text in files:
        module = owner(path)
        if module in (None, "core"):
            continue
        if MODULE.search(text):
            needs.setdefault(module, set())
        for field in NEEDS_FIELD.finditer(text):
            table = re.search(r"\b%s\s*\[\s*\]\s*=\s*\{([^}]*)\}" % field.group(1), text)
            if table:
                needs.setdefault(module, set())
                needs[module] |= set(re.findall(r'"(\w+)"', table.group(1)))
    return needs


def find_cycle(needs):
    done, path = set(), []

    def visit(module):
        if module in path:
            return path[path.index(module) :] + [module]
        if module in done:
            return None
        path.append(module)
        for other in sorted(needs.get(module, ())):
            cycle = visit(other)
            if cycle:
                return cycle
        path.pop()
        done.add(module)
        return None

    for module in sorted(needs):
        cycle = visit(module)
        if cycle:
            return cycle
    return None


def check_project_include(path, target, needs):
    me, other = owner(path), owner(target)
    target = ALSO_PUBLIC.get(target, target) if me != other else target
    if not re.match(r"(core|modules|rpc|tests)/", target) or ".." in target.split("/"):
        return "includes \"%s\": write the path from the top folder" % target
    if me == "core":
        return None if other == "core" else "core includes %s" % target
    if other == "core" or other == me:
        return None
    if me is None:
        good = other is None or target == public_header(other)
        return None if good else "includes %s, which is no public header" % target
    if other is None:
        return "includes %s, which is above the modules" % target
    if target != public_header(other) and SECOND_DOORS.get(target) != me:
        return "includes %s: only %s is public" % (target, public_header(other))
    if me in needs and other not in needs[me]:
        return "includes %s, but %s does not name \"%s\" in its .needs" % (target, me, other)
    return None


def check_library_include(path, target):
    for header, allowed, name in LIBRARIES:
        if header.search(target) and not allowed.search(path):
            return "includes <%s>: %s is not for this file" % (target, name)
    return None


def check(root):
    files = list(sources(root))
    needs = needs_of(files)
    wrong = []

    def tell(path, text, at, what):
        wrong.append("%s:%d: %s" % (path, text.count("\n", 0, at) + 1, what))

    for path, text in files:
        for m in INCLUDE.finditer(text):
            if m.group(1) == '"':
                what = check_project_include(path, m.group(2), needs)
            else:
                what = check_library_include(path, m.group(2))
            if what:
                tell(path, text, m.start(2), what)
        if owner(path) != "core" and not is_other_process(path):
            for m in CALLS.finditer(without_comments_and_strings(text)):
                tell(path, text, m.start(), "calls %s(): go through core/loop.h, worker.h, child.h" % m.group(1))
    folders = {owner(path) for path, _ in files}
    for module in sorted(needs):
        for other in sorted(needs[module] - folders):
            wrong.append("module %s needs %s, which is not there" % (module, other))
    cycle = find_cycle(needs)
    if cycle:
        wrong.append("modules need each other in a circle: " + " -> ".join(cycle))
    return wrong


# ---- self-test: each tree, and what must be said about it ("" : nothing) ----

A_ALONE = "const struct xn_module xn_a_module = {};\n"
A_NEEDS_B = 'static const char *const a_needs[] = {"b", NULL};\nm = { .needs = a_needs };\n'
B_NEEDS_A = 'static const char *const b_needs[] = {"a", NULL};\nm = { .needs = b_needs };\n'
TREES = [
    ({"core/x.c": '#include "core/x.h"\n#include <stdio.h>\n'}, ""),
    ({"core/x.c": '#include "modules/b/b.h"\n'}, "core/x.c:1: core includes modules/b/b.h"),
    ({"modules/a/a.c": A_NEEDS_B + '#include "modules/b/b.h"\n', "modules/b/b.h": ""}, ""),
    ({"modules/a/a.c": A_ALONE + '#include "modules/b/b.h"\n', "modules/b/b.h": ""}, "does not name \"b\" in its .needs"),
    ({"modules/a/a.c": A_NEEDS_B + '#include "modules/b/inner.h"\n', "modules/b/b.h": ""}, "only modules/b/b.h is public"),
    ({"modules/a/a.c": '#include "modules/xenstore/store/store.h"\n'}, "only modules/xenstore/xenstore.h is public"),
    ({"modules/domain/a.c": '#include "modules/xenstore/store/store.h"\n'}, ""),
    ({"modules/a/a.c": A_NEEDS_B, "modules/b/b.c": B_NEEDS_A}, "in a circle: a -> b -> a"),
    ({"modules/a/a.c": A_NEEDS_B.replace('"b"', '"rpc"') + '#include "rpc/http.h"\n', "rpc/rpc.h": ""}, ""),
    ({"modules/a/a.c": A_ALONE + '#include "rpc/http.h"\n', "rpc/rpc.h": ""}, "does not name \"rpc\" in its .needs"),
    ({"modules/a/a.c": A_NEEDS_B}, "needs b, which is not there"),
    ({"modules/a/a.c": '#include "a.h"\n'}, "write the path from the top folder"),
    ({"modules/a/a.c": '#include "modules/modules.h"\n'}, "above the modules"),
    ({"modules/modules.c": '#include "modules/a/a.h"\n', "modules/a/a.h": ""}, ""),
    ({"modules/modules.c": '#include "modules/a/inner.h"\n'}, "no public header"),
    ({"modules/a/a.c": "#include <event2/event.h>\n"}, "libevent is not for this file"),
    ({"core/loop_event.c": "#include <event2/event.h>\n"}, ""),
    ({"rpc/tls.c": "#include <mbedtls/ssl.h>\n"}, ""),
    ({"rpc/xe/client/tls.c": "#include <mbedtls/ssl.h>\nclock_gettime(a, b);\n"}, ""),
    ({"rpc/http.c": "#include <mbedtls/ssl.h>\n"}, "mbedtls' TLS is not for this file"),
    ({"core/bus.c": "#include <event2/event.h>\n"}, "libevent is not for this file"),
    ({"modules/a/a.c": "#include <lmdb.h>\n"}, "LMDB is not for this file"),
    ({"modules/db/store.c": "#include <lmdb.h>\n"}, ""),
    ({"modules/domain/sim/sim.c": "#include <libxl.h>\n"}, "libxl is not for this file"),
    ({"modules/xenstore/server/ring.c": "#include <xenevtchn.h>\n"}, "Xen is not for this file"),
    ({"modules/xenstore/xen/xen.c": "#include <xenevtchn.h>\n#include <xen/io/xs_wire.h>\n#include <xenctrl.h>\n"}, ""),
    ({"modules/xenstore/xen/xen.c": "#include <libxl.h>\n"}, "libxl is not for this file"),
    ({"modules/a/a.c": "#include <pthread.h>\n"}, "threads is not for this file"),
    ({"modules/a/a.c": "x = 1;\ny = time(NULL);\n"}, "modules/a/a.c:2: calls time()"),
    ({"rpc/a.c": "usleep(5);\n"}, "calls usleep()"),
    ({"modules/a/a.c": "system(x);\n"}, "calls system()"),
    ({"modules/a/a.c": '/* time() */ s = "time()"; a->boot_time(x); my_random(3);\n'}, ""),
    ({"core/log.c": "clock_gettime(a, b);\n"}, ""),
    ({"modules/domain/libxl/worker.c": "pid = fork();\n"}, ""),
    ({"modules/domain/libxl/pool.c": "pid = fork();\n"}, "calls fork()"),
]


def self_test():
    failures = 0
    for tree, expected in TREES:
        with tempfile.TemporaryDirectory() as root:
            for path, text in tree.items():
                os.makedirs(os.path.join(root, os.path.dirname(path)), exist_ok=True)
                with open(os.path.join(root, path), "w", encoding="utf-8") as f:
                    f.write(text)
            wrong = check(root)
        good = any(expected in line for line in wrong) if expected else not wrong
        if not good:
            failures += 1
            print("self-test: %r: expected %r, got %r" % (tree, expected, wrong))
    return failures


def main():
    if sys.argv[1:] == ["--self-test"]:
        sys.exit(1 if self_test() else 0)
    wrong = check(sys.argv[1])
    print("\n".join(wrong))
    sys.exit(1 if wrong else 0)


main()
