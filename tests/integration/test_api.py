# SPDX-License-Identifier: BSD-3-Clause
"""The control API answers as docs/openapi.json says, and bad clients harm
nobody."""
import http.client
import json
import os
import random
import re
import resource
import socket
import stat
import subprocess
import threading
import time
from pathlib import Path

from harness import (GIB, MIB, PATIENCE, Elastic, expect, expect_equal, test,
                     wait_until)
from lib.checks import openapi_path

API = json.loads(openapi_path().read_text())
TYPES = {"object": dict, "array": list, "string": str, "boolean": bool,
         "null": type(None)}
# What complaints() checks; the others are for people.
CHECKED = {"$ref", "type", "enum", "minimum", "maximum", "maxLength",
           "pattern", "required", "properties", "additionalProperties",
           "items", "minItems", "maxItems"}
FOR_PEOPLE = {"description"}
# What a real VM cannot be made to answer; tests/unit/test_server.c can.
NOT_HERE = {"409", "500"}


def resolve(schema):
    while "$ref" in schema:
        target = API
        for part in schema["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        schema = target
    return schema


def is_type(value, kind):
    if kind == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, TYPES[kind])


def limits(value, schema):
    """What of a string, number or list is out of bounds."""
    if isinstance(value, str):
        if len(value.encode()) > schema.get("maxLength", len(value.encode())):
            yield f"longer than {schema['maxLength']}"
        if not re.search(schema.get("pattern", ""), value):
            yield f"not as {schema['pattern']}"
    elif isinstance(value, list):
        if not (schema.get("minItems", 0) <= len(value)
                <= schema.get("maxItems", len(value))):
            yield f"{len(value)} items"
    elif isinstance(value, int) and not isinstance(value, bool):
        if not (schema.get("minimum", value) <= value
                <= schema.get("maximum", value)):
            yield "out of range"


def complaints(value, schema, where="body"):
    """What of the schema the value breaks: the part of JSON Schema that our
    description uses."""
    schema = resolve(schema)
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(is_type(value, kind) for kind in kinds):
        return [f"{where} is {value!r}, not {kinds}"]
    bad = [f"{where} is {value!r:.80}: {why}"
           for why in limits(value, schema)]
    if "enum" in schema and value not in schema["enum"]:
        bad.append(f"{where} is {value!r}, not of {schema['enum']}")
    if isinstance(value, dict):
        known = schema.get("properties", {})
        others = schema.get("additionalProperties", True)
        bad += [f"{where} lacks {key}" for key in schema.get("required", [])
                if key not in value]
        for key, item in value.items():
            if key in known:
                bad += complaints(item, known[key], f"{where}.{key}")
            elif others is False:
                bad.append(f"{where} has {key}, which is not described")
            elif isinstance(others, dict):
                bad += complaints(item, others, f"{where}.{key}")
    if isinstance(value, list):
        for number, item in enumerate(value):
            bad += complaints(item, schema.get("items", {}),
                              f"{where}[{number}]")
    return bad


def json_schema(content):
    return content["content"]["application/json"]["schema"]


def answer_schema(answer):
    """(Content-Type, schema) of a described answer."""
    (kind, content), = answer["content"].items()
    return kind, content["schema"]


@test("api/description")
def description(lab):
    """The description says nothing that complaints() would overlook, and
    leaves nothing open."""
    def walk(schema, where):
        expect(set(schema) <= CHECKED | FOR_PEOPLE,
               f"{where}: {set(schema) - CHECKED - FOR_PEOPLE}")
        if schema.get("type") == "object":
            expect("additionalProperties" in schema,
                   f"{where} does not say what else it may have")
        for key, inner in schema.get("properties", {}).items():
            expect("description" in inner or "$ref" in inner or
                   "items" in inner or "enum" in inner,
                   f"{where}.{key} is not described")
            walk(inner, f"{where}.{key}")
        if "items" in schema:
            walk(schema["items"], f"{where}[]")
        if isinstance(schema.get("additionalProperties"), dict):
            walk(schema["additionalProperties"], f"{where}.*")

    for name, schema in API["components"]["schemas"].items():
        walk(schema, name)
    for path, methods in API["paths"].items():
        for method, operation in methods.items():
            for answer in operation["responses"].values():
                for kind, content in answer["content"].items():
                    walk(content["schema"], f"{method} {path}: {kind}")
    # The checker itself can fail.
    error = {"$ref": "#/components/schemas/Error"}
    for value in ({}, {"error": 1}, {"error": "x", "more": 1}, [], None):
        expect(complaints(value, error), f"no complaint about {value}")
    expect(not complaints({"error": "x"}, error), "a complaint about an Error")


