"""`--run-in` by way of ssh: a server on this machine, with a key of the test's own, stands for another machine."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bnconform.results.result import Row, read
from bnconform.tests.selftest.command import bnconform

PLACES = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
"""Where the server's program lies, which is no user's."""

SEPARATION = Path("/run/sshd")
"""The empty folder that a server which root starts insists on; the distribution makes it when it starts its own."""

SECONDS = 20
"""In which the server must answer."""

SELECTED = ("-k", "BN-RUN-MEAN or BN-TRAIN-NORM or BN-GRAD-UPSTREAM", "--dtype", "float32")

THERE = """
from bnconform.backends.numpy_layer import NumpyBackend


class There(NumpyBackend):
    def devices(self):
        return ["box:0"]

    def build(self, config, device):
        return super().build(config, "cpu")

    def build_default(self, num_features, device):
        return super().build_default(num_features, "cpu")
"""
"""The same layers on what another machine might call its device."""


def port() -> int:
    """One that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        number: int = found.getsockname()[1]
        return number


def answers(number: int) -> bool:
    """Whether a server of ssh speaks at a port."""
    try:
        with socket.create_connection(("127.0.0.1", number), timeout=1) as found:
            return found.recv(4) == b"SSH-"
    except OSError:
        return False


@pytest.fixture(scope="module")
def ssh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The command that runs another one on "the other machine"; the server ends with the tests."""
    found = {name: shutil.which(name, path=PLACES) for name in ("sshd", "ssh", "ssh-keygen")}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        text = f"no {', '.join(missing)} here, so --run-in is not tried with ssh: openssh-server has them"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(text)
    folder = tmp_path_factory.mktemp("ssh")
    for name in ("host", "user"):
        key = [str(found["ssh-keygen"]), "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(key, check=True)
    shutil.copy(folder / "user.pub", folder / "allowed")
    number = port()
    (folder / "server").write_text(
        f"ListenAddress 127.0.0.1\nPort {number}\nHostKey {folder / 'host'}\nAuthorizedKeysFile {folder / 'allowed'}\n"
        f"PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        "PermitRootLogin prohibit-password\nAllowTcpForwarding no\n"
    )
    (folder / "client").write_text(
        f"Host localhost\n  HostName 127.0.0.1\n  IdentityFile {folder / 'user'}\n  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {folder / 'known'}\n  StrictHostKeyChecking no\n  BatchMode yes\n  LogLevel ERROR\n"
    )
    if os.getuid() == 0:
        SEPARATION.mkdir(exist_ok=True)
    log = folder / "log"
    with log.open("w") as stream:
        server = [str(found["sshd"]), "-D", "-e", "-f", str(folder / "server")]
        running = subprocess.Popen(server, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream)
    try:
        end = time.monotonic() + SECONDS
        while not answers(number) and running.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        assert answers(number), log.read_text()
        command = shlex.join(["ssh", "-F", str(folder / "client"), "-p", str(number), "localhost"])
        tried = subprocess.run(shlex.split(f"{command} echo there"), capture_output=True, text=True, check=False)
        assert tried.stdout == "there\n", tried.stderr + log.read_text()
        yield command
    finally:
        running.terminate()
        running.wait()


def rows(path: Path, device: str) -> list[Row]:
    """What was judged of a device, but for its name and where its cases are."""
    return [row for row in read(path).rows if row.device == device]


def see(found: list[Row]) -> list[tuple[object, ...]]:
    """What may not differ from one machine to another of the same kind."""
    return [(row.requirement, row.verdict, row.checks, row.bound_share, row.ulp) for row in found]


def test_here_and_there_in_one_run(ssh: str, tmp_path: Path) -> None:
    """A matrix of the CPU here and of a device there; the verdicts, counts and error ratios are equal."""
    (tmp_path / "there.py").write_text(THERE)
    there = "there.py:There"
    away = ("--run-in", f"{there}={ssh}", "--python", f"{there}={sys.executable}")
    given = ("--backend", "numpy", "--backend", there, *away)
    answer = bnconform(tmp_path, *given, *SELECTED, "--json", "r.json", "--html", "r.html")
    answer.assert_no_traceback()
    assert answer.status == 0, answer.out + answer.err
    here, elsewhere = rows(tmp_path / "r.json", "cpu"), rows(tmp_path / "r.json", "box:0")
    assert see(here) == see(elsewhere)
    assert {row.requirement for row in here} == {"BN-RUN-MEAN", "BN-TRAIN-NORM", "BN-GRAD-UPSTREAM"}
    assert "cpu (across) and box:0 (up)" in (tmp_path / "r.html").read_text()


def test_machine_that_refuses(ssh: str, tmp_path: Path) -> None:
    """One line says so, with what ssh said."""
    stranger = ssh.replace("-p", "-l nobody-of-this-name -p", 1)
    answer = bnconform(tmp_path, "--backend", "numpy", "--run-in", f"numpy={stranger}", *SELECTED)
    answer.assert_refused("the backend numpy cannot be loaded", "Permission denied")
