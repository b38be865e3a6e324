"""`broker deliveries`, as processes against a running broker and a customer's server."""

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
from tests.acceptance.processes import Commands, Done, until
from tests.acceptance.receiver import Receiver

KEYS = set(
    "id workspace batch run event endpoint url state attempts next_try held manual created finished".split(),
)


@dataclass(frozen=True)
class Tenant:
    """A workspace of the shared broker that one test has for itself."""

    api: Api
    customer: Commands

    def run(self, *arguments: str) -> Done:
        return self.customer.run("deliveries", *arguments)

    def deliveries(self, *arguments: str) -> str:
        """What a command says that succeeds."""
        done = self.run(*arguments)
        assert (done.code, done.err) == (0, "")
        return done.out

    def listed(self, *filters: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.deliveries("list", "--json", *filters))["results"]
        return found

    def shown(self, id: str) -> dict[str, Any]:
        answer = self.api.get(f"/api/deliveries/{id}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def until_tried(self, id: str, count: int) -> None:
        """Until so many tries have ended."""
        until(
            lambda: sum(one["duration_ms"] is not None for one in self.shown(id)["tries"]) == count,
            f"try {count} of {id}",
        )


@pytest.fixture
def tenant(commands: Commands, up: Up) -> Tenant:
    operator, name = commands.with_environment(BROKER_DATA_DIR=str(up.folder)), f"tenant-{new_id()}"
    assert operator.run("workspace", "create", name).code == 0
    created = operator.run("token", "create", "--workspace", name, "--scope", "submit,read")
    assert created.code == 0, created.err
    token = created.out.strip()
    return Tenant(Api(up.url, token), commands.with_environment(BROKER_URL=up.url, BROKER_TOKEN=token))


def announced(tenant: Tenant, receiver: Receiver, path: str, **headers: str) -> tuple[str, str]:
    """(batch, delivery) of a webhook whose first try has ended."""
    batch = tenant.api.submit(webhook={"endpoint": receiver.url + path, "headers": headers})
    id = receiver.next().headers["webhook-id"]
    tenant.until_tried(id, 1)
    return batch, id


def test_a_webhook_is_found_shown_and_sent_again(tenant: Tenant, receiver: Receiver) -> None:
    receiver.text = b"[/thanks] :smile: \x1b[2J\nand more"
    batch, id = announced(tenant, receiver, "/hook?key=hidden-query", **{"X-Key": "hidden-header"})
    (delivery,) = tenant.listed("--batch", batch)
    assert set(delivery) == KEYS
    assert (delivery["id"], delivery["state"], delivery["url"]) == (id, "delivered", f"{receiver.url}/hook")
    assert tenant.listed("--state", "pending", "--state", "exhausted") == []
    narrow = ("--endpoint", delivery["endpoint"], "--event", "batch.done", "--since", "2h", "--state", "delivered")
    assert tenant.listed(*narrow) == [delivery]
    assert tenant.listed("--until", "2020-01-01T00:00:00Z") == []
    table = tenant.deliveries("list")
    assert all(word in table for word in (id, batch, "delivered", "/hook"))

    assert tenant.deliveries("replay", id) == f"{id}  delivered, replay\n"
    again = receiver.next()
    assert (again.headers["webhook-id"], again.headers["X-Key"]) == (id, "hidden-header")
    tenant.until_tried(id, 2)
    table = tenant.deliveries("show", id)
    assert all(word in table for word in (id, "2 (replay)", "200", "[/thanks] :smile: \N{REPLACEMENT CHARACTER}[2J"))
    whole = json.loads(tenant.deliveries("show", id, "--json"))
    assert set(whole) == {*KEYS, "headers", "body", "tries"}
    assert (whole["body"].encode(), whole["headers"]) == (again.body, {"X-Key": "***"})
    assert "hidden" not in f"{table}{whole}{tenant.deliveries('list')}"


def test_what_did_not_arrive_is_sent_again_and_what_cannot_be_is_told_in_a_line(
    tenant: Tenant, receiver: Receiver
) -> None:
    receiver.statuses += [410]
    _, gone = announced(tenant, receiver, "/gone")
    (stopped,) = tenant.listed("--state", "stopped")
    refusal = f"broker: {gone}: Its endpoint {stopped['endpoint']} is disabled; enable it first.\n"
    done = tenant.run("replay", "--what", "failed", "--since", "2h")
    assert (done.code, done.out, done.err) == (1, "0 replayed, 1 refused\n", refusal)
    assert tenant.deliveries("replay", "--what", "missing", "--since", "2h") == "0 replayed, 0 refused\n"
    elsewhere = ("--endpoint", new_id(), "--until", "0s")
    assert tenant.deliveries("replay", "--what", "failed", "--since", "2h", *elsewhere) == "0 replayed, 0 refused\n"

    _, good = announced(tenant, receiver, "/good")
    unknown = new_id()
    done = tenant.run("replay", gone, unknown, good)
    assert (done.code, done.out) == (1, f"{good}  delivered, replay\n")
    assert done.err == f"{refusal}broker: {unknown}: Not found.\n"
    assert receiver.next().headers["webhook-id"] == good


def test_refusal_is_one_line(tenant: Tenant) -> None:
    time = f"{NO_TIME} {OR_AGO}"
    for arguments, message in (
        (("show", "nope"), "nope: Not found."),
        (("list", "--state", "lost"), 'state: "lost" is not a valid choice.'),
        (("list", "--since", "yesterday"), f"since: {time}"),
        (("replay", "--what", "lost", "--since", "2h"), 'what: "lost" is not a valid choice.'),
        (("replay", "--what", "failed", "--since", "2h", "--until", "now"), f"until: {time}"),
    ):
        done = tenant.run(*arguments)
        assert (done.code, done.out, done.err) == (1, "", f"broker: {message}\n"), arguments


NEEDED = "ids of deliveries are needed, or --what and --since for all that did not arrive"
ALONE = "ids of deliveries do not go together with other options"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], NEEDED),
        (["--what", "failed"], NEEDED),
        (["--since", "2h"], NEEDED),
        (["x", "--what", "failed"], ALONE),
        (["x", "--until", "2h"], ALONE),
        (["x", "--workspace", "y"], ALONE),
    ],
)
def test_wrong_argument_is_named(arguments: list[str], message: str) -> None:
    """In this process, as each start costs a second."""
    result = CliRunner().invoke(app, ["deliveries", "replay", *arguments])
    assert isinstance(result.exception, Invalid)
    assert result.exception.message == message


@pytest.mark.parametrize("verb", ["", "list", "show", "replay"])
def test_help(verb: str) -> None:
    result = CliRunner().invoke(app, [*f"deliveries {verb}".split(), "--help"])
    assert (result.exit_code, "Usage" in result.output) == (0, True)
