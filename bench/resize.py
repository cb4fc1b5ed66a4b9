# SPDX-License-Identifier: BSD-3-Clause
"""Growing and shrinking a guest by 2 GiB."""
import time

from common import KERNEL, Series, in_turn, progress, timed_resize
from lib.vmm import GIB, MIB, Elastic, Machine

ABOUT = """\
Seconds from the request until the device has all of it plugged, or unplugged,
asked every 5 ms; and processor seconds that the VMM's process took meanwhile,
the guest's included. One processor, 512 MiB, one elastic device of 2 GiB in
blocks of 2 MiB, the guest idle, memory brought online as movable, the stock
kernel's own driver. Stock Debian kernels clear memory when it is allocated
(init_on_alloc=1), and so does their driver with memory that it gives back."""

SIZE = 2 * GIB
VARIANTS = {"": "", "init_on_alloc=0": ", not cleared"}


def one(vmm, series, suffix, label, first):
    """Grow and shrink once."""
    for verb, target in (("grow", SIZE), ("shrink", 0)):
        seconds, cpu = timed_resize(vmm, target)
        name = f"{verb}{' first' if first and target else ''}{suffix}"
        series.add(name, label, seconds)
        series.add(f"  processor, {name}", label, cpu)
        series.bound(name, ratio=1.0)
        time.sleep(0.3)


def run(runs):
    series = Series("resize by 2 GiB (seconds)")
    for cmdline, suffix in VARIANTS.items():
        for number, label, kind in in_turn(runs):
            progress(f"resize{suffix}: {number + 1} of {runs}, {label}")
            machine = Machine(kernel=KERNEL, memory=512 * MIB,
                              elastic=[Elastic(SIZE)], cmdline=cmdline)
            with kind(machine) as vmm:
                vmm.wait_init()
                vmm.wait_ready()
                time.sleep(0.5)
                one(vmm, series, suffix, label, True)
                one(vmm, series, suffix, label, False)
    return series
