"""Instances that come are brought to the disk, or refused with a status: PS3.4 B.2.3, PS3.7 annex C.

What was acknowledged with 0000 is on the disk. Statuses that refuse:

====  ==========================================================================================
A700  the disk is nearly full, or the series is larger than allowed
A900  the data set is another instance, or of another class, than the request says
0117  a UID that is none (1 to 64 digits and periods)
C000  the data set cannot be followed: damaged, or no image
C111  the instance was stored before with other bytes: these are in quarantine, those stay
====  ==========================================================================================

B006 (elements discarded) answers what is no image that is drawn on, where a node takes that: nothing of it is kept.
"""

import logging
import re
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID
from pynetdicom.dsutils import encode_file_meta

from contour import __version__
from contour.core.keyed import Keyed
from contour.dicom.part10 import FileElements, elements_of, read_elements
from contour.dicom.release import sync_folder
from contour.dicom.series import ReadLimits
from contour.dicom.slice_header import CT_IMAGE_STORAGE, MR_IMAGE_STORAGE, WANTED, Tag, Values
from contour.dicom.uids import derived_uid
from contour.services.audit_trail import AuditEvent, AuditTrail
from contour.services.node.ledger import Ledger
from contour.services.node.metrics import NodeMetrics
from contour.services.node.settings import Caps
from contour.services.node.storage import Storage, sync_file

LOG = logging.getLogger(__name__)

SUCCESS, DISCARDED = 0x0000, 0xB006
OUT_OF_RESOURCES, MISMATCH, INVALID_UID, NOT_UNDERSTOOD, ALTERED = 0xA700, 0xA900, 0x0117, 0xC000, 0xC111

STORAGE_CLASSES = (CT_IMAGE_STORAGE, MR_IMAGE_STORAGE)
TRANSFER_SYNTAXES = (
    "1.2.840.10008.1.2.1",  # Explicit VR Little Endian
    "1.2.840.10008.1.2",  # Implicit VR Little Endian
    "1.2.840.10008.1.2.1.99",  # Deflated Explicit VR Little Endian
    "1.2.840.10008.1.2.2",  # Explicit VR Big Endian
    "1.2.840.10008.1.2.4.70",  # JPEG Lossless
    "1.2.840.10008.1.2.4.57",
    "1.2.840.10008.1.2.4.80",  # JPEG-LS
    "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.4.90",  # JPEG 2000
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.4.50",  # JPEG
    "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.5",  # RLE
)
IMPLEMENTATION_UID = derived_uid("contour", "implementation class")
IMPLEMENTATION_NAME = f"CONTOUR_{__version__}"[:16]

_UID = re.compile(r"[0-9.]{1,64}")


@dataclass(frozen=True)
class Sender:
    """Who sends to whom, in an association or from a folder."""

    calling: str
    called: str


@dataclass(frozen=True)
class Incoming:
    """An instance on its way to the disk: its data set as it came, after the file meta information."""

    meta: FileMetaDataset
    content: memoryview


@dataclass
class Receiving:
    """A series that something came of: what is there, who sends to it now, and when the last of it came.

    `fresh` says that something came, or came again, since it was last decided upon.
    """

    sender: Sender
    names: set[str] = field(default_factory=set)
    bytes: int = 0
    open: set[object] = field(default_factory=set)
    last_s: float = field(default_factory=time.monotonic)
    fresh: bool = True


@dataclass(frozen=True)
class Quiet:
    """A series that nobody sends to now, and of which nothing came for `idle_s` seconds."""

    series: str
    sender: Sender
    names: frozenset[str]
    idle_s: float


class Refused(Exception):
    """An instance that is not taken: the status for its sender, and a comment without any identity."""

    def __init__(self, status: int, comment: str) -> None:
        super().__init__(comment)
        self.status = status
        self.comment = comment


