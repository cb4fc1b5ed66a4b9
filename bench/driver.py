# SPDX-License-Identifier: BSD-3-Clause
"""Our Linux driver against the kernel's own: an idle guest and 2 GiB."""
import subprocess
import time

from common import (DRIVERS, KERNEL, ROOT, Series, in_turn, progress,
                    use_boot_memory)
from lib.vmm import BARE, GIB, KIB, MIB, Elastic, Machine

ABOUT = """\
Seconds from the request until the device has all of it plugged, or unplugged,
asked every 5 ms, with the driver bellows_mem and with the kernel's virtio_mem;
the guests one after the other, on the same VMM. One processor, 512 MiB, one
elastic device of 2 GiB in blocks of 2 MiB, the guest idle, memory brought
online as movable; it has used its boot memory before. In use: until the guest
counts all of it in MemTotal (ours plugs all before it adds the first memory
block); the guest looks itself, every 5 ms. Blocks gone: until the guest has
removed the memory blocks, too. Peak: the most that the host held for the device
during the shrink over what it held at its start. Floor: the device alone, one
UNPLUG of 2 GiB from a guest without an operating system; and what Linux takes
to offline and remove the memory blocks, as our driver clocks it. Stock Debian
kernels clear memory when it is allocated (init_on_alloc=1), and with it what
virtio_mem gives back."""

SIZE = 2 * GIB
BLOCKS = SIZE // (2 * MIB)
VARIANTS = {"": "", "init_on_alloc=0": ", not cleared"}
COUNTERS = "cat /sys/bus/virtio/drivers/bellows_mem/virtio*/bellows_mem/counters"

# Stock settings, and with init_on_alloc=0: ours over upstream's.
ASKED = {"": {"grow": 1.0, "shrink": 0.05},
         "init_on_alloc=0": {"grow": 1.0, "shrink": 1.0}}


def prepare():
    """Make what the guest needs; outside of the lab, where files last."""
    subprocess.run([str(ROOT / "guest" / "linux" / "build"), KERNEL],
                   check=True, stdout=subprocess.DEVNULL)


def timed_shrink(vmm):
    """Shrink to nothing; returns the seconds, and the most that the host held
    for the device over what it held before. (To ask QEMU that is work for the
    guest's processor too, so nobody does while it grows.)"""
    before = peak = vmm.status()["em0"]["resident"]
    began = time.monotonic()
    vmm.resize("em0", 0)
    while True:
        device = vmm.status()["em0"]
        peak = max(peak, device["resident"])
        if device["plugged"] == 0:
            return time.monotonic() - began, peak - before
        if time.monotonic() - began > 120:
            raise SystemExit(f"{vmm.label}: {device} after 120 s")
        time.sleep(0.005)


def memory_blocks(vmm):
    row, = vmm.console.ask("blocks")
    return sum(int(word.split("=")[1]) for word in row.split())


def awaited(vmm, what, wanted):
    """Wait until the guest has that; it looks itself, which takes less of its
    processor than answers do. Returns the time."""
    vmm.console.ask(f"await {what} {wanted}")
    return time.monotonic()


def removing_seconds(vmm):
    rows = dict(row.split() for row in vmm.console.ask(f"sh {COUNTERS}"))
    return int(rows["removing_us"]) / 1e6


def there_and_back(vmm, series, label, first, cmdline):
    """Grow and shrink once."""
    suffix, asked = VARIANTS[cmdline], ASKED[cmdline]
    blocks = memory_blocks(vmm)
    wanted = vmm.mem_total() + SIZE
    began = time.monotonic()
    vmm.resize("em0", SIZE)
    seconds = vmm.wait_plugged("em0", SIZE, 120, 0.005) - began
    in_use = awaited(vmm, "total", wanted // KIB) - began
    name = f"grow{' first' if first else ''}{suffix}"
    series.add(name, label, seconds)
    series.bound(name, ratio=asked["grow"])
    series.add(f"  in use, {name}", label, in_use)
    series.bound(f"  in use, {name}", ratio=asked["grow"])
    time.sleep(0.3)
    linux = removing_seconds(vmm) if label == "ours" else None
    began = time.monotonic()
    seconds, peak = timed_shrink(vmm)
    gone = awaited(vmm, "blocks", blocks) - began
    series.add(f"shrink{suffix}", label, seconds)
    series.bound(f"shrink{suffix}", ratio=asked["shrink"])
    series.add(f"  blocks gone{suffix}", label, gone)
    series.add(f"  peak, MiB{suffix}", label, peak / MIB)
    series.bound(f"  peak, MiB{suffix}", value=0)
    if linux is not None:
        series.add(f"  floor: Linux removes{suffix}", label,
                   removing_seconds(vmm) - linux)


def device_alone(kind, series):
    """What the device takes for the one request."""
    machine = Machine(kernel=BARE, memory=64 * MIB, elastic=[Elastic(SIZE)])
    with kind(machine) as vmm:
        vmm.wait_ready()
        vmm.console.ask("start 0")
        vmm.resize("em0", SIZE)
        for verb in ("plug", "unplug"):
            if verb == "unplug":
                vmm.resize("em0", 0)
            began = time.monotonic()
            vmm.console.ask(f"{verb} 0+0 {BLOCKS}")
            series.add(f"floor: the device alone, {verb}", "ours",
                       time.monotonic() - began)


def run(runs, kind):
    series = Series(f"drivers on {kind.label}: 2 GiB, the guest idle "
                    "(seconds)", tuple(DRIVERS))
    for cmdline, suffix in VARIANTS.items():
        for number, label, driver in in_turn(runs, DRIVERS):
            progress(f"driver{suffix}: {number + 1} of {runs}, {label}")
            machine = Machine(kernel=KERNEL, memory=512 * MIB,
                              elastic=[Elastic(SIZE)],
                              cmdline=f"{driver} {cmdline}")
            with kind(machine) as vmm:
                vmm.wait_init()
                vmm.wait_ready()
                use_boot_memory(vmm)
                time.sleep(0.5)
                there_and_back(vmm, series, label, True, cmdline)
                there_and_back(vmm, series, label, False, cmdline)
    for _ in range(runs):
        device_alone(kind, series)
    return series
