"""A client of the thin CLI protocol, in Python: what the field's `xe` does, byte for byte, for tests.

Two layers. Conversation is one connection with the messages on it, for tests that break rules. Client
runs a whole command line as `xe` would and gives what a user would see: stdout, stderr, exit code.

    client = Client(("127.0.0.1", 8080), password="x")       # plain TCP; tls=True; or a Unix socket's path
    client.run("vm-list", "params=uuid", "--minimal")        # Result(stdout=b"...\n", stderr=b"", code=0)

As a program it takes the options of the field's client:

    python3 thin.py -s HOST -p PORT -u root -pw PASSWORD [--nossl] vm-list params=all

Rules of the field's client that are kept here: a file is read or written only where the user's own
command line names it, what is downloaded must not exist yet, transfers never go over a Unix socket,
TLS is 1.2 with RSA, ECDHE on P-384 and AES-GCM and nobody verifies it, bytes of a PUT wait for the
answer's headers and leave a TLS connection open behind them.
"""
import os
import select
import socket
import ssl
import struct
import sys
import urllib.parse
from collections import namedtuple

MAGIC = b"XenSource thin CLI protocol"
HELLO = MAGIC + struct.pack("<ii", 0, 2)
DEADLINE = float(os.environ.get("XN_TEST_DEADLINE", "30"))

COMMAND, RESPONSE, BLOB = 9, 10, 11
PRINT, LOAD, PROMPT, EXIT, HTTP_GET, HTTP_PUT, ERROR, DEBUG, PRINT_STDERR, HTTP_CONNECT = (
    0, 1, 3, 4, 12, 13, 14, 15, 16, 17)
PROGRESS, INTERRUPTIBLE, INTERRUPT = 1000, 1001, 1002  # only with a client that says it is ours
OK, FAILED, WAIT = 5, 6, 18
CHUNK, END = 7, 8
NAMES = {PRINT: "Print", LOAD: "Load", PROMPT: "Prompt", EXIT: "Exit", HTTP_GET: "HttpGet",
         HTTP_PUT: "HttpPut", ERROR: "Error", DEBUG: "Debug", PRINT_STDERR: "PrintStderr",
         HTTP_CONNECT: "HttpConnect", PROGRESS: "Progress", INTERRUPTIBLE: "Interruptible"}

Result = namedtuple("Result", "stdout stderr code")
Message = namedtuple("Message", "tag fields")  # a command of the daemon's


class Lost(Exception):
    """The connection ended, or what came over it is not the protocol."""


# ---- bytes ----

def int32(number):
    return struct.pack("<i", number)


def string(text):
    data = text.encode() if isinstance(text, str) else text
    return int32(len(data)) + data


def frame(*parts):
    payload = b"".join(parts)
    return int32(len(payload)) + payload


def response(tag):
    return frame(int32(RESPONSE), int32(tag))


def blob(data, *, end=True):
    """A chunk with its bytes, and the end mark."""
    out = frame(int32(BLOB), int32(CHUNK), int32(len(data))) + data
    return out + frame(int32(BLOB), int32(END)) if end else out


class Fields:
    """What is in a payload, from its beginning."""

    def __init__(self, payload):
        self.payload, self.at = payload, 0

    def take(self, count):
        if count < 0 or self.at + count > len(self.payload):
            raise Lost(f"a payload that is too short: {self.payload!r}")
        self.at += count
        return self.payload[self.at - count:self.at]

    def int32(self):
        return struct.unpack("<i", self.take(4))[0]

    def string(self):
        return self.take(self.int32())

    def strings(self):
        return [self.string() for _ in range(self.int32())]


FIELDS = {PRINT: ("string",), LOAD: ("string",), PROMPT: (), EXIT: ("int32",),
          HTTP_GET: ("string", "string"), HTTP_PUT: ("string", "string"), ERROR: ("string", "strings"),
          DEBUG: ("string",), PRINT_STDERR: ("string",), HTTP_CONNECT: ("string",),
          PROGRESS: ("int32", "string"), INTERRUPTIBLE: ("string",)}


