# SPDX-License-Identifier: BSD-3-Clause
"""Suspending to memory (S3) and to idle, with elastic memory kept."""
import random
import time

from harness import (GIB, MIB, OUR_DRIVER, Elastic, check_load, expect,
                     expect_equal, one_line, power_off, resize_to, test,
                     wait_filled, wait_until)
from lib.conformance import BareGuest
from lib.kexec import shell
from lib.vmm import BARE

DEEP, IDLE = "deep", "s2idle"
AWAKE = "BELLOWS-AWAKE (.*)"


def choose(vmm, how):
    """What the guest's sleep button does."""
    shell(vmm, f"echo {how} >/sys/power/mem_sleep")


def suspend(vmm):
    """Until it is; returns a place in the console's output."""
    mark = vmm.console.mark()
    done = vmm.cli("suspend")
    expect_equal(f"suspend ({done.stderr}\n{vmm.console.tail(20)})",
                 done.returncode, 0)
    expect_equal("state", vmm.show()["state"], "suspended")
    return mark


def resume(vmm, mark):
    vmm.cli("resume", check=True)
    _, found, _ = vmm.console.wait_for(AWAKE, since=mark)
    expect_equal("the guest's suspend ended", found[1], "well")
    expect_equal("state", vmm.show()["state"], "running")


def clock_error(vmm):
    """By how many seconds the guest's clock is wrong."""
    now, = shell(vmm, "date +%s")
    return abs(int(now) - time.time())


def sizes(vmm):
    return {key: value for key, value in vmm.show()["elastic"][0].items()
            if key in ("requested_bytes", "plugged_bytes", "resident_bytes",
                       "requests")}


def clean(vmm):
    audit = vmm.cli("audit")
    expect_equal(f"audit ({audit.stdout})", audit.returncode, 0)


def kept(lab, kernel, how, driver=""):
    """Again and again: nothing changes while the guest sleeps, all content is
    there when it has woken, and the sizes asked for meanwhile are reached."""
    vmm, witness = lab.guest(kernel=kernel, cpus=2, cmdline=driver)
    choose(vmm, how)
    resize_to(vmm, witness, "em0", 256 * MIB)
    vmm.console.ask("load 140 random")
    wait_filled(vmm)
    before = vmm.show()
    expect(before["elastic"][0]["persistent_suspend"], "the driver's features")
    wrong, wanted = clock_error(vmm), 256
    for size in (None, 512, 226) * lab.rounds(1, 4):
        mark = suspend(vmm)
        if size:
            done = vmm.cli("resize", f"{size}M", "--wait", "0.2")
            expect_equal("resize", done.returncode, 3)
            expect("the guest is suspended" in done.stdout, done.stdout)
        asleep = sizes(vmm)
        time.sleep(2)
        expect_equal("while it sleeps", sizes(vmm), asleep)
        clean(vmm)
        resume(vmm, mark)
        check_load(vmm)
        wanted = size or wanted
        vmm.wait_plugged("em0", wanted * MIB)
        witness.check()
        expect(clock_error(vmm) < wrong + 2, "the clock stood still")
    after = vmm.show()
    for what in ("pid", "reboots"):
        expect_equal(what, after[what], before[what])
    resize_to(vmm, witness, "em0", 300 * MIB)
    check_load(vmm)
    power_off(vmm)


test("suspend/kept-deep-6.12", kernel="6.12-cloud", how=DEEP)(kept)
test("suspend/kept-idle-6.12", kernel="6.12-generic", how=IDLE)(kept)
test("suspend/kept-deep-6.1-ours", kernel="6.1-generic", how=DEEP,
     driver=OUR_DRIVER)(kept)
test("suspend/kept-idle-6.1-ours", kernel="6.1-cloud", how=IDLE,
     driver=OUR_DRIVER)(kept)


@test("suspend/refused-6.1")
def refused(lab):
    """The stock driver of 6.1 refuses. With memory plugged that is known: the
    user hears why at once, and the guest is not asked."""
    vmm, witness = lab.guest()
    resize_to(vmm, witness, "em0", 256 * MIB)
    mark = vmm.console.mark()
    began = time.monotonic()
    done = vmm.cli("suspend")
    expect(time.monotonic() - began < 3, "it took its time")
    expect_equal("exit status", done.returncode, 2)
    for word in ("'em0'", "256M", "PERSISTENT_SUSPEND", "6.10"):
        expect(word in done.stderr and one_line(done.stderr),
               f"{word} in: {done.stderr}")
    expect_equal("state", vmm.show()["state"], "running")
    status, _ = vmm.console.command("sh echo mem 2>&1 >/sys/power/state")
    expect(status, "the guest suspended by itself")
    resize_to(vmm, witness, "em0", 0)
    expect(not any("AWAKE" in text for _, text in vmm.console.lines[mark:]),
           "the guest was asked")
    # Now it is asked, and refuses nevertheless.
    done = vmm.cli("suspend", "--wait", "10")
    expect_equal("exit status with nothing plugged", done.returncode, 3)
    for word in ("'em0'", "PERSISTENT_SUSPEND", "after 10 s"):
        expect(word in done.stderr and one_line(done.stderr),
               f"{word} in: {done.stderr}")
    _, found, _ = vmm.console.wait_for(AWAKE, since=mark)
    expect(found[1] != "well", "the guest suspended")
    resize_to(vmm, witness, "em0", 128 * MIB)
    power_off(vmm)


