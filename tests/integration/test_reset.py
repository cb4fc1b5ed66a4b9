# SPDX-License-Identifier: BSD-3-Clause
"""Every way to start again, pauses, and resets in the middle of things."""
import json
import random
import time

from harness import (GIB, MIB, Elastic, expect, expect_equal, one_line,
                     power_off, resize_to, test, wait_filled, wait_until)
from lib.bellows import Connection

# How the guest starts again (/sys/kernel/reboot/type), and what makes it.
KINDS = {
    "acpi": ("acpi", lambda vmm: vmm.console.send("0 reboot\n")),
    "keyboard": ("kbd", lambda vmm: vmm.console.send("0 reboot\n")),
    "triple-fault": ("triple", lambda vmm: vmm.console.send("0 reboot\n")),
    "panic": ("", lambda vmm: vmm.console.send(
        "0 sh echo c >/proc/sysrq-trigger\n")),
    "host": ("", lambda vmm: vmm.reset()),
}


class Client:
    """One connection to the API, which must never be made again."""

    def __init__(self, vmm):
        self.connection = Connection(vmm.socket_path)
        self.connection.connect()
        self.connection.auto_open = 0

    def show(self):
        self.connection.request("GET", "/v1/vm")
        answer = self.connection.getresponse()
        expect_equal("status of the answer", answer.status, 200)
        return json.loads(answer.read())


def again(vmm, how, client, number):
    """Start again in that way, the numberth time; until the agent answers.
    The client keeps asking meanwhile."""
    mark = vmm.console.mark()
    how(vmm)
    wait_until("the API tells of the reset",
               lambda: client.show()["reboots"] == number)
    vmm.console.wait_for("BELLOWS-READY", since=mark, panics=False)


def given_back(vmm):
    """The host has all memory of the old guest back, and show tells when."""
    wait_until("memory is back", lambda: vmm.show()["last_reset"]["back_us"])
    times = vmm.show()["last_reset"]
    before = times["hold_us"] + times["elastic_us"] + times["clear_us"]
    expect(times["back_us"] >= before, f"back sooner than taken: {times}")
    expect(before + times["load_us"] < 30e6 and times["back_us"] < 30e6,
           f"{times}")
    text = vmm.cli("show", check=True).stdout
    for words in ("last reset: ", "its memory given back after "):
        expect(words in text, f"show does not say {words!r}")
    expect_equal("audit", vmm.cli("audit").returncode, 0)


@test("reset/every-kind")
def every_kind(lab):
    """A reset of each kind gives all elastic memory back, and the guest asks
    for it again, in the same process, on the same console and connection."""
    vmm, witness = lab.guest(cpus=2, cmdline="panic=1 init_on_alloc=0 "
                             "agent.nodriver")
    vmm.console.ask("insmod virtio_mem.ko")
    pid = vmm.show()["pid"]
    for number, (kind, (way, how)) in enumerate(KINDS.items(), 1):
        size = (256 + 64 * number) * MIB
        resize_to(vmm, witness, "em0", size)
        if way:
            vmm.console.ask(f"sh echo {way} >/sys/kernel/reboot/type && "
                            "echo 1 >/sys/kernel/reboot/force")
        again(vmm, how, Client(vmm), number)
        given_back(vmm)
        device = vmm.status()["em0"]
        expect_equal(f"{kind}: requested", device["requested"], size)
        expect_equal(f"{kind}: plugged", device["plugged"], 0)
        expect_equal(f"{kind}: held by the host", device["resident"], 0)
        expect_equal(f"{kind}: MemTotal", vmm.mem_total(), witness.base)
        vmm.console.ask("insmod virtio_mem.ko")
        vmm.wait_plugged("em0", size)
        witness.check()
        shown = vmm.show()
        expect_equal(f"{kind}: pid", shown["pid"], pid)
        expect_equal(f"{kind}: resets", shown["reboots"], number)
    vmm.cli("stop", "--force", check=True)


