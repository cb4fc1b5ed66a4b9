# SPDX-License-Identifier: BSD-3-Clause
"""Guests with our own Linux driver, bellows_mem, in place of virtio_mem."""
import re

from harness import (DRIVER_FOLDER, GIB, MIB, OUR_DRIVER, Elastic,
                     check_load, dmesg, driver_told, expect, expect_clean,
                     expect_equal, power_off, resize_to, test, wait_filled,
                     wait_until)
from lib import disk
from lib.qemu import QemuVmm
from lib.vmm import Node
from test_innocent import expect_innocent, read_devmem

CACHED_MIB = 64                 # clean, and as much dirty


@test("linux/steps-6.1-cloud", kernel="6.1-cloud")
@test("linux/steps-6.12-generic", kernel="6.12-generic")
@test("linux/steps-qemu", kernel="6.12-cloud", kind=QemuVmm)
def steps(lab, kernel, kind=None):
    """Every step counts to the page, on a guest whose own policy was left as
    the distribution has it."""
    vmm, witness = lab.guest(
        kernel=kernel, kind=kind, max_bytes=2 * GIB,
        cmdline=f"{OUR_DRIVER} agent.online=stock bellows_mem.online=movable")
    for size in (2048, 0, 2, 4, 128, 130, 2046, 640, 638, 128, 126, 2, 0):
        resize_to(vmm, witness, "em0", size * MIB)
    expect_clean(vmm)
    power_off(vmm)


@test("linux/shrinking-writes-to-nothing")
def writes_nothing(lab):
    """A kernel that clears what it allocates does not clear what it returns:
    the host holds no more while the guest shrinks than before."""
    vmm, witness = lab.guest(max_bytes=2 * GIB, cmdline=OUR_DRIVER)
    resize_to(vmm, witness, "em0", 2 * GIB)
    held = [vmm.status()["em0"]["resident"]]
    vmm.resize("em0", 0)

    def gone():
        device = vmm.status()["em0"]
        held.append(device["resident"])
        return device["plugged"] == 0

    wait_until("all is given back", gone)
    expect(max(held) <= held[0], f"the host held {max(held) // MIB} MiB "
           f"during the shrink, {held[0] // MIB} MiB before")
    witness.check()
    power_off(vmm)


@test("linux/page-cache-movable-6.1", kernel="6.1-cloud", zone="movable")
@test("linux/page-cache-kernel-6.12", kernel="6.12-cloud", zone="kernel")
def page_cache(lab, kernel, zone):
    """What is clean of the page cache is dropped. What is dirty is moved or,
    beside pages that cannot be, written first. Every file stays whole."""
    vmm, witness = lab.guest(
        kernel=kernel, guest="load", memory=512 * MIB, max_bytes=512 * MIB,
        cmdline=f"{OUR_DRIVER} bellows_mem.online={zone}")
    disk.make(vmm, GIB, keeps=True)
    resize_to(vmm, witness, "em0", 512 * MIB)
    vmm.console.ask("sh echo 0 >/proc/sys/vm/dirty_writeback_centisecs")
    files = []
    for name in ("clean", "dirty"):
        vmm.console.ask(
            f"sh cd {disk.FOLDER} && i=0 && while [ $i -lt {CACHED_MIB} ]; do "
            f"dd if=/dev/urandom of=part bs=256k count=1 2>/dev/null && "
            f"cat part part part part >>{name}; i=$((i + 1)); done")
        files += vmm.console.ask(f"sh md5sum {disk.FOLDER}/{name}")
        if name == "clean":
            vmm.console.ask("sh sync")
    vmm.resize("em0", 0)
    if zone == "movable":
        vmm.wait_plugged("em0", 0)
    # The disk's own memory is the kernel's, and stays.
    least = CACHED_MIB // 2 if zone == "movable" else CACHED_MIB * 3 // 2
    wait_until("it is dropped", lambda: int(
        driver_told(vmm, "counters")["dropped"]) >= least * MIB)
    expect_equal("the files", vmm.console.ask(
        f"sh md5sum {disk.FOLDER}/clean {disk.FOLDER}/dirty"), files)
    expect_clean(vmm)
    power_off(vmm)


