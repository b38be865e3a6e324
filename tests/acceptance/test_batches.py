"""`broker batches` and `broker workspace pause|resume`, as processes against a running broker."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest
from typer.testing import CliRunner

from broker.api.moments import NO_TIME
from broker.batches import new_id
from broker.cli.arguments import OR_AGO
from broker.cli.commands import app
from broker.errors import Invalid
from tests.acceptance.broker import Api, Up
from tests.acceptance.processes import Commands, Done

KEYS = set("id external_id workspace dialect type endpoint status outcome run created modified finished counts".split())


@dataclass(frozen=True)
class Tenant:
    """A workspace of the shared broker that one test has for itself."""

    name: str
    api: Api
    customer: Commands
    operator: Commands

    def pause(self) -> None:
        succeed(self.operator.run("workspace", "pause", self.name))

    def resume(self) -> None:
        succeed(self.operator.run("workspace", "resume", self.name))

    def batches(self, *arguments: str) -> str:
        """What a command says that succeeds."""
        return succeed(self.customer.run("batches", *arguments))

    def show(self, id: str) -> dict[str, Any]:
        batch: dict[str, Any] = json.loads(self.batches("show", id, "--json"))
        return batch

    def listed(self, *filters: str) -> list[str]:
        return [batch["id"] for batch in json.loads(self.batches("list", "--json", *filters))["results"]]


def succeed(done: Done) -> str:
    assert (done.code, done.err) == (0, "")
    return done.out


@pytest.fixture
def tenant(commands: Commands, up: Up) -> Tenant:
    operator = commands.with_environment(BROKER_DATA_DIR=str(up.folder))
    name = f"tenant-{new_id()}"
    succeed(operator.run("workspace", "create", name))
    token = succeed(operator.run("token", "create", "--workspace", name, "--scope", "submit,read,admin")).strip()
    customer = commands.with_environment(BROKER_URL=up.url, BROKER_TOKEN=token)
    return Tenant(name, Api(up.url, token), customer, operator)


def test_paused_batch_and_workspace_wait_until_they_are_resumed(tenant: Tenant) -> None:
    tenant.pause()
    held, other = tenant.api.submit(), tenant.api.submit()
    assert f"{tenant.name} " in (table := succeed(tenant.operator.run("workspace", "list")))
    assert [line.split("│")[4].strip() for line in table.splitlines() if tenant.name in line] == ["paused"]
    assert tenant.listed() == [other, held]

    assert tenant.batches("pause", held) == f"{held}  PAUSED\n"
    assert tenant.listed("--status", "PAUSED") == [held]
    tenant.resume()
    tenant.api.done(other)
    assert tenant.show(held)["status"] == "PAUSED"
    assert tenant.batches("resume", held) == f"{held}  CREATED\n"
    tenant.api.done(held)
    assert tenant.listed("--status", "PAUSED", "--status", "CREATED") == []
    assert tenant.listed("--outcome", "succeeded", "--type", "upscaler", "--dialect", "ximilar") == [other, held]


def test_list_and_show_are_tables_for_people_and_json_for_scripts(tenant: Tenant) -> None:
    tenant.pause()
    ids = [tenant.api.submit() for _ in range(3)]
    table = tenant.batches("list", "--page-size", "2")
    assert ids[0] not in table
    assert all(id in table for id in ids[1:])
    assert table.count("0 of 1") == 2
    assert table.splitlines()[-1] == "2 of 3; --page 2 shows more"
    assert ids[0] in (last := tenant.batches("list", "--page-size", "2", "--page", "2"))
    assert "shows more" not in last

    page = json.loads(tenant.batches("list", "--json", "--page-size", "1"))
    assert set(page) == {"count", "next", "previous", "results"}
    assert (page["count"], set(page["results"][0])) == (3, KEYS)

    tenant.batches("cancel", ids[0])
    table = tenant.batches("show", ids[0])
    assert all(word in table for word in (ids[0], "DONE", "cancelled", "499 cancelled", "1 of 1, 1 failed"))
    batch = tenant.show(ids[0])
    assert set(batch) == {*KEYS, "records"}
    assert [(one["index"], one["code"], one["text"]) for one in batch["records"]] == [(0, 499, "cancelled")]


def test_what_can_be_cancelled_is_and_what_cannot_is_told_in_a_line(tenant: Tenant) -> None:
    done = tenant.api.submit()
    tenant.api.done(done)
    tenant.pause()
    first, second = tenant.api.submit(), tenant.api.submit()
    unknown = new_id()
    ended = tenant.customer.run("batches", "cancel", first, unknown, done, second)
    assert ended.code == 1
    assert ended.out == f"{first}  DONE cancelled\n{second}  DONE cancelled\n"
    assert ended.err == f"broker: {unknown}: Not found.\nbroker: {done}: The batch is done already.\n"


def test_retry_one_by_one_and_in_bulk(tenant: Tenant) -> None:
    good = tenant.api.submit()
    tenant.api.done(good)
    tenant.pause()
    cancelled = [tenant.api.submit() for _ in range(2)]
    tenant.batches("cancel", *cancelled)
    bulk = ("retry", "--outcome", "cancelled", "--since")
    assert tenant.batches(*bulk, "2999-01-01T00:00:00Z") == "0 retried, 0 refused\n"
    assert tenant.batches(*bulk, "2h") == "2 retried, 0 refused\n"
    assert [tenant.show(id)["run"] for id in cancelled] == [2, 2]

    refused = tenant.customer.run("batches", "retry", good)
    told = f"broker: {good}: No record of the batch failed; ask for all records to run it again.\n"
    assert (refused.code, refused.out, refused.err) == (1, "", told)
    assert tenant.batches("retry", good, "--all") == f"{good}  CREATED\n"
    tenant.resume()
    for id in (good, *cancelled):
        assert tenant.api.done(id)[0]["_status"]["code"] == 200
    assert tenant.show(good)["run"] == 2


def test_delete_asks_first(tenant: Tenant) -> None:
    id = tenant.api.submit()
    tenant.api.done(id)
    question = "Delete 1 batch with results and pictures?"
    for typed in ("n\n", ""):
        asked = tenant.customer.run("batches", "delete", id, typed=typed)
        assert (asked.code, question in asked.out) == (1, True)
    assert tenant.listed() == [id]
    said = tenant.customer.run("batches", "delete", id, typed="y\n")
    assert (said.code, said.out.endswith(f"{id}  deleted\n")) == (0, True)
    assert tenant.listed() == []
    gone = tenant.customer.run("batches", "delete", "--yes", id)
    assert (gone.code, gone.err) == (1, f"broker: {id}: Not found.\n")


NO_RIGHT = "You are not allowed to access this service: it needs the right `{}`."


def test_refusal_is_one_line(tenant: Tenant, commands: Commands, up: Up) -> None:
    reader = succeed(tenant.operator.run("token", "create", "--workspace", tenant.name, "--scope", "read")).strip()
    only_reads = commands.with_environment(BROKER_URL=up.url, BROKER_TOKEN=reader)
    id = tenant.api.submit()
    for who, arguments, message in (
        (tenant.customer, ("show", "nope"), "nope: Not found."),
        (tenant.customer, ("show", "../workspace"), "../workspace: Not found."),
        (tenant.customer, ("list", "--status", "done"), 'status: "done" is not a valid choice.'),
        (tenant.customer, ("list", "--page", "9"), "Invalid page."),
        (
            tenant.customer,
            ("retry", "--outcome", "failed", "--since", "yesterday"),
            f"since: {NO_TIME} {OR_AGO}",
        ),
        (only_reads, ("retry", "--outcome", "failed"), NO_RIGHT.format("submit")),
        (only_reads, ("cancel", id), f"{id}: {NO_RIGHT.format('submit')}"),
        (only_reads, ("delete", "--yes", id), f"{id}: {NO_RIGHT.format('admin')}"),
    ):
        done = who.run("batches", *arguments)
        assert (done.code, done.out, done.err) == (1, "", f"broker: {message}\n"), arguments
    for verb in ("pause", "resume"):
        done = tenant.operator.run("workspace", verb, "nobody")
        assert (done.code, done.err) == (1, "broker: there is no workspace 'nobody'\n")


def test_it_finds_the_broker_by_its_data_folder(tenant: Tenant, up: Up) -> None:
    """The data folder's token is another workspace's: it sees that one's batches and not the tenant's."""
    mine, own = tenant.api.submit(), up.api.submit()
    listed = json.loads(succeed(tenant.operator.run("batches", "list", "--json", "--page-size", "200")))["results"]
    ids = [batch["id"] for batch in listed]
    assert (own in ids, mine in ids) == (True, False)


def test_without_a_broker_it_says_so(commands: Commands) -> None:
    done = commands.run("batches", "list")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("broker: no broker runs on the data folder data; start `broker up`")
    nobody = commands.with_environment(BROKER_URL="http://127.0.0.1:1", BROKER_TOKEN="t")
    done = nobody.run("batches", "cancel", new_id())
    assert (done.code, done.err) == (1, "broker: http://127.0.0.1:1 cannot be reached\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["retry"], "ids of batches are needed, or --outcome for all that ended so"),
        (["retry", "--since", "2h"], "ids of batches are needed, or --outcome for all that ended so"),
        (["retry", "x", "--outcome", "failed"], "ids of batches and --outcome, --since or --workspace do not go"),
        (["retry", "x", "--since", "2h"], "ids of batches and --outcome, --since or --workspace do not go"),
    ],
)
def test_wrong_argument_is_named(arguments: list[str], message: str) -> None:
    """In this process, as each start costs a second."""
    result = CliRunner().invoke(app, ["batches", *arguments])
    assert isinstance(result.exception, Invalid)
    assert result.exception.message.startswith(message)


VERBS = ["", "list", "show", "cancel", "retry", "pause", "resume", "delete"]


@pytest.mark.parametrize("command", [*(f"batches {verb}" for verb in VERBS), "workspace pause", "workspace resume"])
def test_help(command: str) -> None:
    result = CliRunner().invoke(app, [*command.split(), "--help"])
    assert (result.exit_code, "Usage" in result.output) == (0, True)
