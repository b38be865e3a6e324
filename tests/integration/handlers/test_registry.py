"""What the registry says of packages that do not fit together, and what it costs a web process."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Python = Callable[..., "subprocess.CompletedProcess[str]"]
Install = Callable[[str, str, str], Path]

LIST = "from handlers.registry import Registry; Registry.installed()"
SECOND_UPSCALER = """
from handlers.contract import Params, Spec
SPEC = Spec("upscaler", {"upscale_2x": Params}, "upscale_2x", "second:Handler", "Another one.")
"""


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode != 0
    return done.stderr.strip().splitlines()[-1]


def test_second_package_with_the_same_type_is_a_duplicate(python: Python, installed_package: Install) -> None:
    folder = installed_package("second", SECOND_UPSCALER, "other_name = second:SPEC")
    error = last_line(python(LIST, folder))
    assert error.startswith("handlers.registry.DuplicateType: type 'upscaler' is installed twice")


@pytest.mark.parametrize("value", ["{}", "'handlers.upscaler.params:SPEC'", "type('Spec', (), {'type': 'x'})()"])
def test_entry_point_that_is_no_spec_is_a_type_error(value: str, python: Python, installed_package: Install) -> None:
    folder = installed_package("strange", f"SPEC = {value}\n", "strange = strange:SPEC")
    error = last_line(python(LIST, folder))
    assert error == "TypeError: entry point strange = strange:SPEC is not a handlers.contract.Spec"


def test_plugin_that_does_not_import_is_named_by_its_own_error(python: Python, installed_package: Install) -> None:
    folder = installed_package("broken", "import not_installed_here\n", "broken = broken:SPEC")
    assert last_line(python(LIST, folder)) == "ModuleNotFoundError: No module named 'not_installed_here'"


@pytest.mark.parametrize("code", ["import handlers.upscaler.params", "import handlers.card_grader.params", LIST])
def test_light_half_loads_no_image_library(code: str, python: Python) -> None:
    heavy = "print({'pyvips', 'PIL', 'pillow_heif', 'numpy', 'cffi', 'cv2'} & set(sys.modules))"
    done = python(f"import sys; {code}; {heavy}")
    assert (done.returncode, done.stdout.strip()) == (0, "set()"), done.stderr
    assert python(f"import sys, handlers.upscaler.handler; {heavy}").stdout.strip() != "set()"


def test_importing_the_heavy_half_changes_nothing_in_libvips(python: Python) -> None:
    """Only `setup` does: before it, libvips' own loaders still work."""
    code = 'import pyvips, handlers.upscaler.handler as h; svg = b\'<svg width="3" height="2"/>\'; {}'
    load = "print(pyvips.Image.svgload_buffer(svg).width)"
    assert python(code.format(load)).stdout.strip() == "3"
    setup = (
        "from handlers.contract import Config; from pathlib import Path; "
        f"h.Upscaler().setup(Config(Path('.'), 2, 1, 1, 1)); print(pyvips.concurrency_get(), flush=True); {load}"
    )
    done = python(code.format(setup))
    assert done.stdout.strip() == "2"
    assert "blocked" in last_line(done)
