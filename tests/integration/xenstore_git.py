"""Git on the xenstore's export: importing it, and reading a checkout back as the tree that it tells."""
import os
import re
import subprocess

ENVIRONMENT = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null",
               "TZ": "UTC"}


class Repository:
    def __init__(self, folder):
        self.folder = folder
        os.makedirs(folder, exist_ok=True)
        self.git("init", "-q", "-b", "main")

    def git(self, *args, **more):
        run = subprocess.run(["git", "-C", self.folder, *args], capture_output=True, check=False,
                             env=ENVIRONMENT, **more)
        if run.returncode:
            raise AssertionError(f"git {' '.join(args)}: {run.stderr.decode()}")
        return run.stdout

    def fast_import(self, stream):
        self.git("fast-import", "--quiet", input=stream)
        self.git("fsck", "--strict", "--full")

    def commits(self):
        """[(id, generation)], oldest first; the last one of a generation counts."""
        log = self.git("log", "--reverse", "--format=%H %(trailers:key=Generation,valueonly)")
        return [(commit, int(generation)) for commit, generation in
                re.findall(r"^([0-9a-f]{40}) (\d+)$", log.decode(), re.M)]

    def tree(self, commit):
        """The checked out tree: {path: (value, permissions)}."""
        self.git("checkout", "-q", "--force", commit)
        if self.git("status", "--porcelain"):
            raise AssertionError("the work tree is not what was checked out")
        return read_tree(self.folder)


def read(*parts):
    with open(os.path.join(*parts), "rb") as file:
        return file.read()


def read_tree(folder):
    nodes = {}

    def perms_of(place, name, otherwise):
        path = os.path.join(place, f".{name}.perms")
        return read(path).decode().rstrip("\n") if os.path.exists(path) else otherwise

    def visit_node(place, name, path, perms):
        perms = perms_of(place, name, perms)
        here = os.path.join(place, name)
        if os.path.isdir(here):
            value = read(here, ".value") if os.path.exists(os.path.join(here, ".value")) else b""
            nodes[path] = (value, perms)
            visit_folder(here, path, perms, "")
        else:
            nodes[path] = (read(here), perms)

    def visit_folder(place, path, perms, begin):
        for name in os.listdir(place):
            if name.startswith("."):
                continue
            if name.endswith("~"):
                visit_folder(os.path.join(place, name), path, perms, begin + name[:-1])
            elif begin:
                visit_long(place, name, path + "/" + begin + name, perms)
            else:
                visit_node(place, name, path + "/" + name, perms)

    visit_long = visit_node
    root_perms = read(folder, ".perms").decode().rstrip("\n")
    value = os.path.join(folder, ".value")
    nodes["/"] = (read(value) if os.path.exists(value) else b"", root_perms)
    visit_folder(folder, "", root_perms, "")
    return nodes
