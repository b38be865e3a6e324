"""TLS over the guard: the certificate is that of the name, the connection goes to the checked address."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx
import pytest

from broker.net.guard import guarded_client
from tests.integration.net.authority import Authority
from tests.integration.net.servers import Web, reply

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

    from broker.net.addresses import Policy


@dataclass
class Indicated:
    """Collects the server names that clients indicate."""

    names: list[str | None]

    def __call__(self, _: ssl.SSLObject, name: str | None, __: ssl.SSLContext) -> None:
        self.names.append(name)


async def test_sni_and_certificate_use_the_name_while_the_address_is_the_checked_one(
    only_site: Policy, tmp_path: Path
) -> None:
    authority = Authority()
    tls = authority.server("hook.test", tmp_path)
    indicated = Indicated([])
    tls.sni_callback = indicated
    asked = []

    def resolver(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    async with (
        Web(answers={"/": [reply(200, b"secret")]}).listen("127.0.0.1", tls=tls) as web,
        guarded_client(only_site, resolver=resolver, ssl_context=authority.trust()) as client,
    ):
        answer = await client.get(web.url(host="hook.test"))
    assert (answer.content, indicated.names, asked) == (b"secret", ["hook.test"], ["hook.test"])
    assert web.requests[0].headers["host"] == f"hook.test:{web.port}"


async def test_a_certificate_for_another_name_is_refused(only_site: Policy, tmp_path: Path) -> None:
    authority = Authority()
    async with (
        Web().listen("127.0.0.1", tls=authority.server("other.test", tmp_path)) as web,
        guarded_client(only_site, resolver=lambda host, port: ["127.0.0.1"], ssl_context=authority.trust()) as client,
    ):
        with pytest.raises(httpx.ConnectError, match="hook\\.test"):
            await client.get(web.url(host="hook.test"))
    assert web.requests == []


async def test_a_certificate_of_an_unknown_authority_is_refused_by_default(only_site: Policy, tmp_path: Path) -> None:
    async with (
        Web().listen("127.0.0.1", tls=Authority().server("hook.test", tmp_path)) as web,
        guarded_client(only_site, resolver=lambda host, port: ["127.0.0.1"]) as client,
    ):
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await client.get(web.url(host="hook.test"))
    assert web.requests == []
