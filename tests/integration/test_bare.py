# SPDX-License-Identifier: BSD-3-Clause
"""The driver core in the bare guest: it follows what the host requests."""
import random
import re

from harness import expect, expect_equal, expect_no_offence, test
from lib.bellows import BellowsVmm
from lib.conformance import BareGuest
from lib.qemu import QemuVmm
from lib.vmm import BARE, GIB, MIB, Elastic, Machine

SIZES = [512, 100, 102, 2, 0, 30]


def follow(vmm, guest, size):
    """Request a size, and see guest, device and host agree on it."""
    vmm.resize("em0", size)
    line, = guest.ask("drive 0")
    used = int(re.search(r"used=(\d+)", line)[1])
    expect_equal("used by the guest", used, size)
    # The guest is answered before the host has its memory back.
    vmm.wait_plugged("em0", size)
    device = vmm.status()["em0"]
    expect(device["resident"] <= size, f"resident {device['resident']}")


def breathe(lab, kind):
    vmm = kind(Machine(kernel=BARE, memory=64 * MIB,
                       elastic=[Elastic(2 * GIB)]))
    lab.vmms.append(vmm)
    guest = BareGuest(vmm.start())
    for mib in SIZES:
        follow(vmm, guest, mib * MIB)
    chance = random.Random(1)
    for _ in range(lab.rounds(2, 500)):
        follow(vmm, guest, chance.randrange(0, 257) * 2 * MIB)
    if kind is BellowsVmm:
        expect_no_offence(vmm, settled=True)
    expect_equal("exit status", guest.power_off(), 0)


@test("bare/driver-core")
def driver_core(lab):
    """Up and down, to the block, in our VMM."""
    breathe(lab, BellowsVmm)


@test("bare/driver-core-in-qemu")
def driver_core_in_qemu(lab):
    """The same core with QEMU's device."""
    breathe(lab, QemuVmm)
