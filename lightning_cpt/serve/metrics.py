"""What Prometheus may know of the server."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class Metrics:
    """Counts of this process, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter("cpt_requests", "Requests, by HTTP status", ["status"], registry=registry)
        self.texts = Counter("cpt_texts", "Texts encoded", registry=registry)
        self.tokens = Counter("cpt_tokens", "Tokens encoded, without padding", registry=registry)
        self.waiting = Gauge(
            "cpt_waiting_texts", "Texts of requests that are not answered yet", registry=registry
        )
        self.gone = Counter("cpt_disconnected", "Requests whose client went away first", registry=registry)
        self.seconds = Histogram(
            "cpt_request_seconds",
            "From the body's arrival to the answer",
            buckets=_SECONDS,
            registry=registry,
        )
        self.queue_seconds = Histogram(
            "cpt_queue_seconds", "From the queue to the model", buckets=_SECONDS, registry=registry
        )
        self.round_texts = Histogram(
            "cpt_round_texts", "Texts that a part shared its round with", buckets=_SIZES, registry=registry
        )

    def text(self) -> bytes:
        found: bytes = generate_latest(self._registry)
        return found
