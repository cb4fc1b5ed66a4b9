# SPDX-License-Identifier: BSD-3-Clause
"""Registration and running of the integration tests.

A test is a function that takes one argument, `lab`, and raises if something
is not as it should be. It is found by its name, `lab/SUBJECT/WHAT`.
"""
import fnmatch
import os
import re
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.agree import Witness
from lib.bellows import BellowsVmm, bellows
from lib.console import PATIENCE, Console, GuestError
from lib.vmm import GIB, KIB, MIB, Elastic, Machine, VmmError, pause

KERNELS = ("6.1-cloud", "6.1-generic", "6.12-cloud", "6.12-generic")
MORE_IMAGES = ("6.1-cloud.kexec", "6.12-cloud.kexec", "6.1-cloud.load",
               "6.12-cloud.load")

# Has the agent load our Linux driver in place of the kernel's.
OUR_DRIVER = "agent.driver=bellows"
DRIVER_FOLDER = "/sys/bus/virtio/drivers/bellows_mem/virtio*/bellows_mem"

Console.rest = 0.01

TESTS = {}


def test(name, **arguments):
    """Register a function as the test lab/NAME, called with arguments."""
    def register(function):
        full = f"lab/{name}"
        assert full not in TESTS, f"two tests named {full}"
        TESTS[full] = lambda lab: function(lab, **arguments)
        return function
    return register


# What takes long, on a host that is emulated: handed out before the rest, so
# that in the end no lab waits for another.
LONG = ("lab/numa/walk-*", "lab/conformance/*", "lab/guard/innocent-*",
        "lab/faults/*", "lab/reset/every-kind", "lab/reset/again-*",
        "lab/resize/under-load-*", "lab/resize/walk-*", "lab/resize/every-*",
        "lab/suspend/*", "lab/kexec/in-*", "lab/kdump/*", "lab/linux/debug-*",
        "lab/linux/sleep*", "lab/linux/steps-*", "lab/linux/*-qemu*",
        "lab/numa/as-qemu-*", "lab/numa/pool-*", "lab/driver/guest-*",
        "lab/driver/host-*", "lab/driver/unloaded-*", "lab/reboot/*",
        "lab/two/*", "lab/guard/many-blocks", "lab/console/output-*")
# These look at the same run of something: one lab does it once.
TOGETHER = "lab/conformance/"


def groups():
    """All tests, in the order in which they are handed out to labs; those of
    a row to the same."""
    def rank(name):
        return next((i for i, pattern in enumerate(LONG)
                     if fnmatch.fnmatchcase(name, pattern)), len(LONG))

    rows = {}
    for name in sorted(TESTS, key=rank):
        key = TOGETHER if name.startswith(TOGETHER) else name
        rows.setdefault(key, []).append(name)
    return list(rows.values())


def host_nodes(name):
    """NUMA nodes of the host that a test is for."""
    return {"numa": 2, "numa4": 4}.get(name.split("/")[1], 1)


class Failed(Exception):
    """What a test saw that should not be."""


class Skip(Exception):
    """Why a test cannot run here."""


def expect(condition, text):
    if not condition:
        raise Failed(text)


def expect_equal(what, got, wanted):
    if got != wanted:
        raise Failed(f"{what}: {got!r}, not {wanted!r}")


# Where a kernel puts itself and its maps decides about pages of MemTotal. A
# guest that is to have as much after a restart puts them where they were.
STILL = "nokaslr"


