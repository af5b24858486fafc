"""Every committed model could run on an Edge TPU, as far as its published table tells."""

from pathlib import Path

import pytest

from models import edgetpu

MODELS = sorted(edgetpu.WEIGHTS.glob("*/model.tflite"))


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.parent.name)
def test_every_operator_is_in_the_table(path: Path) -> None:
    assert edgetpu.unsuited(path) == {}


def test_an_operator_that_is_not_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edgetpu, "OPERATORS", edgetpu.OPERATORS - {"CONV_2D"})
    assert any("CONV_2D" in why for why in edgetpu.unsuited(MODELS[0]))
