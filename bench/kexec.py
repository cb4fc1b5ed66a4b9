# SPDX-License-Identifier: BSD-3-Clause
"""From `kexec -e` to the next kernel's first process."""
import subprocess

from common import KERNEL, ROOT, Series, in_turn, progress
from lib import kexec
from lib.vmm import GIB, MIB, Elastic, Machine

ABOUT = """\
Seconds from just before `kexec -e` in the guest until the next kernel's init
says its first line. The same stock kernel and initramfs, loaded by kexec_file_load;
one processor, 768 MiB, 2 GiB plugged, the VMM started anew for each run."""

SIZE = 2 * GIB


def prepare():
    """Make what the guest needs; outside of the lab, where files last."""
    subprocess.run([str(ROOT / "guest" / "image"), f"{KERNEL}.kexec"],
                   check=True)


def run(runs):
    series = Series("kexec, with 2 GiB plugged (seconds)")
    for number, label, kind in in_turn(runs):
        progress(f"kexec: {number + 1} of {runs}, {label}")
        machine = Machine(kernel=KERNEL, guest="kexec", memory=768 * MIB,
                          elastic=[Elastic(SIZE)],
                          cmdline="init_on_alloc=0")
        with kind(machine) as vmm:
            vmm.wait_init()
            vmm.wait_ready()
            vmm.resize("em0", SIZE)
            vmm.wait_plugged("em0", SIZE, timeout=120)
            vmm.mem_total_settled()
            kexec.load(vmm, machine.full_cmdline(), "-s", "-l")
            began, ended = kexec.execute(vmm)
            series.add("kexec to the guest's init", label, ended - began)
    return series
