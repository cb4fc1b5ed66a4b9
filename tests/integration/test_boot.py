# SPDX-License-Identifier: BSD-3-Clause
"""Stock kernels boot, in all shapes of machine, and find their memory."""
import os
import subprocess
from pathlib import Path

from harness import (GIB, KERNELS, MIB, PATIENCE, Elastic, expect, expect_equal,
                     power_off, resize_to, test)
from lib.paths import BUILD
from lib.paths import KERNELS as KERNEL_FOLDER


@test("boot/real-kernels-are-loaded")
def loaded(lab):
    """The loader's unit test, on every stock kernel there is."""
    done = subprocess.run([str(BUILD / "tests" / "unit" / "test_boot")],
                          env=dict(os.environ,
                                   BELLOWS_KERNELS=str(KERNEL_FOLDER)),
                          capture_output=True, text=True, timeout=PATIENCE,
                          check=False)
    expect_equal(f"exit status ({done.stdout} {done.stderr})",
                 done.returncode, 0)


def boot(lab, kernel, image):
    """Boots, is the kernel it should be, grows and shrinks, powers off."""
    vmm, witness = lab.guest(kernel=kernel, image=image, memory=256 * MIB)
    release = (KERNEL_FOLDER / kernel / "release").read_text().strip()
    expect_equal("release", vmm.release, release)
    resize_to(vmm, witness, "em0", 192 * MIB)
    rows = vmm.console.ask("iomem virtio_mem")
    expect(rows, "no virtio_mem memory in the guest's /proc/iomem")
    resize_to(vmm, witness, "em0", 2 * MIB)
    resize_to(vmm, witness, "em0", 0)
    power_off(vmm)


for _kernel in KERNELS:
    for _image, _word in (("vmlinuz", "bzimage"), ("vmlinux", "elf")):
        test(f"boot/{_kernel}-{_word}", kernel=_kernel, image=_image)(boot)


def cpus(lab, kernel, count):
    """All processors come up, and memory comes and goes with them."""
    vmm, witness = lab.guest(kernel=kernel, cpus=count)
    found, = vmm.console.ask("sh grep -c ^processor /proc/cpuinfo")
    expect_equal("processors", int(found), count)
    name, = vmm.console.ask("sh grep -m 1 ^model.name /proc/cpuinfo")
    expect(name in Path("/proc/cpuinfo").read_text(),
           f"the host's processors are not called {name!r}")
    resize_to(vmm, witness, "em0", 512 * MIB)
    resize_to(vmm, witness, "em0", 0)
    power_off(vmm)


test("boot/cpus-2", kernel="6.12-cloud", count=2)(cpus)
test("boot/cpus-3", kernel="6.1-generic", count=3)(cpus)
test("boot/cpus-16", kernel="6.1-cloud", count=16)(cpus)


def memory(lab, kernel, size, least, image="vmlinuz"):
    """Boot memory of that size is there, all but what the kernel takes."""
    vmm = lab.start(kernel=kernel, memory=size, image=image)
    total = vmm.mem_total()
    expect(least <= total < size,
           f"MemTotal {total // MIB} MiB of {size // MIB} MiB")
    power_off(vmm)


test("boot/memory-80m-elf", kernel="6.1-cloud", size=80 * MIB,
     least=32 * MIB, image="vmlinux")(memory)
test("boot/memory-128m", kernel="6.12-cloud", size=128 * MIB,
     least=50 * MIB)(memory)
test("boot/memory-to-the-hole", kernel="6.12-generic", size=3 * GIB,
     least=2816 * MIB)(memory)
test("boot/memory-over-the-hole", kernel="6.1-cloud", size=5 * GIB,
     least=4700 * MIB)(memory)


