"""The two slots: what RAUC asks, what GRUB starts, and what a power cut at any moment leaves."""

import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

PROGRAM = Path(__file__).parents[2] / "firmware/image/slots.py"
slots: dict[str, Any] = runpy.run_path(str(PROGRAM), run_name="slots")


def test_a_press_of_the_button_is_one_and_nothing_else_is() -> None:
    button = runpy.run_path(str(PROGRAM.with_name("button.py")), run_name="button")
    for events, pressed in (
        ([(1, 116, 1)], True), ([(0, 0, 0), (1, 148, 1)], True),
        ([(1, 116, 0)], False), ([(1, 30, 1), (0, 0, 0)], False), ([(3, 116, 1)], False),
    ):  # fmt: skip
        out, into = os.pipe()
        os.write(into, b"".join(button["EVENT"].pack(0, 0, *event) for event in events))
        assert button["was_pressed"](out) is pressed
        os.close(out)
        os.close(into)


class Device:
    """GRUB as grub.cfg has it, and a system that commits, or does not."""

    def __init__(self) -> None:
        self.variables = {"committed": "A", "trial": "", "tries": ""}

    def boot(self) -> str:
        """Start; return which slot runs."""
        self.variables = slots["read_block"](slots["block"](self.variables))
        trial = self.variables["trial"]
        if trial and self.variables["tries"] != "x" * slots["MOST_TRIES"]:
            self.variables["tries"] += "x"
            return trial
        return self.variables["committed"]

    def install(self, slot: str) -> None:
        """What RAUC does around writing a slot."""
        self.variables = slots["with_state"](self.variables, slot, "bad")
        self.variables = slots["with_primary"](self.variables, slot)

    def commit(self, slot: str) -> None:
        self.variables = slots["with_state"](self.variables, slot, "good")


def test_a_committed_slot_never_falls_back_however_often_the_power_is_cut() -> None:
    device = Device()
    device.install("B")
    assert device.boot() == "B"
    device.commit("B")
    assert {device.boot() for _ in range(1000)} == {"B"}


def test_a_slot_on_trial_has_eight_starts_and_then_the_old_one_runs_for_ever() -> None:
    device = Device()
    device.install("B")
    assert [device.boot() for _ in range(12)] == ["B"] * 8 + ["A"] * 4


def test_a_slot_that_is_given_up_is_left_at_once() -> None:
    device = Device()
    device.install("B")
    assert device.boot() == "B"
    device.variables = slots["with_state"](device.variables, "B", "bad")
    assert {device.boot() for _ in range(5)} == {"A"}


@settings(max_examples=300)
@given(st.lists(st.sampled_from(["boot", "install", "commit", "bad"]), max_size=40))
def test_whatever_happens_the_slot_that_was_committed_last_can_be_reached(deeds: list[str]) -> None:
    device = Device()
    runs, committed = "A", "A"
    for deed in deeds:
        if deed == "boot":
            runs = device.boot()
        elif deed == "install":
            device.install("B" if runs == "A" else "A")
        elif deed == "commit":
            device.commit(runs)
            committed = runs
        else:
            device.variables = slots["with_state"](device.variables, runs, "bad")
        if device.variables["committed"] != runs and deed == "install":
            break  # the slot that was committed is being written: only one on trial installs so
        assert device.variables["committed"] == committed
    else:
        starts = [device.boot() for _ in range(slots["MOST_TRIES"] + 1)]
        assert starts[-1] == committed


@pytest.mark.parametrize(
    "damaged", [b"", b"\xff" * 1024, b"# GRUB Environment Block\ncommitted=Z\n"]
)
def test_a_damaged_block_means_slot_a(tmp_path: Path, damaged: bytes) -> None:
    path = tmp_path / "grubenv"
    path.write_bytes(damaged)
    assert slots["read"](path) == {"committed": "A", "trial": "", "tries": ""}
    assert slots["read"](tmp_path / "absent")["committed"] == "A"


def ask(esp: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(PROGRAM), *words], capture_output=True, text=True, check=False,
        env={**os.environ, "DIZAINE_ESP": str(esp)},
    )  # fmt: skip


def test_as_rauc_calls_it(tmp_path: Path) -> None:
    (tmp_path / "EFI/BOOT").mkdir(parents=True)

    def call(*words: str) -> str:
        done = ask(tmp_path, *words)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    assert call("get-primary") == "A"
    assert (call("get-state", "A"), call("get-state", "B")) == ("good", "bad")
    call("set-state", "B", "bad")
    call("set-primary", "B")
    assert (call("get-primary"), call("trial"), call("get-state", "B")) == ("B", "B", "good")
    assert (tmp_path / "EFI/BOOT/grubenv").stat().st_size == 1024
    call("set-state", "B", "good")
    assert (call("get-primary"), call("trial")) == ("B", "")
    secret = tmp_path / "claim.json"
    secret.write_text("secret")
    call("forget", str(secret))
    assert not secret.exists()
    assert ask(tmp_path, "x").returncode == 2


def test_nothing_is_said_to_be_kept_that_is_not(tmp_path: Path) -> None:
    """A slot that only seemed to be committed would be forgotten at the next start."""
    done = ask(tmp_path, "set-state", "A", "good")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "the boot partition is not mounted" in done.stderr
    (tmp_path / "EFI/BOOT/grubenv").mkdir(parents=True)
    done = ask(tmp_path, "set-state", "B", "good")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "cannot be written" in done.stderr
