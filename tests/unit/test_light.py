"""The light says that an objection was seen, for a moment, and nothing else."""

from pathlib import Path

import pytest

from edge_agent.io.light import Light, LightError


@pytest.fixture
def brightness(tmp_path: Path) -> Path:
    path = tmp_path / "brightness"
    path.write_text("1")
    return path


def test_the_light_is_out_until_somebody_objects(brightness: Path) -> None:
    Light(brightness, 2.0)
    assert brightness.read_text() == "0"


def test_it_lights_up_for_a_moment(brightness: Path) -> None:
    light = Light(brightness, 2.0)
    light.acknowledge(100.0)
    light.tend(101.9)
    assert brightness.read_text() == "1"
    light.tend(102.0)
    assert brightness.read_text() == "0"


def test_another_objection_keeps_it_on(brightness: Path) -> None:
    light = Light(brightness, 2.0)
    light.acknowledge(100.0)
    light.acknowledge(101.5)
    light.tend(102.5)
    assert brightness.read_text() == "1"


def test_it_goes_out_when_the_agent_ends(brightness: Path) -> None:
    light = Light(brightness, 2.0)
    light.acknowledge(100.0)
    light.close()
    assert brightness.read_text() == "0"


def test_a_light_that_is_not_there_is_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(LightError, match=r"nowhere: No such file.*/sys/class/leds"):
        Light(tmp_path / "nowhere", 2.0)


def test_a_light_that_was_pulled_out_stops_nothing() -> None:
    light = Light(Path("/dev/full"), 2.0)
    light.acknowledge(100.0)
    light.tend(103.0)
    light.close()


def test_no_light_at_all_is_no_error() -> None:
    light = Light.none()
    light.acknowledge(100.0)
    light.close()
