"""A structure set to its destination: C-STORE as user (PS3.4 annex B), or STOW-RS (PS3.18 10.5)."""

import logging
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE, _config
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import Verification

from contour.core.errors import ConfigError
from contour.services.node.receive import IMPLEMENTATION_NAME, IMPLEMENTATION_UID
from contour.services.node.settings import NodeSettings, Peer, WebPeer
from contour.services.node.transport import client_tls
from contour.services.node.trouble import NotReached, NotTaken
from contour.services.node.web import store_on_web

LOG = logging.getLogger(__name__)

# PS3.4 B.2.3: stored, though the peer changed or ignored something.
WARNINGS = frozenset({0xB000, 0xB006, 0xB007})
TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True)
class Sent:
    """An instance that a destination has: its SOP Instance UID, and what the destination said about it."""

    sop_instance_uid: str
    note: str = ""


def send(file: Path, destination: str, settings: NodeSettings) -> Sent:
    """Send a DICOM file to the peer of that name; sent again, it is the same instance there.

    Raises:
        ConfigError: there is no such peer, or it may not receive.
        NotReached: it does not answer.
        NotTaken: it does not take the file.
        OSError: the file or a certificate cannot be read.
    """
    peer = settings.peer(destination)
    if peer is None or not peer.receives:
        found = "is no peer" if peer is None else "may not receive (receives: false)"
        raise ConfigError(f"destination {destination}", found, "a peer with receives: true")
    uid = str(dcmread(file, specific_tags=["SOPInstanceUID"]).SOPInstanceUID)
    if isinstance(peer, WebPeer):
        return Sent(uid, store_on_web(file, peer))
    return Sent(uid, _store(file, peer, settings))


def user_ae(settings: NodeSettings) -> AE:
    """This node as it calls others."""
    # Its handlers for logs would print identifiers.
    _config.LOG_HANDLER_LEVEL = "none"
    logging.getLogger("pynetdicom").setLevel(logging.ERROR)
    ae = AE(settings.listen.ae_titles[0])
    ae.implementation_class_uid, ae.implementation_version_name = IMPLEMENTATION_UID, IMPLEMENTATION_NAME
    ae.maximum_pdu_size = settings.caps.pdu_bytes
    ae.connection_timeout = ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = TIMEOUT_SECONDS
    return ae


def tls_arguments(peer: Peer, settings: NodeSettings) -> tuple[object, str] | None:
    """The context and name for a peer that speaks TLS.

    Raises:
        ConfigError: the node has no certificate.
        OSError: it cannot be read.
    """
    if not peer.tls:
        return None
    tls = settings.listen.tls
    if tls is None:
        raise ConfigError(f"peer {peer.name}", "tls: true, but the node has no certificate", "listen.tls")
    return client_tls(tls.certificate, tls.key, tls.ca), peer.host


def echo(peer: Peer, settings: NodeSettings) -> None:
    """C-ECHO.

    Raises:
        NotReached: no answer.
    """
    ae = user_ae(settings)
    contexts = [build_context(Verification)]
    association = ae.associate(
        peer.host, peer.port, contexts, ae_title=peer.ae_title, tls_args=tls_arguments(peer, settings)
    )
    try:
        if not association.is_established:
            raise NotReached(f"{peer.name} does not associate")
        if getattr(association.send_c_echo(), "Status", None) != 0:
            raise NotReached(f"{peer.name} does not answer C-ECHO")
    finally:
        association.release() if association.is_established else association.abort()


def _store(file: Path, peer: Peer, settings: NodeSettings) -> str:
    # The bytes of the file as they are, which were proven; nothing is decoded and encoded again.
    _config.STORE_SEND_CHUNKED_DATASET = True
    meta = dcmread(file, specific_tags=["SOPClassUID"]).file_meta
    if meta.TransferSyntaxUID != ImplicitVRLittleEndian:
        raise ConfigError(str(file), f"transfer syntax {meta.TransferSyntaxUID.name}", "Implicit VR Little Endian")
    contexts = [build_context(meta.MediaStorageSOPClassUID, [ImplicitVRLittleEndian])]
    association = user_ae(settings).associate(
        peer.host, peer.port, contexts, ae_title=peer.ae_title, tls_args=tls_arguments(peer, settings)
    )
    if not association.is_established:
        how = "rejects the association" if association.is_rejected else "is not reached"
        raise NotReached(f"{peer.name} {how}")
    try:
        if not association.accepted_contexts:
            raise NotTaken(f"{peer.name} takes no structure sets in Implicit VR Little Endian")
        status = getattr(association.send_c_store(file), "Status", None)
    finally:
        association.release() if association.is_established else association.abort()
    if status is None:
        raise NotReached(f"{peer.name} ended the association without an answer")
    if status != 0 and status not in WARNINGS:
        raise NotTaken(f"{peer.name} answers status {status:04X}")
    return f"stored with warning {status:04X}" if status else ""
