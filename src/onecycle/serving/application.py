"""The page and the endpoints as one application."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from .endpoints import fault, routes
from .inference import Inference
from .limits import Limits
from .page import mount


def application(inference: Inference, limits: Limits) -> Any:
    """An ASGI application that needs the guard before it."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, routes=routes(inference))
    app.add_exception_handler(Exception, fault)  # the guard hears of it all the same, and says it on the terminal
    mount(app, inference, limits)
    return app
