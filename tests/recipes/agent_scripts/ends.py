"""`ends.py RANK HOW`: the rank named ends as HOW says; every other one waits for ever."""

import os
import sys
import threading
import time

rank, how = sys.argv[1:]


class UnusualError(Exception):
    """Raised to be found again in the record."""


def fail(value: str) -> None:
    """A frame of its own in the traceback."""
    raise UnusualError(value + "\nwith a second line")


if os.environ["RANK"] != rank:
    time.sleep(600)
if how == "raise":
    fail("the shards are gone")
if how == "raise-beside-thread":
    threading.Thread(target=time.sleep, args=(0.5,)).start()
    fail("the shards are gone")
if how == "abort":
    print("terminate called", file=sys.stderr)
    os.abort()
if how == "nccl":
    print("gpu7:1:2 [0] transport/net.cc:1302 NCCL WARN Cuda failure 'uncorrectable ECC error encountered'")
    print("terminate called after throwing an instance of 'c10::DistBackendError'", file=sys.stderr)
    print("  what():  NCCL error in: ProcessGroupNCCL.cpp:1, unhandled cuda error", file=sys.stderr)
    print("frame #0: c10::Error::Error + 0x80", file=sys.stderr)
    os.abort()
if how == "message":
    sys.exit("no tokenizer in this directory")
if how == "interrupt":
    raise KeyboardInterrupt
if how == "fork-raises":
    child = os.fork()
    if child == 0:
        raise UnusualError("in a child")
    os.waitpid(child, 0)
    sys.exit(0)
print("the last word\n", file=sys.stderr)
sys.exit(int(how))
