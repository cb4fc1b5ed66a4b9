# SPDX-License-Identifier: BSD-3-Clause
"""Debian's QEMU as the VMM: the peer of the benches.

Its command line is as short as makes the same machine: no default devices, no
display, no configuration files, the processor as the host has it.
"""
import json
import os
import re
import socket
import time

from .console import PATIENCE
from .vmm import MIB, Vmm, VmmError

QEMU = os.environ.get("BELLOWS_QEMU", "qemu-system-x86_64")


class Qmp:
    """QEMU's control socket."""

    def __init__(self, path, timeout=PATIENCE):
        self.socket = socket.socket(socket.AF_UNIX)
        deadline = time.monotonic() + timeout
        while True:
            try:
                self.socket.connect(path)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
        self.file = self.socket.makefile("rw", encoding="utf-8")
        self.file.readline()
        self.call("qmp_capabilities")

    def call(self, command, **arguments):
        self.file.write(json.dumps({"execute": command,
                                    "arguments": arguments}) + "\n")
        self.file.flush()
        while True:
            line = self.file.readline()
            if not line:
                raise VmmError("QEMU closed its control socket")
            answer = json.loads(line)
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                raise VmmError(f"QEMU: {command}: {answer['error']['desc']}")

    def close(self):
        self.file.close()
        self.socket.close()


class QemuVmm(Vmm):
    label = "qemu"

    def __init__(self, machine, backend="memory-backend-ram", accel=None):
        super().__init__(machine)
        self.backend = backend
        self.accel = accel or os.environ.get("BELLOWS_QEMU_ACCEL", "kvm")
        self.socket_path = os.path.join(self.folder.name, "qmp")
        self._qmp = None

    @property
    def qmp(self):
        if self._qmp is None:
            self._qmp = Qmp(self.socket_path)
        return self._qmp

    def node_options(self):
        """-numa for each node, with its memory and distances."""
        line = []
        for number, node in enumerate(self.machine.nodes):
            words = f"node,nodeid={number}"
            words += "".join(f",cpus={cpu}" for cpu in node.cpus.split(",")
                             if cpu)
            if node.memory:
                line += ["-object", f"{self.backend},id=node{number},"
                         f"size={node.memory // MIB}M"]
                words += f",memdev=node{number}"
            line += ["-numa", words]
        for number, node in enumerate(self.machine.nodes):
            for to, far in node.distances.items():
                line += ["-numa", f"dist,src={number},dst={to},val={far}"]
        return line

    def command(self):
        m = self.machine
        one = "" if m.nodes else ",memory-backend=boot"
        total = m.memory + sum(e.max_bytes for e in m.elastic)
        memory = f"{m.memory // MIB}M"
        if m.elastic:
            memory += f",maxmem={total // MIB}M"
        line = [
            QEMU, "-nodefaults", "-no-user-config", "-display", "none",
            "-machine", f"q35,accel={self.accel}{one}",
            "-cpu", "max" if self.accel == "tcg" else "host",
            "-smp", str(m.cpus), "-m", memory,
            *self.node_options(),
            "-serial", "stdio",
            "-qmp", f"unix:{self.socket_path},server=on,wait=off",
            "-kernel", str(m.kernel_path()),
            *m.initrd_options("-initrd"),
            "-append", m.full_cmdline(),
        ]
        if not m.nodes:
            line += ["-object",
                     f"{self.backend},id=boot,size={m.memory // MIB}M"]
        for e in m.elastic:
            node = f",node={e.node}" if e.node is not None else ""
            line += [
                "-object", f"{self.backend},id=mem-{e.id},"
                f"size={e.max_bytes // MIB}M,reserve=off",
                "-device", f"virtio-mem-pci,id={e.id},memdev=mem-{e.id},"
                f"requested-size={e.size_bytes},block-size={e.block_bytes}"
                + node + e.qemu]
        return line + m.options

    def resize(self, device_id, size):
        self.qmp.call("qom-set", path=f"/machine/peripheral/{device_id}",
                      property="requested-size", value=size)

    def status(self):
        blocks = self._ram_blocks()
        rows = self.smaps() if blocks else []
        answer = {}
        for e in self.machine.elastic:
            path = f"/machine/peripheral/{e.id}"
            lo, hi = blocks.get(f"mem-{e.id}", (0, 0))
            answer[e.id] = {
                "requested": self.qmp.call("qom-get", path=path,
                                           property="requested-size"),
                "plugged": self.plugged(e.id),
                "resident": sum(rss for start, end, _, rss in rows
                                if lo <= start and end <= hi)}
        return answer

    def plugged(self, device_id):
        return self.qmp.call("qom-get", path=f"/machine/peripheral/"
                             f"{device_id}", property="size")

    def _ram_blocks(self):
        """{name: (start, end)} in QEMU's address space. Older ones do not say
        where a block is: then it is the one mapping of just that size."""
        mappings = None
        text = self.qmp.call("human-monitor-command",
                             **{"command-line": "info ramblock"})
        blocks = {}
        for line in text.splitlines()[1:]:
            words = line.split()
            numbers = [int(w, 16) for w in words if re.match("0x", w)]
            name = words[0].split("/")[-1]
            if name != "boot" and not name.startswith("mem-"):
                continue
            start, size = numbers[3] if len(numbers) > 3 else None, numbers[2]
            if start is None:
                mappings = mappings or self.smaps()
                found = [row for row in mappings if row[1] - row[0] == size]
                if len(found) != 1:
                    raise VmmError(f"QEMU: {len(found)} mappings of "
                                   f"{size // MIB} MiB for {name}, not 1")
                start = found[0][0]
            blocks[name] = (start, start + size)
        return blocks

    def guest_mappings(self):
        return list(self._ram_blocks().values())

    def press_power(self):
        self.qmp.call("system_powerdown")

    def reset(self):
        self.qmp.call("system_reset")

    def close(self):
        if self._qmp:
            self._qmp.close()
        super().close()
