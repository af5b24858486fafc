"""Makes what a city's devices would say: real records, released as the wire has them, and signed.

For benchmarks and demonstrations of the server alone; no camera is behind these numbers.
"""

import math
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256

from aggregator.core.verdict import Device
from aggregator.store.database import Database
from aggregator.store.registry import Place
from edge_agent.wire import codec, topics
from edge_agent.wire.declaration import Declaration, Door, Line, Module, Service, Vehicle, Zone
from edge_agent.wire.messages import Record, rounded
from edge_agent.wire.signature import EXPONENT, MODULUS_BITS, SIGNATURE_SIZE

Kind = Literal["market", "bus"]
WINDOW = timedelta(minutes=15)
DAY_WINDOWS = 96
_SITES = ("Marché Forville", "Gare", "Croisette", "Suquet", "Mairie", "Palais", "Port", "La Bocca")
BUILD = "0123456789abcdef"


@dataclass(frozen=True, slots=True)
class Camera:
    """A device, where it hangs, and what it declares."""

    name: str
    kind: Kind
    place: Place
    declared: Declaration


def cameras(count: int, start: datetime, days: int) -> list[Camera]:
    """Return devices: one in four in a bus, the rest over markets and places."""
    found = []
    for index in range(count):
        kind: Kind = "bus" if index % 4 == 3 else "market"
        name = f"{kind}-{index + 1}"
        line = f"{1 + index // 4 % 9}" if kind == "bus" else ""
        site = f"Bus {index + 1}" if kind == "bus" else _SITES[index % len(_SITES)]
        place = Place(site, f"Caméra {index + 1}", line, ("centre",) if index % 2 else ())
        found.append(Camera(name, kind, place, _declared(name, kind, start, days)))
    return found


def _declared(name: str, kind: Kind, start: datetime, days: int) -> Declaration:
    said = {
        "legal_basis": "Arrêté municipal 2026-14", "contact": "dpo@ville.example",
        "start": start - timedelta(days=1), "end": start + timedelta(days=days + 366),
    }  # fmt: skip
    purposes = {
        "masks": "Mesurer le port du masque", "occupancy": "Mesurer l'affluence",
        "distance": "Mesurer l'espace entre les personnes", "alerts": "Réguler les entrées",
    }  # fmt: skip
    vehicle = Vehicle(id="on-board", doors=(Door(line="main", inward="forward"),), capacity=80)
    square = ((0.1, 0.1), (0.9, 0.1), (0.9, 0.9), (0.1, 0.9))
    return Declaration(
        device=name, number=1, signed=True, k=10, window_min=15, delay_s=20.0,
        service=Service(opens="06:00", closes="22:00"), profile="standard", dp=None,
        lines=(Line(id="main", start=(0.5, 0.0), end=(0.5, 1.0)),),
        zones=() if kind == "bus" else (Zone(id="stalls", corners=square, capacity=120),),
        vehicle=vehicle if kind == "bus" else None,
        modules=tuple(
            Module(name=module, purpose=purpose, **said)  # type: ignore[arg-type]
            for module, purpose in purposes.items()
        ),
        detector="person-ssdlite-coco",
    )  # fmt: skip


def said(camera: Camera, start: datetime, windows: int, seed: int = 1) -> Iterator[Record]:
    """Yield what a device says of windows in a row, chained scope by scope later."""
    noise = random.Random(f"{seed}-{camera.name}")  # noqa: S311 - no secret
    carried = 0
    for index in range(windows):
        window = start + index * WINDOW
        end = window + WINDOW
        base: dict[str, Any] = {
            "device": camera.name, "window": window, "window_min": 15,
            "config": camera.declared.fingerprint(), "build": BUILD, "development": False,
        }  # fmt: skip
        second = "on-board" if camera.kind == "bus" else "stalls"
        if not camera.declared.service.includes(window, end):
            carried = 0
            for scope in ("main", second):
                yield Record(scope=scope, status="closed", **base)
            continue
        crowd = _crowd(window, noise)
        count = int(noise.gauss(crowd, math.sqrt(crowd)))
        if noise.random() < 0.004:
            carried = 0
            yield Record(scope="main", status="defect", **base)
        elif count + carried < 10:
            carried = min(9, carried + max(0, count))
            yield Record(scope="main", status="low", **base)
        else:
            yield Record.model_validate({**base, **_passages(count + carried, noise)})
            carried = 0
        yield Record.model_validate({**base, "scope": second, **_people(crowd, noise)})


