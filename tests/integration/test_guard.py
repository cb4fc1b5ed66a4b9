# SPDX-License-Identifier: BSD-3-Clause
"""The guard and the audit, with stock guests. What only a hostile guest of our
own can do is elsewhere."""
import json
import subprocess
from pathlib import Path

from harness import (GIB, MIB, PATIENCE, Elastic, check_load, expect, expect_equal,
                     power_off, resize_to, test, wait_filled, wait_until)
from lib.bellows import bellows
from lib.paths import BUILD
from lib.vmm import Machine

# Of the only elastic device of a guest with 512 MiB.
BASE = 4 * GIB
BLOCK = 2 * MIB
UFFD = Path("/dev/userfaultfd")


@test("guard/fence-on-this-kernel")
def fence(lab):
    """The fence's unit tests, on the kernel of a KVM host."""
    done = subprocess.run([str(BUILD / "tests" / "unit" / "test_fence")],
                          capture_output=True, text=True, timeout=PATIENCE,
                          check=False)
    expect_equal(f"exit status ({done.stdout} {done.stderr})",
                 done.returncode, 0)
    expect("SKIP" not in done.stdout, f"not all ran: {done.stdout}")


def peek(vmm, address, bits=32):
    """What the guest reads at a physical address."""
    row, = vmm.console.ask(f"sh devmem {address:#x} {bits}")
    return int(row, 16)


def poke(vmm, address, value=0x5a, bits=32):
    vmm.console.ask(f"sh devmem {address:#x} {bits} {value:#x}")


def violations(vmm):
    return vmm.show()["guard"]["violations"]


def audit(vmm):
    """(exit status, what it says)"""
    done = vmm.cli("audit", "--json")
    return done.returncode, json.loads(done.stdout)


def expect_clean(vmm):
    status, said = audit(vmm)
    expect_equal("exit status of audit", status, 0)
    expect(said["clean"], f"audit: {said}")


def guest_without_driver(lab, policy, **how):
    return lab.guest(cmdline="agent.nodriver", cpus=2,
                     options=["--guard", policy], **how)


def reported(lab, kernel):
    """Every kind of access that a program in a stock guest can make; the
    events name it, and a driver then gets the memory as if nothing was."""
    vmm, witness = guest_without_driver(lab, "report", kernel=kernel)
    vmm.resize("em0", 302 * MIB)
    usable = vmm.show()["elastic"][0]["usable_bytes"]
    # Without a driver the guest may read in the usable region.
    expect_equal("read in it", peek(vmm, BASE + 8 * MIB), 0)
    expect_equal("violations", violations(vmm), 0)
    seen = []
    for address, bits, write in (
            (BASE + 8 * MIB, 32, True), (BASE + 8 * MIB, 64, True),
            (BASE + 302 * MIB - 1, 8, True), (BASE + usable, 32, False),
            (BASE + usable, 16, True), (BASE + GIB - 8, 64, False)):
        if write:
            poke(vmm, address, bits=bits)
        else:
            expect_equal(f"read of {address:#x}", peek(vmm, address, bits), 0)
        seen.append((address, address & -BLOCK, bits // 8,
                     "write" if write else "read"))
    expect_equal("what was written", peek(vmm, BASE + 8 * MIB, 64), 0)
    events = vmm.api("GET", "/v1/vm/events")["events"]
    expect_equal("events", [(e["addr"], e["block_addr"], e["length"],
                             e["access"]) for e in events], seen)
    expect_equal("by", {(e["by"], e["id"], e["device"]) for e in events},
                 {("vcpu", "em0", None)})
    expect({e["vcpu"] for e in events} <= {0, 1}, f"vCPUs: {events}")
    expect_equal("numbers", [e["number"] for e in events],
                 list(range(1, len(seen) + 1)))
    later = vmm.api("GET", f"/v1/vm/events?after={len(seen) - 1}")["events"]
    expect_equal("the last", later, events[-1:])
    expect_equal("last", vmm.show()["guard"]["last"], events[-1])
    expect(f"{len(seen)} accesses" in vmm.cli("show").stdout, "show")
    expect_clean(vmm)
    expect_equal("held by the host", vmm.status()["em0"]["resident"], 0)

    vmm.console.ask("insmod virtio_mem.ko")
    vmm.wait_plugged("em0", 302 * MIB)
    witness.check()
    vmm.console.ask("load 200 random")
    wait_filled(vmm)
    check_load(vmm)
    expect_clean(vmm)
    expect_equal("violations", violations(vmm), len(seen))
    power_off(vmm)


