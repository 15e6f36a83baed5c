"""The node in this process, with pynetdicom as the sender and a stand-in for what draws."""

import json
import socket
import struct
import threading
import time
import urllib.request
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from node_in_process import StandIn, close_sockets, node_here
from node_peers import copied, listens, node_settings, wait_until
from phantoms import ct_series
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import CTImageStorage, RTStructureSetStorage, Verification

from contour.core.errors import ConfigError
from contour.core.keyed import load_secret
from contour.services.audit_trail import verify
from contour.services.node.node import Node
from contour.services.node.settings import (
    Completion,
    NodeSettings,
    Peer,
    Retention,
    Route,
    RouteModality,
    WatchedFolder,
)

KAZAKH_NAME = "Әлия^Серікқызы"
pytestmark = pytest.mark.usefixtures(close_sockets.__name__)

ROUTE = Route("all", "tiny", ("tps",))


@pytest.fixture
def settings(tmp_path: Path) -> NodeSettings:
    return node_settings(tmp_path, routes=(ROUTE,))


@pytest.fixture
def series(tmp_path: Path) -> Path:
    return ct_series(tmp_path / "ct")[0].parent


def connect(port: int, calling: str = "SENDER", called: str = "CONTOUR") -> object:
    ae = AE(calling)
    contexts = [build_context(Verification), build_context(CTImageStorage), build_context(RTStructureSetStorage)]
    return ae.associate("127.0.0.1", port, contexts, ae_title=called)


def send(
    port: int, folder: Path, only: tuple[int, ...] = (), *, end: str = "release", calling: str = "SENDER"
) -> list[int]:
    """The status of each file, in the order of their names; of all or only some of them."""
    association = connect(port, calling)
    assert association.is_established
    files = sorted(folder.iterdir())
    chosen = [files[index] for index in only] or files
    statuses = [association.send_c_store(pydicom.dcmread(file)).Status for file in chosen]
    association.release() if end == "release" else association.abort()
    return statuses


def outcomes(settings: NodeSettings) -> list[tuple[str, dict[str, str]]]:
    """What the trail says became of series."""
    lines = map(json.loads, settings.audit_path.read_text(encoding="utf-8").splitlines())
    return [(line["what"], line["details"]) for line in lines if line["what"] not in ("started", "stopped")]


def stored(settings: NodeSettings) -> list[Path]:
    return sorted((settings.folder / "incoming").rglob("*.dcm"))


# -- what is taken -----------------------------------------------------------------------------------------------------


def test_echo_is_answered(settings: NodeSettings) -> None:
    with node_here(settings) as here:
        association = connect(here.port)
        assert association.send_c_echo().Status == 0
        association.release()


def test_a_series_is_stored_as_it_came_and_drawn_once(settings: NodeSettings, series: Path) -> None:
    with node_here(settings) as here:
        assert send(here.port, series) == [0] * 6
        wait_until(lambda: here.inbox.accepted)
        wait_until(lambda: [what for what, _ in outcomes(settings)] == ["accepted", "drawn", "sent"])
    (source, route), *others = here.inbox.accepted
    assert not others
    assert route == "all"
    datasets = [pydicom.dcmread(file) for file in source.files]
    originals = {d.SOPInstanceUID: d for d in map(pydicom.dcmread, series.iterdir())}
    assert all(dataset == originals[dataset.SOPInstanceUID] for dataset in datasets)
    assert len(datasets) == 6
    assert verify(settings.audit_path, load_secret(settings.secret_path)) == ()


def test_the_same_again_is_a_success_and_nothing_new(settings: NodeSettings, series: Path) -> None:
    with node_here(settings) as here:
        assert send(here.port, series) == [0] * 6
        wait_until(lambda: here.inbox.accepted)
        assert send(here.port, series) == [0] * 6
        time.sleep(1.0)
        assert len(here.inbox.accepted) == 1
        assert len(stored(settings)) == 6
        assert here.node.health().waiting_series == 0


