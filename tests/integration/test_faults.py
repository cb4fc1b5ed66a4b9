# SPDX-License-Identifier: BSD-3-Clause
"""Many restarts of every kind, and interruptions of resizes at any moment:
nothing is lost, left over, or counted wrong."""
import os
import random
import time

from harness import (GIB, MIB, PATIENCE, STILL, Elastic, Failed, expect, expect_equal,
                     power_off, test, wait_until)
from lib.bellows import bellows
from lib.console import GuestError
from lib.vmm import Node, VmmError
from test_leaks import usage
from test_numa import totals

# How the guest starts again; its kernel's way can be changed as it runs.
WAYS = {"acpi": "acpi", "keyboard": "kbd", "triple fault": "triple",
        "panic": None, "host": None}
NODES = [Node("0", 320 * MIB), Node("1", 320 * MIB)]


def start_again(vmm, way):
    """In that way; until the agent answers."""
    if WAYS[way]:
        vmm.console.ask(f"sh echo {WAYS[way]} >/sys/kernel/reboot/type")
        vmm.console.ask("sh echo 1 >/sys/kernel/reboot/force")
    mark = vmm.console.mark()
    if WAYS[way]:
        vmm.console.send("0 reboot\n")
    elif way == "panic":
        vmm.console.send("0 sh echo c >/proc/sysrq-trigger\n")
    else:
        vmm.reset()
    vmm.console.wait_for("BELLOWS-READY", since=mark, panics=False)


def node_totals_become(vmm, what, wanted):
    """A guest counts memory a moment after it has plugged it."""
    deadline = time.monotonic() + PATIENCE
    while totals(vmm) != wanted:
        if time.monotonic() > deadline:
            raise Failed(f"{what}: MemTotal of the nodes is {totals(vmm)}, "
                         f"not {wanted}")
        time.sleep(0.1)


def check_given_back(vmm, what, base):
    """Just restarted, its driver not yet there: only boot memory is left."""
    for name, device in vmm.status().items():
        expect_equal(f"{what}: {name} plugged", device["plugged"], 0)
        expect_equal(f"{what}: {name} held by the host", device["resident"],
                     0)
    expect_equal(f"{what}: MemTotal of the nodes", totals(vmm), base)


def restarts(lab, kernel):
    """Restarts of mixed kinds in a row, with a resize between each, two
    nodes: sizes per node exact, host memory back, nothing left over."""
    rng = random.Random(21)
    vmm = lab.start(
        kernel=kernel, cpus=2, nodes=NODES, memory=640 * MIB,
        elastic=[Elastic(GIB, id=f"n{i}", node=i) for i in range(2)],
        cmdline=f"{STILL} panic=-1 init_on_alloc=0 agent.nodriver")
    base, pid, before = totals(vmm), vmm.pid, None
    size, ways = [0, 0], []
    for number in range(lab.rounds(5, 100)):
        if not ways:            # each as often as the others
            ways = rng.sample(sorted(WAYS), len(WAYS))
        way = ways.pop()
        what = f"restart {number} ({way})"
        vmm.console.ask("insmod virtio_mem.ko")
        node = rng.randrange(2)
        size[node] = rng.randrange(257) * 2 * MIB
        vmm.resize(f"n{node}", size[node])
        for i in range(2):
            vmm.wait_plugged(f"n{i}", size[i])
        node_totals_become(vmm, what, {i: base[i] + size[i]
                                       for i in range(2)})
        start_again(vmm, way)
        check_given_back(vmm, what, base)
        expect_equal(f"{what}: restarts", vmm.show()["reboots"], number + 1)
        expect_equal(f"{what}: process", vmm.show()["pid"], pid)
        if number:
            expect_equal(f"{what}: usage", usage(vmm), before)
        before = usage(vmm)
    power_off(vmm)


class Interruption:
    """One resize of a running guest, and what comes in between."""

    KINDS = ("reset", "resets", "guest", "resize", "pause", "term", "stop")

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.target = self.rng.choice((GIB, 640 * MIB, 130 * MIB, 2 * MIB, 0))
        self.kind = self.KINDS[seed % len(self.KINDS)]
        # Within a request as often as long before or after one.
        self.delay = self.rng.choice((0.02, 0.2, 0.8)) * self.rng.random()

    def strike(self, vmm):
        """True if the machine goes on."""
        if self.kind == "reset":
            vmm.reset()
        elif self.kind == "resets":
            for _ in range(3):
                vmm.reset()
                time.sleep(self.rng.random() * 0.05)
        elif self.kind == "guest":
            vmm.console.send("0 reboot\n")
        elif self.kind == "resize":
            self.target = self.rng.randrange(513) * 2 * MIB
            vmm.resize("em0", self.target)
        elif self.kind == "pause":
            vmm.cli("pause", check=True)
            time.sleep(self.rng.random() * 0.1)
            vmm.cli("resume", check=True)
        elif self.kind == "term":
            vmm.process.terminate()
        else:
            vmm.cli("stop", "--force", check=True)
        return self.kind not in ("term", "stop")


