"""In front of all routes: the API key, and OpenAI's shape for whatever the routes do not answer themselves."""

from __future__ import annotations

import hmac
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from lightning_cpt.serve.endpoint import refusal
from lightning_cpt.serve.errors import ApiError, server_error

_OPEN = ("/health",)  # a load balancer has no key


class KeyGuard:
    """ASGI middleware: ``Authorization: Bearer KEY``, or 401.

    Args:
        app: What is behind it.
        key: The only one that is good.
    """

    def __init__(self, app: ASGIApp, key: str) -> None:
        self.app, self.key = app, f"Bearer {key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in _OPEN or self._is_good(scope):
            await self.app(scope, receive, send)
            return
        error = ApiError(
            401, "wrong or missing API key; send Authorization: Bearer KEY", code="invalid_api_key"
        )
        await refusal(error)(scope, receive, send)

    def _is_good(self, scope: Scope) -> bool:
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        return hmac.compare_digest(given, self.key)


def shape_errors(app: FastAPI) -> None:
    """Let unknown paths, wrong methods and faults of ours answer in OpenAI's shape too."""

    async def refused(request: Request, error: Any) -> Response:
        message = f"{request.method} {request.url.path}: {error.detail}"
        return refusal(ApiError(error.status_code, message, code=_CODES.get(error.status_code)))

    async def failed(request: Request, error: Exception) -> Response:
        return refusal(server_error("internal error; the server's log says more"))

    app.add_exception_handler(HTTPException, refused)
    app.add_exception_handler(Exception, failed)


_CODES = {404: "unknown_url", 405: "method_not_allowed"}
