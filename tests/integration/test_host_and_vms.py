"""VMs beside each other on one host, as clients see it: memory that is shared out, appliances, VMs
that start with the host, devices of the host, changes in a VM that runs."""
import os
import unittest

import harness
from harness import Events, wait_for_task

GIB = 1 << 30
TEMPLATE = "Other install media"
NULL = "OpaqueRef:NULL"


class Case(harness.TestCase):
    daemon_options = ("--sim-memory", str(64 * GIB))

    def vm(self, name="a VM", **other_config):
        template = self.client("VM.get_by_name_label", TEMPLATE)[0]
        vm = self.client("VM.clone", template, name)
        self.client("VM.provision", vm)
        for key, value in other_config.items():
            self.client("VM.add_to_other_config", vm, key.replace("_", "-"), str(value))
        self.addCleanup(self.remove, vm)
        return vm

    def remove(self, vm):
        if self.state(vm) != "Halted":
            self.client("VM.hard_shutdown", vm)
        self.client("VM.destroy", vm)

    def state(self, vm):
        return self.client("VM.get_power_state", vm)

    def start(self, vm):
        self.client("VM.start", vm, False, False)
        self.assertEqual(self.state(vm), "Running")

    def wait_for_vm(self, vm, wanted):
        return Events(self.client, ["vm/" + vm], token="").wait(lambda e: wanted(e["snapshot"]))


class Memory(Case):
    def ranged(self, low, high, **other_config):
        vm = self.vm(**other_config)
        self.client("VM.set_memory_limits", vm, 1 << 30, high * GIB, low * GIB, high * GIB)
        return vm

    def target(self, vm):
        return int(self.client("VM.get_memory_target", vm))

    def actual(self, vm):
        return int(self.client("VM_metrics.get_memory_actual",
                               self.client("VM.get_metrics", vm)))

    def test_a_vm_makes_room_for_another_and_gets_its_memory_back(self):
        first, second = self.ranged(10, 40), self.ranged(10, 40)
        self.start(first)
        self.assertEqual(self.target(first), 40 * GIB)
        self.start(second)
        self.assertLess(self.target(first), 30 * GIB)
        self.assertLess(abs(self.target(first) - self.target(second)), GIB)
        self.assertEqual(self.actual(second), self.target(second))
        self.assertEqual(self.actual(first), self.target(first))
        self.client("VM.hard_shutdown", second)
        self.wait_for_vm(first, lambda vm: int(vm["memory_target"]) == 40 * GIB)

    def test_what_does_not_fit_is_told_with_its_numbers(self):
        host = self.client("host.get_all")[0]
        first, second = self.ranged(30, 40), self.ranged(30, 40)
        self.start(first)
        needed = 30 * GIB + int(self.client("VM.compute_memory_overhead", second))
        available = int(self.client("host.compute_free_memory", host))
        for call in (("VM.start", second, False, False), ("VM.assert_can_boot_here", second, host)):
            with self.fails("HOST_NOT_ENOUGH_FREE_MEMORY", str(needed), str(available)):
                self.client(*call)
        self.assertEqual(self.client("VM.get_possible_hosts", second), [])
        self.assertEqual(self.target(first), 40 * GIB)

    def test_a_start_that_waits_says_for_what_and_can_be_cancelled(self):
        slow, second = self.ranged(10, 50, sim_balloon_ms=60000), self.ranged(10, 50)
        self.start(slow)
        task = self.client("Async.VM.start", second, False, False)
        words = Events(self.client, ["task/" + task], token="").wait(
            lambda e: "give back" in e["snapshot"]["other_config"].get("xn:waiting_for", ""))
        self.assertIn(self.client("VM.get_uuid", slow),
                      words["snapshot"]["other_config"]["xn:waiting_for"])
        self.client("task.cancel", task)
        self.assertEqual(wait_for_task(self.client, task)["status"], "cancelled")
        self.assertEqual(self.state(second), "Halted")
        self.wait_for_vm(slow, lambda vm: int(vm["memory_target"]) == 50 * GIB)

    def test_a_range_changes_while_the_vm_runs(self):
        vm = self.ranged(10, 40)
        self.start(vm)
        self.client("VM.set_memory_dynamic_range", vm, 8 * GIB, 8 * GIB)
        self.client("VM.wait_memory_target_live", vm)
        self.assertEqual((self.target(vm), self.actual(vm)), (8 * GIB, 8 * GIB))


