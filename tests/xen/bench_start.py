"""VM.start against `xl create` of the same guest, five of each in turn: the medians, and their ratio."""
import statistics
import time
import unittest

import guests
from guests import XenCase, set_up_module
from xen_host import FILES

ROUNDS = 5


def setUpModule():
    set_up_module()


class Start(XenCase):
    def xl_create(self, guest):
        """Seconds that `xl create` takes, in dom0's own clock; the domain is gone afterwards."""
        took = guests.dom0.run(
            "t=$(date +%s.%N); xl create -q /tmp/bench.cfg && echo $(date +%s.%N) $t | "
            "awk '{ print $1 - $2 }'")
        guests.dom0.run("xl destroy bench")
        guests.dom0.until("[ -z \"$(losetup -a)\" ]")
        return float(took)

    def vm_start(self, guest):
        begun = time.monotonic()
        self.client("VM.start", guest.vm, False, False)
        took = time.monotonic() - begun
        guest.run("hard_shutdown")
        return took

    def test_a_start_takes_no_longer_than_with_xl(self):
        guest = self.guest()
        image = guests.daemon.image(self.client, guest.vdis[0])
        args = self.client("VM.get_PV_args", guest.vm)
        guests.dom0.run(f"""cat >/tmp/bench.cfg <<-END
            type = "pv"
            name = "bench"
            memory = 128
            maxmem = 128
            vcpus = 1
            maxvcpus = 2
            kernel = "{FILES}/vmlinux"
            ramdisk = "{FILES}/initrd"
            extra = "{args}"
            disk = [ "{image},raw,xvda,rw" ]
            vif = [ "bridge=xenbr0" ]
            on_poweroff = "preserve"
            on_reboot = "preserve"
            on_crash = "preserve"
            """.replace("            ", "") + "END\n")
        ours, theirs = [], []
        for _ in range(ROUNDS):
            theirs.append(self.xl_create(guest))
            ours.append(self.vm_start(guest))
        ratio = statistics.median(ours) / statistics.median(theirs)
        for name, times in (("VM.start", ours), ("xl create", theirs)):
            print(f"    {name:10} median {statistics.median(times):5.2f} s  of",
                  " ".join(f"{t:.2f}" for t in times), flush=True)
        print(f"    ratio {ratio:.2f}", flush=True)


if __name__ == "__main__":
    unittest.main(verbosity=2)
