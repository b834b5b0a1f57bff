"""The life of real guests, on a real Xen, through the API with a stock client; all that happens is
seen through event.from, and looked up in dom0."""
import unittest

import guests
from guests import XenCase, set_up_module, takes_long
from xen_host import LIMIT, MIB, NULL, timed


def setUpModule():
    set_up_module()


class PvGuest(XenCase):
    """Most cases share one running guest: a boot takes its time in emulation."""

    shared = None

    def running(self):
        """A running PV guest with a disk and a network interface; of the class if it still runs."""
        guest = type(self).shared
        if guest is None:
            guest = type(self).shared = self.guest(own=False)
        guest.case, guest.client, guest.world = self, self.client, self.world
        if guest.record()["power_state"] != "Running":
            guest.halt()
            guest.start()
        return guest

    def nothing_is_left(self):
        pass  # the shared guest is: tearDownClass

    @classmethod
    def tearDownClass(cls):
        guest, cls.shared = cls.shared, None
        if guest:
            guest.client = daemon_client = guests.daemon.client()
            guest.world = guests.xen_host.World(daemon_client)
            guest.destroy()
        left = guests.dom0.leftovers()
        guests.daemon.close_clients()
        if left:
            raise AssertionError("left behind:\n" + left)

    def test_a_guest_is_installed_started_and_connected(self):
        guest = self.guest(args="xenlab.ip=10.77.0.2/24")
        dom0 = guests.dom0
        with timed("VM.start"):
            guest.run("start", False, False)
        record = guest.becomes(power_state="Running", domid=lambda domid: int(domid) > 0)
        with timed("READY"):
            line = dom0.ready_line(guest.domid())
        self.assertRegex(line, "mode=PV .*disk=/dev/xvda boots=1 net=eth0")
        self.assertEqual(self.world.seen(guest.vm, "power_state"), ["Halted", "Running"])
        self.assertNotEqual(record["resident_on"], NULL)
        for ref, kind, devid in ((guest.vbds[0], "vbd", 51712), (guest.vifs[0], "vif", 0)):
            self.world.becomes(ref, currently_attached=True)
            self.assertEqual(dom0.frontend_state(guest.domid(), kind, devid), "4")
        dom0.until("ping -c 1 -W 2 10.77.0.2")
        # Of what the guest said into xenstore.
        guest.becomes(guest_metrics=lambda ref: ref != NULL)
        self.world.becomes(guest.record()["guest_metrics"],
                           PV_drivers_version=lambda version: version.get("major") == "9",
                           networks=lambda networks: networks.get("0/ip") == "10.77.0.2")
        metrics = self.world.becomes(guest.record()["metrics"], current_domain_type="pv")
        self.assertEqual(metrics["VCPUs_number"], 1)
        with timed("VM.clean_shutdown"):
            guest.run("clean_shutdown")
        record = guest.becomes(power_state="Halted", domid=-1, resident_on=NULL,
                               current_operations={})
        self.assertIn("start", record["allowed_operations"])
        for ref in guest.vbds + guest.vifs:
            self.world.becomes(ref, currently_attached=False)
        # What the guest's own shutdown said last may be lost with its console; the kernel's line is not.
        dom0.until(f"grep -aq 'reboot: System halted' /var/log/xen/console/guest-{guest.name}.log", 30)

    def test_disks_and_interfaces_come_and_go_while_it_runs(self):
        guest = self.running()
        guest.guest_will_say("disks", "xvda")
        plugged = [("vbd", guest.disk(userdevice="1"), 51728), ("vif", guest.vif("1"), 1),
                   ("vbd", guest.disk(userdevice="2", file_format="qcow2"), 51744)]
        for kind, ref, devid in plugged:
            with timed(f"plug {kind} {devid}"):
                self.world.run(f"{kind.upper()}.plug", ref)
            self.world.becomes(ref, currently_attached=True)
            guests.dom0.until(f"[ $(xenstore-read /local/domain/{guest.domid()}/device/{kind}/"
                              f"{devid}/state) = 4 ]")
        guest.guest_will_say("disks", "xvda xvdb xvdc")
        guest.guest_will_say("nics", "eth0 eth1")
        for kind, ref, devid in plugged:
            with timed(f"unplug {kind} {devid}"):
                self.world.run(f"{kind.upper()}.unplug", ref)
            self.world.becomes(ref, currently_attached=False)
            self.assertIsNone(guests.dom0.frontend_state(guest.domid(), kind, devid))
            self.client(f"{kind.upper()}.destroy", ref)
            self.world.gone(ref)
        guest.guest_will_say("disks", "xvda")
        guest.guest_will_say("nics", "eth0")
        for vdi in guest.vdis[1:]:
            self.client("VDI.destroy", vdi)
        del guest.vdis[1:], guest.vifs[1:], guest.vbds[1:]

    def test_a_cd_is_inserted_and_ejected(self):
        guest = self.running()
        sr = next(ref for ref, record in self.client("SR.get_all_records").items()
                  if record["type"] == "iso")
        location = self.client("PBD.get_device_config",
                               self.client("SR.get_PBDs", sr)[0])["location"]
        guests.dom0.run(f"truncate -s 1M {guests.daemon.root}/state/{location}/test.iso")
        self.world.run("SR.scan", sr)
        vdi = self.world.until(lambda: next(
            (ref for ref, record in self.world.records.items()
             if record.get("location") == "test.iso"), None), "the image in the ISO library")
        vbd = guest.vbd(type="CD", mode="RO", empty=True, userdevice="3")
        self.world.run("VBD.insert", vbd, vdi)
        self.world.becomes(vbd, VDI=vdi, empty=False, currently_attached=True)
        guest.guest_will_say("disks", "xvda xvdd")
        self.world.run("VBD.eject", vbd)
        self.world.becomes(vbd, VDI=NULL, empty=True)
        guest.guest_will_say("disks", "xvda")
        self.client("VBD.destroy", vbd)
        guest.vbds.remove(vbd)

    def test_it_is_paused_and_goes_on(self):
        guest = self.running()
        guest.run("pause")
        guest.becomes(power_state="Paused")
        self.assertRegex(guests.dom0.run(f"xl list {guest.domid()}"), r"--p---")
        tick = guest.tick()
        guest.run("unpause")
        guest.becomes(power_state="Running")
        guest.ticks_beyond(tick)
        self.assertEqual(self.world.seen(guest.vm, "power_state")[-3:],
                         ["Running", "Paused", "Running"])

    def test_it_is_suspended_to_disk_and_goes_on_where_it_was(self):
        guest = self.running()
        tick, domid = guest.tick(), guest.domid()
        with timed("VM.suspend"):
            guest.run("suspend")
        record = guest.becomes(power_state="Suspended", domid=-1, suspend_VDI=lambda ref: ref != NULL)
        self.assertEqual(guests.dom0.domains(), {})
        self.assertEqual(guests.dom0.leftovers(), "")
        self.assertEqual(self.client("VDI.get_type", record["suspend_VDI"]), "suspend")
        with timed("VM.resume"):
            guest.run("resume", False, False)
        guest.becomes(power_state="Running", suspend_VDI=NULL)
        self.assertNotEqual(guest.domid(), domid)
        self.world.gone(record["suspend_VDI"])
        guest.ticks_beyond(tick)
        for ref in guest.vbds + guest.vifs:
            self.world.becomes(ref, currently_attached=True)
        guest.guest_will_say("disks", "xvda")

    @takes_long
    def test_a_snapshot_of_the_running_guest_is_reverted_to(self):
        guest = self.guest(vif=False).start()
        self.assertIn("boots=1", guests.dom0.ready_line(guest.domid(), 1))
        with timed("VM.snapshot"):
            snapshot = guest.run("snapshot", "before")
        self.world.becomes(snapshot, is_a_snapshot=True, power_state="Halted")
        guest.becomes(power_state="Running")
        with timed("VM.clean_reboot"):
            guest.run("clean_reboot")
        self.assertIn("boots=2", guests.dom0.ready_line(guest.domid(), 2))
        with timed("VM.revert"):
            self.world.run("VM.revert", snapshot)
        guest.becomes(power_state="Halted", domid=-1)
        guest.start()
        self.assertIn("boots=2", guests.dom0.ready_line(guest.domid(), 3))

    @takes_long
    def test_a_checkpoint_is_reverted_to_with_its_memory(self):
        guest = self.guest(vif=False).start()
        guest.ticks_beyond(0)
        tick = guest.tick()
        with timed("VM.checkpoint"):
            checkpoint = guest.run("checkpoint", "with memory")
        self.world.becomes(checkpoint, is_a_snapshot=True, power_state="Suspended",
                           suspend_VDI=lambda ref: ref != NULL)
        guest.becomes(power_state="Running")
        guest.ticks_beyond(tick)  # it went on
        with timed("VM.revert"):
            self.world.run("VM.revert", checkpoint)
        guest.becomes(power_state="Suspended")
        guest.run("resume", False, False)
        guest.becomes(power_state="Running")
        guest.ticks_beyond(tick)

    def test_it_reboots_from_inside_and_by_a_call(self):
        guest = self.running()
        domid = guest.domid()
        guest.order("reboot")
        guest.becomes(domid=lambda now: int(now) not in (domid, -1), power_state="Running")
        guest.ready()
        for ref in guest.vbds + guest.vifs:
            self.world.becomes(ref, currently_attached=True)
        guest.becomes(current_operations={})
        domid = guest.domid()
        guest.run("clean_reboot")
        guest.becomes(domid=lambda now: int(now) not in (domid, -1), power_state="Running")
        guest.ready()

    def test_memory_and_cpus_change_while_it_runs(self):
        guest = self.guest(memory=160 * MIB, disk=False, vif=False).start()
        before = int(guest.guest_says("memory"))
        self.client("VM.set_memory_dynamic_range", guest.vm, 128 * MIB, 128 * MIB)
        self.world.becomes(guest.record()["metrics"],
                           memory_actual=lambda size: abs(int(size) - 128 * MIB) < 2 * MIB)
        guests.dom0.until(f"[ $(xenstore-read /local/domain/{guest.domid()}/data/xenlab/memory) -lt "
                          f"{before - 20000} ]")
        guest.guest_will_say("cpus", "0")
        guest.run("set_VCPUs_number_live", 2)
        self.world.becomes(guest.record()["metrics"], VCPUs_number=2)
        guest.guest_will_say("cpus", "0-1")

    def test_it_is_killed(self):
        guest = self.running()
        with timed("VM.hard_shutdown"):
            guest.run("hard_shutdown")
        guest.becomes(power_state="Halted", domid=-1)
        self.assertEqual(guests.dom0.leftovers(), "")

    @takes_long
    def test_what_it_does_itself_follows_actions_after(self):
        guest = self.guest(disk=False, vif=False)
        guest.configure(actions_after_crash="preserve", actions_after_shutdown="restart")
        guest.start()
        domid = guest.domid()
        guest.order("poweroff")
        guest.becomes(domid=lambda now: int(now) not in (domid, -1), power_state="Running")
        guest.ready()
        guest.order("crash")
        record = guest.becomes(power_state="Paused")  # to be looked at
        self.assertIn(int(record["domid"]), guests.dom0.domains().values())
        guest.run("hard_shutdown")
        guest.configure(actions_after_crash="restart")
        guest.start()
        guest.order("crash")  # so soon after its start: it would crash for ever
        guest.becomes(power_state="Halted", domid=-1)