def test_an_altered_instance_is_quarantined_and_reported(settings: NodeSettings, series: Path, tmp_path: Path) -> None:
    def alter(dataset: Dataset) -> None:
        dataset.PixelData = bytes(len(dataset.PixelData))

    altered = copied(series, tmp_path / "altered", alter, slice(0, 1))
    with node_here(settings) as here:
        assert send(here.port, series) == [0] * 6
        before = [file.read_bytes() for file in stored(settings)]
        assert send(here.port, altered) == [0xC111]
        assert [file.read_bytes() for file in stored(settings)] == before
        (kept,) = (settings.folder / "quarantine").rglob("*.dcm")
        assert not any(pydicom.dcmread(kept).PixelData)
        assert "quarantined" in [what for what, _ in outcomes(settings)]


def test_an_instance_in_another_series_is_quarantined(settings: NodeSettings, series: Path, tmp_path: Path) -> None:
    def move(dataset: Dataset) -> None:
        dataset.SeriesInstanceUID = "2.25.4711"

    with node_here(settings) as here:
        assert send(here.port, series) == [0] * 6
        assert send(here.port, copied(series, tmp_path / "moved", move, slice(0, 2))) == [0xC111] * 2
        assert len(list((settings.folder / "quarantine").rglob("*.dcm"))) == 2


def test_a_uid_that_is_none_is_refused(settings: NodeSettings, series: Path) -> None:
    with node_here(settings) as here:
        association = connect(here.port)
        for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
            for uid in ("../../../etc/passwd", "1.2.3/../4", "", "1" * 65):
                dataset = pydicom.dcmread(min(series.iterdir()))
                affected = str(dataset.SOPInstanceUID)
                dataset[keyword].validation_mode = pydicom.config.IGNORE
                dataset[keyword]._value = uid
                assert raw_store(association, dataset, affected) == 0x0117
        assert raw_store(association, pydicom.dcmread(min(series.iterdir())), "../../1.2") == 0x0117
        assert stored(settings) == []
        association.release()


def raw_store(association: object, dataset: Dataset, affected_uid: str) -> int:
    """C-STORE that pynetdicom would not send: the request's UID is another than the data set's."""
    from io import BytesIO  # noqa: PLC0415

    from pynetdicom.dimse_primitives import C_STORE  # noqa: PLC0415
    from pynetdicom.dsutils import encode  # noqa: PLC0415

    context = next(c for c in association.accepted_contexts if c.abstract_syntax == CTImageStorage)
    request = C_STORE()
    request.MessageID = 7
    request.AffectedSOPClassUID = CTImageStorage
    request.AffectedSOPInstanceUID = affected_uid
    request.Priority = 2
    syntax = context.transfer_syntax[0]
    request.DataSet = BytesIO(encode(dataset, syntax.is_implicit_VR, syntax.is_little_endian))
    association._reactor_checkpoint.clear()
    association.dimse.send_msg(request, context.context_id)
    _, answer = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    return int(answer.Status)


def test_a_cut_data_set_is_refused(settings: NodeSettings, series: Path) -> None:
    with node_here(settings) as here:
        association = connect(here.port)
        dataset = pydicom.dcmread(min(series.iterdir()))
        del dataset.PixelData
        assert association.send_c_store(dataset).Status == 0xC000
        assert stored(settings) == []
        assert list((settings.folder / "arriving").iterdir()) == []
        association.release()


# -- who may -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("calling", "called"), [("NOBODY", "CONTOUR"), ("SENDER", "OTHER")])
def test_an_unknown_title_is_rejected(settings: NodeSettings, calling: str, called: str) -> None:
    with node_here(settings) as here:
        association = connect(here.port, calling, called)
        assert association.is_rejected
        assert association.acceptor.primitive.diagnostic == (3 if calling == "NOBODY" else 7)


def test_each_of_several_titles_is_answered(settings: NodeSettings) -> None:
    listen = replace(settings.listen, ae_titles=("CONTOUR", "LUNG"))
    with node_here(replace(settings, listen=listen)) as here:
        for called in ("CONTOUR", "LUNG"):
            association = connect(here.port, called=called)
            assert association.is_established
            association.release()


