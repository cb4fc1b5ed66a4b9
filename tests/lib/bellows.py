# SPDX-License-Identifier: BSD-3-Clause
"""Our VMM, run and spoken to by the `bellows` command."""
import itertools
import json
import os
import re
import signal
import subprocess

from .paths import BELLOWS
from .vmm import MIB, Vmm, VmmError

_numbers = itertools.count(1)


def bellows(*arguments, timeout=60, check=False, **kwargs):
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


class BellowsVmm(Vmm):
    label = "bellows"

    def __init__(self, machine, name=None, console="stdio"):
        super().__init__(machine)
        self.name = name or f"t{os.getpid()}-{next(_numbers)}"
        self.console_option = console

    def command(self):
        m = self.machine
        line = [str(BELLOWS), "run", "--name", self.name,
                "--kernel", str(m.kernel_path()),
                "--initrd", str(m.initrd_path()),
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
        return line + m.options

    def cli(self, verb, *arguments, **kwargs):
        return bellows(verb, self.name, *arguments, **kwargs)

    def resize(self, device_id, size):
        self.cli("resize", f"{device_id}={size}", "--wait", "0")

    def show(self):
        done = self.cli("show", "--json", check=True)
        return json.loads(done.stdout)

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
