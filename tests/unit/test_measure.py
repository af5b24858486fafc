"""A build knows what it is, and refuses to run as another."""

import json
import shutil
from pathlib import Path

import pytest

from edge_agent import measure
from edge_agent.__main__ import main
from edge_agent.measure import MeasureError


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Return a copy of the program's files."""
    copy = tmp_path / "edge_agent"
    shutil.copytree(measure.PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def make_production(package: Path) -> None:
    manifest = measure.measure(package).manifest
    (package / "BUILD.json").write_text(json.dumps({"manifest": manifest}))


def test_the_fingerprint_follows_every_file_and_names_libraries_and_models(package: Path) -> None:
    before = measure.measure(package)
    assert not before.production
    assert before.fingerprint == measure.measure(package).fingerprint
    kinds = {name.split("/")[0] for name in before.manifest}
    assert kinds == {"edge_agent", "library", "model"}
    source = package / "core" / "release.py"
    source.write_text(source.read_text() + "\n")
    assert measure.measure(package).fingerprint != before.fingerprint


@pytest.mark.parametrize("change", ["edit", "add", "remove"])
def test_a_production_build_that_was_changed_refuses_to_run(package: Path, change: str) -> None:
    make_production(package)
    assert measure.measure(package).production
    if change == "edit":
        (package / "config.py").write_text("K = 3\n")
    elif change == "add":
        (package / "extra.py").write_text("")
    else:
        (package / "measure.py").unlink()
    with pytest.raises(MeasureError, match="not what was built"):
        measure.measure(package)


def test_a_manifest_that_is_none_is_refused(package: Path) -> None:
    (package / "BUILD.json").write_text("[]")
    with pytest.raises(MeasureError, match="not a build's manifest"):
        measure.measure(package)


def test_a_production_build_refuses_unsafe_development_and_unsigned_configurations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    built = measure.Build(measure.measure().manifest, production=True)
    monkeypatch.setattr(measure, "measure", lambda **_: built)
    path = tmp_path / "agent.toml"
    path.write_text(
        'device = "bus-1"\ndata_dir = "/data"\nkey_file = "/key.pem"\ncamera = {source = "x"}\n'
        'lines = [{id = "main", start = [0.5, 0.0], end = [0.5, 1.0]}]\n'
    )
    assert main(["run", "--config", str(path), "--unsafe-development"]) == 2
    assert "a production build refuses it" in capsys.readouterr().err
    assert main(["run", "--config", str(path)]) == 2
    assert "not signed by the operator" in capsys.readouterr().err


def test_networks_that_were_added_are_in_the_fingerprint_of_a_production_build(
    package: Path, tmp_path: Path
) -> None:
    make_production(package)
    (tmp_path / "models/person").mkdir(parents=True)
    (tmp_path / "models/person/model.toml").write_text("kind = 'ssd'\n")
    before, after = measure.measure(package), measure.measure(package, tmp_path / "models")
    assert after.production
    assert after.fingerprint != before.fingerprint
    assert "added-model/person/model.toml" in after.manifest
