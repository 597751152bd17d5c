"""A fresh P-256 key in PEM, for signing service account tokens.

Written out because the standard library cannot make one and neither `openssl` nor a committed
key should be needed. It protects nothing: the server it signs for lives on loopback for minutes.
"""

from __future__ import annotations

import base64
import secrets

_P = 2**256 - 2**224 + 2**192 + 2**96 - 1
_A = _P - 3
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_GENERATOR = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)
_CURVE_OID = bytes.fromhex("06082a8648ce3d030107")

_Point = tuple[int, int] | None


def _add(p: _Point, q: _Point) -> _Point:
    if p is None or q is None:
        return p or q
    if p[0] == q[0]:
        if (p[1] + q[1]) % _P == 0:
            return None
        slope = (3 * p[0] * p[0] + _A) * pow(2 * p[1], -1, _P)
    else:
        slope = (q[1] - p[1]) * pow(q[0] - p[0], -1, _P)
    x = (slope * slope - p[0] - q[0]) % _P
    return x, (slope * (p[0] - x) - p[1]) % _P


def _multiply(factor: int, point: _Point) -> _Point:
    total: _Point = None
    while factor:
        if factor & 1:
            total = _add(total, point)
        point = _add(point, point)
        factor >>= 1
    return total


def _der(tag: int, content: bytes) -> bytes:
    assert len(content) < 256
    length = bytes([len(content)]) if len(content) < 128 else bytes([0x81, len(content)])
    return bytes([tag]) + length + content


def private_key_pem() -> str:
    """A new key in the SEC 1 form (`EC PRIVATE KEY`), public part included."""
    secret = 1 + secrets.randbelow(_ORDER - 1)
    point = _multiply(secret, _GENERATOR)
    assert point is not None
    public = b"\x04" + b"".join(number.to_bytes(32, "big") for number in point)
    body = _der(0x02, b"\x01") + _der(0x04, secret.to_bytes(32, "big"))
    body += _der(0xA0, _CURVE_OID) + _der(0xA1, _der(0x03, b"\x00" + public))
    text = base64.b64encode(_der(0x30, body)).decode()
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return "\n".join(["-----BEGIN EC PRIVATE KEY-----", *lines, "-----END EC PRIVATE KEY-----", ""])
