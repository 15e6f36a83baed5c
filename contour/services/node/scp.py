"""C-ECHO and C-STORE as provider: PS3.4 annexes A and B, PS3.7 9.1.1 and 9.1.5; who may associate: PS3.8 7.1."""

import ipaddress
import logging
import socket
import threading
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, _config, evt
from pynetdicom.pdu import A_RELEASE_RQ
from pynetdicom.presentation import AllStoragePresentationContexts, PresentationContext, build_context
from pynetdicom.sop_class import Verification

from contour.services.audit_trail import AuditTrail
from contour.services.node.metrics import NodeMetrics
from contour.services.node.receive import (
    DISCARDED,
    IMPLEMENTATION_NAME,
    IMPLEMENTATION_UID,
    OUT_OF_RESOURCES,
    STORAGE_CLASSES,
    SUCCESS,
    TRANSFER_SYNTAXES,
    Incoming,
    Receiver,
    Refused,
    Sender,
    file_meta,
)
from contour.services.node.settings import NodeSettings, Others, Peer
from contour.services.node.transport import HANDSHAKE_SECONDS, BoundedServer, server_tls

LOG = logging.getLogger(__name__)

GRACE_SECONDS = 5.0
_REJECT_CALLING = (0x01, 0x01, 0x03)  # permanent, by the user, calling AE title not recognised: PS3.8 9.3.4


def accepted_contexts(others: Others) -> list[PresentationContext]:
    """What the node takes: C-ECHO, images that are drawn on, and, if so told, any other standard object."""
    contexts = [build_context(Verification)]
    contexts += [build_context(sop_class, list(TRANSFER_SYNTAXES)) for sop_class in STORAGE_CLASSES]
    if others is Others.DISCARD:
        beside = (one.abstract_syntax for one in AllStoragePresentationContexts)
        contexts += [build_context(uid, list(ALL_TRANSFER_SYNTAXES)) for uid in beside if uid not in STORAGE_CLASSES]
    return contexts