def test_a_known_title_from_another_address_is_rejected(settings: NodeSettings) -> None:
    peer = Peer("sender", "SENDER", addresses=("192.0.2.0/24",), sends=True)
    with node_here(replace(settings, peers=(peer,))) as here:
        assert connect(here.port).is_rejected


def test_no_sender_is_allowed_by_default(settings: NodeSettings) -> None:
    with node_here(replace(settings, peers=())) as here:
        assert connect(here.port).is_rejected


def test_only_images_are_taken(settings: NodeSettings) -> None:
    with node_here(settings) as here:
        association = connect(here.port)
        assert RTStructureSetStorage not in {c.abstract_syntax for c in association.accepted_contexts}
        association.release()


def test_one_association_too_many_is_rejected(settings: NodeSettings) -> None:
    caps = replace(settings.caps, associations=2)
    with node_here(replace(settings, caps=caps)) as here:
        open_ones = [connect(here.port) for _ in range(2)]
        assert all(one.is_established for one in open_ones)
        assert connect(here.port).is_rejected
        for one in open_ones:
            one.release()


# -- caps --------------------------------------------------------------------------------------------------------------


def test_a_nearly_full_disk_refuses_and_leaves_nothing(settings: NodeSettings, series: Path) -> None:
    full = replace(settings, caps=replace(settings.caps, free_bytes=1 << 60))
    with node_here(full) as here:
        assert send(here.port, series) == [0xA700] * 6
        assert stored(settings) == []
        assert "the disk is nearly full: images are refused" in here.node.health().problems


@pytest.mark.parametrize(
    ("caps", "taken"), [({"series_instances": 4}, 4), ({"series_bytes": 6000}, 2), ({"instance_bytes": 100}, 0)]
)
def test_caps_of_a_series_and_an_instance(
    settings: NodeSettings, series: Path, caps: dict[str, int], taken: int
) -> None:
    with node_here(replace(settings, caps=replace(settings.caps, **caps))) as here:
        statuses = send(here.port, series)
        assert statuses.count(0) == taken
        assert set(statuses) - {0} == {0xA700}
        assert len(stored(settings)) == taken


def test_a_pdu_that_claims_gigabytes_ends_the_connection(settings: NodeSettings) -> None:
    with node_here(settings) as here, socket.create_connection(("127.0.0.1", here.port), timeout=10) as client:
        client.sendall(struct.pack(">BBL", 0x01, 0, 0xFFFFFFF0) + bytes(100))
        assert client.recv(100) == b""


def test_a_message_beyond_the_cap_ends_the_association(settings: NodeSettings, series: Path) -> None:
    small = replace(settings, caps=replace(settings.caps, instance_bytes=200_000))
    with node_here(small) as here:
        association = connect(here.port)
        dataset = pydicom.dcmread(min(series.iterdir()))
        dataset.PixelData = bytes(2_000_000)
        assert "Status" not in association.send_c_store(dataset)
        wait_until(lambda: association.is_aborted or not association.is_alive())
        assert stored(settings) == []


# -- when a series is whole --------------------------------------------------------------------------------------------


def test_a_split_send_is_one_series(settings: NodeSettings, series: Path) -> None:
    with node_here(settings) as here:
        send(here.port, series, (0, 1, 3))
        time.sleep(1.0)
        assert here.inbox.accepted == []
        send(here.port, series, (2, 4, 5))
        wait_until(lambda: here.inbox.accepted)
        assert [len(files) for files in here.inbox.files] == [6]


def test_a_broken_association_makes_no_job_until_the_rest_comes(settings: NodeSettings, series: Path) -> None:
    with node_here(settings) as here:
        send(here.port, series, (0, 1, 2, 3), end="abort")  # whole in itself, and yet not all
        time.sleep(1.0)
        assert here.inbox.accepted == []
        send(here.port, series)
        wait_until(lambda: here.inbox.accepted)
        assert [len(files) for files in here.inbox.files] == [6]


