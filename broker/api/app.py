"""The web application: all routes over the parts of a web process."""

from __future__ import annotations

from functools import cache, partial

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from broker.api import delivery, docs, endpoint, health, media, openapi, own, secret, webhook_test, ximilar
from broker.api.auth import Authenticator
from broker.api.intake import Intake
from broker.bootstrap.web import Web
from broker.errors import BrokerError, MethodNotAllowed, NotFound

log = structlog.get_logger()


def routes() -> list[BaseRoute]:
    """Every address there is."""
    parts = (ximilar, own, delivery, endpoint, webhook_test, secret, media, health, docs)
    return [route for part in parts for route in part.routes()]


def create_app(web: Web) -> Starlette:
    """The application over a web process's parts, which outlive it."""
    app = Starlette(
        routes=routes(),
        exception_handlers={HTTPException: _http_error, BrokerError: _broker_error, Exception: _crash},
    )
    app.router.redirect_slashes = False
    app.state.web = web
    app.state.authenticator = Authenticator(web.core.database)
    app.state.intake = Intake(web.core.settings.max_body_bytes)
    app.state.probe = health.Probe(web)
    app.state.openapi = cache(partial(openapi.document, web.core.registry))
    return app


async def _http_error(request: Request, error: Exception) -> Response:
    """Starlette's own refusals: a path that does not exist, or, for its static files, another method than reading."""
    if isinstance(error, HTTPException) and error.status_code == 405:
        return ximilar.error_answer(MethodNotAllowed(request.method, ("GET", "HEAD")))
    return ximilar.error_answer(NotFound())


async def _broker_error(_request: Request, error: Exception) -> Response:
    if not isinstance(error, BrokerError):
        raise error
    return ximilar.error_answer(error)


async def _crash(request: Request, error: Exception) -> Response:
    log.error("http.crashed", method=request.method, path=request.url.path, exc_info=error)
    return ximilar.error_answer(BrokerError())
