# SPDX-License-Identifier: BSD-3-Clause
"""The console on a terminal, in a file, or nowhere."""
import os
import pty
import signal
import subprocess
import termios
import time

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
               lambda: vmm.mode() == vmm.before, 5)


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
               lambda: "BELLOWS-READY" in path.read_text(), 60)
    text = path.read_text()
    expect(text.startswith("before\n"), "the file was not appended to")
    expect("BELLOWS-INIT" in text, "no init line in the file")
    vmm.press_power()
    expect_equal("exit status", vmm.wait_end(), 0)


@test("console/none")
def nowhere(lab):
    """Nothing is printed, nothing is read, and the machine runs."""
    vmm = lab.start(ready=False, memory=256 * MIB, console="none")
    wait_until("driver ready", lambda: vmm.show()["elastic"] == [] and
               vmm.show()["state"] == "running", 30)
    time.sleep(8)
    vmm.press_power()
    expect_equal("exit status", vmm.wait_end(), 0)
    expect_equal("output", [text for _, text in vmm.console.lines], [])


@test("console/output-that-nobody-reads")
def blocked(lab):
    """A reader that stops reading stops the guest's output, and neither the
    control socket nor a resize under way."""
    vmm = TerminalVmm(Machine(memory=256 * MIB, elastic=[Elastic(GIB)]))
    lab.vmms.append(vmm)
    vmm.start()
    vmm.wait_init()
    vmm.wait_ready()
    vmm.console.paused.clear()
    vmm.console.send("1 sh seq 1 20000\n")
    time.sleep(1)
    vmm.resize("em0", 256 * MIB)
    vmm.wait_plugged("em0", 256 * MIB)
    vmm.console.paused.set()
    vmm.console.wait_for("@1 20000$", 120)
    power_off(vmm)
