# SPDX-License-Identifier: BSD-3-Clause
"""Hostile guests: attempts of the bare guest (guest/bare/hostile/) at memory
that is not plugged. Each is detected, none gains a page, and neither the VMM
nor a second VM beside it comes to harm."""
import signal

from harness import expect, expect_equal, test, wait_until
from lib.bellows import bellows
from lib.conformance import BareGuest
from lib.vmm import BARE, GIB, MIB, Elastic, VmmError

BLOCK = 2 * MIB
CPUS = 2
PATTERN = 0x5ca1ab1e
# What each attempt must be found guilty of, at least: accesses by a processor,
# or by whom else. A processor's are counted one by one, exactly.
ACCESSES = {
    "read-before-plug": 1, "write-before-plug": 2, "atomic-before-plug": 2,
    "read-after-unplug": 1, "write-after-unplug": 1,
    "read-after-unplug-all": 1, "write-after-unplug-all": 1,
    "read-beyond-usable": 1, "write-beyond-usable": 1,
    "write-last-of-region": 1, "read-across-boundary": 1,
    "write-across-boundary": 1, "fill-across-boundary": 1, "stack": 2,
    "every-page": 512, "every-block": 16, "page-table": 2,
}
CROWDS = {
    "all-read-one-word": 10 * CPUS, "all-write-one-word": 10 * CPUS,
    "all-write-one-block": 10 * CPUS, "all-write-own-block": 10 * CPUS,
    "all-add": 10 * CPUS,
}
DEVICE = {
    "descriptors": 1, "available-ring": 1, "used-ring": 1, "request": 1,
    "response": 1, "response-across-boundary": 1, "indirect-table": 1,
    "response-in-what-is-unplugged": 1, "ring-in-what-is-unplugged": 1,
    # A message to no interrupt controller is no access to memory.
    "interrupt": 0,
}
PROTOCOL = {
    "plug-past-limit": 1, "flood": 1, "after-refusal": 1,
    "write-without-feature": 1, "read-beyond-without-feature": 1,
    "write-after-device-reset": 1,
}
BY_KVM = {"clock": 1}
# Nobody need get out of these.
STUCK = {"execute-before-plug", "execute-after-unplug", "exception-stack"}


def bare(lab, cpus, *options):
    """A bare guest, ready for attempts."""
    vmm = lab.start(kernel=BARE, memory=64 * MIB, cpus=cpus, ready=False,
                    elastic=[Elastic(8 * GIB, size_bytes=32 * BLOCK)],
                    options=list(options))
    return vmm, BareGuest(vmm)


class Beside:
    """A second VM, with something in its memory that must stay."""

    PLACES = [f"0+{hex(i * BLOCK + 8 * i)}" for i in range(4)]

    def __init__(self, lab):
        self.vmm, self.guest = bare(lab, 1, "--guard", "kill")
        self.guest.ask("start 0")
        self.guest.ask("plug 0 4")
        for at in self.PLACES:
            self.guest.ask(f"touch {at} w {PATTERN}")

    def check(self):
        for at in self.PLACES:
            expect_equal("memory of the VM beside",
                         self.guest.ask(f"touch {at} r"),
                         [f"value={PATTERN:x}"])
        expect_equal("violations of the VM beside",
                     self.vmm.show()["guard"]["violations"], 0)
        expect_equal("plugged of the VM beside",
                     self.vmm.status()["em0"]["plugged"], 4 * BLOCK)


def violations(vmm):
    return vmm.show()["guard"]["violations"]


def gained(vmm):
    """What the guest has that it should not have; empty if nothing."""
    done = bellows("audit", vmm.name)
    device = vmm.status()["em0"]
    if done.returncode:
        return done.stdout
    if device["resident"] > device["plugged"]:
        return f"{device['resident']} bytes resident, " \
            f"{device['plugged']} plugged"
    return ""


def attempt(vmm, guest, name, least):
    """Why an attempt did not end as it must; empty if it did."""
    before = violations(vmm)
    guest.ask(f"hostile {name}")
    found = violations(vmm) - before
    more = gained(vmm)
    if found < least:
        return f"{name}: found guilty {found} times, not {least}"
    if least == 0 and found:
        return f"{name}: found guilty {found} times, of nothing"
    return f"{name} gained: {more}" if more else ""


