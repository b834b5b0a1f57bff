"""A host worth looking at: everything that clients need a value in, at the first start and later."""
import datetime
import os
import socket
import xml.etree.ElementTree

import harness

NULL = "OpaqueRef:NULL"
STR, INT, BOOL, SET, MAP, DATE = str, int, bool, list, dict, "date"


def ref_to(*classes):
    return ("ref", classes, False)


def ref_or_null(*classes):
    return ("ref", classes, True)


# What clients read of each class; without a value of this kind an object does not show there.
NEEDED = {
    "pool": {
        "other_config": MAP, "restrictions": MAP, "ha_statefiles": SET, "master": ref_to("host"),
        "name_label": STR, "cpu_info": MAP, "tags": SET, "default_SR": ref_to("SR"),
        "suspend_image_SR": ref_to("SR"), "crash_dump_SR": ref_to("SR"),
        "current_operations": MAP, "ha_enabled": BOOL,
    },
    "host": {
        "software_version": MAP, "license_params": MAP, "license_server": MAP, "other_config": MAP,
        "chipset_info": MAP, "cpu_info": MAP, "capabilities": SET, "metrics": ref_to("host_metrics"),
        "address": STR, "hostname": STR, "enabled": BOOL, "PIFs": SET, "PBDs": SET, "PCIs": SET,
        "PGPUs": SET, "patches": SET, "updates": SET, "updates_requiring_reboot": SET,
        "certificates": SET, "resident_VMs": SET, "control_domain": ref_to("VM"), "logging": MAP,
        "bios_strings": MAP, "tags": SET, "current_operations": MAP, "power_on_mode": STR,
        "iscsi_iqn": STR,
    },
    "host_metrics": {"live": BOOL, "memory_total": INT, "memory_free": INT},
    "VM": {
        "platform": MAP, "HVM_boot_params": MAP, "other_config": MAP, "blocked_operations": MAP,
        "current_operations": MAP, "VBDs": SET, "VIFs": SET, "VTPMs": SET, "VGPUs": SET,
        "snapshots": SET, "recommendations": STR, "domain_type": STR,
        "resident_on": ref_or_null("host"), "metrics": ref_or_null("VM_metrics"),
        "guest_metrics": ref_or_null("VM_guest_metrics"), "snapshot_time": DATE,
        "snapshot_of": ref_or_null("VM"), "domid": INT,
    },
    "VM_metrics": {"start_time": DATE, "install_time": DATE, "VCPUs_number": INT,
                   "memory_actual": INT},
    "SR": {
        "PBDs": SET, "other_config": MAP, "sm_config": MAP, "type": STR, "shared": BOOL,
        "physical_size": INT, "physical_utilisation": INT, "virtual_allocation": INT,
        "content_type": STR,
    },
    "PIF": {
        "bond_master_of": SET, "bond_slave_of": ref_or_null("Bond"),
        "metrics": ref_to("PIF_metrics"), "network": ref_to("network"), "host": ref_to("host"),
        "IP": STR, "physical": BOOL, "management": BOOL, "VLAN": INT,
    },
    "network": {"other_config": MAP, "PIFs": SET, "VIFs": SET, "bridge": STR, "MTU": INT,
                "purpose": SET},
    "PBD": {"device_config": MAP, "currently_attached": BOOL, "host": ref_to("host"),
            "SR": ref_to("SR")},
    "host_cpu": {"host": ref_to("host"), "number": INT, "speed": INT, "modelname": STR},
}
# Keys that must be in a map, and what their values look like.
KEYS = {
    ("pool", "restrictions"): {"restrict_zstd_export": "true|false", "restrict_vtpm": "true|false"},
    ("pool", "cpu_info"): {"cpu_count": r"\d+", "socket_count": r"\d+", "vendor": ".+"},
    ("host", "software_version"): {
        "product_version": r"\d+\.\d+\.\d+", "product_brand": "Xenolith",
        "platform_version": r"\d+\.\d+\.\d+", "build_number": ".+", "xapi": r"\d+\.\d+"},
    ("host", "license_params"): {"restrict_zstd_export": "true|false",
                                 "expiry": r"\d{8}T\d\d:\d\d:\d\dZ"},
    ("host", "other_config"): {"boot_time": r"\d+\.?", "agent_start_time": r"\d+\.?"},
    ("host", "chipset_info"): {"iommu": "true|false"},
    ("host", "cpu_info"): {"cpu_count": r"\d+", "socket_count": r"\d+"},
    ("VM", "platform"): {"cores-per-socket": r"\d+"},
}


