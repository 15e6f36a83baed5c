"""The node as a process of its own among real peers: dcmtk and Orthanc, on this machine's loopback."""

import hashlib
import io
import os
import random
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from node_in_process import close_sockets, node_here
from node_peers import (
    DCMSEND,
    ECHOSCU,
    NO_DELAY,
    ORTHANC,
    STORESCP,
    STORESCU,
    NodeProcess,
    Orthanc,
    copied,
    free_port,
    node_settings,
    orthanc,
    running_node,
    storescp,
    storescu,
    tiny_routes,
    wait_until,
)
from shown import PAGES, blocks

from contour.core.errors import InputRefused
from contour.core.keyed import load_secret
from contour.dicom.series import PatientStudy
from contour.dicom.write_series import SeriesOptions, write_series
from contour.imaging.phantom import PhantomOptions, thorax_geometry, thorax_phantom
from contour.services.audit_trail import verify
from contour.services.node.fetch import fetch
from contour.services.node.node import request_fetch
from contour.services.node.receive import Incoming
from contour.services.node.send import send
from contour.services.node.settings import Listen, NodeSettings, Others, Peer, Tls, WebPeer
from contour.services.node.trouble import NotReached

needs_dcmtk = pytest.mark.skipif(not (STORESCU.exists() and STORESCP.exists()), reason="dcmtk is not installed")
needs_orthanc = pytest.mark.skipif(not ORTHANC.exists(), reason="Orthanc is not installed")
pytestmark = [pytest.mark.peer, pytest.mark.usefixtures(close_sockets.__name__)]

KAZAKH = PatientStudy("Әлия^Серікқызы", "IIN-880808400123", "", "F", "2.25.1001", "1", "20260102", "", "", "ACC-7", "")
KILLS = int(os.environ.get("CONTOUR_KILLS", "2"))


