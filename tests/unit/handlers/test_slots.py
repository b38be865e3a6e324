"""Model files: the shipped ones, an operator's in their place, and those that are refused."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from handlers.contract import Config, Facts, Record
from handlers.upscaler.handler import Upscaler
from handlers.upscaler.network import UnusableModel
from handlers.upscaler.params import SPEC, UpscaleParams
from handlers.upscaler.slots import VARIANTS, load_slots

Encode = Callable[..., bytes]
Run = Callable[..., tuple[Facts, np.ndarray]]
Install = Callable[..., Path]


def nearest(scale: int, channels: int, side: int | str, invert_from: float | None = None) -> bytes:
    """A model that repeats every pixel, after Real-ESRGAN's manner: one input, one output, any names."""
    shapes: list[list[str | int | None]] = [[1, channels, side, side], [1, channels, None, None]]
    source, result = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in zip(("in", "out"), shapes, strict=True)
    )
    scales = helper.make_tensor("scales", TensorProto.FLOAT, [4], [1.0, 1.0, scale, scale])
    top = helper.make_tensor("top", TensorProto.FLOAT, [], [invert_from or 0.0])
    nodes = [helper.make_node("Resize", ["in", "", "scales"], ["large" if invert_from else "out"], mode="nearest")]
    if invert_from:
        nodes.append(helper.make_node("Sub", ["top", "large"], ["out"]))
    graph = helper.make_graph(nodes, "nearest", [source], [result], [scales, top])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    written: bytes = model.SerializeToString()
    return written


@pytest.fixture
def install(tmp_path: Path) -> Install:
    """`install(slot, model, **card)`: an operator's model; the path of its ONNX file."""

    def install(slot: str, model: bytes, **changes: object) -> Path:
        sha256 = hashlib.sha256(model).hexdigest()
        card = {"version": "mine", "scale": 2, "layout": "rgb", "range": 1, "tile": 64, "margin": 4, "sha256": sha256}
        (tmp_path / f"{slot}.json").write_text(json.dumps({**card, **changes}))
        (tmp_path / f"{slot}.onnx").write_bytes(model)
        return tmp_path / f"{slot}.onnx"

    return install


def repeated(picture: Image.Image, factor: int) -> np.ndarray:
    return np.asarray(picture).repeat(factor, 0).repeat(factor, 1).astype(int)


def test_what_is_shipped_is_complete_and_small(config: Config) -> None:
    slots = load_slots(config.models_dir, 1)
    assert {f"{variant}_2x" for variant in VARIANTS} <= set(slots)
    folder = Path(load_slots.__code__.co_filename).with_name("models")
    for file in folder.glob("*.onnx"):
        assert file.stat().st_size < 1_000_000
        card = json.loads(file.with_suffix(".json").read_bytes())
        assert {"data", "training", "figures", "licence"} <= set(card), file


def test_runtime_keeps_no_file_of_its_own(tmp_path: Path) -> None:
    """Releases of onnxruntime that report usage to its maker begin with a file of their session."""
    environment = {**os.environ, "TMPDIR": str(tmp_path), "HOME": str(tmp_path)}
    load = "from pathlib import Path; from handlers.upscaler.slots import load_slots; load_slots(Path('none'), 1)"
    subprocess.run([sys.executable, "-B", "-c", load], env=environment, check=True)
    assert not list(tmp_path.iterdir())


# The operator's models of any layout, range and size give the pixels that the model gives.
@pytest.mark.parametrize("range", [1, 255])
@pytest.mark.parametrize("side", ["side", 64])
@pytest.mark.parametrize("layout", ["rgb", "luma"])
def test_operators_model_is_run(
    layout: str, side: int | str, range: int, scene: Image.Image, encode: Encode, install: Install, run: Run
) -> None:
    install("clean_2x", nearest(2, 3 if layout == "rgb" else 1, side, range), layout=layout, range=range)
    grey = scene.convert("L")
    facts, made = run(encode(grey, "PNG"))
    assert facts["_model"] == "clean_2x mine"
    assert np.abs(made - (255 - repeated(grey, 2))).max() <= 1
    if layout == "rgb":
        _, made = run(encode(scene, "PNG"))
        assert np.abs(made - (255 - repeated(scene, 2))).max() <= 1


@pytest.fixture
def run(config: Config, box: Any) -> Run:
    """As `upscale`, but set up when it is called, after models were installed."""

    def run(file: bytes, endpoint: str = "upscale_2x", **given: str) -> tuple[Facts, np.ndarray]:
        handler = Upscaler()
        handler.setup(config)
        params = SPEC.endpoints[endpoint].model_validate(given)
        assert isinstance(params, UpscaleParams)
        facts = handler.run(Record(0, "r", file), params, box)
        return facts, np.asarray(Image.open(io.BytesIO(facts["_upscaled_image_url"].data))).astype(int)

    return run


def test_model_of_four_times_serves_its_endpoint_alone(
    scene: Image.Image, encode: Encode, install: Install, run: Run
) -> None:
    install("clean_4x", nearest(4, 3, "side"), scale=4)
    file = encode(scene, "PNG")
    facts, made = run(file, "upscale_4x")
    assert facts["_model"] == "clean_4x mine"
    assert np.abs(made - repeated(scene, 4)).max() <= 1
    facts, _ = run(file, "upscale_8x")
    assert facts["_model"].startswith("clean_2x ")
    assert facts["_model"].endswith("clean_4x mine")
    facts, _ = run(file)
    assert "mine" not in facts["_model"]


def spoil(install: Install, kind: str) -> None:
    model = nearest(2, 3, "side")
    if kind == "another file":
        install("robust_2x", model, sha256="0" * 64)
    elif kind == "no card":
        install("robust_2x", model).with_suffix(".json").unlink()
    elif kind == "no model":
        install("robust_2x", model).unlink()
    elif kind == "no JSON":
        install("robust_2x", model).with_suffix(".json").write_text("{")
    elif kind == "not ONNX":
        install("robust_2x", b"x" * 100)
    elif kind == "wrong layout":
        install("robust_2x", model, layout="luma")
    else:
        changes: Mapping[str, Mapping[str, object]] = {
            "wrong scale": {"scale": 4},
            "odd scale": {"scale": 3},
            "margin too wide": {"margin": 32},
            "wrong tile": {"tile": 32},
        }
        install("robust_2x", nearest(2, 3, 64) if kind == "wrong tile" else model, **changes[kind])


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("another file", "is not the file that"),
        ("no card", "cannot be read"),
        ("no model", "cannot be read"),
        ("no JSON", "cannot be read"),
        ("not ONNX", "cannot be loaded"),
        ("wrong layout", "takes 3 channels"),
        ("wrong scale", "enlarges 4 times, but its slot is for 2"),
        ("odd scale", "is no card of a model: scale"),
        ("margin too wide", "leaves nothing of a tile"),
        ("wrong tile", "takes 64 x 64 pixels, but its card says tile 32"),
    ],
)
def test_wrong_model_refuses_to_start(kind: str, says: str, config: Config, install: Install) -> None:
    spoil(install, kind)
    with pytest.raises(UnusableModel, match="robust_2x") as refused:
        Upscaler().setup(config)
    assert says in str(refused.value)
