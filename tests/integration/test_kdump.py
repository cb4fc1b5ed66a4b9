# SPDX-License-Identifier: BSD-3-Clause
"""kdump: a crash kernel dumps plugged memory, and touches no other."""
import re

from harness import (DRIVER_FOLDER, GIB, MIB, OUR_DRIVER, expect,
                     expect_equal, test)
from lib import kexec

RESERVED = 256 * MIB
BOOT = 640 * MIB
PLUGGED = 514 * MIB
CMDLINE = ("console=ttyS0 quiet loglevel=3 init_on_alloc=0 nr_cpus=1 "
           "reset_devices")
# Without page cache and free pages, those that are not plugged among them;
# with what processes have.
DUMP = "makedumpfile --message-level 1 -d 22"


def checked(vmm, path, marks, others):
    """The agent's look at a dump: which bytes of memory it is of. What was
    marked must be in it, and the kernel that crashed be found by its symbols;
    returns (bytes, {address: what is there}) of the others."""
    head, *rows = vmm.console.ask(
        f"dump {path} {' '.join(marks)} "
        + " ".join(f"{at:#x}" for at in others))
    found = dict(row.split("=") for row in rows)
    for mark in marks:
        expect_equal(f"{path}: the page at {mark}", found[mark], "right")
    match = re.match(r"release=(\S+) bytes=(\d+)$", head)
    expect(match, f"{path}: {head}")
    expect_equal(f"{path}: kernel", match[1], vmm.release)
    return int(match[2]), {at: found[f"{at:#x}"] for at in others}


def prepare(lab, kernel, call, driver):
    """A guest with every other memory block plugged, and the first block in
    one hole; its marked pages, all that is plugged."""
    vmm, witness = lab.guest(
        kernel=kernel, guest="kexec", cpus=2, memory=BOOT, max_bytes=16 * GIB,
        options=["--guard", "kill"],
        cmdline=f"{driver} init_on_alloc=0 "
                f"crashkernel={RESERVED // MIB}M")
    kexec.plug_every_other(vmm, "em0", PLUGGED - 2 * MIB)
    vmm.resize("em0", PLUGGED)
    vmm.wait_plugged("em0", PLUGGED)
    witness.check()
    kexec.load(vmm, f"{CMDLINE} {driver}", call, "-p")
    marks = vmm.console.ask("mark 480")
    return vmm, marks


@test("kdump/every-other-block-6.1", kernel="6.1-cloud", call="-s")
@test("kdump/every-other-block-6.12", kernel="6.12-cloud", call="-c")
@test("kdump/our-driver-6.1", kernel="6.1-cloud", call="-c", driver=OUR_DRIVER)
@test("kdump/our-driver-6.12", kernel="6.12-cloud", call="-s",
      driver=OUR_DRIVER)
def every_other(lab, kernel, call, driver=""):
    """The dump of a guest with holes is one of what was plugged: marked pages
    and the kernel's symbols are where they were, the rest is not in it."""
    vmm, marks = prepare(lab, kernel, call, driver)
    addr = vmm.show()["elastic"][0]["addr"]
    expect(sum(int(mark, 16) >= addr for mark in marks) >= 3,
           f"marked: {marks}")
    kexec.crash(vmm)
    if driver:
        vmm.console.ask(f"sh ls -d {DRIVER_FOLDER}")
    before = vmm.show()["elastic"][0]
    in_part = addr + kexec.MEMORY_BLOCK + 64 * MIB  # 2 of 128 MiB plugged
    in_hole = addr + 3 * kexec.MEMORY_BLOCK
    beyond = addr + 8 * GIB
    size, found = checked(vmm, "/proc/vmcore", marks,
                          (in_part, in_hole, beyond))
    # Whole memory blocks are Linux's unit; the rest of one reads as zero.
    most = BOOT - RESERVED + PLUGGED + 126 * MIB
    expect(most - 4 * MIB < size <= most, f"/proc/vmcore: {size} bytes")
    expect_equal("/proc/vmcore", found, {
        in_part: "zero", in_hole: "absent", beyond: "absent"})
    state = vmm.show()["elastic"][0]["requests"]["state"]
    expect(state > 0, "the crash kernel did not ask what is plugged")

    kexec.shell(vmm, "mount -t tmpfs -o size=95% none /root")
    kexec.shell(vmm, f"{DUMP} /proc/vmcore /root/dump", 600)
    size, found = checked(vmm, "/root/dump", marks,
                          (in_part, in_hole, beyond))
    expect(size <= most, f"dump of {size} bytes of memory")
    expect_equal("dump, not plugged", {found[in_hole], found[beyond]},
                 {"absent"})
    expect(found[in_part] in ("absent", "zero"), f"dump: {found}")
    held = int(kexec.shell(vmm, "wc -c </root/dump")[0])
    expect(held < PLUGGED, f"a dump of {held} bytes")

    after = vmm.show()["elastic"][0]
    expect_equal("plugged", after["plugged_bytes"], PLUGGED)
    expect(before["resident_bytes"] <= after["resident_bytes"] <= PLUGGED,
           f"the host held {before['resident_bytes']} bytes before the dump, "
           f"{after['resident_bytes']} after it")
    mark = vmm.console.mark()
    vmm.console.send("0 reboot\n")
    vmm.console.wait_for(kexec.READY, since=mark, panics=False)
    expect_equal("resets", vmm.show()["reboots"], 1)
    vmm.wait_plugged("em0", PLUGGED)
