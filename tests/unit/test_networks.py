"""An accelerator that is not there: the CPU, or refusal, as configured; and a line that says so."""

import json
import logging

import numpy as np
import pytest

from edge_agent import config
from edge_agent.__main__ import main
from edge_agent.pixels import runtime
from edge_agent.pixels.diagnosis import diagnose
from edge_agent.pixels.networks import Networks
from edge_agent.pixels.runtime import RuntimeMissingError
from edge_agent.pixels.weights import WeightsError


@pytest.fixture(autouse=True)
def nothing_but_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def probe(name: runtime.Name) -> runtime.Probe:
        if name == "litert":
            return runtime.Probe(works=True, what="CPU")
        return runtime.Probe(works=False, what="not here")

    monkeypatch.setattr(runtime, "probe", probe)


def chosen(**changes: object) -> config.Detector:
    return config.Detector.model_validate({"threads": 1, **changes})


@pytest.mark.parametrize("name", ["coral", "onnx"])
def test_without_it_the_cpu_does_the_work_and_the_log_says_so(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    networks = Networks(chosen(runtime=name))
    assert networks.runtime == "litert"
    assert networks.people(np.zeros).detect(np.zeros((64, 64, 3), np.uint8)) == ()
    (line,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert line == f"event=no_accelerator runtime={name} using=litert"


@pytest.mark.parametrize("name", ["coral", "onnx"])
def test_or_the_agent_refuses(name: str) -> None:
    with pytest.raises(RuntimeMissingError, match=rf"{name}: not here.*without_accelerator"):
        Networks(chosen(runtime=name, without_accelerator="refuse"))


def test_a_model_without_weights_for_a_coral_says_how_they_are_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runtime, "probe", lambda _: runtime.Probe(works=True, what="Edge TPU"))
    monkeypatch.setattr(runtime, "_edge_tpu", lambda: None)
    with pytest.raises(WeightsError, match=r"python -m models.edgetpu --compile"):
        Networks(chosen(runtime="coral")).people(np.zeros)


def test_a_diagnosis_names_what_is_missing_and_times_what_is_there() -> None:
    findings = {finding.about: finding for finding in diagnose(chosen(runtime="coral"))}
    assert not findings["runtime coral"].works
    assert not findings["chosen"].works
    assert findings["chosen"].says == "litert, for want of what coral needs"
    assert findings["model person-ssdlite-coco"].says.endswith("ms a run")


def test_doctor_prints_one_line_a_finding(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[:2] for line in lines] == ["ok", "--", "--", "--", "ok", "ok", "ok", "ok"]


def test_doctor_fails_where_a_model_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(config.Detector.model_fields["mask_model"], "default", "nope")
    config.Detector.model_rebuild(force=True)
    try:
        assert main(["doctor"]) == 1
        assert "no model nope" in capsys.readouterr().out
    finally:
        monkeypatch.undo()
        config.Detector.model_rebuild(force=True)
    assert json.loads(chosen().model_dump_json())["mask_model"] == "mask-centerface"
