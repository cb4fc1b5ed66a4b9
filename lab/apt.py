# SPDX-License-Identifier: BSD-3-Clause
"""Debian packages of other suites, fetched and unpacked beside the system.

The machine's apt configuration is only read: the mirror's address comes from
its own sources. Sources, lists and downloads of ours stand under the build
folder, and nothing is installed.
"""
import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILD = Path(os.environ.get("BELLOWS_BUILD", ROOT / "build"))
CACHE = BUILD / "cache"
APT = CACHE / "apt"
SUITE = "bookworm"          # whose kernels are the hosts and guests
BACKPORTS = f"{SUITE}-backports"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
LISTS_SECONDS = 24 * 3600


class LabError(Exception):
    """Something that the lab needs is not to be had; says what."""


def say(text):
    print(f"lab: {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def locked(name):
    """One process at a time; the others wait and find the work done."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / f"{name}.lock", "w", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another process that fetches {name}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def fresh_folder(target):
    """A folder to fill, which takes the target's place only when whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=target.parent,
                                  prefix=f".{target.name}."))
    try:
        fresh.chmod(0o755)
        yield fresh
        shutil.rmtree(target, ignore_errors=True)
        fresh.rename(target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def run(command, what, **options):
    """Run a program quietly; what it said is shown only if it failed."""
    done = subprocess.run(command, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
                          check=False, **options)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise LabError(f"{what} failed (status {done.returncode})\n{said}")
    return done.stdout.decode(errors="replace")


def mirrors():
    """(archive, security): where this machine gets Debian from."""
    targets = run(["apt-get", "indextargets", "--format",
                   "$(REPO_URI) $(RELEASE) $(CREATED_BY)"],
                  "reading apt's sources")
    archive = security = None
    for line in targets.splitlines():
        uri, release, kind = (line.split() + ["", "", ""])[:3]
        if kind != "Packages":
            continue
        if release.endswith("-security"):
            security = security or uri
        elif uri.rstrip("/").endswith("/debian"):
            archive = archive or uri
    if not archive:
        raise LabError("apt's sources name no Debian archive (an address that "
                       "ends in /debian): add one to /etc/apt/sources.list")
    if not security:
        security = archive.rstrip("/") + "-security"
    return archive, security


def options():
    """Command line options that keep apt within our folder."""
    settings = {
        "Dir::Etc::SourceList": APT / "sources.list",
        "Dir::Etc::SourceParts": "-",
        "Dir::Etc::Preferences": "-",
        "Dir::Etc::PreferencesParts": "-",
        "Dir::State": APT / "state",
        "Dir::State::Lists": APT / "lists",
        "Dir::State::Status": APT / "status",
        "Dir::Cache": APT / "cache",
        "Dir::Cache::Archives": APT / "cache" / "archives",
        "APT::Architecture": "amd64",
        "APT::Sandbox::User": "root" if os.geteuid() == 0 else "",
        "APT::Update::Post-Invoke": "",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
    }
    result = ["-q"]
    for name, value in settings.items():
        result += ["-o", f"{name}={value}"]
    return result


def sources():
    archive, security = mirrors()
    signed = f" signed-by={KEYRING}" if KEYRING.exists() else ""
    return "".join(
        f"deb [arch=amd64{signed}] {uri} {suite} main\n" for uri, suite in (
            (archive, SUITE), (archive, f"{SUITE}-updates"),
            (security, f"{SUITE}-security"), (archive, BACKPORTS)))


def update(force=False):
    """Have package lists not older than a day."""
    stamp = APT / "updated"
    wanted = sources()
    source_list = APT / "sources.list"
    if not force and stamp.exists() and source_list.exists() \
            and time.time() - stamp.stat().st_mtime < LISTS_SECONDS \
            and source_list.read_text(encoding="utf-8") == wanted:
        return
    for name in ("lists/partial", "cache/archives/partial", "state"):
        (APT / name).mkdir(parents=True, exist_ok=True)
    (APT / "status").touch()
    source_list.write_text(wanted, encoding="utf-8")
    say("fetching the package lists of the lab's suites")
    run(["apt-get", *options(), "update"], "apt-get update")
    stamp.touch()


def show(package):
    """Fields of the newest version of a package, or of PACKAGE/SUITE."""
    text = run(["apt-cache", *options(), "--no-all-versions", "show",
                package], f"looking up {package}")
    return dict(line.split(": ", 1) for line in
                text.split("\n\n", 1)[0].splitlines()
                if ": " in line and not line.startswith(" "))


def fetch(packages, folder):
    """Download packages (NAME, NAME=VERSION or NAME/SUITE) and unpack all
    of them into the folder."""
    with tempfile.TemporaryDirectory(dir=APT) as downloads:
        line = ["apt-get", *options(), "download", *packages]
        try:
            run(line, "apt-get download", cwd=downloads)
        except LabError:
            update(force=True)
            run(line, "apt-get download", cwd=downloads)
        for package in sorted(Path(downloads).glob("*.deb")):
            run(["dpkg", "-x", str(package), str(folder)],
                f"unpacking {package.name}")
