"""A fleet on a database of its own: the Procfile's processes, what they refuse, workspaces and tokens."""

from __future__ import annotations

import shlex
from hashlib import sha256
from pathlib import Path

import pytest

from tests.acceptance.broker import ROOT, Api, as_base64
from tests.acceptance.fleet import KEY, Fleet
from tests.acceptance.processes import Commands, Done, until

PROCFILE = Path(__file__).parents[2] / "Procfile"


@pytest.fixture
def fleet(commands: Commands, database_url: str, redis_url: str) -> Fleet:
    return Fleet(commands, database_url, redis_url)


def commands_of_procfile() -> dict[str, list[str]]:
    """Name -> arguments after `broker`; settings may stand before it."""
    commands = {}
    for line in PROCFILE.read_text().splitlines():
        name, _, command = line.partition(":")
        words = shlex.split(command.replace("${PORT:-8000}", "0"))
        assert "broker" in words, line
        commands[name] = words[words.index("broker") + 1 :]
    return commands


def assert_refused(done: Done, message: str) -> None:
    assert (done.code, done.out) == (1, "")
    assert done.err == f"broker: {message}\n"


def test_an_empty_database_is_refused_until_the_release_command_has_run(
    commands: Commands, empty_database_url: str, redis_url: str
) -> None:
    fleet = Fleet(commands, empty_database_url, redis_url)
    of = commands_of_procfile()
    assert set(of) == {"release", "web", "worker"}
    for name in ("web", "worker"):
        message = "the database's schema is not this version's; run: broker migrate"
        assert_refused(fleet.commands.run(*of[name]), message)
    for _ in range(2):
        assert "schema" in fleet.say(*of["release"]).out
    api = fleet.start_web()
    assert api.get("/readyz").json() == {
        "status": "ready",
        "checks": {"database": "ok", "blobs": "ok", "disk": "ok", "redis": "ok"},
    }
    fleet.start_worker(*of["worker"][1:])
    assert api.done(api.submit())[0]["_status"]["code"] == 200


def test_a_missing_and_a_wrong_key_are_refused(fleet: Fleet) -> None:
    fleet.provision()
    missing = fleet.commands.with_environment(BROKER_SECRET_KEY="").run("web")
    assert (missing.code, missing.out) == (1, "")
    assert missing.err.startswith("broker: BROKER_SECRET_KEY must be set")
    wrong = fleet.commands.with_environment(BROKER_SECRET_KEY=KEY.upper()).run("worker")
    assert_refused(wrong, "BROKER_SECRET_KEY is not the key that this database's secrets were written with")
    both = fleet.commands.with_environment(BROKER_SECRET_KEY=f"{KEY.upper()},{KEY}")
    assert both.run("workspace", "list").code == 0


def test_a_wrong_model_file_is_refused(fleet: Fleet, tmp_path: Path) -> None:
    model, card = tmp_path / "robust_2x.onnx", tmp_path / "robust_2x.json"
    model.write_bytes(b"not a model")
    card.write_text(
        f'{{"version": "1", "scale": 2, "layout": "luma", "tile": 64, "margin": 7, "sha256": "{"0" * 64}"}}'
    )
    worker = fleet.commands.with_environment(BROKER_MODELS_DIR=str(tmp_path)).run("worker")
    found = sha256(b"not a model").hexdigest()
    assert_refused(worker, f"model {model} is not the file that {card} describes: its sha256 is {found}")


def test_an_unknown_type_is_refused(fleet: Fleet) -> None:
    assert_refused(
        fleet.commands.run("worker", "--types", "upscaler,nonsense"),
        "unknown type nonsense; installed: card-grader, upscaler",
    )


def test_workspaces_and_tokens_do_what_they_may_and_no_more(fleet: Fleet) -> None:
    say = fleet.say
    ids = {name: say("workspace", "create", name).out.strip() for name in ("one", "two", "three")}
    again = fleet.commands.run("workspace", "create", "one")
    assert_refused(again, "there is a workspace 'one' already")
    listed = say("workspace", "list").out
    assert all(name in listed and id in listed for name, id in ids.items())

    def token(*options: str) -> str:
        return say("token", "create", "--workspace", "one", *options).out.strip()

    reader, writer = token("--scope", "read"), token("--scope", "submit,read", "--grant", "two", "--name", "a writer")
    assert_refused(
        fleet.commands.run("token", "create", "--workspace", "one", "--scope", "submit,fly"),
        "unknown scope fly; there are submit, read, storage, admin",
    )

    api = fleet.start_web()
    reads, writes, unknown = Api(api.url, reader), Api(api.url, writer), Api(api.url, "nonsense")
    body = {"type": "upscaler", "records": [{"_base64": as_base64()}]}
    assert [caller.post(**body).status_code for caller in (reads, writes, unknown)] == [403, 201, 401]
    assert [caller.get(ROOT).json().get("count") for caller in (reads, writes, unknown)] == [1, 1, None]
    in_workspace = {name: writes.post(**body, workspace=id) for name, id in ids.items()}
    assert {name: answer.status_code for name, answer in in_workspace.items()} == {"one": 201, "two": 201, "three": 403}
    foreign = in_workspace["two"].json()["id"]
    assert writes.get(f"{ROOT}/{foreign}").status_code == 200
    assert reads.get(f"{ROOT}/{foreign}").status_code == 404
    assert reads.get(f"{ROOT}?workspace={ids['two']}").status_code == 403

    rows = [line for line in say("token", "list", "--workspace", "one").out.splitlines() if "a writer" in line]
    assert len(rows) == 1
    assert writer not in rows[0]
    assert writer[-4:] in rows[0]
    (id,) = [word for word in rows[0].replace("│", " ").split() if len(word) == 36]
    assert say("token", "revoke", id).out == "revoked\n"
    until(lambda: writes.get(ROOT).status_code == 401, "the revoked token is refused", 6)
    assert reads.get(ROOT).status_code == 200


def test_answers_are_dated_by_the_second_in_which_they_are_given(commands: Commands, sqlite_url: str) -> None:
    """By the web process's own clock, which goes on while nothing happens."""
    api = Fleet(commands, sqlite_url).start_web()
    dates = {api.get("/healthz").headers["date"]}

    def moved() -> bool:
        dates.add(api.get("/healthz").headers["date"])
        return len(dates) == 3

    until(moved, "the date moves on")
