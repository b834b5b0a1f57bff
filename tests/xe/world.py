"""The generated world that the transcripts play in: a daemon on the simulated hypervisor, with names
that are always the same. Made once, through the API; each transcript gets a copy of its state folder
and a daemon of its own, so that none sees what another did.

    VMs         web (running: disk, CD drive with tool.iso, two interfaces), db (halted, disk), mail
                (suspended), lab (paused), twin and twin (halted: a name that two have)
    snapshot    web before upgrade, of web
    templates   the daemon's own, and golden
    SRs         Local storage, Local ISO library (tool.iso, debian.iso), fast (a folder, empty but for
                the disk spare)
    networks    lan, backend; the host's internal one, and one for each network card that the machine has
    and         a task, messages, a subject, a secret, an appliance, a schedule for snapshots, a group of
                VMs, an observer, a caller, a rate limit
"""
import os
import shutil
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "integration"))

import harness  # noqa: E402

MIB = 1 << 20
GIB = 1 << 30
PLAIN = {"qos_algorithm_type": "", "qos_algorithm_params": {}}


class World:
    """How to make it. After make(), .state is a folder to copy."""

    def __init__(self, folder):
        self.folder = folder
        self.state = os.path.join(folder, "world")
        self.client = None

    def make(self):
        daemon = Daemon(self.state)
        try:
            daemon.start()
            self.client = daemon.client()
            self.make_host(daemon)
            self.make_storage()
            self.make_networks()
            self.make_vms()
            self.make_other()
            self.client.logout()
            daemon.close_clients()
        except BaseException:
            daemon.kill()
            raise
        daemon.stop()
        shutil.rmtree(daemon.folder, ignore_errors=True)
        return self

    # Each of these calls is one that a client could make.

    def make_host(self, daemon):
        call = self.client
        self.host, = call("host.get_all")
        self.pool, = call("pool.get_all")
        call("host.set_name_label", self.host, "xenolith")
        call("pool.set_name_label", self.pool, "the pool")
        dom0, = [ref for ref, vm in call("VM.get_all_records").items() if vm["is_control_domain"]]
        call("VM.set_name_label", dom0, "control domain")
        pbd, = call("SR.get_PBDs", self.sr("Local ISO library"))
        folder = os.path.join(daemon.state, call("PBD.get_device_config", pbd)["location"])
        for name, size in (("tool.iso", 4096), ("debian.iso", 3 * MIB)):
            with open(os.path.join(folder, name), "wb") as file:
                file.truncate(size)
        call("SR.scan", self.sr("Local ISO library"))

    def sr(self, name):
        return self.client("SR.get_by_name_label", name)[0]

    def make_storage(self):
        call = self.client
        os.mkdir(os.path.join(self.state, "fast"))
        call("SR.create", self.host, {"location": "fast"}, 0, "fast",
             "Disks of their own", "file", "user", False, {})
        self.disk("spare", 64 * MIB, "fast")

    def disk(self, name, size, sr="Local storage"):
        return self.client("VDI.create", {
            "name_label": name, "name_description": "", "SR": self.sr(sr), "virtual_size": size,
            "type": "user", "sharable": False, "read_only": False, "other_config": {},
            "xenstore_data": {}, "sm_config": {}, "tags": []})

    def make_networks(self):
        call = self.client
        self.lan, self.backend = (call("network.create", {
            "name_label": name, "name_description": words, "MTU": 1500, "other_config": {},
            "bridge": bridge, "managed": True, "tags": []})
            for name, words, bridge in (("lan", "To the world", "xbrlan"),
                                        ("backend", "Between the VMs", "xbrshop")))

    def vm(self, name, **fields):
        template, = self.client("VM.get_by_name_label", "Other install media")
        vm = self.client("VM.clone", template, name)
        self.client("VM.provision", vm)
        for field, value in fields.items():
            self.client("VM.set_" + field, vm, value)
        return vm

    def start(self, vm):
        self.client("VM.start", vm, False, False)
        wait_for_guest(self.client, vm)

    def vbd(self, vm, position, vdi, **more):
        fields = {"VM": vm, "VDI": vdi, "userdevice": position, "bootable": True, "mode": "RW",
                  "type": "Disk", "unpluggable": True, "empty": False, "other_config": {}, **PLAIN}
        return self.client("VBD.create", {**fields, **more})

    def vif(self, vm, position, network, mac):
        return self.client("VIF.create", {"device": position, "VM": vm, "network": network, "MAC": mac,
                                          "MTU": 1500, "other_config": {}, **PLAIN})

    def make_vms(self):
        call = self.client
        web = self.vm("web", name_description="The shop's front", tags=["front", "shop"],
                      other_config={"owner": "alice"})
        db = self.vm("db", name_description="Where the orders are", tags=["shop"])
        mail, lab = self.vm("mail"), self.vm("lab")
        self.vm("twin", name_description="The first")
        self.vm("twin", name_description="The second")
        self.vbd(web, "0", self.disk("web disk", 128 * MIB))
        tool, = call("VDI.get_by_name_label", "tool.iso")
        self.vbd(web, "3", tool, type="CD", mode="RO", bootable=False)
        self.vif(web, "0", self.lan, "02:00:00:00:01:00")
        self.vif(web, "1", self.backend, "02:00:00:00:01:01")
        self.vbd(db, "0", self.disk("db disk", 256 * MIB))
        self.vif(db, "0", self.backend, "02:00:00:00:02:00")
        self.vbd(db, "3", "OpaqueRef:NULL", type="CD", mode="RO", empty=True, bootable=False)
        self.start(web)
        call("VM.snapshot", web, "web before upgrade", [])
        self.start(mail)
        call("VM.suspend", mail)
        call("VM.start", lab, True, False)
        golden = self.vm("golden", name_description="What all of ours begin with")
        call("VM.set_is_a_template", golden, True)
        self.web, self.db = web, db

    def make_other(self):
        call = self.client
        task = call("task.create", "Count the orders", "Since the beginning")
        call("task.set_progress", task, 0.25)
        call("message.create", "ORDERS_COUNTED", 3, "VM", call("VM.get_uuid", self.db), "42 orders")
        call("message.create", "SHOP_OPEN", 5, "VM", call("VM.get_uuid", self.web), "Come in")
        subject = call("subject.create", {"subject_identifier": "alice", "other_config":
                                          {"subject-name": "Alice"}})
        role, = call("role.get_by_name_label", "vm-operator")
        call("subject.add_to_roles", subject, role)
        call("secret.create", {"value": "hush", "other_config": {}})
        call("VM_appliance.create", {"name_label": "shop", "name_description": "Front and orders"})
        call("VMSS.create", {"name_label": "nightly", "name_description": "", "enabled": True,
                             "type": "snapshot", "retained_snapshots": 7, "frequency": "daily",
                             "schedule": {"hour": "2", "min": "0"}})
        call("VM_group.create", {"name_label": "apart", "name_description": "", "placement":
                                 "anti_affinity"})
        call("Observer.create", {"name_label": "traces", "name_description": "", "hosts": [],
                                 "attributes": {}, "endpoints": [], "components": [], "enabled": False})
        call("Caller.create", {"name_label": "script", "name_description": "", "user_agent": "curl",
                               "client_ip": "192.0.2.7"})
        call("Rate_limit.create", {"name_label": "slow", "name_description": "", "burst_size": 10.0,
                                   "fill_rate": 2.5})


