# SPDX-License-Identifier: BSD-3-Clause
"""What the guard costs a guest that does nothing wrong."""
import time
from pathlib import Path

from common import (KERNEL, Series, pages_done, progress, start_load,
                    use_boot_memory)
from lib.bellows import BellowsVmm
from lib.vmm import GIB, MIB, Elastic, Machine, VmmError

ABOUT = """\
One guest of ours a run, whose guard is switched between report and off
(`bellows guard`), each measured in turn; who goes first changes. (--control: it
is off always, which shows what the bench makes of two that are alike.) A run's
ratio is the median of the ratios of two measurements in a row; the ratio is the
mean of the runs', ± its standard error. The guest has touched its boot memory
before. Grow and shrink: seconds from the request until the device has all of 2
GiB plugged, or unplugged, by the VMM's own clock (changed_ms_ago), looked at
every quarter of a second. The guest does not clear what it allocates
(init_on_alloc=0): no resize takes less, so the guard's part is at its largest.
Loop: seconds for a million pages of 1 GiB of elastic memory, checked and
written in random order. Processor: seconds that the VMM's threads ran
meanwhile, the guest's included. Device: what of a hundred parts of the time
the device's and the guard's threads ran; on less off is what the guard adds
there."""

CMDLINE = "init_on_alloc=0"
SIZE = 2 * GIB
LOOK_SECONDS = 0.25
LOOP_MIB = 1024
LOOP_SECONDS = 1
WARM_UP = 2             # pairs of measurements that do not count
RESIZES = 60            # pairs in a run that do
LOOPS = 10
POLICIES = {"on": "report", "off": "off"}
CONTROL = {"off, A": "off", "off, B": "off"}


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


def measure(vmm, what, policies, number, values):
    """With each of the policies, in turn."""
    order = list(policies.items())
    for label, policy in order if number % 2 == 0 else reversed(order):
        vmm.api("PUT", "/v1/vm/guard", {"policy": policy})
        for row, value in what(vmm):
            if number >= 0:
                values.setdefault(row, {}).setdefault(label, []).append(value)


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


def run(runs, control=False):
    policies = CONTROL if control else POLICIES
    title = "off and off, a control" if control else "on and off"
    series = Series(f"the guard, {title} (seconds)", tuple(policies))
    machine = Machine(kernel=KERNEL, memory=512 * MIB, elastic=[Elastic(SIZE)],
                      cmdline=CMDLINE, options=["--guard", "report"])
    for number in range(runs):
        progress(f"guard: {number + 1} of {runs}")
        values = {}
        with BellowsVmm(machine) as vmm:
            vmm.wait_ready()
            use_boot_memory(vmm)
            for resize in range(-WARM_UP, RESIZES):
                measure(vmm, resize_once, policies, resize, values)
            vmm.resize("em0", SIZE)
            vmm.wait_plugged("em0", SIZE)
            vmm.mem_total_settled()
            start_load(vmm, LOOP_MIB)
            for loop in range(LOOPS):
                measure(vmm, loop_once, policies, loop, values)
        for row, samples in values.items():
            series.add_run(row, samples)
            if not row.startswith(" "):
                series.bound(row, ratio=1.02)
    return series
