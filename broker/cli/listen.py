"""`broker listen`: a receiver of webhooks for those who write one."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import httpx
import typer
from starlette.applications import Starlette
from starlette.routing import Route

from broker import logs
from broker.cli.client import broker_url
from broker.cli.data_folder import DEFAULT_WORKSPACE
from broker.cli.listen_app import Listener
from broker.cli.listen_forward import Forward
from broker.cli.listen_pictures import Pictures
from broker.cli.listen_screen import Screen
from broker.cli.listen_seen import Judge
from broker.cli.processes import address_of, listen, run
from broker.cli.tables import console
from broker.cli.web import serve
from broker.errors import BrokerError, Invalid, Misconfigured
from broker.foundation import open_foundation
from broker.origins import origin_of
from broker.provision import Provision
from broker.settings import Settings, load
from broker.store.database import SQLITE_FILE

GRACE_SECONDS = 1.0
LOOPBACK = ipaddress.ip_network("127.0.0.0/8")


@dataclass(frozen=True, slots=True)
class Answering:
    """How each webhook is answered: an HTTP status after so many seconds, or by the server at `forward`."""

    status: int
    delay: float
    forward: str | None


def listen_to_webhooks(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on, 0 = any free one.")] = 9000,
    secret: Annotated[
        list[str] | None,
        typer.Option(metavar="whsec_…", help="Verify with it; default: those of the data folder's first workspace."),
    ] = None,
    status: Annotated[int, typer.Option(min=200, max=599, help="Answer with this HTTP status.")] = 200,
    delay: Annotated[float, typer.Option(min=0, max=3600, help="Answer after so many seconds.")] = 0,
    forward: Annotated[
        str | None, typer.Option(metavar="URL", help="Send on what comes; answer what that did.")
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Save the pictures that results name; of unchecked webhooks, those on BROKER_URL."
        ),
    ] = None,
) -> None:
    """Receive webhooks, show and verify them. Ctrl-C stops it."""
    settings = load()
    logs.configure(settings.log_format, "warning")
    _check(secret or [], forward)
    answering = Answering(status, delay, forward)
    with listen(host, port) as listening:
        run(_listen(settings, listening, secret or [], answering, save))


async def _listen(
    settings: Settings, listening: socket.socket, given: Sequence[str], answering: Answering, folder: Path | None
) -> None:
    screen = Screen(console())
    secrets, remark = (given, None) if given else await _secrets_of_folder(settings)
    screen.say(_hint(listening))
    if remark:
        screen.say(remark)
    async with AsyncExitStack() as stack:
        forward = await stack.enter_async_context(Forward(answering.forward)) if answering.forward else None
        pictures = await stack.enter_async_context(Pictures(folder, _own(settings))) if folder else None
        listener = Listener(screen, Judge(secrets), answering.status, answering.delay, forward, pictures)
        await serve(Starlette(routes=[Route("/{path:path}", listener)]), listening, GRACE_SECONDS)


def _check(secrets: Sequence[str], forward: str | None) -> None:
    """Raises Invalid for options that cannot work."""
    try:
        Judge(secrets).check()
    except ValueError as error:
        raise Invalid(
            "--secret: `whsec_` or `whpk_` and base64 is needed, as `broker webhook-secret show` prints it"
        ) from error
    if forward is None:
        return
    try:
        url = httpx.URL(forward)
        usable = url.scheme in ("http", "https") and bool(url.host)
    except (httpx.InvalidURL, UnicodeError):
        usable = False
    if not usable:
        raise Invalid(f"--forward {forward}: an http(s) URL is needed")


async def _secrets_of_folder(settings: Settings) -> tuple[Sequence[str], str | None]:
    """The secrets of the workspace `default`, and a remark when there are none. Makes no database and no key."""
    if settings.embedded_database and not (settings.data_dir / SQLITE_FILE).exists():
        return (), f"Signatures are not checked: there is no --secret, and no broker's data in {settings.data_dir}."
    try:
        async with open_foundation(settings) as opened:
            return await Provision(opened.database, opened.vault).webhook_secrets(DEFAULT_WORKSPACE), None
    except BrokerError as error:
        return (), f"Signatures are not checked: {error.message}"


def _own(settings: Settings) -> str:
    """The origin of the broker that is listened to; empty when nothing says where it is."""
    url = broker_url(settings.data_dir)
    try:
        return origin_of(url) if url else ""
    except (httpx.InvalidURL, UnicodeError, KeyError) as error:
        raise Misconfigured(f"BROKER_URL {url} is no URL") from error


def _hint(listening: socket.socket) -> str:
    """What to put into a POST, and what the broker must be told to come here."""
    address = ipaddress.ip_address(listening.getsockname()[0])
    on_loopback = address in LOOPBACK or address == ipaddress.IPv4Address(0)
    network = LOOPBACK if on_loopback else ipaddress.ip_network(address)
    endpoint = f'"webhook": {{"endpoint": "{address_of(listening)}/"}}'
    return f"Put {endpoint} into a POST to a broker that was started by `broker up --allow-network {network}`."