def _crowd(window: datetime, noise: random.Random) -> float:
    hour = window.hour + window.minute / 60
    peaks = math.exp(-((hour - 8) ** 2) / 3) + 1.2 * math.exp(-((hour - 17) ** 2) / 6)
    weekend = 0.6 if window.weekday() >= 5 else 1.0
    return 4 + 90 * peaks * weekend * noise.uniform(0.8, 1.2)


def _passages(count: int, noise: random.Random) -> dict[str, Any]:
    forward = int(count * noise.uniform(0.35, 0.65))
    both = min(forward, count - forward) >= 10
    passages: dict[str, int] = {"total": rounded(count)}
    if both:
        passages = {"forward": rounded(forward), "backward": rounded(count - forward)}
    masks = None
    if count >= 20:
        masks = {"bound": "between", "percent": 5 * noise.randint(8, 16), "unjudged": 10}
    return {"scope": "main", "status": "ok", "passages": passages, "masks": masks}


def _people(crowd: float, noise: random.Random) -> dict[str, Any]:
    if crowd < 12:
        return {"status": "low"}
    mean = 5 * round(crowd * noise.uniform(0.7, 1.1) / 5)
    levels = ("free", "busy", "crowded", "full")
    metres = max(0.5, 3.2 - crowd / 40 + noise.uniform(-0.2, 0.2))
    near = ("from_50", "under_50", "under_25", "under_10")[min(3, int(metres))]
    return {
        "status": "ok", "occupancy": {"mean": mean, "level": levels[min(3, mean // 35)]},
        "distance": {"under_1m": near, "under_2m": "from_50", "mean_cm": 25 * round(metres * 4)},
    }  # fmt: skip


def register(database: Database, city: Sequence[Camera], modulus: bytes, now_s: int) -> None:
    """Register devices that share a key, each with its declaration."""
    for camera in city:
        device = Device(camera.name, modulus, revoked=False)
        database.registry.add(device, camera.place, now_s)
        database.registry.declare(camera.declared, now_s)
        database.registry.name_scope(camera.name, "main", "Entrée")
        second = "À bord" if camera.kind == "bus" else "Étals"
        scope = "on-board" if camera.kind == "bus" else "stalls"
        database.registry.name_scope(camera.name, scope, second)


@dataclass(frozen=True, slots=True)
class Sealed:
    """A signed record and the topic that it goes on."""

    topic: str
    payload: bytes


def make_key() -> tuple[bytes, bytes]:
    """Return a device's private key in PEM, and its public modulus."""
    key = generate_private_key(EXPONENT, MODULUS_BITS)
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return secret, key.public_key().public_numbers().n.to_bytes(SIGNATURE_SIZE)


def _seal_one(work: tuple[bytes, Camera, datetime, int]) -> list[Sealed]:
    secret, camera, start, windows = work
    key = serialization.load_pem_private_key(secret, None)
    if not isinstance(key, RSAPrivateKey):
        raise TypeError("expected an RSA key")
    before: dict[str, str] = {}
    found = []
    for record in said(camera, start, windows):
        chained = record.model_copy(update={"before": before.get(record.scope)})
        sealed = codec.seal(chained, lambda data: key.sign(data, PKCS1v15(), SHA256()))
        before[record.scope] = codec.digest(sealed)
        found.append(Sealed(topics.record(record.device, record.scope), sealed))
    return found


def seal(
    secret: bytes, city: Sequence[Camera], start: datetime, windows: int
) -> list[list[Sealed]]:
    """Return, for each device, its signed records in order; on all cores."""
    work = [(secret, camera, start, windows) for camera in city]
    with ProcessPoolExecutor() as pool:
        return list(pool.map(_seal_one, work, chunksize=4))


def midnight(days_ago: int) -> datetime:
    """Return the beginning of a day, UTC."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return today - timedelta(days=days_ago)
