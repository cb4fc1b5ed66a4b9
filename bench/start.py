# SPDX-License-Identifier: BSD-3-Clause
"""From exec of the VMM to the guest's first process."""
from common import KERNEL, Series, in_turn, progress
from lib.vmm import MIB, Machine

ABOUT = """\
Seconds from exec of the VMM to the line that the guest's init prints first.
Same stock kernel (bzImage), initramfs, command line, one processor, 512 MiB,
no elastic device; the two VMMs in turn. Bellows keeps what it unpacked of the
kernel at its first start."""


def run(runs):
    series = Series("start (seconds)")
    row = "exec to the guest's init"
    series.bound(row, ratio=0.6)
    for number, label, kind in in_turn(runs):
        progress(f"start: {number + 1} of {runs}, {label}")
        with kind(Machine(kernel=KERNEL, memory=512 * MIB)) as vmm:
            series.add(row, label, vmm.wait_init())
    return series