class Lab:
    """What one test uses; everything it started ends with it."""

    def __init__(self, kind=BellowsVmm):
        self.kind = kind
        self.vmms = []
        self.scratch = tempfile.TemporaryDirectory(prefix="bellows-test-")
        self.folder = Path(self.scratch.name)

    def start(self, kernel="6.1-cloud", ready=True, kind=None, **how):
        """Start a guest; waits until its agent answers. kind: of VMM, if it is
        not to be the one that is tested."""
        extra = {key: how.pop(key) for key in ("name", "console")
                 if key in how}
        vmm = (kind or self.kind)(Machine(kernel=kernel, **how), **extra)
        self.vmms.append(vmm)
        vmm.start()
        if ready:
            vmm.wait_init()
            vmm.wait_ready()
        return vmm

    def guest(self, **how):
        """Start a guest with one device, em0; returns it and a witness."""
        how["cmdline"] = f"{STILL} {how.get('cmdline', '')}"
        size = how.pop("max_bytes", GIB)
        how.setdefault("elastic", [Elastic(size)])
        onlines = how.pop("onlines", True)
        vmm = self.start(**how)
        return vmm, Witness(vmm, onlines)

    @staticmethod
    def rounds(few, many):
        """How often to repeat: few in an ordinary run, many under --soak."""
        return many if os.environ.get("BELLOWS_SOAK") else few

    @staticmethod
    def progress(done, total):
        """Say so, of what takes long under --soak."""
        if os.environ.get("BELLOWS_SOAK"):
            print(f"  … {done} of {total}", file=sys.stderr, flush=True)

    def user_folder(self, user):
        """A folder that belongs to another user, reachable by it."""
        self.folder.chmod(0o711)
        folder = self.folder / user.pw_name
        folder.mkdir()
        os.chown(folder, user.pw_uid, user.pw_gid)
        return str(folder)

    def close(self):
        for vmm in self.vmms:
            vmm.close()
        self.scratch.cleanup()


# Linux's driver tries again only after 50 s, then 100 s, what failed once.
RETRY = 8


def wait_in_use(vmm, device, size):
    """Wait for a size of a guest that uses its memory: it may not be free to
    go at the first attempt. When nothing moves, another request has the driver
    try again at once."""
    began = moved = time.monotonic()
    seen = vmm.plugged(device)
    while seen != size:
        time.sleep(pause(time.monotonic() - began))
        plugged, now = vmm.plugged(device), time.monotonic()
        expect(now < began + PATIENCE, f"{device} has {plugged // KIB} KiB of "
               f"{size // KIB} KiB plugged after {PATIENCE} s")
        if plugged != seen:
            seen, moved = plugged, now
        elif now > moved + RETRY:
            vmm.resize(device, size - 2 * MIB if size else 2 * MIB)
            vmm.resize(device, size)
            moved = now


def resize_to(vmm, witness, device, size, in_use=False):
    """Resize, wait, and see that guest, device and host agree."""
    vmm.resize(device, size)
    if in_use:
        wait_in_use(vmm, device, size)
    else:
        vmm.wait_plugged(device, size)
    try:
        return witness.check()
    except VmmError as error:
        raise Failed(f"{device} at {size // MIB} MiB: {error}") from None


def wait_until(what, condition, timeout=PATIENCE):
    """Wait until condition() is true; returns its value."""
    began = time.monotonic()
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > began + timeout:
            raise Failed(f"not in {timeout} s: {what}")
        time.sleep(pause(time.monotonic() - began))


def check_load(vmm):
    """The guest's memory workers live and have lost nothing."""
    rows = vmm.console.ask("load")
    expect(rows, "no load is running")
    for row in rows:
        expect("errors=0 " in row and "alive=1" in row,
               f"memory load: {row}\n{vmm.console.tail(10)}")


def wait_filled(vmm, timeout=PATIENCE):
    """Wait until every memory worker has written all its pages."""
    def filled():
        rows = vmm.console.ask("load")
        check_load(vmm)
        return all("filled=1" in row for row in rows)
    wait_until("memory load filled its memory", filled, timeout)


def driver_told(vmm, name):
    """{word: value} that our Linux driver tells of the guest's one device."""
    rows = vmm.console.ask(f"sh cat {DRIVER_FOLDER}/{name}")
    return dict(row.split(" ", 1) for row in rows if " " in row)


def dmesg(vmm, pattern):
    """Lines of the kernel's log with an extended regular expression in them.
    Sought in the guest: the whole log takes its console half a minute."""
    return vmm.console.ask("sh dmesg | grep -q . && "
                           f"{{ dmesg | grep -E '{pattern}' || :; }}")


def expect_clean(vmm):
    """The kernel has complained of nothing."""
    bad = dmesg(vmm, "WARNING:|BUG|Oops|Call Trace|corrupt|Bad page|Poison|"
                "hidden page")
    expect(not bad, f"the kernel complains: {bad[:5]}")


