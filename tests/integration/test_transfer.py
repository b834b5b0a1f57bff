"""Files over HTTP, plain and TLS: virtual machines as archives, disks, the database as XML."""
import base64
import contextlib
import ctypes
import functools
import gzip
import http.client
import io
import os
import random
import re
import resource
import socket
import ssl
import struct
import tarfile
import threading
import unittest
import xmlrpc.client
import xml.etree.ElementTree
from urllib.parse import urlencode

import harness
from harness import DEADLINE, PASSWORD, Events, wait_for_task

MIB = 1 << 20


def unprotected(text):
    """White space as attributes of the dump carry it."""
    return re.sub("%(.)", lambda m: {".": " ", "t": "\t", "n": "\n", "r": "\r", "%": "%"}[m[1]], text)


def sexpr(text):
    """A set or map of the dump: nested lists of texts."""
    stack = [[]]
    for quoted, bracket in re.findall(r"'((?:[^'\\]|\\.)*)'|([()])", text, re.S):
        if bracket == "(":
            stack.append([])
        elif bracket == ")":
            done = stack.pop()
            stack[-1].append(done)
        else:
            stack[-1].append(re.sub(r"\\(.)", r"\1", quoted, flags=re.S))
    return stack[0][0]


class Transfers(harness.TestCase):
    daemon_options = ("--https", "127.0.0.1:0")

    def connection(self, tls=False):
        if not tls:
            return http.client.HTTPConnection(*self.daemon.address, timeout=4 * DEADLINE)
        anybody = ssl.create_default_context()
        anybody.check_hostname = False
        anybody.verify_mode = ssl.CERT_NONE
        return http.client.HTTPSConnection(*self.daemon.https_address, timeout=4 * DEADLINE,
                                           context=anybody)

    def get(self, path, tls=False, **query):
        """Status, headers and the whole body."""
        query.setdefault("session_id", self.client.session)
        with contextlib.closing(self.connection(tls)) as connection:
            connection.request("GET", path + "?" + urlencode(query))
            response = connection.getresponse()
            return response.status, response.headers, response.read()

    def get_as_xe_does(self, path, tls=False, **query):
        """HTTP/1.0 without any header: the body ends where the connection does."""
        query.setdefault("session_id", self.client.session)
        connection = self.connection(tls)
        connection.connect()
        with contextlib.closing(connection.sock) as sock:
            sock.sendall(f"GET {path}?{urlencode(query)} HTTP/1.0\r\n\r\n".encode())
            answer = b"".join(iter(lambda: sock.recv(1 << 16), b""))
        head, body = answer.split(b"\r\n\r\n", 1)
        return int(head.split()[1]), head, body

    def put(self, path, body, tls=False, length=True, **query):
        """As xe does: HTTP/1.0, the body after the answer's head, the connection left open with TLS."""
        query.setdefault("session_id", self.client.session)
        task = query.setdefault("task_id", self.new_task())
        connection = self.connection(tls)
        connection.connect()
        sock = connection.sock
        self.addCleanup(sock.close)
        declared = "" if length is False else f"Content-length: {len(body) if length is True else length}\r\n"
        sock.sendall(f"PUT {path}?{urlencode(query)} HTTP/1.0\r\n{declared}\r\n".encode())
        head = b""
        while b"\r\n\r\n" not in head:
            head += sock.recv(1)
        if b" 200 " not in head.split(b"\r\n")[0]:
            return int(head.split()[1]), self.ended(task)
        with contextlib.suppress(OSError):  # what failed is not read on: the connection is gone
            sock.sendall(body)
            if not tls:
                sock.shutdown(socket.SHUT_WR)
        return 200, self.ended(task)

    def new_task(self):
        return self.client("task.create", "transfer", "")

    def ended(self, task):
        return wait_for_task(self.client, task)


def rotate(x, bits):
    return (x << bits | x >> (64 - bits)) & (1 << 64) - 1


