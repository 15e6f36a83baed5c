"""A scan of up to 2,000 slices from DICOM to a proven RTSTRUCT: seconds, and where the memory goes.

    python -m scripts.bench.long_scan --series FOLDER [--slices 2000] [--memory 2GB] [--protocol thorax_oar]

The scan is a real chest, mirrored head to feet as often as it takes, written as DICOM of 1 mm slices. Every run is a
process of its own, whose memory is read every twentieth of a second: `anonymous` is what the process itself holds,
`with files` counts what lies in files too, which the system may take out of memory at any time. What ran at the highest
point is named. `--structures` draws only so many of the protocol's structures; `--plot` shows how both grow. With
`--limit`, the run gets a memory control group of the system (Linux, as root) with that much memory, all that is read
from and written to files included: what does not keep within it is ended by the system.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from types import FrameType

import matplotlib.pyplot as plt
import numpy as np
import yaml

from contour.core.geometry import Geometry
from contour.core.volume import Volume
from contour.dicom.read_series import read_series
from contour.dicom.write_series import SeriesOptions, write_series

SAMPLE_S = 0.05
PROTOCOLS = Path(__file__).parents[2] / "configs" / "protocols"
GROUPS = Path("/sys/fs/cgroup/memory")  # version 1; version 2 has the limit in memory.max


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--series", type=Path, required=True, help="a folder with one CT series")
    parser.add_argument("--slices", type=int, nargs="+", default=[2000])
    parser.add_argument("--memory", nargs="+", default=[None], help="as `contour run --memory`; 'none' for no bound")
    parser.add_argument("--protocol", default="thorax_oar")
    parser.add_argument("--structures", type=int, nargs="+", default=[0], help="0 for all of the protocol")
    parser.add_argument("--plot", type=Path, help="a PNG of seconds and memory over slices")
    parser.add_argument("--limit", type=float, help="GB of memory that the system allows each run")
    parser.add_argument("--work", type=Path, help="where the scans lie and stay; a temporary folder by default")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(Path(arguments.child), arguments)
        return
    with tempfile.TemporaryDirectory() as folder:
        work = arguments.work or Path(folder)
        found = []
        print("| slices | structures | --memory | s | processor s | peak, anonymous | peak, with files | at the peak |")
        print("|---|---|---|---|---|---|---|---|")
        for slices, structures, memory in product(arguments.slices, arguments.structures, arguments.memory):
            scan = long_scan(arguments.series, slices, work)
            arguments.rules = some_structures(arguments.protocol, structures, work)
            found.append((slices, structures, memory or "none", measure(scan, memory, arguments)))
            print(row(*found[-1]), flush=True)
        if arguments.plot:
            plot(found, arguments.plot)


def some_structures(protocol: str, count: int, work: Path) -> str:
    """The protocol with its first structures only: a file, or its name for 0."""
    if not count:
        return protocol
    content = yaml.safe_load((PROTOCOLS / f"{protocol}.yaml").read_text(encoding="utf-8"))
    fewer = {key: content[key] for key in ("name", "title", "modality", "packages", "source") if key in content}
    fewer["structures"] = content["structures"][:count]
    file = work / f"{protocol}-{count}.yaml"
    file.write_text(yaml.safe_dump(fewer, sort_keys=False), encoding="utf-8")
    return str(file)


def plot(found: list[tuple[int, int, str, dict[str, float | str]]], file: Path) -> None:
    """Seconds of processors and memory over slices, a line for each bound."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for memory in dict.fromkeys(row[2] for row in found):
        rows = [(slices, values) for slices, _, bound, values in found if bound == memory and "ended" not in values]
        label = "no bound" if memory == "none" else f"--memory {memory}"
        for axis, key in zip(axes, ("processor_seconds", "anonymous_gb"), strict=True):
            axis.plot([slices for slices, _ in rows], [values[key] for _, values in rows], "o-", label=label)
    for axis, title in zip(axes, ("seconds of processors", "peak memory, GB"), strict=True):
        axis.set(xlabel="slices of 512 x 512", title=title, ylim=(0, None))
        axis.legend(frameon=False)
    figure.savefig(file, dpi=110)


