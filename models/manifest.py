"""Puts a model's files into its folder, and their SHA-256 into its manifest."""

import hashlib
import re
from pathlib import Path

from edge_agent.pixels.weights import MANIFEST, Form

WEIGHTS = Path(__file__).parent / "weights"
FILES: dict[Form, str] = {
    "file": "model.tflite",
    "onnx": "model.onnx",
    "edgetpu": "model_edgetpu.tflite",
}


class ManifestError(RuntimeError):
    """There is no manifest to pin a file in; the message is one line that says what to do."""


def keep(folder: Path, form: Form, content: bytes) -> Path:
    """Write a model's weights in one form, and pin them; return where they are.

    Raises:
        ManifestError: the folder has no manifest, which a person writes.
    """
    manifest = folder / MANIFEST
    if not manifest.is_file():
        raise ManifestError(f"{manifest}: expected a manifest to pin the weights in; write one")
    path = folder / FILES[form]
    path.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    text = manifest.read_text()
    pinned = "sha256" if form == "file" else f"{form}_sha256"
    for key, value in ((form, path.name), (pinned, digest)):
        line = f'{key} = "{value}"'
        text, count = re.subn(rf'(?m)^{key} = ".*"$', line, text)
        if not count:
            # Beside the first weights, and so before any table.
            text = re.sub(r'(?m)^sha256 = ".*"$', rf"\g<0>\n{line}", text, count=1)
    manifest.write_text(text)
    return path
