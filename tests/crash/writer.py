"""A client that changes objects of its own and holds the daemon to what it acknowledged."""
import http.client
import re
import threading

import harness
from harness import Failure

TEMPLATE = "Other install media"
MOST_VMS, MOST_SESSIONS, MOST_KEYS = 5, 4, 6

# The daemon died while we asked: whether it did what we asked is open until we look.
LOST = (OSError, http.client.HTTPException, ValueError)


def is_refusal(failure):
    """The disk fails: whether it was done is as open as when the daemon dies."""
    return failure.code == "INTERNAL_ERROR" and "the database" in failure.params[0]


class Lie(Exception):
    """The daemon does not hold what it acknowledged."""


class Vm:
    """What we were told of a VM. A field under way has a second value that may be true instead."""

    def __init__(self, ref, label):
        self.ref = ref
        self.label = {label}
        self.config = {}  # key -> set of values that may be; None: absent
        self.power = {"Halted"}
        self.gone = {False}


class Writer(threading.Thread):
    def __init__(self, world, index, dice):
        super().__init__(name=f"writer {index}", daemon=True)
        self.world = world
        self.dice = dice
        self.index = index
        self.number = 0
        self.client = world.daemon.json() if index % 2 else world.daemon.local()
        self.client.login()
        self.sessions = {}  # secret -> {True}: is valid; {True, False}: its logout is under way, or it is new
        self.new_sessions = set()  # made while the disk refused they have no row, and may be lost
        self.tasks = {}  # task -> (kind, Vm or name)
        self.vms = {}
        self.clones = set()  # names of clones that may or may not be
        self.doing = "nothing"
        self.base = self.make_vm("base")  # is cloned, so it stays halted
        self.make_vm("first")

    # ---- calls ----

    def call(self, method, *params):
        self.doing = method
        result = self.client(method, *params)
        self.world.count("calls of writers")
        return result

    def name_of(self, what):
        self.number += 1
        return f"{what} {self.index}.{self.number}"

    def make_vm(self, what):
        template = self.call("VM.get_by_name_label", TEMPLATE)[0]
        name = self.name_of(what)
        ref = self.call("VM.clone", template, name)
        self.call("VM.provision", ref)
        self.vms[ref] = Vm(ref, name)
        return self.vms[ref]

    # ---- what writers do ----

    def rename(self, vm):
        new = self.name_of("label")
        vm.label = vm.label | {new}
        self.call("VM.set_name_label", vm.ref, new)
        vm.label = {new}
        self.has_stored()

    def add_config(self, vm):
        key = f"k{self.dice.randrange(MOST_KEYS)}"
        if vm.config.get(key, {None}) != {None}:
            self.remove_config(vm, key)
        value = self.name_of("value")
        vm.config[key] = {None, value}
        self.call("VM.add_to_other_config", vm.ref, key, value)
        vm.config[key] = {value}

    def remove_config(self, vm, key):
        vm.config[key] = vm.config[key] | {None}
        self.call("VM.remove_from_other_config", vm.ref, key)
        vm.config[key] = {None}

    def clone(self, _):
        if len(self.vms) >= MOST_VMS:
            return
        name = self.name_of("clone")
        self.clones.add(name)
        ref = self.call("VM.clone", self.base.ref, name)
        self.adopt(ref, name)
        self.clones.remove(name)

    def adopt(self, ref, name):
        """From now on it is what we see."""
        config = self.call("VM.get_other_config", ref)
        vm = self.vms[ref] = Vm(ref, name)
        vm.config = {key: {value} for key, value in config.items() if key.startswith("k")}

    def destroy(self, vm):
        if vm is self.base or vm.power != {"Halted"}:
            return
        vm.gone = {False, True}
        self.call("VM.destroy", vm.ref)
        del self.vms[vm.ref]

    def switch(self, vm):
        if vm is self.base:
            return
        on = vm.power == {"Halted"}
        vm.power = {"Halted", "Running"}
        if on:
            self.call("VM.start", vm.ref, False, False)
        else:
            self.call("VM.hard_shutdown", vm.ref)
        vm.power = {"Running" if on else "Halted"}

    def switch_async(self, vm):
        if vm is self.base:
            return
        on = vm.power == {"Halted"}
        vm.power = {"Halted", "Running"}
        if on:
            task = self.call("Async.VM.start", vm.ref, False, False)
        else:
            task = self.call("Async.VM.hard_shutdown", vm.ref)
        self.tasks[task] = ("power", vm, "Running" if on else "Halted")
        self.finish_tasks()

    def clone_async(self, _):
        if len(self.vms) >= MOST_VMS:
            return
        name = self.name_of("async clone")
        self.clones.add(name)
        task = self.call("Async.VM.clone", self.base.ref, name)
        self.tasks[task] = ("clone", None, name)
        if self.dice.random() < 0.5:
            self.finish_tasks()

    def log_in(self, _):
        if len(self.sessions) >= MOST_SESSIONS:
            self.log_out(next(iter(self.sessions)))
        session = self.client.raw("session.login_with_password", "root", harness.PASSWORD)
        self.sessions[session] = {True, False}
        self.look_at_session(session)

    def look_at_session(self, session):
        uuid = self.client.raw("session.get_uuid", session, session)
        self.client.raw("session.get_by_uuid", session, uuid)
        self.new_sessions.add(session)

    def has_stored(self):
        """A change was acknowledged: the rows of sessions that were made before it are on the disk."""
        for session in self.new_sessions & self.sessions.keys():
            self.sessions[session] = {True}
        self.new_sessions.clear()

    def log_out(self, session):
        self.sessions[session] = {True, False}
        self.new_sessions.discard(session)
        self.client.raw("session.logout", session)
        del self.sessions[session]
        try:
            self.client.raw("session.get_uuid", session, session)
        except Failure as failure:
            if failure.code == "SESSION_INVALID":
                return
            raise
        raise Lie("a session works that was logged out")

    ACTIONS = ((rename, 30), (add_config, 30), (clone, 6), (destroy, 6), (switch, 8),
               (switch_async, 6), (clone_async, 4), (log_in, 6))

    def act(self):
        action = self.dice.choices([a for a, _ in self.ACTIONS], [w for _, w in self.ACTIONS])[0]
        action(self, self.dice.choice(list(self.vms.values())))

    # ---- tasks tell the truth ----

    def end_of(self, task):
        """The record of the task once it is over."""
        token = ""
        while True:
            self.doing = f"the end of {task}"
            reply = self.client("event.from", ["task/" + task], token, 5.0)
            token = reply["token"]
            for event in reply["events"]:
                if event["operation"] == "del":
                    raise Lie(f"{task} is gone")
                if event["snapshot"]["status"] not in ("pending", "cancelling"):
                    return event["snapshot"]
            if not reply["events"] and token and not self.exists("task", task):
                raise Lie(f"{task} was acknowledged and is not there")

    def exists(self, kind, ref):
        try:
            self.call(f"{kind}.get_uuid", ref)
            return True
        except Failure as failure:
            if failure.code == "HANDLE_INVALID":
                return False
            raise

    def finish_tasks(self):
        for task in list(self.tasks):
            kind, vm, wanted = self.tasks[task]
            record = self.end_of(task)
            worked = record["status"] == "success"
            if kind == "power":
                self.check_power_task(vm, wanted, worked, record)
            else:
                self.check_clone_task(wanted, worked, record)
            self.world.count(f"tasks that ended as {record['status']}")
            self.tasks.pop(task)

    def check_power_task(self, vm, wanted, worked, record):
        self.wait_until_free(vm.ref)
        state = self.call("VM.get_power_state", vm.ref)
        # A failing disk also fails what was done already and cannot be undone.
        if state != wanted if worked else state == wanted and not self.world.fault:
            raise Lie(f"{vm.ref} is {state}, and the task for {wanted} says {record}")
        vm.power = {state}

    def check_clone_task(self, name, worked, record):
        refs = self.call("VM.get_by_name_label", name)
        told = re.findall(r"OpaqueRef:[-0-9a-f]{36}", record["result"])
        if (refs if worked else []) != (told if worked else refs):
            raise Lie(f"clones called {name}: {refs}, and the task says {record}")
        if name in self.clones:
            for ref in refs:
                self.adopt(ref, name)
            self.clones.remove(name)

    # ---- after the daemon died ----

    def wait_until_free(self, ref):
        token = ""
        while True:
            self.doing = f"{ref} to be free"
            reply = self.client("event.from", ["vm/" + ref], token, 5.0)
            token = reply["token"]
            for event in reply["events"]:
                if event["operation"] == "del" or not event["snapshot"]["current_operations"]:
                    return
            if not reply["events"] and not self.exists("VM", ref):
                return

    def look_at(self, vm):
        """What is there must be what may be; from now on it is what is."""
        self.wait_until_free(vm.ref)
        if not self.exists("VM", vm.ref):
            if True not in vm.gone:
                raise Lie(f"{vm.ref} is gone")
            del self.vms[vm.ref]
            return
        record = self.call("VM.get_record", vm.ref)
        vm.gone = {False}  # the destruction was undone, or never began
        found = {"name_label": (record["name_label"], vm.label),
                 "power_state": (record["power_state"], vm.power)}
        for key, values in vm.config.items():
            found["other_config:" + key] = (record["other_config"].get(key), values)
        for what, (value, allowed) in found.items():
            if value not in allowed:
                raise Lie(f"{vm.ref} {what} is {value!r}, not one of {allowed}")
        vm.label, vm.power = {record["name_label"]}, {record["power_state"]}
        for key in vm.config:
            vm.config[key] = {record["other_config"].get(key)}

    def look_for_clones(self):
        self.wait_until_free(self.base.ref)
        for name in list(self.clones):
            if any(wanted == name for _, _, wanted in self.tasks.values()):
                continue
            refs = self.call("VM.get_by_name_label", name)
            if len(refs) > 1:
                raise Lie(f"{len(refs)} clones are called {name}")
            for ref in refs:
                self.adopt(ref, name)
            self.clones.remove(name)

    def look_at_sessions(self):
        for session, allowed in list(self.sessions.items()):
            try:
                self.look_at_session(session)
            except Failure as failure:
                if failure.code != "SESSION_INVALID" or False not in allowed:
                    raise
                del self.sessions[session]

    def look(self):
        self.finish_tasks()
        self.look_for_clones()
        for vm in list(self.vms.values()):
            self.look_at(vm)
        self.look_at_sessions()

    def go_on(self, work):
        """Until it is done, however often the daemon dies; then all that was told is looked at."""
        while True:
            try:
                work()
                return
            except LOST:
                self.client.close()
                self.world.alive.wait(harness.DEADLINE)
                self.world.count("answers that were lost")
            except Failure as failure:
                if not self.world.fault or not is_refusal(failure):
                    raise
                self.world.count("calls that were refused")
            work = self.look

    def run(self):
        try:
            while not self.world.over.is_set():
                self.go_on(self.act)
            self.go_on(self.look)
        except Exception as failure:
            self.world.fail(f"{self.name}, {self.doing}: {failure!r}")
