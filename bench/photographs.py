"""The photographs that enlarging is judged by, made small in the ways that customers' pictures are, and the judging.

They are all photographs of scenes and surfaces that scikit-image and scikit-learn bring with them. No training sees
them. Only luma is judged (ITU-R BT.601, 0..255), by PSNR and SSIM (Wang and others 2004), without `BORDER` pixels at
each side.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import skimage
import sklearn.datasets
from PIL import Image
from skimage.metrics import structural_similarity

BORDER = 8
KINDS = ("clean", "JPEG-90", "JPEG-75", "noise")
FOLDERS = (Path(skimage.__file__).parent / "data", Path(sklearn.datasets.__file__).parent / "images")
SHA256 = {
    "astronaut.png": "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
    "brick.png": "7966caf324f6ba843118d98f7a07746d22f6a343430add0233eca5f6eaaa8fcf",
    "camera.png": "b0793d2adda0fa6ae899c03989482bff9a42d3d5690fc7e3648f2795d730c23a",
    "chelsea.png": "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
    "coffee.png": "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
    "coins.png": "f8d773fc9cfa6f4d8e5942dc34d0a0788fcaed2a4fefbbed0aef5398d7ef4cba",
    "grass.png": "b6b6022426b38936c43a4ac09635cd78af074e90f42ffa8227ac8b7452d39f89",
    "gravel.png": "c48615b451bf1e606fbd72c0aa9f8cc0f068ab7111ef7d93bb9b0f2586440c12",
    "moon.png": "78739619d11f7eb9c165bb5d2efd4772cee557812ec847532dbb1d92ef71f577",
    "motorcycle_left.png": "db18e9c4157617403c3537a6ba355dfeafe9a7eabb6b9b94cb33f6525dd49179",
    "rocket.jpg": "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
    "china.jpg": "8378025ad2519d649d02e32bd98990db4ab572357d9f09841c2fbfbb4fefad29",
    "flower.jpg": "a77f6ec41e353afdf8bdff2ea981b2955535d8d83294f8cfa49cf4e423dd5638",
}
"""Name -> what the file must be for figures to be comparable."""


def photographs(multiple: int = 2) -> Mapping[str, Image.Image]:
    """Name -> grey or RGB, cut to sides that `multiple` divides. Raises ValueError for a file that is another one."""
    return {Path(name).stem: _cut(_read(name), multiple) for name in SHA256}


def small(photograph: Image.Image, kind: str, factor: int = 2) -> bytes:
    """The file of a smaller one: scaled by the bicubic filter that softens as it shrinks, then as `kind` says.

    clean: PNG. JPEG-q: of that quality and 4:2:0. noise: of standard deviation 5 in every channel, PNG.
    """
    scaled = photograph.resize((photograph.width // factor, photograph.height // factor), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    if kind.startswith("JPEG-"):
        scaled.save(buffer, "JPEG", quality=int(kind.removeprefix("JPEG-")))
    else:
        (_noisy(scaled) if kind == "noise" else scaled).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def luma(picture: Image.Image) -> np.ndarray:
    """Float, 0..255, unrounded."""
    samples = np.asarray(picture, np.float64)
    return samples if samples.ndim == 2 else samples[..., :3] @ (0.299, 0.587, 0.114)


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    """dB."""
    error = np.mean((_inside(one) - _inside(other)) ** 2)
    return float(10 * np.log10(255**2 / error))


def ssim(one: np.ndarray, other: np.ndarray) -> float:
    """With the paper's Gaussian window."""
    options = {"data_range": 255, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    judge: Callable[..., float] = structural_similarity
    return float(judge(_inside(one), _inside(other), **options))


def _inside(samples: np.ndarray) -> np.ndarray:
    return samples[BORDER:-BORDER, BORDER:-BORDER]


def _noisy(picture: Image.Image) -> Image.Image:
    samples = np.asarray(picture, np.float64)
    grain = np.random.default_rng(5).standard_normal(samples.shape) * 5
    return Image.fromarray((samples + grain).round().clip(0, 255).astype(np.uint8))


def _read(name: str) -> Image.Image:
    data = next(folder / name for folder in FOLDERS if (folder / name).exists()).read_bytes()
    if hashlib.sha256(data).hexdigest() != SHA256[name]:
        raise ValueError(f"{name} is another file than the one that figures are given for")
    picture = Image.open(io.BytesIO(data))
    return picture.convert("L" if picture.mode == "L" else "RGB")


def _cut(picture: Image.Image, multiple: int) -> Image.Image:
    return picture.crop((0, 0, picture.width // multiple * multiple, picture.height // multiple * multiple))