@test("reset/again-while-memory-is-given-back")
def giving_back(lab):
    """Resets in quick succession, with much memory of the first guest still
    to be given back: it is counted until it is, once, and then all is."""
    vmm, witness = lab.guest(cpus=2, max_bytes=GIB,
                             cmdline="agent.nodriver init_on_alloc=0")
    for _ in range(lab.rounds(1, 3)):
        vmm.console.ask("insmod virtio_mem.ko")
        resize_to(vmm, witness, "em0", GIB)
        vmm.console.ask("load 1000 seq")
        wait_filled(vmm)
        before = vmm.show()["reboots"]
        for number in range(1, 4):
            mark = vmm.console.mark()
            vmm.api("POST", "/v1/vm/reboot")
            wait_until("a reset", lambda: vmm.show()["reboots"] >=
                       before + number)
            expect_equal("plugged", vmm.status()["em0"]["plugged"], 0)
            audit = vmm.cli("audit")
            expect_equal(f"audit ({audit.stdout})", audit.returncode, 0)
        vmm.console.wait_for("BELLOWS-READY", since=mark)
        given_back(vmm)
        expect_equal("held", vmm.status()["em0"]["resident"], 0)
        expect_equal("MemTotal", vmm.mem_total_settled(), witness.base)
    mark = vmm.console.mark()
    said = vmm.cli("reboot", "--wait", "60", check=True).stdout
    expect("its memory given back after " in said and one_line(said),
           f"reboot --wait said: {said}")
    vmm.wait_ready(since=mark)
    power_off(vmm)


@test("reset/no-reboot")
def no_reboot(lab):
    """--no-reboot ends the VM where it would be reset, by whomever."""
    for how in (KINDS["acpi"][1], KINDS["host"][1]):
        vmm = lab.start(memory=256 * MIB, options=["--no-reboot"])
        how(vmm)
        expect_equal("exit status", vmm.wait_end(), 0)


@test("reset/pause-and-resume")
def pause(lab):
    """A paused VM stands still; a resize waits for it; a reset keeps it
    paused; it goes on as if nothing had been."""
    vmm, witness = lab.guest(cpus=2)
    vmm.cli("pause", check=True)
    vmm.cli("pause", check=True)
    expect_equal("state", vmm.show()["state"], "paused")
    vmm.resize("em0", 256 * MIB)
    time.sleep(1)
    expect_equal("plugged while paused", vmm.status()["em0"]["plugged"], 0)
    vmm.cli("resume", check=True)
    vmm.cli("resume", check=True)
    expect_equal("state", vmm.show()["state"], "running")
    vmm.wait_plugged("em0", 256 * MIB)
    witness.check()
    vmm.cli("pause", check=True)
    mark = vmm.console.mark()
    vmm.reset()
    wait_until("reset while paused", lambda: vmm.show()["reboots"] == 1)
    expect_equal("state", vmm.show()["state"], "paused")
    expect_equal("plugged", vmm.status()["em0"]["plugged"], 0)
    vmm.cli("resume", check=True)
    vmm.wait_ready(since=mark)
    vmm.wait_plugged("em0", 256 * MIB)
    witness.check()
    vmm.cli("pause", check=True)
    vmm.cli("stop", "--force", check=True)
    expect_equal("exit status", vmm.wait_end(), 0)


@test("reset/at-any-moment")
def any_moment(lab):
    """Resets, several at once as well, at random moments of a resize."""
    rng = random.Random(11)
    vmm, witness = lab.guest(cpus=2, max_bytes=GIB,
                             cmdline="init_on_alloc=0")
    target = 0
    for _ in range(12):
        target = rng.choice((1024, 512, 2, 640, 0)) * MIB
        mark = vmm.console.mark()
        vmm.resize("em0", target)
        time.sleep(rng.random() * 0.6)
        for _ in range(rng.choice((1, 1, 3))):
            vmm.reset()
    vmm.console.wait_for("BELLOWS-READY", since=mark, panics=False)
    wait_until("the last reset is over", lambda:
               vmm.show()["state"] == "running")
    vmm.wait_plugged("em0", target)
    vmm.mem_total_settled()
    witness.check()
    power_off(vmm)


@test("reset/stop-at-any-moment")
def stop_any_moment(lab):
    """SIGTERM and `stop --force` at random moments always end it soon."""
    rng = random.Random(12)
    for number in range(6):
        vmm = lab.start(elastic=[Elastic(GIB)], cpus=2, ready=number % 2,
                        cmdline="init_on_alloc=0")
        time.sleep(rng.random())
        vmm.resize("em0", GIB)
        time.sleep(rng.random() * 0.3)
        if number % 3 == 0:
            vmm.reset()
        if number % 2:
            vmm.process.terminate()
        else:
            vmm.cli("stop", "--force", check=True)
        expect_equal("exit status", vmm.wait_end(5), 0)
