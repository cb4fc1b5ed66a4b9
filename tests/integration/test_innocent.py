# SPDX-License-Identifier: BSD-3-Clause
"""Nobody is accused who did nothing: stock guests with memory partly plugged,
under load, whose kernel and whose root look at all memory there is. All run
under --guard kill."""
import json
import struct

from harness import (GIB, MIB, OUR_DRIVER, PATIENCE, check_load, expect,
                     expect_equal, power_off, resize_to, test, wait_filled)
from lib import kexec
from lib.kexec import MEMORY_BLOCK, shell

BOOT = 512 * MIB
CRASH_BOOT = 640 * MIB
CRASH_RESERVED = 256 * MIB
REGION = 4 * GIB
LOAD_MIB = 256
SIZE = 514 * MIB        # every other memory block, and a part of one more
MOST = 898 * MIB
# Of /proc/kcore.
PT_LOAD = 1
NOT_PHYSICAL = (1 << 64) - 1
HEADERS = 2048          # bytes that all of them fit in
KERNEL_IMAGE = 0xffffffff80000000
# Clearing what is freed has the kernel write to all that it calls free.
# Not even so does /dev/mem give away a device's memory.
CMDLINE = "init_on_free=1 iomem=relaxed"

# The kernel's own writers: it moves pages, gives pages up, joins them, and
# looks at which are used, all the while.
CHURN = """
echo 1 >/sys/kernel/mm/ksm/run;
echo 1 >/sys/kernel/mm/transparent_hugepage/khugepaged/defrag;
echo Y >/sys/module/damon_reclaim/parameters/enabled;
while :; do
  echo 1 >/proc/sys/vm/compact_memory;
  echo 3 >/proc/sys/vm/drop_caches;
  sleep {seconds};
done
"""
# What tells of pages without touching them; what not every kernel has; and
# what comes and goes during a resize.
TELLERS = """
cat /proc/kpageflags /proc/kpagecount /proc/iomem /proc/buddyinfo
    /proc/pagetypeinfo /proc/zoneinfo
"""
EXTRA_TELLERS = """
cat /proc/kpagecgroup /sys/kernel/debug/extfrag/*
    /sys/kernel/debug/page_owner
"""
BLOCK_TELLERS = """
cd /sys/devices/system/memory &&
cat memory*/removable memory*/state memory*/valid_zones ../node/node0/meminfo
"""


def run(vmm, script, end="", timeout=PATIENCE):
    """Run a script of several lines; whether that went well."""
    status, _ = vmm.console.command(
        f"sh sh -c '{' '.join(script.split())}' </dev/null >/dev/null 2>&1 "
        f"{end}", timeout)
    return status == 0


def segments(vmm):
    """[(offset, size, physical address)] of what /proc/kcore has: all memory,
    and the kernel's map of it. Left out is what the kernel maps something else
    at (vmalloc's addresses and those of modules), terabytes of nothing."""
    rows = shell(vmm, f"dd if=/proc/kcore bs={HEADERS} count=1 2>/dev/null | "
                 "hexdump -v -e '56/1 \"%02x\" \"\\n\"'")
    data = bytes.fromhex("".join(rows))
    expect_equal("/proc/kcore", data[:4], b"\x7fELF")
    start, = struct.unpack_from("<Q", data, 32)
    size, nr = struct.unpack_from("<HH", data, 54)
    expect(start + nr * size <= HEADERS, f"/proc/kcore has {nr} segments")
    found = []
    for at in range(start, start + nr * size, size):
        kind, _, offset, address, physical, length = struct.unpack_from(
            "<IIQQQQ", data, at)
        mapped = physical == NOT_PHYSICAL and address >= KERNEL_IMAGE
        if kind == PT_LOAD and not mapped and length < 1 << 40:
            found.append((offset, length, physical))
    return found


def read_kcore(vmm, plugged, least=0):
    """All memory from a physical address on, and the kernel's map of all.
    What lies between the segments reads as zeros."""
    total = 0
    for offset, length, physical in segments(vmm):
        if physical < least:
            continue
        first, end = offset // MIB, -(-(offset + length) // MIB)
        shell(vmm, f"dd if=/proc/kcore of=/dev/null bs=1M skip={first} "
              f"count={end - first}")
        total += length
    expect(total > plugged, f"/proc/kcore had {total} bytes")