# ---- Clients ----------------------------------------------------------------

def raw(vmm, data=b""):
    """A connection with something sent on it. It waits for its place in the
    server's queue."""
    link = socket.socket(socket.AF_UNIX)
    link.connect(vmm.socket_path)
    link.settimeout(PATIENCE)
    try:
        link.sendall(data)
    except (BrokenPipeError, ConnectionResetError):
        pass                    # it had heard enough
    return link


def read_answer(link):
    """(status, body) of one answer."""
    reply = http.client.HTTPResponse(link)
    reply.begin()
    return reply.status, reply.read()


class Connection(http.client.HTTPConnection):
    """One that does not open itself again."""

    auto_open = 0

    def __init__(self, vmm):
        super().__init__("vm")
        self.sock = raw(vmm)


class Asker:
    """Asks on one connection, checks each answer against the description,
    and remembers which of the described answers came."""

    def __init__(self, vmm):
        self.link = Connection(vmm)
        self.seen = set()

    def ask(self, method, path, body=None):
        """(status, JSON, headers)"""
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
        self.link.request(method, path, body)
        reply = self.link.getresponse()
        text = reply.read().decode()
        kind = "application/json"
        described = path.partition("?")[0]
        operation = API["paths"].get(described, {}).get(method.lower())
        schema = {"$ref": "#/components/schemas/Error"}
        if operation:
            answer = operation["responses"].get(str(reply.status))
            expect(answer, f"{method} {path} answered {reply.status}, which "
                   f"is not described: {text}")
            kind, schema = answer_schema(answer)
            self.seen.add((described, method.lower(), str(reply.status)))
        expect_equal("Content-Type", reply.headers["Content-Type"], kind)
        value = json.loads(text) if kind == "application/json" else text
        bad = complaints(value, schema)
        expect(not bad, f"{method} {path}: {bad}")
        return reply.status, value, reply.headers

    def expect(self, status, method, path, body=None):
        got, value, headers = self.ask(method, path, body)
        expect(got == status, f"{method} {path} with {body!r:.90} answered "
               f"{got}, not {status}: {value!r:.200}")
        return value, headers


def resize_body(size, device="em0"):
    return {"elastic": [{"id": device, "requested_bytes": size}]}


# ---- What it answers --------------------------------------------------------

