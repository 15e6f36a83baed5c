"""A study by its accession number from a peer: C-FIND and C-GET (PS3.4 annex C), or QIDO-RS and WADO-RS.

Only series of images that are drawn on are fetched. Where the peer answers more than it was asked for (some ignore a
key that they do not know), what it says is held against the question.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydicom import Dataset
from pynetdicom import build_role, evt
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
)

from contour.core.errors import ConfigError, InputRefused, Reason
from contour.dicom.series import ReadLimits
from contour.services.node.receive import (
    STORAGE_CLASSES,
    TRANSFER_SYNTAXES,
    Incoming,
    Refused,
    file_meta,
    incoming_file,
)
from contour.services.node.send import tls_arguments, user_ae
from contour.services.node.settings import NodeSettings, Peer, RouteModality, WebPeer
from contour.services.node.trouble import NotGiven, NotReached
from contour.services.node.web import instances_on_web, series_on_web, studies_on_web

MOST_ANSWERS = 1000
_PENDING = (0xFF00, 0xFF01)

Take = Callable[[Incoming], None]  # raises `Refused` or OSError for what it does not take


@dataclass(frozen=True)
class Fetched:
    """What came: studies, series and instances."""

    studies: int
    series: int
    instances: int


def fetch(accession_number: str, peer_name: str, settings: NodeSettings, take: Take) -> Fetched:
    """Have the images of a study given by the peer of that name, each handed to `take` as it comes.

    Raises:
        ConfigError: there is no such peer, it may not be asked, or the number could not be one.
        InputRefused: the peer has no such study, or no images of it that are drawn on.
        NotReached: it does not answer.
        NotGiven: it does not give all, or something was not taken.
    """
    peer = settings.peer(peer_name)
    if peer is None or not peer.answers:
        found = "is no peer" if peer is None else "may not be asked (answers: false)"
        raise ConfigError(f"peer {peer_name}", found, "a peer with answers: true")
    # PS3.5 6.2, SH; * and ? would ask for others' studies, too.
    if (
        not 1 <= len(accession_number) <= 16
        or set(accession_number) & set("*?\\")
        or not accession_number.isprintable()
    ):
        raise ConfigError("accession number", "wildcards, or a length that none has", "1 to 16 characters")
    if isinstance(peer, WebPeer):
        return _from_web(accession_number, peer, take)
    return _from_dicom(accession_number, peer, settings, take)


def question_contexts() -> list[PresentationContext]:
    """What is negotiated to ask for a study and be given it."""
    found = [build_context(StudyRootQueryRetrieveInformationModelFind)]
    found.append(build_context(StudyRootQueryRetrieveInformationModelGet))
    return found + [build_context(one, [syntax]) for one in STORAGE_CLASSES for syntax in TRANSFER_SYNTAXES]


# -- DICOMweb --------------------------------------------------------------------------------------------------------


def _from_web(accession_number: str, peer: WebPeer, take: Take) -> Fetched:
    studies = studies_on_web(peer, accession_number)
    series = [(study, one) for study in studies for m in RouteModality for one in series_on_web(peer, study, m)]
    _require(series, peer.name)
    count = 0
    for study, one in series:
        for content in instances_on_web(peer, study, one):
            _hand_over(content, take, peer.name)
            count += 1
    return Fetched(len(studies), len(series), count)


# -- DICOM -----------------------------------------------------------------------------------------------------------


def _from_dicom(accession_number: str, peer: Peer, settings: NodeSettings, take: Take) -> Fetched:
    taking = _Taking(take, peer.name)
    association = user_ae(settings).associate(
        peer.host,
        peer.port,
        question_contexts(),
        ae_title=peer.ae_title,
        ext_neg=[build_role(one, scp_role=True) for one in STORAGE_CLASSES],
        evt_handlers=[(evt.EVT_C_STORE, taking.store)],
        tls_args=tls_arguments(peer, settings),
    )
    if not association.is_established:
        raise NotReached(f"{peer.name} {'rejects the association' if association.is_rejected else 'is not reached'}")
    try:
        studies = _studies(association, accession_number, peer.name)
        series = [(study, one) for study in studies for one in _series(association, study, peer.name)]
        _require(series, peer.name)
        for study, one in series:
            _get(association, study, one, taking)
    finally:
        association.release() if association.is_established else association.abort()
    return Fetched(len(studies), len(series), taking.count)


class _Taking:
    """Takes what C-GET brings; remembers what was not taken."""

    def __init__(self, take: Take, peer_name: str) -> None:
        self._take, self._peer_name = take, peer_name
        self.count = 0
        self.trouble: NotGiven | None = None

    def store(self, event: evt.Event) -> int:
        request = event.request
        uids = str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID)
        incoming = Incoming(file_meta(*uids, str(event.context.transfer_syntax)), request.DataSet.getbuffer())
        try:
            _hand_over(incoming, self._take, self._peer_name)
        except NotGiven as trouble:
            self.trouble = trouble
            return 0xA700
        self.count += 1
        return 0x0000


def _hand_over(incoming: Incoming | bytes, take: Take, peer_name: str) -> None:
    try:
        take(incoming_file(incoming, ReadLimits()) if isinstance(incoming, bytes) else incoming)
    except Refused as refused:
        raise NotGiven(f"{peer_name} gives what is not taken ({refused.comment})") from refused
    except OSError as error:
        raise NotGiven(f"what {peer_name} gives cannot be stored ({error.strerror})") from error


def _studies(association: Any, accession_number: str, peer_name: str) -> tuple[str, ...]:
    question = Dataset()
    question.QueryRetrieveLevel = "STUDY"
    question.AccessionNumber = accession_number
    question.StudyInstanceUID = ""
    found = _find(association, question, peer_name)
    return tuple(str(one.StudyInstanceUID) for one in found if one.get("AccessionNumber") == accession_number)


def _series(association: Any, study: str, peer_name: str) -> tuple[str, ...]:
    question = Dataset()
    question.QueryRetrieveLevel = "SERIES"
    question.StudyInstanceUID = study
    question.SeriesInstanceUID = ""
    question.Modality = ""
    found = _find(association, question, peer_name)
    return tuple(str(one.SeriesInstanceUID) for one in found if one.get("Modality") in list(RouteModality))


def _find(association: Any, question: Dataset, peer_name: str) -> list[Dataset]:
    answers = []
    for status, answer in association.send_c_find(question, StudyRootQueryRetrieveInformationModelFind):
        code = getattr(status, "Status", None)
        if code in _PENDING and answer is not None:
            answers.append(answer)
            if len(answers) > MOST_ANSWERS:
                raise NotGiven(f"{peer_name} answers with more than {MOST_ANSWERS} matches")
        elif code != 0x0000:
            raise NotGiven(f"{peer_name} does not answer C-FIND ({_shown(code)})")
    return answers


def _get(association: Any, study: str, series: str, taking: _Taking) -> None:
    question = Dataset()
    question.QueryRetrieveLevel = "SERIES"
    question.StudyInstanceUID = study
    question.SeriesInstanceUID = series
    code, failed = None, 0
    for status, _ in association.send_c_get(question, StudyRootQueryRetrieveInformationModelGet):
        code = getattr(status, "Status", None)
        failed = int(getattr(status, "NumberOfFailedSuboperations", None) or 0)
    if taking.trouble is not None:
        raise taking.trouble
    if code != 0x0000 or failed:
        raise NotGiven(f"the peer does not give all of a series ({_shown(code)}, {failed} instances failed)")


def _require(series: list[tuple[str, str]], peer_name: str) -> None:
    if not series:
        allowed = f"a study with series of {' or '.join(RouteModality)}"
        raise InputRefused(Reason.NO_IMAGES, peer_name, "has no such images under that accession number", allowed)


def _shown(code: int | None) -> str:
    return "no status" if code is None else f"status {code:04X}"
