# SPDX-License-Identifier: BSD-3-Clause
"""Guests whose driver is absent, late, gone, or held back."""
import contextlib
import os
import pty
import re
import subprocess
from pathlib import Path

from harness import (GIB, KIB, MIB, Elastic, Failed, check_load, expect,
                     expect_equal, power_off, resize_to, test, wait_filled,
                     wait_until)
from lib.agree import Witness
from lib.paths import BELLOWS


def shortfall(vmm, size, *words, wait=1):
    """A resize that cannot be reached: exit status 3, and why. A guest that is
    still on its way says that instead: then again."""
    said = None

    def told():
        nonlocal said
        done = vmm.cli("resize", f"em0={size}", "--wait", wait)
        expect_equal("exit status of resize", done.returncode, 3)
        said = done.stdout + done.stderr
        return any(word in said.lower() for word in words)

    try:
        wait_until("resize said why", told)
    except Failed as error:
        raise Failed(f"{error}, one of {words}: {said!r}") from None


@test("driver/absent-then-late")
def late(lab):
    """Without a driver nothing is plugged; one that comes late does it."""
    vmm, witness = lab.guest(cmdline="agent.nodriver")
    shortfall(vmm, 256 * MIB, "driver")
    expect_equal("plugged", vmm.status()["em0"]["plugged"], 0)
    vmm.console.ask("insmod virtio_mem.ko")
    vmm.wait_plugged("em0", 256 * MIB)
    witness.check()
    resize_to(vmm, witness, "em0", 0)
    power_off(vmm)


def wait_until_removed(vmm):
    """Linux takes memory out of its map a moment after it unplugged it; a
    driver that is unloaded before cannot be loaded again."""
    wait_until("memory removed", lambda: not any(
        "System RAM" in row for row in vmm.console.ask("iomem virtio_mem")))


def unloaded(lab, kernel):
    """An idle driver can be unloaded, and loaded again."""
    vmm, witness = lab.guest(kernel=kernel)
    resize_to(vmm, witness, "em0", 128 * MIB)
    resize_to(vmm, witness, "em0", 0)
    for _ in range(lab.rounds(2, 10)):
        wait_until_removed(vmm)
        vmm.console.ask("rmmod virtio_mem")
        shortfall(vmm, 64 * MIB, "driver")
        vmm.console.ask("insmod virtio_mem.ko")
        vmm.wait_plugged("em0", 64 * MIB)
        witness.check()
        resize_to(vmm, witness, "em0", 0)
    power_off(vmm)


test("driver/unloaded-and-loaded-6.1", kernel="6.1-cloud")(unloaded)
test("driver/unloaded-and-loaded-6.12", kernel="6.12-generic")(unloaded)


@test("driver/unloaded-with-memory-in-use")
def unloaded_in_use(lab):
    """A driver that goes while its memory is used leaves that memory to the
    guest: nothing is lost, and a reboot sets it right."""
    vmm, witness = lab.guest(memory=256 * MIB)
    resize_to(vmm, witness, "em0", 512 * MIB)
    vmm.console.ask("load 400 random")
    wait_filled(vmm)
    vmm.console.command("rmmod virtio_mem")
    check_load(vmm)
    expect_equal("plugged", vmm.status()["em0"]["plugged"], 512 * MIB)
    mark = vmm.console.mark()
    vmm.reset()
    vmm.wait_ready(since=mark)
    vmm.wait_plugged("em0", 512 * MIB)
    witness.check()
    resize_to(vmm, witness, "em0", 0)
    power_off(vmm)


@test("driver/memory-not-onlined")
def not_onlined(lab):
    """Memory that the guest does not bring online is plugged to a point; it
    counts once it is brought online, and can then be taken back."""
    vmm, _ = lab.guest(elastic=[Elastic(4 * GIB)], cmdline="agent.online=off",
                       onlines=False)
    witness = Witness(vmm)
    shortfall(vmm, 3 * GIB, "online")
    plugged = vmm.status()["em0"]["plugged"]
    expect(0 < plugged < 3 * GIB, f"plugged {plugged // MIB} MiB")
    expect_equal("MemTotal", vmm.mem_total(), witness.base)
    vmm.console.ask("online movable")
    vmm.console.ask("blocks online")
    vmm.wait_plugged("em0", 3 * GIB)
    witness.check()
    power_off(vmm)


