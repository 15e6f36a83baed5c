"""The node in this process, with a stand-in for what draws."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from pynetdicom.transport import AssociationSocket

from contour.dicom.series import SeriesFiles
from contour.services.node.inbox import Delivered, Drawing, Progress
from contour.services.node.node import Node
from contour.services.node.settings import NodeSettings, Route
from contour.services.node.transport import BoundedSocket


@pytest.fixture
def close_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    """pynetdicom leaves to the garbage collector, which warns, the socket of a peer that is gone first."""
    monkeypatch.setattr(AssociationSocket, "_shutdown_socket", BoundedSocket._shutdown_socket)


class StandIn:
    """Draws at once, and remembers what it was given."""

    def __init__(self) -> None:
        self.accepted: list[tuple[SeriesFiles, str]] = []
        self.files: list[frozenset[str]] = []

    def accept(self, series: SeriesFiles, route: Route) -> str:
        self.accepted.append((series, route.name))
        self.files.append(frozenset(path.name for path in series.files))
        return f"job-{series.content_sha256[:8]}"

    def progress(self, job: str) -> Progress:
        return Progress(Drawing.DRAWN, "", f"2.25.{len(job)}", ("tiny 1",), (Delivered("tps", True, True),))

    def remove_results(self, jobs: frozenset[str]) -> int:
        return len(jobs)


@contextmanager
def node_here(settings: NodeSettings) -> Iterator[SimpleNamespace]:
    """A node that tends itself, with its stand-in."""
    inbox = StandIn()
    node, over = Node(settings, inbox), threading.Event()
    node.start()

    def tend() -> None:
        while not over.wait(0.05):
            node.tend()

    thread = threading.Thread(target=tend)
    thread.start()
    try:
        yield SimpleNamespace(node=node, port=node.port, inbox=inbox, settings=settings)
    finally:
        over.set()
        thread.join()
        node.stop()
