"""A machine room: a network of machines that share the kernel alone, made of namespaces that end with the tests."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from support.drawn import ROOT

DRIVER_ADDRESS = "10.77.0.1"

# All of these as in a container; a machine of the room has a network of its own, too.
_OWN = ("--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private")

# A bridge that connects the machines. It ends with its input: when the process of the tests ends, however it does.
_ROOM = f"""
ip link set lo up && ip link add bridge0 type bridge && ip addr add {DRIVER_ADDRESS}/24 dev bridge0 &&
ip link set bridge0 up && echo ready && while read -r _; do :; done
"""

# Of the disk, a machine sees the system, what is bound below /mnt, and a folder of temporary files of its own.
_HIDDEN = ("/tmp", "/root", "/home", "/srv", str(ROOT.resolve()), str(Path(sys.prefix).resolve()))

# All variables of a program in the room: nothing of the tests'.
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}


def why_not() -> str | None:
    """Return why there can be no room here; None when there can."""
    missing = [name for name in ("ip", "unshare", "nsenter", "mount") if shutil.which(name) is None]
    if sys.platform != "linux" or missing:
        return f"it needs Linux, with {', '.join(missing) or 'namespaces'}"
    if os.geteuid() != 0:
        return "it needs root, to make network, mount and process namespaces"
    command = ["unshare", "--net", *_OWN, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    tried = subprocess.run(command, capture_output=True, text=True)
    return f"namespaces cannot be made here ({tried.stderr.strip()})" if tried.returncode else None


@dataclass(frozen=True)
class Machine:
    """What a machine sees: `folders` of this one by their names below /mnt, and `disk`, its own, as /mnt/disk."""

    name: str
    disk: Path
    folders: Mapping[str, Path]
    address: str | None = None  # None: that of the room

    def command(self, command: Sequence[str]) -> list[str]:
        """The command that runs this one on the machine, when it is run in the room."""
        own = ["unshare", *(["--net"] if self.address else []), *_OWN]
        return [*own, "bash", "-euc", "\n".join([*self._script(), f"exec {shlex.join(command)}"])]

    def _script(self) -> list[str]:
        binds = {"disk": self.disk, **self.folders}
        lines = ["mount -t tmpfs tmpfs /mnt"]
        for name, folder in binds.items():
            # The disk and the shared folder are written to.
            options = "" if name in ("disk", "shared") else "-o ro "
            lines += [f"mkdir /mnt/{name}", f"mount --bind {options}{shlex.quote(str(folder))} /mnt/{name}"]
        lines += ["mkdir -p /mnt/disk/tmp"]
        lines += [f"[ ! -d {shlex.quote(hidden)} ] || mount -t tmpfs tmpfs {shlex.quote(hidden)}" for hidden in _HIDDEN]
        lines += ["mount --bind /mnt/disk/tmp /tmp", "cd /mnt/disk"]
        return [*lines, *(self._network() if self.address else [])]

    def _network(self) -> list[str]:
        return [
            f"hostname {self.name}",
            f"printf '127.0.0.1 localhost\\n{self.address} {self.name}\\n' > /mnt/hosts",
            "mount --bind /mnt/hosts /etc/hosts",
            "until ip link show eth0 > /dev/null 2>&1; do sleep 0.05; done",  # Room.start connects it
            f"ip link set lo up; ip addr add {self.address}/24 dev eth0; ip link set eth0 up",
        ]


@dataclass
class Running:
    """A program in the room, or a machine with all that runs on it."""

    process: subprocess.Popen[bytes]
    log: Path

    def kill(self) -> None:
        """End it at once, as when the power fails."""
        if self.process.poll() is None:
            for number in _children(self.process.pid):  # nsenter's: unshare, or the program
                os.kill(number, signal.SIGKILL)
        self.process.wait()

    def kill_inside(self, part: str) -> int:
        """Kill the processes of the machine with this in their command line; return how many there were."""
        found = [number for number in _descendants(self.process.pid) if part in _command_line(number)]
        for number in found:
            os.kill(number, signal.SIGKILL)
        return len(found)

    def said(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(errors="replace")

    def until(self, text: str, seconds: float = 300) -> None:
        """Wait until it has printed this."""
        deadline = time.monotonic() + seconds
        while text not in self.said():
            assert self.process.poll() is None, f"it ended before '{text}':\n{self.said()}"
            assert time.monotonic() < deadline, f"no '{text}' in {seconds} s:\n{self.said()}"
            time.sleep(0.1)


@dataclass
class Room:
    """The room. What runs in it, and on no machine, sees the disk of this machine and the network of the room."""

    process: subprocess.Popen[str] = field(init=False)

    def __enter__(self) -> Room:
        command = ["unshare", "--net", *_OWN, "bash", "-c", _ROOM]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n", "the bridge was not made; the lines above say why"
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()  # and with it all that runs in the room
        self.process.communicate()

    def start(
        self,
        command: Sequence[str],
        log: Path,
        environment: Mapping[str, str] | None = None,
        machine: Machine | None = None,
    ) -> Running:
        """Start a program in the room, or on a machine, with these variables alone and its output in a file."""
        spaces = ("--net", "--mount", "--uts", "--ipc", "--pid")
        inside = [
            "nsenter",
            "--target",
            str(self._first()),
            *spaces,
            *(machine.command(command) if machine else command),
        ]
        with log.open("wb") as file:
            variables = {**_ENVIRONMENT, **(environment or {})}
            process = subprocess.Popen(inside, env=variables, stdout=file, stderr=subprocess.STDOUT)
        if machine and machine.address:
            self._connect(process.pid, machine.name)
        return Running(process, log)

    def cut_off(self, name: str) -> None:
        """Pull the network cable of a machine: nobody is told that it is gone."""
        subprocess.run([*self._network(), "ip", "link", "del", name], capture_output=True)  # it may be gone already

    def _network(self) -> list[str]:
        return ["nsenter", "--target", str(self._first()), "--net"]

    def _first(self) -> int:
        (first,) = _children(self.process.pid)
        return first

    def _connect(self, process: int, name: str) -> None:
        """Connect a machine to the bridge: its network is that of the third process from nsenter on."""
        deadline = time.monotonic() + 30
        while len(found := _descendants(process)) < 2:
            assert time.monotonic() < deadline, f"{name} does not start"
            time.sleep(0.05)
        self.cut_off(name)  # one that was killed keeps its cable for as long as its last packets wait
        pair = ["type", "veth", "peer", "name", "eth0", "netns", str(found[1])]
        subprocess.run([*self._network(), "ip", "link", "add", name, *pair], check=True)
        subprocess.run([*self._network(), "ip", "link", "set", name, "master", "bridge0", "up"], check=True)


def _children(process: int) -> list[int]:
    """The processes that any thread of this one has started; none when it has ended."""
    found: list[int] = []
    for thread in Path(f"/proc/{process}/task").glob("*/children"):
        with suppress(OSError):
            found += map(int, thread.read_text().split())
    return found


def _descendants(process: int) -> list[int]:
    """All processes below this one, those above before those below."""
    found = _children(process)
    for number in found:  # which grows
        found += _children(number)
    return found


def _command_line(process: int) -> str:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""