class Receiver:
    """Takes instances to the disk, whoever brings them: associations, a watched folder, a fetch.

    `series` holds what came, by keyed hash; it is used under `lock`.
    """

    def __init__(
        self, storage: Storage, ledger: Ledger, keyed: Keyed, trail: AuditTrail, caps: Caps, metrics: NodeMetrics
    ) -> None:
        self._storage, self._ledger, self._keyed, self._trail = storage, ledger, keyed, trail
        self._caps, self._metrics = caps, metrics
        self._limits = ReadLimits(max_file_bytes=caps.instance_bytes)
        self.lock = threading.RLock()
        self.series: dict[str, Receiving] = {}
        self._series_of: dict[str, str] = {}  # instance and sender -> series
        self._take_up()

    def _take_up(self) -> None:
        """What was there before this start; its time begins anew."""
        for series, stored in self._storage.scan().items():
            entry = self._ledger.entry(series)
            if entry is None:  # a folder was made, and nothing recorded yet: nothing of it was acknowledged
                if not stored.names:
                    self._storage.remove_series(series)
                    continue
                raise OSError(f"{self._storage.incoming / series}: files of a series that the ledger does not know")
            self.series[series] = Receiving(Sender(entry.calling, entry.called), set(stored.names), stored.bytes)
            self._series_of.update((name, series) for name in stored.names)

    # -- one instance --------------------------------------------------------------------------------------------------

    def store(self, incoming: Incoming, sender: Sender, association: object) -> str:
        """Takes an instance to the disk; the series that it belongs to.

        Raises:
            Refused: it must not be taken.
            OSError: the disk.
        """
        if self._storage.free_bytes() < self._caps.free_bytes + len(incoming.content):
            raise Refused(OUT_OF_RESOURCES, "the disk is nearly full")
        if len(incoming.content) > self._caps.instance_bytes:
            raise Refused(OUT_OF_RESOURCES, "the instance is larger than allowed")
        uid = str(incoming.meta.MediaStorageSOPInstanceUID)
        if not _UID.fullmatch(uid):
            raise Refused(INVALID_UID, "SOP Instance UID is none")
        name = self._keyed.name("instance", sender.calling, sender.called, uid)
        series, part = self._write(incoming, sender, name)
        try:
            self._open(series, sender, association)
            return self._keep(part, series, name, incoming)
        finally:
            part.unlink(missing_ok=True)

    def _write(self, incoming: Incoming, sender: Sender, name: str) -> tuple[str, Path]:
        part = self._storage.write_part(name, (file_head(incoming), incoming.content))
        try:
            elements = read_elements(part, name, WANTED, self._limits.max_header_bytes)
            return self._keyed.name("series", sender.calling, sender.called, *_checked(elements, incoming)), part
        except Refused:
            part.unlink(missing_ok=True)
            raise

    def _open(self, series: str, sender: Sender, association: object) -> None:
        """Notes that an association has begun to send of a series, before anything of it is acknowledged."""
        with self.lock:
            known = self.series.get(series)
            if known is not None and association in known.open:
                return
            self._ledger.touched(series, sender.calling, sender.called)
            self.series.setdefault(series, Receiving(sender)).open.add(association)

    def _keep(self, part: Path, series: str, name: str, incoming: Incoming) -> str:
        sync_file(part)
        target = self._storage.instance(series, name)
        folder = self._storage.series_folder(series)
        size = part.stat().st_size
        with self.lock:
            receiving = self.series[series]
            receiving.last_s, receiving.fresh = time.monotonic(), True
            elsewhere = self._series_of.get(name, series)
            known = name in receiving.names
            if not known and elsewhere == series:
                if len(receiving.names) >= self._caps.series_instances:
                    raise Refused(OUT_OF_RESOURCES, "the series has more instances than allowed")
                if receiving.bytes + size > self._caps.series_bytes:
                    raise Refused(OUT_OF_RESOURCES, "the series is larger than allowed")
                part.replace(target)
                receiving.names.add(name)
                receiving.bytes += size
                self._series_of[name] = series
        if elsewhere != series:
            self._quarantine(part, series, name, "in another series")
        if known and not _same_bytes(target, incoming, self._limits):
            self._quarantine(part, series, name, "with other bytes")
        sync_folder(folder)
        self._metrics.instance("again" if known else "stored", 0 if known else size)
        return series

    def _quarantine(self, part: Path, series: str, name: str, how: str) -> None:
        file = self._storage.set_aside(part, series, name)
        sender = self.series[series].sender.calling
        LOG.warning("series %s: instance %s came again %s; quarantined", series, name, how)
        self._trail.append(AuditEvent("quarantined", sender, name, {"series": series, "how": how, "file": file.name}))
        self._metrics.instance("quarantined")
        raise Refused(ALTERED, f"the instance was stored before {how}")

    # -- associations --------------------------------------------------------------------------------------------------

    def end(self, association: object, *, released: bool) -> None:
        """An association has ended. `released`: its sender has sent all that it meant to (PS3.8 7.2)."""
        with self.lock:
            ended = [name for name, one in self.series.items() if association in one.open]
            for name in ended:
                self.series[name].open.discard(association)
                self.series[name].last_s = time.monotonic()
            whole = tuple(name for name in ended if not self.series[name].open)
            if released and whole:
                self._ledger.released(whole)

    # -- what came -----------------------------------------------------------------------------------------------------

    def quiet(self, seconds: float) -> tuple[Quiet, ...]:
        """The fresh series of which nothing came for so long."""
        now = time.monotonic()
        with self.lock:
            return tuple(
                Quiet(name, one.sender, frozenset(one.names), now - one.last_s)
                for name, one in self.series.items()
                if one.fresh and one.names and not one.open and now - one.last_s >= seconds
            )

    def decided(self, quiet: Quiet) -> None:
        """A series was decided upon as it was then: it is fresh again when more comes, or came meanwhile."""
        with self.lock:
            now = self.series.get(quiet.series)
            if now is not None and not now.open and now.names == quiet.names:
                now.fresh = False

    def waiting(self) -> int:
        """How many series are not decided upon."""
        with self.lock:
            return sum(1 for one in self.series.values() if one.fresh)

    def forget(self, series: str) -> bool:
        """Deletes a series that nobody sends to, with its files; whether it was."""
        with self.lock:
            receiving = self.series.get(series)
            if receiving is not None and receiving.open:
                return False
            self._ledger.forget(series)
            self._storage.remove_series(series)
            for name in receiving.names if receiving else ():
                self._series_of.pop(name, None)
            self.series.pop(series, None)
            return True


