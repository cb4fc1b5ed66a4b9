# SPDX-License-Identifier: BSD-3-Clause
"""Debian's tools for a guest that starts another kernel or writes a dump.

They and the libraries that this machine lacks are unpacked under the build
folder, never installed.
"""
import re

import apt
import libraries

# What is run, and the package that it is in.
PROGRAMS = {"sbin/kexec": "kexec-tools",
            "usr/bin/makedumpfile": "makedumpfile"}
FOLDER = apt.BUILD / "guest-tools"


def _dependencies(package):
    """The libraries that a package names, whatever files are in them."""
    depends = apt.show(f"{package}/{apt.SUITE}")["Depends"]
    return [name for name in re.findall(r"\b(lib[a-z0-9.+-]+)", depends)
            if name != "libc6"]


def _fetch():
    apt.update()
    apt.say("fetching " + " and ".join(PROGRAMS.values()))
    with apt.fresh_folder(FOLDER) as folder:
        names = {*PROGRAMS.values()}
        for package in PROGRAMS.values():
            names.update(_dependencies(package))
        apt.fetch(sorted(f"{name}/{apt.SUITE}" for name in names), folder)
        for program in PROGRAMS:
            libraries.add_missing(folder / program, folder)


def ensure():
    """Have the tools; returns their folder."""
    if not FOLDER.exists():
        with apt.locked("guest-tools"):
            if not FOLDER.exists():
                _fetch()
    return FOLDER


def files():
    """{name of a program or library: file} of all that is needed to run."""
    folder = ensure()
    result = {}
    for program in PROGRAMS:
        result[(folder / program).name] = folder / program
        for library in libraries.found(folder / program, folder):
            result[library.rpartition("/")[2]] = library
    return result
