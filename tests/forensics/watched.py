"""The pixel wall on a film, watched: says when each frame was captured. Started by a test.

Arguments: the film, frames a second, `scrubbed` or `unscrubbed`, after which frame to stop, and
`people`, `faces` or `preview`. With `faces`, they are found wherever the network thinks
most of one, since the film has none, and masks are judged on them; with `preview`, a picture that
may be seen is made of each frame. It prints `INDEX CAPTURED_NS` once a frame's observation is out,
and goes on.
"""

import sys
import time
from pathlib import Path

from edge_agent import config
from edge_agent.pixels import faces
from edge_agent.pixels.blurred import Blurrer
from edge_agent.pixels.capture import Frame
from edge_agent.pixels.preview import open_preview
from edge_agent.pixels.source import FacesWanted, Source, open_source

film, fps, mode, last, looked_for = sys.argv[1:]
told: list[int] = []
look = Source._observe


def observed(source: Source, frame: Frame):  # type: ignore[no-untyped-def]
    told.append(frame.captured_ns)
    return look(source, frame)


Source._observe = observed  # type: ignore[method-assign]
if mode == "unscrubbed":
    Source._scrub = lambda _: None  # type: ignore[method-assign, misc]
    Blurrer.zeroise = lambda _: None  # type: ignore[method-assign, misc]
camera = config.Camera(source=film, fps=float(fps))
threads = 1 if looked_for == "people" else 2
detector = config.Detector(threads=threads)
wanted = FacesWanted(masks=True) if looked_for == "faces" else None
faces.MOST_FACES = 4
replay = config.Replay(pace="real")
opened = (
    open_preview(camera, replay, detector)[0]
    if looked_for == "preview"
    else open_source(camera, replay, detector, faces=wanted)
)
with opened as source:
    if wanted:
        source._faces._detector._lowest = -50.0  # type: ignore[union-attr]
    print("keeper", source._keeper._process.pid, flush=True)
    for index, _ in enumerate(source):
        print(index, told[-1], flush=True)
        if index == int(last):
            # As if the camera had gone quiet: nothing comes any more that would overwrite.
            while not Path(film).with_suffix(".done").exists():
                source._scrub()
                time.sleep(0.01)
            break
