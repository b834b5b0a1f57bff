"""Guests for the tests on a real Xen host: how they are installed, and test cases that have them."""
import os
import unittest

import xen_host
from xen_host import FILES, LIMIT, MIB, NULL, Failure, timed

TEMPLATES = {"pv": "Generic Linux PV", "pvh": "Generic Linux PVH", "hvm": "Other install media"}

dom0 = daemon = None

# A case of half a minute or more that others resemble: XN_LAB_CASES=most leaves it out.
takes_long = unittest.skipIf(os.environ.get("XN_LAB_CASES") == "most", "takes long")


def boot(xenstore="system"):
    """The lab, with a daemon in it that serves; xenstore="embedded": it is the host's xenstored."""
    global dom0, daemon  # pylint: disable=global-statement
    embedded = xenstore == "embedded"
    with timed("the lab boots"):
        dom0 = xen_host.Dom0(*(["--daemons", "none"] if embedded else []))
    daemon = xen_host.Daemon(dom0, "--xenstore", xenstore)
    daemon.start()
    if embedded:
        dom0.start_xen_daemons()


def clear():
    try:
        daemon.clear()
    finally:
        dom0.clear()


def set_up_module():
    """For setUpModule of a test file: one lab and one daemon for all its cases."""
    if not dom0:  # test_all.py has one for all files
        boot()
        unittest.addModuleCleanup(clear)


class Guest:
    """A VM of the tests: its references, and what dom0 knows of it."""

    def __init__(self, case, vm, name):
        self.case = case
        self.client, self.world = case.client, case.world
        self.vm, self.name = vm, name
        self.vbds, self.vifs, self.vdis = [], [], []

    def record(self):
        return self.world.records[self.vm]

    def domid(self):
        return int(self.record()["domid"])

    def becomes(self, limit=LIMIT, **fields):
        return self.world.becomes(self.vm, limit, **fields)

    def run(self, method, *params, limit=LIMIT):
        """VM.method on it, asynchronously; its end is seen in the events."""
        return self.world.run("VM." + method, self.vm, *params, limit=limit)

    def configure(self, **fields):
        for name, value in fields.items():
            self.client("VM.set_" + name, self.vm, value)

    # ---- devices ----

    def disk(self, size=16 * MIB, file_format="raw", ext4=False, **vbd):
        """A disk of its own and the VBD for it, which is not plugged."""
        sr = self.client("pool.get_default_SR", self.client("pool.get_all")[0])
        config = {} if file_format == "raw" else {"image-format": file_format}
        vdi = self.client("VDI.create", {
            "name_label": self.name + " disk", "name_description": "", "SR": sr, "type": "user",
            "virtual_size": size, "sharable": False, "read_only": False, "other_config": {},
            "sm_config": config})
        self.vdis.append(vdi)
        if ext4:  # what an installer would do
            dom0.run(f"mke2fs -q -F -t ext4 {daemon.image(self.client, vdi)}")
        return self.vbd(VDI=vdi, **vbd)

    def vbd(self, **fields):
        vbd = self.client("VBD.create", {
            "VM": self.vm, "VDI": NULL, "userdevice": "autodetect", "bootable": False,
            "mode": "RW", "type": "Disk", "unpluggable": True, "empty": False, "other_config": {},
            "qos_algorithm_type": "", "qos_algorithm_params": {}, **fields})
        self.vbds.append(vbd)
        return vbd

    def vif(self, device="0"):
        bridges = {record["bridge"]: ref
                   for ref, record in self.client("network.get_all_records").items()}
        vif = self.client("VIF.create", {
            "VM": self.vm, "network": bridges["xenbr0"], "device": device, "MAC": "", "MTU": 1500,
            "other_config": {}, "qos_algorithm_type": "", "qos_algorithm_params": {}})
        self.vifs.append(vif)
        return vif

    # ---- life ----

    def start(self, limit=LIMIT):
        """To Running, and to where its guest says that it is ready."""
        self.run("start", False, False, limit=limit)
        self.becomes(power_state="Running", domid=lambda domid: int(domid) > 0)
        self.ready(limit)
        return self

    def ready(self, limit=LIMIT):
        """Until the guest of the current domain has come up and said so."""
        dom0.until(f"xenstore-exists /local/domain/{self.domid()}/data/xenlab/tick", limit)

    def guest_says(self, key):
        return dom0.key(f"/local/domain/{self.domid()}/data/xenlab/{key}")

    def guest_will_say(self, key, value):
        path = f"/local/domain/{self.domid()}/data/xenlab/{key}"
        dom0.until(f"[ \"$(xenstore-read {path})\" = '{value}' ]")

    def ticks_beyond(self, count):
        """The guest's counter goes on from there: it has kept its memory."""
        path = f"/local/domain/{self.domid()}/data/xenlab/tick"
        dom0.until(f'[ "$(xenstore-read {path} 2>/dev/null || echo 0)" -gt {count} ]')
        # A guest that began anew would have to count up there first.
        self.case.assertLess(dom0.tick(self.domid()), count + 60)

    def tick(self):
        return dom0.tick(self.domid())

    def order(self, word):
        dom0.order(self.domid(), word)

    def halt(self):
        if self.client("VM.get_power_state", self.vm) != "Halted":
            self.world.run("VM.hard_shutdown", self.vm)

    def destroy(self):
        """With its disks, snapshots and what else it left."""
        for snapshot in self.client("VM.get_snapshots", self.vm):
            destroy_vm(self.client, snapshot)
        self.halt()
        destroy_vm(self.client, self.vm)