class HostCase(harness.TestCase):
    def all(self, cls):
        return self.client(cls + ".get_all_records")

    def only(self, cls):
        records = self.all(cls)
        self.assertEqual(len(records), 1, cls)
        return next(iter(records.items()))

    def templates(self):
        return [vm for vm in self.all("VM").values() if vm["is_default_template"]]


class Fields(HostCase):
    def check(self, cls, name, value, kind):
        if isinstance(kind, tuple):
            self.assertRegex(value, r"^OpaqueRef:(NULL|[0-9a-f-]{36})$")
            if value == NULL:
                self.assertTrue(kind[2], "may not be null")
            else:
                self.assertTrue(any(value in self.all(c) for c in kind[1]), "names nothing")
        elif kind == DATE:
            self.assertRegex(value, r"^\d{8}T\d\d:\d\d:\d\dZ$")
        else:
            self.assertIs(type(value), kind)
        for key, pattern in KEYS.get((cls, name), {}).items():
            self.assertRegex(value[key], f"^({pattern})$")

    def test_every_field_that_clients_need_has_a_value(self):
        for cls, fields in NEEDED.items():
            records = self.all(cls)
            self.assertTrue(records, cls)
            for record in records.values():
                for name, kind in fields.items():
                    with self.subTest(cls=cls, field=name):
                        self.check(cls, name, record[name], kind)

    def test_all_records_of_a_class_have_the_same_fields(self):
        for cls in NEEDED:
            with self.subTest(cls=cls):
                self.assertEqual(len({frozenset(r) for r in self.all(cls).values()}), 1)


class Rows(HostCase):
    def test_there_is_one_pool_and_its_master_is_the_host(self):
        _, pool = self.only("pool")
        host, _ = self.only("host")
        self.assertEqual(pool["master"], host)

    def test_the_host_is_live_and_enabled(self):
        _, host = self.only("host")
        self.assertIs(self.client("host_metrics.get_live", host["metrics"]), True)
        self.assertIs(host["enabled"], True)
        self.assertNotIn("", (host["name_label"], host["hostname"], host["address"]))

    def test_the_host_is_this_machine(self):
        _, host = self.only("host")
        self.assertEqual(host["hostname"], socket.gethostname())
        self.assertEqual(host["software_version"]["linux"], os.uname().release)
        self.assertEqual(int(host["cpu_info"]["cpu_count"]), len(host["host_CPUs"]))
        self.assertGreaterEqual(len(host["host_CPUs"]), os.cpu_count() or 1)

    def test_versions_satisfy_those_who_compare_them(self):
        versions = self.only("host")[1]["software_version"]
        self.assertGreaterEqual(versions["product_version"], "6.5.0")  # as text
        platform = [int(n) for n in versions["platform_version"].split(".")]
        self.assertGreaterEqual(platform, [2, 1, 1])

    def test_memory_free_is_less_than_the_total(self):
        _, metrics = self.only("host_metrics")
        self.assertGreater(metrics["memory_total"], 0)
        self.assertLess(0, metrics["memory_free"])
        self.assertLess(metrics["memory_free"], metrics["memory_total"])

    def test_the_control_domain_runs_here_as_domain_0(self):
        host_ref, host = self.only("host")
        vm = self.client("VM.get_record", host["control_domain"])
        self.assertEqual((vm["domid"], vm["power_state"], vm["is_control_domain"]),
                         (0, "Running", True))
        self.assertEqual(vm["resident_on"], host_ref)
        self.assertIn(host["control_domain"], host["resident_VMs"])
        metrics = self.client("VM_metrics.get_record", vm["metrics"])
        self.assertGreater(metrics["memory_actual"], 0)
        self.assertGreater(metrics["VCPUs_number"], 0)
        self.assertNotEqual(metrics["start_time"], "19700101T00:00:00Z")

    def test_at_most_one_interface_is_for_management_and_the_address_is_its(self):
        _, host = self.only("host")
        management = [pif for pif in self.all("PIF").values() if pif["management"]]
        self.assertLessEqual(len(management), 1)
        for pif in management:
            self.assertEqual(host["address"], pif["IP"])

    def test_each_interface_is_on_a_network_with_a_bridge(self):
        for pif in self.all("PIF").values():
            network = self.client("network.get_record", pif["network"])
            self.assertTrue(network["bridge"])
            self.assertLessEqual(len(network["bridge"]), 15)

    def test_each_repository_has_a_driver_record_and_is_attached(self):
        types = {sm["type"] for sm in self.all("SM").values()}
        for sr in self.all("SR").values():
            self.assertIn(sr["type"], types)
            self.assertEqual([self.client("PBD.get_currently_attached", p) for p in sr["PBDs"]],
                             [True])
        self.assertIn("user", {sr["content_type"] for sr in self.all("SR").values()})
        self.assertIn("iso", {sr["content_type"] for sr in self.all("SR").values()})