def parse(payload):
    """The Message in a payload; strings are bytes."""
    fields = Fields(payload)
    kind, tag = fields.int32(), fields.int32()
    if kind != COMMAND or tag not in FIELDS:
        raise Lost(f"no command: kind {kind}, tag {tag}")
    values = [getattr(fields, how)() for how in FIELDS[tag]]
    if fields.at != len(payload):
        raise Lost(f"bytes left over in {payload!r}")
    return Message(tag, values)


# ---- connections ----

def tls_context():
    """What the field's stunnel offers, and nothing else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-AES128-GCM-SHA256")
    context.set_ecdh_curve("secp384r1")
    return context


def connect(address, tls=False, timeout=DEADLINE):
    if isinstance(address, str):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(timeout)
        sock.connect(address)
        return sock
    sock = socket.create_connection(address, timeout=timeout)
    return tls_context().wrap_socket(sock) if tls else sock


def receive_all(sock):
    """To the end of the connection; one that is cut off ends there too."""
    out = b""
    try:
        while data := sock.recv(1 << 16):
            out += data
    except (ConnectionResetError, ssl.SSLEOFError):
        pass
    return out


class Conversation:
    """One POST /cli and the messages behind it. Each step is a method, so that a test can leave one
    out, or do it wrong."""

    user_agent = "xe-cli/Unix/0.2"

    def __init__(self, address, tls=False, timeout=DEADLINE):
        self.sock = connect(address, tls, timeout)
        self.minor = None

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def send(self, data):
        self.sock.sendall(data)

    def read(self, count):
        """Exactly so many bytes."""
        out = b""
        while len(out) < count:
            data = self.sock.recv(min(count - len(out), 1 << 20))
            if not data:
                raise Lost(f"the daemon closed after {out!r}")
            out += data
        return out

    @classmethod
    def request(cls, arguments, headers=()):
        """The bytes of the request. Arguments: a list, or the body itself."""
        body = arguments if isinstance(arguments, bytes) else "\n".join(arguments).encode()
        lines = ["POST /cli HTTP/1.0", "User-agent: " + cls.user_agent, "originator: cli", *headers,
                 f"content-length: {len(body)}", "", ""]
        return "\r\n".join(lines).encode() + body

    def greet(self):
        """The handshake: the daemon speaks first."""
        magic = self.read(len(MAGIC))
        if magic != MAGIC:
            raise Lost(f"this is no daemon: {magic!r}")
        major, self.minor = struct.unpack("<ii", self.read(8))
        if major != 0:
            raise Lost(f"another major version: {major}")
        self.send(HELLO)

    def begin(self, arguments, headers=()):
        self.send(self.request(arguments, headers))
        self.greet()
        return self

    def message(self):
        """The next command of the daemon."""
        length = struct.unpack("<i", self.read(4))[0]
        if not 8 <= length <= 64 << 20:
            raise Lost(f"a message of {length} bytes")
        return parse(self.read(length))

    def until_exit(self):
        """All messages, Exit the last."""
        out = []
        while not out or out[-1].tag != EXIT:
            out.append(self.message())
        return out

    def ok(self):
        self.send(response(OK))

    def failed(self):
        self.send(response(FAILED))


# ---- the client ----

class Stop(Exception):
    """The client dies of what it met; its last words are on stderr."""


class Client:
    """
    The field's client with one server.

    address      (host, port), or the path of a Unix socket
    tls          over TLS; not with a Unix socket
    transfers    (host, port) for files where the address is a Unix socket: plain TCP, as the field's
    folder       relative file names are meant in here
    ours         says that it is our own client; columns: the width of its terminal, 0 for none
    session      uses this session, and no name and password
    """

    def __init__(self, address, *, tls=False, user="root", password="null", transfers=None,
                 folder=None, ours=False, columns=0, colour=False, session=None, debug=False,
                 timeout=DEADLINE):
        self.address, self.tls, self.user, self.password = address, tls, user, password
        self.transfers = transfers or (None if isinstance(address, str) else address)
        self.folder, self.ours, self.columns, self.colour = folder, ours, columns, colour
        self.session, self.debug, self.timeout = session, debug, timeout

    def body(self, arguments):
        if self.session:
            return ["session_id=" + self.session, *arguments]
        return [*arguments, "username=" + self.user, "password=" + self.password]

    def headers(self):
        if not self.ours:
            return ()
        words = ([f"columns={self.columns}"] if self.columns else []) + ["colour"] * self.colour
        return ("xe-terminal: " + " ".join(words),)

    def run(self, *arguments, stdin=b"", console=None):
        """
        stdin        bytes, for questions
        console      called with the socket of a console, until it returns
        """
        return Run(self, arguments, stdin, console).run()


class OurConversation(Conversation):
    user_agent = "xe-cli/Xenolith/0.1"


class Run:
    """One command line."""

    def __init__(self, client, arguments, stdin, console):
        self.client, self.arguments, self.stdin, self.console = client, list(arguments), stdin, console
        self.out, self.err = bytearray(), bytearray()
        self.messages = []  # what the daemon said, for tests that look closer
        self.kept = []      # TLS connections that stay open until the program's end
        self.conversation = None

    def run(self):
        code = 1
        try:
            code = self.converse()
        except Stop:
            pass
        except (ConnectionRefusedError, FileNotFoundError):
            self.say("Unable to contact server. Please check server and port settings.\n")
        except (Lost, ConnectionError, ssl.SSLError):
            self.say("Lost connection to the server.\n")
        finally:
            for sock in self.kept:
                sock.close()
            if self.conversation:
                self.conversation.close()
        return Result(bytes(self.out), bytes(self.err), code)

    def say(self, text):
        self.err.extend(text.encode() if isinstance(text, str) else text)

    def converse(self):
        client = self.client
        kind = OurConversation if client.ours else Conversation
        self.conversation = kind(client.address, client.tls, client.timeout)
        self.conversation.begin(client.body(self.arguments), client.headers())
        while True:
            message = self.conversation.message()
            self.messages.append(message)
            if message.tag == EXIT:
                return message.fields[0]
            getattr(self, "on_" + NAMES[message.tag])(*message.fields)

    # Commands of the daemon

    def on_Print(self, text):
        self.out += text + b"\n"

    def on_PrintStderr(self, text):
        self.say(text)

    def on_Debug(self, text):
        if self.client.debug:
            self.say(text + b"\n")

    def on_Error(self, code, params):
        self.say(b"Error code: " + code + b"\n")
        self.say(b"Error parameters: " + b", ".join(params) + b"\n")

    def on_Progress(self, thousandths, text):
        pass  # drawn on a terminal only

    def on_Interruptible(self, question):
        pass

    def on_Prompt(self):
        if not self.stdin:
            self.say("Lost connection to the server.\n")
            raise Stop
        line, _, self.stdin = self.stdin.partition(b"\n")
        self.conversation.send(blob(line))

    def on_Load(self, filename):
        path = self.permitted(filename)
        try:
            with open(path, "rb") as file:
                data = file.read()
        except OSError:
            self.conversation.failed()
            return
        self.conversation.ok()
        self.conversation.send(blob(data))

    def on_HttpGet(self, filename, url):
        with_answer = self.transfer("GET", url)
        if not with_answer:
            self.conversation.failed()
            return
        sock, rest = with_answer
        data = rest + receive_all(sock)
        sock.close()
        if not filename:
            self.out += data
        else:
            self.write(filename, data)
        self.conversation.ok()

    def on_HttpPut(self, filename, url):
        path = self.permitted(filename)
        try:
            with open(path, "rb") as file:
                data = file.read()
        except OSError as error:
            self.fail_on_file(path, error)
        with_answer = self.transfer("PUT", url, f"Content-length: {len(data)}\r\n")
        if not with_answer:
            self.conversation.failed()
            return
        sock, _ = with_answer
        sock.sendall(data)
        if self.client.tls:
            self.kept.append(sock)
        else:
            sock.close()
        self.conversation.ok()

    def on_HttpConnect(self, url):
        with_answer = self.transfer("CONNECT", url, "content-length: 0\r\n")
        if not with_answer:
            self.say("the console is not available\n")
            self.conversation.failed()
            return
        sock, _ = with_answer
        if self.console:
            self.console(sock)
        sock.close()
        self.conversation.ok()

    # Files and their connections

    def absolute(self, name):
        return os.path.normpath(os.path.join(self.client.folder or os.getcwd(), name))

    def permitted(self, filename):
        """The path, if the command line names it."""
        path = self.absolute(filename.decode())
        named = [self.absolute(a.partition("=")[2]) for a in self.arguments if "=" in a]
        if path not in named:
            self.say(f"File not permitted: Blocked upload/download of {path}\n")
            raise Stop
        return path

    def fail_on_file(self, path, error):
        self.say(f'Operation failed. Error: Sys_error("{path}: {error.strerror}")\n')
        self.conversation.failed()
        raise Stop

    def write(self, filename, data):
        path = self.permitted(filename)
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            self.fail_on_file(path, error)
        with os.fdopen(handle, "wb") as file:
            file.write(data)

    def transfer(self, method, url, header=""):
        """The connection and what came behind its headers; None: the answer was not 200."""
        url = url.decode()
        for _ in range(20):
            host, path = self.client.transfers, url
            if url.startswith("https://"):
                parts = urllib.parse.urlsplit(url)
                host = (parts.hostname, self.client.transfers[1])
                path = urllib.parse.unquote(parts.path + ("?" + parts.query if parts.query else ""))
            sock = connect(host, self.client.tls, self.client.timeout)
            sock.sendall(f"{method} {path} HTTP/1.0\r\n{header}\r\n".encode())
            head, rest = self.read_head(sock)
            lines = head.decode().split("\r\n")
            status = lines[0].split(" ")[1] if " " in lines[0] else ""
            if status == "200":
                return sock, rest
            sock.close()
            location = [line.partition(": ")[2] for line in lines
                        if line.lower().startswith("location: ")]
            if status != "302" or not location:
                return None
            url = location[0]
        raise Lost("redirected without end")

    @staticmethod
    def read_head(sock):
        data = b""
        while b"\r\n\r\n" not in data:
            more = sock.recv(4096)
            if not more:
                break
            data += more
        head, _, rest = data.partition(b"\r\n\r\n")
        return head, rest


# ---- as a program ----

def main():
    values = {"s": "127.0.0.1", "p": None, "u": "root", "pw": "null"}
    arguments, rest, plain = [], sys.argv[1:], False
    while rest:
        word = rest.pop(0)
        if word in ("-s", "-h", "-p", "-u", "-pw") and rest:
            values["s" if word == "-h" else word[1:]] = rest.pop(0)
        elif word == "--nossl":
            plain = True
        else:
            arguments.append(word)
    host, user = values["s"], {"user": values["u"], "password": values["pw"]}
    plain = plain or host == "127.0.0.1"
    tcp = (host, int(values["p"] or (80 if plain else 443)))
    local = "/var/lib/xcp/xapi"
    if host == "127.0.0.1" and not values["p"] and os.path.exists(local):
        client = Client(local, transfers=tcp, **user)
    else:
        client = Client(tcp, tls=not plain, **user)
    has_input = select.select([sys.stdin], [], [], 0)[0]
    result = client.run(*arguments, stdin=sys.stdin.buffer.read() if has_input else b"")
    sys.stdout.buffer.write(result.stdout)
    sys.stderr.buffer.write(result.stderr)
    return result.code


if __name__ == "__main__":
    sys.exit(main())
