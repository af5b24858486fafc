"""Loads the networks that a configuration names, where it says, or on the CPU instead."""

import logging
from collections.abc import Callable
from functools import partial

from edge_agent import config
from edge_agent.pixels import runtime, weights
from edge_agent.pixels.detector import PersonDetector
from edge_agent.pixels.faces import FaceDetector, FaceWatcher, MaskClassifier
from edge_agent.pixels.looker import Allocate
from edge_agent.pixels.weights import Kind

log = logging.getLogger(__name__)


class Networks:
    """The networks of one device, all on the same hardware."""

    def __init__(self, settings: config.Detector) -> None:
        """Choose the hardware.

        Raises:
            runtime.RuntimeMissingError: it is not there, and the settings take no other.
        """
        self._settings = settings
        self.runtime: runtime.Name = settings.runtime
        """What they run on, which may be another than was asked for."""
        if settings.runtime in ("coral", "onnx"):
            found = runtime.probe(settings.runtime)
            if not found.works:
                if settings.without_accelerator == "refuse":
                    raise runtime.RuntimeMissingError(
                        f"detector.runtime {settings.runtime}: {found.what}; put that right, or"
                        ' set detector.without_accelerator = "cpu"'
                    )
                log.warning("event=no_accelerator runtime=%s using=litert", settings.runtime)
                self.runtime = "litert"

    def people(self, allocate: Allocate) -> PersonDetector:
        """Return the detector of people.

        Raises:
            weights.WeightsError: there is no such model, or its weights are not the pinned ones.
            runtime.RuntimeMissingError: the chosen runtime is not installed.
        """
        model, network = self._load(self._settings.model, weights.PersonModel)
        return PersonDetector(model, network, allocate)

    def faces(self, allocate: Allocate, *, masks: bool) -> FaceWatcher:
        """Return what looks for faces, and for masks on them if asked.

        Raises:
            weights.WeightsError: there is no such model, or its weights are not the pinned ones.
            runtime.RuntimeMissingError: the chosen runtime is not installed.
        """
        model, network = self._load(self._settings.face_model, weights.FaceModel)
        detector = FaceDetector(model, network, allocate)
        if not masks:
            return FaceWatcher(detector, None)
        return FaceWatcher(detector, self.masks(allocate))

    def masks(self, allocate: Allocate) -> MaskClassifier:
        """Return the classifier of masks; it raises what `faces` does."""
        model, network = self._load(self._settings.mask_model, weights.MaskModel)
        return MaskClassifier(model, network, allocate)

    def all(self) -> dict[str, Callable[[], runtime.Network]]:
        """Return every network by its model's name, not loaded yet; loading raises as above."""
        chosen = self._settings
        kinds: dict[str, type[weights.Model]] = {
            chosen.model: weights.PersonModel,
            chosen.face_model: weights.FaceModel,
            chosen.mask_model: weights.MaskModel,
        }
        return {name: partial(self._network, name, kind) for name, kind in kinds.items()}

    def _network(self, name: str, kind: type[weights.Model]) -> runtime.Network:
        return self._load(name, kind)[1]

    def _load(self, name: str, kind: type[Kind]) -> tuple[weights.Weights[Kind], runtime.Network]:
        model = weights.load(name, kind, self._settings.models_dir)
        return model, runtime.load(model, self.runtime, self._settings.threads)
