"""The life of a device, in qemu: `make firmware-test`. Needs root for the time server's port.

It flashes the image that `firmware/image/build.sh` built, lets the device enrol with a claim,
count a clip and publish; brings it bad updates and a good one; cuts its power; and tampers with it.
"""

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from deploy.local.processes import free_port
from edge_agent import updating
from edge_agent.io import keys
from edge_agent.wire.manifest import Manifest
from tests.conftest import Town
from tests.firmware.machine import (
    HOST,
    Machine,
    TimeServer,
    TlsFront,
    erase,
    flip,
    put,
    put_data,
    sealed_by,
    spoil,
)
from tests.integration import swtpm

ROOT = Path(__file__).parents[2]
BOOT_S = {"amd64": 240.0, "arm64": 480.0}
"""Longest start, on a processor that is emulated and shared."""
AGENT = """device = "bus-042"
number = 1
data_dir = "/var/lib/dizaine/spool"
link = "/run/dizaine/agent.sock"
key_file = "/run/credentials/dizaine-vision.service/signing-key"
[camera]
source = "/data/clip.avi"
fps = 0.05
[replay]
start = 2026-01-05T08:00:00Z
loop = true
pace = "fast"
[detector]
threads = 1
[[lines]]
id = "door"
start = [0.5, 0.0]
end = [0.5, 1.0]
[mqtt]
host = "{host}"
port = {port}
ca = "/etc/dizaine/ca.pem"
certificate = "/run/credentials/dizaine-publisher.service/certificate"
key = "/run/credentials/dizaine-publisher.service/client-key"
"""