class Templates(HostCase):
    def test_there_are_templates_of_every_kind(self):
        kinds = {t["domain_type"] for t in self.templates()}
        self.assertEqual(kinds, {"hvm", "pv", "pvh"})
        names = " ".join(t["name_label"] for t in self.templates())
        for name in ("Debian", "Ubuntu", "Windows", "Other install media"):
            self.assertIn(name, names)

    def test_template_names_are_unique(self):
        names = [t["name_label"] for t in self.templates()]
        self.assertEqual(len(names), len(set(names)))

    def test_templates_are_marked_as_the_products_own(self):
        for t in self.templates():
            self.assertTrue(t["is_a_template"])
            self.assertEqual(t["other_config"]["default_template"], "true")
            self.assertEqual((t["domid"], t["power_state"]), (-1, "Halted"))

    def test_disks_are_told_in_xml(self):
        for t in self.templates():
            text = t["other_config"].get("disks")
            if text is None:
                self.assertEqual(t["name_label"], "Other install media")
                continue
            root = xml.etree.ElementTree.fromstring(text)
            self.assertEqual(root.tag, "provision")
            for disk in root:
                self.assertEqual(set(disk.attrib), {"device", "size", "sr", "bootable", "type"})
                self.assertGreaterEqual(int(disk.get("size")), 2**30)

    def test_recommendations_hold_at_least_two_restrictions(self):
        for t in self.templates():
            root = xml.etree.ElementTree.fromstring(t["recommendations"])
            self.assertGreaterEqual(len(root.findall("restriction")), 2)

    def test_memory_limits_are_in_order(self):
        for t in self.templates():
            limits = [t["memory_" + n] for n in ("static_min", "dynamic_min", "dynamic_max",
                                                 "static_max")]
            self.assertEqual(limits, sorted(limits))
            self.assertGreater(limits[0], 0)

    def test_each_template_has_a_seed_of_its_own_for_addresses(self):
        seeds = [t["other_config"]["mac_seed"] for t in self.templates()]
        self.assertEqual(len(seeds), len(set(seeds)))


