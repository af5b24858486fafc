"""What the networks of a device would run on, and how fast they do."""

import statistics
import time
from dataclasses import dataclass
from typing import get_args

import numpy as np

from edge_agent import config
from edge_agent.pixels import runtime
from edge_agent.pixels.networks import Networks
from edge_agent.pixels.runtime import RuntimeMissingError
from edge_agent.pixels.weights import WeightsError

RUNS = 15


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a diagnosis.

    Attributes:
        about: a runtime, the choice of one, or a model.
        works: whether it can be used as configured.
        says: what it is, or what to do.
    """

    about: str
    works: bool
    says: str


def diagnose(settings: config.Detector) -> list[Finding]:
    """Probe every runtime, and load and time every model in the one that is configured."""
    findings = []
    for name in get_args(runtime.Name):
        found = runtime.probe(name)
        findings.append(Finding(f"runtime {name}", found.works, found.what))
    try:
        networks = Networks(settings)
    except RuntimeMissingError as error:
        return [*findings, Finding("chosen", works=False, says=str(error))]
    as_asked = networks.runtime == settings.runtime
    instead = "" if as_asked else f", for want of what {settings.runtime} needs"
    findings.append(Finding("chosen", as_asked, f"{networks.runtime}{instead}"))
    for name, load in networks.all().items():
        try:
            findings.append(Finding(f"model {name}", works=True, says=_time(load())))
        except (RuntimeMissingError, WeightsError, ValueError) as error:
            findings.append(Finding(f"model {name}", works=False, says=str(error)))
    return findings


def _time(network: runtime.Network) -> str:
    dark = np.zeros(network.input_shape, np.uint8)
    took_ms = []
    for _ in range(RUNS):
        begin = time.perf_counter()
        network.run(dark)
        took_ms.append(1e3 * (time.perf_counter() - begin))
    return f"{statistics.median(took_ms):.1f} ms a run"
