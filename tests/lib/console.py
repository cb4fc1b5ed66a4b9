# SPDX-License-Identifier: BSD-3-Clause
"""The serial console of a guest, and the agent that answers on it."""
import os
import re
import threading
import time

# Seconds that a wait may take which only bounds a hang: long enough for the
# slowest machine on its slowest day. Where the time is what a test states, it
# names one of its own.
PATIENCE = 300

PANIC = re.compile(
    r"Kernel panic|\bBUG: |\bOops\b|general protection fault|"
    r"kernel BUG at|soft lockup|rcu: INFO|Internal error|"
    r"Unable to handle|Out of memory: Killed process 1 ")


class GuestError(Exception):
    """The guest did not do what it should; says what the console showed."""


class Console:
    """Reads all that a guest prints, with the time of each line.

    write is a function that takes bytes; read_fd is where they come from.
    """

    # Seconds between two reads. Who does not need to know to the millisecond
    # when a line came spares the processor a wake-up for every few bytes.
    rest = 0

    def __init__(self, read_fd, write):
        self.lines = []         # (monotonic time, text)
        self.partial = b""
        self.ended = False
        self.changed = threading.Condition()
        self.paused = threading.Event()     # cleared: nothing is read
        self.paused.set()
        self._write = write
        self._fd = read_fd
        self._sequence = 0
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        while True:
            self.paused.wait()
            try:
                got = os.read(self._fd, 65536)
            except OSError:
                got = b""
            now = time.monotonic()
            with self.changed:
                if not got:
                    self.ended = True
                    self.changed.notify_all()
                    return
                *whole, self.partial = (self.partial + got).split(b"\n")
                self.lines += [
                    (now, line.decode("utf-8", "replace").strip("\r"))
                    for line in whole]
                self.changed.notify_all()
            if self.rest:
                time.sleep(self.rest)

    def tail(self, count=25):
        with self.changed:
            rows = [text for _, text in self.lines[-count:]]
            rows.append(self.partial.decode("utf-8", "replace"))
        return "\n".join("  | " + row for row in rows if row)

    def mark(self):
        """A place in the output; wait_for() can start there."""
        with self.changed:
            return len(self.lines)

    def wait_for(self, pattern, timeout=PATIENCE, since=0, panics=True):
        """Wait for a line that matches; returns (time, match, next mark)."""
        wanted = re.compile(pattern)
        deadline = time.monotonic() + timeout
        at = since
        with self.changed:
            while True:
                while at < len(self.lines):
                    when, text = self.lines[at]
                    at += 1
                    found = wanted.search(text)
                    if found:
                        return when, found, at
                    if panics and PANIC.search(text):
                        # It has more to say, and may never end.
                        while self.changed.wait(2) and \
                                time.monotonic() < deadline:
                            pass
                        self._fail(f"the guest's kernel failed: {text}",
                                   slice(at - 1, at + 60))
                if self.ended:
                    self._fail(f"the console ended before {pattern!r} came")
                left = deadline - time.monotonic()
                if left <= 0:
                    self._fail(f"no {pattern!r} in {timeout} s")
                self.changed.wait(left)

    def _fail(self, why, which=slice(-30, None)):
        rows = [text for _, text in self.lines[which]]
        shown = "\n".join("  | " + row for row in rows)
        raise GuestError(f"{why}; of the console's lines:\n{shown}")

    def send(self, text):
        self._write(text.encode())

    def command(self, text, timeout=PATIENCE):
        """Have the agent run a command; returns (status, lines)."""
        self._sequence += 1
        sequence = self._sequence
        at = self.mark()
        self.send(f"{sequence} {text}\n")
        deadline = time.monotonic() + timeout
        answer = []
        while True:
            left = max(deadline - time.monotonic(), 0)
            _, found, at = self.wait_for(rf"@{sequence} (.*)$", left, at)
            line = found.group(1)
            end = re.match(r"END (-?\d+)$", line)
            if end:
                return int(end.group(1)), answer
            answer.append(line)

    def ask(self, text, timeout=PATIENCE):
        """The same for a command that must succeed; returns its lines."""
        status, lines = self.command(text, timeout)
        if status:
            raise GuestError(f"agent: {text!r} failed with {status} "
                             f"({os.strerror(status)})"
                             + "".join("\n  | " + row for row in lines))
        return lines
