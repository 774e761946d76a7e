"""Memory: of GPUs, of the host, and the part of it that processes share."""

from __future__ import annotations

from .signature import EITHER, MAY, ROOT, Signature

_SMALLER = (
    "a smaller local_batch_size (micro_batch_size), activation checkpointing, more GPUs for one model (tp, pp, fsdp); "
    "where much is reserved but not allocated: PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True in env_vars"
)
_HOST = "more `mem` in the profile, fewer data loader workers (num_workers), a smaller prefetch_factor"
_SHM = "shm_size (docker) or a larger /dev/shm on the node; else fewer data loader workers (num_workers)"

MEMORY = (
    Signature(
        "gpu-memory",
        ROOT,
        r"(?:CUDA )?out of memory\b|CUDA failed with error out of memory|Failed to CUDA (?:m|c)alloc"
        r"|(?:[\w.]+\.)?OutOfMemoryError: ",
        "a GPU's memory is full",
        _SMALLER,
    ),
    Signature(
        "gpu-memory-library",
        ROOT,
        r"(?:CUDA error: )?CUBLAS_STATUS_(?:ALLOC_FAILED|NOT_INITIALIZED)|CUDNN_STATUS_ALLOC_FAILED",
        "a library of CUDA's got no memory on the GPU: it is full",
        _SMALLER,
    ),
    Signature(
        "host-oom-cgroup",
        ROOT,
        r"Memory cgroup out of memory: Killed process \d+|oom-kill:constraint=CONSTRAINT_MEMCG",
        "the job's processes needed more of the node's memory than it was given, and the kernel has killed one",
        _HOST,
    ),
    Signature(
        "host-oom",
        ROOT,
        r"Out of memory: Killed process \d+|oom-kill:constraint=CONSTRAINT_NONE",
        "the node's memory was full, and the kernel has killed a process of the job",
        _HOST,
    ),
    Signature(
        "slurm-oom",
        ROOT,
        r"Detected \d+ oom[_-]kill event|.*\bOut [Oo]f [Mm]emory \(OOM\)|task \d+(?:-\d+)?: Out Of Memory"
        r"|(?:Step|Job) \S+ exceeded (?:virtual )?memory limit|Exceeded job memory limit",
        "the job's processes needed more of a node's memory than Slurm has given it",
        _HOST,
    ),
    Signature(
        "oom-kill",
        ROOT,
        r"killed for memory: the kernel counts \d+ oom_kill",
        "memory was used up, the job's own or the node's, and the kernel has killed a process of the job",
        _HOST,
    ),
    Signature(
        "killed-by-others",
        EITHER,
        r"killed by SIGKILL, and not by the kernel for memory",
        "somebody has killed the process: a person, or another program",
        "it runs again as it is; if it happens again: who, or which clean-up program, may end processes on that node?",
    ),
    Signature(
        "killed",
        EITHER,
        r"killed by SIGKILL",
        "somebody has killed the process: a person, another program, or the kernel, where memory was used up",
        "`dmesg` on that node would say whether it was memory; if so: " + _HOST,
    ),
    Signature(
        "host-alloc",
        ROOT,
        r"\[enforce fail at (?:alloc_cpu|CPUAllocator)\.cpp:\d+\]|DefaultCPUAllocator: (?:can't allocate|not enough)"
        r"|std::bad_alloc|\[Errno 12\] Cannot allocate memory|(?:[\w.]+\._?)?(?:Array)?MemoryError\b",
        "the process got no more of the node's memory",
        _HOST,
    ),
    Signature(
        "shared-memory",
        ROOT,
        r"DataLoader worker \(pid \d+\) is killed by signal: Bus error"
        r"|ERROR: Unexpected bus error encountered in worker"
        r"|unable to (?:write to|allocate shared memory\(shm\) for) file </torch_"
        r"|unable to mmap \d+ bytes from file </torch_|killed by SIGBUS"
        r"|Error while (?:creating|attaching to) shared memory segment|posix_fallocate failed : No space left",
        "/dev/shm, through which processes of a node pass data, is full",
        _SHM,
    ),
    Signature(
        "worker-killed",
        EITHER,
        r"DataLoader worker \(pid \d+\) is killed by signal: Killed",
        "a data loader's process was killed: most often the kernel, because the node's memory was used up",
        _HOST,
    ),
    Signature(
        "worker-lost",
        EITHER,
        r"DataLoader worker \(pid(?:\(s\))? [\d, ]+\) (?:is killed by signal|exited unexpectedly)"
        r"|Pin memory thread exited unexpectedly",
        "a data loader's process has ended without saying why",
        "num_workers: 0 shows its error; an error of the node's memory or of the data's format is most likely",
    ),
    Signature(
        "pinned-memory",
        ROOT,
        r"(?:CUDA error: )?(?:CUDA )?(?:Host|pinned) (?:memory )?alloc\w* failed|.*cudaHostAlloc.* failed",
        "the node gave no more pinned memory, which a GPU reaches directly",
        _HOST + "; pin_memory: false",
        MAY,
    ),
)