class Provider:
    """Listens for associations, and hands what they bring to the receiver."""

    def __init__(self, settings: NodeSettings, receiver: Receiver, trail: AuditTrail, metrics: NodeMetrics) -> None:
        self._settings, self._receiver, self._trail, self._metrics = settings, receiver, trail, metrics
        self._lock = threading.Lock()
        self._associations: set[Any] = set()
        self._storing: set[Any] = set()
        self._server: BoundedServer | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port that it listens on."""
        if self._server is None:
            raise RuntimeError("the provider does not listen")
        return int(self._server.server_address[1])

    @property
    def alive(self) -> bool:
        """Whether it listens."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Listen, in a thread of its own.

        Raises:
            OSError: the address or port cannot be had, or a certificate cannot be read.
        """
        # Its handlers for logs would print what associations carry.
        _config.LOG_HANDLER_LEVEL = "none"
        logging.getLogger("pynetdicom").setLevel(logging.ERROR)
        listen, caps = self._settings.listen, self._settings.caps
        ae = AE(listen.ae_titles[0])
        ae.implementation_class_uid, ae.implementation_version_name = IMPLEMENTATION_UID, IMPLEMENTATION_NAME
        ae.maximum_pdu_size = caps.pdu_bytes
        ae.maximum_associations = caps.associations
        ae.network_timeout = ae.dimse_timeout = caps.idle_seconds
        ae.acse_timeout = min(HANDSHAKE_SECONDS, caps.idle_seconds)  # who connects and says nothing takes a place
        ae.require_called_aet = True
        contexts = accepted_contexts(listen.others)
        tls = server_tls(listen.tls.certificate, listen.tls.key, listen.tls.ca) if listen.tls else None
        self._server = BoundedServer(
            ae,
            (listen.address, listen.port),
            listen.ae_titles[0],
            contexts,
            evt_handlers=[
                (evt.EVT_REQUESTED, self._requested),
                (evt.EVT_REJECTED, self._rejected),
                (evt.EVT_ESTABLISHED, self._established),
                (evt.EVT_C_ECHO, self._echo),
                (evt.EVT_C_STORE, self._store),
                (evt.EVT_PDU_RECV, self._pdu),
            ],
            caps=caps,
            tls=tls,
        )
        ae._servers.append(self._server)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="listener", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Take no new associations, let those there are end, then abort them."""
        if self._server is not None:
            self._server.end(GRACE_SECONDS)
            self._server = None

    # -- what associations ask -----------------------------------------------------------------------------------------

    def _requested(self, event: evt.Event) -> None:
        """Before pynetdicom compares titles: which of ours was called, and does a peer call from its own address?"""
        association, request = event.assoc, event.assoc.requestor.primitive
        called = request.called_ae_title.strip()
        if called in self._settings.listen.ae_titles:
            association.acceptor.ae_title = called
        peer = self._settings.sender(request.calling_ae_title.strip())
        if peer is not None and _comes_from(peer, association.requestor.address):
            return
        known = "from an address that is not its own" if peer else "under an AE title that may not send"
        LOG.warning("refused: %s calls %s", peer.name if peer else "somebody", known)
        self._metrics.association("rejected")
        association.acse.send_reject(*_REJECT_CALLING)
        association.is_rejected = True
        association.kill()

    def _rejected(self, event: evt.Event) -> None:
        LOG.warning("refused: an association whose called AE title is not ours, or one too many")
        self._metrics.association("rejected")

    def _established(self, event: evt.Event) -> None:
        with self._lock:
            self._associations.add(event.assoc)
        self._metrics.association("accepted")

    def _pdu(self, event: evt.Event) -> None:
        """A release is noted before it is answered: who was told so may forget what it sent."""
        association = event.assoc
        if isinstance(event.pdu, A_RELEASE_RQ) and association not in self._storing:
            self._receiver.end(association, released=association.dimse.msg_queue.empty())
            self._metrics.association("released")

    def _echo(self, event: evt.Event) -> int:
        event.assoc.dul.socket.taken = 0
        return SUCCESS

    def _store(self, event: evt.Event) -> int | Dataset:
        association, request = event.assoc, event.request
        if request.AffectedSOPClassUID not in STORAGE_CLASSES:
            association.dul.socket.taken = 0
            return _answer(DISCARDED, "not drawn on; nothing of it is kept", self._metrics, "discarded")
        with self._lock:
            self._storing.add(association)
        try:
            meta = file_meta(
                str(request.AffectedSOPClassUID),
                str(request.AffectedSOPInstanceUID),
                str(event.context.transfer_syntax),
            )
            self._receiver.store(Incoming(meta, request.DataSet.getbuffer()), _sender(association), association)
        except Refused as refused:
            LOG.warning("refused an instance of %s: %s", _sender(association).calling, refused.comment)
            return _answer(refused.status, refused.comment, self._metrics, "refused")
        except OSError as error:
            LOG.error("an instance of %s was not stored: %s", _sender(association).calling, error.strerror)
            return _answer(OUT_OF_RESOURCES, "the disk fails", self._metrics, "refused")
        finally:
            with self._lock:
                self._storing.discard(association)
            association.dul.socket.taken = 0
        return SUCCESS

    def sweep(self) -> None:
        """Notes the associations that ended by themselves: what they sent is not whole if they were not released."""
        with self._lock:
            ended = {one for one in self._associations if not one.is_alive()}
            self._associations -= ended
        for association in ended:
            self._receiver.end(association, released=False)
        self._metrics.open_associations(len(self._associations))


def _answer(status: int, comment: str, metrics: NodeMetrics, outcome: str) -> Dataset:
    """PS3.7 C: the status, and in the Error Comment what a person at the sender may read."""
    metrics.instance(outcome)
    response = Dataset()
    response.Status, response.ErrorComment = status, comment[:64]
    return response


def _sender(association: Any) -> Sender:
    request = association.requestor.primitive
    return Sender(request.calling_ae_title.strip(), request.called_ae_title.strip())


def _comes_from(peer: Peer, address: str) -> bool:
    """Whether an address is one that a peer may call from."""
    remote = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(remote, ipaddress.IPv6Address) and remote.ipv4_mapped is not None:
        remote = remote.ipv4_mapped
    if peer.addresses:
        return any(remote in ipaddress.ip_network(allowed) for allowed in peer.addresses)
    try:
        found = socket.getaddrinfo(peer.host, None)
    except OSError:
        LOG.warning("the host of %s is not known: nothing is taken from it", peer.name)
        return False
    return str(remote) in {str(entry[4][0]) for entry in found}
