"""Errors in the shape that OpenAI's clients read."""

from __future__ import annotations

from typing import Any

INVALID = "invalid_request_error"


class ApiError(Exception):
    """What a client is told.

    Args:
        status: Of HTTP.
        message: One sentence: what is wrong and what would be right.
        param: The request's field, if it is one's fault.
        code: A name that programs can compare.
        kind: OpenAI's ``type``.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        kind: str = INVALID,
    ) -> None:
        super().__init__(message)
        self.status, self.message = status, message
        self.param, self.code, self.kind = param, code, kind

    def body(self) -> dict[str, Any]:
        return {
            "error": {
                "message": self.message,
                "type": self.kind,
                "param": self.param,
                "code": self.code,
            }
        }


def server_error(message: str) -> ApiError:
    """Something on our side, which the client may try again."""
    return ApiError(500, message, kind="server_error", code="internal_error")
