#!/usr/bin/env python3
"""Installs a VM from a template, starts it, and prints every event as it comes.

    first_vm.py URL USER PASSWORD-FILE [--shut-down]

With --shut-down it also shuts the VM down again and ends; otherwise it watches until interrupted.
"""
import sys
import threading

from xenapi_json import XenAPI

TEMPLATE = "Debian"
INTERESTING = ("name_label", "power_state", "domid", "currently_attached", "status", "progress",
               "virtual_size", "live", "PV_drivers_detected", "name", "protocol")


def describe(event):
    snapshot = event.get("snapshot", {})
    fields = [f"{name}={snapshot[name]!r}" for name in INTERESTING if name in snapshot]
    return f"  {event['operation']:3} {event['class']:16} {event['ref'][10:18]}  {' '.join(fields)}"


def watch(api, token, seen):
    while True:
        batch = api.call("event.from", ["*"], token, 30.0)
        token = batch["token"]
        for event in batch["events"]:
            if event["class"] != "session":
                print(describe(event), flush=True)
            seen(event)


class World:
    """The records that events have shown so far; the main thread waits here for what it wants."""

    def __init__(self):
        self.changed = threading.Condition()
        self.records = {}

    def __call__(self, event):
        with self.changed:
            self.records[event["ref"]] = event.get("snapshot", {})
            self.changed.notify_all()

    def wait(self, condition, seconds=60):
        with self.changed:
            if not self.changed.wait_for(condition, seconds):
                sys.exit("the event did not come in time")

    def field(self, ref, name):
        return self.records.get(ref, {}).get(name)


def install(api):
    templates = {ref: vm["name_label"] for ref, vm in api.VM.get_all_records().items()
                 if vm["is_a_template"] and not vm["is_a_snapshot"]}
    template = next((ref for ref, name in templates.items() if TEMPLATE in name), None)
    if template is None:
        template = next(iter(templates))
    print(f"Installing from the template {templates[template]!r}")
    vm = api.VM.clone(template, "my first VM")
    api.VM.provision(vm)
    network = next(iter(api.network.get_all()))
    api.VIF.create({"device": "0", "VM": vm, "network": network, "MAC": "", "MTU": 1500,
                    "other_config": {}, "qos_algorithm_type": "", "qos_algorithm_params": {}})
    return vm


def main():
    url, user, password_file = sys.argv[1:4]
    with open(password_file, encoding="utf-8") as file:
        password = file.readline().rstrip("\n")
    api = XenAPI(url, user, password)
    token = api.call("event.inject", "pool", api.pool.get_all()[0])
    world = World()
    watcher = threading.Thread(target=watch, args=(XenAPI(url, user, password), token, world),
                               daemon=True)
    watcher.start()

    vm = install(api)
    print("Starting it")
    api.Async.VM.start(vm, False, False)
    world.wait(lambda: world.field(vm, "power_state") == "Running")
    world.wait(lambda: world.field(world.field(vm, "guest_metrics"), "os_version"))
    print("It runs. Its guest says:", world.field(world.field(vm, "guest_metrics"), "os_version"))
    if "--shut-down" in sys.argv[4:]:
        api.Async.VM.clean_shutdown(vm)
        world.wait(lambda: world.field(vm, "power_state") == "Halted")
        print("It is shut down.")
    else:
        watcher.join()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
