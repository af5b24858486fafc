"""Records and a key for tests."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from edge_agent.io.keys import DeviceKey
from edge_agent.wire.declaration import Declaration, DpBudget, Line, Service
from edge_agent.wire.messages import Record

_PEM = (Path(__file__).parent / "contract" / "golden" / "device.pem").read_bytes()
_PRIVATE = serialization.load_pem_private_key(_PEM, password=None)
assert isinstance(_PRIVATE, RSAPrivateKey)
KEY = DeviceKey(_PRIVATE)
"""A device's key that everybody knows."""
PUBLIC_PEM = _PRIVATE.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)
NO_SIGNATURE = bytes(384)
WINDOW = datetime(2026, 11, 21, 8, 15, tzinfo=UTC)


def an_agent(
    device: str = "bus-1", number: int = 1, folder: str = "/var/lib/dizaine/spool", more: str = ""
) -> str:
    """Return a configuration of one door, as a city writes it."""
    return (
        f'device = "{device}"\nnumber = {number}\ndata_dir = "{folder}"\n'
        'key_file = "/run/credentials/dizaine-vision.service/signing-key"\n'
        '[camera]\nsource = "/dev/video0"\n'
        f'[[lines]]\nid = "door"\nstart = [0.5, 0.0]\nend = [0.5, 1.0]\n{more}'
    )


def a_record(**changes: Any) -> Record:
    """Return a record that says little, changed as asked."""
    fields: dict[str, Any] = {
        "device": "bus-1",
        "scope": "main",
        "window": WINDOW,
        "window_min": 15,
        "status": "low",
        "config": "00112233445566aa",
        "build": "bb66554433221100",
        "development": False,
    }
    return Record(**{**fields, **changes})


def a_declaration(**changes: Any) -> Declaration:
    """Return a declaration of one line, all day long, changed as asked."""
    fields: dict[str, Any] = {
        "device": "bus-1",
        "number": 1,
        "signed": True,
        "k": 10,
        "window_min": 15,
        "delay_s": 20.0,
        "service": Service(timezone="UTC"),
        "profile": "standard",
        "dp": None,
        "lines": (Line(id="main", start=(0.5, 0.0), end=(0.5, 1.0)),),
        "modules": (),
        "detector": "person-ssdlite-coco",
    }
    return Declaration(**{**fields, **changes})


def a_private_declaration(epsilon_milli: int = 1000, **changes: Any) -> Declaration:
    """Return a declaration with the profile dp."""
    budget = DpBudget(epsilon_milli=epsilon_milli, day_budget_milli=100 * epsilon_milli)
    return a_declaration(profile="dp", dp=budget, **changes)
