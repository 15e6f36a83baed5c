"""How fast the node takes images to the disk, beside dcmtk's storescp and Orthanc, in one run on this machine.

    python -m scripts.bench.node [--slices 500] [--rounds 3] [--senders 1] [--storescu PROGRAM] [--storescp PROGRAM]
                                 [--orthanc PROGRAM] [--folder SCRATCH]

A series of 512 x 512 slices is sent by dcmtk's storescu over loopback, with TCP_NODELAY=1, to each receiver in turn;
with several senders each sends a series of its own at once. The node brings every image to the disk before it answers
(fsync); storescp and Orthanc do not. A table shows images per second of the best round, and the peak memory of the
receiver. A receiver that is not installed is left out. Orthanc listens on every address while it runs.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from shutil import which

import numpy as np
import psutil

from contour.config import save_config
from contour.core.geometry import Geometry
from contour.core.volume import Modality, Volume
from contour.dicom.series import PatientStudy
from contour.dicom.write_series import SeriesOptions, write_series
from contour.services.node.settings import Completion, Health, Listen, NodeSettings, Peer

SLICE_YX = (512, 512)
ENVIRONMENT = {**os.environ, "TCP_NODELAY": "1"}
START_SECONDS = 60.0


@dataclass(frozen=True)
class Receiver:
    """A program that receives: how it is started on a port with a folder of its own, and its AE title."""

    title: str
    ae_title: str
    command: Callable[[Path, int], list[str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--senders", type=int, default=1)
    parser.add_argument("--storescu", default="/usr/bin/storescu")
    parser.add_argument("--storescp", default="/usr/bin/storescp")
    parser.add_argument("--orthanc", default="/usr/sbin/Orthanc")
    parser.add_argument("--folder", type=Path)
    chosen = parser.parse_args()
    if which(chosen.storescu) is None:
        sys.exit(f"{chosen.storescu} is not installed: it sends (dcmtk)")
    receivers = [
        Receiver("contour node (fsync)", "CONTOUR", _node_command),
        Receiver("dcmtk storescp", "STORESCP", lambda folder, port: _storescp_command(chosen.storescp, folder, port)),
        Receiver("Orthanc", "ORTHANC", lambda folder, port: _orthanc_command(chosen.orthanc, folder, port)),
    ]
    programs = (sys.executable, chosen.storescp, chosen.orthanc)
    with tempfile.TemporaryDirectory(dir=chosen.folder) as scratch:
        series = [_series(Path(scratch) / f"ct{n}", chosen.slices, n) for n in range(chosen.senders)]
        print(f"{chosen.senders} x {chosen.slices} slices of 512 x 512, best of {chosen.rounds} rounds")
        for receiver, program in zip(receivers, programs, strict=True):
            if which(program) is None:
                print(f"{receiver.title:24} not installed")
                continue
            rates, peaks = [], []
            for number in range(chosen.rounds):
                folder = Path(scratch) / f"{receiver.ae_title}-{number}"
                seconds, peak = _received(receiver, folder, series, chosen.storescu)
                rates.append(chosen.senders * chosen.slices / seconds)
                peaks.append(peak)
            rounds = ", ".join(f"{rate:.0f}" for rate in rates)
            print(f"{receiver.title:24} {max(rates):5.0f} images/s ({rounds}), peak {max(peaks) / 1e6:.0f} MB")


def _series(folder: Path, slices: int, number: int) -> Path:
    noise = np.random.default_rng(number).integers(-1000, 1500, (8, *SLICE_YX), dtype=np.int16)
    voxels = noise[np.arange(slices) % len(noise)]
    axes = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
    geometry = Geometry((slices, *SLICE_YX), (2.0, 1.0, 1.0), (-256.0, -256.0, 0.0), axes, f"2.25.{number + 1}")
    identity = PatientStudy("Bench^Mark", "B1", "", "", f"2.25.10{number}", "1", "20260102", "", "", "", "")
    write_series(Volume(voxels, geometry, Modality.CT), identity, folder, SeriesOptions(seed=f"bench {number}"))
    return folder


def _received(receiver: Receiver, folder: Path, series: list[Path], storescu: str) -> tuple[float, int]:
    """(seconds, peak memory in bytes) of one round; each starts with an empty receiver."""
    folder.mkdir()
    port = _free_port()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(receiver.command(folder, port), stdout=log, stderr=log, env=ENVIRONMENT)
    try:
        _await(port, process, folder / "log")
        watched, peak = psutil.Process(process.pid), 0
        start = time.perf_counter()
        senders = [
            subprocess.Popen(
                [storescu, "-aet", "BENCH", "-aec", receiver.ae_title, "+sd", "127.0.0.1", str(port), str(one)],
                env=ENVIRONMENT,
            )
            for one in series
        ]
        while any(sender.poll() is None for sender in senders):
            peak = max(peak, watched.memory_info().rss)
            time.sleep(0.02)
        seconds = time.perf_counter() - start
        if any(sender.returncode for sender in senders):
            sys.exit(f"{receiver.title}: storescu failed; {folder / 'log'}")
        return seconds, peak
    finally:
        process.terminate()
        process.wait(60)


def _node_command(folder: Path, port: int) -> list[str]:
    settings = NodeSettings(
        storage=str(folder / "storage"),
        listen=Listen(port=port),
        peers=(Peer("bench", "BENCH", host="127.0.0.1", sends=True),),
        completion=Completion(quiet_seconds=600.0, limit_seconds=1200.0),
        health=Health(port=_free_port()),
        workers=0,
    )
    save_config(settings, folder / "node.yaml")
    program = "from contour.cli.main import run; run()"
    return [sys.executable, "-c", program, "node", "run", str(folder / "node.yaml")]


def _storescp_command(program: str, folder: Path, port: int) -> list[str]:
    return [program, "-aet", "STORESCP", "-od", str(folder), str(port)]


def _orthanc_command(program: str, folder: Path, port: int) -> list[str]:
    configuration = {
        "StorageDirectory": str(folder),
        "IndexDirectory": str(folder),
        "HttpPort": _free_port(),
        "DicomPort": port,
        "DicomModalities": {"bench": {"AET": "BENCH", "Host": "127.0.0.1", "Port": 1, "AllowStore": True}},
        "DicomAlwaysAllowStore": False,
        "RemoteAccessAllowed": False,
    }
    (folder / "orthanc.json").write_text(json.dumps(configuration), encoding="utf-8")
    return [program, str(folder / "orthanc.json")]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            sys.exit(log.read_text(errors="replace"))
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    sys.exit(f"nothing listens on port {port}: {log.read_text(errors='replace')}")


if __name__ == "__main__":
    main()