def long_scan(source: Path, slices: int, work: Path) -> Path:
    """A folder with the scan; one that is there is taken."""
    folder = work / f"scan-{slices}"
    if folder.exists():
        return folder
    series = read_series(source)
    voxels, geometry = series.volume.voxels_zyx, series.volume.geometry
    period = np.concatenate([np.arange(len(voxels)), np.arange(len(voxels))[::-1]])
    _, y, x = geometry.shape_zyx
    _, y_mm, x_mm = geometry.spacing_zyx_mm
    longer = Geometry(
        (slices, y, x),
        (1.0, y_mm, x_mm),
        geometry.origin_lps_mm,
        geometry.axes_lps,
        geometry.frame_of_reference_uid,
    )
    volume = Volume(voxels[np.resize(period, slices)], longer, series.volume.modality)
    write_series(volume, series.identity, folder, SeriesOptions(seed=f"long-{slices}"))
    return folder


def measure(scan: Path, memory: str | None, arguments: argparse.Namespace) -> dict[str, float | str]:
    command = [sys.executable, "-m", "scripts.bench.long_scan", "--child", str(scan), "--series", str(scan)]
    command += ["--protocol", arguments.rules] + (["--memory", memory] if memory and memory != "none" else [])
    enter = _into_group(arguments.limit) if arguments.limit else None
    done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=enter)
    if done.returncode:
        return {"ended": f"ended with {done.returncode}: {done.stderr[-300:]}"}
    found: dict[str, float | str] = json.loads(done.stdout.splitlines()[-1])
    return found


def _into_group(limit_gb: float) -> Callable[[], object]:
    group = GROUPS / "contour-long-scan"
    group.mkdir(exist_ok=True)
    (group / "memory.limit_in_bytes").write_text(str(int(limit_gb * 1e9)))
    return lambda: (group / "cgroup.procs").write_text(str(os.getpid()))


def row(slices: int, structures: int, memory: str, found: dict[str, float | str]) -> str:
    if "ended" in found:
        return f"| {slices} | {structures or 'all'} | {memory} | {found['ended']} | | | | |"
    return (
        f"| {slices} | {structures or 'all'} | {memory} | {found['seconds']:.0f} | {found['processor_seconds']:.0f} "
        f"| {found['anonymous_gb']:.2f} GB | {found['all_gb']:.2f} GB | {found['at']} |"
    )


@dataclass
class Watcher:
    """The memory of this process, sampled by a thread, and what the first thread did at the highest point."""

    anonymous_kb: int = 0
    all_kb: int = 0
    at: str = ""
    highest_by_place: dict[str, int] = field(default_factory=dict)
    stopped: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> None:
        """Until `stopped`."""
        first = threading.main_thread().ident or 0
        while not self.stopped.wait(SAMPLE_S):
            kb = dict(_status())
            self.all_kb = max(self.all_kb, kb["VmRSS"])
            place = _place(sys._current_frames().get(first))
            self.highest_by_place[place] = max(self.highest_by_place.get(place, 0), kb["RssAnon"])
            if kb["RssAnon"] > self.anonymous_kb:
                self.anonymous_kb, self.at = kb["RssAnon"], place


def _status() -> list[tuple[str, int]]:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return [(line.split(":")[0], int(line.split()[1])) for line in lines if line.startswith(("VmRSS", "RssAnon"))]


def _place(frame: FrameType | None) -> str:
    """The innermost functions of `contour`, outermost first."""
    names: list[str] = []
    while frame is not None:
        if "/contour/" in frame.f_code.co_filename and "/bench/" not in frame.f_code.co_filename:
            names.append(frame.f_code.co_name)
        frame = frame.f_back
    return " > ".join(reversed(names[:3]))


def child(scan: Path, arguments: argparse.Namespace) -> None:
    from contour.cli.main import build_app  # noqa: PLC0415 - the parent needs none of it

    watcher = Watcher()
    thread = threading.Thread(target=watcher.watch, daemon=True)
    thread.start()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as output:
        command = ["run", str(scan), "--protocol", arguments.protocol, "--output", f"{output}/out", "--json"]
        command += ["--memory", arguments.memory[0]] if arguments.memory[0] else []
        build_app()(command, standalone_mode=False)
    seconds = time.perf_counter() - start
    watcher.stopped.set()
    thread.join()
    highest = sorted(watcher.highest_by_place.items(), key=lambda pair: -pair[1])
    for place, kb in highest[:25]:
        print(f"{kb / 1e6:.2f} GB {place}", file=sys.stderr)
    found = {
        "seconds": seconds,
        "processor_seconds": time.process_time(),
        "anonymous_gb": watcher.anonymous_kb * 1.024e-6,
        "all_gb": watcher.all_kb * 1.024e-6,
        "at": watcher.at,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
