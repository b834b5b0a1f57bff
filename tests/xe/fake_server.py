"""A scripted server of the thin CLI protocol, for tests of the client: each conversation runs a function
of the test, transfers are answered by another, and what the client said is kept."""
import os
import re
import socket
import ssl
import subprocess
import threading

import thin

DEADLINE = thin.DEADLINE


def command(tag, *parts):
    return thin.frame(thin.int32(thin.COMMAND), thin.int32(tag), *parts)


def print_(text):
    return command(thin.PRINT, thin.string(text))


def print_stderr(text):
    return command(thin.PRINT_STDERR, thin.string(text))


def error(code, *params):
    return command(thin.ERROR, thin.string(code), thin.int32(len(params)), *map(thin.string, params))


def exit_(code):
    return command(thin.EXIT, thin.int32(code))


def load(name):
    return command(thin.LOAD, thin.string(name))


def get(name, url):
    return command(thin.HTTP_GET, thin.string(name), thin.string(url))


def put(name, url):
    return command(thin.HTTP_PUT, thin.string(name), thin.string(url))


def connect(url):
    return command(thin.HTTP_CONNECT, thin.string(url))


def progress(thousandths, text):
    return command(thin.PROGRESS, thin.int32(thousandths), thin.string(text))


def interruptible(question):
    return command(thin.INTERRUPTIBLE, thin.string(question))


PROMPT = command(thin.PROMPT)


class Peer:
    """The server's end of one connection."""

    def __init__(self, sock):
        self.sock = sock
        self.buffer = b""

    def more(self):
        data = self.sock.recv(1 << 16)
        self.buffer += data
        return bool(data)

    def read(self, count):
        while len(self.buffer) < count:
            if not self.more():
                raise EOFError(self.buffer)
        out, self.buffer = self.buffer[:count], self.buffer[count:]
        return out

    def read_head(self):
        while b"\r\n\r\n" not in self.buffer:
            if not self.more():
                raise EOFError(self.buffer)
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        lines = head.decode().split("\r\n")
        return lines[0], dict(line.split(": ", 1) for line in lines[1:])

    def rest(self):
        while self.more():
            pass
        out, self.buffer = self.buffer, b""
        return out

    def send(self, data):
        self.sock.sendall(data)

    def response(self):
        """(kind, tag, number or None)"""
        payload = self.read(thin.struct.unpack("<i", self.read(4))[0])
        numbers = thin.struct.unpack(f"<{len(payload) // 4}i", payload)
        return (*numbers, None)[:3]

    def blob(self):
        """What stands between chunks and the end."""
        out = b""
        while True:
            kind, tag, count = self.response()
            assert kind == thin.BLOB, (kind, tag)
            if tag == thin.END:
                return out
            out += self.read(count)


class Server:
    """script(peer) has the conversation, after the handshake; transfer(peer, line, headers) a transfer."""

    def __init__(self, script=None, transfer=None, *, address="127.0.0.2", tls=None, raw=None):
        self.script, self.transfer, self.raw = script, transfer, raw
        self.requests = []   # of conversations: (line, headers, body's lines)
        self.transfers = []  # (line, headers)
        self.errors = []
        self.threads = []
        if address.startswith("/"):
            self.listener = socket.socket(socket.AF_UNIX)
            self.listener.bind(address)
            self.address = address
        else:
            self.listener = socket.socket()
            self.listener.bind((address, 0))
            self.address, self.port = self.listener.getsockname()
        self.listener.listen(20)
        self.tls = tls
        self.context = None
        if tls:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(*tls)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            sock.settimeout(DEADLINE)
            thread = threading.Thread(target=self.serve, args=(sock,), daemon=True)
            thread.start()
            self.threads.append(thread)  # who settles joins only what runs

    def serve(self, sock):
        try:
            if self.context:
                sock = self.context.wrap_socket(sock, server_side=True)
            self.serve_peer(Peer(sock))
        except Exception as what:  # pylint: disable=broad-except
            self.errors.append(repr(what))
        finally:
            try:
                if self.context:
                    sock.unwrap()
            except (OSError, ValueError, AttributeError):
                pass
            sock.close()

    def serve_peer(self, peer):
        if self.raw:
            self.raw(peer)
            return
        line, headers = peer.read_head()
        if not line.startswith("POST /cli "):
            self.transfers.append((line, headers))
            self.transfer(peer, line, headers)
            return
        body = peer.read(int(headers["content-length"])).decode()
        self.requests.append((line, headers, body.split("\n")))
        peer.send(thin.HELLO)
        assert peer.read(len(thin.HELLO)) == thin.HELLO
        self.script(peer)

    def settle(self):
        """Until the connections that were made are over, and what they said is kept."""
        for thread in self.threads:
            thread.join(DEADLINE)

    def close(self):
        if self.listener.fileno() >= 0:
            self.listener.shutdown(socket.SHUT_RDWR)
            self.listener.close()
        self.settle()


EC = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]  # made in no time


def certificate(folder, name="server", names="DNS:localhost,IP:127.0.0.2", ca=None, days="30", key=None):
    """Files of a new one and its key; signed by itself, or by @ca, such a pair."""
    make = key or EC
    key, path = os.path.join(folder, name + ".key"), os.path.join(folder, name + ".pem")
    quiet = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subject = ["-subj", "/CN=" + name, "-days", days]
    if not ca:
        subprocess.run(["openssl", "req", "-x509", *make, "-keyout", key, "-out", path,
                        *subject, "-addext", "subjectAltName=" + names], **quiet)
        return path, key
    request, extensions = path + ".csr", path + ".ext"
    with open(extensions, "w", encoding="utf-8") as out:
        out.write("subjectAltName=" + names + "\n")
    subprocess.run(["openssl", "req", *make, "-keyout", key, "-out", request, *subject[:2]],
                   **quiet)
    subprocess.run(["openssl", "x509", "-req", "-in", request, "-CA", ca[0], "-CAkey", ca[1], "-CAcreateserial",
                    "-extfile", extensions, "-out", path, "-days", days], **quiet)
    return path, key


def fingerprint(path):
    """As openssl shows it: AA:BB:..."""
    out = subprocess.run(["openssl", "x509", "-in", path, "-noout", "-fingerprint", "-sha256"], check=True,
                         capture_output=True, text=True).stdout
    return re.search(r"=([0-9A-F:]+)", out).group(1)
