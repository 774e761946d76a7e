"""What lies on a node: its processes as this machine sees them, and its Python, which can be missing."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.slurm.chaos.commands import Commands
from tests.slurm.cluster import Cluster

NODES = range(1, 5)
_PYTHONS = re.compile(r"python3(\.\d+)?|platform-python")
_FOLDERS = ("/usr/local/bin", "/usr/bin", "/usr/libexec")


class Nodes(Cluster):
    """The cluster; the nodes' interpreters stand behind programs that can fail."""

    def __init__(self, commands: Commands) -> None:
        super().__init__("--dbd")
        self._commands = commands

    def up(self) -> None:
        """Start it."""
        super().up()
        for node in NODES:
            self._wrap(node)

    def start_node(self, node: int) -> None:
        """Power on again."""
        super().start_node(node)
        self._wrap(node)

    def pid_file(self, node: int) -> Path:
        """Holds the process whose namespaces are the node's."""
        return self.dir / "run" / f"node.c{node}.pid"

    def is_on(self, node: int) -> bool:
        """Whether the node has power."""
        return self.pid_file(node).exists() and bool(self.processes(node))

    def _wrap(self, node: int) -> None:
        files = (path for folder in _FOLDERS for path in Path(folder).glob("*"))
        found = {path.resolve() for path in files if _PYTHONS.fullmatch(path.name)}
        lines = []
        for path in sorted(found):
            ours, real = self._commands.python(path.name)
            lines += [f"mount --bind {path} {real}", f"mount --bind {ours} {path}"]
        pid = self.pid_file(node).read_text().strip()
        subprocess.run(["nsenter", "-t", pid, "-m", "bash", "-ec", "\n".join(lines)], check=True)

    def processes(self, node: int) -> dict[int, str]:
        """Every process in the node's namespace, as pid here and command line; zombies left out."""
        try:
            outside = int(self.pid_file(node).read_text())
            (init,) = Path(f"/proc/{outside}/task/{outside}/children").read_text().split()
            wanted = Path(f"/proc/{init}/ns/pid").readlink()
        except (OSError, ValueError):
            return {}
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if (folder / "ns" / "pid").readlink() == wanted and (line := command_line(folder)):
                    found[int(folder.name)] = line
            except OSError:  # it has ended meanwhile
                continue
        return found

    def of_jobs(self, node: int) -> dict[int, str]:
        """Those that are not the node's own."""
        own = re.compile(r"slurmd |bash -c .*init c\d|sleep \d+$", re.S)
        return {pid: line for pid, line in self.processes(node).items() if not own.match(line)}

    def batch_script(self, slurm_id: int) -> int | None:
        """The pid here of a job's batch script."""
        wanted = re.compile(rf"/job0*{slurm_id}/slurm_script")
        found = {pid: line for node in NODES for pid, line in self.processes(node).items()}
        return next((pid for pid, line in sorted(found.items()) if wanted.search(line)), None)


def command_line(folder: Path) -> str:
    """Of a process of /proc; empty for a zombie or a thread of the kernel."""
    return (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()


def numbers(nodes: str) -> list[int]:
    """c[1-2,4] -> 1, 2, 4"""
    parts = [part.partition("-") for part in nodes.strip("c[]").split(",")]
    return [number for first, _, last in parts for number in range(int(first), int(last or first) + 1)]
