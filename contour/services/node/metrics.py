"""What a watcher wants to know: counters for Prometheus, and the state in one page, on this machine alone."""

import json
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from contour.services.node.settings import Health


@dataclass(frozen=True)
class NodeHealth:
    """The state of a node. `problems` is empty where all is well; `versions` counts series by what became of them."""

    problems: tuple[str, ...]
    listening: bool
    waiting_series: int
    free_bytes: int
    versions: dict[str, int]


class NodeMetrics:
    """The node's counters; names and labels carry no identity."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        name, about = "contour_node_instances", "Instances that came, by what became of them"
        self._instances = Counter(name, about, ["outcome"], registry=self.registry)
        self._bytes = Counter("contour_node_stored_bytes", "Bytes of instances stored", registry=self.registry)
        name, about = "contour_node_associations", "Associations, by what became of them"
        self._associations = Counter(name, about, ["outcome"], registry=self.registry)
        self._open = Gauge("contour_node_open_associations", "Associations now", registry=self.registry)
        name, about = "contour_node_versions", "Versions of series, by what became of them"
        self._versions = Counter(name, about, ["state"], registry=self.registry)
        self._waiting = Gauge("contour_node_waiting_series", "Series that are not whole yet", registry=self.registry)
        self._free = Gauge("contour_node_free_bytes", "Free bytes on the disk of the storage", registry=self.registry)
        name, about = "contour_node_deliveries", "Structure sets sent, by destination and what became of it"
        self._deliveries = Counter(name, about, ["destination", "outcome"], registry=self.registry)

    def instance(self, outcome: str, stored_bytes: int = 0) -> None:
        """An instance came: stored, again, refused, discarded or quarantined."""
        self._instances.labels(outcome).inc()
        self._bytes.inc(stored_bytes)

    def association(self, outcome: str) -> None:
        """An association was accepted, rejected or released."""
        self._associations.labels(outcome).inc()

    def open_associations(self, count: int) -> None:
        """So many are open."""
        self._open.set(count)

    def version(self, state: str) -> None:
        """Something became of a version of a series."""
        self._versions.labels(state).inc()

    def delivery(self, destination: str, outcome: str) -> None:
        """A structure set was sent, or not."""
        self._deliveries.labels(destination, outcome).inc()

    def state(self, waiting_series: int, free_bytes: int) -> None:
        """What is measured now and then."""
        self._waiting.set(waiting_series)
        self._free.set(free_bytes)


class HealthServer:
    """Serves `/metrics` and `/health`; the latter answers 503 where there are problems.

    Raises:
        OSError: the port cannot be had.
    """

    def __init__(self, settings: Health, metrics: NodeMetrics, health: Callable[[], NodeHealth]) -> None:
        class Handler(_Handler):
            pages = (metrics.registry, health)

        self._server = ThreadingHTTPServer((settings.address, settings.port), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="health", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Serve no longer."""
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    pages: tuple[CollectorRegistry, Callable[[], NodeHealth]]
    timeout = 10  # of a connection that asks nothing

    def do_GET(self) -> None:
        registry, health = self.pages
        if self.path == "/metrics":
            self._answer(200, CONTENT_TYPE_LATEST, generate_latest(registry))
        elif self.path == "/health":
            state = health()
            page = json.dumps(asdict(state), indent=2).encode() + b"\n"
            self._answer(503 if state.problems else 200, "application/json", page)
        else:
            self._answer(404, "text/plain", b"/metrics or /health\n")

    def _answer(self, status: int, kind: str, page: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        """Who looks is not logged."""
