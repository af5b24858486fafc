"""The one signature that is valid for a record: RSA-3072 with PKCS #1 v1.5 and SHA-256 (RFC 8017).

This module verifies, and never signs; no key but a public one comes near it.

Why this and no other: raising to the public exponent is a permutation, so each message has exactly
one valid signature. A scheme with a random number in it (ECDSA, RSA-PSS), or one whose random
number its verifier cannot check (Ed25519), gives a compromised device 250 bits a record to hide
something in. It takes the standard library alone, so that a stranger can check a journal with it.
"""

import hashlib

MODULUS_BITS = 3072
SIGNATURE_SIZE = MODULUS_BITS // 8
EXPONENT = 65537
CONFIGURATION_CONTEXT = b"dizaine configuration 1\n"
"""Stands before what an operator signs, which so is valid for nothing else (Ed25519)."""
_SHA256_INFO = bytes.fromhex("3031300d060960864801650304020105000420")
"""DER of the DigestInfo that precedes a SHA-256 digest (RFC 8017, 9.2)."""


def is_valid(modulus: bytes, signature: bytes, signed: bytes) -> bool:
    """Return whether a signature is the one of these bytes under a public key.

    Args:
        modulus: the public key, 384 bytes, big endian; its exponent is always 65537.
        signature: 384 bytes, big endian.
        signed: what was signed.
    """
    n, s = int.from_bytes(modulus), int.from_bytes(signature)
    if len(modulus) != SIGNATURE_SIZE or len(signature) != SIGNATURE_SIZE or s >= n:
        return False
    told = _SHA256_INFO + hashlib.sha256(signed).digest()
    expected = b"\x00\x01" + b"\xff" * (SIGNATURE_SIZE - len(told) - 3) + b"\x00" + told
    return pow(s, EXPONENT, n).to_bytes(SIGNATURE_SIZE) == expected
