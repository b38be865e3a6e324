"""`/api/webhook-secret`: who may see and rotate a workspace's signing secrets, and what nobody sees."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from sqlalchemy import select, update

from broker.batches import new_id
from broker.rotate import Rotate
from broker.secrets import new_webhook_secret
from broker.store.tables import WorkspaceRow, table
from broker.webhooks.keys import SigningSecret, open_secrets, seal_secrets
from broker.webhooks.signing import Kind
from tests.integration.running import Broker, core_of

PATH = "/api/webhook-secret"
RIGHTS = ("submit", "read", "storage", "admin")
WORKSPACES = table(WorkspaceRow)
DAY_MS = 24 * 3600 * 1000


def bearing(token: str) -> dict[str, str]:
    return {"Authorization": f"Token {token}"}


@pytest.fixture
async def admin(broker: Broker) -> httpx.AsyncClient:
    """Speaks with a token that has the right `admin` and no other."""
    broker.http.headers.update(bearing(await broker.store.token("default", ["admin"])))
    return broker.http


async def rotate(client: httpx.AsyncClient, **options: str) -> list[dict[str, Any]]:
    answer = await client.post(PATH, json=options)
    assert answer.status_code == 200, answer.text
    secrets: list[dict[str, Any]] = answer.json()["secrets"]
    return secrets


async def stored(broker: Broker, workspace: str) -> tuple[SigningSecret, ...]:
    row = await broker.store.row(select(WORKSPACES.c.secrets).where(WORKSPACES.c.id == workspace))
    return open_secrets(broker.core.vault, row.secrets)


async def store(broker: Broker, *secrets: SigningSecret) -> None:
    box = seal_secrets(broker.core.vault, secrets)
    change = update(WORKSPACES).where(WORKSPACES.c.id == broker.tenant.workspace).values(secrets=box)
    assert await broker.store.change(change) == 1


async def test_the_secret_is_shown_and_kept_nowhere_on_its_way(broker: Broker, admin: httpx.AsyncClient) -> None:
    answer = await admin.get(PATH)
    assert answer.json() == {
        "workspace": broker.tenant.workspace,
        "secrets": [{"kind": "v1", "secret": broker.tenant.secret, "signs_until": None}],
    }
    for shown in (answer, await admin.get(PATH + "/"), await admin.head(PATH), await admin.post(PATH + "/")):
        assert (shown.status_code, shown.headers["cache-control"]) == (200, "no-store")


async def test_the_old_secret_signs_along_until_a_day_after_the_rotation(
    broker: Broker, admin: httpx.AsyncClient
) -> None:
    new, old = await rotate(admin)
    assert (old["secret"], new["signs_until"]) == (broker.tenant.secret, None)
    assert new["secret"].startswith("whsec_")
    assert new["secret"] != old["secret"]
    assert old["signs_until"].endswith("Z")
    assert (await admin.get(PATH)).json()["secrets"] == [new, old]


async def test_of_a_key_pair_only_the_public_key_is_ever_shown(broker: Broker, admin: httpx.AsyncClient) -> None:
    answers = [await admin.post(PATH, json={"kind": "v1a"}), await admin.get(PATH)]
    pair, _ = await stored(broker, broker.tenant.workspace)
    assert (pair.kind, pair.secret[:5]) == (Kind.ED25519, "whsk_")
    for answer in answers:
        new, old = answer.json()["secrets"]
        assert (new["kind"], new["secret"][:5], old["kind"]) == ("v1a", "whpk_", "v1")
        assert "whsk_" not in answer.text
        assert pair.secret[5:45] not in answer.text


async def test_kind_is_taken_from_the_query_too(admin: httpx.AsyncClient) -> None:
    assert [(await admin.post(PATH, params={"kind": kind})).json()["secrets"][0]["kind"] for kind in ("v1a", "v1")] == [
        "v1a",
        "v1",
    ]


@pytest.mark.parametrize(
    ("sent", "problem"),
    [
        ({"json": {"kind": "v2"}}, {"kind": ['"v2" is not a valid choice.']}),
        ({"params": {"kind": "V1"}}, {"kind": ['"V1" is not a valid choice.']}),
        ({"json": {"kind": None}}, {"kind": ['"None" is not a valid choice.']}),
        ({"json": {"secret": "whsec_bWluZQ=="}}, {"secret": ["Unknown option."]}),
        ({"json": {"kind": "v1"}, "params": {"kind": "v1"}}, {"kind": ["Given both in the body and in the query."]}),
    ],
)
async def test_bad_option_is_a_400_that_rotates_nothing(
    broker: Broker, admin: httpx.AsyncClient, sent: Mapping[str, Any], problem: object
) -> None:
    before = await stored(broker, broker.tenant.workspace)
    answer = await admin.post(PATH, **sent)
    assert (answer.status_code, answer.json()) == (400, problem)
    assert await stored(broker, broker.tenant.workspace) == before
    answer = await admin.get(PATH, params={"kind": "v1"})
    assert (answer.status_code, answer.json()) == (400, {"kind": ["Unknown query parameter."]})


async def test_every_other_right_together_is_not_enough(broker: Broker) -> None:
    before = await stored(broker, broker.tenant.workspace)
    token = await broker.store.token("default", [right for right in RIGHTS if right != "admin"])
    for method in ("GET", "POST"):
        answer = await broker.http.request(method, PATH, headers=bearing(token))
        assert answer.status_code == 403, answer.text
        assert "whsec_" not in answer.text
        assert (await broker.http.request(method, PATH, headers={"Authorization": ""})).status_code == 401
    assert await stored(broker, broker.tenant.workspace) == before


async def test_it_is_the_secret_of_the_tokens_workspace_or_of_one_granted(broker: Broker) -> None:
    other = await broker.store.tenant("other", ["admin"])
    guest = await broker.store.tenant("guest", ["admin"], grants=["other"])
    assert (await broker.http.get(PATH, headers=bearing(other.token))).json()["secrets"][0]["secret"] == other.secret
    for foreign in (broker.tenant.workspace, guest.workspace, new_id()):
        for sent in (
            await broker.http.get(PATH, params={"workspace": foreign}, headers=bearing(other.token)),
            await broker.http.post(PATH, json={"workspace": foreign}, headers=bearing(other.token)),
        ):
            assert sent.status_code == 403, sent.text
    granted = {"workspace": other.workspace}
    assert (await broker.http.post(PATH, json=granted, headers=bearing(guest.token))).json()["workspace"] == (
        other.workspace
    )
    shown = await broker.http.get(PATH, params=granted, headers=bearing(guest.token))
    assert [one["secret"] for one in shown.json()["secrets"]][1] == other.secret
    assert [len(await stored(broker, id)) for id in (broker.tenant.workspace, other.workspace, guest.workspace)] == [
        1,
        2,
        1,
    ]


async def test_expired_secrets_are_not_shown_and_vanish_at_the_next_rotation(
    broker: Broker, admin: httpx.AsyncClient
) -> None:
    newest, still, over = [new_webhook_secret() for _ in range(3)]
    later = 253_402_300_000_000
    await store(broker, SigningSecret(newest), SigningSecret(still, later), SigningSecret(over, 1))
    assert [one["secret"] for one in (await admin.get(PATH)).json()["secrets"]] == [newest, still]
    assert len(await stored(broker, broker.tenant.workspace)) == 3
    await rotate(admin)
    kept = await stored(broker, broker.tenant.workspace)
    assert [one.secret for one in kept[1:]] == [newest, still]
    assert kept[2].until == later


async def test_at_most_ten_old_secrets_are_kept(broker: Broker, admin: httpx.AsyncClient) -> None:
    made = [(await rotate(admin))[0]["secret"] for _ in range(12)]
    assert [one["secret"] for one in (await admin.get(PATH)).json()["secrets"]] == made[:0:-1]
    assert len(await stored(broker, broker.tenant.workspace)) == 11


async def test_rotations_at_once_in_two_processes_lose_no_secret(broker: Broker) -> None:
    """Whose secret was shown to somebody must sign, whoever else rotated meanwhile."""
    workspace = broker.tenant.workspace
    async with core_of(broker.core.settings) as second:
        both = [Rotate(core.database, core.vault) for core in (broker.core, second.core)]
        made = await asyncio.gather(*[both[turn % 2](workspace, Kind.SYMMETRIC) for turn in range(8)])
        newest = {secrets[0].secret for secrets in made}
        assert len(newest) == 8
        assert {one.secret for one in await both[0].secrets(workspace)} == newest | {broker.tenant.secret}
    assert len([one for one in await stored(broker, workspace) if one.until is None]) == 1


async def test_secrets_are_in_no_log(
    broker: Broker, admin: httpx.AsyncClient, capfd: pytest.CaptureFixture[str]
) -> None:
    secrets = [*await rotate(admin), *await rotate(admin, kind="v1a")]
    logged = capfd.readouterr()
    assert [one for one in secrets if one["secret"][6:] in logged.out + logged.err] == []


async def test_the_day_begins_by_the_databases_clock(broker: Broker, admin: httpx.AsyncClient) -> None:
    created = (await broker.store.row(select(WORKSPACES.c.created))).created
    await rotate(admin)
    _, old = await stored(broker, broker.tenant.workspace)
    assert old.until is not None
    assert created + DAY_MS <= old.until < created + DAY_MS + 3_600_000
