# SPDX-License-Identifier: BSD-3-Clause
"""The control API answers as docs/openapi.json says, and bad clients harm
nobody."""
import json
import os
import socket
import stat
import subprocess
from pathlib import Path

from harness import GIB, MIB, Elastic, expect, expect_equal, power_off, test
from lib.bellows import Connection
from lib.checks import openapi_path

API = json.loads(openapi_path().read_text())
TYPES = {"object": dict, "array": list, "string": str, "boolean": bool,
         "null": type(None)}


def is_type(value, kind):
    if kind == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, TYPES[kind])


def complaints(value, schema, where="body"):
    """What of the schema the value breaks: the part of JSON Schema that our
    description uses."""
    if "$ref" in schema:
        target = API
        for part in schema["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        schema = target
    kinds = schema.get("type")
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(is_type(value, kind) for kind in kinds):
        return [f"{where} is {value!r}, not {kinds}"]
    bad = []
    if "enum" in schema and value not in schema["enum"]:
        bad.append(f"{where} is {value!r}, not of {schema['enum']}")
    if "minimum" in schema and value is not None \
            and value < schema["minimum"]:
        bad.append(f"{where} is {value}, less than {schema['minimum']}")
    if isinstance(value, dict):
        known = schema.get("properties", {})
        bad += [f"{where} lacks {key}" for key in schema.get("required", [])
                if key not in value]
        for key, item in value.items():
            if key in known:
                bad += complaints(item, known[key], f"{where}.{key}")
            elif schema.get("additionalProperties") is False:
                bad.append(f"{where} has {key}, which is not described")
    if isinstance(value, list) and "items" in schema:
        for number, item in enumerate(value):
            bad += complaints(item, schema["items"], f"{where}[{number}]")
    return bad


def ask(connection, method, path, body=None):
    """(status, JSON, headers), checked against the description."""
    if isinstance(body, (dict, list)):
        body = json.dumps(body)
    connection.request(method, path, body)
    reply = connection.getresponse()
    text = reply.read()
    value = json.loads(text)
    expect_equal("Content-Type", reply.headers["Content-Type"],
                 "application/json")
    operation = API["paths"].get(path, {}).get(method.lower())
    schema = {"$ref": "#/components/schemas/Error"}
    if operation and str(reply.status) in operation["responses"]:
        answer = operation["responses"][str(reply.status)]
        schema = answer["content"]["application/json"]["schema"]
    elif operation:
        expect(reply.status == 413, f"{method} {path} answered "
               f"{reply.status}, which is not described: {value}")
    bad = complaints(value, schema)
    expect(not bad, f"{method} {path}: {bad}")
    return reply.status, value, reply.headers


def resize_body(size, device="em0"):
    return {"elastic": [{"id": device, "requested_bytes": size}]}


@test("api/as-described")
def as_described(lab):
    """Every operation, right and wrong, on one connection."""
    vmm, witness = lab.guest(
        elastic=[Elastic(GIB), Elastic(GIB, id="b", node=1)],
        options=["--node", "cpus=0,mem=512M", "--node", "empty"])
    link = Connection(vmm.socket_path)
    for path, methods in API["paths"].items():
        for method in ("GET", "PUT", "POST", "DELETE", "PATCH"):
            if method.lower() not in methods:
                status, _, headers = ask(link, method, path)
                expect_equal(f"{method} {path}", status, 405)
                expect_equal("Allow", headers["Allow"].lower(),
                             next(iter(methods)))
    expect_equal("unknown path", ask(link, "GET", "/v1/nothing")[0], 404)
    status, vm, _ = ask(link, "GET", "/v1/vm")
    expect_equal("status", status, 200)
    expect_equal("ids", [e["id"] for e in vm["elastic"]], ["em0", "b"])
    expect_equal("nodes", [e["node"] for e in vm["elastic"]], [0, 1])

    put = lambda body: ask(link, "PUT", "/v1/vm/elastic", body)[0]
    for body in (None, "", "{", "[]", "{}", "null", '"x"', {"elastic": []},
                 {"elastic": {}}, {"elastic": [1]}, {"elastic": [{}]},
                 {"elastic": [{"id": "em0"}]}, resize_body(-2 * MIB),
                 resize_body("2M"), resize_body(2.5), resize_body(MIB),
                 resize_body(2 * GIB), resize_body(2**63 - 2**21),
                 {**resize_body(0), "more": 1},
                 {"elastic": [{"id": "em0", "requested_bytes": 0, "x": 1}]},
                 {"elastic": resize_body(0)["elastic"] * 2},
                 '{"elastic": [], "elastic": []}',
                 '{"elastic": [{"id": "em0", "requested_bytes": 1e400}]}'):
        expect_equal(f"resize with {str(body)[:60]}", put(body), 400)
    expect_equal("no such device", put(resize_body(0, "em9")), 404)
    expect_equal("too long an id", put(resize_body(0, "x" * 500)), 400)
    expect_equal("half wrong", put({"elastic": [
        {"id": "em0", "requested_bytes": 64 * MIB},
        {"id": "b", "requested_bytes": 1}]}), 400)
    expect_equal("requested", vmm.status()["em0"]["requested"], 0)
    expect_equal("stop", ask(link, "POST", "/v1/vm/stop", {"force": 1})[0],
                 400)
    expect_equal("reboot", ask(link, "POST", "/v1/vm/reboot", {"x": 1})[0],
                 400)

    expect_equal("resize", put(resize_body(128 * MIB)), 200)
    vmm.wait_plugged("em0", 128 * MIB)
    witness.check()
    mark = vmm.console.mark()
    expect_equal("reboot", ask(link, "POST", "/v1/vm/reboot")[0], 202)
    vmm.wait_ready(since=mark)
    status, vm, _ = ask(link, "GET", "/v1/vm")
    expect_equal("reboots", vm["reboots"], 1)
    expect_equal("stop", ask(link, "POST", "/v1/vm/stop",
                             {"force": True})[0], 202)
    expect_equal("exit status", vmm.wait_end(), 0)


def raw(vmm, data):
    link = socket.socket(socket.AF_UNIX)
    link.settimeout(10)
    link.connect(vmm.socket_path)
    try:
        link.sendall(data)
    except BrokenPipeError:
        pass            # it had heard enough
    return link


@test("api/bad-clients")
def bad_clients(lab):
    """Noise, half requests, floods: the VM and other clients go on."""
    vmm = lab.start(memory=256 * MIB, ready=False)
    vmm.wait_init()
    mode = os.stat(vmm.socket_path).st_mode
    expect(stat.S_ISSOCK(mode), "not a socket")
    expect_equal("mode", stat.S_IMODE(mode), 0o600)
    links = [raw(vmm, os.urandom(4096)),
             raw(vmm, b"GET /v1/vm HTTP/1.1\r\n"),
             raw(vmm, b"PUT /v1/vm/elastic HTTP/1.1\r\n"
                      b"Content-Length: 1000\r\n\r\n{"),
             raw(vmm, b"\r\n" * 1000),
             raw(vmm, b"GET " + b"/x" * 40000 + b" HTTP/1.1\r\n\r\n"),
             raw(vmm, b"PUT /v1/vm/elastic HTTP/1.1\r\n"
                      b"Content-Length: 99999999999\r\n\r\n")]
    big = raw(vmm, b"PUT /v1/vm/elastic HTTP/1.1\r\nHost: x\r\n"
                   b"Content-Length: 70000\r\n\r\n")
    expect(b" 413 " in big.recv(4096).split(b"\r\n")[0] + b" ",
           "a body of 70000 bytes was not refused with 413")
    for _ in range(100):
        links.append(raw(vmm, b""))
    for _ in range(3):
        expect_equal("state", vmm.show()["state"], "running")
    two = [Connection(vmm.socket_path) for _ in range(2)]
    for link in two:
        link.request("GET", "/v1/vm")
    for link in two:
        expect_equal("status", link.getresponse().status, 200)
    for link in links:
        link.close()
    done = subprocess.run(
        ["curl", "-sS", "--fail", "--unix-socket", vmm.socket_path,
         "http://vm/v1/vm"], capture_output=True, text=True, check=False)
    expect_equal(f"curl ({done.stderr})", done.returncode, 0)
    expect_equal("name", json.loads(done.stdout)["name"], vmm.name)
    files = len(os.listdir(f"/proc/{vmm.pid}/fd"))
    expect(files < 60, f"{files} files are open")
    vmm.cli("stop", "--force", check=True)
    expect(not Path(vmm.socket_path).exists(), "the socket stays")
