"""A type of another party: installed as a wheel, listed, and run on a real photograph."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

PHOTOGRAPH = Path(__file__).parents[3] / "broker" / "cli" / "photographs" / "coffee.jpg"
Python = Callable[..., "subprocess.CompletedProcess[str]"]

RUN = f"""
import io, json, pathlib, tempfile
from PIL import Image
from handlers.contract import Config, Record, RecordError
from handlers.registry import Registry, load_handler

class Box:
    cancelled = False
    scratch = pathlib.Path(tempfile.gettempdir())
    def progress(self, fraction): pass

spec = Registry.installed()["thumbnailer"]
handler = load_handler(spec)
handler.setup(Config(pathlib.Path("."), 1, 10**7, 10**7, 10**7))
record = Record(0, "r", pathlib.Path({str(PHOTOGRAPH)!r}).read_bytes())

def run(**params):
    try:
        facts = handler.run(record, spec.endpoints["thumbnail"].model_validate(params), Box())
    except RecordError as error:
        return [error.code, error.text]
    output = facts.pop("_thumbnail_url")
    return [facts, output.name, output.media_type, Image.open(io.BytesIO(output.data)).size]

print(json.dumps([run(), run(size=100, fit="cover"), run(size=700)]))
"""


def test_plugin_is_listed_beside_the_upscaler(plugin_path: Path, python: Python) -> None:
    code = "from handlers.registry import Registry; print(*Registry.installed())"
    listed = python(code, plugin_path).stdout.split()
    assert "upscaler" in listed
    assert "thumbnailer" in listed
    assert listed == sorted(listed)
    assert "thumbnailer" not in python(code).stdout.split()


def test_plugin_runs_on_a_photograph(plugin_path: Path, python: Python) -> None:
    done = python(RUN, plugin_path)
    assert done.returncode == 0, done.stderr
    inside, cover, too_large = json.loads(done.stdout)
    facts = {"_thumbnail_width": 256, "_thumbnail_height": 171}
    assert inside == [facts, "thumbnail.jpg", "image/jpeg", [256, 171]]
    assert cover[3] == [100, 100]
    assert too_large == [422, "the image of 600 x 400 pixels is smaller than a thumbnail of 700"]


def test_plugin_comes_from_its_wheel_alone(plugin_path: Path, python: Python) -> None:
    done = python("import thumbnailer.params as module; print(module.__file__)", plugin_path)
    assert Path(done.stdout.strip()).is_relative_to(plugin_path)
    assert python("import thumbnailer").returncode != 0
