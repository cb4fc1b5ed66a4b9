# SPDX-License-Identifier: BSD-3-Clause
"""Test results: one line each as they come, and a last line that counts them.

    ok NAME (1.2 s)
    FAIL NAME
        why, in one or more lines
        again: ./dev test NAME
    skip NAME: why

With CI=true in the environment nothing may be skipped: a skip is a failure.
"""
import fnmatch
import os
import re
import sys
import threading

AGAIN = "./dev test"

LINE = re.compile(r"^(ok|FAIL|skip) (\S+?)(?: \(([0-9.]+) s\)|:.*)?$")


def matches(name, pattern):
    """True if pattern selects name: a substring, or a glob of the whole."""
    if not pattern:
        return True
    return pattern in name or fnmatch.fnmatchcase(name, pattern)


class Report:
    def __init__(self, out=sys.stdout):
        self.out = out
        self.lock = threading.RLock()     # any thread may report
        self.passed = 0
        self.failed = []
        self.skipped = 0
        self.seconds = {}       # {name: of those that passed}
        self.colour = out.isatty()
        self.ci = os.environ.get("CI") == "true"

    def _print(self, text, colour=None):
        if colour and self.colour:
            head, _, tail = text.partition(" ")
            text = f"\033[{colour}m{head}\033[0m {tail}"
        print(text, file=self.out, flush=True)

    def ok(self, name, seconds):
        with self.lock:
            self.passed += 1
            self.seconds[name] = seconds
            self._print(f"ok {name} ({seconds:.1f} s)", 32)

    def fail(self, name, reason):
        lines = str(reason).rstrip().splitlines() or ["(no reason given)"]
        with self.lock:
            self.failed.append(name)
            self._print(f"FAIL {name}", 31)
            for line in lines:
                self._print(f"    {line}")
            self._print(f"    again: {AGAIN} {name}")

    def skip(self, name, reason):
        if self.ci:
            self.fail(name, f"skipped, which CI does not allow: {reason}")
            return
        with self.lock:
            self.skipped += 1
            self._print(f"skip {name}: {reason}", 33)

    def relay_all(self, lines):
        """Print and count lines of a runner below, whole."""
        with self.lock:
            for line in lines:
                self.relay(line)

    def relay(self, line):
        """Print a line of a runner below this one, and count it."""
        found = LINE.match(line)
        if found:
            kind, name, seconds = found.groups()
            if kind == "ok":
                self.passed += 1
                self.seconds[name] = float(seconds or 0)
            elif kind == "skip":
                self.skipped += 1
            else:
                self.failed.append(name)
        colour = {"ok": 32, "FAIL": 31, "skip": 33}
        self._print(line, colour.get(found.group(1)) if found else None)

    def count(self):
        """Tests that were reported on."""
        return self.passed + len(self.failed) + self.skipped

    def slowest(self, count=10):
        """Print which tests took longest."""
        rows = sorted(self.seconds.items(), key=lambda row: -row[1])[:count]
        self._print("slowest: " + ", ".join(
            f"{name} {seconds:.0f} s" for name, seconds in rows))

    def finish(self):
        """Print the last line; returns the exit status."""
        if self.failed and len(self.failed) > 1:
            self._print("failed: " + " ".join(self.failed))
        line = f"{self.passed} passed, {len(self.failed)} failed"
        if self.skipped:
            line += f", {self.skipped} skipped"
        self._print(line)
        return 1 if self.failed else 0
