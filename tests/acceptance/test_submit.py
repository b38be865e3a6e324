"""The client's commands: `submit`, `watch`; and those that need no broker: `openapi`, every `--help`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from broker.cli.commands import app
from broker.errors import Invalid
from tests.acceptance.broker import PICTURE, ROOT, Up
from tests.acceptance.processes import Commands, Done
from tests.acceptance.proxy import CUT, proxying
from tests.acceptance.receiver import Receiver

HELP = [
    [],
    *([name] for name in ("up", "demo", "web", "worker", "migrate", "submit", "watch", "openapi")),
    *(["workspace", *sub] for sub in ([], ["create"], ["list"])),
    *(["token", *sub] for sub in ([], ["create"], ["list"], ["revoke"])),
    *(["webhook-secret", *sub] for sub in ([], ["show"], ["rotate"])),
]


@pytest.fixture
def here(commands: Commands, up: Up) -> Commands:
    """Commands in the test's own folder that find the shared broker by its data folder."""
    return commands.with_environment(BROKER_DATA_DIR=str(up.folder))


def batch_size(up: Up, id: str) -> int:
    return len(up.api.details(id)["request"]["records"])


def size(picture: Path) -> tuple[int, int]:
    with Image.open(picture) as image:
        return image.size


def assert_failed(done: Done, *messages: str) -> None:
    assert done.code == 1, done.err
    assert all(message in done.err for message in messages), done.err
    assert "Traceback" not in done.err


def test_it_splits_a_folder_into_batches_of_ten(here: Commands, up: Up) -> None:
    folder = here.folder / "pictures" / "of a day"
    folder.mkdir(parents=True)
    for number in range(23):
        shutil.copy(PICTURE, folder / f"{number:02}.WEBP")
    (folder / "notes.txt").write_text("no picture")
    done = here.run("submit", "pictures")
    assert done.code == 0, done.err
    ids = done.out.split()
    assert sorted(batch_size(up, id) for id in ids) == [3, 10, 10]
    watched = here.run("watch", *ids)
    assert watched.code == 0, watched.err
    assert watched.out.endswith("┘\n")
    assert all(id in watched.out for id in ids)
    assert watched.out.count("10 ok") == 2


def test_it_splits_what_would_be_too_large_for_one_post(here: Commands, up: Up) -> None:
    """Ten photographs of a camera are more than a body may hold."""
    large = here.folder / "large.bmp"
    Image.effect_noise((1700, 1700), 50).convert("RGB").save(large)
    done = here.run("submit", *[str(large)] * 4)
    assert done.code == 0, done.err
    assert sorted(batch_size(up, id) for id in done.out.split()) == [2, 2]


def test_with_wait_it_saves_the_pictures_and_a_failed_record_is_exit_1(
    here: Commands, receiver: Receiver, tmp_path: Path
) -> None:
    receiver.files["/shots/one%20photo.webp"] = PICTURE.read_bytes()
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8 no picture")
    sources = [str(PICTURE), f"{receiver.url}/shots/one%20photo.webp?size=1", "broken.jpg"]
    done = here.run("submit", "--wait", "--output", "made", "--endpoint", "upscale_4x", *sources)
    assert_failed(done, "1 of 3 records failed")
    assert "broken.jpg" in done.out
    made = sorted((tmp_path / "made").iterdir())
    assert len(made) == 2
    width, height = size(PICTURE)
    assert {size(path) for path in made} == {(4 * width, 4 * height)}
    assert "one photo" in made[1].name
    assert all(str(path.relative_to(tmp_path)) in done.out for path in made)


def test_params_and_the_webhook_go_along(here: Commands, up: Up, receiver: Receiver) -> None:
    hook = f"{receiver.url}/hook"
    done = here.run("submit", str(PICTURE), "--webhook", hook, "--header", "X-Mine: yes", "--param", "tag=[1,2]")
    assert done.code == 0, done.err
    event = receiver.next()
    assert (event.path, event.headers["X-Mine"]) == ("/hook", "yes")
    assert up.api.details(done.out.strip())["request"]["tag"] == [1, 2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.jpg"], "nowhere.jpg is neither a file, a folder nor an http(s) URL"),
        ([str(Path(__file__).parent)], "there are no pictures there"),
        ([str(PICTURE), "--param", "=1"], "--param =1: NAME=VALUE is needed"),
        ([str(PICTURE), "--webhook", "http://x.example", "--header", "X"], "--header X: NAME:VALUE is needed"),
        ([str(PICTURE), "--header", "X: 1"], "--header is sent with the webhook; give --webhook, or leave it out"),
    ],
)
def test_a_wrong_argument_is_named(arguments: list[str], message: str) -> None:
    """In this process, as each start costs a second."""
    result = CliRunner().invoke(app, ["submit", *arguments])
    assert isinstance(result.exception, Invalid)
    assert result.exception.message == message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["submit", "nowhere.jpg"], "nowhere.jpg is neither a file, a folder nor an http(s) URL"),
        (["submit", str(PICTURE), "--type", "nope"], 'type: "nope" is not a valid choice.'),
        (["submit", str(PICTURE), "http://10.0.0.1/x.jpg"], "records.1._url: Host 10.0.0.1 is not allowed."),
        (["watch", "nope"], "nope: Not found."),
        (["watch", "../request"], "../request: Not found."),
    ],
)
def test_an_error_is_one_line(here: Commands, arguments: list[str], message: str) -> None:
    done = here.run(*arguments)
    told = [line for line in done.err.splitlines() if not line.startswith("submitted ")]  # the progress
    assert (done.code, done.out, len(told)) == (1, "", 1)
    assert told[0].startswith(f"broker: {message}")