# What the description's schema refuses, or what is no JSON.
MALFORMED = {
    "/v1/vm/elastic": (
        "{", "[", '"x"', "null", "1", "{}}", "{'elastic': []}", "\xff",
        "[" * 60000, '{"elastic": [], "elastic": []}',
        '{"elastic": [{"id": "em0", "id": "b", "requested_bytes": 0}]}',
        '{"elastic": [{"id": "em0", "requested_bytes": 1e400}]}',
        '{"elastic": [{"id": "em0\\u0000", "requested_bytes": 0}]}',
        '{"elastic": [{"id": "em0", "requested_bytes": 18446744073709551616}'
        ']}',
        [], {}, {"elastic": []}, {"elastic": {}}, {"elastic": [1]},
        {"elastic": [{}]}, {"elastic": [{"id": "em0"}]},
        {"elastic": [{"requested_bytes": 0}]}, {"more": 1},
        {"elastic": resize_body(0)["elastic"] * 65},
        {**resize_body(0), "more": 1},
        {"elastic": [{"id": "em0", "requested_bytes": 0, "x": 1}]},
        resize_body(-2 * MIB), resize_body("2M"), resize_body(2.5),
        resize_body(2.0 * MIB), resize_body(True), resize_body(None),
        resize_body([0]), resize_body(0, 0), resize_body(0, None),
        resize_body(0, "x" * 32), resize_body(0, "x" + "ä" * 400)),
    "/v1/vm/guard": ("{", "null", [], {}, {"policy": "maybe"}, {"policy": 1},
                     {"policy": "off", "x": 1}, {"x": "off"}),
    "/v1/vm/reboot": ("{", "null", [], [1], {"x": 1}),
    "/v1/vm/pause": ("{", "null", [], [1], {"x": 1}),
    "/v1/vm/suspend": ("{", "null", [], [1], {"x": 1}),
    "/v1/vm/resume": ("{", "null", [], [1], {"x": 1}),
    "/v1/vm/stop": ("{", "null", [], [1], {"x": 1}, {"force": 1},
                    {"force": None}, {"force": "true"},
                    {"force": True, "x": 1}, '{"force": 1, "force": true}'),
}
# What only the VM can know to be impossible.
IMPOSSIBLE = ((resize_body(MIB), 400), (resize_body(2 * GIB), 400),
              (resize_body(GIB + 1), 400), (resize_body(2**63 - 2**21), 400),
              ({"elastic": resize_body(0)["elastic"] * 2}, 400),
              ({"elastic": [{"id": "em0", "requested_bytes": 64 * MIB},
                            {"id": "b", "requested_bytes": 1}]}, 400),
              ({"elastic": [{"id": "em0", "requested_bytes": 64 * MIB},
                            {"id": "c", "requested_bytes": 0}]}, 404),
              (resize_body(0, "em9"), 404), (resize_body(0, ""), 404),
              (resize_body(0, "../b"), 404), (resize_body(0, "\xe4"), 404))


def loads(text):
    """As strict as the server. Raises ValueError."""
    def pairs(items):
        if len(dict(items)) < len(items):
            raise ValueError("a key twice")
        return dict(items)
    return json.loads(text, object_pairs_hook=pairs)


def fits_request(path, method, body):
    """Whether the description allows the body."""
    try:
        value = loads(body if isinstance(body, str) else json.dumps(body))
    except (ValueError, RecursionError):
        return False
    request = API["paths"][path][method]["requestBody"]
    return "\\u0000" not in str(body) and not complaints(
        value, json_schema(request))


def check_refusals(asker):
    """All that is wrong, and each as the description has it."""
    for path, bodies in MALFORMED.items():
        method = next(iter(API["paths"][path]))
        for body in bodies:
            expect(not fits_request(path, method, body) or
                   "18446744073709551616" in str(body),
                   f"{path}: the description allows {body!r:.90}")
            asker.expect(400, method.upper(), path, body)
    asker.expect(400, "PUT", "/v1/vm/elastic")
    for body, status in IMPOSSIBLE:
        expect(fits_request("/v1/vm/elastic", "put", body),
               f"the description forbids {body!r:.90}")
        asker.expect(status, "PUT", "/v1/vm/elastic", body)
    for path, methods in API["paths"].items():
        for method in ("GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS"):
            if method.lower() not in methods:
                _, headers = asker.expect(405, method, path)
                expect_equal("Allow", headers["Allow"].lower(),
                             ", ".join(methods))
    for path in ("/", "/v1", "/v1/vm/", "/v1/vm/nothing", "/v2/vm", "//v1/vm",
                 "/v1/v%6d", "/v1/vm/../vm", "/%e4", "/" + "x" * 4000):
        value, _ = asker.expect(404, "GET", path)
        expect(path[:150] in value["error"], f"{path} is not named: {value}")


def check_too_large(vmm, asker):
    for path, methods in API["paths"].items():
        for method in methods:
            if method == "get":
                continue
            link = raw(vmm, f"{method.upper()} {path} HTTP/1.1\r\nHost: x\r\n"
                       "Content-Length: 70000\r\n\r\n".encode())
            expect_equal(f"{method} {path} of 70000 bytes",
                         read_answer(link)[0], 413)
            asker.seen.add((path, method, "413"))
            expect_equal("then", link.recv(1), b"")
    # What is just allowed is read.
    body = json.dumps(resize_body(0))
    asker.expect(200, "PUT", "/v1/vm/elastic", body + " " *
                 (65536 - len(body)))


