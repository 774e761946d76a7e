"""How software prints an error: a head that says who speaks, and the message behind it.

A line that merely holds an error's words, such as a user's own print, is none: the head has to be there.
"""

from __future__ import annotations

from typing import Iterator

from ..patterns import pattern

# torch and torchrun mark lines with their rank; `[rank3]: `, `[default3]:`
_RANK = r"\s*(?:\[(?:rank|default)\d+\]: ?)?"
_TIME = r"(?:\[\d{4}-\d\d-\d\d[ T][\d:.,]+\] )?"
_HEADS = (
    # Python: the last line of a traceback. A warning's class does not end like that.
    r"(?:[A-Za-z_]\w*\.)*_?[A-Z]\w*(?:Error|Exception|Interrupt|Mismatch|Failed|Resources)(?:_\w+)?: (?=\S)",
    r"(?:[A-Za-z_]\w*\.)*(?:OfflineModeIsEnabled|gaierror): (?=\S)",
    # c10: `[rank0]:[E321 02:07:08.408271257 ProcessGroupNCCL.cpp:607] [Rank 0] `; W and I are no errors
    r"\[[EF] ?[\d: .]*\S+\.(?:cpp|cc|hpp|h):\d+\] ",
    r"\s*what\(\): +",  # C++: terminate called after throwing an instance of
    # NCCL: `host:123:456 [0] transport/net.cc:1302 NCCL WARN `
    _TIME + r"\S+:\d+:\d+ \[\d+\] (?:\S+:\d+ )?NCCL WARN ",
    r"Last error: ?",
    r"(?=Fatal Python error: )",
    r"(?:\d+: )?(?:slurmstepd|srun)(?:-[^\s:]+)?: (?:error: )?(?:\S+: (?=tasks? \d))?",
    r"(?:\d+: )?pyxis: ",
    r"(?=\[ERROR\] )",  # enroot
    # the kernel, behind what /dev/kmsg or dmesg puts before it
    r"(?:\d+,\d+,\d+,[^;]*;|\[ *\d+\.\d+\] )?(?:NVRM: (?=Xid )|(?=(?:Memory cgroup out of"
    r"|Out of) memory: Killed process ))",
    r"(?:\d+,\d+,\d+,[^;]*;|\[ *\d+\.\d+\] )?(?=oom-kill:constraint=)",
    r"(?=(?:malloc|free|munmap_chunk)\(\): |double free or corruption|corrupted (?:size|double-linked)"
    r"|\*\*\* stack smash)",
    r"(?=ERROR: Unexpected bus error encountered in worker)",
)
_HEAD = pattern(f"{_RANK}(?:{'|'.join(_HEADS)})")
_MORE = pattern(
    r"(?:NCCL WARN |\[(?:PG|Rank)[^\]]*\]:? |Caught \w+ in [\w ]+\. |(?:Process group"
    r"|NCCL) watchdog thread terminated with"
    r" exception: (?=\[|NCCL|CUDA)|CUDA error: |CUDA failure: |Cuda failure (?:\d+ )?'|RuntimeError: )"
)
_OF_AGENT = pattern(r"killed by SIG\w+: (?=\S)|torch could not write a file \(is its disk full\?\): |[Ee]rror: ")


# Numbers that no known error is told by: of hosts, processes and ranks, where C++ speaks; addresses, sizes, ports.
_CPP = pattern(r"NCCL WARN |\[[EF] ?[\d: .]*\S+\.(?:cpp|cc|hpp|h):\d+\] |\s*what\(\)")
_ANY_NUMBER = pattern(r"\d+")
_LARGE_NUMBER = pattern(r"0x[0-9a-f]+|\d{4,}|(?<=rank)\d+|(?<=[Rr]ank )\d+|:\d+\b")


def is_error(line: str) -> bool:
    """Whether the line has a head of an error."""
    return _HEAD.match(line) is not None


def without_numbers(line: str) -> str:
    """What is the same of lines that mean the same."""
    return (_ANY_NUMBER if _CPP.search(line) else _LARGE_NUMBER).sub("#", line)


def messages(text: str) -> Iterator[str]:
    """The text as it is, and without what stands before its message, each head less; the most special comes first."""
    found: list[str] = []
    rest = text.strip()
    while rest not in found and len(found) < 8:
        found.append(rest)
        head = _HEAD.match(rest) or _MORE.match(rest) or _OF_AGENT.match(rest)
        rest = rest[head.end() :] if head else rest
    return reversed(found)
