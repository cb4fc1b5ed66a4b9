# SPDX-License-Identifier: BSD-3-Clause
"""From the start of a reboot to the guest's first process, and to the moment
at which the host has the memory back."""
import time

from common import KERNEL, Series, in_turn, progress
from lib.vmm import GIB, MIB, Elastic, Machine

ABOUT = """\
Seconds from the command that makes the guest start again (its own reboot by
ACPI, keyboard controller or triple fault, a panic, or the host) to the line
that its init prints first; and to the moment at which the host holds less than
64 MiB for the elastic device, asked every 20 ms. One processor, 512 MiB, one
elastic device of 2 GiB, all plugged, 1.75 GiB of it in use, the stock kernel's
driver; the two VMMs in turn, all kinds in one life of each."""

SIZE = 2 * GIB
TOUCHED = SIZE - 256 * MIB
BACK = 64 * MIB

# What makes the guest start again. The kernel's way to do it can be changed
# while it runs, so that one machine serves for all kinds.
KINDS = {
    "ACPI": "acpi",
    "keyboard controller": "kbd",
    "triple fault": "triple",
    "panic": None,
    "asked by the host": None,
}


def restart(vmm, kind):
    """Returns the monotonic time at which it began."""
    way = KINDS[kind]
    if way:
        vmm.console.ask(f"sh echo {way} >/sys/kernel/reboot/type")
        vmm.console.ask("sh echo 1 >/sys/kernel/reboot/force")
    began = time.monotonic()
    if way:
        vmm.console.send("0 reboot\n")
    elif kind == "panic":
        vmm.console.send("0 sh echo c >/proc/sysrq-trigger\n")
    else:
        vmm.reset()
    return began


def fill(vmm):
    """Have the guest use what it was given."""
    vmm.wait_plugged("em0", SIZE)
    vmm.mem_total_settled()
    vmm.console.ask(f"load {TOUCHED // MIB} seq")
    deadline = time.monotonic() + 300
    while not all("filled=1" in row for row in vmm.console.ask("load")):
        if time.monotonic() > deadline:
            raise SystemExit(f"{vmm.label}: the guest's memory does not fill")
        time.sleep(0.2)


def one(vmm, series, kind, label):
    """Start again once, in that way."""
    fill(vmm)
    mark = vmm.console.mark()
    began = restart(vmm, kind)
    while vmm.status()["em0"]["resident"] >= BACK:
        time.sleep(0.02)
    back = time.monotonic() - began
    when, _, at = vmm.console.wait_for("BELLOWS-INIT", 120, mark,
                                       panics=False)
    vmm.wait_ready(since=at)
    row = f"to init, {kind}"
    series.add(row, label, when - began)
    series.bound(row, ratio=0.6)
    series.add(f"  memory back, {kind}", label, back)


def run(runs):
    series = Series("reboot with 2 GiB in use (seconds)")
    for number, label, kind in in_turn(runs):
        progress(f"reboot: {number + 1} of {runs}, {label}")
        machine = Machine(kernel=KERNEL, memory=512 * MIB,
                          elastic=[Elastic(SIZE, size_bytes=SIZE)],
                          cmdline="panic=-1")
        with kind(machine) as vmm:
            vmm.wait_init()
            vmm.wait_ready()
            for how in KINDS:
                one(vmm, series, how, label)
    return series