@test("boot/memory-64m-elf")
def memory_least(lab):
    """The least that a machine may have. Debian's 6.1 kernel takes 34 MiB for
    itself and dies of want when it makes its tracing files, under any VMM: but
    it runs until then, and finds 64 MiB."""
    vmm = lab.start(ready=False, memory=64 * MIB, image="vmlinux",
                    cmdline="earlyprintk=ttyS0 loglevel=8")
    _, found, _ = vmm.console.wait_for(
        r"Memory: \d+K/(\d+)K available", panics=False)
    size = int(found.group(1)) * 1024
    expect(63 * MIB <= size <= 64 * MIB, f"the kernel found {size} bytes")
    vmm.close()


@test("boot/memory-odd-and-elastic")
def memory_odd(lab):
    """Boot memory that ends inside a memory block, devices above 4 GiB."""
    vmm, witness = lab.guest(kernel="6.1-cloud", memory=3334 * MIB,
                             elastic=[Elastic(GIB, id="a"),
                                      Elastic(GIB, id="b")])
    resize_to(vmm, witness, "a", GIB)
    resize_to(vmm, witness, "b", GIB)
    resize_to(vmm, witness, "a", 0)
    resize_to(vmm, witness, "b", 0)
    power_off(vmm)


@test("boot/no-elastic-device")
def no_device(lab):
    """A machine without elastic memory is a machine."""
    vmm = lab.start(kernel="6.12-cloud", memory=256 * MIB)
    expect_equal("devices", vmm.status(), {})
    expect_equal("ping", vmm.console.ask("ping"), ["pong"])
    power_off(vmm)


def place(vmm):
    """(virtual address, physical address) of the kernel in the guest."""
    virtual, = vmm.console.ask("sh grep ' _text$' /proc/kallsyms")
    physical, = vmm.console.ask("sh grep 'Kernel code' /proc/iomem")
    return virtual.split()[0], physical.split("-")[0].strip()


@test("boot/unpacked-in-advance")
def unpacked(lab):
    """A kernel is unpacked once, and then found; it is placed at random, at a
    reboot again, or where it was linked to; and it can unpack itself."""
    cache = lab.folder / "cache"
    places = set()
    for kernel in ("6.1-generic", "6.12-cloud"):  # xz, zstd; others have lz4
        vmm = lab.start(kernel=kernel, memory=256 * MIB,
                        elastic=[Elastic(GIB)],
                        options=["--cache", str(cache)])
        expect(vmm.show()["kernel_unpacked"], "it unpacks itself")
        places.add(place(vmm))
        for _ in range(2 if kernel == "6.12-cloud" else 0):
            mark = vmm.console.mark()
            vmm.reset()
            vmm.wait_ready(since=mark)
            places.add(place(vmm))
        vmm.resize("em0", 512 * MIB)
        vmm.wait_plugged("em0", 512 * MIB)
        power_off(vmm)
    made = {path: path.stat().st_ino for path in cache.iterdir()}
    expect_equal("files in the cache", len(made), 2)
    # Of some 500 virtual addresses, and of some 100 places in memory.
    for number in (0, 1):
        expect(len({both[number] for both in places}) > 1,
               f"the kernel is always at {places}")
    vmm = lab.start(kernel="6.12-cloud", memory=256 * MIB, cmdline="nokaslr",
                    options=["--cache", str(cache)])
    expect(vmm.show()["kernel_unpacked"], "it unpacks itself")
    expect_equal("place without KASLR", place(vmm),
                 ("ffffffff81000000", "01000000"))
    power_off(vmm)
    expect_equal("files in the cache",
                 {path: path.stat().st_ino for path in cache.iterdir()}, made)


@test("boot/unpacks-itself")
def unpacks_itself(lab):
    """No cache, or none that can be trusted."""
    cache = lab.folder / "cache"
    cache.mkdir()
    cache.chmod(0o777)
    for where in ("none", str(cache)):
        vmm = lab.start(memory=256 * MIB, options=["--cache", where])
        expect(not vmm.show()["kernel_unpacked"], "it was unpacked")
        power_off(vmm)
    expect_equal("files in the cache", list(cache.iterdir()), [])
