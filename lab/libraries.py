# SPDX-License-Identifier: BSD-3-Clause
"""The shared libraries of programs that were unpacked, not installed."""
import os
import re

import apt

FOLDERS = ("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu")


def search_path(folder):
    """LD_LIBRARY_PATH of programs in that folder."""
    return ":".join(str(folder / name) for name in FOLDERS)


def _ldd(program, folder):
    env = dict(os.environ, LD_LIBRARY_PATH=search_path(folder))
    return apt.run(["ldd", str(program)], "ldd", env=env)


def found(program, folder):
    """The files that the program is run with, its loader among them."""
    return re.findall(r"(/\S+) \(0x", _ldd(program, folder))


def _package_of(library, packages):
    """The Debian package with a library, by the policy of their names:
    libfoo.so.1 is in libfoo1, libfoo-2.so.0 in libfoo-2-0."""
    stem, _, number = library.partition(".so.")
    stem = stem.lower().replace("_", "-")
    digit = stem[-1].isdigit()
    base = f"{stem}-{number}" if digit else f"{stem}{number}"
    for name in (base, f"{base}t64", f"{stem}-{number}", stem):
        if name in packages:
            return name
    raise apt.LabError(f"no Debian package found for the library {library}")


def add_missing(program, folder):
    """Unpack the libraries that ldd misses, until it misses none."""
    names = None
    for _ in range(5):
        missing = re.findall(r"^\s*(\S+) => not found",
                             _ldd(program, folder), re.M)
        if not missing:
            return
        names = names or set(apt.run(
            ["apt-cache", *apt.options(), "pkgnames"],
            "listing packages").split())
        apt.fetch(sorted({f"{_package_of(m, names)}/{apt.SUITE}"
                          for m in missing}), folder)
    raise apt.LabError(f"libraries that {program.name} needs are not to be "
                       "had: " + ", ".join(missing))
