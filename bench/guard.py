# SPDX-License-Identifier: BSD-3-Clause
"""What the guard costs a guest that does nothing wrong."""
import time

from common import KERNEL, Series, progress, timed_resize
from lib.bellows import BellowsVmm
from lib.vmm import GIB, MIB, Elastic, Machine

ABOUT = """\
Two guests of ours, one with --guard report, one with --guard off, side by side
and measured in turn, one paused while the other is measured; who goes first
changes. Grow and shrink: seconds from the request until the device has all of
2 GiB plugged, or unplugged, asked every 5 ms. The guests do not clear what they
allocate (init_on_alloc=0): no resize takes less, so the guard's part is at its
largest. Loop: seconds for a million pages of 1 GiB of elastic memory, checked
and written in random order. Processor: seconds that the VMM's process took
meanwhile, the guest's included. Ratios are on over off."""

CMDLINE = "init_on_alloc=0"
SIZE = 2 * GIB
LOOP_MIB = 1024
LOOP_SECONDS = 1
WARM_UP = 4     # resizes that do not count: the first take several times longer
RESIZES = 10    # and loops, of each run: one differs from the next by a fifth
LOOPS = 8
POLICIES = {"on": "report", "off": "off"}


def pages_done(vmm):
    row, = vmm.console.ask("load")
    words = dict(word.split("=") for word in row.split())
    assert words["errors"] == "0", row
    return int(words["pages"]), words["filled"] == "1"


class Pair:
    """The two guests."""

    def __init__(self, cmdline):
        self.vmms = {}
        for label, policy in POLICIES.items():
            machine = Machine(kernel=KERNEL, memory=512 * MIB,
                              elastic=[Elastic(SIZE)], cmdline=cmdline,
                              options=["--guard", policy])
            self.vmms[label] = BellowsVmm(machine).start()

    def __enter__(self):
        for vmm in self.vmms.values():
            vmm.wait_init()
            vmm.wait_ready()
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
                other.cli("pause", check=True)
            yield label, vmm
            for other in others:
                other.cli("resume", check=True)


def resize_once(vmm):
    """[(row, seconds, seconds of processor)]"""
    rows = []
    for verb, target in (("grow", SIZE), ("shrink", 0)):
        rows.append((f"{verb} 2 GiB", *timed_resize(vmm, target)))
        time.sleep(0.1)
    return rows


def loop_once(vmm):
    pages, cpu, began = (pages_done(vmm)[0], sum(vmm.cpu_seconds()),
                         time.monotonic())
    time.sleep(LOOP_SECONDS)
    done = (pages_done(vmm)[0] - pages) / 1e6
    return [("loop over 1 GiB, a million pages",
             (time.monotonic() - began) / done,
             (sum(vmm.cpu_seconds()) - cpu) / done)]


def measure(series, pair, what, number):
    for label, vmm in pair.in_turn(number):
        for name, seconds, cpu in what(vmm):
            if number < 0:
                continue
            series.add(name, label, seconds)
            series.add(f"  processor, {name}", label, cpu)
            series.bound(name, ratio=1.02)


def start_load(pair):
    for vmm in pair.vmms.values():
        vmm.resize("em0", SIZE)
        vmm.wait_plugged("em0", SIZE)
        vmm.mem_total_settled()
        vmm.console.ask(f"load {LOOP_MIB} random")
        while not pages_done(vmm)[1]:
            time.sleep(0.2)


def run(runs):
    series = Series("the guard, on and off (seconds)", ("on", "off"))
    with Pair(CMDLINE) as pair:
        for number in range(-WARM_UP, runs * RESIZES):
            progress(f"guard: resize {number + 1} of {runs * RESIZES}")
            measure(series, pair, resize_once, number)
        start_load(pair)
        for number in range(runs * LOOPS):
            progress(f"guard: loop {number + 1} of {runs * LOOPS}")
            measure(series, pair, loop_once, number)
    return series