@functools.lru_cache(maxsize=64)
def xxh64(data):
    """From the specification of XXH64, for the checksums of archives."""
    mask = (1 << 64) - 1
    p1, p2, p3, p4, p5 = (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9,
                          0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5)

    def turn(lane, word):
        return rotate((lane + word * p2) & mask, 31) * p1 & mask
    at = 0
    if len(data) >= 32:
        a, b, c, d = (p1 + p2) & mask, p2, 0, -p1 & mask
        for w, x, y, z in struct.iter_unpack("<4Q", data[:len(data) // 32 * 32]):
            a, b, c, d = turn(a, w), turn(b, x), turn(c, y), turn(d, z)
        value = (rotate(a, 1) + rotate(b, 7) + rotate(c, 12) + rotate(d, 18)) & mask
        for lane in (a, b, c, d):
            value = ((value ^ turn(0, lane)) * p1 + p4) & mask
        at = len(data) // 32 * 32
    else:
        value = p5
    value = (value + len(data)) & mask
    while len(data) - at >= 8:
        word, = struct.unpack_from("<Q", data, at)
        value = (rotate(value ^ turn(0, word), 27) * p1 + p4) & mask
        at += 8
    if len(data) - at >= 4:
        word, = struct.unpack_from("<I", data, at)
        value = (rotate(value ^ word * p1 & mask, 23) * p2 + p3) & mask
        at += 4
    for byte in data[at:]:
        value = rotate(value ^ byte * p5 & mask, 11) * p1 & mask
    value = (value ^ value >> 33) * p2 & mask
    value = (value ^ value >> 29) * p3 & mask
    return f"{value ^ value >> 32:016X}"


class Archive:
    """What an export is, read with Python's own tarfile; every checksum is proven."""

    def __init__(self, data):
        self.disks = {}  # by directory: {number of a MiB: bytes}
        self.names = []
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
            for member in tar:
                self.names.append(member.name)
                content = tar.extractfile(member).read()
                if member.name == "ova.xml":
                    self.ova = self.parse(content)
                elif member.name.endswith(".xxhash"):
                    if content.decode() != xxh64(chunk):
                        raise AssertionError("the checksum of " + member.name)
                else:
                    folder, number = member.name.split("/")
                    assert len(number) == 8
                    chunk = self.disks.setdefault(folder, {})[int(number)] = content
        if data[-1024:] != bytes(1024):
            raise AssertionError("no end of the archive")
        self.objects = {(o["class"], o["id"]): o["snapshot"] for o in self.ova["objects"]}

    @staticmethod
    def parse(text):
        """The value of an XML-RPC reply."""
        document = b"<methodResponse><params><param>" + text + b"</param></params></methodResponse>"
        (value,), _ = xmlrpc.client.loads(document)
        return value

    def of_class(self, name):
        return {key[1]: record for key, record in self.objects.items() if key[0] == name}

    def content(self, folder, size):
        """The disk's bytes, holes filled."""
        out = bytearray(size)
        for number, data in self.disks[folder].items():
            out[number * MIB:number * MIB + len(data)] = data
        return bytes(out)


class Machines(Transfers):
    """Virtual machines with disks, whose images are files that the tests fill."""

    def new_vm(self, name="exported"):
        template = self.client("VM.get_by_name_label", "Other install media")[0]
        vm = self.client("VM.clone", template, name)
        self.client("VM.provision", vm)
        return vm

    def default_sr(self):
        return self.client("pool.get_default_SR", self.client("pool.get_all")[0])

    def image(self, vdi):
        sr = self.client("VDI.get_SR", vdi)
        pbd = self.client("SR.get_PBDs", sr)[0]
        folder = self.client("PBD.get_device_config", pbd)["location"]
        name = self.client("VDI.get_uuid", vdi) + ".raw"
        return os.path.join(self.daemon.state, folder, name)

    def new_vdi(self, size, content=()):
        """@content: pairs of offset and bytes."""
        vdi = self.client("VDI.create", {"SR": self.default_sr(), "virtual_size": str(size),
                                         "name_label": "disk", "name_description": "",
                                         "type": "user", "sharable": False, "read_only": False,
                                         "other_config": {}, "sm_config": {}})
        with open(self.image(vdi), "r+b") as file:
            for offset, data in content:
                file.seek(offset)
                file.write(data)
        return vdi

    def new_disk(self, vm, size, content=(), device="0"):
        vdi = self.new_vdi(size, content)
        self.client("VBD.create", {"VM": vm, "VDI": vdi, "userdevice": device, "bootable": True,
                                   "mode": "RW", "type": "Disk", "empty": False,
                                   "other_config": {}, "qos_algorithm_type": "",
                                   "qos_algorithm_params": {}})
        return vdi

    def new_vif(self, vm):
        network = self.client("network.get_all")[0]
        return self.client("VIF.create", {"VM": vm, "network": network, "device": "0", "MAC": "",
                                          "MTU": "1500", "other_config": {},
                                          "qos_algorithm_type": "", "qos_algorithm_params": {}})


def noise(size, seed):
    return random.Random(seed).randbytes(size)


class Export(Machines):
    SIZE = 7 * MIB + 4096
    CONTENT = ((100, b"first"), (3 * MIB + 5, noise(2 * MIB, 1)), (SIZE - 10, b"the end"))

    def setUp(self):
        super().setUp()
        self.vm = self.new_vm()
        self.disk = self.new_disk(self.vm, self.SIZE, self.CONTENT)
        self.vif = self.new_vif(self.vm)
        with open(self.image(self.disk), "rb") as file:
            self.bytes = file.read()

    def check(self, body):
        archive = Archive(body)
        (vm_id, vm), = archive.of_class("VM").items()
        (vbd_id, vbd), = archive.of_class("VBD").items()
        (vif_id, vif), = archive.of_class("VIF").items()
        (vdi_id, vdi), = archive.of_class("VDI").items()
        (sr_id, sr), = archive.of_class("SR").items()
        self.assertEqual(archive.names[0], "ova.xml")
        self.assertEqual(archive.ova["version"]["export_vsn"], "2")
        self.assertEqual(vm["uuid"], self.client("VM.get_uuid", self.vm))
        self.assertEqual((vm["VBDs"], vm["VIFs"], vm["power_state"]), ([vbd_id], [vif_id], "Halted"))
        self.assertEqual((vbd["VM"], vbd["VDI"], vdi["VBDs"], vdi["SR"]),
                         (vm_id, vdi_id, [vbd_id], sr_id))
        self.assertEqual((vif["VM"], vif["MAC"]), (vm_id, self.client("VIF.get_MAC", self.vif)))
        self.assertEqual(archive.of_class("network")[vif["network"]]["VIFs"], [vif_id])
        self.assertEqual((vm["metrics"], vm["current_operations"], sr["PBDs"]),
                         ("OpaqueRef:NULL", {}, []))
        self.assertEqual(vdi["virtual_size"], str(self.SIZE))
        self.assertEqual(sorted(archive.disks[vdi_id]), [0, 3, 4, 5, 7])
        self.assertEqual(len(archive.disks[vdi_id][7]), 4096)
        self.assertEqual(archive.content(vdi_id, self.SIZE), self.bytes)

    def test_it_comes_whole_over_tcp_and_tls(self):
        for tls in (False, True):
            for get in (self.get, self.get_as_xe_does):
                status, _, body = get("/export", tls, ref=self.vm)
                self.assertEqual(status, 200)
                self.check(body)
        self.check(self.get("/export/", uuid=self.client("VM.get_uuid", self.vm))[2])

    def test_it_can_be_compressed(self):
        for kind in ("gzip", "true"):
            body = self.get("/export", ref=self.vm, use_compression=kind)[2]
            self.check(gzip.decompress(body))
        body = self.get("/export", ref=self.vm, use_compression="zstd")[2]
        zstd = ctypes.CDLL("libzstd.so.1")
        zstd.ZSTD_decompress.restype = ctypes.c_size_t
        room = ctypes.create_string_buffer(32 * MIB)
        size = zstd.ZSTD_decompress(room, ctypes.c_size_t(len(room)), body,
                                    ctypes.c_size_t(len(body)))
        self.assertLess(size, len(room))
        self.check(room.raw[:size])
        self.check(self.get("/export", ref=self.vm, use_compression="false")[2])

    def test_a_clients_task_goes_on_with_it_and_succeeds(self):
        task = self.new_task()
        status, headers, _ = self.get("/export", ref=self.vm, task_id=task)
        self.assertEqual((status, headers["task-id"]), (200, task))
        record = self.ended(task)
        self.assertEqual((record["status"], record["progress"], record["other_config"]),
                         ("success", 1.0, {}))
        self.assertEqual(self.client("VM.get_current_operations", self.vm), {})

    def test_metadata_come_without_disks_of_one_or_all(self):
        snapshot = self.client("VM.snapshot", self.vm, "snapshot")
        status, headers, body = self.get("/export_metadata", ref=self.vm)
        self.assertEqual((status, int(headers["Content-Length"])), (200, len(body)))
        archive = Archive(body)
        vms = {vm["uuid"]: vm for vm in archive.of_class("VM").values()}
        self.assertEqual((archive.names, archive.disks), (["ova.xml"], {}))
        self.assertEqual(vms.keys(), {self.client("VM.get_uuid", vm) for vm in (self.vm, snapshot)})
        taken = vms[self.client("VM.get_uuid", snapshot)]
        self.assertTrue(taken["is_a_snapshot"])
        self.assertEqual(archive.objects["VM", taken["snapshot_of"]]["uuid"],
                         self.client("VM.get_uuid", self.vm))
        archive = Archive(self.get("/export_metadata", uuid=self.client("VM.get_uuid", self.vm),
                                   export_snapshots="false", excluded_device_types="vif")[2])
        self.assertEqual([len(archive.of_class(name)) for name in ("VM", "VIF", "VBD", "VDI")],
                         [1, 0, 1, 1])
        archive = Archive(self.get("/export_metadata", all="true")[2])
        records = self.client("VM.get_all_records").values()
        self.assertEqual({vm["uuid"] for vm in archive.of_class("VM").values()},
                         {vm["uuid"] for vm in records if not vm["is_default_template"]})
        status, _, body = self.get("/export_metadata", ref=snapshot)
        self.assertEqual((status, body.split(b":")[0]), (409, b"OPERATION_NOT_ALLOWED"))

    def refused(self, status, *error, **query):
        task = self.new_task()
        found, _, body = self.get("/export", task_id=task, **query)
        self.assertEqual((found, body.decode().split(":")[0].strip()), (status, error[0]))
        record = self.ended(task)
        self.assertEqual((record["status"], record["error_info"][:len(error)]),
                         ("failure", list(error)))

    def test_what_cannot_be_exported_is_refused_before_the_body(self):
        self.refused(404, "HANDLE_INVALID", "VM", "OpaqueRef:nothing", ref="OpaqueRef:nothing")
        self.refused(404, "UUID_INVALID", "VM", "nothing", uuid="nothing")
        self.refused(400, "INVALID_VALUE", "ref")
        self.refused(400, "INVALID_VALUE", "use_compression", "bzip2", ref=self.vm,
                     use_compression="bzip2")
        self.refused(400, "INVALID_VALUE", "preserve_power_state", ref=self.vm,
                     preserve_power_state="perhaps")
        self.client("VM.start", self.vm, False, True)
        self.refused(409, "VM_BAD_POWER_STATE", self.vm, "halted, suspended", "running", ref=self.vm)
        self.client("VM.hard_shutdown", self.vm)
        os.rename(self.image(self.disk), self.image(self.disk) + ".away")
        self.refused(409, "VDI_MISSING", ref=self.vm)
        self.assertEqual(self.client("VM.get_current_operations", self.vm), {})
        self.assertEqual(self.client("VDI.get_current_operations", self.disk), {})

    def test_a_suspended_machine_keeps_its_state_if_wanted(self):
        self.client("VM.start", self.vm, False, True)
        self.client("VM.suspend", self.vm)
        archive = Archive(self.get("/export", ref=self.vm)[2])
        (vm,) = archive.of_class("VM").values()
        self.assertEqual((vm["power_state"], vm["suspend_VDI"]), ("Halted", "OpaqueRef:NULL"))
        archive = Archive(self.get("/export", ref=self.vm, preserve_power_state="true")[2])
        (vm,) = archive.of_class("VM").values()
        self.assertEqual(vm["power_state"], "Suspended")
        self.assertEqual(archive.objects["VDI", vm["suspend_VDI"]]["type"], "suspend")
        (vbd,) = archive.of_class("VBD").values()
        self.assertEqual(vbd["currently_attached"],
                         self.client("VBD.get_record", self.client("VM.get_VBDs", self.vm)[-1])
                         ["currently_attached"])
        self.assertEqual(len(archive.disks), 2)


class RawDisks(Machines):
    SIZE = 3 * MIB + 8192

    def setUp(self):
        super().setUp()
        self.content = noise(MIB, 4) + bytes(MIB) + noise(MIB + 8192, 5)
        self.vdi = self.new_vdi(self.SIZE)

    def upload(self, body, **query):
        query.setdefault("vdi", self.vdi)
        return self.put("/import_raw_vdi", body, **query)

    def check(self, answer):
        self.assertEqual((answer[0], answer[1]["status"], answer[1]["error_info"]), (200, "success", []))
        for tls in (False, True):
            status, headers, body = self.get("/export_raw_vdi", tls, vdi=self.vdi)
            self.assertEqual((status, int(headers["Content-Length"])), (200, self.SIZE))
            self.assertEqual(body, self.content)
        self.assertEqual(self.get_as_xe_does("/export_raw_vdi/", vdi=self.vdi, format="raw")[2],
                         self.content)

    def test_what_was_put_comes_back(self):
        self.check(self.upload(self.content))
        stat = os.stat(self.image(self.vdi))
        self.assertEqual(stat.st_blocks * 512, self.SIZE - MIB)
        self.assertEqual(self.client("VDI.get_current_operations", self.vdi), {})

    def test_over_tls_it_ends_though_the_client_does_not_hang_up(self):
        self.check(self.upload(self.content, tls=True))

    def test_where_the_length_is_not_known_the_disk_tells_it(self):
        self.check(self.upload(self.content, tls=True, length=False))
        self.content = self.content[::-1]
        self.check(self.upload(self.content, length=1 << 50))

    def test_a_shorter_one_leaves_the_rest(self):
        self.check(self.upload(self.content))
        self.content = bytes(2 * MIB) + self.content[2 * MIB:]
        self.check(self.upload(bytes(2 * MIB)))

    def test_what_is_cut_off_fails(self):
        _, record = self.upload(self.content[:MIB], length=self.SIZE)
        self.assertEqual(record["error_info"], ["IMPORT_ERROR_PREMATURE_EOF"])
        self.assertEqual(self.client("VDI.get_current_operations", self.vdi), {})

    def begin(self, body, tls=False, version="1.1", declared="Transfer-Encoding: chunked\r\n"):
        """A part of a body is with the daemon, which has answered."""
        task = self.new_task()
        query = urlencode({"session_id": self.client.session, "task_id": task, "vdi": self.vdi})
        connection = self.connection(tls)
        connection.connect()
        self.addCleanup(connection.sock.close)
        connection.sock.sendall(f"PUT /import_raw_vdi?{query} HTTP/{version}\r\n{declared}\r\n".encode())
        self.assertIn(b" 200 ", connection.sock.recv(4096))
        connection.sock.sendall(body)
        return connection.sock, task

    def test_an_end_that_the_client_did_not_announce_is_no_end(self):
        chunk = b"100000\r\n" + self.content[:MIB] + b"\r\n"
        for how, tls, body, version, declared in (
                ("goes", False, chunk, "1.1", "Transfer-Encoding: chunked\r\n"),
                ("goes", True, chunk, "1.1", "Transfer-Encoding: chunked\r\n"),
                ("goes", True, chunk[:-100], "1.1", "Transfer-Encoding: chunked\r\n"),
                ("goes", True, self.content[:MIB], "1.0", ""),
                ("half", False, chunk, "1.1", "Transfer-Encoding: chunked\r\n"),
                ("half", False, chunk[:-100], "1.1", "Transfer-Encoding: chunked\r\n"),
                ("stays", False, chunk + b"zz\r\n", "1.1", "Transfer-Encoding: chunked\r\n")):
            with self.subTest(how=how, tls=tls, version=version, sent=len(body)):
                sock, task = self.begin(body, tls, version, declared)
                if how == "goes":
                    sock.close()
                elif how == "half":
                    sock.shutdown(socket.SHUT_WR)
                self.assertEqual(self.ended(task)["error_info"], ["IMPORT_ERROR_PREMATURE_EOF"])
                self.assertEqual(self.client("VDI.get_current_operations", self.vdi), {})

    def test_an_announced_end_is_one_wherever_it_is(self):
        part = self.content[:MIB]
        for body, version, declared in (
                (b"100000\r\n" + part + b"\r\n0\r\n\r\n", "1.1", "Transfer-Encoding: chunked\r\n"),
                (part, "1.0", ""),
                (part, "1.1", f"Content-Length: {1 << 50}\r\n")):  # who say so hang up at the end
            sock, task = self.begin(body, False, version, declared)
            sock.shutdown(socket.SHUT_WR)
            self.assertEqual(self.ended(task)["status"], "success")

    def test_what_cannot_be_is_refused_before_the_body(self):
        def refused(status, *error, **query):
            found, record = self.upload(self.content, **query)
            self.assertEqual((found, record["error_info"][:len(error)]), (status, list(error)))
        refused(404, "HANDLE_INVALID", "VDI", "OpaqueRef:no", vdi="OpaqueRef:no")
        refused(501, "NOT_IMPLEMENTED", format="vhd")
        refused(400, "INVALID_VALUE", "format", format="floppy")
        refused(409, "VDI_TOO_SMALL", self.vdi, str(2 * self.SIZE), length=2 * self.SIZE)
        vm = self.new_vm()
        self.client("VBD.create", {"VM": vm, "VDI": self.vdi, "userdevice": "0", "bootable": True,
                                   "mode": "RW", "type": "Disk", "empty": False,
                                   "other_config": {}, "qos_algorithm_type": "",
                                   "qos_algorithm_params": {}})
        self.client("VM.start", vm, False, True)
        refused(409, "VDI_IN_USE")
        status, _, body = self.get("/export_raw_vdi", vdi=self.vdi)
        self.assertEqual((status, body.split(b":")[0]), (409, b"VDI_IN_USE"))
        self.client("VM.hard_shutdown", vm)

    def test_images_of_qemus_format_are_read_and_not_written(self):
        vdi = self.client("VDI.create", {"SR": self.default_sr(), "virtual_size": str(self.SIZE),
                                         "name_label": "disk", "name_description": "",
                                         "type": "user", "sharable": False, "read_only": False,
                                         "other_config": {}, "sm_config": {"image-format": "qcow2"}})
        status, _, body = self.get("/export_raw_vdi", vdi=vdi)
        self.assertEqual((status, body), (200, bytes(self.SIZE)))
        status, record = self.upload(self.content, vdi=vdi)
        self.assertEqual((status, record["error_info"][0]), (501, "NOT_IMPLEMENTED"))

    def test_a_request_without_a_body_only_asks(self):
        with contextlib.closing(self.connection()) as connection:
            query = urlencode({"session_id": self.client.session, "vdi": self.vdi})
            connection.request("PUT", "/import_raw_vdi/?" + query, b"")
            response = connection.getresponse()
            self.assertEqual((response.status, response.read()), (200, b""))


class Archived(Machines):
    """A machine with disks, its archive, and what there was before that is imported."""

    SIZE = 5 * MIB + 12288
    CONTENT = ((7, b"first"), (2 * MIB + 3, noise(MIB, 6)), (SIZE - 5, b"last!"))

    def setUp(self):
        super().setUp()
        self.vm = self.new_vm("to import")
        self.client("VM.set_tags", self.vm, ["a tag"])
        self.disk = self.new_disk(self.vm, self.SIZE, self.CONTENT)
        self.second = self.new_disk(self.vm, MIB // 2, ((0, b"second"),), "1")
        self.vif = self.new_vif(self.vm)
        with open(self.image(self.disk), "rb") as file:
            self.bytes = file.read()
        self.archive = self.get("/export", ref=self.vm)[2]
        self.before = self.everything()

    def everything(self):
        return {name: set(self.client(name + ".get_all")) for name in ("VM", "VBD", "VIF", "VDI", "network")}

    def new_ones(self):
        now = self.everything()
        return {name: now[name] - self.before[name] for name in now}

    def begin_with(self, size):
        """So much of the archive is sent, and the daemon waits for more."""
        task = self.new_task()
        query = urlencode({"session_id": self.client.session, "task_id": task})
        sock = socket.create_connection(self.daemon.address)
        self.addCleanup(sock.close)
        sock.sendall(f"PUT /import?{query} HTTP/1.0\r\n\r\n".encode())
        self.assertTrue(sock.recv(5000).startswith(b"HTTP/1.1 200 "))
        sock.sendall(self.archive[:size])
        return sock, task

    def begin(self, size=None):
        """A part of the archive is with the daemon, which has made the machine."""
        sock, task = self.begin_with(size or len(self.archive) - 100000)
        Events(self.client, ["task/" + task], token="").wait(
            lambda event: event["snapshot"]["other_config"].get("object_creation") == "complete")
        (vm,) = self.new_ones()["VM"]
        self.assertEqual(self.client("VM.get_current_operations", vm), {task: "import"})
        return sock, task, vm


class Import(Archived):
    def imported(self, body, **query):
        status, task = self.put("/import", body, **query)
        self.assertEqual((status, task["status"], task["error_info"]), (200, "success", []))
        found = re.fullmatch(r"<value><array><data><value>(OpaqueRef:[-0-9a-f]+)</value></data></array></value>",
                             task["result"])
        return found[1]

    def check(self, vm):
        old, new = (self.client("VM.get_record", ref) for ref in (self.vm, vm))
        self.assertEqual({name: len(refs) for name, refs in self.new_ones().items()},
                         {"VM": 1, "VBD": 2, "VIF": 1, "VDI": 2, "network": 0})
        for field in ("name_label", "memory_static_max", "VCPUs_max", "tags", "is_a_template",
                      "power_state", "HVM_boot_params", "platform", "current_operations"):
            self.assertEqual(new[field], old[field], field)
        self.assertNotEqual(new["uuid"], old["uuid"])
        disks = {}
        for vbd in new["VBDs"]:
            record = self.client("VBD.get_record", vbd)
            self.assertEqual((record["type"], record["mode"], record["empty"]), ("Disk", "RW", False))
            disks[record["userdevice"]] = record["VDI"]
        self.assertEqual(self.client("VDI.get_virtual_size", disks["0"]), self.SIZE)
        with open(self.image(disks["0"]), "rb") as file:
            self.assertEqual(file.read(), self.bytes)
        with open(self.image(disks["1"]), "rb") as file:
            self.assertEqual(file.read(6), b"second")
        vif = self.client("VIF.get_record", new["VIFs"][0])
        self.assertEqual(vif["network"], self.client("VIF.get_network", self.vif))
        self.assertNotEqual(vif["MAC"], self.client("VIF.get_MAC", self.vif))
        self.assertEqual(self.client("VDI.get_current_operations", disks["0"]), {})
        self.client("VM.start", vm, False, True)
        self.client("VM.hard_shutdown", vm)

    def test_what_was_exported_comes_again(self):
        self.check(self.imported(self.archive))

    def test_over_tls_from_a_pipe_it_ends_with_its_own_mark(self):
        self.check(self.imported(self.archive, tls=True, length=False, sr_id=self.default_sr()))

    def test_clients_who_know_no_length_say_a_huge_one(self):
        sr = self.client("SR.get_uuid", self.default_sr())
        self.check(self.imported(self.archive + bytes(9000), length=1 << 50, sr_uuid=sr))

    def test_it_may_be_compressed(self):
        for kind in ("gzip", "zstd"):
            body = self.get("/export", ref=self.vm, use_compression=kind)[2]
            self.check(self.imported(body, tls=True, length=False))
            self.before = self.everything()
        small = self.new_vm("small")
        self.new_disk(small, 64 * MIB, [(n * 2 * MIB, b"x" * MIB) for n in range(32)])
        for kind in ("gzip", "zstd"):  # many bytes of few
            body = self.get("/export", ref=small, use_compression=kind)[2]
            self.assertLess(len(body), 400000)
            self.imported(body, tls=True, length=False)

    def test_a_restored_one_keeps_uuid_and_mac(self):
        uuid, mac = self.client("VM.get_uuid", self.vm), self.client("VIF.get_MAC", self.vif)
        self.assertEqual(self.put("/import", self.archive, restore="true")[1]["error_info"],
                         ["DUPLICATE_VM", self.vm])
        self.client("VM.destroy", self.vm)
        vm = self.imported(self.archive, restore="true")
        self.assertEqual((self.client("VM.get_uuid", vm),
                          self.client("VIF.get_MAC", self.client("VM.get_VIFs", vm)[0])), (uuid, mac))

    def test_what_is_no_whole_archive_leaves_nothing(self):
        def fails(body, *error, **query):
            record = self.put("/import", body, **query)[1]
            self.assertEqual((record["status"], record["error_info"][:len(error)]),
                             ("failure", list(error)))
            self.assertEqual({name: set() for name in self.before}, self.new_ones())
        damaged = bytearray(self.archive)
        damaged[self.archive.index(b"first")] ^= 1
        fails(bytes(damaged), "IMPORT_ERROR_SOME_CHECKSUMS_FAILED")
        fails(self.archive[:len(self.archive) // 2], "IMPORT_ERROR_PREMATURE_EOF", length=False)
        fails(self.archive[:2000], "IMPORT_ERROR_PREMATURE_EOF", length=False)
        fails(noise(5000, 7), "IMPORT_ERROR")
        fails(b"", "IMPORT_ERROR_PREMATURE_EOF")
        other = io.BytesIO()
        with tarfile.open(fileobj=other, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            tar.addfile(tarfile.TarInfo("readme"), io.BytesIO())
        fails(other.getvalue(), "IMPORT_ERROR_UNEXPECTED_FILE", "ova.xml", "readme")
        without_vm = self.archive.replace(b"<value>VM</value>", b"<value>WM</value>")
        fails(without_vm, "IMPORT_ERROR")
        fails(self.archive.replace(b"export_vsn</name><value>2", b"export_vsn</name><value>9"),
              "IMPORT_INCOMPATIBLE_VERSION")
        forced = self.imported(bytes(damaged), force="true")
        self.assertEqual(self.client("VM.get_name_label", forced), "to import")

    def test_where_it_goes_is_checked_before_the_body(self):
        iso = next(ref for ref, sr in self.client("SR.get_all_records").items()
                   if sr["content_type"] == "iso")
        for status, error, query in ((404, "HANDLE_INVALID", {"sr_id": "OpaqueRef:no"}),
                                     (400, "SR_OPERATION_NOT_SUPPORTED", {"sr_id": iso}),
                                     (400, "INVALID_VALUE", {"restore": "maybe"})):
            found, record = self.put("/import", self.archive, **query)
            self.assertEqual((found, record["error_info"][0]), (status, error))

    def test_who_hangs_up_or_cancels_leaves_nothing(self):
        for how in ("hangs up", "cancels"):
            sock, task, _ = self.begin()
            if how == "hangs up":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.close()
            else:
                self.client("task.cancel", task)
            self.assertEqual(self.ended(task)["status"], {"hangs up": "failure", "cancels": "cancelled"}[how])
            self.assertEqual({name: set() for name in self.before}, self.new_ones())

    def test_networks_that_it_made_go_with_it(self):
        network = self.client("VIF.get_network", self.vif)
        label = self.client("network.get_name_label", network)
        self.client("network.set_name_label", network, "of another host")
        self.addCleanup(self.client, "network.set_name_label", network, label)
        bridge = self.client("network.get_bridge", network).encode()
        self.archive = self.get("/export", ref=self.vm)[2].replace(
            b"<value>" + bridge + b"</value>", b"<value>" + b"?" * len(bridge) + b"</value>")
        self.client("network.set_name_label", network, label)
        for end in (lambda task: self.client("task.cancel", task),
                    lambda task: self.daemon.crash_and_restart()):
            _, task, _ = self.begin()
            (made,) = self.new_ones()["network"]
            self.assertEqual(self.client("network.get_name_label", made), "of another host")
            end(task)
            self.client.close()
            self.assertIn(self.ended(task)["status"], ("cancelled", "failure"))
            self.assertEqual({name: set() for name in self.before}, self.new_ones())
        _, task, _ = self.begin()
        (used,) = self.new_ones()["network"]
        self.client("VIF.create", {**self.client("VIF.get_record", self.vif), "device": "1", "network": used})
        self.before = self.everything()
        self.client("task.cancel", task)
        self.ended(task)
        self.assertIn(used, self.everything()["network"])

    def test_one_that_waits_for_its_client_is_undone_once(self):
        for begin in (lambda: self.begin_with(0), lambda: self.begin_with(700), self.begin):
            task = begin()[1]
            self.client("task.cancel", task)
            self.assertEqual(self.ended(task)["status"], "cancelled")
            self.assertEqual({name: set() for name in self.before}, self.new_ones())
        self.assertEqual(self.daemon.stop(), 0)
        self.assertNotIn("undo failed", self.daemon.log_text())
        self.daemon.start()

    def test_its_disks_are_nobody_elses_from_the_first_moment(self):
        disks = Events(self.client, ["vdi"])
        task = self.begin_with(len(self.archive) - 100000)[1]
        added = disks.wait(lambda event: event["operation"] == "add")
        destroyed = self.client("Async.VDI.destroy", added["ref"])
        self.assertEqual(added["snapshot"]["current_operations"], {task: "update"})
        self.assertNotIn("destroy", added["snapshot"]["allowed_operations"])
        Events(self.client, ["task/" + task], token="").wait(
            lambda event: event["snapshot"]["other_config"].get("object_creation") == "complete")
        self.assertEqual(self.client("task.get_status", destroyed), "pending")
        self.client("task.cancel", destroyed)
        self.assertEqual(self.ended(destroyed)["status"], "cancelled")
        self.client("task.cancel", task)
        self.assertEqual(self.ended(task)["status"], "cancelled")
        self.assertEqual({name: set() for name in self.before}, self.new_ones())

    def test_one_that_waits_for_its_client_ends_once_with_the_daemon(self):
        for begin in (lambda: self.begin_with(0), lambda: self.begin_with(700), self.begin):
            task = begin()[1]
            self.assertEqual(self.daemon.stop(), 0)
            self.daemon.start()
            self.client.close()
            self.assertEqual(self.ended(task)["status"], "failure")
            self.assertEqual({name: set() for name in self.before}, self.new_ones())

    def test_a_kill_in_the_middle_leaves_nothing(self):
        folder = os.path.dirname(self.image(self.disk))

        def images():  # but those that are on their way out
            return {name for name in os.listdir(folder) if not name.endswith(".gone")}
        before = images()
        for end in (self.daemon.crash_and_restart, self.daemon.restart):
            _, task, _ = self.begin()
            end()
            self.client.close()
            self.assertEqual(self.ended(task)["status"], "failure")
            self.assertEqual({name: set() for name in self.before}, self.new_ones())
            self.assertEqual(images(), before)


class ImportsOnAFullDisk(harness.FullDiskCase, Archived):
    def test_what_is_being_made_is_still_held_when_there_is_room_again(self):
        with tarfile.open(fileobj=io.BytesIO(self.archive), mode="r:") as tar:
            tar.next()
            content = tar.next().offset  # nothing of it: its disks could not take it
        _, task, vm = self.begin(content)
        self.fill_the_disk()
        self.limit(resource.RLIM_INFINITY)
        self.set_label_once_possible(self.client("pool.get_all")[0], "there is room")
        record = self.client("VM.get_record", vm)
        self.assertEqual(record["current_operations"], {task: "import"})
        self.assertNotIn("start", record["allowed_operations"])
        started = self.client("Async.VM.start", vm, False, True)
        self.client("task.cancel", task)
        self.assertEqual(self.ended(task)["status"], "cancelled")
        self.assertEqual(self.ended(started)["error_info"], ["HANDLE_INVALID", "VM", vm])


class NotThere(Transfers):
    def test_what_is_not_there_says_so_to_who_may_ask(self):
        for method, path in (("PUT", "/import_metadata"), ("PUT", "/pool/xmldbdump"), ("GET", "/host_backup"),
                             ("GET", "/system-status"), ("GET", "/host_logs_download")):
            task = self.new_task()
            query = urlencode({"session_id": self.client.session, "task_id": task})
            with contextlib.closing(self.connection()) as connection:
                connection.request(method, path + "?" + query)
                self.assertEqual(connection.getresponse().status, 501)
            self.assertEqual(self.ended(task)["error_info"], ["NOT_IMPLEMENTED", f"{method} {path}"])
            with contextlib.closing(self.connection()) as connection:
                connection.request(method, path)
                self.assertEqual(connection.getresponse().status, 401)


class SlowReaders(Machines):
    """One that reads nothing costs a few MiB, and holds the machine; one that goes gives it back."""

    SIZE = 96 * MIB

    def setUp(self):
        super().setUp()
        self.vm = self.new_vm()
        self.disk = self.new_disk(self.vm, self.SIZE, ((0, noise(MIB, 2) * (self.SIZE // MIB)),))
        self.task = self.new_task()

    def memory(self):
        with open(f"/proc/{self.daemon.process.pid}/status", encoding="ascii") as status:
            return int(re.search(r"VmRSS:\s+(\d+) kB", status.read())[1]) * 1024

    def begin(self, **query):
        query.update(session_id=self.client.session, task_id=self.task, ref=self.vm)
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        sock.connect(self.daemon.address)
        self.addCleanup(sock.close)
        sock.sendall(f"GET /export?{urlencode(query)} HTTP/1.0\r\n\r\n".encode())
        self.assertTrue(sock.recv(5000).startswith(b"HTTP/1.1 200 "))
        return sock

    def test_memory_does_not_grow_and_the_machine_is_held(self):
        before = self.memory()
        sock = self.begin()
        got = 0
        while got < 32 * MIB:
            got += len(sock.recv(1 << 20))
        self.assertLess(self.memory() - before, (36 if harness.IS_SANITIZED else 12) * MIB)
        self.assertEqual(self.client("VM.get_current_operations", self.vm), {self.task: "export"})
        self.assertEqual(self.client("VDI.get_current_operations", self.disk), {self.task: "copy"})
        Events(self.client, ["task/" + self.task], token="").wait(
            lambda event: 0.2 < event["snapshot"]["progress"] < 0.6)
        started = self.client("Async.VM.start", self.vm, False, True)
        self.assertEqual(self.client("task.get_status", started), "pending")
        while sock.recv(1 << 20):
            pass
        self.assertEqual(self.ended(self.task)["status"], "success")
        self.assertEqual(self.ended(started)["status"], "success")
        self.client("VM.hard_shutdown", self.vm)

    def test_who_hangs_up_fails_the_task_and_lets_go(self):
        sock = self.begin()
        sock.close()
        self.assertEqual(self.ended(self.task)["error_info"][0], "CLIENT_ERROR")
        self.assertEqual(self.client("VM.get_current_operations", self.vm), {})
        self.assertEqual(self.client("VDI.get_current_operations", self.disk), {})
        self.client("VM.start", self.vm, False, True)
        self.client("VM.hard_shutdown", self.vm)

    def test_a_cancelled_task_cuts_the_connection(self):
        sock = self.begin(use_compression="gzip")
        self.client("task.cancel", self.task)
        self.assertEqual(self.ended(self.task)["status"], "cancelled")
        with contextlib.suppress(ConnectionResetError):
            while sock.recv(1 << 20):
                pass
        self.assertEqual(self.client("VM.get_current_operations", self.vm), {})

    def test_a_kill_in_the_middle_leaves_nothing(self):
        self.begin()
        for end in (self.daemon.crash_and_restart, self.daemon.restart):
            end()
            self.client.close()
            self.assertEqual(self.ended(self.task)["error_info"][0], "INTERNAL_ERROR")
            self.assertEqual(self.client("VM.get_current_operations", self.vm), {})
            self.assertEqual(self.client("VDI.get_current_operations", self.disk), {})
            self.client("VM.start", self.vm, False, True)
            self.client("VM.hard_shutdown", self.vm)
            self.task = self.new_task()
            self.begin()


class Idlers(Machines):
    """Who is there, and neither sends nor reads, holds nothing for long."""

    daemon_options = ("--http-body-idle", "1", "--http-write-idle", "1")

    def ask(self, method, path, head="", **query):
        task = self.new_task()
        query.update(session_id=self.client.session, task_id=task)
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(self.daemon.address)
        self.addCleanup(sock.close)
        sock.sendall(f"{method} {path}?{urlencode(query)} HTTP/1.1\r\nHost: h\r\n{head}\r\n".encode())
        return sock, task

    def test_uploads_of_the_silent_end_and_leave_their_places(self):
        disks = [self.new_vdi(MIB) for _ in range(32)]
        begun = [self.ask("PUT", "/import_raw_vdi", "Transfer-Encoding: chunked\r\n" if n % 2 else
                          f"Content-Length: {MIB}\r\n", vdi=vdi) for n, vdi in enumerate(disks)]
        for n, (sock, _) in enumerate(begun):
            if n % 4 > 1:
                sock.sendall(b"5\r\nhello\r\n")
        sock, task = self.ask("PUT", "/import_raw_vdi", f"Content-Length: {MIB}\r\n", vdi=self.new_vdi(MIB))
        self.assertIn(b" 503 ", sock.recv(100))
        for _, task in begun:
            self.assertEqual(self.ended(task)["error_info"][0], "CLIENT_ERROR")
        for vdi in disks:
            self.assertEqual(self.client("VDI.get_current_operations", vdi), {})
        self.assertEqual(self.put("/import_raw_vdi", noise(MIB, 1), vdi=disks[0])[1]["status"], "success")

    def test_an_archive_that_does_not_go_on_leaves_nothing(self):
        vm = self.new_vm()
        self.new_disk(vm, MIB, ((0, noise(MIB, 3)),))
        archive = self.get("/export", ref=vm)[2]
        before = self.client("VM.get_all"), self.client("VDI.get_all")
        for size in (0, len(archive) - 100000):
            sock, task = self.ask("PUT", "/import", f"Content-Length: {1 << 50}\r\n")
            sock.sendall(archive[:size])
            self.assertEqual(self.ended(task)["error_info"][0], "CLIENT_ERROR")
            self.assertEqual((self.client("VM.get_all"), self.client("VDI.get_all")), before)

    def test_downloads_that_nobody_reads_end(self):
        vm = self.new_vm()
        disk = self.new_disk(vm, 32 * MIB, ((0, noise(MIB, 2) * 32),))
        for path, query in (("/export", {"ref": vm}), ("/export_raw_vdi", {"vdi": disk})):
            _, task = self.ask("GET", path, **query)
            self.assertEqual(self.ended(task)["error_info"][0], "CLIENT_ERROR")
            self.assertEqual(self.client("VDI.get_current_operations", disk), {})


class Dump(Transfers):
    def rows(self, text):
        root = xml.etree.ElementTree.fromstring(text)
        self.assertEqual(root.tag, "database")
        manifest = {pair.get("key"): pair.get("value") for pair in root.find("manifest")}
        self.assertEqual(manifest["schema_major_vsn"], "5")
        self.assertGreater(int(manifest["generation_count"]), 0)
        return {table.get("name"): {row.get("ref"): row.attrib for row in table}
                for table in root.findall("table")}

    def test_all_rows_come_whole_over_tcp_and_tls(self):
        template = self.client("VM.get_by_name_label", "Other install media")[0]
        vm = self.client("VM.clone", template, "it's <a> 100% \"new\" &\tone\\")
        self.client("VM.set_tags", vm, ["it's", "back\\slash", "two words"])
        self.client("VM.add_to_other_config", vm, "key of 'it'", "line\nline")
        records = self.client("VM.get_all_records")
        for tls in (False, True):
            for get in (self.get, self.get_as_xe_does):
                status, _, body = get("/pool/xmldbdump", tls)
                self.assertEqual(status, 200)
                tables = self.rows(body)
                self.assertEqual(tables["VM"].keys(), records.keys())
        row = {key: unprotected(value) for key, value in tables["VM"][vm].items()}
        self.assertEqual(list(row)[:3], ["ref", "__ctime", "__mtime"])
        self.assertEqual(list(row)[3:], sorted(list(row)[3:]))
        record = records[vm]
        self.assertEqual(row["_ref"], vm)
        self.assertEqual(row["uuid"], record["uuid"])
        self.assertEqual(row["name__label"], record["name_label"])
        self.assertEqual(row["is_a_template"], "true")
        self.assertEqual(row["memory__static_max"], str(record["memory_static_max"]))
        self.assertEqual(sorted(sexpr(row["tags"])), sorted(record["tags"]))
        self.assertEqual(dict(sexpr(row["other_config"])), record["other_config"])
        self.assertEqual(tables["session"], {})
        self.assertEqual(tables["pool"].keys(), set(self.client("pool.get_all")))

    def pieces(self, path):
        """As chunks bring them: each is made in one go."""
        with contextlib.closing(self.connection()) as connection:
            connection.connect()
            connection.sock.sendall(f"GET {path}?session_id={self.client.session} HTTP/1.1\r\nHost: h\r\n\r\n"
                                    .encode())
            answer = connection.sock.makefile("rb")
            while answer.readline() != b"\r\n":
                pass
            while length := int(answer.readline(), 16):
                yield answer.read(length)
                answer.readline()

    def test_a_large_row_is_made_in_pieces(self):
        template = self.client("VM.get_by_name_label", "Other install media")[0]
        vm = self.client("VM.clone", template, "large")
        texts = {f"key{i}": part * (200_000 // len(part)) for i, part in enumerate(("<", "'", "a \\", "%\t"))}
        self.client("VM.set_other_config", vm, texts)
        pieces = list(self.pieces("/pool/xmldbdump"))
        self.assertLess(max(map(len, pieces)), 200_000)
        row = self.rows(b"".join(pieces))["VM"][vm]
        self.assertEqual(dict(sexpr(unprotected(row["other_config"]))), texts)
        self.assertEqual(row["__mtime"].isdecimal() and list(row)[3:], sorted(list(row)[3:]))

    def test_it_is_one_moment(self):
        """The label is always one ahead of the description, or equal."""
        template = self.client("VM.get_by_name_label", "Other install media")[0]
        vm = self.client("VM.clone", template, "0")
        self.client("VM.set_name_description", vm, "0")
        over = threading.Event()

        def count_up(client):
            n = 0
            while not over.is_set():
                n += 1
                client("VM.set_name_label", vm, str(n))
                client("VM.set_name_description", vm, str(n))
        writer = threading.Thread(target=count_up, args=(self.client.another(),))
        writer.start()
        try:
            for _ in range(10):
                row = self.rows(self.get("/pool/xmldbdump")[2])["VM"][vm]
                self.assertIn(int(row["name__label"]) - int(row["name__description"]), (0, 1))
        finally:
            over.set()
            writer.join()

    def test_a_clients_task_succeeds_with_it(self):
        task = self.new_task()
        status, headers, _ = self.get("/pool/xmldbdump", task_id=task)
        self.assertEqual((status, headers["task-id"]), (200, task))
        record = self.ended(task)
        self.assertEqual((record["status"], record["result"]), ("success", "<value></value>"))

    def test_only_admins_get_it(self):
        status, headers, _ = self.get("/pool/xmldbdump", session_id="OpaqueRef:nobody")
        self.assertEqual(status, 401)
        self.assertIn("get_pool_xml_db_sync", headers["WWW-Authenticate"])
        with contextlib.closing(self.connection()) as connection:
            login = base64.b64encode(f"root:{PASSWORD}".encode()).decode()
            connection.request("GET", "/pool/xmldbdump", headers={"Authorization": "Basic " + login})
            self.assertEqual(connection.getresponse().status, 200)

    def test_who_hangs_up_fails_the_task(self):
        template = self.client("VM.get_by_name_label", "Other install media")[0]
        for _ in range(40):
            self.client("VM.set_name_description", self.client("VM.clone", template, "large"),
                        "x" * 60000)
        task = self.new_task()
        query = urlencode({"session_id": self.client.session, "task_id": task})
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(self.daemon.address)
        sock.sendall(f"GET /pool/xmldbdump?{query} HTTP/1.0\r\n\r\n".encode())
        sock.recv(100)
        sock.close()
        self.assertEqual(self.ended(task)["error_info"][0], "CLIENT_ERROR")


if __name__ == "__main__":
    unittest.main(verbosity=2)
