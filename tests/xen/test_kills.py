"""The daemon is killed while real guests run, are built and are suspended: afterwards the API tells the
truth, the guests have not noticed, and nothing is left of what was half done."""
import unittest

import guests
from guests import XenCase, set_up_module, takes_long
from xen_host import timed


def setUpModule():
    set_up_module()


class Kills(XenCase):
    def kill(self):
        guests.daemon.kill()
        self.client.close()
        self.world.client.close()

    def restart(self):
        with timed("restart"):
            guests.daemon.start()

    def settled(self, guest, task):
        """The task ended, and nothing is under way; the VM's record."""
        self.world.becomes(task, status=lambda status: status != "pending")
        return guest.becomes(current_operations={})

    def assert_true(self, guest, record):
        """What the record says of the domain is what dom0 says."""
        lives = record["power_state"] in ("Running", "Paused")
        self.assertEqual(int(record["domid"]), guests.dom0.domains().get(guest.name, -1))
        self.assertEqual(int(record["domid"]) != -1, lives)
        for ref in guest.vbds + guest.vifs:
            self.world.becomes(ref, currently_attached=lives)
        if not lives:
            self.assertEqual(guests.dom0.leftovers(), "")

    def test_a_running_guest_does_not_notice(self):
        guest = self.guest().start()
        before, tick = guest.record(), guest.tick()
        self.kill()
        guests.dom0.until(f'[ "$(xenstore-read /local/domain/{guest.domid()}/data/xenlab/tick)" -gt '
                          f"{tick + 2} ]")
        self.restart()
        after = self.client("VM.get_record", guest.vm)  # the first reply
        for field in ("power_state", "domid", "resident_on", "uuid", "current_operations"):
            self.assertEqual(after[field], before[field], field)
        self.assert_true(guest, after)
        guest.ticks_beyond(tick)
        # It is ours again: what it does is seen, what it is told it does.
        vbd = guest.disk(userdevice="1")
        self.world.run("VBD.plug", vbd)
        guest.guest_will_say("disks", "xvda xvdb")
        guest.order("reboot")
        guest.becomes(domid=lambda now: int(now) not in (int(before["domid"]), -1))
        guest.ready()
        guest.run("clean_shutdown")
        self.assert_true(guest, guest.becomes(power_state="Halted"))

    def test_what_happened_meanwhile_is_known_afterwards(self):
        guest = self.guest().start()
        domid = guest.domid()
        guest.order("poweroff")
        self.kill()
        guests.dom0.until(f"! xl list {domid} >/dev/null 2>&1 || xl list {domid} | grep -q -- ---s-")
        self.restart()
        self.assert_true(guest, guest.becomes(power_state="Halted", domid=-1))

    def kill_when(self, moment):
        """The daemon, as soon as dom0 is so; then it is started again."""
        guests.dom0.until(moment, 60)
        self.kill()
        print("    at the kill:", guests.dom0.leftovers().replace("\n", "; "), flush=True)
        self.restart()

    def killed_in_start(self, moment):
        guest = self.guest()
        task = self.world.begin("VM.start", guest.vm, False, False)
        self.kill_when(moment)
        record = self.settled(guest, task)
        self.assertIn(record["power_state"], ("Halted", "Running"))
        if self.world.records[task]["status"] == "success":
            self.assertEqual(record["power_state"], "Running")
        self.assert_true(guest, record)
        guest.halt()
        self.assert_true(guest, guest.becomes(power_state="Halted"))

    @takes_long
    def test_killed_as_soon_as_a_start_begins(self):
        self.killed_in_start("true")

    def test_killed_while_the_domain_is_built(self):
        self.killed_in_start("[ $(xenstore-list /local/domain | wc -l) -gt 1 ]")

    @takes_long
    def test_killed_while_devices_are_plugged(self):
        self.killed_in_start("[ -n \"$(losetup -a)\" ]")

    def killed_in(self, guest, method, params, moment):
        """And it has lost nothing: if it is suspended afterwards, it is resumed."""
        tick = guest.tick() if method == "VM.suspend" else 0
        task = self.world.begin(method, guest.vm, *params)
        self.kill_when(moment)
        record = self.settled(guest, task)
        self.assertIn(record["power_state"], ("Running", "Suspended"))
        self.assert_true(guest, record)
        if record["power_state"] == "Suspended":
            guest.run("resume", False, False)
            guest.becomes(power_state="Running")
        guest.ticks_beyond(tick)

    @takes_long
    def test_killed_in_suspend_and_resume(self):
        guest = self.guest().start()
        self.killed_in(guest, "VM.suspend", (), "true")
        domid = guest.domid()
        self.killed_in(guest, "VM.suspend", (), f"xl list {domid} 2>/dev/null | grep -q -- ---s-"
                       f" || ! xl list {domid} >/dev/null 2>&1")
        tick = guest.tick()
        guest.run("suspend")
        self.killed_in(guest, "VM.resume", (False, False),
                       "[ $(xenstore-list /local/domain | wc -l) -gt 1 ]")
        guest.ticks_beyond(tick)
        guest.run("clean_shutdown")
        self.assert_true(guest, guest.becomes(power_state="Halted"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
