# SPDX-License-Identifier: BSD-3-Clause
"""What is asked wrongly is refused in one line, and leaves nothing behind."""
import os
import pwd
import shutil
import socket
import stat
import subprocess
from pathlib import Path

from harness import (GIB, MIB, PATIENCE, Elastic, expect, expect_equal, one_line,
                     power_off, processes, test)
from lib.bellows import bellows
from lib.paths import BELLOWS, GUEST_IMAGES, KERNELS

KERNEL = KERNELS / "6.1-cloud" / "vmlinuz"
INITRD = GUEST_IMAGES / "6.1-cloud.cpio"

RUN = ("run", "--name", "bad", "--kernel", KERNEL)

# What to ask, and what the one line must name.
TABLE = {
    "unknown-verb": (("frobnicate",), "frobnicate"),
    "unknown-option": ((*RUN, "--frobnicate"), "--frobnicate"),
    "unknown-option-of-show": (("show", "x", "--frobnicate"),
                               "--frobnicate"),
    "option-without-value": (("run", "--name"), "--name"),
    "no-kernel-given": (("run", "--name", "bad"), "--kernel"),
    "kernel-missing": (("run", "--name", "bad", "--kernel",
                        "/no/such/kernel"), "/no/such/kernel"),
    "kernel-is-a-program": (("run", "--name", "bad", "--kernel", "/bin/ls"),
                            "/bin/ls"),
    "kernel-is-a-text": (("run", "--name", "bad", "--kernel",
                          "/etc/passwd"), "/etc/passwd"),
    "kernel-is-a-folder": (("run", "--name", "bad", "--kernel", "/etc"),
                           "/etc"),
    "kernel-is-empty": (("run", "--name", "bad", "--kernel", "/dev/null"),
                        "/dev/null"),
    "initrd-missing": ((*RUN, "--initrd", "/no/such/initrd"),
                       "/no/such/initrd"),
    "memory-no-number": ((*RUN, "--memory", "lots"), "lots"),
    "memory-negative": ((*RUN, "--memory", "-1G"), "-1G"),
    "memory-overflow": ((*RUN, "--memory", "99999999999T"), "99999999999T"),
    "memory-too-small": ((*RUN, "--memory", "1M"), "1M"),
    "cpus-zero": ((*RUN, "--cpus", "0"), "0"),
    "cpus-too-many": ((*RUN, "--cpus", "1000"), "1000"),
    "cpus-no-number": ((*RUN, "--cpus", "two"), "two"),
    "elastic-without-max": ((*RUN, "--elastic", "size=1G"), "max"),
    "elastic-size-no-multiple": (
        (*RUN, "--elastic", "max=1G,size=3M"), "3"),
    "elastic-max-no-multiple": ((*RUN, "--elastic", "max=1025K"), "1025"),
    "elastic-size-over-max": ((*RUN, "--elastic", "max=1G,size=2G"), "2"),
    "elastic-block-no-power": ((*RUN, "--elastic", "max=1G,block=3M"), "3"),
    "elastic-unknown-key": ((*RUN, "--elastic", "max=1G,colour=red"),
                            "colour"),
    "elastic-id-twice": ((*RUN, "--elastic", "max=1G,id=a", "--elastic",
                          "max=1G,id=a"), "a"),
    "name-with-slash": (("run", "--name", "a/b", "--kernel", KERNEL), "a/b"),
    "name-too-long": (("run", "--name", "n" * 100, "--kernel", KERNEL),
                      "n" * 60),
    "name-empty": (("run", "--name", "", "--kernel", KERNEL), "name"),
    "console-unknown": ((*RUN, "--console", "teletype"), "teletype"),
    "console-file-impossible": (
        (*RUN, "--console", "file:/no/such/folder/log"),
        "/no/such/folder/log"),
    "show-of-none": (("show", "nobody"), "nobody"),
    "stop-of-none": (("stop", "nobody"), "nobody"),
    "reboot-of-none": (("reboot", "nobody"), "nobody"),
    "resize-of-none": (("resize", "nobody", "1G"), "nobody"),
    "resize-without-size": (("resize", "nobody"), "SIZE"),
}


