# SPDX-License-Identifier: BSD-3-Clause
"""Memory that the VMM takes for itself."""
import time

from common import KERNEL, Series, in_turn, progress
from lib.vmm import GIB, MIB, Elastic, Machine

ABOUT = """\
MiB of the VMM's own: Rss of all its mappings in /proc/PID/smaps, added up, but
for those that hold guest memory (the files or ranges that back the guest's
boot memory and elastic devices). Shared libraries count in full, for both. The
guest has booted and is idle."""


def run(runs):
    series = Series("memory of the VMM itself (MiB)")
    row = "resident, guest idle after boot"
    series.bound(row, ratio=0.1, value=4)
    for number, label, kind in in_turn(runs):
        progress(f"memory: {number + 1} of {runs}, {label}")
        machine = Machine(kernel=KERNEL, memory=512 * MIB,
                          elastic=[Elastic(2 * GIB)])
        with kind(machine) as vmm:
            vmm.wait_init()
            vmm.wait_ready()
            time.sleep(1)
            series.add(row, label, vmm.own_resident() / MIB)
    return series
