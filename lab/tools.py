# SPDX-License-Identifier: BSD-3-Clause
"""Debian's tools for guests that do more than the agent can: start another
kernel or write a dump, or keep keys and values.

They and the libraries that this machine lacks are unpacked under the build
folder, never installed.
"""
import re

import apt
import libraries

# Of each set, what is run, and the package that it is in.
SETS = {
    "kexec": {"sbin/kexec": "kexec-tools",
              "usr/bin/makedumpfile": "makedumpfile"},
    "load": {"usr/bin/redis-benchmark": "redis-tools",
             # The server itself, by the name that it has there.
             "usr/bin/redis-check-rdb": "redis-tools"},
}


def _dependencies(package):
    """The libraries that a package names, whatever files are in them."""
    fields = apt.show(f"{package}/{apt.SUITE}")
    depends = fields.get("Pre-Depends", "") + "," + fields.get("Depends", "")
    return [name for name in re.findall(r"\b(lib[a-z0-9.+-]+)", depends)
            if name != "libc6"]


def _fetch(programs, target):
    apt.update()
    packages = sorted(set(programs.values()))
    apt.say("fetching " + " and ".join(packages))
    with apt.fresh_folder(target) as folder:
        names = set(packages)
        for package in packages:
            names.update(_dependencies(package))
        apt.fetch(sorted(f"{name}/{apt.SUITE}" for name in names), folder)
        for program in programs:
            libraries.add_missing(folder / program, folder)


def ensure(name):
    """Have a set of tools; returns their folder."""
    folder = apt.BUILD / f"guest-tools-{name}"
    if not folder.exists():
        with apt.locked(f"guest-tools-{name}"):
            if not folder.exists():
                _fetch(SETS[name], folder)
    return folder


def files(name):
    """{name of a program or library: file} of all that is needed to run."""
    folder = ensure(name)
    result = {}
    for program in SETS[name]:
        result[(folder / program).name] = folder / program
        for library in libraries.found(folder / program, folder):
            result[library.rpartition("/")[2]] = library
    return result
