# SPDX-License-Identifier: BSD-3-Clause
"""Guests grow and shrink, and all three parties say the same about it."""
import random

from harness import (GIB, MIB, OUR_DRIVER, Elastic, Witness, check_load,
                     expect, expect_equal, expect_no_offence, power_off,
                     resize_to, test, wait_filled)


def every_size(lab, kernel, top):
    """Up and down through every size in steps of one block."""
    vmm, witness = lab.guest(kernel=kernel, max_bytes=256 * MIB)
    for size in [*range(0, top, 2), *range(top, -2, -2)]:
        resize_to(vmm, witness, "em0", size * MIB)
    power_off(vmm)


test("resize/every-size-6.1", kernel="6.1-cloud", top=256)(every_size)
# A little more than one of Linux's memory blocks.
test("resize/every-size-6.12", kernel="6.12-cloud", top=132)(every_size)


def walk(lab, kernel, seed, driver=""):
    """A random walk: near, far, to the ends, and to where it was."""
    rng = random.Random(seed)
    top = 2048
    vmm, witness = lab.guest(kernel=kernel, max_bytes=top * MIB,
                             cmdline=f"{driver} init_on_alloc=0")
    size = 0
    for _ in range(lab.rounds(25, 400)):
        step = rng.choice((2, 4, 126, 128, 130, 256, 1000))
        size = rng.choice((size + step, size - step, size + step, 0, top,
                           rng.randrange(0, top + 2, 2)))
        size = max(0, min(size, top))
        resize_to(vmm, witness, "em0", size * MIB)
    resize_to(vmm, witness, "em0", 0)
    if driver:
        expect_no_offence(vmm, settled=True)
    power_off(vmm)


for _number, _kernel in enumerate(("6.1-cloud", "6.12-generic")):
    test(f"resize/walk-{_kernel}", kernel=_kernel, seed=_number)(walk)
    test(f"resize/walk-our-driver-{_kernel}", kernel=_kernel, seed=_number,
         driver=OUR_DRIVER)(walk)


@test("resize/changed-on-the-way")
def changed(lab):
    """A new size while the guest is still on its way to the last one."""
    vmm, witness = lab.guest(max_bytes=2 * GIB, cmdline="init_on_alloc=0")
    for size in (2048, 100, 1500, 2, 2048, 0, 640):
        vmm.resize("em0", size * MIB)
    vmm.wait_plugged("em0", 640 * MIB)
    witness.check()
    resize_to(vmm, witness, "em0", 0)
    power_off(vmm)


def block_size(lab, block, sizes, kernel="6.1-cloud"):
    """A device with other blocks than the default."""
    vmm, witness = lab.guest(kernel=kernel, elastic=[
        Elastic(max(sizes) * MIB, block_bytes=block)],
        cmdline="init_on_alloc=0")
    for size in sizes:
        resize_to(vmm, witness, "em0", size * MIB)
    power_off(vmm)


test("resize/block-4m", block=4 * MIB,
     sizes=(4, 8, 132, 2048, 2044, 128, 0))(block_size)
test("resize/block-128m", block=128 * MIB, kernel="6.12-cloud",
     sizes=(128, 1024, 2048, 384, 0))(block_size)
test("resize/block-256m", block=256 * MIB,
     sizes=(256, 2048, 1024, 0))(block_size)
test("resize/block-1g", block=GIB, sizes=(1024, 4096, 2048, 0))(block_size)
test("resize/block-2g", block=2 * GIB, kernel="6.12-cloud",
     sizes=(2048, 4096, 2048, 0))(block_size)


@test("resize/several-devices")
def several(lab):
    """Three devices, resized one by one and at once."""
    devices = [Elastic(GIB, id="one"), Elastic(512 * MIB, id="two"),
               Elastic(2 * GIB, id="three", block_bytes=4 * MIB)]
    vmm, witness = lab.guest(elastic=devices, cmdline="init_on_alloc=0")
    resize_to(vmm, witness, "two", 512 * MIB)
    resize_to(vmm, witness, "one", 6 * MIB)
    resize_to(vmm, witness, "three", 1004 * MIB)
    targets = {"one": 1024, "two": 0, "three": 4}
    for device, size in targets.items():
        vmm.resize(device, size * MIB)
    for device, size in targets.items():
        vmm.wait_plugged(device, size * MIB)
    witness.check()
    for device in targets:
        resize_to(vmm, witness, device, 0)
    power_off(vmm)


@test("resize/size-at-start")
def at_start(lab):
    """A device that starts with a size has it soon after boot."""
    vmm = lab.start(kernel="6.12-cloud",
                    elastic=[Elastic(GIB, size_bytes=320 * MIB)])
    vmm.wait_plugged("em0", 320 * MIB)
    # Counts from the size that it started with: none is lost on the way.
    witness = Witness(vmm)
    witness.base = vmm.mem_total_settled(2) - 320 * MIB
    resize_to(vmm, witness, "em0", 0)
    power_off(vmm)


def under_load(lab, kernel, cpus, pattern):
    """Memory comes and goes while it is being written and checked."""
    vmm, witness = lab.guest(kernel=kernel, cpus=cpus, memory=256 * MIB,
                             max_bytes=GIB, cmdline="init_on_alloc=0")
    resize_to(vmm, witness, "em0", 768 * MIB)
    for _ in range(cpus):
        vmm.console.ask(f"load {320 // cpus} {pattern}")
    wait_filled(vmm)
    for size in (512, 1024, 640, 642, 500, 900, 400):
        resize_to(vmm, witness, "em0", size * MIB, in_use=True)
        check_load(vmm)
    vmm.console.ask("load stop")
    resize_to(vmm, witness, "em0", 0)
    power_off(vmm)


test("resize/under-load-random-6.1", kernel="6.1-cloud", cpus=1,
     pattern="random")(under_load)
test("resize/under-load-2-cpus-6.1", kernel="6.1-generic", cpus=2,
     pattern="random")(under_load)
test("resize/under-load-4-cpus-6.12", kernel="6.12-cloud", cpus=4,
     pattern="seq")(under_load)


@test("resize/memory-goes-back-to-the-host")
def gives_back(lab):
    """What the guest wrote to is held by the host, and given back."""
    vmm, witness = lab.guest(memory=256 * MIB, cmdline="init_on_alloc=0")
    resize_to(vmm, witness, "em0", GIB)
    vmm.console.ask("load 600 seq")
    wait_filled(vmm)
    held = vmm.status()["em0"]["resident"]
    expect(held >= 400 * MIB, f"the host holds {held // MIB} MiB of 600")
    vmm.console.ask("load stop")
    resize_to(vmm, witness, "em0", 64 * MIB)
    held = vmm.status()["em0"]["resident"]
    expect(held <= 64 * MIB, f"the host still holds {held // MIB} MiB")
    resize_to(vmm, witness, "em0", 0)
    expect_equal("held at 0", vmm.status()["em0"]["resident"], 0)
    power_off(vmm)
