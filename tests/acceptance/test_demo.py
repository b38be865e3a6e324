"""`broker demo`: the README's first command."""

from __future__ import annotations

import re

from PIL import Image

from tests.acceptance.processes import Commands, running_processes, until


def test_it_shows_everything_and_leaves_the_pictures(commands: Commands) -> None:
    done = commands.with_environment(BROKER_PORT="1", BROKER_MAX_QUEUED="nonsense").run(
        "demo", "--output", "my pictures", seconds=120
    )
    assert done.code == 0, done.err + done.out
    assert "signatures" in done.out
    assert re.search(r"broker up\b.*\n.*broker submit", done.out)
    folder = commands.folder / "my pictures"
    before = sorted(path for path in folder.iterdir() if "-2x" not in path.name)
    assert len(before) >= 2
    for path in before:
        with Image.open(path) as original, Image.open(folder / f"{path.stem}-2x{path.suffix}") as upscaled:
            assert upscaled.size == (2 * original.width, 2 * original.height)
            assert upscaled.format == original.format
    assert len(list(folder.iterdir())) == 2 * len(before)
    assert commands.temporary_files == []
    temporary = commands.environment["TMPDIR"]
    assert [seen for seen in running_processes() if temporary in seen.command] == []


def test_a_killed_demo_takes_its_broker_along(commands: Commands) -> None:
    demo = commands.start("demo")
    temporary = commands.environment["TMPDIR"]

    def brokers() -> list[str]:
        return [seen.command for seen in running_processes() if temporary in seen.command]

    until(brokers, "its broker runs")
    demo.process.kill()
    until(lambda: not brokers(), "nothing is left behind")
