"""The HTTP server of `broker listen`: takes whatever comes, shows it, answers it."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from broker.api.http import read_body
from broker.cli.listen_forward import Forward
from broker.cli.listen_pictures import Pictures
from broker.cli.listen_screen import Screen, parsed
from broker.cli.listen_seen import Arrival, Judge, Memory, Signature
from broker.errors import BrokerError, TooLarge

MAX_BODY = 32 * 1024 * 1024


@dataclass(slots=True)
class Listener:
    """An ASGI application. status, delay in seconds: of the answer, unless `forward` gives one."""

    screen: Screen
    judge: Judge
    status: int
    delay: float
    forward: Forward | None
    pictures: Pictures | None
    _memory: Memory = field(default_factory=Memory)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        try:
            response = await self._answer(request)
        except asyncio.CancelledError:  # Ctrl-C during the delay
            response = Response(status_code=503)
        with suppress(asyncio.CancelledError):  # or while pictures are saved
            await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        at = time.time()
        path = request.scope["path"] + ("?…" if request.scope["query_string"] else "")
        arrival = Arrival(at, request.method, path, dict(request.headers))
        try:
            arrival = replace(arrival, body=await read_body(request, MAX_BODY))
        except BrokerError as error:
            return self._refuse(arrival, error)
        judged = self.judge.judge(arrival)
        self.screen.show(arrival, judged, self._memory.repetition(arrival.webhook_id, arrival.body))
        response, how = await self._respond(request, arrival.body)
        await asyncio.sleep(self.delay)
        self.screen.tell(arrival, f"{how}answered {response.status_code}")
        response.background = BackgroundTask(self._save, arrival, judged[0])
        return response

    def _refuse(self, arrival: Arrival, error: BrokerError) -> Response:
        status = 413 if isinstance(error, TooLarge) else 400
        self.screen.tell(arrival, f"{error.message} Answered {status}", "bold red")
        return Response(status_code=status)

    async def _respond(self, request: Request, body: bytes) -> tuple[Response, str]:
        """The answer, and the beginning of the line that tells it."""
        if self.forward is None:
            return Response(status_code=self.status), ""
        response, how = await self.forward.send(request.method, request.headers.raw, body)
        return response, f"{how}; "

    async def _save(self, arrival: Arrival, signature: Signature) -> None:
        """The pictures of whoever may have sent them: a forged webhook leads this machine nowhere.

        Any web page in the developer's browser can POST here, so one that is not checked leads to the broker alone.
        """
        if self.pictures is None:
            return
        if signature is Signature.WRONG:
            self.screen.tell(arrival, "its pictures are not saved: the signature is wrong")
            return
        async for line in self.pictures.save(parsed(arrival.body), anywhere=signature is Signature.RIGHT):
            self.screen.tell(arrival, line)
