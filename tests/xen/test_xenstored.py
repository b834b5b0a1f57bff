"""The daemon is the host's xenstored, and the only one: dom0's kernel, Xen's own tools and guests talk
to it, and none of them notices when it is killed and comes back."""
import unittest

import guests
from guests import XenCase, takes_long, timed
from xen_host import NULL


def setUpModule():
    if not guests.dom0:
        guests.boot(xenstore="embedded")
        unittest.addModuleCleanup(guests.clear)


class Xenstored(XenCase):
    def restart(self):
        """SIGKILL, and the daemon again; seconds are told."""
        guests.daemon.kill()
        self.after_restart()
        self.world.client.close()
        with timed("restart"):
            guests.daemon.start()

    def xl_guest(self, name, *devices):
        guests.dom0.run(f"xenlab-guest pv {name} mem=128 {' '.join(devices)} >/tmp/{name}.cfg &&"
                        f"xl create -q /tmp/{name}.cfg")
        self.addCleanup(guests.dom0.try_run, f"xl destroy {name}")
        return guests.dom0.domains()[name]

    def ticks(self, domid, beyond):
        guests.dom0.until(f'[ "$(xenstore-read /local/domain/{domid}/data/xenlab/tick)" -gt {beyond} ]')

    def test_no_other_xenstored_runs(self):
        self.assertEqual(guests.dom0.try_run("pgrep -x 'o?xenstored'")[1].strip(), "")
        self.assertEqual(guests.dom0.run("xenstore-read /local/domain/0/name").strip(), "Domain-0")
        self.assertIn("Domain-0", guests.dom0.run("xl list"))

    def test_a_guest_boots_with_disk_and_network(self):
        guest = self.guest(args="xenlab.ip=10.77.0.2/24").start()
        line = guests.dom0.ready_line(guest.domid())
        self.assertRegex(line, "mode=PV .*disk=/dev/xvda boots=1 net=eth0")
        guests.dom0.until("ping -c 1 -W 2 10.77.0.2")
        guest.run("clean_shutdown")
        guest.becomes(power_state="Halted", resident_on=NULL)

    def test_a_guest_does_not_notice_a_kill(self):
        guest = self.guest(args="xenlab.ip=10.77.0.2/24").start()
        dom0 = guests.dom0
        before, tick = guest.record(), guest.tick()
        self.restart()
        guest.ticks_beyond(tick + 2)
        after = self.client("VM.get_record", guest.vm)
        for field in ("power_state", "domid", "resident_on", "uuid"):
            self.assertEqual(after[field], before[field], field)
        # Its next devices, and those that it has.
        vbd = guest.disk(userdevice="1")
        self.world.run("VBD.plug", vbd)
        guest.guest_will_say("disks", "xvda xvdb")
        vif = guest.vif(device="1")
        self.world.run("VIF.plug", vif)
        guest.guest_will_say("nics", "eth0 eth1")
        dom0.until("ping -c 1 -W 2 10.77.0.2")
        guest.run("clean_shutdown")
        guest.becomes(power_state="Halted", resident_on=NULL)

    @takes_long
    def test_killed_again_and_again_the_guest_s_counter_goes_on(self):
        guest = self.guest(vif=False).start()
        for _ in range(5):
            tick = guest.tick()
            self.restart()
            guest.ticks_beyond(tick)
        guest.run("clean_shutdown")
        guest.becomes(power_state="Halted")

    @takes_long
    def test_xl_works_beside_it(self):
        domid = self.xl_guest("beside")
        self.ticks(domid, 0)
        guest = self.guest(disk=False, vif=False)
        guest.start()
        listed = guests.dom0.domains()
        self.assertEqual({"beside", guest.name}, set(listed))
        tick = guests.dom0.tick(domid)
        self.restart()
        self.ticks(domid, tick)
        guests.dom0.run("truncate -s 16M /tmp/plug.img && xl block-attach beside"
                        " 'format=raw,vdev=xvdb,access=rw,target=/tmp/plug.img'")
        guests.dom0.until('[ "$(xenstore-read /local/domain/%d/data/xenlab/disks)" = xvdb ]' % domid)
        guests.dom0.run(f"xl shutdown -w {domid}")
        guest.run("hard_shutdown")
        guest.becomes(power_state="Halted")

    def test_a_guest_that_dies_while_the_daemon_is_dead_is_gone_afterwards(self):
        domid = self.xl_guest("dies")
        self.ticks(domid, 0)
        guests.dom0.order(domid, "poweroff")
        guests.daemon.kill()
        self.after_restart()
        self.world.client.close()
        guests.daemon.start()
        guests.dom0.until("! xl list dies >/dev/null 2>&1")
        guests.dom0.until(f"! xenstore-exists /local/domain/{domid}")


if __name__ == "__main__":
    unittest.main(verbosity=2)
