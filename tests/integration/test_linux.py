# SPDX-License-Identifier: BSD-3-Clause
"""Guests with our own Linux driver, bellows_mem, in place of virtio_mem."""
import re

from harness import (GIB, MIB, Elastic, expect, expect_equal, power_off,
                     resize_to, test, wait_until)
from lib.vmm import Node

OURS = "agent.driver=bellows"
FOLDER = "/sys/bus/virtio/drivers/bellows_mem/virtio*/bellows_mem"


def told(vmm, name):
    """{word: value} that the driver tells of the one device."""
    rows = vmm.console.ask(f"sh cat {FOLDER}/{name}")
    return dict(row.split(" ", 1) for row in rows if " " in row)


def expect_clean(vmm):
    """The kernel has complained of nothing."""
    bad = [row for row in vmm.console.ask("sh dmesg") if re.search(
        r"WARNING:|BUG|Oops|Call Trace|corrupt|Bad page|Poison|hidden page",
        row)]
    expect(not bad, f"the kernel complains: {bad[:5]}")


def steps(lab, kernel):
    """Every step counts to the page, on a guest whose own policy was left as
    the distribution has it; and no more is sent than need be."""
    vmm, witness = lab.guest(
        kernel=kernel, max_bytes=2 * GIB,
        cmdline=f"{OURS} agent.online=stock bellows_mem.online=movable")
    for size in (2048, 0, 2, 4, 128, 130, 2046, 640, 638, 128, 126, 2, 0):
        resize_to(vmm, witness, "em0", size * MIB)
    counters = told(vmm, "counters")
    expect_equal("errors", counters["errors"], "0")
    expect_clean(vmm)
    power_off(vmm)


for _kernel in ("6.1-cloud", "6.12-generic"):
    test(f"linux/steps-{_kernel}", kernel=_kernel)(steps)


@test("linux/shrinking-writes-to-nothing")
def writes_nothing(lab):
    """A kernel that clears what it allocates does not clear what it returns:
    the host holds no more while the guest shrinks than before."""
    vmm, witness = lab.guest(max_bytes=2 * GIB, cmdline=OURS)
    resize_to(vmm, witness, "em0", 2 * GIB)
    held = [vmm.status()["em0"]["resident"]]
    vmm.resize("em0", 0)

    def gone():
        device = vmm.status()["em0"]
        held.append(device["resident"])
        return device["plugged"] == 0

    wait_until("all is given back", gone, 60)
    expect(max(held) <= held[0], f"the host held {max(held) // MIB} MiB "
           f"during the shrink, {held[0] // MIB} MiB before")
    witness.check()
    power_off(vmm)


@test("linux/zones")
def zones(lab):
    """Memory for the kernel is counted and given back like the rest, down to
    what the kernel itself keeps there, and the driver says what that is."""
    vmm, witness = lab.guest(cmdline=f"{OURS} bellows_mem.online=kernel",
                             kernel="6.12-cloud")
    for size in (512, 1024, 700, 702):
        resize_to(vmm, witness, "em0", size * MIB)
    vmm.resize("em0", 0)
    wait_until("most is given back", lambda:
               vmm.status()["em0"]["plugged"] <= 128 * MIB, 60)
    if vmm.status()["em0"]["plugged"] > 0:
        wait_until("a reason", lambda: "holder" in told(vmm, "shortfall"))
        expect(told(vmm, "shortfall")["holder"] in
               ("slab", "kernel", "page-table", "reserved"),
               f"shortfall: {told(vmm, 'shortfall')}")
    expect_clean(vmm)
    power_off(vmm)


@test("linux/auto-keeps-a-share-for-the-kernel")
def auto(lab):
    """With online=auto at most three parts in four are movable."""
    vmm, witness = lab.guest(
        max_bytes=4 * GIB, cmdline=f"{OURS} agent.online=stock")
    resize_to(vmm, witness, "em0", 4 * GIB)
    rows = vmm.console.ask("cat /proc/zoneinfo")
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
    said = "\n".join(vmm.console.ask("sh dmesg"))
    expect("virtio_mem is loaded, too" in said, "nothing said")
    resize_to(vmm, witness, "em0", 0)
    vmm.console.ask("rmmod bellows_mem")
    power_off(vmm)


@test("linux/unloaded-and-loaded")
def unloaded(lab):
    """The module goes only once its memory was given back."""
    vmm, witness = lab.guest(cmdline=OURS)
    for _ in range(3):
        resize_to(vmm, witness, "em0", 256 * MIB)
        status, _ = vmm.console.command("rmmod bellows_mem")
        expect(status != 0, "unloaded with memory in use")
        vmm.console.ask(f"sh echo 1 > $(ls -d {FOLDER})/drain")
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
    vmm, witness = lab.guest(cmdline=OURS)
    resize_to(vmm, witness, "em0", 514 * MIB)
    mark = vmm.console.mark()
    vmm.reset()
    vmm.wait_ready(since=mark)
    vmm.wait_plugged("em0", 514 * MIB)
    witness.check()
    resize_to(vmm, witness, "em0", 0)
    power_off(vmm)


@test("linux/larger-blocks")
def larger(lab):
    """A device whose blocks are larger than Linux's."""
    vmm, witness = lab.guest(
        elastic=[Elastic(2 * GIB, block_bytes=256 * MIB)], cmdline=OURS)
    for size in (256, 2048, 1024, 0):
        resize_to(vmm, witness, "em0", size * MIB)
    expect_clean(vmm)
    power_off(vmm)


@test("linux/node")
def node(lab):
    """Memory of a device goes to the guest's NUMA node that it names."""
    vmm, _ = lab.guest(cpus=2, nodes=[Node("0", 256 * MIB),
                                      Node("1", 256 * MIB)],
                       elastic=[Elastic(GIB, node=1)], cmdline=OURS)

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
