"""The size of an image in a data URL, read from its header; nothing is decoded or fetched."""

from __future__ import annotations

import base64
import binascii
import struct

ASSUMED = (1024, 1024)  # for images that cannot be seen from here
_HEAD = 65_536  # bytes: a JPEG may carry a preview before its size


def size_of(url: str) -> tuple[int, int]:
    """Return (width, height) in pixels; ASSUMED for a remote or unknown image."""
    head, _, data = url.partition(";base64,")
    if not head.startswith("data:image/"):
        return ASSUMED
    try:
        raw = base64.b64decode(data[: _HEAD // 3 * 4])
    except binascii.Error:
        return ASSUMED
    for read in (_png, _gif, _webp, _jpeg):
        size = read(raw)
        if size is not None and min(size) > 0:
            return size
    return ASSUMED


def _png(raw: bytes) -> tuple[int, int] | None:
    if not raw.startswith(b"\x89PNG\r\n\x1a\n") or len(raw) < 24:
        return None
    width, height = struct.unpack(">II", raw[16:24])
    return width, height


def _gif(raw: bytes) -> tuple[int, int] | None:
    if raw[:6] not in (b"GIF87a", b"GIF89a") or len(raw) < 10:
        return None
    width, height = struct.unpack("<HH", raw[6:10])
    return width, height


def _webp(raw: bytes) -> tuple[int, int] | None:
    if raw[:4] != b"RIFF" or raw[8:12] != b"WEBP" or len(raw) < 30:
        return None
    if raw[12:16] == b"VP8X":
        return int.from_bytes(raw[24:27], "little") + 1, int.from_bytes(raw[27:30], "little") + 1
    if raw[12:16] == b"VP8L":
        bits = int.from_bytes(raw[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if raw[12:16] == b"VP8 ":
        width, height = struct.unpack("<HH", raw[26:30])
        return width & 0x3FFF, height & 0x3FFF
    return None


def _jpeg(raw: bytes) -> tuple[int, int] | None:
    if not raw.startswith(b"\xff\xd8"):
        return None
    at = 2
    while at + 9 <= len(raw) and raw[at] == 0xFF:
        marker, length = raw[at + 1], int.from_bytes(raw[at + 2 : at + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", raw[at + 5 : at + 9])
            return width, height
        at += 2 + length
    return None
