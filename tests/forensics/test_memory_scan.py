"""A marked frame is looked for, from outside, in everything that it could have touched.

Every test has its control: the same run with zeroing switched off, in the harness alone, is found
full of the frame by the same scanner.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import simplejpeg
from numpy.typing import NDArray

from edge_agent import config, sandbox
from edge_agent.pixels import faces, weights
from edge_agent.pixels.networks import Networks
from tests.forensics.scanner import Fingerprints, file, files, memory, pieces

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SIZE = (480, 640)
MARKED, FRAMES, FPS = 6, 10, 4.0
DEADLINE_NS = 100_000_000
TOLERANCE_NS = 20_000_000
RUNS = 8
MODEL = "person-ssdlite-coco"

CAP_SYS_PTRACE = 19


def may_look() -> bool:
    """Return whether this user may read another process's memory, though it forbids that."""
    told = re.search(r"CapEff:\s*([0-9a-f]+)", Path("/proc/self/status").read_text())
    return bool(told and int(told[1], 16) >> CAP_SYS_PTRACE & 1)


pytestmark = [
    pytest.mark.forensics,
    pytest.mark.skipif(not may_look(), reason="the agent lets nobody look but who may trace"),
]


def picture(index: int) -> NDArray[np.uint8]:
    """Return a frame like no other: a texture that no other frame shares anything with."""
    noise = np.random.default_rng(1000 + index)
    coarse = noise.integers(0, 256, (SIZE[0] // 4, SIZE[1] // 4, 3), dtype=np.uint8)
    return coarse.repeat(4, 0).repeat(4, 1)


def coded(index: int) -> bytes:
    return simplejpeg.encode_jpeg(picture(index), quality=90, colorspace="BGR")


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "film.mjpeg"
    path.write_bytes(b"".join(coded(index) for index in range(FRAMES)))
    return path


def tensors(frame: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Return what the detector makes of a frame before the network sees it."""
    detector = Networks(config.Detector(threads=1)).people(np.zeros)
    height, width = SIZE
    size = detector._tensor.shape[1:3]
    return [
        cv2.resize(frame[top:bottom, left:right], (size[1], size[0]))[None]
        for left, top, right, bottom in detector._tiles(width, height)
    ]


def shown(frame: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], list[NDArray[np.uint8]]]:
    """Return what the networks for faces and masks are shown, as `watched.py` looks for faces."""
    networks = Networks(config.Detector(threads=1))
    looking = networks.faces(np.zeros, masks=True)._detector
    looking._lowest = -50.0
    seen = np.zeros((1, 80, 80, 3), np.uint8)
    found = []
    for box in looking.detect(frame).boxes[:4]:
        faces.square(frame, box, 1.3, seen[0])
        found += [seen.copy(), np.ascontiguousarray(seen[:, :, ::-1])]
    return looking._tensor.copy(), found


def activations(
    inputs: list[NDArray[np.uint8]],
    model: str = MODEL,
    kind: type[weights.Model] = weights.PersonModel,
) -> list[bytes]:
    """Return every tensor that a network computes for some inputs, layer after layer."""
    from ai_edge_litert.interpreter import Interpreter

    content = weights.load(model, kind).content("file")
    network = Interpreter(model_content=content, experimental_preserve_all_tensors=True)
    network.allocate_tensors()
    found = []
    for given in inputs:
        network.set_tensor(network.get_input_details()[0]["index"], given)
        network.invoke()
        for tensor in network.get_tensor_details():
            if tensor["dtype"] in (np.uint8, np.int8):
                try:
                    found.append(network.get_tensor(tensor["index"]).tobytes())
                except ValueError:
                    continue
    return found


def own_alone(marks: dict[bytes, str], others: list[bytes]) -> dict[bytes, str]:
    """Return the pieces that no other frame's run has: weights and saturated values are in all."""
    shared = set(Fingerprints(marks).hits(others))
    return {piece: form for piece, form in marks.items() if piece not in shared}


@pytest.fixture(scope="module")
def fingerprints() -> Fingerprints:
    """Return the marked frame's pieces in every form that it takes on its way."""
    packet = coded(MARKED)
    frame = simplejpeg.decode_jpeg(packet, "BGR")
    inputs = tensors(frame)
    marks = {
        **pieces(packet[700:], "packet"),
        **pieces(simplejpeg.decode_jpeg(packet, "GRAY").tobytes(), "luma"),
        **pieces(frame.tobytes(), "picture", 1000),
    }
    for given in inputs:
        marks |= pieces(given.tobytes(), "tile and tensor")
    for layer in activations(inputs):
        marks |= pieces(layer, "activation", 60)
    others = activations(tensors(simplejpeg.decode_jpeg(coded(MARKED + 1), "BGR")))
    marks = own_alone(marks, others)
    forms = Counter(marks.values())
    assert len(forms) == 5
    assert min(forms.values()) >= 100
    return Fingerprints(marks)


@pytest.fixture(scope="module")
def preview_fingerprints() -> Fingerprints:
    """Return the marked frame's pieces as they are before the picture that may be seen is made."""
    frame = simplejpeg.decode_jpeg(coded(MARKED), "BGR")
    small = cv2.resize(frame, (480, 360), interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)
    return Fingerprints({
        **pieces(small.tobytes(), "picture", 1000), **pieces(grey.tobytes(), "luma", 1000)
    })  # fmt: skip


def child_of(process: int) -> int:
    listed = subprocess.run(
        ["pgrep", "-P", str(process)], capture_output=True, text=True, check=True
    )
    return int(listed.stdout.split()[0])


@pytest.fixture(scope="module")
def face_fingerprints() -> Fingerprints:
    """Return the marked frame's pieces in the forms that it takes where faces are looked for."""
    frame, other = (simplejpeg.decode_jpeg(coded(index), "BGR") for index in (MARKED, MARKED + 1))
    marks = pieces(frame.tobytes(), "picture", 1000)
    (whole, cut), (their_whole, theirs) = shown(frame), shown(other)
    for given in (whole, *cut):
        marks |= pieces(given.tobytes(), "tile and tensor", 100)
    layers = [
        *activations([whole], "face-centerface", weights.FaceModel),
        *activations(cut, "mask-centerface", weights.MaskModel),
    ]
    for layer in layers:
        marks |= pieces(layer, "activation", 40)
    marks = own_alone(marks, [
        *activations([their_whole], "face-centerface", weights.FaceModel),
        *activations(theirs, "mask-centerface", weights.MaskModel),
    ])  # fmt: skip
    forms = Counter(marks.values())
    assert len(forms) == 3
    assert min(forms.values()) >= 100
    return Fingerprints(marks)


@contextmanager
def stopped_after_the_deadline(
    film: Path, *, zeroing: bool = True, looked_for: str = "people",
    fps: float = FPS, after_ns: int = DEADLINE_NS,
) -> Iterator[dict[str, int]]:  # fmt: skip
    """Yield the processes of a run, both stopped so long after the marked frame's capture.

    On a busy machine a run may be stopped at the wrong moment, which measures nothing: it is begun
    again.
    """
    paths = [str(ROOT)] if zeroing else [str(HERE / "unzeroed"), str(ROOT)]
    environment = {**os.environ, "PYTHONPATH": ":".join(paths)}
    if zeroing:
        environment |= sandbox.PERTURB
    mode = "scrubbed" if zeroing else "unscrubbed"
    missed_ns = []
    for _ in range(RUNS):
        watched = subprocess.Popen(
            [sys.executable, HERE / "watched.py", film, str(fps), mode, "99", looked_for],
            stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        try:
            assert watched.stdout is not None
            decoder = child_of(int(watched.stdout.readline().split()[1]))
            captured_ns = 0
            for line in watched.stdout:
                index, captured = map(int, line.split())
                if index == MARKED:
                    captured_ns = captured
                    break
            assert captured_ns, "the marked frame was not looked at"
            time.sleep(max(0.0, captured_ns + after_ns - time.monotonic_ns()) / 1e9)
            os.kill(watched.pid, signal.SIGSTOP)
            os.kill(decoder, signal.SIGSTOP)
            missed_ns.append(time.monotonic_ns() - captured_ns - after_ns)
            if missed_ns[-1] <= TOLERANCE_NS:
                yield {"vision": watched.pid, "decoder": decoder}
                return
        finally:
            watched.kill()
            watched.wait()
    late_ms = [round(missed / 1e6) for missed in missed_ns]
    pytest.fail(f"{RUNS} runs were stopped {late_ms} ms late: this machine is too busy to measure")


def scan(processes: dict[str, int], fingerprints: Fingerprints) -> dict[str, Counter[str]]:
    return {name: fingerprints.find(memory(number)) for name, number in processes.items()}


def show(title: str, found: dict[str, Counter[str]]) -> None:
    forms = ("packet", "luma", "picture", "tile and tensor", "activation")
    for name, hits in found.items():
        told = "  ".join(f"{form} {hits[form]}" for form in forms)
        print(f"{title:<34} {name:<8} {told}")


def test_100_ms_after_its_capture_nothing_of_a_frame_is_in_memory(
    film: Path, fingerprints: Fingerprints
) -> None:
    with stopped_after_the_deadline(film) as processes:
        found = scan(processes, fingerprints)
    show("as it is", found)
    assert sum(sum(hits.values()) for hits in found.values()) == 0


def test_100_ms_after_its_capture_nothing_of_a_face_is_in_memory(
    film: Path, face_fingerprints: Fingerprints
) -> None:
    with stopped_after_the_deadline(film, looked_for="faces") as processes:
        found = scan(processes, face_fingerprints)
    show("faces and masks, as it is", found)
    assert sum(sum(hits.values()) for hits in found.values()) == 0


def test_100_ms_after_its_capture_the_preview_keeps_what_may_be_seen_alone(
    film: Path, preview_fingerprints: Fingerprints
) -> None:
    hits = {}
    for zeroing in (True, False):
        with stopped_after_the_deadline(film, zeroing=zeroing, looked_for="preview") as processes:
            hits[zeroing] = scan(processes, preview_fingerprints)
        show("preview" if zeroing else "control: nothing zeroised", hits[zeroing])
    assert sum(sum(found.values()) for found in hits[True].values()) == 0
    assert hits[False]["vision"]["picture"] >= 100
    assert hits[False]["vision"]["luma"] >= 100


def test_without_zeroing_pieces_of_faces_are(film: Path, face_fingerprints: Fingerprints) -> None:
    with stopped_after_the_deadline(film, zeroing=False, looked_for="faces") as processes:
        found = scan(processes, face_fingerprints)
    show("control: nothing zeroised", found)
    for form in ("picture", "tile and tensor", "activation"):
        assert found["vision"][form] >= 100, form


def test_without_zeroing_hundreds_of_its_pieces_are(film: Path, fingerprints: Fingerprints) -> None:
    with stopped_after_the_deadline(film, zeroing=False) as processes:
        found = scan(processes, fingerprints)
    show("control: nothing zeroised", found)
    for form in ("picture", "tile and tensor", "activation"):
        assert found["vision"][form] >= 100, form
    assert found["decoder"]["packet"] >= 100


def test_a_backend_leaves_nothing_after_one_run_on_zeros(fingerprints: Fingerprints) -> None:
    """Each runtime that is installed here, by itself: it may be too slow to count with."""
    frame = simplejpeg.decode_jpeg(coded(MARKED), "BGR")
    script = (
        "import sys, numpy as np; from edge_agent import config;"
        "from edge_agent.pixels.networks import Networks;"
        "d = Networks(config.Detector(runtime=sys.argv[1], threads=1)).people(np.zeros);"
        "f = np.fromfile(sys.argv[2], np.uint8).reshape(480, 640, 3); d.detect(f); f.fill(0);"
        "sys.argv[3] == 'zeroise' and d.zeroise(); print('done', flush=True); input()"
    )
    pythons = {"litert": sys.executable, "tflite": str(ROOT / ".venv-tflite/bin/python")}
    for runtime, python in pythons.items():
        if not Path(python).exists():
            continue
        hits = {}
        for mode in ("zeroise", "keep"):
            raw = Path(f"/dev/shm/dizaine-frame-{os.getpid()}")
            raw.write_bytes(frame.tobytes())
            child = subprocess.Popen(
                [python, "-c", script, runtime, str(raw), mode], cwd=ROOT, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                env={**os.environ, **sandbox.PERTURB},
            )  # fmt: skip
            try:
                assert child.stdout is not None
                assert child.stdout.readline() == "done\n"
                hits[mode] = fingerprints.find(memory(child.pid))
            finally:
                child.kill()
                child.wait()
                raw.unlink()
            show(f"{runtime}, {mode}", {"vision": hits[mode]})
        assert sum(hits["zeroise"].values()) == 0
        assert hits["keep"]["tile and tensor"] + hits["keep"]["activation"] >= 100


def test_a_core_dump_holds_nothing_of_it(
    film: Path, fingerprints: Fingerprints, tmp_path: Path
) -> None:
    """The agent refuses to be dumped; a dump that is forced on it holds nothing either.

    The control is a dump of the same process with zeroing off.
    """
    gcore = shutil.which("gcore")
    if gcore is None:
        pytest.skip("gcore (gdb) is not installed")
    hits = {}
    for zeroing in (True, False):
        with stopped_after_the_deadline(film, zeroing=zeroing) as processes:
            found: Counter[str] = Counter()
            for name, number in processes.items():
                target = tmp_path / f"{name}-{zeroing}"
                subprocess.run(
                    [gcore, "-o", str(target), str(number)],
                    check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                )  # fmt: skip
                (core,) = tmp_path.glob(f"{name}-{zeroing}.*")
                found += fingerprints.find(file(core))
                core.unlink()
        hits[zeroing] = found
        show("core dump" if zeroing else "core dump, control", {"both": found})
    assert sum(hits[True].values()) == 0
    assert sum(hits[False].values()) >= 100


@pytest.mark.parametrize(
    ("settings", "options", "frames"),
    [
        ("one reference, no B frames", "tune=zerolatency bframes=0 ref=1 key-int-max=30", 2),
        ("an encoder's defaults", "bframes=3 ref=4 b-adapt=false key-int-max=30", 8),
    ],
)
def test_a_codec_with_references_keeps_a_frame_no_longer_than_its_settings_say(
    tmp_path: Path, settings: str, options: str, frames: int
) -> None:
    """What no zeroing of ours can reach: the decoder's own references. Measured, not promised.

    The film is coded without loss, so that the decoder's planes are known to the byte.
    """
    python = Path("/usr/bin/python3")
    path = tmp_path / "film.mkv"
    planes = [cv2.cvtColor(picture(index), cv2.COLOR_BGR2YUV_I420).tobytes() for index in range(40)]
    made = subprocess.run(
        [python, HERE / "h264.py", path, str(SIZE[1]), str(SIZE[0]), options],
        input=b"".join(planes), capture_output=True, check=False,
    )  # fmt: skip
    if made.returncode:
        pytest.skip(f"no encoder here: {made.stderr.decode().strip().splitlines()[-1]}")
    marks = Fingerprints(pieces(planes[MARKED][: SIZE[0] * SIZE[1]], "luma"))
    told = {}
    for later in sorted({0, 2, frames}):
        after_ns = 50_000_000 + later * 100_000_000
        with stopped_after_the_deadline(path, fps=10.0, after_ns=after_ns) as processes:
            told[later] = scan(processes, marks)["decoder"]["luma"]
    print(f"H.264, {settings}: pieces of luma by frames later: {told}")
    assert told[0] > 0
    assert told[frames] == 0


CRASH = """
import os, resource, sys
from edge_agent import sandbox
resource.setrlimit(resource.RLIMIT_CORE, (-1, -1))
if sys.argv[1] == "forbidden":
    sandbox.forbid_dumps()
os.abort()
"""


def test_a_crash_leaves_no_core_file(tmp_path: Path) -> None:
    pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    if "/" in pattern or "|" in pattern:
        pytest.skip(f"this machine's cores go elsewhere ({pattern})")
    for mode, cores in (("forbidden", 0), ("allowed", 1)):
        folder = tmp_path / mode
        folder.mkdir()
        subprocess.run(
            [sys.executable, "-c", CRASH, mode], cwd=folder, check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert len(list(folder.iterdir())) == cores


def test_spool_logs_and_temporary_folders_hold_nothing_of_it(
    town: Any, film: Path, fingerprints: Fingerprints, wait_until: Callable[..., None],
    tmp_path: Path,
) -> None:  # fmt: skip
    """The whole agent runs on the marked film for two windows, and everything on disk is read."""
    begun_s = time.time()
    town.broker.start()
    own = town.folder / "film.mjpeg"
    shutil.copy(film, own)
    agent = town.device("bus-1", own, fps=0.05)
    agent.start()
    spool = town.folder / "bus-1" / "spool.db"

    def spooled() -> int:
        try:
            return len(re.findall(rb"DZN1", spool.read_bytes()))
        except OSError:
            return 0

    wait_until(lambda: spooled() >= 2, 120, "a second record in the spool")
    places = [town.folder, Path("/dev/shm"), Path("/tmp"), Path("/var/tmp")]
    places += [path for path in (Path("/var/log"), Path("/run")) if path.is_dir()]
    changed = {p for place in places for p in files(place, begun_s)} - {own}
    assert spool in changed
    found = sum((fingerprints.find(file(path)) for path in changed), Counter[str]())
    assert not found, found
    assert sum(fingerprints.find(file(own)).values()) >= 100
    agent.stop()
