# SPDX-License-Identifier: BSD-3-Clause
"""The emulated host: QEMU, its kernel, and the command's streams."""
import ctypes
import fcntl
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
import tty
from pathlib import Path

import apt
import initramfs
import kernel as kernels
import mend
import qemu

HOST_KERNEL = "6.1-generic"
LOGS = apt.BUILD / "lab"
BOOT_SECONDS = 120          # generous: the machine may be busy
CHUNK = 32768
# Seconds between two frames that have the relay interrupt every processor: one
# whose timer QEMU forgot (docs/lab.md) has nothing else to wake it.
HEARTBEAT = 0.05
HEADER = struct.Struct("<B3xI")
# Folders that are fresh in the lab; what is asked for below them is shown.
FRESH = ("/tmp", "/run", "/dev")
PR_SET_PDEATHSIG = 1
CMDLINE = ("console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off "
           "nokaslr no5lvl no_timer_check tsc=reliable audit=0 selinux=0 "
           "apparmor=0 cryptomgr.notests 8250.nr_uarts=1 random.trust_cpu=on "
           "i8042.noaux i8042.nokbd rcupdate.rcu_expedited=1")


class Ended(Exception):
    """The host is gone before the command's status arrived."""


def size_in_bytes(text):
    units = {"K": 10, "M": 20, "G": 30, "T": 40}
    return int(text[:-1]) << units[text[-1]] if text[-1] in units \
        else int(text)


def die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Host:
    """One emulated host that runs one command."""

    def __init__(self, args, out):
        self.args, self.out = args, out
        self.log = LOGS / f"console.{os.getpid()}.log"
        self.process = self.port = self.program = None
        self.received = bytearray()

    def memory_options(self):
        total = size_in_bytes(self.args.memory) >> 20
        cpus, nodes = self.args.cpus, self.args.nodes
        if nodes == 1:
            return ["-m", f"{total}M"]
        options = ["-m", f"{total}M"]
        for node in range(nodes):
            size = total // nodes + (total % nodes if node == 0 else 0)
            first, last = (cpus * node // nodes,
                           cpus * (node + 1) // nodes - 1)
            of_node = f",cpus={first}-{last}" if last >= first else ""
            options += ["-object",
                        f"memory-backend-ram,id=node{node},size={size}M",
                        "-numa", f"node,nodeid={node},memdev=node{node}"
                        + of_node]
        return options

    def pool(self):
        """Pages too large to be found once the host runs."""
        count = self.args.gigantic
        return f" hugepagesz=1G hugepages={count}" if count else ""

    def command_line(self, emulator, kernel, image, port):
        share = "security_model=none,multidevs=remap"
        return [
            emulator.program, *emulator.options,
            "-nodefaults", "-no-user-config", "-display", "none",
            "-machine", "q35,smm=off,sata=off,smbus=off,usb=off",
            "-accel", "tcg,thread=multi,tb-size=512",
            "-cpu", "max,-erms,-fsrm", "-smp", str(self.args.cpus),
            *self.memory_options(),
            "-kernel", str(kernel / "vmlinux"), "-initrd", str(image),
            "-append", CMDLINE + self.pool(),
            "-serial", f"file:{self.log}", "-no-reboot",
            "-device", "virtio-serial-pci",
            "-chardev", f"socket,id=relay,fd={port}",
            "-device", "virtserialport,chardev=relay,name=lab.relay",
            "-virtfs", f"local,path=/,mount_tag=labroot,readonly=on,{share}",
            "-virtfs", f"local,path={self.out},mount_tag=labout,{share}",
        ]

    def start(self):
        kernel = kernels.ensure(HOST_KERNEL)
        emulator = qemu.ensure()
        image = initramfs.ensure(kernel)
        self.port, theirs = socket.socketpair()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        line = self.command_line(emulator, kernel, image, theirs.fileno())
        self.program = emulator.program
        with open(self.log.with_suffix(".qemu"), "wb") as said:
            self.process = subprocess.Popen(
                line, env=emulator.env, stdin=subprocess.DEVNULL,
                stdout=said, stderr=said, pass_fds=[theirs.fileno()],
                start_new_session=True, preexec_fn=die_with_parent)
        theirs.close()

    def send(self, kind, data=b""):
        if isinstance(data, str):
            data = os.fsencode(data)
        try:
            self.port.sendall(HEADER.pack(ord(kind), len(data)) + data)
        except OSError as error:
            raise Ended from error

    def frames(self):
        """Read once, and yield the frames that are whole."""
        try:
            data = self.port.recv(1 << 18)
        except OSError as error:
            raise Ended from error
        if not data:
            raise Ended
        self.received += data
        at = 0
        while len(self.received) - at >= HEADER.size:
            kind, length = HEADER.unpack_from(self.received, at)
            if len(self.received) - at - HEADER.size < length:
                break
            at += HEADER.size
            yield chr(kind), bytes(self.received[at:at + length])
            at += length
        del self.received[:at]

    def wait_ready(self):
        deadline = time.monotonic() + BOOT_SECONDS
        while True:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.port], [], [], left)[0]:
                raise Ended
            for kind, _ in self.frames():
                if kind == "R":
                    self.mend()
                    return

    def mend(self):
        try:
            mend.mend(self.process.pid, self.program)
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"lab: QEMU's races are not mended, so that the host may "
                  f"stand still: {error}", file=sys.stderr)

    def stop(self):
        """End the machine; it has nothing to save."""
        if self.process and self.process.poll() is None:
            self.process.kill()
        if self.process:
            self.process.wait()
        if self.port:
            self.port.close()

    def keep_log(self, failed):
        """The last log stays as console.log; a failed run's is shown."""
        said = self.log.with_suffix(".qemu")
        if failed:
            for path in (said, self.log):
                text = path.read_text(errors="replace") if path.exists() \
                    else ""
                for line in text.splitlines()[-25:]:
                    print(f"  {line}", file=sys.stderr)
        if self.log.exists():
            self.log.rename(LOGS / "console.log")
        said.unlink(missing_ok=True)