class Calls(HostCase):
    def setUp(self):
        super().setUp()
        self.host, _ = self.only("host")
        self.pool, _ = self.only("pool")

    def test_server_time_is_now(self):
        text = self.client("host.get_servertime", self.host)
        told = datetime.datetime.strptime(text, "%Y%m%dT%H:%M:%SZ")
        now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
        self.assertLess(abs((now - told).total_seconds()), 30)

    def test_plugins_are_refused_politely(self):
        with self.fails("XENAPI_MISSING_PLUGIN", "raid.py"):
            self.client("host.call_plugin", self.host, "raid.py", "check_raid_pool", {})
        self.assertIs(self.client("host.has_extension", self.host, "x"), False)

    def test_a_disabled_host_can_be_enabled_again(self):
        self.client("host.disable", self.host)
        self.assertIs(self.client("host.get_enabled", self.host), False)
        self.client("host.enable", self.host)
        self.assertIs(self.client("host.get_enabled", self.host), True)

    def test_the_methods_listed_are_those_of_the_system(self):
        listed = self.client("host.list_methods")
        self.assertIn("VM.start", listed)
        self.assertEqual(sorted(set(listed)), sorted(listed))

    def test_the_licence_never_ends(self):
        state = self.client("pool.get_license_state", self.pool)
        self.assertEqual(state["expiry"], "never")

    def test_setters_that_are_messages_of_their_own(self):
        self.client("host.set_iscsi_iqn", self.host, "iqn.2020-01.test:x")
        self.assertEqual(self.client("host.get_iscsi_iqn", self.host), "iqn.2020-01.test:x")
        self.client("host.set_power_on_mode", self.host, "script", {"a": "b"})
        self.assertEqual(self.client("host.get_power_on_config", self.host), {"a": "b"})
        with self.fails("VALUE_NOT_SUPPORTED"):
            self.client("pool.set_ext_auth_cache_size", self.pool, 0)

    def test_what_a_live_only_host_cannot_do(self):
        with self.fails("HOST_IS_LIVE", self.host):
            self.client("host.declare_dead", self.host)
        with self.fails("HOST_CANNOT_DESTROY_SELF", self.host):
            self.client("host.destroy", self.host)
        with self.fails("HA_NOT_ENABLED"):
            self.client("pool.disable_ha")

    def test_an_unknown_host_is_told(self):
        with self.fails("HANDLE_INVALID", "host", NULL):
            self.client("host.get_servertime", NULL)

    def test_free_memory_is_a_number(self):
        self.assertGreater(self.client("host.compute_free_memory", self.host), 0)

    def test_agent_configuration_of_guests(self):
        self.client("pool.add_to_guest_agent_config", self.pool, "k", "v")
        with self.fails("MAP_DUPLICATE_KEY", "pool", "guest_agent_config", self.pool, "k"):
            self.client("pool.add_to_guest_agent_config", self.pool, "k", "v")
        self.client("pool.remove_from_guest_agent_config", self.pool, "k")
        self.assertEqual(self.client("pool.get_guest_agent_config", self.pool), {})