def test_late_slices_make_a_new_version(settings: NodeSettings, series: Path) -> None:
    with node_here(settings) as here:
        send(here.port, series, (0, 1, 2, 3))
        wait_until(lambda: here.inbox.accepted)
        send(here.port, series, (4, 5))
        wait_until(lambda: len(here.inbox.accepted) == 2)
        assert [len(files) for files in here.inbox.files] == [4, 6]
        first, second = (source.files for source, _ in here.inbox.accepted)
        assert len(list(first[0].parent.iterdir())) == 4  # what the first job draws on stays as it was
        assert first[0].parent != second[0].parent
    assert [d["version"] for what, d in outcomes(settings) if what == "accepted"] == ["1", "2"]


def test_a_gap_is_waited_for_then_refused_and_a_late_slice_mends_it(settings: NodeSettings, series: Path) -> None:
    settings = replace(settings, completion=Completion(quiet_seconds=0.2, limit_seconds=1.0))
    with node_here(settings) as here:
        send(here.port, series, (0, 1, 2, 4, 5))
        wait_until(lambda: ("refused", "missing-slice") in [(w, d.get("reason")) for w, d in outcomes(settings)])
        assert here.inbox.accepted == []
        send(here.port, series, (3,))
        wait_until(lambda: here.inbox.accepted)
        assert [len(files) for files in here.inbox.files] == [6]


def test_what_was_never_released_is_refused_and_the_same_again_mends_it(settings: NodeSettings, series: Path) -> None:
    settings = replace(settings, completion=Completion(quiet_seconds=0.2, limit_seconds=0.6))
    with node_here(settings) as here:
        send(here.port, series, end="abort")
        wait_until(lambda: ("refused", "not-released") in [(w, d.get("reason")) for w, d in outcomes(settings)])
        send(here.port, series)
        wait_until(lambda: here.inbox.accepted)


def test_what_no_slice_would_mend_is_refused_at_once(settings: NodeSettings, series: Path, tmp_path: Path) -> None:
    def detach(dataset: Dataset) -> None:
        del dataset.FrameOfReferenceUID

    with node_here(settings) as here:
        send(here.port, copied(series, tmp_path / "detached", detach))
        wait_until(
            lambda: ("refused", "no-frame-of-reference") in [(w, d.get("reason")) for w, d in outcomes(settings)]
        )
        assert here.inbox.accepted == []


def test_no_route_draws_nothing_and_says_so(settings: NodeSettings, series: Path) -> None:
    route = replace(ROUTE, modality=RouteModality.MR)
    with node_here(replace(settings, routes=(route,))) as here:
        send(here.port, series)
        wait_until(lambda: outcomes(settings))
        assert here.inbox.accepted == []
    ((what, details),) = outcomes(settings)
    assert what == "no-route"
    assert details["reason"] == "all: the modality is not MR"


def test_three_senders_at_once(settings: NodeSettings, tmp_path: Path) -> None:
    titles = ("ONE", "TWO", "THREE")
    peers = tuple(Peer(title.lower(), title, host="127.0.0.1", sends=True) for title in titles)
    folders = {}
    for title in titles:

        def own(dataset: Dataset, title: str = title) -> None:
            dataset.SeriesInstanceUID += f".{len(title)}.{ord(title[0])}"
            dataset.SOPInstanceUID += f".{len(title)}.{ord(title[0])}"
            dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID

        folders[title] = copied(ct_series(tmp_path / f"ct-{title}")[0].parent, tmp_path / title, own)
    with node_here(replace(settings, peers=peers)) as here:
        threads = [threading.Thread(target=send, args=(here.port, folders[t]), kwargs={"calling": t}) for t in titles]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wait_until(lambda: len(here.inbox.accepted) == 3)
        assert [len(files) for files in here.inbox.files] == [6, 6, 6]
        assert len({source.series_instance_uid for source, _ in here.inbox.accepted}) == 3


# -- over a restart ----------------------------------------------------------------------------------------------------