class Story:
    """One device and its city."""

    def __init__(self, folder: Path, arch: str) -> None:
        self.folder = folder
        self.arch = arch
        self.image = ROOT / "out/image" / arch
        self.boot_s = BOOT_S[arch]
        self.town = Town(folder)
        self.disk = folder / "disk.img"
        self.device = Machine(folder, self.disk, arch)
        self.number = 1
        self.began_s = time.monotonic()

    def say(self, text: str) -> None:
        print(f"[{time.monotonic() - self.began_s:4.0f} s] {text}", flush=True)

    def run(self, program: str, *words: str) -> str:
        done = self.town.run(program, *words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def open_city(self) -> Path:
        """Start the city; return a claim for the device."""
        folder, city = self.folder, str(self.town.aggregator_config)
        self.run("dizaine-aggregator", "authority", "--out", str(folder / "authority"))
        self.run(
            "dizaine-aggregator", "server-certificate", HOST,
            "--authority", str(folder / "authority"), "--out", str(folder / "server"),
        )  # fmt: skip
        certificate, key = (folder / "server" / f"{HOST}.{end}" for end in ("pem", "key"))
        broker = folder / "broker.conf"
        tls_port = free_port()
        broker.write_text(
            f"per_listener_settings true\nlistener {self.town.broker_port} 127.0.0.1\n"
            f"allow_anonymous true\nlistener {tls_port} 127.0.0.1\n"
            f"cafile {folder}/authority/broker-ca.pem\ncertfile {certificate}\nkeyfile {key}\n"
            "require_certificate true\nuse_identity_as_username true\nuser root\n"
        )
        self.town.broker.command = [self.town.broker.command[0], "-c", str(broker)]
        front = TlsFront(certificate, key, self.town.web_port)
        text = self.town.aggregator_config.read_text().replace(
            "[web]\n", f'[web]\naddress = "https://{HOST}:{front.port}/"\n'
        )
        self.town.aggregator_config.write_text(f'{text}[fleet]\nfolder = "{folder}/authority"\n')
        self.town.broker.start()
        self.town.aggregator.start()
        keys.make(folder / "operator.pem", "operator")
        own = folder / "bus-042.toml"
        own.write_text(AGENT.format(host=HOST, port=tls_port))
        self.run(
            "dizaine-agent", "sign", "--config", str(own), "--key", str(folder / "operator.pem")
        )
        public = str(folder / "operator.pub.pem")
        declared = folder / "bus-042.json"
        words = ("declare", "--config", str(own), "--operator-key", public)
        declared.write_text(self.run("dizaine-agent", *words))
        claim = folder / "bus-042.claim"
        self.run(
            "dizaine-aggregator", "claim", "--config", city, "--site", "Bus", "--configuration",
            str(own), "--operator-key", public, "--declaration", str(declared),
            "--authority", str(folder / "authority/root.pem"), "--out", str(claim),
        )  # fmt: skip
        return claim

    def flash(self, claim: Path) -> None:
        subprocess.run(["cp", "--sparse=always", self.image / "disk.img", self.disk], check=True)
        put(self.disk, "dizaine/claim.json", claim.read_bytes(), self.folder)
        put(self.disk, "dizaine/site.conf", f"NTP={HOST}\n".encode(), self.folder)
        film = self.folder / "clip.avi"
        writer = cv2.VideoWriter(str(film), cv2.VideoWriter.fourcc(*"MJPG"), 2.0, (320, 240))
        noise = np.random.default_rng(1)
        for _ in range(20):
            writer.write(noise.integers(100, 140, (240, 320, 3), dtype=np.uint8))
        writer.release()
        put_data(self.disk, "clip.avi", film)

    def stick(self, name: str, bundle: Path) -> Path:
        """Return a stick with an offer of a system."""
        folder = self.folder / f"{name}-stick"
        (folder / "system").mkdir(parents=True)
        self.number += 1
        target = folder / "system/update.raucb"
        os.link(bundle, target)
        offer = Manifest.model_validate(
            {
                "kind": "system", "target": "fleet", "number": self.number,
                "until": f"{time.gmtime().tm_year + 1}-01-01T00:00:00Z",
                "files": updating.describe(folder / "system", ["update.raucb"]),
            },
            strict=False,
        )  # fmt: skip
        updating.sign(folder / "system", offer, self.folder / "operator.pem")
        image = self.folder / f"{name}.vfat"
        with image.open("wb") as out:
            out.truncate(bundle.stat().st_size + 64 * 2**20)
        subprocess.run(
            ["mkfs.vfat", "-F", "32", "-n", "DIZ_STICK", image], check=True, capture_output=True
        )
        subprocess.run(["mcopy", "-s", "-i", image, folder / "system", "::"], check=True)
        shutil.rmtree(folder)
        return image

    def bundle(self, name: str, signer: Path, root: Path, boot: Path) -> Path:
        made = self.folder / f"{name}.raucb"
        script = ROOT / "firmware/image/bundle.sh"
        subprocess.run([script, signer, self.arch, name, root, boot, made], check=True)
        return made

    def cut_a_start(self, after_s: float) -> None:
        """Cut the power this long after GRUB has begun."""
        self.device.wait_for("starting Boot", self.boot_s)
        time.sleep(after_s)
        self.device.power_off()

    def cut_its_trial(self) -> None:
        """Cut the power once GRUB has counted a start of a slot on trial."""
        deadline = time.monotonic() + self.boot_s
        while b"\ntries=x\n" not in boot_file(self, "EFI/BOOT/grubenv"):
            assert time.monotonic() < deadline, "no start was counted"
            time.sleep(0.2)
        self.device.power_off()

    def look_at_the_page(self) -> None:
        """Wait until the page shows a picture."""
        address = f"http://127.0.0.1:{self.device.page_port}"
        deadline = time.monotonic() + self.boot_s
        while True:
            assert time.monotonic() < deadline, "the page shows no picture"
            with contextlib.suppress(OSError):
                picture = urllib.request.urlopen(f"{address}/picture.jpg", timeout=20).read()
                assert picture.startswith(b"\xff\xd8")
                assert b"bus-042" in urllib.request.urlopen(address, timeout=20).read()
                return
            time.sleep(1)

    def count_one_more(self, within_s: float = 300) -> None:
        before = len(self.town.stored())
        deadline = time.monotonic() + within_s
        while len(self.town.stored()) <= before:
            assert time.monotonic() < deadline, "no record came"
            time.sleep(0.5)


def tell(story: Story) -> None:
    """Tell it."""
    device = story.device
    story.flash(story.open_city())
    story.say("first start: enrols, counts, publishes")
    device.power_on()
    pki, stranger = ROOT / "out/image/pki", story.folder / "stranger"
    root, boot = story.folder / "root.img", story.folder / "boot.vfat"
    unpack(story.image / "update.raucb", story.folder)
    subprocess.run([ROOT / "firmware/image/keys.sh", stranger], check=True)
    evil = story.bundle("evil", stranger, root, boot)
    good = story.bundle("v2", pki, root, boot)
    flipped = story.folder / "flipped.raucb"
    shutil.copy(good, flipped)
    flip(flipped, 50_000_000)
    device.wait_for("event=health slot=A state=committed", story.boot_s)
    story.count_one_more()
    assert b"secret" not in boot_file(story, "dizaine/claim.json"), "the used claim is on the card"

    story.say("updates that must be refused: by a stranger, and with a flipped bit")
    for name, bundle in (("evil", evil), ("flipped", flipped)):
        device.plug_in(story.stick(name, bundle))
        story.say(device.wait_for("event=stick system refused", story.boot_s))

    story.say("a good update, and a power cut at its first start")
    device.plug_in(story.stick("good", good))
    with ThreadPoolExecutor(1) as beside:
        broken = beside.submit(lambda: story.bundle("v3", pki, *breaking(story, root, boot)))
        device.wait_for("event=stick system: took", story.boot_s)
        story.cut_its_trial()
        sealed = sealed_by(story.disk, "dizaine/identity/signing-key", story.folder)
        story.say(f"its keys are sealed by {sealed}")
        assert ("TPM" in sealed) is (story.arch == "amd64")
        device.power_on()
        device.wait_for("event=health slot=B state=committed", story.boot_s)
    story.count_one_more()

    story.say("its button opens the installation page, for whoever stands beside it")
    device.press_button()
    device.wait_for("event=assistant_open", story.boot_s)
    story.look_at_the_page()

    story.say("power cuts: in an update, and at nine starts, one more than a trial has")
    stick = story.stick("broken", broken.result())
    device.plug_in(stick)
    time.sleep(8)
    device.power_off()
    for index in range(9):
        device.power_on()
        story.cut_a_start(1 + index / 2)
    if story.arch == "amd64":
        with swtpm.started(story.folder / "tpm") as link:
            assert swtpm.interval_s(link) == 0, "its TPM locks it out after some power cuts"
    device.power_on(stick)
    device.wait_for("event=health slot=B state=committed", story.boot_s)

    story.say("that update is signed and broken: given up by the health check")
    device.wait_for("event=stick system: took", story.boot_s)
    device.wait_for("event=health slot=A state=given_up", story.boot_s)
    device.power_off()

    story.say("a data partition that is lost: it says so, and tries again by itself")
    erase(story.disk, "data")
    device.power_on()
    device.wait_for("event=health slot=B state=waits", story.boot_s)
    device.power_off()

    story.say("a root file system that was tampered with does not run")
    spoil(story.disk, "root-b")
    device.power_on()
    device.wait_for("corrupted", story.boot_s)
    device.power_off()
    story.say("done")


def boot_file(story: Story, name: str) -> bytes:
    done = subprocess.run(
        ["mtype", "-i", f"{story.disk}@@1M", f"::{name}"], capture_output=True, check=False
    )
    return done.stdout


def unpack(bundle: Path, folder: Path) -> None:
    """Take the two images out of a bundle (a squashfs with a signature behind it)."""
    out = folder / "unpacked"
    subprocess.run(["unsquashfs", "-q", "-n", "-d", out, bundle], check=True, capture_output=True)
    for name in ("root.img", "boot.vfat"):
        (out / name).rename(folder / name)


def breaking(story: Story, root: Path, boot: Path) -> tuple[Path, Path]:
    """Return a slot whose agent cannot start."""
    tree, made, parts = (story.folder / n for n in ("tree", "broken.img", "broken-boot"))
    subprocess.run(["unsquashfs", "-q", "-n", "-d", tree, root], check=True, capture_output=True)
    next(tree.glob("opt/dizaine/lib/python3*/site-packages/edge_agent/vision.py")).write_text(
        "broken("
    )
    packed = ["mksquashfs", str(tree), str(made), "-comp", "zstd", "-Xcompression-level", "3"]
    subprocess.run([*packed, "-quiet", "-no-progress"], check=True, capture_output=True)
    shutil.rmtree(tree)
    parts.mkdir()
    for name in ("vmlinuz", "initrd.img"):
        subprocess.run(["mcopy", "-i", boot, f"::{name}", parts / name], check=True)
    image = story.folder / "broken.vfat"
    subprocess.run(
        [ROOT / "firmware/image/slot.sh", made, parts, image, "broken"], check=True,
        capture_output=True,
    )  # fmt: skip
    return made, image


@contextmanager
def staged(keep: bool, arch: str) -> Iterator[Story]:
    folder = Path(tempfile.mkdtemp(prefix="dizaine-firmware-"))
    story = Story(folder, arch)
    try:
        yield story
    except Exception:
        keep = True  # what went wrong is on its console
        raise
    finally:
        story.device.power_off()
        story.town.close()
        if keep:
            print(f"kept: {folder}")
        else:
            shutil.rmtree(folder)


def main() -> int:
    """Tell the story; 0 where all of it came true."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arch", choices=sorted(BOOT_S), default="amd64")
    parser.add_argument(
        "--keep", action="store_true", help="keep disk and console, as after a failure"
    )
    given = parser.parse_args()
    image = ROOT / "out/image" / given.arch / "disk.img"
    if not image.exists():
        print(f"no {image}: build it with firmware/image/build.sh {given.arch}", file=sys.stderr)
        return 2
    # Whoever ends it ends the device and the city with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    TimeServer()
    with staged(given.keep, given.arch) as story:
        tell(story)
    return 0


if __name__ == "__main__":
    sys.exit(main())