class Networks(HostCase):
    def network(self, **fields):
        return self.client("network.create", {"name_label": "n", "name_description": "",
                                              "other_config": {}, **fields})

    def test_a_network_gets_a_free_bridge_and_a_usual_mtu(self):
        first, second = self.network(), self.network(MTU=0)
        bridges = {self.client("network.get_bridge", n) for n in (first, second)}
        self.assertEqual(len(bridges), 2)
        for bridge in bridges:
            self.assertRegex(bridge, r"^xapi\d+$")
        self.assertEqual(self.client("network.get_MTU", second), 1500)
        for network in (first, second):
            self.client("network.destroy", network)

    def test_bridge_names_that_are_refused(self):
        for name in ("xenbr9", "xapi7", "vif1.0", "tap0", "eth0", "a" * 16, "a/b"):
            with self.subTest(name=name), self.fails("INVALID_VALUE", "bridge", name):
                self.network(bridge=name)

    def test_bridge_names_are_unique(self):
        network = self.network(bridge="mybridge")
        with self.fails("BRIDGE_NAME_EXISTS", "mybridge"):
            self.network(bridge="mybridge")
        self.client("network.destroy", network)

    def test_a_network_with_an_interface_stays(self):
        for ref, pif in self.all("PIF").items():
            with self.fails("NETWORK_CONTAINS_PIF", ref):
                self.client("network.destroy", pif["network"])

    def test_the_two_purposes_exclude_each_other(self):
        network = self.network()
        self.client("network.add_purpose", network, "nbd")
        with self.fails("NETWORK_INCOMPATIBLE_PURPOSES", "insecure_nbd", "nbd"):
            self.client("network.add_purpose", network, "insecure_nbd")
        self.client("network.remove_purpose", network, "nbd")
        self.client("network.destroy", network)

    def test_a_scan_finds_no_card_twice(self):
        before = self.all("PIF")
        self.client("PIF.scan", self.only("host")[0])
        self.assertEqual(set(self.all("PIF")), set(before))

    def test_cards_that_cannot_be_introduced(self):
        host, _ = self.only("host")
        with self.fails("MAC_INVALID", "zz"):
            self.client("PIF.introduce", host, "zz", "eth0")
        with self.fails("COULD_NOT_FIND_NETWORK_INTERFACE_WITH_SPECIFIED_DEVICE_NAME_AND_MAC_ADDRESS",
                        "nosuch0", ""):
            self.client("PIF.introduce", host, "", "nosuch0")
        for pif in self.all("PIF").values():
            with self.fails("DUPLICATE_PIF_DEVICE_NAME", pif["device"]):
                self.client("PIF.introduce", host, "", pif["device"])

    def test_the_management_interface_is_not_forgotten(self):
        for ref, pif in self.all("PIF").items():
            if pif["management"]:
                with self.fails("PIF_IS_MANAGEMENT_INTERFACE", ref):
                    self.client("PIF.forget", ref)
                with self.fails("PIF_IS_MANAGEMENT_INTERFACE", ref):
                    self.client("PIF.unplug", ref)


class Restart(HostCase):
    CLASSES = ("pool", "host", "host_metrics", "host_cpu", "VM", "VM_metrics", "network", "PIF",
               "PIF_metrics", "SR", "PBD", "SM")

    def identities(self):
        return {cls: sorted((ref, r["uuid"]) for ref, r in self.all(cls).items())
                for cls in self.CLASSES}

    def test_a_crash_changes_no_reference_and_no_uuid(self):
        before = self.identities()
        host, _ = self.only("host")
        template = next(ref for ref, vm in self.all("VM").items() if vm["is_default_template"])
        self.client("host.set_name_label", host, "renamed")
        self.client("VM.set_name_label", template, "my own")
        self.daemon.crash_and_restart()
        self.client = self.daemon.client()
        self.assertEqual(self.identities(), before)
        self.assertEqual(self.client("host.get_name_label", host), "renamed")
        self.assertEqual(self.client("VM.get_name_label", template), "my own")

    def test_names_and_address_that_a_client_set_stay(self):
        host, machine = self.only("host")
        self.client("host.set_hostname", host, "called-otherwise")
        self.client("host.set_address", host, "192.0.2.77")
        self.client("VM.set_name_label", machine["control_domain"], "dom0")
        for again in (self.daemon.crash_and_restart, self.daemon.restart):
            again()
            self.client = self.daemon.client()
            record = self.client("host.get_record", host)
            self.assertEqual((record["hostname"], record["address"]),
                             ("called-otherwise", "192.0.2.77"))
            self.assertEqual(record["software_version"]["hostname"], machine["hostname"])
            self.assertEqual(self.client("VM.get_name_label", record["control_domain"]), "dom0")

    def test_a_host_disabled_for_good_stays_disabled(self):
        host, _ = self.only("host")
        self.client("host.disable", host, False)
        self.daemon.restart()
        self.client = self.daemon.client()
        self.assertIs(self.client("host.get_enabled", host), False)
        self.client("host.enable", host)
        self.client("host.disable", host)
        self.daemon.restart()
        self.client = self.daemon.client()
        self.assertIs(self.client("host.get_enabled", host), True)


if __name__ == "__main__":
    harness.main()
