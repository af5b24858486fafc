"""The TPM, as far as we speak to it ourselves: with one command.

A TPM takes each power cut after it opened a secret for a guess at that secret, and after some of
them (3 to 32) opens none for minutes to hours: in a vehicle, a working day. Nothing of ours can be
guessed: what systemd seals is opened by the state of the machine, without a PIN. So this protection
is switched off before anything is sealed; where the TPM does not allow that, it is not used.

Sources: TCG TPM 2.0 Library, Part 1, "Dictionary Attack Protection", and Part 3,
TPM2_DictionaryAttackParameters.
"""

import os
import struct
from collections.abc import Callable
from pathlib import Path

DEVICE = Path("/dev/tpmrm0")
_SESSIONS, _DICTIONARY_ATTACK_PARAMETERS = 0x8002, 0x13A
_LOCKOUT, _PASSWORD = 0x4000000A, 0x40000009
_NO_PASSWORD = struct.pack(">IHBH", _PASSWORD, 0, 0, 0)
_MOST_TRIES, _NEVER_LOCKED_S, _AFTER_RESTART_S = 32, 0, 0
_HEAD = struct.Struct(">HII")
_LARGEST_ANSWER = 4096

Exchange = Callable[[bytes], bytes]
"""Gives the TPM a command and returns its answer."""


def forgive_power_cuts(exchange: Exchange) -> bool:
    """Have the TPM lock nobody out; return whether it does so from now on."""
    body = struct.pack(">II", _LOCKOUT, len(_NO_PASSWORD)) + _NO_PASSWORD
    body += struct.pack(">III", _MOST_TRIES, _NEVER_LOCKED_S, _AFTER_RESTART_S)
    command = _HEAD.pack(_SESSIONS, _HEAD.size + len(body), _DICTIONARY_ATTACK_PARAMETERS) + body
    try:
        answer = exchange(command)
    except OSError:
        return False
    return len(answer) >= _HEAD.size and _HEAD.unpack_from(answer)[2] == 0


def exchange(command: bytes) -> bytes:
    """Give this machine's TPM a command.

    Raises:
        OSError: there is none, or it cannot be used.
    """
    descriptor = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.write(descriptor, command)
        return os.read(descriptor, _LARGEST_ANSWER)
    finally:
        os.close(descriptor)