test("guard/report-6.1", kernel="6.1-cloud")(reported)
test("guard/report-6.12", kernel="6.12-generic")(reported)


@test("guard/many-blocks")
def many(lab):
    """Far more blocks than holes are kept: each is caught, again and again,
    and nothing is held; the log is bounded."""
    vmm, witness = guest_without_driver(lab, "report")
    nr = lab.rounds(150, 512)
    for _ in range(2):
        expect_equal("written", vmm.console.ask(
            f"devmem write {BASE:#x} {BLOCK} {nr}"), [str(nr)])
    expect_equal("violations", violations(vmm), 2 * nr)
    expect_clean(vmm)
    expect_equal("held by the host", vmm.status()["em0"]["resident"], 0)
    events = vmm.api("GET", "/v1/vm/events")["events"]
    kept = min(2 * nr, 256)
    expect_equal("events", [e["number"] for e in events],
                 list(range(2 * nr - kept + 1, 2 * nr + 1)))
    expect_equal("blocks", [e["block_addr"] for e in events],
                 [BASE + (n % nr) * BLOCK
                  for n in range(2 * nr - kept, 2 * nr)])
    lines = vmm.stderr().count("memory that is not plugged")
    seconds = vmm.show()["uptime_ms"] / 1000
    expect(10 <= lines <= 10 * (seconds / 10 + 1), f"{lines} lines in the log")
    text = vmm.metrics()
    expect(f'guard_violations_total{{vm="{vmm.name}"}} {2 * nr}\n' in text,
           f"metrics: {text}")
    vmm.console.ask("insmod virtio_mem.ko")
    resize_to(vmm, witness, "em0", GIB)
    mark = vmm.console.mark()
    vmm.reset()
    vmm.wait_ready(since=mark)
    poke(vmm, BASE)
    expect_equal("violations", violations(vmm), 2 * nr + 1)
    power_off(vmm)


@test("guard/pause")
def pause(lab):
    """The VM stands still with the reason told; resumed, the write is dropped
    and the guest goes on."""
    vmm, _ = guest_without_driver(lab, "pause")
    for number in (1, 2):
        vmm.console.send(f"{number} sh devmem {BASE:#x} 32 1\n")
        wait_until("paused by the guard", lambda: vmm.show()["state"] ==
                   "paused" and vmm.show()["paused_by_guard"])
        expect("by the guard" in vmm.cli("show").stdout, "show")
        expect_equal("violations", violations(vmm), number)
        expect_clean(vmm)
        vmm.cli("resume", check=True)
        vmm.console.wait_for(f"@{number} END 0")
        expect_equal("paused by the guard", vmm.show()["paused_by_guard"],
                     False)
    vmm.cli("pause", check=True)
    expect_equal("paused by the guard", vmm.show()["paused_by_guard"], False)
    vmm.cli("resume", check=True)
    power_off(vmm)


@test("guard/kill")
def kill(lab):
    vmm, _ = guest_without_driver(lab, "kill")
    vmm.resize("em0", 256 * MIB)
    expect_equal("a read that is allowed", peek(vmm, BASE), 0)
    vmm.console.send(f"1 sh devmem {BASE + 7 * MIB:#x} 32 1\n")
    expect_equal("exit status", vmm.wait_end(), 4)
    last = vmm.stderr().splitlines()[-1]
    for word in ("wrote", f"{BASE + 7 * MIB:#x}", "'em0'",
                 f"{BASE + 6 * MIB:#x}"):
        expect(word in last, f"it does not say {word}: {last}")


@test("guard/off")
def off(lab):
    """Nothing is caught, and the audit names what the guest has taken."""
    vmm, _ = guest_without_driver(lab, "off")
    poke(vmm, BASE + 10 * MIB)
    expect_equal("read", peek(vmm, BASE + 10 * MIB), 0x5a)
    expect_equal("violations", violations(vmm), 0)
    said = vmm.cli("guard", "report")
    expect_equal("exit status of guard", said.returncode, 2)
    expect("--guard off" in said.stderr, said.stderr)
    status, said = audit(vmm)
    expect_equal("exit status of audit", status, 4)
    device, = said["elastic"]
    expect_equal("excess", [b["addr"] for b in device["excess"]],
                 [BASE + 10 * MIB])
    expect(4096 <= device["excess_bytes"] <= BLOCK, f"{device}")
    expect(f"{BASE + 10 * MIB:#x}" in vmm.cli("audit").stdout, "audit")
    mark = vmm.console.mark()
    vmm.reset()
    vmm.wait_ready(since=mark)
    expect_clean(vmm)
    power_off(vmm)


