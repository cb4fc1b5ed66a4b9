# SPDX-License-Identifier: BSD-3-Clause
"""Our Linux driver on kernels that look for errors in memory: every page that
is free is poisoned and checked, every slab object is guarded and tracked.
Debian's generic kernels can do that, but for debug_pagealloc, which they are
built without."""
import random
import time

from harness import (DRIVER_FOLDER, GIB, MIB, OUR_DRIVER, Failed, check_load,
                     driver_told, expect, expect_clean, power_off, test,
                     wait_until)
from lib.vmm import PAGE, pause

DEBUG = "page_poison=1 slub_debug=FZPU init_on_free=1 debug_pagealloc=on"
MAX = GIB
STALL = 300                     # seconds without any progress
LOAD_MIB = 160
RELOAD_EVERY = 50
STEP = 32 * MIB
LEAK = 16 * MIB                 # what slabs and caches may have grown by


def settle(vmm, witness, size):
    """Wait until guest, device and host agree on the size. Such kernels write
    to every page that they add or remove: that takes as long as it takes, but
    it must go on."""
    began = since = time.monotonic()
    seen = None
    while True:
        device, total = vmm.status()["em0"], vmm.mem_total()
        bad = witness.complaints({"em0": device}, total)
        if device["plugged"] == size and not bad:
            return
        stuck = time.monotonic() - since
        if (device["plugged"], total) != seen:
            seen, since = (device["plugged"], total), time.monotonic()
        elif stuck > STALL:
            raise Failed(f"stuck for {STALL} s on the way to {size // MIB} "
                         f"MiB: {'; '.join(bad) or device}; shortfall: "
                         f"{driver_told(vmm, 'shortfall')}")
        time.sleep(pause(time.monotonic() - began))


def reload_driver(vmm, parameters):
    """Unload the module, with nothing plugged, and load it again."""
    wait_until("unloaded", lambda: vmm.console.command(
        "rmmod bellows_mem")[0] == 0)
    vmm.console.ask(f"insmod bellows_mem.ko {parameters}")
    wait_until("loaded", lambda: vmm.console.command(
        f"sh cat {DRIVER_FOLDER}/status")[0] == 0)


def free(vmm):
    """Bytes that nobody has, those on the processors' own lists among them,
    which 6.12 lets grow far. (What is *available* depends on the watermarks,
    and Linux leaves them higher once it had a movable zone.)"""
    vmm.console.ask("sh echo 3 >/proc/sys/vm/drop_caches")
    rows = vmm.console.ask("sh grep -w count: /proc/zoneinfo")
    return vmm.meminfo()["MemFree"] + sum(
        int(row.split()[1]) for row in rows) * PAGE


@test("linux/debug-options-6.1", kernel="6.1-generic")
@test("linux/debug-options-6.12", kernel="6.12-generic")
def debug_options(lab, kernel):
    """Random sizes, one after the other, while a load needs the memory; the
    module unloaded and loaded again between: sums are exact after each, the
    kernel complains of nothing, and nothing leaks."""
    vmm, witness = lab.guest(
        kernel=kernel, max_bytes=MAX,
        cmdline=f"{OUR_DRIVER} {DEBUG} bellows_mem.online=movable")
    numbers = random.Random(3)
    rounds, size = lab.rounds(12, 10000), 0
    before = free(vmm)
    vmm.console.ask(f"load {LOAD_MIB} random")
    for number in range(1, rounds + 1):
        if number % min(RELOAD_EVERY, rounds // 2) == 0:
            vmm.resize("em0", 0)
            settle(vmm, witness, 0)
            reload_driver(vmm, "online=movable")
            size = 0
        # Mostly small steps; one in eight leads anywhere.
        low, high = max(0, size - STEP), min(MAX, size + STEP)
        if not numbers.randrange(8):
            low, high = 0, MAX
        size = numbers.randrange(low, high + 1, 2 * MIB)
        vmm.resize("em0", size)
        # One in four is overtaken by the next.
        if numbers.randrange(4):
            settle(vmm, witness, size)
            check_load(vmm)
        if number % 100 == 0:
            expect_clean(vmm)
            lab.progress(number, rounds)
    vmm.resize("em0", 0)
    settle(vmm, witness, 0)
    check_load(vmm)
    vmm.console.ask("load stop")
    lost = before - free(vmm)
    expect(lost < LEAK, f"{lost // MIB} MiB less are free than before")
    expect_clean(vmm)
    power_off(vmm)
