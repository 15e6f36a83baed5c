"""pynetdicom's server within limits: it trusts what a peer says of lengths, and waits for peers without end.

Where it would not, this does: a PDU has the length that was negotiated at most, a message has a cap before it is taken
into memory, a TLS handshake runs apart from the listener and for a limited time, and a silent connection is ended.
"""

import logging
import socket
import ssl
import time
from contextlib import suppress
from typing import Any

from pynetdicom import AE
from pynetdicom.transport import (
    AssociationSocket,
    RequestHandler,
    ThreadedAssociationServer,
)

from contour.services.node.settings import Caps

LOG = logging.getLogger(__name__)

# Around a negotiated maximum length of variable fields: PS3.8 9.3.1 note, 9.3.5; and an A-ASSOCIATE-RQ of any sender.
PDU_OVERHEAD_BYTES = 64
ASSOCIATE_BYTES = 1 << 16
COMMAND_BYTES = 1 << 16
HANDSHAKE_SECONDS = 10.0


class BoundedSocket(AssociationSocket):  # type: ignore[misc]
    """A socket that ends the connection where a peer sends more than it may.

    `taken` counts the bytes since the last message was served; who serves messages sets it to 0.
    """

    def __init__(self, association: Any, client_socket: socket.socket, caps: Caps) -> None:
        super().__init__(association, client_socket=client_socket)
        self._longest = max(caps.pdu_bytes + PDU_OVERHEAD_BYTES, ASSOCIATE_BYTES)
        self._most = caps.instance_bytes + COMMAND_BYTES
        self.taken = 0

    def recv(self, nr_bytes: int) -> bytearray:
        """`nr_bytes`, or fewer where the connection ends.

        Raises:
            OSError: the peer says that more will come than it may send, or nothing came for too long.
        """
        self.taken += nr_bytes
        if nr_bytes > self._longest:
            raise OSError(f"a PDU of {nr_bytes} bytes: at most {self._longest}")
        if self.taken > self._most:
            raise OSError(f"a message of more than {self._most} bytes")
        data, filled = bytearray(nr_bytes), 0
        view = memoryview(data)
        while filled < nr_bytes:
            count = self.socket.recv_into(view[filled:])
            if count == 0:
                break
            filled += count
        view.release()
        return data if filled == nr_bytes else data[:filled]

    def _shutdown_socket(self) -> None:
        """Closes the socket also where the peer is gone already, in which case pynetdicom's own would leave it open."""
        if self.socket is not None:
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)
            self.socket.close()


class BoundedHandler(RequestHandler):  # type: ignore[misc]
    """Makes an association of a connection; runs in a thread of its own."""

    server: "BoundedServer"
    request: Any

    def handle(self) -> None:
        """Shakes hands, then lets pynetdicom go on."""
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.request.settimeout(HANDSHAKE_SECONDS)
        context = self.server.tls
        if context is not None:
            try:
                self.request = context.wrap_socket(self.request, server_side=True)
            except OSError as error:  # ssl.SSLError and timeouts among them
                LOG.warning("refused: no TLS handshake (%s)", getattr(error, "reason", None) or type(error).__name__)
                self.request.close()
                return
        self.request.settimeout(self.server.caps.idle_seconds)
        super().handle()

    def _create_association(self) -> Any:
        association = super()._create_association()
        association.daemon = association.dul.daemon = True  # none keeps the program from ending
        association.dul.socket = BoundedSocket(association, self.request, self.server.caps)
        # The socket of pynetdicom's own announced the connection, too; of two announcements one is too many.
        association.dul.event_queue.get_nowait()
        return association


class BoundedServer(ThreadedAssociationServer):  # type: ignore[misc]
    """Listens, and gives each connection a thread."""

    daemon_threads = True

    def __init__(self, ae: AE, address: tuple[str, int], *arguments: Any, **settings: Any) -> None:
        self.caps: Caps = settings.pop("caps")
        self.tls: ssl.SSLContext | None = settings.pop("tls")
        settings["request_handler"] = BoundedHandler
        super().__init__(ae, address, *arguments, **settings)

    def end(self, grace_seconds: float) -> None:
        """Stops listening, gives associations a while to end by themselves, then aborts them."""
        self.shutdown()
        self._await_end(grace_seconds)
        for association in self._established():
            association.abort(block=False)
        self._await_end(grace_seconds)

    def _established(self) -> list[Any]:
        return [one for one in self.active_associations if one.is_established]

    def _await_end(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while self._established() and time.monotonic() < until:
            time.sleep(0.05)


def server_tls(certificate: str, key: str, ca: str) -> ssl.SSLContext:
    """TLS 1.2 and later for a server that wants its clients' certificates: PS3.15 B.12 (BCP 195).

    Raises:
        OSError: a file is missing or none of its kind (`ssl.SSLError`).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(ca)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_tls(certificate: str, key: str, ca: str) -> ssl.SSLContext:
    """TLS 1.2 and later for a client that shows its certificate and checks the server's, name included.

    Raises:
        OSError: a file is missing or none of its kind (`ssl.SSLError`).
    """
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    return context
