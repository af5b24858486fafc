"""Finds a model by its name, reads its manifest and checks its weights."""

import hashlib
import sys
import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

MANIFEST = "model.toml"


class WeightsError(RuntimeError):
    """The model cannot be used; the message is one line that says what to do."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class Anchors(_Section):
    """The grid of default boxes of an SSD network (Liu et al., 2016), as shares of the input."""

    grids: tuple[int, ...]
    smallest: float
    largest: float
    first_layer: float


class Manifest(_Section):
    """What `model.toml` says.

    Attributes:
        tiles: overlapping squares-to-be that a picture's longer side is cut into.
        tile_share: of the longer side that each tile covers.
        score_floor: detections below are not handed out.
        overlap_limit: of two boxes with more IoU than this, the surer one stays.
    """

    kind: Literal["ssd"]
    file: str
    sha256: str
    tiles: Annotated[int, Field(ge=1, le=4)]
    tile_share: Annotated[float, Field(gt=0, le=1)]
    score_floor: Annotated[float, Field(gt=0, lt=1)]
    overlap_limit: Annotated[float, Field(gt=0, lt=1)]
    anchors: Anchors


def load(name: str, folder: Path | None = None) -> tuple[Manifest, bytes]:
    """Return the manifest and the weights of a model.

    Args:
        name: the model's folder.
        folder: where that folder is; by default in the checkout, or where it is installed.

    Raises:
        WeightsError: no such model, an unusable manifest, or weights with another SHA-256.
    """
    places = [folder] if folder else _places()
    found = [place / name for place in places if (place / name / MANIFEST).is_file()]
    if not found:
        known = sorted(
            {path.parent.name for place in places for path in place.glob("*/model.toml")}
        )
        raise WeightsError(
            f"detector.model: no model {name} in {', '.join(map(str, places))};"
            f" known there: {', '.join(known) or 'none'}"
        )
    path = found[0] / MANIFEST
    try:
        manifest = Manifest.model_validate(tomllib.loads(path.read_text()), strict=False)
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        raise WeightsError(
            f"{path}: not a model's manifest: {str(error).splitlines()[0]}"
        ) from None
    try:
        weights = (found[0] / manifest.file).read_bytes()
    except OSError as error:
        raise WeightsError(f"{found[0] / manifest.file}: {error.strerror}") from None
    got = hashlib.sha256(weights).hexdigest()
    if got != manifest.sha256:
        raise WeightsError(
            f"{found[0] / manifest.file}: expected SHA-256 {manifest.sha256[:16]}…,"
            f" got {got[:16]}…; install the model again"
        )
    return manifest, weights


def _places() -> list[Path]:
    # A checkout's own models before the copies that were made when it was installed.
    return [
        Path(__file__).parents[2] / "models" / "weights",
        Path(sys.prefix) / "share" / "dizaine" / "models",
    ]
