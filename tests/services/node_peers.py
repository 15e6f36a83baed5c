"""Nodes, senders and archives on this machine's loopback, each on a free port and ended by its process id."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset

from contour.config import save_config
from contour.services.node.settings import (
    Caps,
    Completion,
    Health,
    Listen,
    NodeSettings,
    Peer,
    Route,
    Sending,
)

# pynetdicom brings commands of the same names, which may come first on the path.
STORESCU, DCMSEND, ECHOSCU, STORESCP = (
    Path("/usr/bin") / name for name in ("storescu", "dcmsend", "echoscu", "storescp")
)
ORTHANC = Path("/usr/sbin/Orthanc")
NO_DELAY = {**os.environ, "TCP_NODELAY": "1"}


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(what: Callable[[], Any], seconds: float = 60.0) -> Any:
    """The first true answer."""
    until = time.monotonic() + seconds
    while True:
        answer = what()
        if answer:
            return answer
        assert time.monotonic() < until, f"not within {seconds} s"
        time.sleep(0.05)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def node_settings(folder: Path, **changes: Any) -> NodeSettings:
    """A node that trusts SENDER, draws the protocol in `tiny.yaml`, and is quick."""
    values: dict[str, Any] = {
        "storage": str(folder / "storage"),
        "listen": Listen(port=free_port()),
        "peers": (Peer("sender", "SENDER", host="127.0.0.1", sends=True),),
        "completion": Completion(quiet_seconds=0.3, limit_seconds=60.0),
        "sending": Sending(first_wait_seconds=0.5, longest_wait_seconds=1.0, give_up_hours=0.1),
        "health": Health(port=free_port()),
        "caps": Caps(free_bytes=1 << 20, idle_seconds=20.0),
    }
    return NodeSettings(**{**values, **changes})


def tiny_routes(protocol_file: Path, *destinations: str) -> tuple[Route, ...]:
    return (Route("tiny", str(protocol_file), destinations),)


@dataclass
class NodeProcess:
    """`contour node run` as a process of its own."""

    settings: NodeSettings
    folder: Path
    process: subprocess.Popen[bytes] | None = None
    log: Path = field(init=False)

    def __post_init__(self) -> None:
        self.log = self.folder / "node.log"
        save_config(self.settings, self.folder / "node.yaml")

    @property
    def port(self) -> int:
        return self.settings.listen.port

    def start(self) -> None:
        command = "from contour.cli.main import run; run()"
        arguments = ["node", "run", str(self.folder / "node.yaml"), "--threads", "1"]
        slots = {"CONTOUR_SLOTS": str(self.folder / "slots")}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", command, *arguments], stdout=log, stderr=log, env={**os.environ, **slots}
            )
        wait_until(self._up)

    def _up(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        return listens(self.port)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(90)

    def health(self) -> dict[str, Any]:
        url = f"http://127.0.0.1:{self.settings.health.port}/health"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return dict(json.load(answer))
        except urllib.error.HTTPError as error:
            return dict(json.load(error))

    def trail(self) -> list[dict[str, Any]]:
        lines = self.settings.audit_path.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]


@contextmanager
def running_node(settings: NodeSettings, folder: Path) -> Iterator[NodeProcess]:
    node = NodeProcess(settings, folder)
    try:
        node.start()
        yield node
    finally:
        if node.process is not None and node.process.poll() is None:
            node.stop()


def storescu(port: int, folder: Path, *options: str, calling: str = "SENDER", called: str = "CONTOUR") -> int:
    """dcmtk's storescu of all files in a folder; its exit code."""
    command = [str(STORESCU), "-aet", calling, "-aec", called, *options, "+sd", "127.0.0.1", str(port), str(folder)]
    return subprocess.run(command, env=NO_DELAY, capture_output=True, check=False).returncode


@contextmanager
def storescp(folder: Path, port: int, *options: str) -> Iterator[Path]:
    """dcmtk's storescp: what it received lies in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen([str(STORESCP), "-od", str(folder), *options, str(port)], env=NO_DELAY)
    try:
        wait_until(lambda: listens(port))
        yield folder
    finally:
        process.terminate()
        process.wait()


class Orthanc:
    """Debian's Orthanc with its DICOMweb plug-in, on free ports."""

    def __init__(self, folder: Path, peers: dict[str, tuple[str, int]], lua: str = "") -> None:
        self.folder, self.http, self.port = folder, free_port(), free_port()
        folder.mkdir(parents=True)
        modalities = {
            name: {"AET": title, "Host": "127.0.0.1", "Port": port, "AllowStore": True, "AllowGet": True}
            | {"AllowFind": True, "AllowMove": True, "AllowEcho": True}
            for name, (title, port) in peers.items()
        }
        plugins = [str(p) for p in Path("/usr/share/orthanc/plugins").glob("libOrthancDicomWeb.so*")][:1]
        configuration = {
            "Name": "archive",
            "StorageDirectory": str(folder / "db"),
            "IndexDirectory": str(folder / "db"),
            "HttpPort": self.http,
            "DicomPort": self.port,
            "DicomAet": "ARCHIVE",
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomAlwaysAllowStore": False,
            "DicomAlwaysAllowEcho": False,
            "DicomCheckModalityHost": True,  # it binds every address, and listens to this machine alone
            "DicomModalities": modalities,
            "Plugins": plugins,
            "DicomWeb": {"Enable": True},
            "StableAge": 2 if lua else 5,
            "LuaScripts": [str(folder / "own.lua")] if lua else [],
            "OverwriteInstances": False,
            "DicomScuTimeout": 20,
        }
        (folder / "own.lua").write_text(lua, encoding="utf-8")
        (folder / "orthanc.json").write_text(json.dumps(configuration), encoding="utf-8")
        with (folder / "orthanc.log").open("wb") as log:
            self.process = subprocess.Popen([str(ORTHANC), str(folder / "orthanc.json")], stdout=log, stderr=log)
        wait_until(self._up)

    def _up(self) -> bool:
        assert self.process.poll() is None, (self.folder / "orthanc.log").read_text()
        return listens(self.http) and listens(self.port)

    def ask(self, path: str, content: bytes | None = None) -> Any:
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}{path}", data=content)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def upload(self, folder: Path) -> None:
        for file in sorted(folder.iterdir()):
            self.ask("/instances", file.read_bytes())

    def file(self, instance: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/instances/{instance}/file", timeout=60) as answer:
            return bytes(answer.read())

    def instances(self, modality: str) -> list[str]:
        """The ids of its instances of a modality."""
        question = {"Level": "Instance", "Query": {"Modality": modality}}
        return list(self.ask("/tools/find", json.dumps(question).encode()))

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)


@contextmanager
def orthanc(folder: Path, peers: dict[str, tuple[str, int]], lua: str = "") -> Iterator[Orthanc]:
    archive = Orthanc(folder, peers, lua)
    try:
        yield archive
    finally:
        archive.stop()


def copied(
    series: Path, target: Path, change: Callable[[Dataset], None] | None = None, keep: slice = slice(None)
) -> Path:
    """Some files of a series in a folder of their own, changed."""
    target.mkdir(parents=True)
    for file in sorted(series.iterdir())[keep]:
        if change is None:
            shutil.copy(file, target)
        else:
            dataset = pydicom.dcmread(file)
            change(dataset)
            dataset.save_as(target / file.name)
    return target
