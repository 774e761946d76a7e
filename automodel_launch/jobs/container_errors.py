"""Why a container did not start, from what pyxis, enroot, apptainer and slurmstepd wrote into a job's logs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from automodel_launch.jobs import container_advice
from automodel_launch.jobs.start_logs import NOISE, SPEAKS

_SPEAKER = re.compile(r"^(?:\d+: )?(?:(?:slurmstepd(?:-([^: ]+))?|srun): )?(?:error: )?(?:pyxis(?: \([^)]*\))?: ?)?")
_IMAGE = re.compile(r"(?:filesystem for image|import docker image): (\S+)")
# As executors/mounts.py has bash say it.
_UNSET = re.compile(r"\b(\w+): is not set, and mounts or container_image name it$", re.MULTILINE)
# Of the lines whose kind is not known, from those that tell most: what stands last is said of every failure.
_TELLING = (
    r"\[ERROR\](?!.*exited with return code)|FATAL",
    r"^ {4}.*([Ee]rror|fail|[Cc]annot|[Cc]ould ?n.t|[Nn]ot |[Dd]enied|[Ii]nvalid|[Uu]nknown)",
    r"\[WARN\]",
    r"^ {4}",
    r"exited with return code",
    r"^(?!child |container start|container was not started|failed to (import|create)|spank: |.*a previous task)",
    r"failed to (import|create)",
    r"",
)


@dataclass(frozen=True)
class Reason:
    """The line that tells most, with what to do; `of_step`: it stands in the step's log."""

    text: str
    of_step: bool = False


@dataclass(frozen=True)
class _Line:
    text: str
    node: str | None
    nodes: int
    of_step: bool


def reason(log: str, step: Sequence[str] = ()) -> Reason | None:
    """Why; None where no container is spoken of.

    `log` is that of the batch script, `step` has the step's lines as `start_logs.question` prints them.
    """
    unset = _UNSET.search(log)
    if unset:
        return Reason(
            f"{unset[1]} is not set in a login shell there, and mounts or container_image name it; write the path out"
        )
    lines = [_line(text, int(count), True) for count, _, text in (line.partition(" ") for line in step)]
    speaks = (line for line in log.splitlines() if re.search(SPEAKS, line) and not re.search(NOISE, line))
    lines += [_line(text, 1, False) for text in speaks]
    if not lines:
        return None
    best, advice = _best(lines)
    image = next((match[1] for line in lines if (match := _IMAGE.search(line.text))), None)
    return Reason(_words(best, image, advice), best.of_step)


def _line(text: str, nodes: int, of_step: bool) -> _Line:
    speaker = _SPEAKER.match(text)
    node = speaker[1] if speaker else None
    return _Line(text[speaker.end() if speaker else 0 :], node, nodes, of_step)


def _best(lines: list[_Line]) -> tuple[_Line, str | None]:
    for pattern, advice in container_advice.KINDS:
        for line in lines:
            if re.search(pattern, line.text):
                return line, advice
    found = (line for pattern in _TELLING for line in lines if re.search(pattern, line.text))
    return next(found), None


def _words(line: _Line, image: str | None, advice: str | None) -> str:
    text = re.sub(r"\[(ERROR|WARN)\]|FATAL: ", "", line.text).strip()[:300]
    about = [f"image {image}"] if image and image not in text else []
    if line.node:
        more = line.nodes - 1
        about.append(f"on {line.node}" + (f" and {more} other node{'s' if more > 1 else ''}" if more else ""))
    text += f" ({', '.join(about)})" if about else ""
    return f"{text}; {advice}" if advice else text