def check_metrics(text, name):
    """Each sample has its type, once, and the names of the VM and device."""
    types = re.findall(r"^# TYPE (\S+) (?:gauge|counter)$", text, re.M)
    expect_equal("metrics", sorted(set(types)), sorted(types))
    samples = re.findall(r'^([a-z_]+)\{vm="([^"]+)"(?:,id="([^"]+)")?\} \d+$',
                         text, re.M)
    expect_equal("lines", len(samples) + 2 * len(types),
                 len(text.splitlines()))
    expect_equal("samples of", {s[0] for s in samples}, set(types))
    expect_equal("VM", {s[1] for s in samples}, {name})
    expect_equal("devices", {s[2] for s in samples}, {"", "em0", "b"})


@test("api/as-described")
def as_described(lab):
    """Every operation, right and wrong, on one connection."""
    vmm, witness = lab.guest(
        elastic=[Elastic(GIB), Elastic(GIB, id="b", node=1)],
        options=["--node", "cpus=0,mem=512M", "--node", "empty"])
    asker = Asker(vmm)
    vm, _ = asker.expect(200, "GET", "/v1/vm")
    expect_equal("ids", [e["id"] for e in vm["elastic"]], ["em0", "b"])
    expect_equal("nodes", [e["node"] for e in vm["elastic"]], [0, 1])
    asker.expect(200, "GET", "/v1/vm/residence")
    asker.expect(200, "GET", "/v1/vm/audit")
    asker.expect(200, "GET", "/v1/vm/events?after=0")
    check_metrics(asker.expect(200, "GET", "/v1/metrics")[0], vmm.name)
    asker.expect(200, "GET", "/v1/vm", "{")
    check_refusals(asker)
    check_too_large(vmm, asker)
    vm, _ = asker.expect(200, "GET", "/v1/vm")
    expect_equal("requested", [e["requested_bytes"] for e in vm["elastic"]],
                 [0, 0])
    expect_equal("reboots", vm["reboots"], 0)
    expect_equal("state", vm["state"], "running")

    for policy in ("off", "report"):
        vm, _ = asker.expect(200, "PUT", "/v1/vm/guard", {"policy": policy})
        expect_equal("policy", vm["guard"]["policy"], policy)

    # The guest's driver refuses: that is known once something is plugged.
    asker.expect(202, "POST", "/v1/vm/suspend")
    vmm.console.wait_for("BELLOWS-AWAKE ")
    vm, _ = asker.expect(200, "PUT", "/v1/vm/elastic",
                         resize_body(128 * MIB))
    expect_equal("requested", vm["elastic"][0]["requested_bytes"], 128 * MIB)
    vmm.wait_plugged("em0", 128 * MIB)
    witness.check()
    asker.expect(409, "POST", "/v1/vm/suspend", {})
    for action, state in (("pause", "paused"), ("resume", "running")):
        asker.expect(202, "POST", f"/v1/vm/{action}")
        wait_until(f"the VM is {state}", lambda: asker.expect(
            200, "GET", "/v1/vm")[0]["state"] == state)
        asker.expect(202, "POST", f"/v1/vm/{action}", {})
    mark = vmm.console.mark()
    asker.expect(202, "POST", "/v1/vm/reboot", {})
    vmm.wait_ready(since=mark)
    vm, _ = asker.expect(200, "GET", "/v1/vm")
    expect_equal("reboots", vm["reboots"], 1)
    expect_equal("after the reboot", vm["elastic"][0]["requested_bytes"],
                 128 * MIB)
    asker.expect(202, "POST", "/v1/vm/stop", {"force": True})
    expect_equal("exit status", vmm.wait_end(), 0)
    described = {(path, method, status)
                 for path, methods in API["paths"].items()
                 for method, operation in methods.items()
                 for status in operation["responses"]
                 if status not in NOT_HERE}
    expect_equal("described, and not seen", described - asker.seen, set())