def destroy_vm(client, vm):
    if client("VM.get_power_state", vm) == "Suspended":
        client("VM.hard_shutdown", vm)
    vbds = [client("VBD.get_record", vbd) for vbd in client("VM.get_VBDs", vm)]
    client("VM.destroy", vm)
    for vbd in vbds:
        if vbd["type"] == "Disk" and vbd["VDI"] != NULL:
            try:
                client("VDI.destroy", vbd["VDI"])
            except Failure as failure:
                if failure.code != "HANDLE_INVALID":
                    raise


class XenCase(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        if daemon.poll() is not None:
            daemon.process = None
            daemon.start()
        self.log_begins = os.path.getsize(daemon.log_file)
        self.client = daemon.client()
        self.client.timeout = 2 * LIMIT
        self.world = xen_host.World(self.client)
        self.addCleanup(daemon.close_clients)
        self.addCleanup(self.report)
        self.addCleanup(self.nothing_is_left)

    def report(self):
        outcome = self._outcome.result
        for case, why in outcome.failures + outcome.errors:
            if case is self:
                print(f"{why}\n---- the daemon's log:\n{daemon.log_text(self.log_begins)}", flush=True)

    def nothing_is_left(self):
        left = dom0.leftovers()
        if left:
            dom0.run("for d in $(xl list | tail -n +2 | awk '$1 != \"Domain-0\" { print $2 }'); do"
                     " xl destroy $d; done")
        self.assertEqual(left, "")

    def after_restart(self):
        """Clients of the daemon that was started anew: the session goes on."""
        self.client.close()
        self.world.client.close()

    def guest(self, kind="pv", memory=128 * MIB, vcpus=1, args="", disk=True, vif=True, own=True):
        """A halted VM that the tiny guest boots in, from a template; destroyed after the test."""
        name = f"{self.id().rsplit('.', 1)[-1][5:35]}-{kind}"
        template = self.client("VM.get_by_name_label", TEMPLATES[kind])[0]
        vm = self.world.run("VM.clone", template, name)
        guest = Guest(self, vm, name)
        if own:
            self.addCleanup(guest.destroy)
        if "disks" in self.client("VM.get_other_config", vm):
            self.client("VM.remove_from_other_config", vm, "disks")
        self.world.run("VM.provision", vm)
        self.client("VM.set_memory_limits", vm, 32 * MIB, memory, memory, memory)
        guest.configure(VCPUs_max=2)
        guest.configure(VCPUs_at_startup=vcpus, PV_bootloader="")
        if kind != "hvm":
            guest.configure(
                PV_kernel=FILES + "/vmlinux", PV_ramdisk=FILES + "/initrd",
                PV_args=f"console=hvc0 loglevel=4 xenlab.name={name} {args}".strip())
        if disk:
            guest.disk(ext4=True, userdevice="0", bootable=True)
        if vif:
            guest.vif()
        guest.becomes(is_a_template=False, power_state="Halted")
        return guest
