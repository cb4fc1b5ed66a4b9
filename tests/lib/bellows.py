# SPDX-License-Identifier: BSD-3-Clause
"""Our VMM, run and spoken to by the `bellows` command."""
import http.client
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import time

from .console import PATIENCE
from .paths import BELLOWS
from .vmm import MIB, Vmm, VmmError

_numbers = itertools.count(1)


def bellows(*arguments, timeout=PATIENCE, check=False, **kwargs):
    """Run the command once; returns a CompletedProcess with text."""
    done = subprocess.run([str(BELLOWS), *map(str, arguments)],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True,
                          errors="replace", timeout=timeout, check=False,
                          **kwargs)
    if check and done.returncode:
        raise VmmError(f"bellows {' '.join(map(str, arguments))}: exit status "
                       f"{done.returncode}: {done.stderr.strip()}")
    return done


# Files in memory that back a guest's, as /proc shows them.
GUEST_FILE = re.compile(r"^(?:/memfd:|/)bellows:(.*?)(?: \(deleted\))?$")


def guest_files(pid):
    """[(name, bytes that the host holds)] of the files that back a guest's
    memory, as the host's kernel says: nothing the VMM says is used."""
    rows = []
    folder = f"/proc/{pid}/fd"
    for fd in os.listdir(folder):
        try:
            name = os.readlink(f"{folder}/{fd}")
            found = GUEST_FILE.match(name)
            if found:
                held = os.stat(f"{folder}/{fd}").st_blocks * 512
                rows.append((found.group(1), held))
        except FileNotFoundError:
            pass
    return rows


class Connection(http.client.HTTPConnection):
    """HTTP on a VM's control socket."""

    def __init__(self, path):
        super().__init__("vm", timeout=PATIENCE)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class BellowsVmm(Vmm):
    label = "bellows"

    def __init__(self, machine, name=None, console="stdio"):
        super().__init__(machine)
        self.name = name or f"t{os.getpid()}-{next(_numbers)}"
        self.console_option = console
        self._connection = None

    def command(self):
        m = self.machine
        line = [str(BELLOWS), "run", "--name", self.name,
                "--kernel", str(m.kernel_path()),
                *m.initrd_options("--initrd"),
                "--cmdline", m.full_cmdline(),
                "--cpus", str(m.cpus), "--memory", f"{m.memory // MIB}M",
                "--console", self.console_option]
        for node in m.nodes:
            words = [f"cpus={node.cpus}"] if node.cpus else []
            words += [f"mem={node.memory // MIB}M"] if node.memory else []
            words += [f"distance={to}:{far}"
                      for to, far in node.distances.items()]
            line += ["--node", ",".join(words) or "empty"]
        for e in m.elastic:
            spec = f"id={e.id},max={e.max_bytes // MIB}M"
            if e.size_bytes:
                spec += f",size={e.size_bytes // MIB}M"
            if e.block_bytes != 2 * MIB:
                spec += f",block={e.block_bytes // MIB}M"
            if e.node is not None:
                spec += f",node={e.node}"
            line += ["--elastic", spec]
        # What a guest must never be accused of shows wherever it is tested.
        policy = os.environ.get("BELLOWS_GUARD")
        if policy and "--guard" not in m.options:
            line += ["--guard", policy]
        return line + m.options

    def cli(self, verb, *arguments, **kwargs):
        return bellows(verb, self.name, *arguments, **kwargs)

    @property
    def socket_path(self):
        folder = os.environ.get("BELLOWS_RUNTIME_DIR", "/run/bellows")
        return f"{folder}/{self.name}.sock"

    def _call(self, method, path, body):
        if self._connection is None:
            self._wait_socket()
            self._connection = Connection(self.socket_path)
        self._connection.request(
            method, path, None if body is None else json.dumps(body))
        answer = self._connection.getresponse()
        return answer, answer.read().decode()

    def _wait_socket(self, patience=PATIENCE):
        """A machine that was just started makes its socket first."""
        deadline = time.monotonic() + patience
        while not os.path.exists(self.socket_path) \
                and self.process.poll() is None \
                and time.monotonic() < deadline:
            time.sleep(0.02)

    def _disconnect(self):
        if self._connection:
            self._connection.close()
            self._connection = None

    def close(self):
        self._disconnect()
        super().close()

    def api(self, method, path, body=None):
        """One call on a connection that is kept; what it answered. One that
        has been idle may be closed by now: then on a new one."""
        for kept in (self._connection is not None, False):
            try:
                answer, text = self._call(method, path, body)
                break
            except (OSError, http.client.HTTPException) as error:
                self._disconnect()
                if not kept:
                    raise VmmError(f"{self.name}: {method} {path}: "
                                   f"{error!r}") from None
        if answer.status >= 300:
            raise VmmError(f"{method} {path}: {json.loads(text)['error']}")
        return text if answer.headers.get_content_type() == "text/plain" \
            else json.loads(text)

    def resize(self, device_id, size):
        self.api("PUT", "/v1/vm/elastic", {"elastic": [
            {"id": device_id, "requested_bytes": size}]})

    def show(self):
        return self.api("GET", "/v1/vm")

    def metrics(self):
        return self.api("GET", "/v1/metrics")

    def status(self):
        return {e["id"]: {"requested": e["requested_bytes"],
                          "plugged": e["plugged_bytes"],
                          "resident": e["resident_bytes"]}
                for e in self.show()["elastic"]}

    def guest_mappings(self):
        return [(start, end) for start, end, name, _ in self.smaps()
                if GUEST_FILE.match(name)]

    def press_power(self):
        self.cli("stop", "--wait", "0")

    def reset(self):
        self.cli("reboot", check=True)

    def interrupt(self, number=signal.SIGTERM):
        self.process.send_signal(number)
