"""Disks, file systems and what lies there."""

from __future__ import annotations

from .signature import EITHER, HELPS, ROOT, Signature

STORAGE = (
    Signature(
        "disk-full",
        ROOT,
        r"(?:[\w.]+\.)?(?:\w+Error: )?.*(?:\[Errno 28\] No space left on device|No space left on device)",
        "a file system is full",
        "make room there (`df -h`, `df -i`: inodes count, too), then `launch.py resume JOB`",
    ),
    Signature(
        "disk-quota",
        ROOT,
        r".*(?:\[Errno 122\] )?Disk quota exceeded",
        "your quota on that file system is used up",
        "make room there, or ask for more, then `launch.py resume JOB`",
    ),
    Signature(
        "disk-write-torn",
        ROOT,
        r".*(?:PytorchStreamWriter failed writing|\[enforce fail at inline_container\.cc:\d+\] \. unexpected pos)",
        "a checkpoint could not be written to its end: the disk is full, or the file system failed",
        "`df -h` of the checkpoint's directory; your quota",
    ),
    Signature(
        "nfs-stale",
        ROOT,
        r".*(?:\[Errno 116\] )?Stale (?:NFS )?file handle",
        "a file was replaced or removed on the file server while a node held it open, or the node's mount is stale",
        "nothing, if it comes once; where a node says it again and again, tell the operators",
        HELPS,
    ),
    Signature(
        "file-server",
        ROOT,
        # Of a socket the same words come without a file's name.
        r".*\[Errno (?:5\] Input/output error|108\] Cannot send after|121\] Remote I/O error"
        r"|(?:107\] Transport endpoint is not connected|110\] Connection timed out|112\] Host is down): b?['\"])",
        "a file system does not answer that node, or a disk fails",
        "tell the operators; nothing of the job is to be changed",
        HELPS,
    ),
    Signature(
        "read-only",
        ROOT,
        r".*\[Errno 30\] Read-only file system",
        "the file system cannot be written: in a container often the image itself",
        "write to a mount (`mounts`, the run's directory); a disk that has become read-only is the operators' business",
    ),
    Signature(
        "permission",
        ROOT,
        r"(?:[\w.]+\.)?PermissionError: |\[Errno 13\] Permission denied",
        "the job's user may not read or write that file",
        "owner and mode on the node (`ls -l`); in a container the user may be another one",
    ),
    Signature(
        "no-file",
        EITHER,
        r"(?:[\w.]+\.)?FileNotFoundError: |\[Errno 2\] No such file or directory",
        "a file is not there on that node",
        "the path in the config; a disk of one node only, or a mount that the container lacks (`mounts`)",
    ),
    Signature(
        "too-many-files",
        ROOT,
        r".*\[Errno 24\] Too many open files|.*received 0 items of ancdata",
        "the process has as many files open as it may",
        "ulimit -n 65536 as a setup line, or fewer data loader workers; sharing strategy file_system of torch",
    ),
    Signature(
        "too-many-processes",
        ROOT,
        r".*(?:\[Errno 11\] (?:Resource temporarily unavailable|write could not complete)|can't start new thread"
        r"|pthread_create failed|Resource temporarily unavailable)",
        "the user has as many processes and threads on that node as allowed",
        "ulimit -u as a setup line, OMP_NUM_THREADS=1, fewer data loader workers",
    ),
    Signature(
        "data-index",
        ROOT,
        r".*mmap length is greater than file size|.*The memory map is smaller than"
        r"|buffer is smaller than requested size",
        "an index or shard of the data is cut short",
        "`launch.py data-prep inspect PATH`; an index that was left by a killed start may be removed",
    ),
    Signature(
        "checkpoint-cut",
        ROOT,
        r".*(?:Error while deserializing header|MetadataIncompleteBuffer|HeaderTooLarge|InvalidHeaderDeserialization)"
        r"|PytorchStreamReader failed|invalid load key|.*failed finding central directory|Ran out of input",
        "a file of weights or of a checkpoint is cut short, or no such file at all (a Git LFS pointer, a web page)",
        "its size and its first bytes (`head -c 100`); fetch it again",
    ),
)
