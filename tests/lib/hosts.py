# SPDX-License-Identifier: BSD-3-Clause
"""Tests of the lab itself, around small commands, and of the Linux driver's
build."""
import functools
import os
import pty
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from . import conformance, units
from .bellows import BellowsVmm
from .console import PATIENCE
from .paths import BUILD, ROOT
from .qemu import QemuVmm

sys.path.insert(0, str(ROOT / "lab"))

import mend

INTEGRATION = ROOT / "tests" / "integration" / "run"
LAB = [str(ROOT / "dev"), "lab", "--emulate", "--cpus", "1", "--memory", "1G",
       "--"]


def run(*command, lab=LAB, **kwargs):
    kwargs.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.run([*lab, *command], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, check=False,
                          timeout=PATIENCE, **kwargs)


def streams_and_status():
    """Both streams, the folder, the user and the exit status come through."""
    with tempfile.TemporaryDirectory() as folder:
        done = run("sh", "-c", "pwd; id -u; cat; echo told >&2; exit 7",
                   cwd=folder, stdin=None, input="typed\n")
    wanted = f"{folder}\n0\ntyped\n"
    if (done.stdout, done.returncode) != (wanted, 7):
        return f"{done.stdout!r}, status {done.returncode}: {done.stderr}"
    return None if "told" in done.stderr else f"stderr: {done.stderr!r}"