@test("guard/changed")
def changed(lab):
    """What was taken while the guard was off is gone when it is on again, and
    what a driver plugged is kept; and a policy is that of the next access."""
    vmm, witness = guest_without_driver(lab, "report")
    poke(vmm, BASE)
    expect_equal("violations", violations(vmm), 1)
    vmm.cli("guard", "off", check=True)
    expect("guard: off" in vmm.cli("show").stdout, "show")
    for address in (BASE, BASE + 600 * MIB):
        poke(vmm, address)
        expect_equal("read", peek(vmm, address), 0x5a)
    expect_equal("violations", violations(vmm), 1)
    expect_equal("exit status of audit", audit(vmm)[0], 4)
    vmm.cli("guard", "report", check=True)
    expect_clean(vmm)
    expect_equal("read", peek(vmm, BASE + 600 * MIB), 0)
    poke(vmm, BASE)
    expect_equal("violations", violations(vmm), 3)

    vmm.console.ask("insmod virtio_mem.ko")
    resize_to(vmm, witness, "em0", 256 * MIB)
    vmm.console.ask("load 160 random")
    wait_filled(vmm)
    vmm.cli("guard", "off", check=True)
    resize_to(vmm, witness, "em0", 512 * MIB)
    resize_to(vmm, witness, "em0", 384 * MIB)
    vmm.cli("guard", "report", check=True)
    check_load(vmm)
    resize_to(vmm, witness, "em0", GIB)
    check_load(vmm)
    expect_clean(vmm)
    expect_equal("violations", violations(vmm), 3)
    vmm.console.ask("load stop")
    resize_to(vmm, witness, "em0", 0)
    vmm.console.ask("rmmod virtio_mem")
    vmm.cli("guard", "kill", check=True)
    vmm.console.send(f"1 sh devmem {BASE + 700 * MIB:#x} 32 1\n")
    expect_equal("exit status", vmm.wait_end(), 4)


class WithoutUffd:
    """Hides the device, and runs commands without the capability, as for a
    user who has neither."""

    hidden = Path("/dev/userfaultfd.hidden")
    prefix = ("setpriv", "--bounding-set=-sys_ptrace",
              "--inh-caps=-sys_ptrace")

    def __enter__(self):
        self.there = UFFD.exists()
        if self.there:
            UFFD.rename(self.hidden)
        return self

    def __exit__(self, *_):
        if self.there:
            self.hidden.rename(UFFD)


@test("guard/not-allowed")
def not_allowed(lab):
    """A user who may not: the default does without and says so, a policy that
    was asked for is an error that says what to do."""
    with WithoutUffd() as hidden:
        vmm = lab.kind(Machine(elastic=[Elastic(GIB)],
                               options=["--guard", "kill"]))
        command = [*hidden.prefix, *vmm.command()]
        done = subprocess.run(command, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=PATIENCE,
                              check=False)
        expect_equal("exit status", done.returncode, 2)
        for word in ("--guard", "CAP_SYS_PTRACE", str(UFFD)):
            expect(word in done.stderr, f"{word} in {done.stderr!r}")
        command = [word for word in command if word not in ("--guard", "kill")]
        vmm.command = lambda: command
        lab.vmms.append(vmm)
        vmm.start()
        vmm.wait_ready()
        expect_equal("policy", vmm.show()["guard"]["policy"], "off")
        expect("CAP_SYS_PTRACE" in vmm.show()["guard"]["off_reason"], "why")
        expect("without the guard" in vmm.stderr(), vmm.stderr())
        expect("CAP_SYS_PTRACE" in vmm.cli("show").stdout, "show")
        expect("CAP_SYS_PTRACE" in vmm.cli("guard", "kill").stderr, "guard")
        power_off(vmm)


@test("guard/words")
def words(lab):
    done = bellows("run", "--name", "x", "--kernel", "/dev/null", "--guard",
                   "maybe")
    expect_equal("exit status", done.returncode, 2)
    expect("'maybe' is not off, report, pause or kill" in done.stderr,
           done.stderr)
    expect_equal("audit of none", bellows("audit", "none").returncode, 2)
    done = bellows("guard", "none", "maybe")
    expect_equal("exit status", done.returncode, 2)
    expect("'maybe' is not off, report, pause or kill" in done.stderr,
           done.stderr)
