# SPDX-License-Identifier: BSD-3-Clause
"""Growing and shrinking a guest by 2 GiB."""
import mmap
import random
import time
from pathlib import Path

from common import (KERNEL, KINDS, TOP, VARIANTS, Series, climb, progress,
                    side_by_side)
from lib.vmm import KIB, MIB, Elastic, Machine

ABOUT = """\
Seconds from the request until the device has 2 GiB more plugged, or less.
Either VMM is asked every 50 ms or so, at random: in an emulated host, a
question takes up to half as long, and who asks more often measures that. The
moment is taken to be in the middle between the last two questions. Processor:
seconds that the VMM's process took meanwhile, the guest's and those of answers
included. A run has both VMMs' guests live side by side, idle but for the one
that is measured; each goes by 2 GiB from nothing to 8 GiB and back, three times,
one step each in turn. First: the first time up. A run's figure is the median of
its steps, its ratio the median of the ratios of two steps in turn; the ratio is
the mean of the runs', ± its standard error. One processor, 512 MiB, one elastic
device in blocks of 2 MiB, memory brought online as movable, the stock kernel's
own driver. Stock Debian kernels clear memory when it is allocated
(init_on_alloc=1), and so does their driver with memory that it gives back.
Before all that, every page of the host is touched once: an emulated one's cost
more the first time; each guest has used its boot memory, and either VMM has
been asked once."""

LOOK = 0.05
TIMEOUT = 120


def touch_host():
    """Write to all the memory that the host has free."""
    words = Path("/proc/meminfo").read_text().split()
    free = int(words[words.index("MemAvailable:") + 1]) * KIB
    with mmap.mmap(-1, free // 10 * 9 // MIB * MIB) as memory:
        for at in range(0, len(memory), mmap.PAGESIZE):
            memory[at] = 1


def timed(vmm, size):
    """Resize, wait for it; seconds, and processor seconds of the VMM."""
    cpu, began = sum(vmm.cpu_seconds()), time.monotonic()
    vmm.resize("em0", size)
    last = began
    while True:
        asked = time.monotonic()
        if vmm.plugged("em0") == size:
            break
        if asked > began + TIMEOUT:
            raise SystemExit(f"{vmm.label}: not {size // MIB} MiB after "
                             f"{TIMEOUT} s")
        last = asked
        time.sleep(2 * LOOK * random.random())
    return (last + asked) / 2 - began, sum(vmm.cpu_seconds()) - cpu


def run(runs):
    series = Series("resize by 2 GiB (seconds)")
    touch_host()
    for cmdline, suffix in VARIANTS.items():
        machine = Machine(kernel=KERNEL, memory=512 * MIB,
                          elastic=[Elastic(TOP)], cmdline=cmdline)
        for number in range(runs):
            progress(f"resize{suffix}: {number + 1} of {runs}")
            guests = {label: kind(machine) for label, kind in KINDS.items()}

            def measure(label, verb, size, first):
                seconds, cpu = timed(guests[label], size)
                name = f"{verb}{' first' * (first and verb == 'grow')}{suffix}"
                return {name: seconds, f"  processor, {name}": cpu}

            with side_by_side(number, guests):
                values = climb(number, guests, measure)
            for row, samples in values.items():
                series.add_run(row, samples)
                if not row.startswith(" "):
                    series.bound(row, ratio=1.0)
    return series
