"""What the health check decides, whatever is missing: the script itself, among files."""

import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

IMAGE = Path(__file__).parents[2] / "firmware/image"
slots: dict[str, Any] = runpy.run_path(str(IMAGE / "slots.py"), run_name="slots")
PROGRAMS = {
    "systemctl": 'case "$*" in *is-active*assistant*) exit 1 ;; esac; echo "$*" >>"$ORDERS"',
    "mountpoint": 'case " $MOUNTED " in *" $2 "*) ;; *) exit 1 ;; esac',
    "timeout": 'exit "$MEASURED"',
    "sleep": 'echo "sleep $1" >>"$ORDERS"',
    "rauc": "exit 1",
}


class Outcome(NamedTuple):
    """What the script said and ordered, and what GRUB reads afterwards."""

    said: str
    orders: list[str]
    variables: dict[str, str]
    returncode: int

    @property
    def restarts(self) -> bool:
        return "reboot" in self.orders


Decide = Callable[..., Outcome]


@pytest.fixture
def decide(tmp_path: Path) -> Decide:
    programs, esp = tmp_path / "bin", tmp_path / "esp"
    programs.mkdir()
    for name, body in PROGRAMS.items():
        (programs / name).write_text(f"#!/bin/sh\n{body}\n")
        (programs / name).chmod(0o755)
    (tmp_path / "cmdline").write_text("ro rauc.slot=B quiet\n")
    (tmp_path / "agent.toml").touch()
    script = (IMAGE / "overlay/usr/lib/dizaine/health").read_text()
    for path, own in (
        ("/usr/lib/dizaine/slots", f"{sys.executable} {IMAGE / 'slots.py'}"),
        ("/proc/cmdline", str(tmp_path / "cmdline")),
        ("/etc/dizaine/agent.toml", str(tmp_path / "agent.toml")),
    ):
        assert path in script
        script = script.replace(path, own)
    health = tmp_path / "health"
    health.write_text(script)

    def run(trial: str, mounted: str = "/data /boot/efi", measured: int = 0) -> Outcome:
        environment = esp / "EFI/BOOT/grubenv"
        if "/boot/efi" in mounted:
            environment.parent.mkdir(parents=True)
            committed = "A" if trial else "B"
            environment.write_bytes(
                slots["block"]({"committed": committed, "trial": trial, "tries": "x"})
            )
        orders = tmp_path / "orders"
        orders.touch()
        done = subprocess.run(
            ["sh", health], capture_output=True, text=True, check=False,
            env={
                **os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "ORDERS": str(orders),
                "MOUNTED": mounted, "MEASURED": str(measured), "DIZAINE_ESP": str(esp),
            },
        )  # fmt: skip
        variables = slots["read"](environment)
        return Outcome(done.stdout, orders.read_text().splitlines(), variables, done.returncode)

    return run


def test_a_healthy_trial_is_committed(decide: Decide) -> None:
    seen = decide("B")
    assert "state=committed" in seen.said
    assert (seen.variables["committed"], seen.variables["trial"]) == ("B", "")
    assert (seen.restarts, seen.returncode) == (False, 0)


@pytest.mark.parametrize(
    "wrong", [{"measured": 1}, {"mounted": "/boot/efi"}], ids=["not what was built", "no data"]
)
def test_an_unhealthy_trial_is_given_up(decide: Decide, wrong: dict[str, Any]) -> None:
    seen = decide("B", **wrong)
    assert "state=given_up" in seen.said
    assert (seen.variables["committed"], seen.variables["trial"]) == ("A", "")
    assert seen.restarts


def test_a_committed_slot_is_never_given_up(decide: Decide) -> None:
    seen = decide("", measured=1)
    assert "state=bad" in seen.said
    assert "given_up" not in seen.said
    assert seen.variables["committed"] == "B"
    assert not seen.restarts


@pytest.mark.parametrize("mounted", ["/boot/efi", "/data", ""])
def test_what_is_missing_may_be_there_after_another_start(decide: Decide, mounted: str) -> None:
    seen = decide("", mounted=mounted, measured=1)
    assert "state=waits" in seen.said
    assert seen.orders[-2:] == ["sleep 300", "reboot"]


def test_a_device_that_counts_goes_on_where_its_choice_cannot_be_kept(decide: Decide) -> None:
    """It says that nothing was committed, rather than that something was."""
    seen = decide("B", mounted="/data")
    assert "cannot be written" in seen.said
    assert "committed" not in seen.said
    assert not seen.restarts