@takes_long
class PvhGuest(XenCase):
    def start(self, guest):
        """
        In emulation a PVH guest dies now and then early in its boot, of a triple fault at an address of
        the hypervisor's own. That, and only that, is tried again.
        """
        faults = self.triple_faults()
        for _ in range(3):
            guest.run("start", False, False)
            guest.becomes(power_state="Running")
            guests.dom0.until(
                f"xenstore-exists /local/domain/{guest.domid()}/data/xenlab/tick || "
                f"[ $(xl dmesg | grep -c 'Triple fault') -gt {faults} ]")
            if self.triple_faults() == faults:
                return
            faults = self.triple_faults()
            guest.halt()
        self.fail("three triple faults")

    def triple_faults(self):
        return int(guests.dom0.run("xl dmesg | grep -c 'Triple fault'; true"))

    def test_a_pvh_guest_lives(self):
        guest = self.guest("pvh")
        with timed("to READY"):
            self.start(guest)
        self.assertRegex(guests.dom0.ready_line(guest.domid()), "mode=PVH .*disk=/dev/xvda boots=")
        self.world.becomes(guest.record()["metrics"], current_domain_type="pvh")
        for ref, kind, devid in ((guest.vbds[0], "vbd", 51712), (guest.vifs[0], "vif", 0)):
            self.world.becomes(ref, currently_attached=True)
            self.assertEqual(guests.dom0.frontend_state(guest.domid(), kind, devid), "4")
        vbd = guest.disk(userdevice="1")
        self.world.run("VBD.plug", vbd)
        guest.guest_will_say("disks", "xvda xvdb")
        self.world.run("VBD.unplug", vbd)
        guest.guest_will_say("disks", "xvda")
        self.client("VBD.destroy", vbd)
        self.client("VDI.destroy", guest.vdis[-1])
        tick = guest.tick()
        guest.run("suspend")
        guest.becomes(power_state="Suspended")
        guest.run("resume", False, False)
        guest.becomes(power_state="Running")
        guest.ticks_beyond(tick)
        guest.run("clean_shutdown")
        guest.becomes(power_state="Halted")


@takes_long
class HvmGuest(XenCase):
    def test_an_hvm_guest_is_created_paused_and_destroyed(self):
        guest = self.guest("hvm", memory=256 * MIB)
        with timed("VM.start"):
            guest.run("start", False, False, limit=2 * LIMIT)
        guest.becomes(power_state="Running")
        self.world.becomes(guest.record()["metrics"], current_domain_type="hvm", hvm=True)
        domid = guest.domid()
        guests.dom0.run(f"pgrep -f 'qemu-system-i386 -xen-domid {domid} '")
        guest.run("pause")
        guest.becomes(power_state="Paused")
        self.assertRegex(guests.dom0.run(f"xl list {domid}"), r"--p---")
        guest.run("unpause")
        guest.becomes(power_state="Running")
        guest.run("hard_shutdown")
        guest.becomes(power_state="Halted", domid=-1)


if __name__ == "__main__":
    unittest.main(verbosity=2)