def test_what_came_before_a_restart_is_drawn_after_it(settings: NodeSettings, series: Path) -> None:
    slow = replace(settings, completion=Completion(quiet_seconds=30.0, limit_seconds=60.0))
    with node_here(slow) as here:
        assert send(here.port, series) == [0] * 6
    assert here.inbox.accepted == []
    (settings.folder / "arriving" / "half.part").write_bytes(b"half an image")
    with node_here(settings) as here:
        wait_until(lambda: here.inbox.accepted)
        assert [len(files) for files in here.inbox.files] == [6]
        assert list((settings.folder / "arriving").iterdir()) == []
    with node_here(settings) as here:
        time.sleep(1.0)
        assert here.inbox.accepted == []  # decided is decided


def test_a_second_node_on_one_storage_is_refused(settings: NodeSettings) -> None:
    with node_here(settings), pytest.raises(ConfigError, match="no other node"):
        Node(settings, StandIn())


# -- what leaks nothing ------------------------------------------------------------------------------------------------


def test_no_name_in_logs_or_file_names(
    settings: NodeSettings,
    series: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def rename(dataset: Dataset) -> None:
        dataset.SpecificCharacterSet = "ISO_IR 192"
        dataset.PatientName = KAZAKH_NAME
        dataset.PatientID = "IIN-880808400123"
        dataset.SeriesDescription = "Серікқызы SBRT"

    with caplog.at_level("DEBUG"), node_here(settings) as here:
        named = copied(series, tmp_path / "named", rename)
        send(here.port, named)
        send(here.port, copied(named, tmp_path / "altered", lambda d: setattr(d, "PatientName", "Өзге^Серікқызы")))
        wait_until(lambda: here.inbox.accepted)
    ours = "\n".join(r.getMessage() for r in caplog.records if not r.name.startswith(("pynetdicom", "pydicom")))
    printed = "".join(capfd.readouterr())
    trail = settings.audit_path.read_text(encoding="utf-8")
    names = "\n".join(str(p) for p in settings.folder.rglob("*"))
    uid = str(pydicom.dcmread(min(series.iterdir())).SeriesInstanceUID)
    for where in (ours, printed, trail, names):
        for secret in ("Серік", "Әлия", "IIN-88", "u0421", uid):
            assert secret not in where
    assert "accepted" in ours


# -- folders, health, retention ----------------------------------------------------------------------------------------


def test_a_watched_folder_is_another_source(settings: NodeSettings, series: Path, tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    (inbox / "readme.txt").write_text("no image", encoding="utf-8")
    watched = WatchedFolder("INBOX", str(inbox), poll_seconds=0.1)
    route = replace(ROUTE, calling=("INBOX",))
    with node_here(replace(settings, folders=(watched,), routes=(route,))) as here:
        copied(series, inbox / "export")
        wait_until(lambda: here.inbox.accepted)
        assert [len(files) for files in here.inbox.files] == [6]
        assert len(list((inbox / "export").iterdir())) == 6


def test_health_and_metrics(settings: NodeSettings, series: Path) -> None:
    with node_here(settings) as here:
        send(here.port, series)
        wait_until(lambda: here.node.health().versions == {"done": 1})
        page = urllib.request.urlopen(f"http://127.0.0.1:{here.node.health_port}/metrics", timeout=5).read().decode()
        assert 'contour_node_instances_total{outcome="stored"} 6.0' in page
        assert 'contour_node_deliveries_total{destination="tps",outcome="sent"} 1.0' in page
        health = json.load(urllib.request.urlopen(f"http://127.0.0.1:{here.node.health_port}/health", timeout=5))
        assert health["listening"] is True
        assert health["problems"] == []
        assert not listens(1)


def test_what_was_kept_long_enough_is_deleted(
    settings: NodeSettings, series: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from contour.services.node import node as module  # noqa: PLC0415

    monkeypatch.setattr(module, "TIDY_SECONDS", 0.1)
    settings = replace(settings, retention=Retention(settled_days=2 / 86_400, quarantine_days=1.0))
    with node_here(settings) as here:
        send(here.port, series)
        wait_until(lambda: here.inbox.accepted)
        wait_until(lambda: not stored(settings))
        assert "deleted" in [what for what, _ in outcomes(settings)]
        assert list((settings.folder / "versions").rglob("*.dcm")) == []
        send(here.port, series)  # comes again as if for the first time
        wait_until(lambda: len(here.inbox.accepted) == 2)