def start_victim(lab, kernel):
    vmm = lab.start(kernel=kernel, cpus=2, memory=256 * MIB,
                    elastic=[Elastic(GIB)],
                    cmdline=f"{STILL} init_on_alloc=0 reboot=acpi,force")
    return vmm, vmm.mem_total()


def settle(vmm, mark, target, base, restarted):
    if restarted:
        vmm.console.wait_for("BELLOWS-READY", since=mark, panics=False)
        wait_until("the last reset is over",
                   lambda: vmm.show()["state"] == "running")
    vmm.wait_plugged("em0", target)
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            total = vmm.mem_total()
        except GuestError:      # a reset took the question along
            total = None
        device = vmm.status()["em0"]
        if total == base + target and device["plugged"] == target:
            break
        if time.monotonic() > deadline:
            raise Failed(f"the guest has {total} bytes, not {base + target}")
        time.sleep(0.1)
    expect(device["resident"] <= target,
           f"{device['resident']} bytes held for {target} plugged")
    audit = vmm.cli("audit")
    expect_equal(f"audit ({audit.stdout} {audit.stderr})", audit.returncode,
                 0)


def interruptions(lab, kernel):
    """Resizes interrupted by resets, stops, signals and one another."""
    first = int(os.environ.get("BELLOWS_SEED", 0))
    count = 1 if first else lab.rounds(14, 300)
    vmm = None
    for seed in range(first or 1, (first or 1) + count):
        it = Interruption(seed)
        again = (f"seed {seed} ({it.kind} {it.delay:.3f} s after a resize to "
                 f"{it.target // MIB} MiB; again: BELLOWS_SEED={seed} ./dev "
                 f"test lab/faults/interruptions-{kernel})")
        if vmm is None:
            vmm, base = start_victim(lab, kernel)
        try:
            mark = vmm.console.mark()
            vmm.resize("em0", it.target)
            time.sleep(it.delay)
            if it.strike(vmm):
                settle(vmm, mark, it.target, base,
                       it.kind in ("reset", "resets", "guest"))
                continue
            expect_equal("exit status", vmm.wait_end(10), 0)
            expect(vmm.name not in bellows("ls", check=True).stdout,
                   "it is listed after its end")
            vmm.close()
            lab.vmms.remove(vmm)
            vmm = None
        except (Failed, VmmError, GuestError) as error:
            raise Failed(f"{again}: {error}") from None
    if vmm:
        power_off(vmm)


for _kernel in ("6.1-cloud", "6.12-cloud"):
    test(f"faults/restarts-{_kernel}", kernel=_kernel)(restarts)
    test(f"faults/interruptions-{_kernel}", kernel=_kernel)(interruptions)


@test("faults/reset-loop")
def reset_loop(lab):
    """A guest that resets as soon as it runs, and one that hangs in its
    restart: `stop --force` and SIGTERM end them soon."""
    for end in ("stop", "term"):
        vmm = lab.start(memory=256 * MIB, ready=False, elastic=[Elastic(GIB)],
                        cmdline="rdinit=/none panic=-1")
        wait_until("it has restarted twice",
                   lambda: vmm.show()["reboots"] >= 2)
        finish(vmm, end)
        # Halted with interrupts off, it never gets to its restart.
        vmm = lab.start(memory=256 * MIB, cpus=2,
                        cmdline="panic=0 sysrq_always_enabled")
        vmm.console.send("0 sh echo c >/proc/sysrq-trigger\n")
        vmm.console.wait_for("Kernel panic", panics=False)
        finish(vmm, end)


def finish(vmm, end):
    if end == "stop":
        vmm.cli("stop", "--force", check=True)
    else:
        vmm.process.terminate()
        # The guest hears the power button, and may not heed it.
        if vmm.process.poll() is None:
            vmm.process.terminate()
    began = time.monotonic()
    expect_equal("exit status", vmm.wait_end(60), 0)
    expect(time.monotonic() - began < 45, "it took too long to end")
