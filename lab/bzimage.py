# SPDX-License-Identifier: BSD-3-Clause
"""The uncompressed kernel (ELF) out of a bzImage.

The setup header says where the payload is (Documentation/arch/x86/boot.rst,
protocol 2.08 and newer); its last four bytes are the size once unpacked,
except for gzip's, whose own last four bytes say so.
"""
import lzma
import shutil
import struct
import subprocess
import zlib

SETUP_SECTS = 0x1f1
MAGIC = 0x202
PAYLOAD_OFFSET = 0x248
PAYLOAD_LENGTH = 0x24c
OLDEST_PROTOCOL = 0x208


class ImageError(Exception):
    """Not a bzImage that we can read; says why."""


def _unxz(data, _size):
    return lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(data)


def _unlzma(data, _size):
    return lzma.LZMADecompressor(lzma.FORMAT_ALONE).decompress(data)


def _gunzip(data, _size):
    return zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(data)


def _unzstd(data, _size):
    if not shutil.which("zstd"):
        raise ImageError("zstd is not installed (Debian package zstd)")
    done = subprocess.run(["zstd", "-dc"], input=data, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    # What follows the frame (the size) makes zstd complain, after its output.
    return done.stdout


def _lz4_block(data, out):
    """Unpack one LZ4 block, which may refer to what was unpacked before."""
    at, end = 0, len(data)
    while at < end:
        token = data[at]
        at += 1
        length = token >> 4
        while length >= 15 and (token >> 4) == 15:
            more = data[at]
            at += 1
            length += more
            if more != 255:
                break
        out += data[at:at + length]
        at += length
        if at >= end:
            break
        distance = data[at] | data[at + 1] << 8
        at += 2
        if not 0 < distance <= len(out):
            raise ImageError("the LZ4 payload is damaged")
        length = token & 15
        while length >= 15 and (token & 15) == 15:
            more = data[at]
            at += 1
            length += more
            if more != 255:
                break
        length += 4
        start = len(out) - distance
        while length > 0:
            piece = out[start:start + length]
            out += piece
            length -= len(piece)


def _unlz4(data, size):
    """The legacy frame: a magic number, then blocks with their sizes."""
    out = bytearray()
    at = 4
    while at + 4 <= len(data) and len(out) < size:
        (length,) = struct.unpack_from("<I", data, at)
        _lz4_block(data[at + 4:at + 4 + length], out)
        at += 4 + length
    return bytes(out)


FORMATS = [
    (b"\xfd7zXZ\0", _unxz),
    (b"\x28\xb5\x2f\xfd", _unzstd),
    (b"\x02\x21\x4c\x18", _unlz4),
    (b"\x1f\x8b", _gunzip),
    (b"\x5d\0\0\0", _unlzma),
]


def unpack(image):
    """The ELF file as bytes."""
    if image[MAGIC:MAGIC + 4] != b"HdrS":
        raise ImageError("not a bzImage: no setup header")
    (protocol,) = struct.unpack_from("<H", image, MAGIC + 4)
    if protocol < OLDEST_PROTOCOL:
        raise ImageError(f"boot protocol {protocol:#x} is too old")
    begin = ((image[SETUP_SECTS] or 4) + 1) * 512
    offset, length = struct.unpack_from("<II", image, PAYLOAD_OFFSET)
    payload = image[begin + offset:begin + offset + length]
    if len(payload) != length or length < 8:
        raise ImageError("the bzImage is cut short")
    (size,) = struct.unpack_from("<I", payload, length - 4)
    for magic, decompress in FORMATS:
        if payload.startswith(magic):
            elf = decompress(payload, size)
            break
    else:
        elf = payload
    if not elf.startswith(b"\x7fELF"):
        raise ImageError("the payload is no ELF file")
    if elf is not payload and len(elf) != size:
        raise ImageError(f"the payload has {len(elf)} bytes, not {size}")
    return elf


def extract_vmlinux(source, target):
    target.write_bytes(unpack(source.read_bytes()))
