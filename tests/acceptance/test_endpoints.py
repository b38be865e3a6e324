"""`broker endpoints` and `broker webhook-test`, as processes against a running broker and a real receiver."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from standardwebhooks import Webhook as StandardWebhook

from broker.batches import new_id
from tests.acceptance.broker import Api, Up
from tests.acceptance.processes import Commands, Done, until
from tests.acceptance.receiver import Receiver

HUSH = "a-value-that-nobody-else-may-see"


@pytest.fixture
def operator(commands: Commands, up: Up) -> Commands:
    return commands.with_environment(BROKER_DATA_DIR=str(up.folder))


@pytest.fixture
def workspace(operator: Commands) -> str:
    """The name of a workspace of the shared broker that the test has for itself."""
    name = f"of {new_id()}"
    succeed(operator.run("workspace", "create", name))
    return name


@pytest.fixture
def customer(operator: Commands, workspace: str, up: Up) -> Commands:
    token = succeed(operator.run("token", "create", "--workspace", workspace, "--scope", "submit,read,admin")).strip()
    return operator.with_environment(BROKER_URL=up.url, BROKER_TOKEN=token)


def succeed(done: Done) -> str:
    assert (done.code, done.err) == (0, "")
    return done.out


def listed(customer: Commands, *filters: str, things: str = "endpoints") -> list[dict[str, Any]]:
    page = json.loads(succeed(customer.run(things, "list", "--json", *filters)))
    found: list[dict[str, Any]] = page["results"]
    return found


def owed(customer: Commands, *filters: str) -> list[dict[str, Any]]:
    return listed(customer, *filters, things="deliveries")


def test_disabled_endpoint_is_seen_and_enabled_and_sent_what_was_stopped(
    customer: Commands, up: Up, receiver: Receiver
) -> None:
    api = Api(up.url, customer.environment["BROKER_TOKEN"])
    hook = {"endpoint": f"{receiver.url}/hook?token={HUSH}"}
    assert listed(customer) == []
    receiver.statuses = [410]
    refused = api.submit(webhook=hook)
    receiver.next()
    until(lambda: listed(customer, "--state", "disabled"), "the endpoint is disabled")

    (endpoint,) = listed(customer)
    id = endpoint["id"]
    assert (endpoint["url"], endpoint["reason"]) == (f"{receiver.url}/hook", "it answered 410 Gone")
    assert listed(customer, "--state", "healthy", "--state", "failing") == []
    table = succeed(customer.run("endpoints", "list"))
    assert all(word in table for word in (id, "disabled", f"{receiver.url}/hook", "it answered 410 Gone"))
    shown = succeed(customer.run("endpoints", "show", id))
    assert re.search(r"^state +disabled$", shown, re.MULTILINE)
    assert re.search(r"^reason +it answered 410 Gone$", shown, re.MULTILINE)
    assert json.loads(succeed(customer.run("endpoints", "show", id, "--json"))) == endpoint
    assert HUSH not in table + shown

    stopped = api.submit(webhook=hook)
    until(lambda: len(owed(customer, "--state", "stopped", "--endpoint", id)) == 2, "another webhook is stopped")
    done = customer.run("endpoints", "enable", id, "0" * 32)
    assert (done.code, done.err) == (1, f"broker: {'0' * 32}: Not found.\n")
    enabled, *hints = done.out.splitlines()
    untried, in_vain = (hint.partition(": broker ")[2].split() for hint in hints)
    assert enabled == f"{id}  healthy"
    assert succeed(customer.run("endpoints", "enable", id)) == f"{id}  healthy\n"
    for command, batch in ((untried, stopped), (in_vain, refused)):
        assert succeed(customer.run(*command)) == "1 replayed, 0 refused\n"
        received = receiver.next()
        assert (received.path, json.loads(received.body)["id"]) == (f"/hook?token={HUSH}", batch)
    until(lambda: len(owed(customer, "--state", "delivered")) == 2, "both are noted")


def test_test_webhook_is_signed_sent_and_its_outcome_told(
    customer: Commands, operator: Commands, workspace: str, receiver: Receiver
) -> None:
    receiver.statuses = [204, 500, 410]
    options = ("--header", f"X-Key: {HUSH}", "--header", "X-Other:1")
    outcomes = [customer.run("webhook-test", f"{receiver.url}/hook", *options) for _ in range(3)]
    told = ("delivered", "not delivered; a real webhook would be tried again")
    wanted = [(0, told[0], 204), (1, told[1], 500), (1, "not delivered; a real webhook would be given up", 410)]
    for done, (code, verdict, status) in zip(outcomes, wanted, strict=True):
        assert (done.code, done.err) == (code, "")
        assert re.fullmatch(rf"{verdict}: answered {status} after \d+ ms\n", done.out), done.out
    secret = succeed(operator.run("webhook-secret", "show", "--workspace", workspace)).split()[0]
    for _ in range(3):
        received = receiver.next()
        headers = {name.lower(): value for name, value in received.headers.items()}
        assert StandardWebhook(secret).verify(received.body, headers)["type"] == "webhook.test"
        assert (headers["x-key"], headers["x-other"]) == (HUSH, "1")
    assert HUSH not in str(outcomes)
    assert listed(customer) == []


def test_what_cannot_be_sent_is_told_in_a_line(customer: Commands, receiver: Receiver) -> None:
    for arguments, line in {
        ("http://10.0.0.1/",): "url: Host 10.0.0.1 is not allowed.",
        ("nowhere",): "url: The URL must start with http:// or https://.",
        (receiver.url, "--header", f"Host: {HUSH}"): (
            "headers.Host: This header is set by the broker and cannot be changed."
        ),
        (receiver.url, "--header", HUSH): "--header: 'Name: value' is needed",
        (receiver.url, "--header", f"X-A: {HUSH}", "--header", "x-a: 2"): ("--header x-a: this header is given twice"),
    }.items():
        done = customer.run("webhook-test", *arguments)
        assert (done.code, done.out, done.err) == (1, "", f"broker: {line}\n")
    assert receiver.received.empty()