def traces():
    """What a command could leave behind."""
    found = set()
    for folder in ("/tmp", "/run", "/run/bellows", "/dev/shm", "/var/tmp"):
        try:
            found.update(f"{folder}/{name}" for name in os.listdir(folder))
        except OSError:
            pass
    return found, processes()


def refused(words, value):
    """Run it: one line with the value, exit status 2, nothing left."""
    before = traces()
    done = bellows(*words)
    expect_equal(f"exit status ({done.stderr.strip()!r})", done.returncode, 2)
    expect(one_line(done.stderr), f"not one line on stderr: {done.stderr!r}")
    expect(value in done.stderr, f"{value!r} is not named: {done.stderr!r}")
    expect_equal("stdout", done.stdout, "")
    after = traces()
    expect_equal("left behind", (after[0] - before[0], after[1] - before[1]),
                 (set(), set()))


def bad_input(lab, words, value):
    refused(words, value)


for _name, (_words, _value) in TABLE.items():
    test(f"bad-input/{_name}", words=_words, value=_value)(bad_input)


@test("bad-input/to-a-running-machine")
def running(lab):
    """A machine that runs is not moved by bad requests."""
    vmm, witness = lab.guest()
    name = vmm.name
    refused(("run", "--name", name, "--kernel", KERNEL), name)
    for words, value in (
            (("resize", name, "3M"), "3"),
            (("resize", name, "2G"), "2"),
            (("resize", name, "nothing=2M"), "nothing"),
            (("resize", name, "em0="), "em0"),
            (("resize", name, "-2M"), "-2M"),
            (("resize", name, "2M", "--wait", "soon"), "soon"),
            (("resize", name, "em0=2M", "em0=4M"), "em0")):
        refused(words, value)
    expect_equal("requested", vmm.status()["em0"]["requested"], 0)
    witness.check()
    power_off(vmm)


@test("bad-input/no-permission-on-kvm")
def no_permission(lab):
    """Another user, who may not open /dev/kvm."""
    mode = stat.S_IMODE(os.stat("/dev/kvm").st_mode)
    nobody = pwd.getpwnam("nobody")
    folder = lab.user_folder(nobody)
    # Copies: the tree may stand where that user may not go.
    command, kernel = (shutil.copy(path, folder) for path in (BELLOWS, KERNEL))
    os.mkdir(f"{folder}/run")
    os.chown(f"{folder}/run", nobody.pw_uid, nobody.pw_gid)
    os.chmod("/dev/kvm", 0o600)
    try:
        before = processes()
        done = subprocess.run(
            [command, "run", "--name", "bad", "--kernel", kernel,
             "--console", "none"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
            user=nobody.pw_uid, group=nobody.pw_gid, extra_groups=[],
            env={"PATH": os.environ["PATH"],
                 "XDG_RUNTIME_DIR": f"{folder}/run"},
            check=False, timeout=PATIENCE)
    finally:
        os.chmod("/dev/kvm", mode)
    expect_equal(f"exit status ({done.stderr.strip()!r})", done.returncode, 2)
    expect(one_line(done.stderr), f"not one line: {done.stderr!r}")
    expect("/dev/kvm" in done.stderr, f"no /dev/kvm in {done.stderr!r}")
    expect("kvm" in done.stderr.replace("/dev/kvm", ""),
           f"no remedy (the group kvm) in {done.stderr!r}")
    expect_equal("processes left", processes() - before, set())


@test("bad-input/stale-socket")
def stale(lab):
    """The socket of a machine that was killed is replaced."""
    vmm, _ = lab.guest(name="stale")
    vmm.process.kill()
    vmm.wait_end()
    again, witness = lab.guest(name="stale")
    witness.check()
    power_off(again)