@test("suspend/nothing-plugged-6.1")
def nothing_plugged(lab):
    """Without a driver 6.1 suspends in both ways, and plugs afterwards; who
    ignores the button is said to."""
    vmm, witness = lab.guest(cpus=2, cmdline="agent.nodriver")
    for how in (DEEP, IDLE, DEEP):
        choose(vmm, how)
        resume(vmm, suspend(vmm))
    vmm.console.ask("insmod virtio_mem.ko")
    resize_to(vmm, witness, "em0", 256 * MIB)
    power_off(vmm)
    deaf = lab.start(memory=256 * MIB, cmdline="agent.nobutton")
    done = deaf.cli("suspend", "--wait", "1")
    expect_equal("exit status", done.returncode, 3)
    expect("may ignore the sleep button" in done.stderr, done.stderr)
    expect_equal("ping", deaf.console.ask("ping"), ["pong"])


def in_a_resize(lab, how):
    """Whatever the guest was about to plug or unplug, it goes on with it."""
    rng = random.Random(5)
    vmm, witness = lab.guest(kernel="6.12-cloud", cpus=2, max_bytes=2 * GIB,
                             cmdline="init_on_alloc=0")
    choose(vmm, how)
    for target in (2048, 2, 1536, 0) * lab.rounds(1, 8):
        vmm.resize("em0", target * MIB)
        time.sleep(rng.random() * 0.5)
        mark = suspend(vmm)
        asleep = sizes(vmm)
        time.sleep(0.5)
        expect_equal("while it sleeps", sizes(vmm), asleep)
        clean(vmm)
        resume(vmm, mark)
        vmm.wait_plugged("em0", target * MIB)
        witness.check()
    power_off(vmm)


test("suspend/deep-in-a-resize", how=DEEP)(in_a_resize)
test("suspend/idle-in-a-resize", how=IDLE)(in_a_resize)


def others(lab, how):
    """What else is asked of a suspended machine: pause, reboot, stop."""
    vmm, witness = lab.guest(kernel="6.12-cloud", cpus=2)
    choose(vmm, how)
    resize_to(vmm, witness, "em0", 256 * MIB)
    mark = suspend(vmm)
    vmm.cli("suspend", check=True)
    # A pause, on top; who is paused cannot be asked to suspend.
    vmm.cli("pause", check=True)
    expect_equal("state", vmm.show()["state"], "paused")
    vmm.cli("resume", check=True)
    expect_equal("state", vmm.show()["state"], "suspended")
    resume(vmm, mark)
    witness.check()
    vmm.cli("pause", check=True)
    done = vmm.cli("suspend")
    expect_equal("suspend while paused", done.returncode, 2)
    expect("is paused" in done.stderr, done.stderr)
    vmm.cli("resume", check=True)
    vmm.cli("resume", check=True)
    # A reset takes what was kept.
    mark = suspend(vmm)
    vmm.reset()
    vmm.wait_ready(since=mark)
    expect_equal("state", vmm.show()["state"], "running")
    expect_equal("reboots", vmm.show()["reboots"], 1)
    vmm.wait_plugged("em0", 256 * MIB)
    witness.check()
    # The button of who sleeps wakes it first.
    choose(vmm, how)
    suspend(vmm)
    vmm.cli("stop", check=True)
    expect_equal("exit status", vmm.wait_end(), 0)
    forced, _ = lab.guest(kernel="6.12-cloud", memory=256 * MIB)
    choose(forced, how)
    suspend(forced)
    forced.cli("stop", "--force", check=True)
    expect_equal("exit status", forced.wait_end(), 0)


test("suspend/deep-and-others", how=DEEP)(others)
test("suspend/idle-and-others", how=IDLE)(others)


# ---- The bare guest ---------------------------------------------------------

def bare(lab, *options):
    vmm = lab.start(kernel=BARE, memory=64 * MIB, ready=False, cpus=2,
                    elastic=[Elastic(GIB, size_bytes=8 * MIB)],
                    options=list(options))
    return vmm, BareGuest(vmm)


