# SPDX-License-Identifier: BSD-3-Clause
"""What the guard costs a guest that does nothing wrong."""
import ctypes
import time
from pathlib import Path

from common import (KERNEL, Series, pages_done, progress, start_load,
                    use_boot_memory)
from lib.bellows import BellowsVmm
from lib.vmm import GIB, MIB, Elastic, Machine, VmmError

ABOUT = """\
Two guests of ours, one with --guard report, one with --guard off (--control:
both off, which shows what the bench makes of two that are alike); two fresh
pairs a run. The two of a pair are measured in turn, one paused while the other
is measured; who boots first and who goes first changes. A pair's ratio is the
median of the ratios of two measurements in a row; the ratio is the mean of the
pairs', ± its standard error. Neither the VMM's addresses nor those of the
guest's kernel are random, and the guest has touched its boot memory before.
Grow and shrink: seconds from the request until the device has all of 2 GiB
plugged, or unplugged, by the VMM's own clock (changed_ms_ago), looked at every
quarter of a second. The guests do not clear what they allocate
(init_on_alloc=0): no resize takes less, so the guard's part is at its largest.
Loop: seconds for a million pages of 1 GiB of elastic memory, checked and
written in random order. Processor: seconds that the VMM's threads ran
meanwhile, the guest's included. Device: what of a hundred parts of the time
the device's and the guard's threads ran; on less off is what the guard adds
there."""

CMDLINE = "init_on_alloc=0 nokaslr"
SIZE = 2 * GIB
LOOK_SECONDS = 0.25
LOOP_MIB = 1024
LOOP_SECONDS = 1
PAIRS = 2               # a run
WARM_UP = 2             # resizes that do not count
RESIZES = 14            # of a pair that do
LOOPS = 4
POLICIES = {"on": "report", "off": "off"}
CONTROL = {"off, A": "off", "off, B": "off"}
ADDR_NO_RANDOMIZE = 0x0040000


def cpu_seconds(vmm):
    """What its threads ran, to the nanosecond: (all, device's and guard's)."""
    ran = {False: 0, True: 0}
    for task in Path(f"/proc/{vmm.pid}/task").iterdir():
        name = (task / "comm").read_text()
        ran[name.startswith(("em-", "guard-"))] += int(
            (task / "schedstat").read_text().split()[0]) / 1e9
    return ran[False] + ran[True], ran[True]


def timed_resize(vmm, size):
    """Resize, look now and then, and have the VMM say when it was over."""
    cpu, began = cpu_seconds(vmm), time.monotonic()
    vmm.resize("em0", size)
    for _ in range(400):
        time.sleep(LOOK_SECONDS)
        now = time.monotonic()
        device, = vmm.show()["elastic"]
        if device["plugged_bytes"] == size:
            seconds = now - device["changed_ms_ago"] / 1000 - began
            every, own = (b - a for a, b in zip(cpu, cpu_seconds(vmm)))
            return seconds, every, 100 * own / seconds
    raise VmmError(f"a resize to {size // MIB} MiB does not end: {device}")


class Pair:
    """The two guests of a run."""

    def __init__(self, policies, number):
        self.vmms = {}
        order = list(policies.items())
        for label, policy in order if number % 2 == 0 else reversed(order):
            machine = Machine(kernel=KERNEL, memory=512 * MIB,
                              elastic=[Elastic(SIZE)], cmdline=CMDLINE,
                              options=["--guard", policy])
            self.vmms[label] = BellowsVmm(machine).start()
            self.vmms[label].wait_ready()
        self.values = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for vmm in self.vmms.values():
            vmm.close()

    def in_turn(self, number):
        """Each, while the other is paused."""
        order = list(self.vmms.items())
        for label, vmm in order if number % 2 == 0 else reversed(order):
            others = [v for v in self.vmms.values() if v is not vmm]
            for other in others:
                other.api("POST", "/v1/vm/pause")
            yield label, vmm
            for other in others:
                other.api("POST", "/v1/vm/resume")

    def measure(self, what, number):
        for label, vmm in self.in_turn(number):
            for row, value in what(vmm):
                if number >= 0:
                    self.values.setdefault(row, {}).setdefault(
                        label, []).append(value)

    def add_to(self, series):
        for row, values in self.values.items():
            series.add_pair(row, values)
            if not row.startswith(" "):
                series.bound(row, ratio=1.02)


def resize_once(vmm):
    """[(row, value)]"""
    rows = []
    for verb, size in (("grow", SIZE), ("shrink", 0)):
        seconds, cpu, share = timed_resize(vmm, size)
        rows += [(f"{verb} 2 GiB", seconds), (f"  processor, {verb}", cpu),
                 (f"  device, {verb}, %", share)]
    return rows


def loop_once(vmm):
    pages, cpu, began = pages_done(vmm)[0], cpu_seconds(vmm), time.monotonic()
    time.sleep(LOOP_SECONDS)
    done = (pages_done(vmm)[0] - pages) / 1e6
    return [("loop, a million pages", (time.monotonic() - began) / done),
            ("  processor, loop", (cpu_seconds(vmm)[0] - cpu[0]) / done)]


def start_loops(pair):
    for vmm in pair.vmms.values():
        vmm.resize("em0", SIZE)
        vmm.wait_plugged("em0", SIZE)
        vmm.mem_total_settled()
        start_load(vmm, LOOP_MIB)


def run(runs, control=False):
    policies = CONTROL if control else POLICIES
    title = "off and off, a control" if control else "on and off"
    series = Series(f"the guard, {title} (seconds)", tuple(policies))
    ctypes.CDLL(None).personality(ADDR_NO_RANDOMIZE)    # and all it starts
    for number in range(PAIRS * runs):
        progress(f"guard: pair {number + 1} of {PAIRS * runs}")
        with Pair(policies, number) as pair:
            for vmm in pair.vmms.values():
                use_boot_memory(vmm)
            for resize in range(-WARM_UP, RESIZES):
                pair.measure(resize_once, resize)
            start_loops(pair)
            for loop in range(LOOPS):
                pair.measure(loop_once, loop)
            pair.add_to(series)
    return series
