"""Finds a model by its name, reads its manifest and checks its weights."""

import hashlib
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

MANIFEST = "model.toml"
Form = Literal["file", "onnx", "edgetpu"]
_MISSING = {
    "file": "names no weights; install the model again",
    "onnx": "has no weights for ONNX Runtime; choose another model, or runtime litert",
    "edgetpu": "has no weights compiled for an Edge TPU; make them with:"
    " python -m models.edgetpu --compile",
}


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


class Model(_Section):
    """What every `model.toml` says.

    Attributes:
        file, sha256: the weights in 8 bits, for LiteRT.
        onnx, onnx_sha256: the same network in floating point, for a Jetson.
        edgetpu, edgetpu_sha256: the first, compiled for an Edge TPU.
    """

    file: str
    sha256: str
    onnx: str | None = None
    onnx_sha256: str | None = None
    edgetpu: str | None = None
    edgetpu_sha256: str | None = None


class PersonModel(Model):
    """An SSD network that finds people.

    Attributes:
        tiles: overlapping squares-to-be that a picture's longer side is cut into.
        tile_share: of the longer side that each tile covers.
        score_floor: detections below are not handed out.
        overlap_limit: of two boxes with more IoU than this, the surer one stays.
    """

    kind: Literal["ssd"]
    tiles: Annotated[int, Field(ge=1, le=4)]
    tile_share: Annotated[float, Field(gt=0, le=1)]
    score_floor: Annotated[float, Field(gt=0, lt=1)]
    overlap_limit: Annotated[float, Field(gt=0, lt=1)]
    anchors: Anchors


class FaceModel(Model):
    """A CenterFace network that finds faces and five points of each (Xu et al., 2019)."""

    kind: Literal["centerface"]
    score_floor: Annotated[float, Field(gt=0, lt=1)]
    overlap_limit: Annotated[float, Field(gt=0, lt=1)]


class MaskModel(Model):
    """A network that tells whether a face wears a mask.

    Attributes:
        context: side of the square that it sees, in longer sides of the face.
        smallest_px: faces narrower than this are not judged.
        sure: share of certainty from which it is believed.
    """

    kind: Literal["mask"]
    context: Annotated[float, Field(ge=1, le=2)]
    smallest_px: Annotated[int, Field(ge=8, le=200)]
    sure: Annotated[float, Field(ge=0.34, lt=1)]


Kind = TypeVar("Kind", bound=Model)


@dataclass(frozen=True, slots=True)
class Weights(Generic[Kind]):
    """A model's manifest, and where its weights are."""

    manifest: Kind
    folder: Path

    def content(self, form: Form) -> bytes:
        """Return the weights in one form.

        Raises:
            WeightsError: the model has none in that form, or their SHA-256 is another.
        """
        name: str | None = getattr(self.manifest, form)
        wanted = getattr(self.manifest, "sha256" if form == "file" else f"{form}_sha256")
        if not (name and wanted):
            raise WeightsError(f"{self.folder / MANIFEST}: {_MISSING[form]}")
        try:
            content = (self.folder / name).read_bytes()
        except OSError as error:
            raise WeightsError(f"{self.folder / name}: {error.strerror}") from None
        got = hashlib.sha256(content).hexdigest()
        if got != wanted:
            raise WeightsError(
                f"{self.folder / name}: expected SHA-256 {wanted[:16]}…,"
                f" got {got[:16]}…; install the model again"
            )
        return content


def load(name: str, kind: type[Kind], folder: Path | None = None) -> Weights[Kind]:
    """Find a model and read its manifest.

    Args:
        name: the model's folder.
        kind: what it must be.
        folder: where that folder is; by default in the checkout, or where it is installed.

    Raises:
        WeightsError: no such model, or an unusable manifest.
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
        manifest = kind.model_validate(tomllib.loads(path.read_text()), strict=False)
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        raise WeightsError(
            f"{path}: not a manifest of such a model: {str(error).splitlines()[0]}"
        ) from None
    return Weights(manifest, found[0])


def _places() -> list[Path]:
    # A checkout's own models before the copies that were made when it was installed.
    return [
        Path(__file__).parents[2] / "models" / "weights",
        Path(sys.prefix) / "share" / "dizaine" / "models",
    ]
