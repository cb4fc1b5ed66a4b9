# SPDX-License-Identifier: BSD-3-Clause
"""Our Linux driver against the kernel's own: what a guest gives back that has
used its memory."""
import time

from common import KERNEL, Series, in_turn, progress
from driver_foreground import prepare  # the same guest
from lib import disk
from lib.vmm import GIB, MIB, Elastic, Machine

ABOUT = """\
A guest with one processor, 512 MiB, and an elastic device of 2 GiB, all of it
plugged, that is then asked for nothing. In one boot, one after the other, each
with all memory plugged again before it: cache, the page cache full of two files
(FAT, on a block device that keeps nothing), one of them dirty; spread, a
process that holds half of the memory, one page in two at random, and lives on;
files, 6000 small files and processes beside them, of which one file in ten
stays. In 10 s: what the device got back by then. In all: until nothing had
moved for 8 s, and when the last of it came. Zone: what all added memory comes
online as; auto is each driver's own rule (ours: online=auto; upstream: Linux's
auto-movable). Stock settings (init_on_alloc=1)."""

SIZE = 2 * GIB
QUIET = 8
ZONES = ("movable", "kernel", "auto")

# What the kernel command line says, by zone.
POLICIES = {
    "ours": lambda zone: "agent.driver=bellows agent.online=stock "
                         f"bellows_mem.online={zone}",
    "upstream": lambda zone: f"agent.online={zone}" if zone != "auto" else
                "agent.online=stock memhp_default_state=online "
                "memory_hotplug.online_policy=auto-movable",
}

CACHE = ("cd /proc/sys/vm && echo 0 >dirty_writeback_centisecs && "
         "echo 90 >dirty_ratio && echo 80 >dirty_background_ratio && "
         f"cd {disk.FOLDER} && "
         "dd if=/dev/zero of=clean bs=1M count=1100 2>&1 && sync && "
         "dd if=/dev/zero of=dirty bs=1M count=1100 2>&1")
FILES = ("mkdir -p /tmp/f && cd /tmp/f && i=0 && while [ $i -lt 6000 ]; do "
         "echo $i >$i; [ $((i % 20)) -gt 0 ] || busybox true; "
         "i=$((i + 1)); done; rm -f *[1-9]")


def fill_cache(vmm):
    vmm.console.ask(f"sh {CACHE}", 300)
    rows = vmm.console.ask("sh grep -E '^(MemFree|Cached|Buffers|Dirty):' "
                           "/proc/meminfo")
    size = {row.split(":")[0]: int(row.split()[1]) // 1024 for row in rows}
    if size["MemFree"] > 512 or size["Dirty"] < 700:
        raise SystemExit(f"{vmm.label}: no page cache: {size} MiB")


def hold_half(vmm):
    half = vmm.mem_total() // 2 // MIB
    # It touches twice as much: leave some of that to the kernel.
    vmm.console.ask(f"load {half - 100} spread")
    while "filled=1" not in (row := vmm.console.ask("load")[0]):
        if "alive=1" not in row:
            raise SystemExit(f"{vmm.label}: the load ended: {row}")
        time.sleep(0.2)


def make_files(vmm):
    vmm.console.ask(f"sh {FILES}", 300)


LOADS = {"cache": fill_cache, "spread": hold_half, "files": make_files}


def give_back(vmm):
    """Ask for all; bytes in 10 s, bytes in all, seconds to the last."""
    began = time.monotonic()
    vmm.resize("em0", 0)
    least, moved, early = SIZE, 0, SIZE
    while True:
        plugged = vmm.plugged("em0")
        now = time.monotonic() - began
        if plugged < least:
            least, moved = plugged, now
        if now <= 10:
            early = least
        if least == 0 or now > max(10, moved + QUIET):
            return SIZE - early, SIZE - least, moved
        time.sleep(0.05)


def wear(vmm, series, label, zone):
    """All loads, one after the other."""
    disk.make(vmm, 3 * GIB, keeps=False)
    for name, load in LOADS.items():
        vmm.resize("em0", SIZE)
        vmm.wait_plugged("em0", SIZE, 180)
        vmm.mem_total_settled()
        load(vmm)
        progress(f"  {name}")
        early, late, seconds = give_back(vmm)
        row = f"{zone}, {name}"
        series.add(f"{row}: MiB in 10 s", label, early / MIB)
        series.add(f"{row}: MiB in all", label, late / MIB)
        series.add(f"{row}: s for that", label, seconds)
        vmm.console.ask("load stop")
        vmm.console.ask("sh sync; echo 3 >/proc/sys/vm/drop_caches")


def run(runs, kind, zones=ZONES):
    series = Series(f"drivers on {kind.label}: what a used guest gives back "
                    "of 2 GiB", tuple(POLICIES))
    for zone in zones:
        for number, label, policy in in_turn(runs, POLICIES):
            progress(f"driver --used, {zone}: {number + 1} of {runs}, {label}")
            machine = Machine(kernel=KERNEL, guest="load", memory=512 * MIB,
                              elastic=[Elastic(SIZE)], cmdline=policy(zone))
            with kind(machine) as vmm:
                vmm.wait_init()
                vmm.wait_ready()
                wear(vmm, series, label, zone)
    return series
