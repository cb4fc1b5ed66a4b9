# SPDX-License-Identifier: BSD-3-Clause
"""Growing and shrinking a guest by 2 GiB."""
import mmap
import random
import time
from pathlib import Path

from common import KERNEL, Series, in_turn, progress, use_boot_memory
from lib.vmm import GIB, KIB, MIB, Elastic, Machine

ABOUT = """\
Seconds from the request until the device has all of it plugged, or unplugged.
Either VMM is asked every 50 ms or so, at random: in an emulated host, a
question takes up to half as long, and who asks more often measures that. The
moment is taken to be in the middle between the last two questions. Processor:
seconds that the VMM's process took meanwhile, the guest's and those of answers
included. One processor, 512 MiB, one elastic device of 2 GiB in blocks of 2
MiB, the guest idle, memory brought online as movable, the stock kernel's own
driver. Stock Debian kernels clear memory when it is allocated
(init_on_alloc=1), and so does their driver with memory that it gives back.
Before all that, every page of the host is touched once: an emulated one's cost
more the first time; and each guest has used its boot memory, of which QEMU's
firmware and a kernel that unpacks itself touch more than a start of ours does:
what the guest needs to grow would be new to one host, and not to the other. For
the same reason either VMM has been asked before: to start QEMU is to ask it."""

SIZE = 2 * GIB
LOOK = 0.05
TIMEOUT = 120
AGAIN = 3                   # after the first time, in each guest
VARIANTS = {"": "", "init_on_alloc=0": ", not cleared"}


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


def one(vmm, series, suffix, label, first):
    """Grow and shrink once."""
    for verb, target in (("grow", SIZE), ("shrink", 0)):
        seconds, cpu = timed(vmm, target)
        name = f"{verb}{' first' if first and target else ''}{suffix}"
        series.add(name, label, seconds)
        series.add(f"  processor, {name}", label, cpu)
        series.bound(name, ratio=1.0)
        time.sleep(0.3)


def run(runs):
    series = Series("resize by 2 GiB (seconds)")
    touch_host()
    for cmdline, suffix in VARIANTS.items():
        for number, label, kind in in_turn(runs):
            progress(f"resize{suffix}: {number + 1} of {runs}, {label}")
            machine = Machine(kernel=KERNEL, memory=512 * MIB,
                              elastic=[Elastic(SIZE)], cmdline=cmdline)
            with kind(machine) as vmm:
                vmm.wait_init()
                vmm.wait_ready()
                use_boot_memory(vmm)
                timed(vmm, 0)
                time.sleep(0.5)
                one(vmm, series, suffix, label, True)
                for _ in range(AGAIN):
                    one(vmm, series, suffix, label, False)
    return series