# What our device counts of a driver that does not keep to the specification.
OFFENCES = ("answered_error", "config_writes", "queue_broken")


def expect_no_offence(vmm, settled=False):
    """The guest's driver has done nothing that the specification forbids, and
    that the device can see. settled: each size was waited for, so it cannot
    have asked for more than was requested either."""
    for device in vmm.show()["elastic"]:
        for what in (*OFFENCES, *(("over_requested",) if settled else ())):
            expect_equal(f"{what} of {device['id']}",
                         device["requests"][what], 0)


def expect_conforming(vmm):
    """The same of our Linux driver, which counts as well, and which any device
    must have no reason to answer with ERROR."""
    expect_equal("answers ERROR that the driver got",
                 driver_told(vmm, "counters")["errors"], "0")
    if isinstance(vmm, BellowsVmm):
        expect_no_offence(vmm)


def power_off(vmm):
    """The guest powers off; the VMM must end well."""
    if OUR_DRIVER in vmm.machine.cmdline:
        expect_conforming(vmm)
    vmm.console.send("0 poweroff\n")
    expect_equal("exit status after power-off", vmm.wait_end(), 0)


def one_line(text):
    return text.endswith("\n") and text.count("\n") == 1


def aftermath(vmm):
    """What there is to know of a machine whose test failed."""
    text = ""
    if vmm.stderr().strip():
        text = f"\n{vmm.label} said: {vmm.stderr().strip()[-2000:]}"
    if isinstance(vmm, BellowsVmm) and vmm.process.poll() is None:
        shown = vmm.cli("show", "--json", timeout=20)
        text += f"\nshow: {shown.stdout.strip() or shown.stderr.strip()}"
        for stack in sorted(Path(f"/proc/{vmm.pid}/task").glob("*/stack")):
            where = stack.read_text().split("\n")[0]
            text += f"\n{(stack.parent / 'comm').read_text().strip()}: {where}"
        text += kvm_facts(vmm)
    return text


def kvm_facts(vmm):
    """What KVM says of a machine that may be stuck: whether it does anything,
    and whether its processors agree on the time."""
    if not Path("/sys/kernel/debug/kvm").is_dir():
        subprocess.run(["mount", "-t", "debugfs", "none", "/sys/kernel/debug"],
                       check=False, capture_output=True)
    text = ""
    for folder in Path("/sys/kernel/debug/kvm").glob(f"{vmm.pid}-*"):
        exits = int((folder / "exits").read_text())
        time.sleep(1)
        text += (f"\nexits: {exits}, a second later "
                 f"{int((folder / 'exits').read_text())}")
        for path in sorted(folder.glob("vcpu*/tsc-offset")):
            text += (f"\n{path.parent.name}: TSC offset "
                     f"{path.read_text().strip()}")
    # One that lost an interrupt goes on with the next.
    vmm.console.send("\n")
    time.sleep(3)
    return f"{text}\na byte of input and 3 s later:\n{vmm.console.tail(3)}"


def run_one(name, kind, report):
    """Run a test and report on it."""
    lab = Lab(kind)
    began = time.monotonic()
    try:
        TESTS[name](lab)
    except Skip as reason:
        report.skip(name, reason)
        return
    except (Failed, VmmError, GuestError) as error:
        where = traceback.extract_tb(error.__traceback__)
        here = [f for f in where if "integration" in f.filename]
        at = f" ({Path(here[-1].filename).name}:{here[-1].lineno})" \
            if here else ""
        said = "".join(aftermath(vmm) for vmm in lab.vmms)
        report.fail(name, f"{error}{at}{said}")
        return
    except Exception:
        report.fail(name, traceback.format_exc())
        return
    finally:
        lab.close()
    report.ok(name, time.monotonic() - began)


def processes(name="bellows"):
    """IDs of the running processes with that command name."""
    found = set()
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit() and Path(
                    f"/proc/{entry}/comm").read_text().strip() == name:
                found.add(int(entry))
        except OSError:
            pass
    return found
