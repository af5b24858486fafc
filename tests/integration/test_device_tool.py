"""The technician's tool on files that stand for cards: write, read back, verify, label, wipe."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser

from edge_agent.wire.enrolment import Claim
from firmware.device import cards, release
from firmware.device.__main__ import main

ROOT = Path(__file__).parents[2]
MIB = 2**20
pytestmark = pytest.mark.skipif(not shutil.which("mcopy"), reason="mtools is missing")


class Desk:
    """A release, claims, and a folder of cards."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.release = folder, folder / "release"
        self.release.mkdir()
        keys = folder / "keys"
        subprocess.run([ROOT / "firmware/image/keys.sh", keys], check=True)
        self.authority = keys / "ca.pem"
        image = self.release / "disk.img"
        esp = folder / "esp.vfat"
        with esp.open("wb") as out:
            out.truncate(64 * MIB)
        subprocess.run(["mkfs.vfat", "-n", "DIZAINE", esp], check=True, capture_output=True)
        subprocess.run(["mmd", "-i", esp, "::dizaine"], check=True)
        with image.open("wb") as out:
            out.truncate(96 * MIB)
            for at, data in ((0, b"gpt" * 1000), (70 * MIB, os.urandom(5 * MIB))):
                out.seek(at)
                out.write(data)
            out.seek(MIB)
            out.write(esp.read_bytes()[: 2 * MIB])
        self._describe(keys)

    def _describe(self, keys: Path) -> None:
        image = (self.release / "disk.img").read_bytes()
        ranges = [
            (0, 1),
            (MIB // 4096, 3 * MIB // 4096 - 1),
            (70 * MIB // 4096, 75 * MIB // 4096 - 1),
        ]
        rows = "".join(
            f'<Range chksum="{hashlib.sha256(image[a * 4096 : (b + 1) * 4096]).hexdigest()}">'
            f"{a}-{b}</Range>"
            for a, b in ranges
        )
        (self.release / "disk.bmap").write_text(
            f"<bmap version='2.0'><ImageSize>{len(image)}</ImageSize><BlockSize>4096</BlockSize>"
            f"<BlockMap>{rows}</BlockMap></bmap>"
        )
        (self.release / "release.json").write_text('{"version": "v1", "arch": "amd64"}')
        (self.release / "SHA256SUMS").write_text(
            "".join(
                f"{hashlib.sha256((self.release / name).read_bytes()).hexdigest()}  {name}\n"
                for name in ("disk.bmap", "release.json")
            )
        )
        shutil.copy(keys / "rauc.pem", self.release / "signer.pem")
        subprocess.run(
            ["openssl", "dgst", "-sha256", "-sign", keys / "rauc.key", "-out",
             self.release / "SHA256SUMS.sig", self.release / "SHA256SUMS"],
            check=True,
        )  # fmt: skip

    def claim(self, device: str, until_s: int = 4_000_000_000) -> Path:
        pem = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"
        made = Claim(
            device=device, url="https://ville.example/", authority=None, operator=pem,
            secret="s" * 43, until_s=until_s,
        )  # fmt: skip
        folder = self.folder / "claims"
        folder.mkdir(exist_ok=True)
        path = folder / f"{device}.claim"
        path.write_text(made.model_dump_json())
        return path

    def say(self, *words: Any, lang: str = "en") -> int:
        return main(["--lang", lang, "--quick", *map(str, words)])


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Return a desk whose computer trusts the release's signer."""
    monkeypatch.setattr(release, "TRUST", tmp_path / "config/updates-ca.pem")
    monkeypatch.setenv("COLUMNS", "400")
    made = Desk(tmp_path)
    assert made.say("trust", made.authority) == 0
    return made


def test_a_card_is_written_read_back_and_prepared_for_its_device(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    card = desk.folder / "card.img"
    words = (
        "flash",
        desk.release,
        "--to",
        card,
        "--claim",
        desk.claim("bus-1"),
        "--ntp",
        "10.0.0.1",
    )
    assert desk.say(*words) == 0
    assert "READY  bus-1" in capsys.readouterr().out
    written, image = card.read_bytes(), (desk.release / "disk.img").read_bytes()
    assert written[: 4096 * 2] == image[: 4096 * 2]
    assert written[70 * MIB :] == image[70 * MIB :]
    assert json.loads(cards.read_from(card, "claim.json"))["device"] == "bus-1"
    assert cards.read_from(card, "site.conf") == b"NTP=10.0.0.1\n"
    assert desk.say("verify", desk.release, card) == 0
    told = capsys.readouterr().out
    assert "RIGHT" in told
    assert "prepared for bus-1" in told


def test_eight_cards_at_once_each_for_its_own_device(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    for n in range(8):
        desk.claim(f"bus-{n}00")
    targets = [desk.folder / f"card-{n}.img" for n in range(8)]
    words = ("batch", desk.release, "--claims", desk.folder / "claims", "--to", *targets)
    assert desk.say(*words, lang="fr") == 0
    assert capsys.readouterr().out.count("PRÊTE") == 8
    found = {json.loads(cards.read_from(card, "claim.json"))["device"] for card in targets}
    assert len(found) == 8
    assert desk.say("batch", desk.release, "--claims", desk.folder / "claims", "--to", "x.img") == 2
    assert "8 claims for 1 cards" in capsys.readouterr().out


def test_a_worn_card_is_found_by_reading_back(desk: Desk, monkeypatch: Any, capsys: Any) -> None:
    real = cards._put

    def worn(target: int, data: bytes, at: int) -> None:
        if at >= 70 * MIB:
            data = bytes([data[0] ^ 1]) + data[1:]
        real(target, data, at)

    monkeypatch.setattr(cards, "_put", worn)
    card = desk.folder / "card.img"
    assert desk.say("flash", desk.release, "--to", card, "--claim", desk.claim("bus-1")) == 2
    assert "does not give back what was written" in capsys.readouterr().out
    assert cards.read_from(card, "claim.json") == b""


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda d: (d.release / "SHA256SUMS").write_text("x  disk.bmap\n"), "not signed by whom"),
        (lambda d: (d.release / "disk.bmap").write_text("<bmap/>"), "damaged"),
        (lambda d: (d.release / "signer.pem").unlink(), "is missing"),
        (lambda d: (d.release / "signer.pem").write_text("x"), "damaged"),
        (lambda d: shutil.copy(d.authority, d.release / "signer.pem"), "not signed by whom"),
    ],
)
def test_a_release_that_is_not_signed_is_not_written(
    desk: Desk, spoil: Any, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(desk)
    card = desk.folder / "card.img"
    assert desk.say("flash", desk.release, "--to", card, "--claim", desk.claim("bus-1")) == 2
    assert said in capsys.readouterr().out
    assert not card.exists()


def test_an_image_that_is_not_the_signed_one_leaves_a_card_that_does_not_start(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    with (desk.release / "disk.img").open("r+b") as image:
        image.seek(72 * MIB)
        image.write(b"evil")
    card = desk.folder / "card.img"
    assert desk.say("flash", desk.release, "--to", card, "--claim", desk.claim("bus-1")) == 2
    assert "will not start" in capsys.readouterr().out
    assert card.read_bytes()[: 4 * MIB] == bytes(4 * MIB)


def test_wrong_claims_disks_and_names_get_one_sentence(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    card, good = desk.folder / "card.img", desk.claim("bus-1")
    for words, said in (
        (("--to", card, "--claim", desk.claim("bus-2", 1)), "this claim ended"),
        (("--to", card, "--claim", desk.release / "disk.bmap"), "not a claim"),
        (("--to", "/dev/nothing", "--claim", good), "no such disk"),
        (("--to", card, "--claim", good, "--ntp", "a b"), "not the name of a time server"),
    ):
        assert desk.say("flash", desk.release, *words) == 2
        assert said in capsys.readouterr().out
        assert not card.exists()


def test_a_wiped_card_holds_zeros_and_its_receipt_says_so(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    card, out = desk.folder / "card.img", desk.folder / "receipt.html"
    assert desk.say("flash", desk.release, "--to", card, "--claim", desk.claim("bus-1")) == 0
    assert desk.say("wipe", card, "--out", out, lang="fr") == 0
    assert "EFFACÉE" in capsys.readouterr().out
    left = card.read_bytes()
    assert left == bytes(len(left))
    text = out.read_text()
    assert hashlib.sha256(left).hexdigest() in text
    assert "bus-1" in text
    assert "Reçu d&#x27;effacement" in text or "Reçu d'effacement" in text


def test_labels_say_the_device_and_no_secret(desk: Desk) -> None:
    out = desk.folder / "labels.html"
    claims = [desk.claim("bus-1"), desk.claim("bus-2")]
    assert desk.say("label", *claims, "--site", "Ligne 12", "--out", out, lang="fr") == 0
    text = out.read_text()
    assert text.count("<svg") == 2
    assert "bus-1" in text
    assert "Ligne 12" in text
    assert "aucune image" in text
    assert "no picture" in text
    assert "s" * 43 not in text


def test_a_printed_labels_code_is_large_and_leads_to_its_device(
    desk: Desk, browser: Browser
) -> None:
    out = desk.folder / "labels.html"
    assert desk.say("label", desk.claim("bus-1"), "--site", "Ligne 12", "--out", out) == 0
    page = browser.new_page()
    page.goto(out.as_uri())
    picture = np.frombuffer(page.locator("article").screenshot(), np.uint8)
    read, corners, _ = cv2.QRCodeDetector().detectAndDecode(cv2.imdecode(picture, 1))
    assert read.endswith("bus-1")
    assert np.ptp(corners[0, :, 0]) * 25.4 / 96 > 25, "millimetres"


def test_cancelling_before_the_first_byte_writes_nothing(desk: Desk) -> None:
    card = desk.folder / "card.img"
    environment = {
        **os.environ,
        "XDG_CONFIG_HOME": str(desk.folder / "xdg"),
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "firmware.device", "--lang", "en"]
    subprocess.run([*command, "trust", desk.authority], check=True, env=environment, cwd=ROOT)
    # A shell lets what it runs in the background ignore Ctrl-C: this heeds it wherever tests run.
    heeding = ["env", "--default-signal=INT"]
    flash = [*command, "flash", desk.release, "--to", card, "--claim", desk.claim("bus-1")]
    process = subprocess.Popen(
        [*heeding, *flash], env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    while process.stdout.readline().strip() != "10":
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    told, _ = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "Cancelled. Nothing was written." in told
    assert not card.exists()