def attempts(lab, wanted):
    """All of one kind, in one VM, with another one beside it."""
    beside = Beside(lab)
    vmm, guest = bare(lab, CPUS, "--guard", "report")
    bad = [why for name, least in wanted.items()
           if (why := attempt(vmm, guest, name, least))]
    expect(not bad, "\n".join(bad))
    expect_equal("ping", guest.ask("ping"), ["pong"])
    beside.check()
    expect_equal("exit status", guest.power_off(), 0)
    beside.check()
    return vmm


@test("hostile/accesses")
def accesses(lab):
    """Reads, writes, atomics, stacks and page tables where nothing is."""
    attempts(lab, ACCESSES)


@test("hostile/processors")
def processors(lab):
    """The same from every processor at once."""
    attempts(lab, CROWDS)


@test("hostile/device")
def device(lab):
    """Rings and buffers where nothing is: the device does not go there."""
    attempts(lab, DEVICE)


@test("hostile/protocol")
def protocol(lab):
    """More than is requested, floods, refusals, features not negotiated."""
    attempts(lab, PROTOCOL)


@test("hostile/hypervisor")
def hypervisor(lab):
    """KVM's own writes for the guest, where the guest points them to."""
    attempts(lab, BY_KVM)


def found_or_ended(vmm):
    try:
        return violations(vmm) > 0
    except VmmError:
        return vmm.process.poll() is not None


@test("hostile/no-way-out")
def no_way_out(lab):
    """Code where nothing is, and exceptions whose stack is there: nothing
    runs, not even what was there before. The guest may be stuck, or reset, or
    KVM may give up on it: it is found first, and its VM ends in good order."""
    beside = Beside(lab)
    for name in sorted(STUCK):
        vmm, guest = bare(lab, 1, "--guard", "report")
        guest.sequence += 1
        vmm.console.send(f"{guest.sequence} hostile {name}\n")
        wait_until(f"{name} was found", lambda: found_or_ended(vmm))
        if vmm.process.poll() is None:
            expect_equal("gained", gained(vmm), "")
            vmm.interrupt(signal.SIGTERM)
            expect_equal("exit status", vmm.wait_end(), 0)
        expect("that is not plugged" in vmm.stderr(),
               f"{name} was not told of: {vmm.stderr()}")
        expect(not any("saw result 600d" in line
                       for _, line in vmm.console.lines), "the code ran")
    beside.check()


@test("hostile/race")
def race(lab):
    """Touches race plugs and unplugs of the block: an unplugged one never
    holds a page, and every request is acknowledged."""
    beside = Beside(lab)
    vmm, guest = bare(lab, CPUS, "--guard", "report")
    rounds = lab.rounds(100, 1000)
    times = lab.rounds(1, 100)
    for number in range(times):
        before = violations(vmm)
        lines = guest.ask(f"race {rounds}", timeout=600)
        expect(f"acknowledged {2 * rounds}" in lines, f"{lines}")
        expect(violations(vmm) > before, "no touch was caught")
        expect_equal("gained", gained(vmm), "")
        lab.progress((number + 1) * rounds, times * rounds)
    beside.check()


@test("hostile/policies")
def policies(lab):
    """`pause` stops the guest where it is, `kill` ends it, status 4."""
    beside = Beside(lab)
    vmm, guest = bare(lab, CPUS, "--guard", "pause")
    guest.sequence += 1
    vmm.console.send(f"{guest.sequence} hostile write-before-plug\n")
    wait_until("the VM is paused", lambda: vmm.show()["state"] == "paused")
    expect(violations(vmm) >= 1, "nothing was counted")
    expect_equal("gained", gained(vmm), "")
    killed, guest = bare(lab, CPUS, "--guard", "kill")
    killed.console.send("9 hostile write-before-plug\n")
    expect_equal("exit status", killed.wait_end(), 4)
    beside.check()


@test("hostile/without-guard")
def without_guard(lab):
    """The attempts are real: without the guard a write gains a page, and the
    audit tells of it."""
    vmm, guest = bare(lab, 1, "--guard", "off")
    expect_equal("gained before", gained(vmm), "")
    guest.ask("hostile write-before-plug")
    done = bellows("audit", vmm.name)
    expect_equal("exit status of the audit", done.returncode, 4)
    expect("is not plugged, and holds" in done.stdout, done.stdout)


@test("hostile/all-known")
def all_known(lab):
    """Every attempt that the guest knows is made by one of these tests."""
    vmm, guest = bare(lab, 1)
    known = {*ACCESSES, *CROWDS, *DEVICE, *PROTOCOL, *BY_KVM, *STUCK}
    expect_equal("attempts", sorted(guest.ask("attempts")), sorted(known))
    expect(len(known) >= 25, f"only {len(known)} attempts")
