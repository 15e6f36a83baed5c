"""The files that put the node on a server: what they start starts, hardened, and ends in order."""

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from node_peers import free_port, node_settings, tiny_routes, wait_until

from contour.config import save_config, shipped_folder
from contour.services.node.settings import Listen, Peer

DEPLOY = shipped_folder("configs") / "deploy"
UNITS = ("contour-node.service", "contour-worker.service")
BWRAP, ANALYZE, SETPRIV = (shutil.which(name) for name in ("bwrap", "systemd-analyze", "setpriv"))


def settings_of(unit: str) -> list[tuple[str, str]]:
    """The lines of a unit's file: keys may stand more than once."""
    lines = (DEPLOY / unit).read_text(encoding="utf-8").splitlines()
    return [(key, value) for key, equals, value in (line.partition("=") for line in lines) if equals and key[0] != "#"]


def value_of(unit: str, name: str) -> str:
    (value,) = [value for key, value in settings_of(unit) if key == name]
    return value


@pytest.mark.peer
@pytest.mark.skipif(ANALYZE is None, reason="systemd is not installed")
@pytest.mark.parametrize("unit", UNITS)
def test_systemd_understands_a_unit_and_finds_it_closed(unit: str, tmp_path: Path) -> None:
    text = (DEPLOY / unit).read_text(encoding="utf-8").replace("/opt/contour/bin/contour", "/bin/true")
    (tmp_path / unit).write_text(text, encoding="utf-8")
    said = subprocess.run([str(ANALYZE), "verify", tmp_path / unit], capture_output=True, text=True, check=False)
    assert (said.returncode, said.stderr) == (0, "")
    closed = [str(ANALYZE), "security", "--offline=true", "--threshold=20", str(tmp_path / unit)]  # 2.0 of 10
    assert subprocess.run(closed, capture_output=True, check=False).returncode == 0


def test_the_units_share_what_must_be_shared() -> None:
    node, worker = (dict(settings_of(unit)) for unit in UNITS)
    different = {key for key in node if node[key] != worker.get(key)}
    assert different == {"Description", "ExecStart"}
    assert set(worker) - set(node) == {"EnvironmentFile", "SuccessExitStatus"}
    slots = (DEPLOY / "contour-slots.conf").read_text(encoding="utf-8").splitlines()[-1].split()
    assert slots[1] == node["ReadWritePaths"]
    # What is killed at the end is told first: the workers of a crew end within a minute.
    assert (node["KillMode"], node["TimeoutStopSec"], node["OOMPolicy"]) == ("mixed", "3min", "continue")


def test_the_container_starts_the_same_without_tools_or_root() -> None:
    text = (DEPLOY / "Containerfile").read_text(encoding="utf-8")
    _, build, last = re.split(r"^FROM .*$", text, flags=re.MULTILINE)
    assert "USER 10001:10001" in last
    assert last.index("COPY --from=build") < last.index("USER ")
    assert not re.search(r"\bpip\b|venv|gcc|git\b|curl|wget", last)
    assert "pip uninstall -y pip" in build
    command = [*re.findall(r'"([^"]*)"', text[text.rindex("ENTRYPOINT") :])]
    assert command == shlex.split(value_of("contour-node.service", "ExecStart").replace("/opt/contour/bin/", ""))


@pytest.fixture
def place(tmp_path: Path, tiny_models: Path, tiny_protocol_file: Path) -> Path:
    """A folder with the settings of a node, which keeps everything in the one folder of it that it may write to."""
    tps = Peer("tps", "TPS", host="127.0.0.1", port=free_port(), receives=True)
    sender = Peer("sender", "SENDER", host="127.0.0.1", sends=True)
    (tmp_path / "state").mkdir()
    settings = node_settings(tmp_path / "state", peers=(sender, tps), models=(str(tiny_models),))
    routes = tiny_routes(tiny_protocol_file, "tps")
    settings = replace(settings, routes=routes, listen=Listen(port=free_port()))
    save_config(settings, tmp_path / "node.yaml")
    return tmp_path


@pytest.mark.peer
@pytest.mark.skipif(BWRAP is None or SETPRIV is None, reason="bubblewrap is not installed")
def test_what_the_unit_starts_serves_on_a_read_only_disk_and_ends_in_order(
    place: Path, contour: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    """Without privileges, capabilities or a disk that can be written to, in the environment of the unit."""
    state, log_file, settings = place / "state", place / "log", place / "node.yaml"
    here = {"/opt/contour/bin/contour": f"{sys.executable} -c 'from contour.cli.main import run; run()'"}
    here |= {"/etc/contour/node.yaml": str(settings)}
    line = value_of("contour-node.service", "ExecStart")
    for ours, theirs in here.items():
        line = line.replace(ours, theirs)
    environment = dict(
        value.split("=", 1) for key, value in settings_of("contour-node.service") if key == "Environment"
    )
    environment = {key: value.replace("/var/lib/contour", str(state)) for key, value in environment.items()}
    environment |= {"MPLCONFIGDIR": str(state / "cache"), "CONTOUR_SLOTS": str(state / "slots"), "LANG": "C"}
    environment |= {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "NOTIFY_SOCKET": str(state / "notify")}
    prison = [str(BWRAP), "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--bind", str(state), str(state)]
    prison += ["--unshare-user", "--unshare-ipc", "--unshare-pid", "--uid", "10001", "--gid", "10001"]
    prison += ["--cap-drop", "ALL", "--chdir", str(state), "--die-with-parent", "--", str(SETPRIV), "--no-new-privs"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, log_file.open("wb") as log:
        manager.bind(str(state / "notify"))
        manager.settimeout(120)
        # The prison is process 1 in there, and hands no signals on: its child gets them.
        service = subprocess.Popen([*prison, *shlex.split(line)], env=environment, stdout=log, stderr=log)
        try:
            assert manager.recv(100) == b"READY=1", log_file.read_text()
            assert manager.recv(100) == b"WATCHDOG=1"
            assert contour("node", "health", settings) == 0
            assert capsys.readouterr().out == "Well 0 series wait; versions: none\n"
            (node,) = wait_until(lambda: children(children(service.pid)[0]))
            os.kill(node, signal.SIGTERM)
            words = b""
            while words != b"STOPPING=1":
                words = manager.recv(100)
            assert service.wait(90) == 0
        finally:
            if service.poll() is None:
                service.kill()
                service.wait()
    assert contour("node", "health", settings) == 1
    assert "does not answer" in capsys.readouterr().err
    assert "Traceback" not in log_file.read_text()


def children(process: int) -> list[int]:
    """The processes that a process started."""
    return [int(one) for one in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
