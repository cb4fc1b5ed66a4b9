# SPDX-License-Identifier: BSD-3-Clause
"""Nothing grows with use: files, mappings, threads, memory, files in /tmp."""
import os
from pathlib import Path

from harness import (KIB, MIB, expect, expect_equal, power_off, resize_to,
                     test)


def usage(vmm):
    """What the VMM's process has of everything."""
    folder = Path(f"/proc/{vmm.pid}")
    mappings = (folder / "maps").read_text().splitlines()
    return {"files": len(os.listdir(folder / "fd")),
            "threads": len(os.listdir(folder / "task")),
            "mappings": len(mappings),
            "children": (folder / f"task/{vmm.pid}/children").read_text(),
            "in /tmp": len(os.listdir("/tmp")),
            "in /dev/shm": len(os.listdir("/dev/shm"))}


def unchanged(vmm, before, own):
    expect_equal("usage", usage(vmm), before)
    grown = vmm.own_resident() - own
    expect(grown <= 512 * KIB, f"the VMM itself grew by {grown // KIB} KiB")


@test("leaks/resizes")
def resizes(lab):
    """Fifty resizes, and as many questions, leave the process as it was."""
    vmm, witness = lab.guest(cmdline="init_on_alloc=0")
    for size in (512, 0, 2, 0):
        resize_to(vmm, witness, "em0", size * MIB)
    before, own = usage(vmm), vmm.own_resident()
    for number in range(50):
        size = 2 * (number * 37 % 256) * MIB
        vmm.resize("em0", size)
        vmm.wait_plugged("em0", size)
    resize_to(vmm, witness, "em0", 0)
    unchanged(vmm, before, own)
    power_off(vmm)


@test("leaks/reboots")
def reboots(lab):
    """Reboots with memory plugged leave the process as it was."""
    vmm, witness = lab.guest(cpus=2)
    resize_to(vmm, witness, "em0", 256 * MIB)

    def again():
        mark = vmm.console.mark()
        vmm.reset()
        vmm.wait_ready(since=mark)
        vmm.wait_plugged("em0", 256 * MIB)
        witness.check()

    again()
    before, own = usage(vmm), vmm.own_resident()
    for _ in range(lab.rounds(3, 20)):
        again()
    unchanged(vmm, before, own)
    power_off(vmm)


@test("leaks/files-after-the-end")
def after_the_end(lab):
    """A machine that ends, in any way, takes its socket along."""
    def listing():
        found = set()
        for folder in ("/tmp", "/run", "/run/bellows", "/dev/shm"):
            if os.path.isdir(folder):
                found |= {f"{folder}/{name}" for name in os.listdir(folder)}
        return found

    lab.start(ready=False).close()
    before = listing()
    for end in ("poweroff", "term"):
        vmm = lab.start()
        if end == "poweroff":
            power_off(vmm)
        else:
            vmm.process.terminate()
            vmm.wait_end()
        vmm.close()
    expect_equal("files left", listing() - before, set())
