"""The README is true: its commands run, its type of one's own works, its files exist."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.queue.embedded import EmbeddedValkey

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(kind: str, under: str) -> list[str]:
    """The code blocks of a kind in one section."""
    section = README.partition(f"\n## {under}\n")[2].partition("\n## ")[0]
    assert section, under
    return [text for found, text in BLOCK.findall(section) if found == kind]


def headings(text: str) -> set[str]:
    """The heads of the tables in a text, whatever the widths of their columns."""
    return {" ".join(line.split()) for line in text.splitlines() if line.startswith("┃")}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder that looks to a command like the checkout, so that what it writes stays out of it."""
    (tmp_path / ".venv").symlink_to(Path(sys.prefix))
    (tmp_path / "broker").symlink_to(ROOT / "broker")
    return tmp_path


def run_bash(script: str, place: Path, environment: dict[str, str]) -> str:
    """Run a script in a session of its own; whatever it left running is stopped at its end, in good order."""
    environment = {**{k: v for k, v in os.environ.items() if not k.startswith("BROKER_")}, **environment}
    trap = "set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null; wait' EXIT\n"
    process = subprocess.Popen(
        ["bash", "-c", trap + script],
        cwd=place,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=230)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    assert process.returncode == 0, said
    return said


def test_every_make_target_that_it_names_exists() -> None:
    targets = set(re.findall(r"make ([a-z-]+)", "\n".join(text for _, text in BLOCK.findall(README))))
    targets |= set(re.findall(r"`make ([a-z-]+)`", README))
    assert {"demo", "test", "check", "bench"} <= targets
    for target in targets:
        subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True)


def test_every_file_that_it_links_to_exists() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert len(links) > 5
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_shell_block_is_one_that_these_tests_run() -> None:
    known = [
        *blocks("sh", "A tour"),
        *blocks("sh", "Webhooks"),
        *blocks("sh", "Many machines"),
        *blocks("sh", "What is promised, and what shows it"),
        *blocks("sh", "Measured"),
        "make demo\nmake test\n",
    ]
    assert sorted(text for kind, text in BLOCK.findall(README) if kind == "sh") == sorted(known)


def test_the_tour_shows_what_it_says(place: Path) -> None:
    broker, photographs, webhooks = free_port(), free_port(), free_port()
    script = "\n".join([*blocks("sh", "A tour"), *blocks("sh", "Webhooks")])
    script = script.replace(":8000", f":{broker}").replace("8099", str(photographs)).replace("9100", str(webhooks))
    said = run_bash(script, place, {"BROKER_PORT": str(broker)})
    assert '"_upscaled_width": 1200' in said
    assert '"sku": "C-17"' in said
    assert '{"status":"DONE"}' in said
    assert '"Host 10.0.0.1 is not allowed."' in said
    assert '"status":"DONE","outcome":"cancelled"' in said
    assert "1 retried, 0 refused" in said
    assert "shows more" in said
    shown = headings("".join([*blocks("text", "A tour"), *blocks("text", "Webhooks")]))
    assert len(shown) == 3
    assert shown <= headings(said)
    assert len(set(re.findall(r"^(whsec_\S+|whpk_\S+)  v1a?  signs", said, re.MULTILINE))) == 3
    assert len(re.findall(r"signs along until \d{4}-\d\d-\d\d \d\d:\d\d UTC$", said, re.MULTILINE)) == 2
    assert "delivered: answered 200 after" in said
    assert re.search(rf"│ http://127.0.0.1:{webhooks}/hook │ delivered │ 1 ", said)
    line = re.compile(rf"^│ [0-9a-f]{{32}} │ healthy │ .* │ http://127.0.0.1:{webhooks}/hook │", re.MULTILINE)
    assert len(line.findall(said)) == 2  # the customer's view, and the operator's
    assert "0 replayed, 0 refused" in said
    received = (place / "webhooks.txt").read_text()
    assert received.count("signature right") >= 2
    assert "wrong" not in received
    submitted = json.loads((place / "submitted.json").read_text())
    assert set(submitted) == {"id", "request", "type", "status", "created", "workspace"}
    assert len(list((place / "output").iterdir())) == 4


@pytest.fixture
def redis_url() -> Iterator[str]:
    folder = Path(tempfile.mkdtemp())
    valkey = EmbeddedValkey(folder)
    yield valkey.start()
    valkey.stop()
    shutil.rmtree(folder)


def test_a_fleet_starts_as_it_says(place: Path, empty_postgresql_url: str, redis_url: str) -> None:
    (script,) = blocks("sh", "Many machines")
    for told, real in (
        ("postgresql://broker:secret@db/broker", f"'{empty_postgresql_url}'"),
        ("redis://redis:6379/0", redis_url),
        ("s3://pictures/broker", f"file://{place / 'blobs'}"),
        ("broker web\n", "broker web --port 0 2> web.log &\n"),
        ("broker worker --types upscaler\n", "broker worker --types upscaler 2> worker.log &\n"),
    ):
        assert told in script
        script = script.replace(told, real)
    wait = "until grep -q web.started web.log && grep -q worker.started worker.log; do sleep 0.1; done\n"
    said = run_bash(script + wait, place, {})
    workspace, token = said.splitlines()[1:3]
    assert re.fullmatch(r"[0-9a-f-]{36}", workspace)
    assert re.fullmatch(r"[0-9a-f]{40}", token)
    assert "worker.stopped" in (place / "worker.log").read_text()
    assert "web.stopped" in (place / "web.log").read_text()


def test_its_type_of_ones_own_runs(tmp_path: Path) -> None:
    sources = blocks("python", "A type of your own")
    (entry,) = blocks("toml", "A type of your own")
    package, info = tmp_path / "my_types", tmp_path / "my_types-1.dist-info"
    package.mkdir()
    info.mkdir()
    for source in sources:
        name = re.match(r"# my_types/(\w+\.py)", source)
        assert name, source
        (package / name[1]).write_text(source)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-types\nVersion: 1\n")
    group, line = entry.splitlines()[1:]
    assert group == '[project.entry-points."broker.handlers"]'
    (info / "entry_points.txt").write_text(f"[broker.handlers]\n{line.replace(chr(34), '')}\n")
    program = (
        "import pyvips, sys\n"
        "from pathlib import Path\n"
        "from handlers.contract import Record\n"
        "from handlers.registry import Registry, load_handler\n"
        "spec = Registry.installed()['thumbnailer']\n"
        "handler = load_handler(spec)\n"
        "handler.setup(None)\n"
        "image = Path(sys.argv[1]).read_bytes()\n"
        "facts = handler.run(Record(0, 'a', image), spec.endpoints['thumbnail'](size=64), None)\n"
        "print(pyvips.Image.new_from_buffer(facts['_thumbnail_url'].data, '').width)\n"
    )
    photograph = ROOT / "broker/cli/photographs/coffee.jpg"
    done = subprocess.run(
        [sys.executable, "-c", program, str(photograph)],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "64", done.stderr