def fall_asleep(vmm, guest, *words):
    """Have it suspend; returns the pattern of its answer, and where to look."""
    mark = vmm.console.mark()
    guest.sequence += 1
    vmm.console.send(f"{guest.sequence} suspend {' '.join(words)}\n")
    wait_until("it is suspended", lambda: vmm.show()["state"] == "suspended")
    return rf"^@{guest.sequence} (.*)$", mark


@test("suspend/bare-kept")
def bare_kept(lab):
    """Without an operating system: both waking vectors; blocks, content and
    nothing else are there; WAK_STS says why it goes on."""
    vmm, guest = bare(lab)
    guest.ask("start 0")
    guest.ask("plug 0+0 3")
    guest.ask("touch 0+0x200008 w 0x5eed")
    for how in ("real", "flat", "real"):
        answer, mark = fall_asleep(vmm, guest, how)
        held = sizes(vmm)
        expect_equal("plugged", held["plugged_bytes"], 6 * MIB)
        expect_equal("the driver", vmm.show()["elastic"][0]["driver"],
                     "absent")
        vmm.cli("resume", check=True)
        _, found, _ = vmm.console.wait_for(answer, since=mark)
        expect_equal("it says", found[1], "woke status=8000")
        expect_equal("content", guest.ask("touch 0+0x200008 r"),
                     ["value=5eed"])
        guest.ask("start 0")
        expect_equal("state", guest.ask("state 0+0 3"), ["ACK state=0"])
        expect_equal("state", guest.ask("state 0+0x600000 1"),
                     ["ACK state=1"])
        expect_equal("requests but those", {
            **sizes(vmm), "requests": None}, {**held, "requests": None})
        clean(vmm)
    expect_equal("exit status", guest.power_off(), 0)


@test("suspend/bare-hostile")
def bare_hostile(lab):
    """Types that mean nothing do nothing. A guest that sleeps without a place
    in memory to wake at is reset. One that says it is idle is believed, to no
    harm."""
    vmm, guest = bare(lab)
    guest.ask("start 0")
    guest.ask("plug 0+0 4")
    for kind in (0, 2, 3, 4, 6, 7):
        expect_equal(f"sleep type {kind}",
                     guest.ask(f"suspend real 0 {kind}"), [])
    expect_equal("state", vmm.show()["state"], "running")
    nowhere = ("at 0", "at 0x100000", "at 0xffffffff", "at64 0x4000000",
               "at64 0xfee00000", "at64 0x100000000",
               "at64 0x8000000000000000")
    for number, where in enumerate(nowhere, 1):
        _, mark = fall_asleep(vmm, guest, where)
        vmm.api("POST", "/v1/vm/resume")
        vmm.wait_ready(since=mark)
        expect_equal("resets", vmm.show()["reboots"], number)
        expect_equal("plugged", vmm.status()["em0"]["plugged"], 0)
        expect_equal("complaints", vmm.stderr().count("cannot be woken"),
                     number)
        guest.sequence = 0
        guest.ask("start 0")
        guest.ask("plug 0+0 4")
    # An address that is memory, and no code: what comes of it is the guest's.
    fall_asleep(vmm, guest, "at 0x7c00")
    vmm.api("POST", "/v1/vm/resume")
    wait_until("it is awake, or was reset",
               lambda: vmm.show()["state"] in ("running", "rebooting"))
    clean(vmm)
    mark = vmm.console.mark()
    vmm.reset()
    vmm.wait_ready(since=mark)
    guest.sequence = 0
    guest.ask("idle 1")
    expect_equal("state", vmm.show()["state"], "suspended")
    expect_equal("it goes on", guest.ask("ping"), ["pong"])
    vmm.api("POST", "/v1/vm/resume")
    expect_equal("state", vmm.show()["state"], "suspended")
    guest.ask("idle 0")
    expect_equal("state", vmm.show()["state"], "running")
    guest.ask("idle 1")
    mark = vmm.console.mark()
    vmm.reset()
    vmm.wait_ready(since=mark)
    expect_equal("state", vmm.show()["state"], "running")
    guest.sequence = 0
    expect_equal("exit status", guest.power_off(), 0)


@test("suspend/bare-no-reboot")
def bare_no_reboot(lab):
    """Waking nowhere ends a VM that is not to reboot, and so does a reset."""
    for how in (lambda vmm: vmm.api("POST", "/v1/vm/resume"),
                lambda vmm: vmm.reset()):
        vmm, guest = bare(lab, "--no-reboot")
        fall_asleep(vmm, guest, "at 0")
        how(vmm)
        expect_equal("exit status", vmm.wait_end(), 0)
