# SPDX-License-Identifier: BSD-3-Clause
"""This machine's own KVM: whether it is usable, and a command on it."""
import os
import shutil
import subprocess
from pathlib import Path

import apt
import initramfs

SOURCE = Path(__file__).resolve().parent / "kvm-probe.c"
PROBE_SECONDS = 5


def unusable():
    """Why /dev/kvm cannot run a stock guest; None if it can."""
    if not os.path.exists("/dev/kvm"):
        return "there is no /dev/kvm"
    probe = initramfs.compile_c(SOURCE, apt.BUILD / "lab" / "kvm-probe",
                                "-static")
    line = [str(probe)]
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        line = [*as_root(), *line]
    try:
        done = subprocess.run(line, stdout=subprocess.PIPE, text=True,
                              stdin=subprocess.DEVNULL, check=False,
                              stderr=subprocess.STDOUT, timeout=PROBE_SECONDS)
    except subprocess.TimeoutExpired:
        return "/dev/kvm is far too slow"
    return None if done.returncode == 0 else done.stdout.strip()


def as_root():
    """What to put before a command to run it as root."""
    if os.geteuid() == 0:
        return []
    if not shutil.which("sudo"):
        raise apt.LabError("root is needed to use KVM here, and there is no "
                           "sudo")
    return ["sudo", "--"]


def run(args, env):
    """Become the command."""
    pairs = [f"{name}={value}" for name, value in env.items()]
    line = [*as_root(), "env", "-i", *pairs, *args.command]
    os.execvp(line[0], line)