def check_head(vmm, path, status, then):
    """Behind the headers of HEAD's answer, the next answer begins."""
    link = raw(vmm, b"HEAD " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    got = link.recv(4096)
    link.sendall(then)
    while len(got.partition(b"\r\n\r\n")[2]) < 5:
        more = link.recv(4096)
        expect(more, f"HEAD {path} was answered with {got!r:.200}, and no "
               "more")
        got += more
    expect(got.startswith(b"HTTP/1.1 " + status), f"HEAD {path}: {got!r:.80}")
    rest = got.partition(b"\r\n\r\n")[2]
    expect(rest.startswith(b"HTTP/"), f"HEAD {path} has a body: {rest!r:.80}")
    link.close()


@test("api/keep-alive")
def keep_alive(lab):
    """One connection takes many requests, whole, in pieces and in one go."""
    vmm = lab.start(memory=256 * MIB, ready=False)
    vmm.wait_init()
    asker = Asker(vmm)
    for _ in range(100):
        asker.expect(200, "GET", "/v1/vm?x=y")
        asker.expect(404, "GET", "/v1/nothing")
    link = asker.link.sock
    get = b"GET /v1/vm HTTP/1.1\r\nHost: x\r\n\r\n"
    for path, status in ((b"/v1/vm", b"405"), (b"/v1/nothing", b"404")):
        check_head(vmm, path, status, get)
    for byte in get:
        link.sendall(bytes([byte]))
    expect_equal("byte by byte", read_answer(link)[0], 200)
    link.sendall(b"PUT /v1/vm/elastic HTTP/1.1\r\nHost: x\r\n"
                 b"Transfer-Encoding: chunked\r\n\r\n"
                 b"1\r\n{\r\n1\r\n}\r\n0\r\n\r\n")
    expect_equal("in chunks", read_answer(link)[0], 400)
    asker.link.request("GET", "/v1/vm", headers={"Connection": "close"})
    expect_equal("the last", asker.link.getresponse().status, 200)
    old = raw(vmm, b"GET /v1/vm HTTP/1.0\r\n\r\n")
    expect_equal("HTTP/1.0", read_answer(old)[0], 200)
    expect_equal("then", old.recv(1), b"")


@test("api/side-by-side")
def side_by_side(lab):
    """Clients at the same time: each gets its own answer."""
    vmm, witness = lab.guest()
    sizes = [n * 16 * MIB for n in range(8)]
    wrong = []

    def client(size):
        try:
            asker = Asker(vmm)
            for _ in range(25):
                vm, _ = asker.expect(200, "PUT", "/v1/vm/elastic",
                                     resize_body(size))
                expect_equal("requested",
                             vm["elastic"][0]["requested_bytes"], size)
                asker.expect(400, "PUT", "/v1/vm/elastic",
                             resize_body(size + 1))
        except Exception as error:
            wrong.append(f"{size // MIB} MiB: {error!r}")

    threads = [threading.Thread(target=client, args=(size,))
               for size in sizes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    expect(not wrong, "; ".join(wrong))
    vmm.resize("em0", 64 * MIB)
    vmm.wait_plugged("em0", 64 * MIB)
    witness.check()


# ---- What it endures --------------------------------------------------------

HALVES = (b"", b"G", b"GET", b"GET /v1/vm HTTP/1.1\r\n",
          b"GET /v1/vm HTTP/1.1\r\nHost: x\r\n",
          b"PUT /v1/vm/elastic HTTP/1.1\r\nContent-Length: 1000\r\n\r\n{",
          b"PUT /v1/vm/elastic HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
          b"ffff\r\n{", b"\r\n" * 1000)
REFUSED = {b"GET " + b"/x" * 40000 + b" HTTP/1.1\r\n\r\n": 400,
           b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * 20000 + b"\r\n\r\n": 400,
           b"GET /v1/vm HTTP/9.9\r\n\r\n": 400,
           b"GET /v1/vm\r\n\r\n": 400,
           b"GET\r\n\r\n": 400,
           b"FROB /v1/vm HTTP/1.1\r\nHost: x\r\n\r\n": 501,
           b"PUT /v1/vm/elastic HTTP/1.1\r\nContent-Length: -1\r\n\r\n": 400,
           b"PUT /v1/vm/elastic HTTP/1.1\r\n"
           b"Content-Length: 99999999999\r\n\r\n": 413,
           b"GET /\xe4\xff HTTP/1.1\r\nHost: x\r\n\r\n": 404}


def expect_alive(vmm, after):
    status, body = read_answer(raw(
        vmm, b"GET /v1/vm HTTP/1.1\r\nHost: x\r\n\r\n"))
    expect_equal(f"status after {after}", status, 200)
    expect_equal(f"state after {after}", json.loads(body)["state"],
                 "running")


@test("api/bad-clients")
def bad_clients(lab):
    """Noise, half requests, hang-ups: the VM and other clients go on."""
    vmm = lab.start(memory=256 * MIB, ready=False)
    vmm.wait_init()
    files = len(os.listdir(f"/proc/{vmm.pid}/fd"))
    seed = random.randrange(1 << 32)
    noise = random.Random(seed)
    for request, status in REFUSED.items():
        link = raw(vmm, request)
        got = read_answer(link)[0]
        expect(got == status, f"{request[:60]!r} was answered with {got}, "
               f"not {status}")
        link.close()
    links = [raw(vmm, half) for half in HALVES]
    for _ in range(200):
        links.append(raw(vmm, noise.randbytes(noise.choice((1, 100, 5000)))
                         + noise.choice((b"", b"\r\n\r\n"))))
    expect_alive(vmm, f"noise (seed {seed})")
    for link in links:
        link.close()
    for _ in range(200):
        raw(vmm, b"GET /v1/vm HTTP/1.1\r\nHost: x\r\n\r\n").close()
    expect_alive(vmm, "hang-ups")
    wait_until("all connections are closed",
               lambda: len(os.listdir(f"/proc/{vmm.pid}/fd")) <= files)
    expect_equal("stderr", vmm.stderr(), "")


@test("api/floods")
def floods(lab):
    """Idle connections, as many as there may be and more."""
    vmm = lab.start(memory=256 * MIB, ready=False)
    vmm.wait_init()
    idle = [raw(vmm) for _ in range(200)]
    for _ in range(3):
        expect_alive(vmm, "200 idle connections")
    expect_equal("state", vmm.show()["state"], "running")
    # No file descriptors left: the next ones wait in the queue.
    used = len(os.listdir(f"/proc/{vmm.pid}/fd"))
    resource.prlimit(vmm.pid, resource.RLIMIT_NOFILE, (used + 4, used + 4))
    waiting = [raw(vmm) for _ in range(20)]
    time.sleep(1)
    said = vmm.stderr()
    expect(len(said) < 1000, f"{len(said)} bytes on stderr")
    for link in idle:
        link.close()
    expect_alive(vmm, "file descriptors ran out")
    for link in waiting:
        link.close()


@test("api/socket")
def socket_file(lab):
    """The socket: for its owner, for curl, and gone with the VM."""
    vmm = lab.start(memory=256 * MIB, ready=False)
    path = Path(vmm.socket_path)
    wait_until("the socket is there", path.exists)
    mode = path.stat().st_mode
    expect(stat.S_ISSOCK(mode), "not a socket")
    expect_equal("mode", stat.S_IMODE(mode), 0o600)
    folder = path.parent.stat()
    expect_equal("mode of the folder", stat.S_IMODE(folder.st_mode), 0o700)
    for arguments in ((), ("-X", "PUT", "-d", "{"), ("-X", "PUT", "-d", "")):
        done = subprocess.run(
            ["curl", "-sS", "--unix-socket", str(path), *arguments,
             "http://vm/v1/vm" + ("/elastic" if arguments else "")],
            capture_output=True, text=True, check=False)
        expect_equal(f"curl ({done.stderr})", done.returncode, 0)
        value = json.loads(done.stdout)
        expect(arguments or value["name"] == vmm.name, f"curl: {value}")
        expect(not arguments or "error" in value, f"curl: {value}")
    vmm.cli("stop", "--force", check=True)
    expect(not path.exists(), "the socket stays")
