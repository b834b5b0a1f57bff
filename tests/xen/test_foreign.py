"""What is not ours on the host, and a client that is not ours: domains made with xl, and the npm
client that Xen Orchestra is made of."""
import os
import subprocess
import sys
import unittest

import guests
import xen_host
from guests import XenCase, set_up_module
from xen_host import HERE, LIMIT, NULL

sys.path.insert(0, os.path.join(HERE, "..", "integration", "xen_api_client"))
import test_xen_api_client as npm  # noqa: E402 pylint: disable=wrong-import-position

npm.folder = os.environ.get("XN_NPM_FOLDER") or os.path.join(
    xen_host.tempfile.gettempdir(), "xn-xen-api-client")


def setUpModule():
    set_up_module()


class Foreign(XenCase):
    def xl_create(self, name):
        guests.dom0.run(f"xenlab-guest pv {name} mem=128 >/tmp/{name}.cfg && xl create -q /tmp/{name}.cfg")
        self.addCleanup(guests.dom0.try_run, f"xl destroy {name}")
        return guests.dom0.domains()[name]

    def uuid(self, domid):
        return guests.dom0.key(f"/local/domain/{domid}/vm").rsplit("/", 1)[-1]

    def assert_untouched(self, domid, tick):
        guests.dom0.until(
            f'[ "$(xenstore-read /local/domain/{domid}/data/xenlab/tick)" -gt {tick} ]')
        self.assertEqual(guests.dom0.domains()["foreign"], domid)

    def test_a_domain_made_with_xl_is_seen_and_left_alone(self):
        vms = set(self.client("VM.get_all"))
        domid = self.xl_create("foreign")
        guests.dom0.until(f"xenstore-exists /local/domain/{domid}/data/xenlab/tick")
        uuid, tick = self.uuid(domid), guests.dom0.tick(domid)
        # Domains of ours come and go beside it.
        guest = self.guest(disk=False, vif=False)
        guest.run("start", False, False)
        guest.run("hard_shutdown")
        guest.becomes(power_state="Halted", domid=-1)
        self.assert_untouched(domid, tick)
        guests.daemon.crash_and_restart()
        self.after_restart()
        self.assert_untouched(domid, guests.dom0.tick(domid))
        records = self.client("VM.get_all_records")
        self.assertEqual(set(records) - vms, {guest.vm})
        self.assertNotIn(uuid, [record["uuid"] for record in records.values()])
        self.assertNotIn(str(domid), [str(record["domid"]) for record in records.values()])
        self.assertIn(uuid, guests.daemon.log_text(self.log_begins))
        self.assertIn(uuid, self.diagnostics())
        # Shut down by its own means: nobody else reacts.
        guests.dom0.run(f"xl shutdown -w {domid}")
        self.assertNotIn("foreign", guests.dom0.domains())

    def diagnostics(self):
        root = guests.daemon.root
        return guests.dom0.run(f"{root}/xenolithd --diagnostics --socket {root}/xapi")


class NpmClient(XenCase):
    def test_xen_orchestras_client_drives_a_real_guest(self):
        npm.install()
        guest = self.guest()
        with open(os.path.join(HERE, "xen_api_client.mjs"), encoding="utf-8") as source, \
             open(os.path.join(npm.folder, "xen_host.mjs"), "w", encoding="utf-8") as copy:
            copy.write(source.read())
        node = subprocess.run(
            ["node", "xen_host.mjs", guests.daemon.url(), xen_host.harness.PASSWORD, guest.vm],
            cwd=npm.folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=4 * LIMIT, check=False)
        self.assertEqual((node.returncode, node.stdout.splitlines()[-1:]), (0, ["done"]), node.stdout)
        record = guest.becomes(power_state="Halted", domid=-1, resident_on=NULL)
        self.assertEqual(record["current_operations"], {})


if __name__ == "__main__":
    unittest.main(verbosity=2)
