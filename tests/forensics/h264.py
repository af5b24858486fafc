"""Encodes raw I420 pictures from standard input without loss. Runs under Debian's Python.

/usr/bin/python3 h264.py OUT WIDTH HEIGHT OPTIONS-OF-X264ENC
"""

import sys

import gi

gi.require_version("Gst", "1.0")
from gi.repository import Gst  # noqa: E402

out, width, height, options = sys.argv[1:]
Gst.init(None)
pipeline = Gst.parse_launch(
    f"fdsrc fd=0 ! rawvideoparse format=i420 width={width} height={height} framerate=10/1"
    f" ! x264enc pass=quant quantizer=0 {options} ! matroskamux"
    f" ! filesink location={out}"
)
pipeline.set_state(Gst.State.PLAYING)
message = pipeline.get_bus().timed_pop_filtered(
    60 * Gst.SECOND, Gst.MessageType.EOS | Gst.MessageType.ERROR
)
pipeline.set_state(Gst.State.NULL)
if message is None or message.type == Gst.MessageType.ERROR:
    sys.exit(str(message.parse_error() if message else "no end within a minute"))