class Streams:
    """This process's streams, tied to the command's."""

    def __init__(self, host):
        self.host = host
        self.terminal = self.saved = None
        self.may_send = True
        self.input = 0
        foreground = os.isatty(0) and os.tcgetpgrp(0) == os.getpgrp()
        if os.isatty(0) and not foreground:
            self.input = None
            host_input_ends = True
        else:
            host_input_ends = False
        self.ends = host_input_ends
        self.interactive = foreground and os.isatty(1)

    def size(self):
        packed = fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8))
        rows, columns = struct.unpack("HHHH", packed)[:2]
        return f"{rows} {columns}"

    def open(self):
        if self.interactive:
            self.saved = termios.tcgetattr(0)
            tty.setraw(0, termios.TCSANOW)
            signal.signal(signal.SIGWINCH, lambda *_: self.host.send(
                "W", self.size()))

    def close(self):
        if self.saved:
            signal.signal(signal.SIGWINCH, signal.SIG_DFL)
            termios.tcsetattr(0, termios.TCSANOW, self.saved)
            self.saved = None

    def read_input(self):
        try:
            data = os.read(0, CHUNK)
        except OSError:
            data = b""
        self.host.send("I", data)
        if data:
            self.may_send = False
        else:
            self.input = None

    def write(self, fd, data):
        while data:
            try:
                data = data[os.write(fd, data):]
            except BlockingIOError:
                select.select([], [fd], [])

    def run(self):
        """Until the command ends; returns its status."""
        if self.ends:
            self.host.send("I")
        beat = time.monotonic()
        while True:
            watched = [self.host.port]
            if self.input is not None and self.may_send:
                watched.append(self.input)
            ready = select.select(watched, [], [], HEARTBEAT)[0]
            if time.monotonic() >= beat + HEARTBEAT:
                self.host.send("H")
                beat = time.monotonic()
            if self.host.port in ready:
                for kind, data in self.host.frames():
                    if kind == "o":
                        self.write(1, data)
                    elif kind == "e":
                        self.write(2, data)
                    elif kind == "a":
                        self.may_send = True
                    elif kind == "f":
                        raise apt.LabError(data.decode(errors="replace"))
                    elif kind == "x":
                        return struct.unpack("<i", data)[0]
            if self.input in ready and self.input is not None:
                self.read_input()


def shown_paths(out):
    """What stands in a folder that is fresh in the lab but must be seen."""
    wanted = [apt.ROOT, Path.cwd(), apt.BUILD.resolve()]
    return [str(path) for path in dict.fromkeys(wanted)
            if any(str(path).startswith(f"{fresh}/") for fresh in FRESH)
            and path != out]


def run(args, env, out):
    """Run the command on an emulated host; returns its status."""
    host = Host(args, out)
    failed = True
    streams = None
    try:
        began = time.monotonic()
        host.start()
        host.wait_ready()
        print(f"lab: emulated KVM host, {args.cpus} cpus, {args.memory}: "
              f"ready in {time.monotonic() - began:.1f} s",
              file=sys.stderr, flush=True)
        streams = Streams(host)
        for path in shown_paths(out):
            host.send("B", path)
        host.send("O", str(out))
        host.send("D", os.getcwd())
        for name, value in env.items():
            host.send("E", f"{name}={value}")
        for word in args.command:
            host.send("A", word)
        if streams.interactive:
            host.send("T", streams.size())
        streams.open()
        host.send("G")
        status = streams.run()
        failed = False
        return status
    except Ended:
        if streams:
            streams.close()
        try:
            why = f"ended (QEMU status {host.process.wait(2)})"
        except subprocess.TimeoutExpired:
            why = "does not answer"
        print(f"lab: the emulated host {why}; the end of its console:",
              file=sys.stderr)
        return 125
    except (KeyboardInterrupt, BrokenPipeError):
        failed = False
        raise
    finally:
        if streams:
            streams.close()
        host.stop()
        host.keep_log(failed)
