# SPDX-License-Identifier: BSD-3-Clause
"""One interface to a VMM that runs one guest: ours, and QEMU to compare."""
import dataclasses
import os
import re
import subprocess
import tempfile
import time
from pathlib import Path

from .console import PATIENCE, Console, GuestError
from .paths import BARE_GUEST, GUEST_IMAGES, KERNELS

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
PAGE = os.sysconf("SC_PAGE_SIZE")

BASE_CMDLINE = "console=ttyS0 quiet loglevel=3"
BARE = "bare"                   # guest/bare, which needs no kernel


@dataclasses.dataclass
class Elastic:
    """One elastic device."""
    max_bytes: int
    id: str = "em0"
    size_bytes: int = 0
    block_bytes: int = 2 * MIB
    node: int | None = None
    qemu: str = ""              # more properties of QEMU's device


@dataclasses.dataclass
class Node:
    """One NUMA node of the guest."""
    cpus: str = ""              # 0,2
    memory: int = 0
    distances: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Machine:
    """What a VMM is asked to run."""
    kernel: str = "6.1-cloud"   # a name below build/kernels; or BARE
    image: str = "vmlinuz"      # or vmlinux
    guest: str = ""             # or kexec: guest/image makes KERNEL.kexec
    cpus: int = 1
    memory: int = 512 * MIB
    elastic: list = dataclasses.field(default_factory=list)
    nodes: list = dataclasses.field(default_factory=list)
    cmdline: str = ""           # added to BASE_CMDLINE
    options: list = dataclasses.field(default_factory=list)

    def kernel_path(self):
        if self.kernel == BARE:
            return BARE_GUEST
        return KERNELS / self.kernel / self.image

    def initrd_options(self, option):
        """The option and its value; none for a guest without an initrd."""
        if self.kernel == BARE:
            return []
        variant = f".{self.guest}" if self.guest else ""
        return [option, str(GUEST_IMAGES / f"{self.kernel}{variant}.cpio")]

    def full_cmdline(self):
        if self.kernel == BARE:
            return f"cpus={self.cpus} {self.cmdline}".strip()
        return f"{BASE_CMDLINE} {self.cmdline}".strip()


def pause(waited):
    """Seconds until the next look of one that waits."""
    return min(max(waited / 5, 0.02), 0.25)


class VmmError(Exception):
    """The VMM did not do what it should."""


class Vmm:
    """A running VMM. Subclasses say how it is started and spoken to."""

    label = "?"

    def __init__(self, machine):
        self.machine = machine
        self.process = None
        self.console = None
        self.started = None     # monotonic time of exec
        self.folder = tempfile.TemporaryDirectory(prefix="vmm-test-")
        self.stderr_path = Path(self.folder.name) / "stderr"

    # What a subclass gives.

    def command(self):
        """The command line to run."""
        raise NotImplementedError

    def resize(self, device_id, size):
        """Ask for another size and return at once."""
        raise NotImplementedError

    def status(self):
        """{id: {"requested", "plugged", "resident"}} in bytes."""
        raise NotImplementedError

    def guest_mappings(self):
        """[(start, end)] of the VMM's addresses that are guest memory."""
        raise NotImplementedError

    def press_power(self):
        raise NotImplementedError

    def reset(self):
        raise NotImplementedError

    # What all have.

    def start(self):
        with open(self.stderr_path, "wb") as stderr:
            self.started = time.monotonic()
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=stderr, bufsize=0)
        self.console = Console(self.process.stdout.fileno(),
                               self.process.stdin.write)
        return self

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.close()

    @property
    def pid(self):
        return self.process.pid

    def stderr(self):
        try:
            return self.stderr_path.read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def explain(self, error):
        """An error with what the VMM itself said."""
        said = self.stderr().strip()
        state = self.process.poll()
        text = str(error)
        if state is not None:
            text += f"\n{self.label} ended with status {state}"
        if said:
            text += f"\n{self.label} said: {said}"
        return VmmError(text)

    def wait_init(self, timeout=PATIENCE):
        """Wait for the guest's init; returns seconds since exec."""
        try:
            when, found, _ = self.console.wait_for(r"BELLOWS-INIT (\S+)",
                                                   timeout)
        except GuestError as error:
            raise self.explain(error) from None
        self.release = found.group(1)
        return when - self.started

    def wait_ready(self, timeout=PATIENCE, since=0):
        """Wait until the agent takes commands."""
        try:
            _, _, at = self.console.wait_for(r"BELLOWS-READY", timeout, since)
        except GuestError as error:
            raise self.explain(error) from None
        return at

    def wait_end(self, timeout=PATIENCE):
        """Wait until the VMM has ended; returns its exit status."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise VmmError(f"{self.label} still runs after {timeout} s:\n"
                           + self.console.tail()) from None

    def close(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.process:
            self.process.stdin.close()
        if self.console:
            self.console._thread.join(5)
            self.process.stdout.close()
        self.folder.cleanup()

    def cpu_seconds(self):
        """Processor time that the process has used, guest time included:
        (user, system)."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(
            ")")[2].split()
        tick = os.sysconf("SC_CLK_TCK")
        return int(fields[11]) / tick, int(fields[12]) / tick

    def smaps(self):
        """[(start, end, name, resident bytes)] of the process."""
        rows = []
        text = Path(f"/proc/{self.pid}/smaps").read_text()
        for line in text.splitlines():
            head = re.match(r"([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ \S+ *(.*)",
                            line)
            if head:
                rows.append([int(head[1], 16), int(head[2], 16), head[3], 0])
            elif line.startswith("Rss:"):
                rows[-1][3] = int(line.split()[1]) * KIB
        return [tuple(row) for row in rows]

    def own_resident(self):
        """Resident memory of the process without the guest's: the sum of Rss
        over all mappings that do not lie inside guest memory."""
        guest = self.guest_mappings()
        return sum(
            rss for start, end, _, rss in self.smaps()
            if not any(lo <= start and end <= hi for lo, hi in guest))

    # What the guest says.

    def meminfo(self):
        """{"MemTotal": bytes, ...} as the guest says."""
        line, = self.console.ask("meminfo")
        return {key: int(value) * KIB for key, value in
                (pair.split("=") for pair in line.split())}

    def mem_total_settled(self, quiet=0.5):
        """MemTotal once it has not changed for a while: a guest counts memory
        a moment after it has plugged it."""
        total, since = self.mem_total(), time.monotonic()
        while time.monotonic() - since < quiet:
            time.sleep(0.05)
            now = self.mem_total()
            if now != total:
                total, since = now, time.monotonic()
        return total

    def mem_total(self):
        return self.meminfo()["MemTotal"]

    def plugged(self, device_id):
        """A device's plugged size in bytes; cheaper than all of status()."""
        return self.status()[device_id]["plugged"]

    def wait_plugged(self, device_id, size, timeout=PATIENCE, interval=None):
        """Wait until a device's plugged size is size; returns the monotonic
        time at which it was seen. Looks every interval seconds, or, if that is
        not given, the less often the longer it takes: where one processor
        does everything, who asks takes it from the guest."""
        began = time.monotonic()
        while True:
            plugged = self.plugged(device_id)
            now = time.monotonic()
            if plugged == size:
                return now
            if now > began + timeout:
                raise VmmError(
                    f"{self.label}: {device_id} has {plugged // KIB} KiB of "
                    f"{size // KIB} KiB plugged after {timeout} s\n"
                    + self.console.tail(10))
            if self.process.poll() is not None:
                raise self.explain("the VMM ended during a resize")
            time.sleep(interval or pause(now - began))
