# SPDX-License-Identifier: BSD-3-Clause
"""The console on a terminal, in a file, or nowhere."""
import os
import pty
import select
import signal
import subprocess
import termios
import time
import tty

from harness import (GIB, MIB, Elastic, Machine, expect, expect_equal,
                     power_off, test, wait_until)
from lib.bellows import BellowsVmm
from lib.console import Console

LFLAG = 3


class TerminalVmm(BellowsVmm):
    """Runs with a terminal of its own as stdin and stdout."""

    def start(self):
        self.master, self.slave = pty.openpty()
        self.before = termios.tcgetattr(self.slave)
        with open(self.stderr_path, "wb") as stderr:
            self.started = time.monotonic()
            self.process = subprocess.Popen(
                self.command(), stdin=self.slave, stdout=self.slave,
                stderr=stderr, start_new_session=True)
        self.console = Console(self.master,
                               lambda data: os.write(self.master, data))
        return self

    def mode(self):
        return termios.tcgetattr(self.slave)

    def is_raw(self):
        return not self.mode()[LFLAG] & (termios.ICANON | termios.ECHO |
                                         termios.ISIG)

    def is_full(self):
        """The terminal takes no more, for nobody reads. For a moment it does
        not while the VMM's writer is in it."""
        return not select.select([], [self.slave], [], 1)[1]

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.slave)
        self.console._thread.join(5)
        os.close(self.master)
        self.folder.cleanup()


def on_a_terminal(lab, end, status):
    """Raw while the machine runs, as it was after any end of it."""
    vmm = TerminalVmm(Machine(memory=256 * MIB))
    lab.vmms.append(vmm)
    vmm.start()
    vmm.wait_init()
    vmm.wait_ready()
    expect(vmm.is_raw(), "the terminal is not in raw mode")
    # Ctrl-A is typed twice; Ctrl-C and Ctrl-D are the guest's.
    expect_equal("ping", vmm.console.ask("ping \x01\x01\x03\x04"),
                 ["pong \x01\x03\x04"])
    end(vmm)
    got = vmm.wait_end()
    if status is not None:
        expect_equal("exit status", got, status)
    wait_until("terminal mode restored",
               lambda: vmm.mode() == vmm.before)


def by_power_off(vmm):
    vmm.console.send("0 poweroff\n")


def by_signal(number):
    return lambda vmm: vmm.process.send_signal(number)


test("console/terminal-after-power-off", end=by_power_off,
     status=0)(on_a_terminal)
test("console/terminal-after-sigterm", end=by_signal(signal.SIGTERM),
     status=None)(on_a_terminal)
test("console/terminal-after-sighup", end=by_signal(signal.SIGHUP),
     status=None)(on_a_terminal)
test("console/terminal-after-sigkill", end=by_signal(signal.SIGKILL),
     status=-signal.SIGKILL)(on_a_terminal)


@test("console/file")
def to_file(lab):
    """Output is appended to a file; the machine takes no input."""
    path = lab.folder / "console.log"
    path.write_text("before\n")
    vmm = lab.start(ready=False, memory=256 * MIB, console=f"file:{path}")
    wait_until("agent ready in the file",
               lambda: "BELLOWS-READY" in path.read_text())
    text = path.read_text()
    expect(text.startswith("before\n"), "the file was not appended to")
    expect("BELLOWS-INIT" in text, "no init line in the file")
    vmm.press_power()
    expect_equal("exit status", vmm.wait_end(), 0)


@test("console/none")
def nowhere(lab):
    """Nothing is printed, nothing is read, and the machine runs."""
    vmm = lab.start(ready=False, memory=256 * MIB, console="none",
                    elastic=[Elastic(GIB, size_bytes=128 * MIB)])
    vmm.wait_plugged("em0", 128 * MIB)      # by its driver

    def ended():
        # Who does not listen yet has not heard it.
        vmm.press_power()
        try:
            return vmm.process.wait(2) is not None
        except subprocess.TimeoutExpired:
            return False

    wait_until("it has ended after the power button", ended)
    expect_equal("exit status", vmm.wait_end(), 0)
    expect_equal("output", [text for _, text in vmm.console.lines], [])


# What there is between the guest's program and a reader but for the terminal:
# the guest's own terminal, the VMM's ring, one read under way, some lines.
HELD_ELSEWHERE = 3 * 4096 + 1024


def terminal_holds():
    """Bytes that a terminal takes which nobody reads."""
    master, slave = pty.openpty()
    tty.setraw(slave)
    os.set_blocking(slave, False)
    total = 0
    try:
        while True:
            total += os.write(slave, bytes(512))
    except BlockingIOError:
        return total
    finally:
        os.close(master)
        os.close(slave)


def received(console):
    with console.changed:
        return sum(len(text) + 1 for _, text in console.lines) \
            + len(console.partial)


@test("console/output-that-nobody-reads")
def blocked(lab):
    """A reader that stops reading stops the guest's output, and neither the
    control socket nor a resize under way."""
    vmm = TerminalVmm(Machine(memory=256 * MIB, elastic=[Elastic(GIB)]))
    lab.vmms.append(vmm)
    vmm.start()
    vmm.wait_init()
    vmm.wait_ready()
    # More than is held anywhere: so it can only end once it is read again.
    most = terminal_holds() + HELD_ELSEWHERE
    last = 10000 + most * 11 // 10 // len("@1 10000\n")
    before = received(vmm.console)
    vmm.console.paused.clear()
    vmm.console.send(f"1 sh seq 10000 {last}\n")
    wait_until("the terminal is full", vmm.is_full)
    for size in (256, 0):
        vmm.resize("em0", size * MIB)
        vmm.wait_plugged("em0", size * MIB)
    expect(vmm.is_full(), "the terminal is not full any more")
    expect(received(vmm.console) - before <= 4096, "it was read")
    vmm.console.paused.set()
    vmm.console.wait_for("@1 END 0$")
    vmm.console.wait_for(f"@1 {last}$")
    expect(received(vmm.console) - before > most, "too little was said")
    power_off(vmm)