@test("linux/zones")
def zones(lab):
    """Memory for the kernel is counted and given back like the rest, down to
    what the kernel itself keeps there, and the driver says what that is."""
    vmm, witness = lab.guest(cmdline=f"{OUR_DRIVER} bellows_mem.online=kernel",
                             kernel="6.12-cloud")
    for size in (512, 1024, 700, 702):
        resize_to(vmm, witness, "em0", size * MIB)
    vmm.resize("em0", 0)
    wait_until("most is given back", lambda:
               vmm.status()["em0"]["plugged"] <= 128 * MIB)
    if vmm.status()["em0"]["plugged"] > 0:
        wait_until("a reason",
                   lambda: "holder" in driver_told(vmm, "shortfall"))
        why = driver_told(vmm, "shortfall")
        expect(why["holder"] in ("slab", "kernel", "page-table", "reserved"),
               f"shortfall: {why}")
    expect_clean(vmm)
    power_off(vmm)


@test("linux/auto-keeps-a-share-for-the-kernel")
def auto(lab):
    """With online=auto at most three parts in four are movable."""
    vmm, witness = lab.guest(
        max_bytes=4 * GIB, cmdline=f"{OUR_DRIVER} agent.online=stock")
    resize_to(vmm, witness, "em0", 4 * GIB)
    rows = vmm.console.ask(
        "sh grep -E '^Node|managed' /proc/zoneinfo")
    zone, managed = None, {}
    for row in rows:
        found = re.match(r"Node \d+, zone +(\w+)", row)
        zone = found[1] if found else zone
        found = re.match(r" +managed +(\d+)", row)
        if found:
            managed[zone] = managed.get(zone, 0) + int(found[1])
    movable = managed.pop("Movable")
    expect(movable > 0, "nothing is movable")
    expect(movable <= 3.05 * sum(managed.values()),
           f"{movable} pages are movable, {sum(managed.values())} are not")
    power_off(vmm)


@test("linux/beside-upstream")
def beside(lab):
    """A device that virtio_mem has stays virtio_mem's, and that is said."""
    vmm, witness = lab.guest()
    vmm.console.ask("insmod bellows_mem.ko")
    resize_to(vmm, witness, "em0", 256 * MIB)
    expect(dmesg(vmm, "virtio_mem is loaded, too"), "nothing said")
    resize_to(vmm, witness, "em0", 0)
    vmm.console.ask("rmmod bellows_mem")
    power_off(vmm)


@test("linux/unloaded-and-loaded")
@test("linux/unloaded-and-loaded-qemu", kind=QemuVmm)
def unloaded(lab, kind=None):
    """The module goes only once its memory was given back."""
    vmm, witness = lab.guest(cmdline=OUR_DRIVER, kind=kind)
    for _ in range(lab.rounds(2, 10)):
        resize_to(vmm, witness, "em0", 256 * MIB)
        status, _ = vmm.console.command("rmmod bellows_mem")
        expect(status != 0, "unloaded with memory in use")
        vmm.console.ask(f"sh echo 1 > $(ls -d {DRIVER_FOLDER})/drain")
        vmm.wait_plugged("em0", 0)
        wait_until("unloaded", lambda: vmm.console.command(
            "rmmod bellows_mem")[0] == 0)
        vmm.console.ask("insmod bellows_mem.ko")
        vmm.wait_plugged("em0", 256 * MIB)
        witness.check()
        resize_to(vmm, witness, "em0", 0)
    expect_clean(vmm)
    power_off(vmm)


@test("linux/reboot")
def reboot(lab):
    """A reboot with memory plugged and used begins anew, and gets it again."""
    vmm, witness = lab.guest(cmdline=OUR_DRIVER)
    resize_to(vmm, witness, "em0", 514 * MIB)
    mark = vmm.console.mark()
    vmm.reset()
    vmm.wait_ready(since=mark)
    vmm.wait_plugged("em0", 514 * MIB)
    witness.check()
    resize_to(vmm, witness, "em0", 0)
    power_off(vmm)