def wait_for_guest(client, vm):
    """Until its agent has told all that it tells; drivers are seen at devices."""
    has_devices = bool(client("VM.get_VBDs", vm))
    metrics = harness.Events(client, ["vm/" + vm], token="").wait(
        lambda event: event["snapshot"]["guest_metrics"] != "OpaqueRef:NULL")["snapshot"]["guest_metrics"]
    harness.Events(client, ["vm_guest_metrics/" + metrics], token="").wait(
        lambda event: event["snapshot"]["os_version"] and "feature-reboot" in event["snapshot"]["other"]
        and event["snapshot"]["PV_drivers_detected"] == has_devices)


class Daemon(harness.Daemon):
    """On a state folder that is given, and kept."""

    def __init__(self, state, *options):
        super().__init__("--sim-memory", "16G", *options)
        self.state = state


def copy(world, folder):
    """A copy of the made world's state."""
    state = os.path.join(folder, "state")
    shutil.copytree(world.state, state, copy_function=copy_sparse)
    return state


def copy_sparse(source, target):
    """Disks are holes for the most part."""
    with open(source, "rb") as read, open(target, "wb") as write:
        end, at = os.fstat(read.fileno()).st_size, 0
        while at < end:
            try:
                at = os.lseek(read.fileno(), at, os.SEEK_DATA)
            except OSError:  # no more data
                break
            hole = os.lseek(read.fileno(), at, os.SEEK_HOLE)
            while at < hole:
                at += os.sendfile(write.fileno(), read.fileno(), at, hole - at) if os.lseek(
                    write.fileno(), at, os.SEEK_SET) == at else 0
        write.truncate(end)
    shutil.copystat(source, target)


if __name__ == "__main__":
    print(World(tempfile.mkdtemp(prefix="xe-world-")).make().state)
