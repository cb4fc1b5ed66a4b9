# SPDX-License-Identifier: BSD-3-Clause
"""Reboots, ends of all kinds, and machines side by side."""
import signal

from harness import (GIB, MIB, Elastic, Witness, check_load, expect,
                     expect_equal, power_off, resize_to, test, wait_filled,
                     wait_in_use, wait_until)


def guest_reboots(vmm):
    vmm.console.send("0 reboot\n")


def host_reboots(vmm):
    vmm.reset()


def reboot(lab, how, kernel, image="vmlinuz"):
    """After a reset all is unplugged, the host has its memory back, and the
    guest gets the requested size again."""
    vmm, witness = lab.guest(kernel=kernel, image=image, memory=256 * MIB,
                             cmdline="agent.nodriver init_on_alloc=0")
    vmm.console.ask("insmod virtio_mem.ko")
    for size in (512, 302):
        resize_to(vmm, witness, "em0", size * MIB)
        vmm.console.ask("load 200 seq")
        wait_filled(vmm)
        mark = vmm.console.mark()
        how(vmm)
        vmm.wait_ready(since=mark)
        device = vmm.status()["em0"]
        expect_equal("requested", device["requested"], size * MIB)
        expect_equal("plugged without a driver", device["plugged"], 0)
        expect_equal("held by the host", device["resident"], 0)
        expect_equal("MemTotal", vmm.mem_total(), witness.base)
        vmm.console.ask("insmod virtio_mem.ko")
        vmm.wait_plugged("em0", size * MIB)
        witness.check()
    power_off(vmm)


test("reboot/by-the-guest-6.1", how=guest_reboots, kernel="6.1-cloud")(reboot)
test("reboot/by-the-guest-6.12-elf", how=guest_reboots, kernel="6.12-cloud",
     image="vmlinux")(reboot)
test("reboot/by-the-host-6.1-elf", how=host_reboots, kernel="6.1-cloud",
     image="vmlinux")(reboot)
test("reboot/by-the-host-6.12", how=host_reboots,
     kernel="6.12-generic")(reboot)


@test("reboot/while-it-grows")
def reboot_growing(lab):
    """A reset in the middle of plugging and unplugging, several times."""
    vmm, witness = lab.guest(cpus=2, max_bytes=2 * GIB)
    for target in (2048, 0, 2048):
        vmm.resize("em0", target * MIB)
        mark = vmm.console.mark()
        vmm.reset()
        vmm.wait_ready(since=mark)
        vmm.wait_plugged("em0", target * MIB)
        witness.check()
    power_off(vmm)


@test("reboot/with-16-cpus")
def reboot_cpus(lab):
    vmm, witness = lab.guest(cpus=16)
    mark = vmm.console.mark()
    vmm.reset()
    vmm.wait_ready(since=mark)
    found, = vmm.console.ask("sh grep -c ^processor /proc/cpuinfo")
    expect_equal("processors", int(found), 16)
    resize_to(vmm, witness, "em0", 256 * MIB)
    power_off(vmm)


@test("end/power-button")
def button(lab):
    """The guest follows the power button, with memory plugged."""
    vmm, witness = lab.guest(kernel="6.12-cloud")
    resize_to(vmm, witness, "em0", 256 * MIB)
    vmm.press_power()
    expect_equal("exit status", vmm.wait_end(), 0)


@test("two/side-by-side")
def side_by_side(lab):
    """Two machines, resized in turn; neither sees the other."""
    first, one = lab.guest(kernel="6.1-cloud", memory=256 * MIB)
    second, two = lab.guest(kernel="6.12-cloud", memory=320 * MIB)
    for vmm in (first, second):
        vmm.console.ask("load 40 random")
    for size in (512, 6, 1024, 0):
        first.resize("em0", size * MIB)
        second.resize("em0", (1024 - size) * MIB)
        wait_in_use(first, "em0", size * MIB)
        wait_in_use(second, "em0", (1024 - size) * MIB)
        one.check()
        two.check()
        check_load(first)
        check_load(second)
    power_off(first)
    expect_equal("ping", second.console.ask("ping"), ["pong"])
    power_off(second)
