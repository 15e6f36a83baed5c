"""DICOMweb as user: QIDO-RS, WADO-RS and STOW-RS (PS3.18 10), by the library dicomweb-client."""

import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread, dcmwrite

from contour.core.errors import ConfigError
from contour.services.node.settings import WebPeer
from contour.services.node.trouble import NotReached, NotTaken

TIMEOUT_SECONDS = (10.0, 120.0)  # to connect, to read


def store_on_web(file: Path, peer: WebPeer) -> str:
    """STOW-RS of a file; what the server noted.

    Raises:
        NotReached: it does not answer.
        NotTaken: it refuses the instance.
        OSError: the file or a certificate cannot be read.
    """
    content = dcmread(file)
    answer: Dataset = _ask(peer, lambda client: client.store_instances([content]))
    stored = {str(item.ReferencedSOPInstanceUID) for item in answer.get("ReferencedSOPSequence", [])}
    if str(content.SOPInstanceUID) not in stored:
        reasons = [f"{int(item.get('FailureReason', 0)):04X}" for item in answer.get("FailedSOPSequence", [])]
        raise NotTaken(f"{peer.name} did not store it ({', '.join(reasons) or 'no reason given'})")
    return ""


def studies_on_web(peer: WebPeer, accession_number: str) -> tuple[str, ...]:
    """QIDO-RS: the Study Instance UIDs of an accession number.

    Raises:
        NotReached: the server does not answer.
    """
    filters = {"AccessionNumber": accession_number}
    found = _ask(peer, lambda client: client.search_for_studies(search_filters=filters, fields=["AccessionNumber"]))
    exact = (one for one in found if _value(one, "00080050") == accession_number)
    return tuple(uid for one in exact if (uid := _value(one, "0020000D")))


def series_on_web(peer: WebPeer, study_uid: str, modality: str) -> tuple[str, ...]:
    """QIDO-RS: the Series Instance UIDs of a study's series of a modality.

    Raises:
        NotReached: the server does not answer.
    """
    filters = {"Modality": modality}
    found = _ask(peer, lambda client: client.search_for_series(study_uid, search_filters=filters))
    exact = (one for one in found if _value(one, "00080060") == modality)
    return tuple(uid for one in exact if (uid := _value(one, "0020000E")))


def instances_on_web(peer: WebPeer, study_uid: str, series_uid: str) -> Iterator[bytes]:
    """WADO-RS: the instances of a series as DICOM files, one after the other.

    Raises:
        NotReached: the server does not answer.
    """
    datasets = _ask(peer, lambda client: iter(client.iter_series(study_uid, series_uid)))
    while True:
        dataset = _ask(peer, lambda _: next(datasets, None))
        if dataset is None:
            return
        buffer = io.BytesIO()
        dcmwrite(buffer, dataset)
        yield buffer.getvalue()


def _ask(peer: WebPeer, question: Any) -> Any:
    """The answer of a server.

    Raises:
        NotReached: it does not answer, or not as it should.
    """
    import requests  # noqa: PLC0415 - comes with the library

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they may quote values
            return question(_client(peer))
    except requests.RequestException as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        how = f"answers HTTP {status}" if status else f"is not reached ({type(error).__name__})"
        raise NotReached(f"{peer.name} {how}") from None


def _client(peer: WebPeer) -> Any:
    import requests  # noqa: PLC0415 - comes with the library
    from dicomweb_client import DICOMwebClient  # noqa: PLC0415 - slow to import

    logging.getLogger("dicomweb_client").setLevel(logging.CRITICAL)  # it logs UIDs and what a server says
    session = requests.Session()
    session.trust_env = False  # neither proxies nor passwords from the surroundings
    if peer.ca:
        session.verify = peer.ca
    if peer.certificate:
        session.cert = (peer.certificate, peer.key) if peer.key else peer.certificate
    if peer.token_file:
        token = Path(peer.token_file).read_text(encoding="utf-8").strip()
        if not token.isprintable() or not token:
            raise ConfigError(peer.token_file, "holds no token", "one line of printable characters")
        session.headers["Authorization"] = f"Bearer {token}"
    client = DICOMwebClient(peer.url.rstrip("/"), session=session, timeout=TIMEOUT_SECONDS)
    client.set_http_retry_params(retry=False)  # what fails is tried again by who asked
    return client


def _value(found: dict[str, Any], tag: str) -> str:
    """The first value of an attribute in the DICOM JSON model: PS3.18 F.2."""
    values = found.get(tag, {}).get("Value") or [""]
    return str(values[0])
