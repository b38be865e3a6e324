"""A learned enlargement: its file, checked against its card, ready to run on one block of samples."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnxruntime
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from handlers.contract import SetupError

_PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")
"""In the order of preference; those that the installed onnxruntime lacks are left out."""


class UnusableModel(SetupError):
    """A model file that is not the one its card describes, or that cannot be run; the text names both files."""


class Card(BaseModel):
    """What must be known of a model to run it, from the JSON file beside it. Other keys are for people.

    version: shown in results. scale: how many times as wide and as high its result is. layout: `luma` is one channel,
    `rgb` three; shape (1, channels, height, width), float32. range: of samples, 1 or 255. tile: pixels a side of the
    largest square it is given. margin: pixels at each side of a square whose result depends on what lies beyond.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    version: str = Field(min_length=1)
    scale: Literal[2, 4, 8]
    layout: Literal["luma", "rgb"]
    range: Literal[1, 255] = 1
    tile: int = Field(ge=16, le=4096)
    margin: int = Field(ge=0, le=512)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


@dataclass(frozen=True, slots=True)
class Network:
    """name: of its slot. fixed: whether it takes squares of `card.tile` pixels only."""

    name: str
    card: Card
    session: onnxruntime.InferenceSession
    fixed: bool

    @property
    def channels(self) -> int:
        return 3 if self.card.layout == "rgb" else 1

    def run(self, samples: np.ndarray) -> np.ndarray:
        """(height, width, channels) float32 in 0..1 -> the same, `card.scale` times as high and wide."""
        planes = np.ascontiguousarray(samples.transpose(2, 0, 1)[None], dtype=np.float32)
        (result,) = self.session.run(None, {self.session.get_inputs()[0].name: planes * self.card.range})
        enlarged: np.ndarray = result[0].transpose(1, 2, 0) / self.card.range
        return enlarged


def load(card_file: Path, threads: int) -> Network:
    """The model of `<name>.json` in `<name>.onnx` beside it, on `threads` CPU threads. Raises UnusableModel."""
    file = card_file.with_suffix(".onnx")
    try:
        card = Card.model_validate(json.loads(card_file.read_bytes()))
        data = file.read_bytes()
    except (OSError, ValueError) as error:
        raise UnusableModel(f"model {file}: {_reason(error, card_file)}") from error
    if (found := hashlib.sha256(data).hexdigest()) != card.sha256:
        raise UnusableModel(f"model {file} is not the file that {card_file} describes: its sha256 is {found}")
    session = _session(data, file, threads)
    return Network(card_file.stem, card, session, _is_fixed(session, card, file))


def _reason(error: Exception, card_file: Path) -> str:
    if isinstance(error, ValidationError):
        problems = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        return f"{card_file} is no card of a model: {problems}"
    return f"{card_file} or it cannot be read: {error}"


def _session(data: bytes, file: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    available = onnxruntime.get_available_providers()
    try:
        return onnxruntime.InferenceSession(data, options, providers=[one for one in _PROVIDERS if one in available])
    except Exception as error:  # onnxruntime's own classes derive from Exception only
        raise UnusableModel(f"model {file} cannot be loaded: {error}") from error


def _is_fixed(session: onnxruntime.InferenceSession, card: Card, file: Path) -> bool:
    """Whether height and width are given. Raises UnusableModel for another input or output than the card's."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    channels = 3 if card.layout == "rgb" else 1
    if len(inputs) != 1 or len(outputs) != 1 or inputs[0].type != "tensor(float)" or len(inputs[0].shape) != 4:
        raise UnusableModel(f"model {file} must have one input of float32 (1, channels, height, width) and one output")
    _, planes, height, width = inputs[0].shape
    if isinstance(planes, int) and planes != channels:
        raise UnusableModel(f"model {file} takes {planes} channels, but its card says {card.layout}")
    fixed = isinstance(height, int) or isinstance(width, int)
    if fixed and (height, width) != (card.tile, card.tile):
        raise UnusableModel(f"model {file} takes {width} x {height} pixels, but its card says tile {card.tile}")
    if card.tile <= 2 * card.margin:
        raise UnusableModel(f"model {file}: twice the card's margin leaves nothing of a tile of {card.tile} pixels")
    return fixed