@test("driver/memory-online-for-the-kernel")
def online_kernel(lab):
    """Memory in the guest's normal zone counts like any other."""
    vmm, witness = lab.guest(cmdline="agent.online=kernel")
    for size in (512, 640, 642):
        resize_to(vmm, witness, "em0", size * MIB)
    power_off(vmm)


@test("driver/guest-cannot-free")
def cannot_free(lab):
    """A guest that uses its memory gives what it can, and keeps the rest."""
    vmm, witness = lab.guest(memory=256 * MIB, cmdline="init_on_alloc=0")
    resize_to(vmm, witness, "em0", 256 * MIB)
    vmm.console.ask("load 300 random")
    wait_filled(vmm)
    shortfall(vmm, 0, "free", "unplug")
    plugged = vmm.status()["em0"]["plugged"]
    expect(0 < plugged <= 256 * MIB, f"plugged {plugged // MIB} MiB")
    check_load(vmm)
    vmm.console.ask("load stop")
    # Another request: the driver would try again by itself, a minute later.
    for size in (2, 0):
        resize_to(vmm, witness, "em0", size * MIB)
    power_off(vmm)


@contextlib.contextmanager
def little_memory(left):
    """Leave the host that much: the rest goes into a pool of huge pages."""
    pool = Path("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")
    text = Path("/proc/meminfo").read_text()
    free = int(re.search(r"MemAvailable: +(\d+)", text)[1]) * KIB
    pool.write_text(str(max(free - left, 0) // (2 * MIB)))
    try:
        yield
    finally:
        pool.write_text("0")


@test("driver/host-has-no-memory")
def no_memory(lab):
    """With --prealloc the host commits what is plugged: what it has not got
    is not plugged, is named as the reason, and does nobody harm."""
    vmm = lab.start(memory=512 * MIB, elastic=[Elastic(32 * GIB)],
                    options=["--prealloc"], cmdline="init_on_alloc=0")
    vmm.resize("em0", 256 * MIB)
    vmm.wait_plugged("em0", 256 * MIB)
    expect_equal("committed", vmm.status()["em0"]["resident"], 256 * MIB)
    with little_memory(GIB):
        shortfall(vmm, 32 * GIB, "host has no more memory", wait=5)
        device = vmm.status()["em0"]
        expect(256 * MIB <= device["plugged"] < 4 * GIB,
               f"{device['plugged'] // MIB} MiB are plugged")
        expect_equal("ping", vmm.console.ask("ping"), ["pong"])
        vmm.resize("em0", 0)
        vmm.wait_plugged("em0", 0)
    expect_equal("held at 0", vmm.status()["em0"]["resident"], 0)
    power_off(vmm)


@test("driver/progress-on-a-terminal")
def progress(lab):
    """`bellows resize` draws a bar on a terminal, and one line at the end."""
    vmm, _ = lab.guest(max_bytes=2 * GIB, cmdline="init_on_alloc=0")
    master, slave = pty.openpty()
    resize = subprocess.Popen([str(BELLOWS), "resize", vmm.name, "2G"],
                              stdin=subprocess.DEVNULL, stdout=slave,
                              stderr=slave)
    os.close(slave)
    said = b""
    try:
        while part := os.read(master, 4096):
            said += part
    except OSError:
        pass                # the other end is closed
    os.close(master)
    expect_equal("exit status", resize.wait(), 0)
    said = said.decode()
    expect(re.search(r"\[#*\.+\] \d+ of 2048 MiB, \d+ MiB/s", said),
           f"no bar: {said!r}")
    expect("em0: 2G plugged (before: 0B)" in said, f"no result: {said!r}")
    power_off(vmm)
