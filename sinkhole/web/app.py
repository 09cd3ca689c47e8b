"""The routes, as an ASGI application."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.routing import Route

from sinkhole.resolver.engine import Engine
from sinkhole.web import doh


def app(engine: Engine) -> Starlette:
    """All that is served over HTTP by ``engine``."""
    resolve = doh.endpoint(engine)
    made = Starlette(
        routes=[Route(path, resolve, methods=["GET", "POST"]) for path in ("/dns-query", "/dns-query/{token}")]
    )
    made.router.redirect_slashes = False  # a redirect would repeat the Host that the client made up
    return made