def _checked(elements: FileElements | None, incoming: Incoming) -> tuple[str, str]:
    """(study, series) UIDs of what was written.

    Raises:
        Refused: it is damaged, its UIDs are none, or it is not what the request calls it.
    """
    if elements is None or elements.problem is not None:
        reason = elements.problem.reason if elements and elements.problem else "no data set"
        raise Refused(NOT_UNDERSTOOD, f"the data set cannot be followed ({reason})")
    values = Values(elements)
    uids = [values.text(t) for t in (Tag.SOP_INSTANCE_UID, Tag.STUDY_INSTANCE_UID, Tag.SERIES_INSTANCE_UID)]
    if not all(_UID.fullmatch(uid) for uid in uids):
        raise Refused(INVALID_UID, "a UID of the data set is none")
    stated = (str(incoming.meta.MediaStorageSOPClassUID), str(incoming.meta.MediaStorageSOPInstanceUID))
    if stated != (values.text(Tag.SOP_CLASS_UID), uids[0]):
        raise Refused(MISMATCH, "the data set is another instance than the request says")
    return uids[1], uids[2]


def _same_bytes(file: Path, incoming: Incoming, limits: ReadLimits) -> bool:
    """Whether a file holds this data set, in this transfer syntax; its meta information may be another program's."""
    elements = read_elements(file, file.name, WANTED, limits.max_header_bytes)
    if elements is None or elements.syntax.uid != str(incoming.meta.TransferSyntaxUID):
        return False
    if elements.file_bytes - elements.data_set_start != len(incoming.content):
        return False
    with file.open("rb") as stream:
        stream.seek(elements.data_set_start)
        return bool(stream.read() == incoming.content)


def incoming_file(content: bytes, limits: ReadLimits) -> Incoming:
    """A DICOM file (PS3.10) as if its data set had come alone.

    Raises:
        Refused: it is none, or no image that is drawn on.
    """
    elements = elements_of(content, "file", WANTED, limits.max_header_bytes)
    if elements is None or elements.problem is not None:
        raise Refused(NOT_UNDERSTOOD, "no whole DICOM file")
    values = Values(elements)
    if values.text(Tag.SOP_CLASS_UID) not in STORAGE_CLASSES or elements.syntax.uid not in TRANSFER_SYNTAXES:
        raise Refused(MISMATCH, "no image that is drawn on")
    meta = file_meta(values.text(Tag.SOP_CLASS_UID), values.text(Tag.SOP_INSTANCE_UID), elements.syntax.uid)
    return Incoming(meta, memoryview(content)[elements.data_set_start :])


def file_head(incoming: Incoming) -> bytes:
    """What stands before the data set of an instance's file: PS3.10 7.1."""
    return b"\0" * 128 + b"DICM" + bytes(encode_file_meta(incoming.meta))


def file_meta(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> FileMetaDataset:
    """The file meta information of an instance that is written here: PS3.10 7.1."""
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\0\1"
    meta.MediaStorageSOPClassUID = UID(sop_class_uid)
    meta.MediaStorageSOPInstanceUID = UID(sop_instance_uid)
    meta.TransferSyntaxUID = UID(transfer_syntax_uid)
    meta.ImplementationClassUID = UID(IMPLEMENTATION_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_NAME
    return meta