def refusals_to_sleep(vmm, how):
    """Have the guest suspend its devices and wake them again, which is all
    that its kernel does of a sleep here; how often our driver refused."""
    vmm.console.ask("sh echo devices >/sys/power/pm_test")
    vmm.console.command(f"sh echo {how} >/sys/power/state")
    tried = {"freeze": "suspend entry", "disk": "hibernation entry"}[how]
    rows = dmesg(vmm, f"{tried}|the machine cannot sleep")
    expect(any(tried in row for row in rows), f"no {tried}")
    return sum("the machine cannot sleep" in row for row in rows)


@test("linux/sleep", kernel="6.1-generic")
@test("linux/sleep-6.12", kernel="6.12-generic")
def sleeps(lab, kernel):
    """Where the device keeps its memory over a suspend the guest may sleep,
    and finds in its memory what it had there; it may not hibernate."""
    vmm, witness = lab.guest(kernel=kernel, cmdline=OUR_DRIVER)
    resize_to(vmm, witness, "em0", 514 * MIB)
    vmm.console.ask("load 300 random")
    wait_filled(vmm)
    expect_equal("refusals to suspend", refusals_to_sleep(vmm, "freeze"), 0)
    check_load(vmm)
    for size in (1024, 512):
        resize_to(vmm, witness, "em0", size * MIB)
    expect_equal("refusals to hibernate", refusals_to_sleep(vmm, "disk"), 1)
    check_load(vmm)
    vmm.console.ask("load stop")
    resize_to(vmm, witness, "em0", 0)
    expect_clean(vmm)
    power_off(vmm)


@test("linux/sleep-refused-qemu", kind=QemuVmm)
def sleep_refused(lab, kind):
    """QEMU's older device does not promise to keep its memory: with memory
    added the guest neither suspends nor hibernates, without it does."""
    vmm, witness = lab.guest(kernel="6.1-generic", kind=kind,
                             cmdline=OUR_DRIVER)
    resize_to(vmm, witness, "em0", 258 * MIB)
    expect_equal("refusals to suspend", refusals_to_sleep(vmm, "freeze"), 1)
    expect_equal("refusals to hibernate", refusals_to_sleep(vmm, "disk"), 2)
    witness.check()
    resize_to(vmm, witness, "em0", 0)
    expect_equal("refusals with none", refusals_to_sleep(vmm, "freeze"), 2)
    for size in (256, 0):
        resize_to(vmm, witness, "em0", size * MIB)
    expect_clean(vmm)
    power_off(vmm)


@test("linux/region-is-closed")
def region(lab):
    """The guest's root cannot have memory that is not plugged mapped."""
    vmm, witness = lab.guest(kernel="6.1-generic", max_bytes=2 * GIB,
                             cmdline=OUR_DRIVER)
    for size in (258, 0):
        resize_to(vmm, witness, "em0", size * MIB)
        read_devmem(vmm)
        expect_innocent(vmm)
    power_off(vmm)


@test("linux/larger-blocks")
def larger(lab):
    """A device whose blocks are larger than Linux's."""
    vmm, witness = lab.guest(
        elastic=[Elastic(2 * GIB, block_bytes=256 * MIB)], cmdline=OUR_DRIVER)
    for size in (256, 2048, 1024, 0):
        resize_to(vmm, witness, "em0", size * MIB)
    expect_clean(vmm)
    power_off(vmm)


@test("linux/node")
def node(lab):
    """Memory of a device goes to the guest's NUMA node that it names."""
    vmm, _ = lab.guest(cpus=2, nodes=[Node("0", 256 * MIB),
                                      Node("1", 256 * MIB)],
                       elastic=[Elastic(GIB, node=1)], cmdline=OUR_DRIVER)

    def of_node_1():
        row = vmm.console.ask("sh grep MemTotal "
                              "/sys/devices/system/node/node1/meminfo")[0]
        return int(row.split()[3]) * 1024

    before = of_node_1()
    vmm.resize("em0", 512 * MIB)
    vmm.wait_plugged("em0", 512 * MIB)
    wait_until("node 1 has it", lambda: of_node_1() == before + 512 * MIB)
    vmm.resize("em0", 0)
    vmm.wait_plugged("em0", 0)
    power_off(vmm)