@pytest.fixture(scope="module")
def chest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A coarse chest as a DICOM series of 41 slices."""
    folder = tmp_path_factory.mktemp("chest") / "ct"
    geometry = thorax_geometry((10.0, 6.0, 6.0), frame_of_reference_uid="2.25.79")
    write_series(
        thorax_phantom(geometry, PhantomOptions(vessels=5)).volume, KAZAKH, folder, SeriesOptions(seed="chest")
    )
    return folder


@pytest.fixture
def tiny(tmp_path: Path, tiny_models: Path, tiny_protocol_file: Path) -> NodeSettings:
    """A node that draws the tiny protocol and sends it to `tps`."""
    tps = Peer("tps", "TPS", host="127.0.0.1", port=free_port(), receives=True)
    sender = Peer("sender", "SENDER", host="127.0.0.1", sends=True)
    routes = tiny_routes(tiny_protocol_file, "tps")
    return node_settings(tmp_path, peers=(sender, tps), routes=routes, models=(str(tiny_models),))


@pytest.fixture
def archive(tmp_path: Path, chest: Path) -> Iterator[tuple[Orthanc, int]]:
    """Orthanc with the chest, which knows the node at the port."""
    port = free_port()
    with orthanc(tmp_path / "orthanc", {"node": ("CONTOUR", port)}) as running:
        running.upload(chest)
        yield running, port


@pytest.fixture
def scripted(tmp_path: Path) -> Iterator[tuple[Orthanc, int]]:
    """Orthanc that sends what is stable to the node at the port, by the script that the documentation shows."""
    port = free_port()
    (script,) = blocks(PAGES / "orthanc.md", "lua")
    with orthanc(tmp_path / "orthanc", {"contour": ("CONTOUR", port)}, script) as running:
        yield running, port


def tps_of(settings: NodeSettings) -> Peer:
    peer = settings.peer("tps")
    assert isinstance(peer, Peer)
    return peer


@pytest.mark.slow
@needs_orthanc
@needs_dcmtk
def test_from_orthanc_to_the_node_and_back(
    tiny: NodeSettings, scripted: tuple[Orthanc, int], chest: Path, tmp_path: Path
) -> None:
    """A study with a report and a PET beside the CT."""
    running, port = scripted
    for file in beside_images(chest, tmp_path):
        if "rs" not in file.name:
            running.ask("/instances", file.read_bytes())
    both = Peer("archive", "ARCHIVE", host="127.0.0.1", port=running.port, receives=True, sends=True)
    routes = (replace(tiny.routes[0], destinations=("archive", "tps")),)
    listen = Listen(port=port, others=Others.DISCARD)
    settings = replace(tiny, listen=listen, peers=(both, tps_of(tiny)), routes=routes)
    with running_node(settings, tmp_path) as node:
        running.upload(chest)  # its script, the page's, sends what is stable
        (instance,) = wait_until(lambda: running.instances("RTSTRUCT"))
        assert len(running.instances("CT")) == 41
        assert "done" not in node.health()["versions"]
        with storescp(tmp_path / "tps", tps_of(settings).port, "-aet", "TPS") as received:  # was away until now
            wait_until(lambda: node.health()["versions"] == {"done": 1})
            (file,) = received.iterdir()
        assert node.stop() == 0
    (made,) = settings.results.glob("*/rtstruct.dcm")
    back = pydicom.dcmread(io.BytesIO(running.file(instance)))
    assert back == pydicom.dcmread(made)
    assert back == pydicom.dcmread(file)
    trail = node.trail()
    assert [line["what"] for line in trail] == ["started", "accepted", "drawn", "sent", "stopped"]
    assert trail[2]["details"]["result"] == back.SOPInstanceUID
    assert trail[2]["details"]["package_1"].startswith("tiny 1.0.0 sha256:")
    assert trail[3]["details"]["sent_to"] == "archive, tps"
    assert verify(settings.audit_path, load_secret(settings.secret_path)) == ()
    leaks = node.log.read_text(encoding="utf-8") + "\n".join(map(str, settings.folder.rglob("*"))) + str(trail)
    assert not [secret for secret in ("Серік", "Әлия", "IIN-88", "ACC-7") if secret in leaks]


@needs_orthanc
def test_fetched_by_accession_number_and_stored_by_dicomweb(
    tiny: NodeSettings, archive: tuple[Orthanc, int], chest: Path, tmp_path: Path
) -> None:
    running, port = archive
    dicom = Peer("archive", "ARCHIVE", host="127.0.0.1", port=running.port, answers=True)
    web = WebPeer("web", f"http://127.0.0.1:{running.http}/dicom-web", receives=True, answers=True)
    routes = (replace(tiny.routes[0], destinations=("web",)),)
    settings = replace(tiny, listen=Listen(port=port), peers=(dicom,), web_peers=(web,), routes=routes)
    by = {}
    for name in ("archive", "web"):
        got: list[str] = []

        def take(one: Incoming, got: list[str] = got) -> None:
            got.append(hashlib.sha256(one.content).hexdigest())

        fetched = fetch("ACC-7", name, settings, take)
        assert (fetched.studies, fetched.series, fetched.instances) == (1, 1, 41)
        by[name] = sorted(got)
        with pytest.raises(InputRefused, match="no such images"):
            fetch("ACC-8", name, settings, take)
    assert by["archive"] == by["web"]
    with node_here(settings) as here:
        request_fetch(settings, "ACC-7", "web")
        wait_until(lambda: here.inbox.accepted)
        wait_until(lambda: "fetched" in settings.audit_path.read_text(encoding="utf-8"))
        assert [len(files) for files in here.inbox.files] == [41]
        assert "ACC-7" not in settings.audit_path.read_text(encoding="utf-8")
        assert list(settings.requests.iterdir()) == []
    plan = pydicom.dcmread(min(chest.iterdir()))  # any object that Orthanc does not have yet
    plan.SOPInstanceUID = plan.file_meta.MediaStorageSOPInstanceUID = "2.25.31337"
    plan.SeriesInstanceUID, plan.Modality = "2.25.31338", "OT"
    plan.save_as(tmp_path / "other.dcm")
    assert send(tmp_path / "other.dcm", "web", settings).sop_instance_uid == "2.25.31337"
    (stored,) = running.instances("OT")
    assert pydicom.dcmread(io.BytesIO(running.file(stored))) == plan
    away = replace(settings, web_peers=(replace(web, url=f"http://127.0.0.1:{free_port()}/dicom-web"),))
    with pytest.raises(NotReached, match="web is not reached"):
        send(tmp_path / "other.dcm", "web", away)


def beside_images(chest: Path, folder: Path) -> tuple[Path, ...]:
    """Objects that archives hold in the study of a CT: named so that they come first, in the middle and last."""
    classes = (("0-rs", "RTSTRUCT", "481.3"), ("ct-sr", "SR", "88.33"), ("z-pt", "PT", "128"))
    files = []
    for number, (name, modality, end) in enumerate(classes):
        dataset = pydicom.dcmread(min(chest.iterdir()))
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = f"1.2.840.10008.5.1.4.1.1.{end}"
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"2.25.600{number}"
        dataset.SeriesInstanceUID, dataset.Modality = f"2.25.700{number}", modality
        dataset.save_as(folder / f"{name}.dcm")
        files.append(folder / f"{name}.dcm")
    return tuple(files)


@needs_dcmtk
def test_a_whole_study_comes_through_where_others_are_discarded(
    tiny: NodeSettings, chest: Path, tmp_path: Path
) -> None:
    """storescu and dcmsend without options: both end a study where an object of it is refused."""
    study = copied(chest, tmp_path / "study")
    beside_images(chest, study)
    dcmsend = [str(DCMSEND), "-aet", "SENDER", "-aec", "CONTOUR", "+sd", "127.0.0.1"]
    for others in Others:
        settings = replace(tiny, storage=str(tmp_path / others), listen=Listen(port=free_port(), others=others))
        with node_here(settings) as here:
            codes = [storescu(here.port, study)]
            command = [*dcmsend, str(here.port), str(study)]
            codes.append(subprocess.run(command, env=NO_DELAY, capture_output=True, check=False).returncode)
            assert [code == 0 for code in codes] == [others is Others.DISCARD] * 2
            if others is Others.REFUSE:
                continue
            wait_until(lambda here=here: here.inbox.accepted)
            assert [len(files) for files in here.inbox.files] == [41]
            value = here.node.metrics.registry.get_sample_value
            assert value("contour_node_instances_total", {"outcome": "discarded"}) == 6
        assert not [file for file in settings.folder.rglob("*.dcm") if b"2.25.600" in file.read_bytes()]


@needs_dcmtk
def test_a_sender_that_is_killed_and_comes_again(tiny: NodeSettings, chest: Path) -> None:
    with node_here(tiny) as here:
        command = [str(STORESCU), "-aet", "SENDER", "-aec", "CONTOUR", "+sd", "127.0.0.1", str(here.port), str(chest)]
        slow = subprocess.Popen(command, env={**os.environ, "TCP_NODELAY": "0"})
        incoming = tiny.folder / "incoming"
        wait_until(lambda: len(list(incoming.rglob("*.dcm"))) >= 5)
        slow.kill()
        slow.wait()
        assert len(list(incoming.rglob("*.dcm"))) < 41
        time.sleep(1.0)
        assert here.inbox.accepted == []
        assert storescu(here.port, chest) == 0
        wait_until(lambda: here.inbox.accepted)
        assert [len(files) for files in here.inbox.files] == [41]


@pytest.mark.slow
@needs_dcmtk
def test_killed_at_random_moments_everything_is_drawn_once(tiny: NodeSettings, chest: Path, tmp_path: Path) -> None:
    """Each round another series is sent until its sender is told that all is well, while the node is killed.

    CONTOUR_KILLS says how often; 50 take ten minutes.
    """
    chance = random.Random(KILLS)
    node = NodeProcess(tiny, tmp_path)
    options = ("-aet", "TPS", "+uf")
    with storescp(tmp_path / "tps", tps_of(tiny).port, *options) as received:
        node.start()
        for number in range(KILLS):
            folder = own_series(chest, tmp_path / f"ct{number}", number)
            senders = [sending(node.port, folder)]
            time.sleep(chance.uniform(0.0, 5.0))
            node.kill()
            acknowledged = len(list((tiny.folder / "incoming").rglob("*.dcm")))
            node.start()
            assert len(list((tiny.folder / "incoming").rglob("*.dcm"))) >= acknowledged
            if senders[0].wait(60) != 0:
                assert storescu(node.port, folder) == 0
        wait_until(lambda: node.health()["versions"] == {"done": KILLS}, 30 + 10 * KILLS)
        assert node.stop() == 0
        sent = [pydicom.dcmread(file) for file in received.iterdir()]
        assert len({one.SOPInstanceUID for one in sent}) == KILLS
        drawn_on = {
            str(
                one.ReferencedFrameOfReferenceSequence[0]
                .RTReferencedStudySequence[0]
                .RTReferencedSeriesSequence[0]
                .SeriesInstanceUID
            )
            for one in sent
        }
        assert len(drawn_on) == KILLS
    assert verify(tiny.audit_path, load_secret(tiny.secret_path)) == ()


def own_series(chest: Path, target: Path, number: int) -> Path:
    """The chest as another series."""
    target.mkdir()
    for file in chest.iterdir():
        dataset = pydicom.dcmread(file)
        dataset.SeriesInstanceUID = f"2.25.5{number}"
        dataset.SOPInstanceUID = f"{dataset.SOPInstanceUID[:55]}.{number + 1}"
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.save_as(target / file.name)
    return target


def sending(port: int, folder: Path) -> "subprocess.Popen[bytes]":
    command = [str(STORESCU), "-aet", "SENDER", "-aec", "CONTOUR", "+sd", "127.0.0.1", str(port), str(folder)]
    return subprocess.Popen(command, env=NO_DELAY, stderr=subprocess.DEVNULL)


# -- TLS ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, certificates of node and sender signed by it, and one of a stranger."""
    folder = tmp_path_factory.mktemp("papers")
    subject = ("-subj", "/CN=authority")
    new = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2")
    openssl(folder, *new, "-keyout", "ca.key", "-out", "ca.crt", *subject)
    openssl(folder, *new, "-keyout", "stranger.key", "-out", "stranger.crt", "-subj", "/CN=stranger")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    for name in ("node", "sender"):
        ask = ("req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        openssl(folder, *ask, "-subj", f"/CN={name}")
        sign = ("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial")
        openssl(folder, *sign, "-days", "2", "-extfile", "names", "-out", f"{name}.crt")
    return folder


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


@needs_dcmtk
def test_only_who_shows_a_certificate_is_heard(tiny: NodeSettings, papers: Path, tmp_path: Path) -> None:
    tls = Tls(str(papers / "node.crt"), str(papers / "node.key"), str(papers / "ca.crt"))
    settings = replace(tiny, listen=Listen(port=free_port(), tls=tls))
    with node_here(settings) as here:

        def echo(*options: str) -> int:
            command = [str(ECHOSCU), "-to", "5", "-aet", "SENDER", "-aec", "CONTOUR", *options]
            command += ["127.0.0.1", str(here.port)]
            return subprocess.run(command, capture_output=True, check=False, timeout=60).returncode

        trusted = ("+cf", str(papers / "ca.crt"))
        ours = ("+tls", str(papers / "sender.key"), str(papers / "sender.crt"), *trusted)
        assert echo(*ours) == 0
        assert echo() != 0  # plaintext
        assert echo("+tla", *trusted) != 0  # no certificate
        assert echo("+tls", str(papers / "stranger.key"), str(papers / "stranger.crt"), *trusted) != 0
        with socket.create_connection(("127.0.0.1", here.port)):  # says nothing, and keeps nobody else waiting
            assert echo(*ours) == 0


@needs_dcmtk
def test_a_result_is_sent_under_the_certificate(tiny: NodeSettings, papers: Path, chest: Path, tmp_path: Path) -> None:
    tls = Tls(str(papers / "node.crt"), str(papers / "node.key"), str(papers / "ca.crt"))
    settings = replace(tiny, listen=Listen(tls=tls), peers=(replace(tps_of(tiny), tls=True),))
    file = tmp_path / "ct.dcm"
    dataset = pydicom.dcmread(min(chest.iterdir()))
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    dataset.save_as(file, implicit_vr=True, little_endian=True)
    secure = ("+tls", str(papers / "sender.key"), str(papers / "sender.crt"), "+cf", str(papers / "ca.crt"))
    with storescp(tmp_path / "tps", tps_of(tiny).port, "-aet", "TPS", *secure) as received:
        assert send(file, "tps", settings).sop_instance_uid == dataset.SOPInstanceUID
        (got,) = received.iterdir()
        assert pydicom.dcmread(got) == pydicom.dcmread(file)
        with pytest.raises(NotReached):
            send(file, "tps", tiny)  # plaintext