def test_what_is_accepted_is_told_even_when_another_batch_is_refused(here: Commands, up: Up) -> None:
    """A URL that the broker refuses makes its batch fail; the others' ids must not be lost."""
    pictures = [str(PICTURE)] * 10
    done = here.run("submit", *pictures, "http://10.0.0.1/x.jpg")
    assert_failed(done, "Host 10.0.0.1 is not allowed.")
    (id,) = done.out.split()
    assert batch_size(up, id) == 10


def test_without_a_broker_it_says_so(commands: Commands) -> None:
    assert_failed(commands.run("submit", str(PICTURE)), "no broker runs on the data folder data; start `broker up`")
    nobody = commands.with_environment(BROKER_URL="http://127.0.0.1:1", BROKER_TOKEN="t")
    assert_failed(nobody.run("submit", str(PICTURE)), "http://127.0.0.1:1 cannot be reached")


def test_a_post_without_an_answer_is_sent_again_and_is_one_batch(commands: Commands, up: Up) -> None:
    with proxying(up.url, CUT, 503, 429) as proxy:
        by_proxy = commands.with_environment(BROKER_URL=proxy.url, BROKER_TOKEN=up.token)
        done = by_proxy.run("submit", str(PICTURE))
    assert done.code == 0, done.err
    assert len(proxy.keys) == 4
    assert len(set(proxy.keys)) == len(set(proxy.bodies)) == len(set(proxy.answers)) == 1
    assert proxy.keys[0]
    assert [json.loads(answer)["id"] for answer in proxy.answers] == [done.out.strip()] * 2
    assert f"broker: {proxy.url} did not answer; again in 0.5 s\n" in done.err
    assert f"broker: {proxy.url} answered 503: later; again in 1 s\n" in done.err


def test_every_batch_has_a_key_of_its_own(commands: Commands, up: Up) -> None:
    with proxying(up.url) as proxy:
        by_proxy = commands.with_environment(BROKER_URL=proxy.url, BROKER_TOKEN=up.token)
        done = by_proxy.run("submit", *[str(PICTURE)] * 20)
    assert (done.code, len(set(done.out.split()))) == (0, 2), done.err
    assert len(set(proxy.keys)) == 2


def test_a_broker_that_is_busy_for_long_is_not_waited_for(commands: Commands, up: Up) -> None:
    with proxying(up.url, 503, retry_after=3600) as proxy:
        done = commands.with_environment(BROKER_URL=proxy.url, BROKER_TOKEN=up.token).run("submit", str(PICTURE))
        assert_failed(done, f"broker: {proxy.url} answered 503: later\n")
        assert (len(proxy.keys), done.out) == (1, "")


def test_a_server_that_is_no_broker_and_a_wrong_token_are_messages(
    commands: Commands, up: Up, receiver: Receiver
) -> None:
    receiver.files[f"{ROOT}/x"] = b"<html>hello</html>"
    other = commands.with_environment(BROKER_URL=receiver.url, BROKER_TOKEN="t")
    assert_failed(other.run("watch", "x"), f"{receiver.url} is no broker")
    wrong = commands.with_environment(BROKER_URL=up.url, BROKER_TOKEN="wrong")
    assert_failed(wrong.run("watch", "x"), "broker: x: Invalid token.\n")
    impossible = commands.with_environment(BROKER_URL=up.url, BROKER_TOKEN="grün")
    assert_failed(impossible.run("watch", "x"), "BROKER_TOKEN")


def test_a_token_of_the_data_folder_is_not_sent_elsewhere(here: Commands, receiver: Receiver) -> None:
    assert_failed(here.with_environment(BROKER_URL=receiver.url).run("watch", "x"), "BROKER_TOKEN")
    assert receiver.asked == []


def test_openapi_is_json_with_the_installed_types(commands: Commands, plugin_path: Path) -> None:
    done = commands.with_packages(plugin_path).run("openapi")
    assert (done.code, done.err) == (0, "")
    document = json.loads(done.out)
    assert document["openapi"].startswith("3.1")
    assert "thumbnailer" in done.out


@pytest.mark.parametrize("command", HELP, ids=" ".join)
def test_help(command: list[str]) -> None:
    """In this process, too."""
    result = CliRunner().invoke(app, [*command, "--help"])
    assert (result.exit_code, "Usage" in result.output) == (0, True)


def test_a_mistyped_command_is_a_message(commands: Commands) -> None:
    done = commands.run("sbmit")
    assert (done.code, "No such command" in done.err) == (2, True)
