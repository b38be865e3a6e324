"""TLS over the guard: the certificate is that of the name, the connection goes to the checked address."""

from __future__ import annotations

import datetime
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from broker.net.guard import guarded_client
from tests.integration.net.servers import Web, reply

if TYPE_CHECKING:
    from pathlib import Path

    from broker.net.addresses import Policy


def named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


class Authority:
    """A certificate authority of this test's own."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = named("Test CA")
        self.certificate = (
            self._builder(self.name, self.key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self.key, hashes.SHA256())
        )

    def trust(self) -> ssl.SSLContext:
        pem = self.certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")
        return ssl.create_default_context(cadata=pem)

    def server(self, host: str, folder: Path) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            self._builder(named(host), key)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        file = folder / "server.pem"
        file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
        )


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
