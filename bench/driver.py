# SPDX-License-Identifier: BSD-3-Clause
"""Our Linux driver against the kernel's own: an idle guest and 2 GiB."""
import subprocess
import time

from common import (DRIVERS, KERNEL, ROOT, STEP, TOP, VARIANTS, Series, climb,
                    progress, side_by_side)
from lib.vmm import BARE, KIB, MIB, Elastic, Machine

ABOUT = """\
Seconds from the request until the device has 2 GiB more plugged, or less, asked
every 5 ms, with the driver bellows_mem and with the kernel's virtio_mem, on the
same VMM. A run has a guest with either, live side by side, idle but for the one
that is measured; each goes by 2 GiB from nothing to 8 GiB and back, three
times, one step each in turn. First: the first time up. A run's figure is the
median of its steps, its ratio the median of the ratios of two steps in turn;
the ratio is the mean of the runs', ± its standard error. One processor, 512
MiB, one elastic device in blocks of 2 MiB, memory brought online as movable. In
use: until the guest counts all of it in MemTotal (ours plugs all before it adds
the first memory block); the guest looks itself, every 5 ms. Blocks gone: until
the guest has removed the memory blocks, too. Peak: the most that the host held
for the device during a shrink over what it held at its start; of the first time
down, which is not timed. Floor: the device alone, one PLUG or UNPLUG of 2 GiB
from a guest without an operating system; and what Linux takes to offline and
remove the memory blocks, as our driver clocks it. Stock Debian kernels clear
memory when it is allocated (init_on_alloc=1), and with it what virtio_mem gives
back."""

BLOCKS = STEP // (2 * MIB)
LOOK = 0.005
COUNTERS = "cat /sys/bus/virtio/drivers/bellows_mem/virtio*/bellows_mem/counters"

# Stock settings, and with init_on_alloc=0: ours over upstream's.
ASKED = {cmdline: {"grow first": {"ratio": 1.0}, "grow": {"ratio": 1.0},
                   "  in use, grow first": {"ratio": 1.0},
                   "  in use, grow": {"ratio": 1.0},
                   "shrink": {"ratio": ratio}, "  peak, MiB": {"value": 0}}
         for cmdline, ratio in {"": 0.05, "init_on_alloc=0": 1.0}.items()}


def prepare():
    """Make what the guest needs; outside of the lab, where files last."""
    subprocess.run([str(ROOT / "guest" / "linux" / "build"), KERNEL],
                   check=True, stdout=subprocess.DEVNULL)


def peak_of_shrink(vmm, size):
    """Shrink; returns the most that the host held for the device over what it
    held before. To ask that takes much of the time that a shrink does."""
    before = peak = vmm.status()["em0"]["resident"]
    began = time.monotonic()
    vmm.resize("em0", size)
    while True:
        device = vmm.status()["em0"]
        peak = max(peak, device["resident"])
        if device["plugged"] == size:
            return peak - before
        if time.monotonic() - began > 120:
            raise SystemExit(f"{vmm.label}: {device} after 120 s")
        time.sleep(0.005)


def memory_blocks(vmm):
    row, = vmm.console.ask("blocks")
    return sum(int(word.split("=")[1]) for word in row.split())


def awaited(vmm, what, wanted):
    """Wait until the guest has that; it looks itself, which takes less of its
    processor than answers do. Returns the time."""
    vmm.console.ask(f"await {what} {wanted}")
    return time.monotonic()


def removing_seconds(vmm):
    rows = dict(row.split() for row in vmm.console.ask(f"sh {COUNTERS}"))
    return int(rows["removing_us"]) / 1e6


class Steps:
    """One guest's steps up and down; each returns {row: value}."""

    def __init__(self, vmm, ours):
        self.vmm = vmm
        self.ours = ours
        self.blocks = {}        # memory blocks by the device's size

    def resize(self, size):
        """Returns when that began, and seconds until it was plugged."""
        began = time.monotonic()
        self.vmm.resize("em0", size)
        return began, self.vmm.wait_plugged("em0", size, 120, LOOK) - began

    def grow(self, size, first):
        self.blocks[size - STEP] = memory_blocks(self.vmm)
        wanted = self.vmm.mem_total() + STEP
        began, seconds = self.resize(size)
        in_use = awaited(self.vmm, "total", wanted // KIB) - began
        name = "grow first" if first else "grow"
        return {name: seconds, f"  in use, {name}": in_use}

    def shrink(self, size, first):
        # The first time down; the others tell the time.
        if first:
            peak = peak_of_shrink(self.vmm, size)
            awaited(self.vmm, "blocks", self.blocks[size])
            return {"  peak, MiB": peak / MIB}
        linux = removing_seconds(self.vmm) if self.ours else 0
        began, seconds = self.resize(size)
        gone = awaited(self.vmm, "blocks", self.blocks[size]) - began
        rows = {"shrink": seconds, "  blocks gone": gone}
        if self.ours:
            rows["  floor: Linux removes"] = removing_seconds(self.vmm) - linux
        return rows


def measure_guests(number, guests):
    """Both guests' steps: {row: {label: [value]}}."""
    steps = {label: Steps(vmm, label == "ours")
             for label, vmm in guests.items()}

    def measure(label, verb, size, first):
        return getattr(steps[label], verb)(size, first)

    with side_by_side(number, guests):
        return climb(number, guests, measure)


def device_alone(kind, series):
    """What the device takes for the one request."""
    machine = Machine(kernel=BARE, memory=64 * MIB, elastic=[Elastic(STEP)])
    with kind(machine) as vmm:
        vmm.wait_ready()
        vmm.console.ask("start 0")
        vmm.resize("em0", STEP)
        for verb in ("plug", "unplug"):
            if verb == "unplug":
                vmm.resize("em0", 0)
            began = time.monotonic()
            vmm.console.ask(f"{verb} 0+0 {BLOCKS}")
            series.add(f"floor: the device alone, {verb}", "ours",
                       time.monotonic() - began)


def run(runs, kind):
    series = Series(f"drivers on {kind.label}: 2 GiB, the guest idle "
                    "(seconds)", tuple(DRIVERS))
    for cmdline, suffix in VARIANTS.items():
        for number in range(runs):
            progress(f"driver{suffix}: {number + 1} of {runs}")
            guests = {label: kind(Machine(
                kernel=KERNEL, memory=512 * MIB, elastic=[Elastic(TOP)],
                cmdline=f"{driver} {cmdline}"))
                for label, driver in DRIVERS.items()}
            for row, samples in measure_guests(number, guests).items():
                series.add_run(f"{row}{suffix}", samples)
        for name, bound in ASKED[cmdline].items():
            series.bound(f"{name}{suffix}", **bound)
    for _ in range(runs):
        device_alone(kind, series)
    return series