def kvm_and_files():
    """/dev/kvm is there; what is written in $LAB_OUT comes back, and nothing
    else does."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        done = run("sh", "-c", "test -c /dev/kvm && echo kept >$LAB_OUT/a && "
                   f"echo lost >{folder}/lost && echo lost >{ROOT}/lost",
                   env=dict(os.environ, LAB_OUT=str(out)))
        if done.returncode:
            return f"status {done.returncode}: {done.stderr}"
        if (out / "a").read_text() != "kept\n":
            return "the file did not come back"
        if Path(folder, "lost").exists() or Path(ROOT, "lost").exists():
            return "a file outside of $LAB_OUT came back"
    return None


def nodes_asked_for():
    done = run("cat", "/sys/devices/system/node/has_memory",
               lab=[*LAB[:2], "--cpus", "2", "--memory", "2G", "--nodes", "4",
                    "--"])
    return None if done.stdout == "0-3\n" else \
        f"{done.stdout!r}, status {done.returncode}: {done.stderr}"


# Where each thread of the relay may run, and how often it has waited.
RELAY_WAITS = """\
for i in 1 2; do
    [ $i = 1 ] || sleep 3
    for thread in /proc/1/task/*; do
        echo $(awk '/^Cpus_allowed_list|^voluntary/ { print $2 }' \
            $thread/status)
    done
    echo
done
"""


def heartbeat():
    """It wakes a thread of the relay on each processor, again and again."""
    done = run("sh", "-c", RELAY_WAITS,
               lab=[*LAB[:3], "--cpus", "3", "--memory", "1G", "--"])
    first, then = (dict(row.split() for row in rows.splitlines())
                   for rows in done.stdout.strip().split("\n\n"))
    slept = [cpu for cpu in "012" if int(then[cpu]) < int(first[cpu]) + 6]
    return f"asleep: {slept} of {then}, {first} 3 s before" if slept else None


def emulator_of(pid):
    """The QEMU among a process's descendants."""
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in path.read_text().split():
            if Path(f"/proc/{child}/comm").read_text().startswith("qemu"):
                return child
            found = emulator_of(child)
            if found:
                return found
    return None


def mended_races():
    """The program has races, and the process that runs it has none."""
    with subprocess.Popen([*LAB, "sh", "-c", "echo up; cat"],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as lab:
        lab.stdout.readline()
        pid = emulator_of(lab.pid)
        program = os.readlink(f"/proc/{pid}/exe")
        known = mend.functions(program)
        with open(program, "rb") as file:
            before = mend.races(known, file)
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
            left = mend.races(known, memory, mend.loaded_at(pid, program))
        lab.stdin.close()
    if not before:
        return "QEMU has none any more: lab/mend.py can go"
    return f"left: {left}" if left else None


def heed_interrupts():
    """What a shell started in the background is started without."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def interrupt_ends_it():
    """Ctrl-C on a terminal ends the host, and leaves no process."""
    master, slave = pty.openpty()
    lab = subprocess.Popen([*LAB, "sh", "-c", "echo up; exec sleep 1000"],
                           stdin=slave, stdout=slave, stderr=slave,
                           start_new_session=True,
                           preexec_fn=heed_interrupts)
    text = b""
    began = time.monotonic()
    try:
        while b"up\r\n" not in text:
            if time.monotonic() - began > PATIENCE:
                return f"it did not start: {text!r}"
            text += os.read(master, 4096)
        os.killpg(lab.pid, signal.SIGINT)
        status = lab.wait(60)
    except subprocess.TimeoutExpired:
        return "it goes on a minute after Ctrl-C"
    finally:
        if lab.poll() is None:
            os.killpg(lab.pid, signal.SIGKILL)
        os.close(slave)
        os.close(master)
    left = subprocess.run(["ps", "-o", "pid=", "-s", str(lab.pid)],
                          stdout=subprocess.PIPE, text=True, check=False)
    if left.stdout.strip():
        return f"processes are left: {left.stdout}"
    return None if status == 130 else f"exit status {status}, not 130"


def bad_use_is_refused():
    for words in (["--cpus", "0", "--", "true"], ["--memory", "lots", "--",
                                                  "true"], []):
        done = subprocess.run([*LAB[:2], *words], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              check=False)
        if done.returncode != 2 or not done.stderr:
            return f"{words}: status {done.returncode}"
    return None


def conformance_here():
    """The conformance suite on this machine's own KVM, whatever that is, and
    in QEMU without KVM: the same but for what the document says."""
    done, failed = [], []
    for vmm in (BellowsVmm(conformance.MACHINE),
                QemuVmm(conformance.MACHINE, accel="tcg")):
        with vmm:
            guest = conformance.BareGuest(vmm)
            done.append(conformance.run(guest))
            if guest.power_off():
                failed.append(f"{vmm.label} did not end well")
    failed += conformance.failures(done[0])
    failed += conformance.disagreements(*done)
    return "\n".join(failed) or None


# The sanitizers' own system calls are not the sandbox's.
WITHOUT_SANDBOX = """\
#!/bin/sh
[ "$1" != run ] || {{ shift; set -- run --sandbox off "$@"; }}
exec {bellows} "$@"
"""


def hostile_guests(kind):
    """All that hostile guests do, against a VMM that was built with a
    sanitizer: the guard's threads, and the devices' and the vCPUs' part."""
    how = units.SANITIZERS[kind]
    built = units.build_folder(kind)
    units.configure(built, how["options"], "gcc")
    units.compile_(built, ["bellows"])
    with tempfile.TemporaryDirectory() as folder:
        command = Path(folder) / "bellows"
        command.write_text(WITHOUT_SANDBOX.format(bellows=built / "bellows"))
        command.chmod(0o755)
        (Path(folder) / "guest").symlink_to(BUILD / "guest")
        done = units.run([str(INTEGRATION), "lab/hostile/"],
                         env=dict(os.environ, **how["env"],
                                  BELLOWS_BUILD=folder))
    return units.tail(done.stdout, 60) if done.returncode else None


def linux_driver_is_clean():
    """The Linux driver builds for the oldest and the newest of the lab's
    kernels without a warning, of sparse neither."""
    done = subprocess.run([str(ROOT / "guest" / "linux" / "build"), "--sparse",
                           "6.1-cloud", "6.12-generic"],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, check=False)
    return done.stderr[-2000:] if done.returncode else None


HOST_TESTS = {
    "host/streams-and-status": streams_and_status,
    "host/kvm-and-files": kvm_and_files,
    "host/nodes": nodes_asked_for,
    "host/heartbeat": heartbeat,
    "host/mended-races": mended_races,
    "host/interrupt": interrupt_ends_it,
    "host/bad-use": bad_use_is_refused,
    "host/linux-driver": linux_driver_is_clean,
}
if os.access("/dev/kvm", os.R_OK | os.W_OK):
    HOST_TESTS["host/conformance"] = conformance_here
    if os.geteuid() == 0:       # who may have the guard
        for _kind in units.SANITIZERS:
            HOST_TESTS[f"host/hostile-{_kind}"] = functools.partial(
                hostile_guests, _kind)
