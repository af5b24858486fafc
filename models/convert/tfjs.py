"""Reads a TensorFlow.js graph model as a TensorFlow 1 graph, without tensorflowjs."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import json_format


def load(model_json: Path) -> Any:
    """Return the frozen GraphDef of `model.json` and the weight shards beside it."""
    model = json.loads(model_json.read_text())
    topology = model["modelTopology"]
    for node in topology["node"]:
        for attribute in node.get("attr", {}).values():
            _repair(attribute)
        if node["op"] == "AddN" and len(node["input"]) == 2:
            # The same sum, which the converter knows how to quantise.
            node["op"] = "Add"
            node["attr"].pop("N", None)
    kept = {key: topology[key] for key in ("node", "library", "versions") if key in topology}
    graph = json_format.ParseDict(kept, tf.compat.v1.GraphDef(), ignore_unknown_fields=True)
    weights = _weights(model["weightsManifest"], model_json.parent)
    for node in graph.node:
        if node.op == "Const" and node.name in weights:
            tensor = tf.make_tensor_proto(weights[node.name], shape=weights[node.name].shape)
            node.attr["value"].tensor.CopyFrom(tensor)
            node.attr["dtype"].type = tensor.dtype
    return graph


def _repair(attribute: dict[str, Any]) -> None:
    """Undo how JSON was written: lists as maps from index to item, bytes as lists of numbers."""
    if isinstance(attribute.get("tensor"), dict):
        shape = {key: attribute["tensor"][key] for key in ("dtype", "tensorShape")
                 if key in attribute["tensor"]}  # fmt: skip
        attribute["tensor"] = shape
    if isinstance(attribute.get("list"), dict):
        for key, items in list(attribute["list"].items()):
            attribute["list"][key] = list(items.values()) if isinstance(items, dict) else items
        strings = attribute["list"].get("s")
        if strings:
            attribute["list"]["s"] = [_bytes(text) for text in strings]
    if "s" in attribute:
        attribute["s"] = _bytes(attribute["s"])


def _bytes(text: Any) -> str:
    if isinstance(text, dict):
        text = list(text.values())
    return base64.b64encode(bytes(text)).decode() if isinstance(text, list) else str(text)


def _weights(manifest: list[dict[str, Any]], folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for group in manifest:
        shards = b"".join((folder / name).read_bytes() for name in group["paths"])
        offset = 0
        for entry in group["weights"]:
            stored = entry.get("quantization", entry)["dtype"]
            count = int(np.prod(entry["shape"], dtype=np.int64))
            flat = np.frombuffer(shards, np.dtype(stored), count, offset)
            offset += flat.nbytes
            if "scale" in entry.get("quantization", {}):
                flat = flat * entry["quantization"]["scale"] + entry["quantization"]["min"]
            found[entry["name"]] = flat.astype(entry["dtype"]).reshape(entry["shape"])
    return found