def read_devmem(vmm):
    """The first MiB and every block of elastic memory through /dev/mem: the
    kernel lets root read the first, and none of the second."""
    addr = vmm.show()["elastic"][0]["addr"]
    expect_equal("pages of the first MiB", vmm.console.ask(
        "devmem read 0 4096 256"), ["256"])
    expect_equal("blocks that /dev/mem lets root read", vmm.console.ask(
        f"devmem read {addr:#x} {2 * MIB} {2 * GIB // (2 * MIB)}"), ["0"])


def soft_offline(vmm, address):
    """The kernel is asked to move what is at an address that is not plugged:
    it finds nothing there that it could move."""
    path = "/sys/devices/system/memory/soft_offline_page"
    run(vmm, f"[ ! -e {path} ] || echo {address:#x} >{path};")


def expect_innocent(vmm):
    expect_equal("violations", vmm.show()["guard"]["violations"], 0)
    expect(f'guard_violations_total{{vm="{vmm.name}"}} 0\n' in vmm.metrics(),
           "metrics")
    done = vmm.cli("audit", "--json")
    expect(done.returncode == 0 and json.loads(done.stdout)["clean"],
           f"audit: {done.stdout}{done.stderr}")


def resize_looking(vmm, size):
    vmm.resize("em0", size)
    run(vmm, BLOCK_TELLERS)     # while it is under way
    expect(run(vmm, TELLERS), "what tells of pages could not be read")
    vmm.wait_plugged("em0", size)
    vmm.mem_total_settled()
    expect(run(vmm, BLOCK_TELLERS), "/sys/devices/system/memory")
    run(vmm, EXTRA_TELLERS)
    check_load(vmm)
    expect_innocent(vmm)


def innocent(lab, kernel, driver=""):
    vmm, witness = lab.guest(
        kernel=kernel, cpus=2, max_bytes=REGION, memory=BOOT,
        cmdline=f"{CMDLINE} {driver}", options=["--guard", "kill"])
    shell(vmm, "mount -t debugfs none /sys/kernel/debug")
    kexec.plug_every_other(vmm, "em0", SIZE - 2 * MIB)
    resize_to(vmm, witness, "em0", SIZE)
    vmm.console.ask(f"load {LOAD_MIB} random")
    wait_filled(vmm)
    expect(run(vmm, "test -w /proc/sys/vm/compact_memory"), "no compaction")
    run(vmm, CHURN.replace("{seconds}", str(lab.rounds(2, 0.5))), "&")
    read_kcore(vmm, SIZE)
    read_devmem(vmm)
    soft_offline(vmm, vmm.show()["elastic"][0]["addr"] + MEMORY_BLOCK)
    resize_looking(vmm, 258 * MIB)
    resize_looking(vmm, MOST)
    read_kcore(vmm, MOST, vmm.show()["elastic"][0]["addr"])
    resize_looking(vmm, SIZE)
    vmm.console.ask("load stop")
    witness.check()
    expect_innocent(vmm)
    expect_equal("ping", vmm.console.ask("ping"), ["pong"])
    power_off(vmm)


for _kernel in ("6.1-generic", "6.12-generic"):
    test(f"guard/innocent-{_kernel}", kernel=_kernel)(innocent)
    test(f"guard/innocent-our-driver-{_kernel}", kernel=_kernel,
         driver=OUR_DRIVER)(innocent)


@test("guard/innocent-crash-kernel", kernel="6.1-cloud")
def crash_kernel(lab, kernel):
    """A crash kernel that is loaded while memory comes and goes: what loads it
    reads where memory is, and its reservation is no part of any block."""
    vmm, witness = lab.guest(
        kernel=kernel, guest="kexec", memory=CRASH_BOOT,
        options=["--guard", "kill"],
        cmdline=f"init_on_alloc=0 crashkernel={CRASH_RESERVED // MIB}M")
    kexec.plug_every_other(vmm, "em0", 2 * MEMORY_BLOCK)
    for size, call in ((258 * MIB, "-c"), (386 * MIB, "-s")):
        resize_to(vmm, witness, "em0", size)
        kexec.load(vmm, "console=ttyS0", call, "-p")
        expect_equal("loaded", shell(vmm, "cat /sys/kernel/kexec_crash_loaded"),
                     ["1"])
    read_kcore(vmm, 386 * MIB)
    resize_to(vmm, witness, "em0", 2 * MIB)
    expect_innocent(vmm)
    expect_equal("ping", vmm.console.ask("ping"), ["pong"])