class Appliances(Case):
    def appliance(self, vms):
        ref = self.client("VM_appliance.create", {"name_label": "shop", "name_description": ""})
        self.addCleanup(lambda: self.client("VM_appliance.destroy", ref))
        for order, vm in enumerate(vms):
            self.client("VM.set_order", vm, order)
            self.client("VM.set_appliance", vm, ref)
        return ref

    def test_vms_start_in_order_and_stop_in_the_other(self):
        vms = [self.vm(str(i)) for i in range(3)]
        shop = self.appliance(vms)
        self.assertEqual(sorted(self.client("VM_appliance.get_VMs", shop)), sorted(vms))
        self.assertEqual(self.client("VM_appliance.get_allowed_operations", shop), ["start"])
        events = Events(self.client, ["vm", "vm_appliance"])
        task = self.client("Async.VM_appliance.start", shop, False)
        self.assertEqual(wait_for_task(self.client, task)["status"], "success")
        domids = [int(self.client("VM.get_domid", vm)) for vm in vms]
        self.assertEqual(domids, sorted(domids))
        event = events.wait(lambda e: e["ref"] == shop
                            and "hard_shutdown" in e["snapshot"]["allowed_operations"])
        self.assertEqual(event["snapshot"]["current_operations"], {})
        self.client("VM_appliance.hard_shutdown", shop)
        self.assertEqual([self.state(vm) for vm in vms], ["Halted"] * 3)

    def test_who_fails_is_named(self):
        vms = [self.vm("good"), self.vm("bad", sim_build="fail"), self.vm("good too")]
        shop = self.appliance(vms)
        with self.fails("OPERATION_PARTIALLY_FAILED", "VM.start", vms[1]):
            self.client("VM_appliance.start", shop, False)
        self.assertEqual([self.state(vm) for vm in vms], ["Running", "Halted", "Running"])

    def test_a_killed_daemon_goes_on_with_it(self):
        vms = [self.vm(str(i), sim_build_ms=400) for i in range(3)]
        shop = self.appliance(vms)
        task = self.client("Async.VM_appliance.start", shop, False)
        Events(self.client, ["vm/" + vms[0]], token="").wait_for(vms[0], power_state="Running")
        self.daemon.crash_and_restart()
        self.client = self.daemon.client()
        self.assertEqual(wait_for_task(self.client, task)["status"], "success")
        self.assertEqual([self.state(vm) for vm in vms], ["Running"] * 3)
        self.assertEqual(self.client("VM_appliance.get_current_operations", shop), {})

    def test_a_start_delay_is_waited_for_but_holds_nothing(self):
        vm = self.vm()
        self.client("VM.set_start_delay", vm, 2)
        task = self.client("Async.VM.start", vm, False, False)
        Events(self.client, ["vm/" + vm], token="").wait_for(
            vm, power_state="Running", current_operations={})
        self.assertEqual(self.client("task.get_status", task), "pending")
        self.assertEqual(wait_for_task(self.client, task)["status"], "success")


class Boot(Case):
    def test_vms_start_with_the_host_but_not_with_the_daemon(self):
        pool = self.client("pool.get_all")[0]
        self.client("pool.add_to_other_config", pool, "auto_poweron", "true")
        vm, other = self.vm(auto_poweron="x"), self.vm()
        self.client("VM.remove_from_other_config", vm, "auto-poweron")
        self.client("VM.add_to_other_config", vm, "auto_poweron", "true")
        self.daemon.restart()
        self.client = self.daemon.client()
        self.assertEqual(self.state(vm), "Halted")
        self.daemon.stop()
        os.unlink(os.path.join(self.daemon.state, "sim.world"))  # its host boots
        self.daemon.start()
        self.client = self.daemon.client()
        Events(self.client, ["vm/" + vm], token="").wait_for(
            vm, power_state="Running", current_operations={})
        self.assertEqual(self.state(other), "Halted")
        self.client("VM.hard_shutdown", vm)
        self.daemon.crash_and_restart()
        self.client = self.daemon.client()
        self.assertEqual(self.state(vm), "Halted")


class Live(Case):
    def test_what_can_be_changed_while_it_runs(self):
        vm = self.vm()
        self.client("VM.add_to_platform", vm, "vcpu-unrestricted", "true")
        self.client("VM.set_VCPUs_max", vm, 4)
        self.start(vm)
        self.wait_for_vm(vm, lambda r: "changing_VCPUs_live" in r["allowed_operations"])
        self.client("VM.set_VCPUs_number_live", vm, 3)
        metrics = self.client("VM.get_metrics", vm)
        self.assertEqual(int(self.client("VM_metrics.get_VCPUs_number", metrics)), 3)
        self.client("VM.set_shadow_multiplier_live", vm, 2.0)
        self.client("VM.add_to_VCPUs_params_live", vm, "weight", "512")
        self.client("VM.add_to_xenstore_data", vm, "vm-data/hello", "world")
        with self.fails("MAP_DUPLICATE_KEY"):
            self.client("VM.add_to_xenstore_data", vm, "vm-data/hello", "again")
        record = self.client("VM.get_record", vm)
        self.assertEqual(record["VCPUs_params"]["weight"], "512")
        self.assertEqual(record["xenstore_data"]["vm-data/hello"], "world")
        self.assertEqual(record["HVM_shadow_multiplier"], 2.0)

    def test_a_vm_gets_a_device_of_the_host(self):
        host = self.client("host.get_all")[0]
        devices = self.client("PCI.get_all_records")
        self.assertEqual(sorted(devices), sorted(self.client("host.get_PCIs", host)))
        ref, device = sorted(devices.items())[0]
        vm, other = self.vm(), self.vm()
        for each in (vm, other):
            self.client("VM.add_to_other_config", each, "pci", "0/" + device["pci_id"])
        self.start(vm)
        self.assertEqual(self.client("VM.get_attached_PCIs", vm), [ref])
        with self.fails("DEVICE_ALREADY_ATTACHED", ref):
            self.client("VM.start", other, False, False)
        self.client("VM.hard_shutdown", vm)
        self.assertEqual(self.client("VM.get_attached_PCIs", vm), [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
