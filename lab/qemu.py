# SPDX-License-Identifier: BSD-3-Clause
"""The QEMU that emulates the lab's host.

QEMU 10 is asked for, because 6.12 guests die at random on a host that QEMU
7.2 emulates. One that is installed is used; otherwise it comes from
bookworm-backports and is unpacked under the build folder, with the libraries
that this machine lacks beside it.
"""
import os
import re
import shutil
import subprocess
from pathlib import Path

import apt
import libraries

PACKAGES = ["qemu-system-x86", "qemu-system-common", "qemu-system-data"]
LEAST_VERSION = 10
FOLDER = apt.CACHE / "qemu"
MODULES = "usr/lib/x86_64-linux-gnu/qemu"


def version_of(program, env=None):
    """The major version, or 0 if it does not run."""
    try:
        done = subprocess.run([program, "--version"], env=env, check=False,
                              stdout=subprocess.PIPE, text=True,
                              stderr=subprocess.DEVNULL)
    except OSError:
        return 0
    found = re.search(r"version (\d+)", done.stdout)
    return int(found.group(1)) if found else 0


class Qemu:
    """A QEMU program: what to call, and in which environment."""

    def __init__(self, program, folder=None):
        self.program = str(program)
        self.env = dict(os.environ)
        self.options = []
        if folder:
            self.env["LD_LIBRARY_PATH"] = libraries.search_path(folder)
            self.env["QEMU_MODULE_DIR"] = str(folder / MODULES)
            for share in ("qemu", "seabios"):
                self.options += ["-L", str(folder / "usr" / "share" / share)]


def fetch():
    apt.update()
    apt.say("fetching QEMU from " + apt.BACKPORTS)
    with apt.fresh_folder(FOLDER) as folder:
        apt.fetch([*(f"{name}/{apt.BACKPORTS}" for name in PACKAGES),
                   f"seabios/{apt.SUITE}"], folder)
        program = folder / "usr" / "bin" / "qemu-system-x86_64"
        libraries.add_missing(program, folder)
        if version_of(str(program), Qemu(program, folder).env) \
                < LEAST_VERSION:
            raise apt.LabError("the QEMU that was fetched does not run here")


def ensure():
    installed = shutil.which("qemu-system-x86_64")
    if installed and version_of(installed) >= LEAST_VERSION:
        return Qemu(installed)
    program = FOLDER / "usr" / "bin" / "qemu-system-x86_64"
    if not program.exists():
        with apt.locked("qemu"):
            if not program.exists():
                fetch()
    return Qemu(program, FOLDER)
