# SPDX-License-Identifier: BSD-3-Clause
"""kexec: the next kernel starts over what the last one plugged."""
import time

from harness import (GIB, MIB, OUR_DRIVER, expect, expect_equal, power_off,
                     resize_to, test)
from lib import kexec
from lib.agree import Witness
from lib.conformance import BareGuest
from lib.vmm import BARE, Elastic

CMDLINE = "console=ttyS0 quiet loglevel=3 init_on_alloc=0 agent.nodriver"


def plug(vmm, witness, size, holes):
    """Have size bytes plugged, with holes or without; some of it in use."""
    if holes:
        wanted = kexec.plug_every_other(vmm, "em0", size)
        witness.check()
        expect_equal("memory of the driver",
                     kexec.ranges(vmm, "System RAM (virtio_mem)"), wanted)
    else:
        resize_to(vmm, witness, "em0", size)
    vmm.console.ask("mark 192")


def start_next(vmm, size, options, last, module):
    """kexec, and what must be so before the new kernel's driver is there."""
    memory_map = kexec.firmware_map(vmm)
    if "-c" in options:
        # kexec-tools keep back the interrupt table of the BIOS, 1 KiB.
        memory_map[0] = (max(memory_map[0][0], 1 << 10), memory_map[0][1])
    kexec.load(vmm, CMDLINE, *options, again=not last)
    before = vmm.show()
    kexec.execute(vmm)
    after = vmm.show()
    for what in ("reboots", "pid"):
        expect_equal(what, after[what], before[what])
    old, new = before["elastic"][0], after["elastic"][0]
    for what in ("requested_bytes", "plugged_bytes"):
        expect_equal(f"{what} after a kexec", new[what], old[what])
    # The old kernel may touch some more on its way out.
    expect(old["resident_bytes"] <= new["resident_bytes"] <= size,
           f"the host held {old['resident_bytes']} bytes before a kexec, "
           f"{new['resident_bytes']} after it")
    expect_equal("the firmware's map", kexec.firmware_map(vmm), memory_map)
    top = kexec.ranges(vmm, "System RAM")[-1][1]
    expect(top <= 768 * MIB, f"the kernel takes memory up to {top:#x}")
    expect_equal("memory of the driver",
                 kexec.ranges(vmm, "System RAM (virtio_mem)"), [])
    witness = Witness(vmm, onlines=False)
    witness.onlines = True
    expect(witness.base < 768 * MIB, f"MemTotal {witness.base}")
    vmm.console.ask(f"insmod {module}.ko")
    vmm.wait_plugged("em0", size)
    vmm.mem_total_settled()
    witness.check()
    return witness


@test("kexec/in-a-row-6.1", kernel="6.1-cloud", few=2)
@test("kexec/in-a-row-6.12", kernel="6.12-cloud", few=1)
@test("kexec/in-a-row-our-driver-6.1", kernel="6.1-cloud", few=2,
      driver=OUR_DRIVER)
@test("kexec/in-a-row-our-driver-6.12", kernel="6.12-cloud", few=1,
      driver=OUR_DRIVER)
def in_a_row(lab, kernel, few, driver=""):
    """kexec again and again, by either system call, with 2 GiB plugged as one
    piece or as every other memory block: no reset, all memory kept until the
    new driver comes, never in the firmware's map, exact sizes in the end."""
    vmm, witness = lab.guest(kernel=kernel, guest="kexec", cpus=2,
                             memory=768 * MIB, max_bytes=16 * GIB,
                             cmdline=f"init_on_alloc=0 {driver}",
                             options=["--guard", "kill"])
    module = "bellows_mem" if driver else "virtio_mem"
    rounds = lab.rounds(few, 10)
    for number in range(rounds):
        plug(vmm, witness, 2 * GIB, holes=number % 2 == 0)
        call = "-s" if number % 4 < 2 else "-c"
        witness = start_next(vmm, 2 * GIB, (call, "-l"),
                             number == rounds - 1, module)
    resize_to(vmm, witness, "em0", 0)
    expect_equal("resets", vmm.show()["reboots"], 0)
    power_off(vmm)


def bus_master(vmm, on):
    """Set the command register of the first elastic device."""
    kexec.shell(vmm, "cd /sys/bus/pci/devices && for i in *; do "
                "case $(cat $i/device) in 0x1058) "
                f"printf '\\{6 if on else 2}' | "
                "dd of=$i/config bs=1 seek=4 conv=notrunc;; esac; done")


@test("kexec/queue-of-the-last-kernel")
def last_queue(lab):
    """A kernel that starts over another gives the bus to a device before it
    resets it: what the queue was in must not be touched, for it is the new
    kernel's."""
    vmm = lab.start(kernel=BARE, memory=64 * MIB, ready=False,
                    elastic=[Elastic(GIB, size_bytes=64 * MIB)])
    guest = BareGuest(vmm)
    for kind in ("split", "packed"):
        lines = guest.ask(f"bus {kind}")
        expect(lines[0] == "saw changed 0", f"{kind}: {lines}")
    expect_equal("exit status", guest.power_off(), 0)


@test("kexec/device-off-the-bus")
def off_the_bus(lab):
    """A kernel about to be replaced takes the bus from its devices: then the
    device neither interrupts nor touches memory, which may be another
    kernel's; with the bus it goes on where it was."""
    vmm, witness = lab.guest()
    resize_to(vmm, witness, "em0", 128 * MIB)
    requests = vmm.show()["elastic"][0]["requests"]
    bus_master(vmm, False)
    vmm.resize("em0", 256 * MIB)
    time.sleep(2)
    expect_equal("requests without the bus",
                 vmm.show()["elastic"][0]["requests"], requests)
    bus_master(vmm, True)
    vmm.wait_plugged("em0", 256 * MIB)
    witness.check()
    power_off(vmm)
