"""Lines in the form in which software prints its errors, by the known error that each one is.

Written after the sources of PyTorch 2.x, NCCL 2.2x, the CUDA runtime's and the kernel's messages, Slurm 23 to 25, the
libraries of Hugging Face, Megatron-Core and Megatron-Bridge; numbers, paths and names are made up. RECORDED are what
an exception or the agent says, LOGGED are lines of a log.
"""

# ruff: noqa: E501
from __future__ import annotations

_ASYNC = " CUDA kernel errors might be asynchronously reported at some other API call"

RECORDED: dict[str, tuple[str, ...]] = {
    "gpu-ecc": (
        "RuntimeError: CUDA error: uncorrectable ECC error encountered",
        "torch.AcceleratorError: CUDA error: uncorrectable ECC error encountered" + _ASYNC,
    ),
    "gpu-nvlink": ("torch.AcceleratorError: CUDA error: uncorrectable NVLink error detected during the execution",),
    "gpu-peer-access": (
        "torch.AcceleratorError: CUDA error: Invalid access of peer GPU memory over nvlink or a hardware error",
    ),
    "gpu-lost": (
        "Unable to determine the device handle for GPU 0000:1B:00.0: GPU is lost.  Reboot the system to recover this GPU",
        "pynvml.NVMLError_GpuIsLost: GPU is lost",
    ),
    "gpu-nvml": (
        "Failed to initialize NVML: Unknown Error",
        "Failed to initialize NVML: Driver/library version mismatch",
    ),
    "gpu-none-visible": (
        "RuntimeError: No CUDA GPUs are available",
        "RuntimeError: CUDA error: no CUDA-capable device is detected",
    ),
    "gpu-ordinal": ("torch.AcceleratorError: CUDA error: invalid device ordinal",),
    "gpu-busy": ("RuntimeError: CUDA error: CUDA-capable device(s) is/are busy or unavailable",),
    "gpu-fabric": ("RuntimeError: CUDA error: system not yet initialized",),
    "gpu-driver-init": (
        "RuntimeError: CUDA driver initialization failed, you might not have a CUDA gpu.",
        "RuntimeError: CUDA initialization: CUDA unknown error - this may be due to an incorrectly set up environment",
    ),
    "gpu-driver-old": (
        "RuntimeError: The NVIDIA driver on your system is too old (found version 11040). Please update your GPU driver",
        "RuntimeError: CUDA error: CUDA driver version is insufficient for CUDA runtime version",
    ),
    "gpu-driver-unsupported": (
        "RuntimeError: CUDA error: system has unsupported display driver / cuda driver combination",
    ),
    "gpu-no-kernel": ("RuntimeError: CUDA error: no kernel image is available for execution on the device",),
    "gpu-ptx": ("RuntimeError: CUDA error: the provided PTX was compiled with an unsupported toolchain.",),
    "gpu-assert": ("torch.AcceleratorError: CUDA error: device-side assert triggered",),
    "gpu-illegal-access": (
        "RuntimeError: CUDA error: an illegal memory access was encountered",
        "RuntimeError: CUDA error: misaligned address",
    ),
    "gpu-launch-failure": (
        "RuntimeError: CUDA error: unspecified launch failure",
        "RuntimeError: CUDA error: hardware stack error",
    ),
    "gpu-unknown-error": ("RuntimeError: CUDA error: unknown error",),
    "gpu-library": (
        "RuntimeError: CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx( handle, opa, opb, m, n, k)`",
        "RuntimeError: cuDNN error: CUDNN_STATUS_INTERNAL_ERROR",
    ),
    "gpu-memory": (
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 79.11 GiB "
        "of which 1.02 GiB is free. Including non-PyTorch memory, this process has 78.08 GiB memory in use.",
        "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB (GPU 3; 79.15 GiB total capacity)",
        "RuntimeError: CUDA error: out of memory",
    ),
    "gpu-memory-library": (
        "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "RuntimeError: CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
    ),
    "killed": ("killed by SIGKILL",),
    "killed-by-others": ("killed by SIGKILL, and not by the kernel for memory",),
    "oom-kill": ("killed for memory: the kernel counts 1 oom_kill in the cgroup since the job began on this node",),
    "host-alloc": (
        "RuntimeError: [enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you "
        "tried to allocate 68719476736 bytes. Error code 12 (Cannot allocate memory)",
        "OSError: [Errno 12] Cannot allocate memory",
        "MemoryError: Unable to allocate 64.0 GiB for an array with shape (8589934592,) and data type float64",
        "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 64.0 GiB for an array with shape (8589934592,)",
    ),
    "shared-memory": (
        "RuntimeError: DataLoader worker (pid 4711) is killed by signal: Bus error. It is possible that dataloader's "
        "workers are out of shared memory. Please try to raise your shared memory limit.",
        "RuntimeError: unable to write to file </torch_4711_1234567890_0>: No space left on device (28)",
        "RuntimeError: unable to allocate shared memory(shm) for file </torch_4711_1_0>: No space left on device (28)",
        "killed by SIGBUS",
    ),
    "worker-killed": ("RuntimeError: DataLoader worker (pid 4711) is killed by signal: Killed. ",),
    "worker-lost": (
        "RuntimeError: DataLoader worker (pid(s) 4711, 4712) exited unexpectedly",
        "RuntimeError: DataLoader worker (pid 4711) exited unexpectedly with exit code 1. Details are lost due to "
        "multiprocessing. Rerunning with num_workers=0 may give better error trace.",
        "RuntimeError: Pin memory thread exited unexpectedly",
    ),
    "pinned-memory": ("RuntimeError: CUDA error: Host memory allocation failed",),
    "disk-full": (
        "OSError: [Errno 28] No space left on device: '/scratch/run/epoch_0_step_9/model.safetensors'",
        "safetensors_rust.SafetensorError: Error while serializing: I/O error: No space left on device (os error 28)",
        "OSError: [Errno 28] No space left on device (CheckpointException, 8 ranks, the first is 0)",
    ),
    "disk-quota": ("OSError: [Errno 122] Disk quota exceeded: '/home/me/run/metrics'",),
    "disk-write-torn": (
        "torch could not write a file (is its disk full?): RuntimeError: [enforce fail at inline_container.cc:664] . "
        "unexpected pos 128 vs 22",
        "RuntimeError: PytorchStreamWriter failed writing file data/3: file write failed",
    ),
    "nfs-stale": ("OSError: [Errno 116] Stale file handle: '/nfs/data/shard_0.bin'",),
    "file-server": (
        "OSError: [Errno 5] Input/output error: '/lustre/data/shard_0.bin'",
        "OSError: [Errno 107] Transport endpoint is not connected: '/mnt/fuse'",
        "OSError: [Errno 108] Cannot send after transport endpoint shutdown",
        "TimeoutError: [Errno 110] Connection timed out: '/nfs/data/shard_0.bin'",
    ),
    "read-only": ("OSError: [Errno 30] Read-only file system: '/opt/cache'",),
    "permission": ("PermissionError: [Errno 13] Permission denied: '/data/secret.bin'",),
    "no-file": ("FileNotFoundError: [Errno 2] No such file or directory: '/data/train.idx'",),
    "too-many-files": (
        "OSError: [Errno 24] Too many open files: '/data/shard_99.bin'",
        "RuntimeError: received 0 items of ancdata",
    ),
    "too-many-processes": (
        "RuntimeError: can't start new thread",
        "BlockingIOError: [Errno 11] Resource temporarily unavailable",
    ),
    "data-index": ("ValueError: mmap length is greater than file size",),
    "checkpoint-cut": (
        "safetensors_rust.SafetensorError: Error while deserializing header: MetadataIncompleteBuffer",
        "RuntimeError: PytorchStreamReader failed reading zip archive: failed finding central directory",
        "_pickle.UnpicklingError: invalid load key, 'v'.",
        "EOFError: Ran out of input",
    ),
    "hub-gated": (
        "OSError: You are trying to access a gated repo.",
        "huggingface_hub.errors.GatedRepoError: 403 Client Error. (Request ID: Root=1-abc)",
    ),
    "hub-not-found": (
        "huggingface_hub.errors.RepositoryNotFoundError: 401 Client Error. (Request ID: Root=1-abc)",
        "OSError: acme/none is not a local folder and is not a valid model identifier listed on "
        "'https://huggingface.co/models'",
        "datasets.exceptions.DatasetNotFoundError: Dataset 'acme/none' doesn't exist on the Hub or cannot be accessed.",
    ),
    "hub-unauthorized": (
        "huggingface_hub.errors.HfHubHTTPError: 401 Client Error: Unauthorized for url: https://huggingface.co/api/whoami",
        "requests.exceptions.HTTPError: Invalid user token. The token from HF_TOKEN environment variable is invalid.",
    ),
    "hub-forbidden": ("huggingface_hub.errors.HfHubHTTPError: (Request ID: Root=1-abc)  403 Forbidden: None.",),
    "hub-rate": (
        "huggingface_hub.errors.HfHubHTTPError: 429 Client Error: Too Many Requests for url: https://huggingface.co/api",
        "huggingface_hub.errors.HfHubHTTPError: 429 Too Many Requests: you have reached your 'api' rate limit.",
    ),
    "hub-down": (
        "huggingface_hub.errors.HfHubHTTPError: 503 Server Error: Service Temporarily Unavailable for url: https://hf.co",
    ),
    "hub-offline": (
        "huggingface_hub.errors.OfflineModeIsEnabled: Cannot reach https://huggingface.co/api/models/a/b: offline mode is "
        "enabled. To disable it, please unset the `HF_HUB_OFFLINE` environment variable.",
        "huggingface_hub.errors.LocalEntryNotFoundError: Cannot find the requested files in the disk cache and outgoing "
        "traffic has been disabled. To enable hf.co look-ups and downloads online, set 'local_files_only' to False.",
    ),
    "hub-unreachable": (
        "OSError: We couldn't connect to 'https://huggingface.co' to load the files, and couldn't find them in the cached "
        "files.",
        "huggingface_hub.errors.LocalEntryNotFoundError: An error happened while trying to locate the file on the Hub and "
        "we cannot find the requested files in the local cache.",
        "requests.exceptions.ConnectionError: HTTPSConnectionPool(host='huggingface.co', port=443): Max retries exceeded "
        "with url: /api",
    ),
    "hub-no-file": (
        "OSError: acme/model does not appear to have a file named config.json. Checkout 'https://huggingface.co/acme'",
        "huggingface_hub.errors.RemoteEntryNotFoundError: 404 Client Error. (Request ID: Root=1-abc)",
    ),
    "tokenizer-missing": (
        "OSError: Can't load tokenizer for 'acme/model'. If you were trying to load it from 'https://huggingface.co'",
        "ValueError: Couldn't instantiate the backend tokenizer from one of:",
        "ValueError: Unrecognized model in acme/model. Should have a `model_type` key in its config.json.",
    ),
    "tokenizer-mismatch": (
        "IndexError: index out of range in self",
        "IndexError: Target 50300 is out of bounds.",
    ),
    "slurm-node-failure": ("node 3 (gpu07) ended without a record: killed, or the node failed",),
    "python-missing": (
        "no Python 3.8 or later on gpu07: python3 is 3.6.8",
        "python 'python3.13' was not found on this node or in its container; `python` takes a path",
    ),
    "startup-command": (
        "startup command failed with exit code 1: module load cuda (Unable to locate a modulefile)",
        "startup commands: the shell was left by `exit`; it has to go on to its end",
    ),
    "agent-missing": ("node 2 never started its agent",),
    "hung": ("hung: no step for 612 s after step 41, rank 3 on gpu07 is stopped",),
    "data-changed": ("/data/blend.json: the run began with other data: shard_3.bin is longer",),
    "run-in-use": ("the run is in use by job pretrain-a1b2c3.4 (lock /runs/pretrain-a1b2c3/lock)",),
    "interrupted": ("killed by SIGINT", "ended by SIGTERM from outside"),
    "import": (
        "ModuleNotFoundError: No module named 'flash_attn'",
        "ImportError: cannot import name 'x' from 'transformers'",
        "SyntaxError: invalid syntax (train.py, line 3)",
    ),
    "library-missing": ("OSError: libcudart.so.12: cannot open shared object file: No such file or directory",),
    "world-size": (
        "RuntimeError: world_size (6) is not divisible by 4",
        "AssertionError: world size (6) is not divisible by total_model_size (model_cfg.tensor_model_parallel_size=4)",
        "ValueError: num_key_value_heads (3) must be divisible by TP size (2)",
        "ValueError: dp_size must be a multiple of dp_replicate_size",
    ),
    "batch-size": (
        "AssertionError: global batch size (30) is not divisible by micro batch size (4) times data parallel size (2)",
    ),
    "weights-shape": (
        "RuntimeError: Error(s) in loading state_dict for GPT2LMHeadModel:",
        "ValueError: Size mismatch between saved torch.Size([8, 4]) and current: torch.Size([8, 8]) for model.w",
        "megatron.core.dist_checkpointing.core.CheckpointingException: Global shape mismatch for loaded (torch.Size([8]))",
    ),
    "weights-keys": ("RuntimeError: Missing key in checkpoint state_dict: model.layers.0.mlp.weight.",),
    "checkpoint-none": (
        "megatron.core.dist_checkpointing.core.CheckpointingException: Checkpoint directory /runs/a does not exist",
        "megatron.core.dist_checkpointing.core.CheckpointingException: /runs/a is not a distributed checkpoint",
    ),
    "seed": ("AssertionError: Seed (0) should be a positive integer.",),
    "no-cuda": (
        "AssertionError: Megatron requires CUDA.",
        "ValueError: Cuda is not available.",
        "AssertionError: Torch not compiled with CUDA enabled",
        "ValueError: ProcessGroupNCCL is only supported with GPUs, no GPUs found!",
    ),
    "argument": (
        "TypeError: StepScheduler.__init__() got an unexpected keyword argument 'max_step'",
        "omegaconf.errors.ConfigAttributeError: Key 'lr' is not in struct",
    ),
    "nan-loss": (
        "the loss is not a number: 5 steps in a row, the last one 41",
        "RuntimeError: Rank 3, node gpu07, device 0, iteration 41: Unexpected result nan (message='found NaN in local "
        "forward loss calculation')",
        "RuntimeError: Function 'MulBackward0' returned nan values in its 0th output.",
    ),
    "result-differs": ("RuntimeError: Possible transient error on gpu07, device 3: result 2.31 differs from 2.29",),
    "segfault": ("killed by SIGSEGV", "killed by SIGSEGV: Fatal Python error: Segmentation fault"),
    "abort": ("killed by SIGABRT",),
    "bad-instruction": ("killed by SIGILL: Fatal Python error: Illegal instruction",),
    "triton": (
        "triton.runtime.errors.OutOfResources: out of resource: shared memory, Required: 163840, Hardware limit: 101376.",
        "torch._inductor.exc.InductorError: CalledProcessError: Command '['/usr/bin/gcc', '/tmp/x.c']' returned 1",
    ),
    "compiler": (
        "RuntimeError: Error building extension 'fused_adam'",
        "RuntimeError: Ninja is required to load C++ extensions (pip install ninja to get it)",
    ),
    "data-empty": (
        "ValueError: num_samples should be a positive integer value, but got num_samples=0",
        "AssertionError: One or both of the .idx and .bin files cannot be found at the path prefix /data/train",
        "AssertionError: bad header, cannot read: /data/train.idx",
    ),
    "data-decode": (
        "json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)",
        "UnicodeDecodeError: 'utf-8' codec can't decode byte 0x80 in position 0: invalid start byte",
        "datasets.exceptions.DatasetGenerationError: An error occurred while generating the dataset",
    ),
    "dtype": (
        "RuntimeError: mat1 and mat2 shapes cannot be multiplied (4x8 and 16x4)",
        "RuntimeError: expected scalar type BFloat16 but found Float",
        "RuntimeError: The size of tensor a (1024) must match the size of tensor b (2048) at non-singleton dimension 1",
    ),
    "unused-parameters": (
        "RuntimeError: Expected to have finished reduction in the prior iteration before starting a new one.",
    ),
    "exit-after-others": ("KeyboardInterrupt: ", "EOFError: "),
    "nccl-timeout": (
        "torch.distributed.DistBackendError: [Rank 3] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=610, "
        "OpType=ALLREDUCE, NumelIn=1, NumelOut=1, Timeout(ms)=600000) ran for 600013 milliseconds before timing out.",
        "RuntimeError: [Rank 0]: Collective timed out: Watchdog caught collective operation timeout",
    ),
    "nccl-remote": (
        "torch.distributed.DistBackendError: NCCL communicator was aborted on rank 0.",
        "torch.distributed.DistBackendError: NCCL error: remote process exited or there was a network error, NCCL 2.27.3",
    ),
    "nccl-invalid-usage": (
        "torch.distributed.DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:3690, invalid usage (run with "
        "NCCL_DEBUG=WARN for details), NCCL version 2.27.3",
    ),
    "nccl-failed": (
        "torch.distributed.DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:3690, unhandled system error (run with "
        "NCCL_DEBUG=INFO for details), NCCL version 2.27.3",
        "torch.distributed.DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:1275, internal error - please report "
        "this issue to the NCCL developers, NCCL version 2.27.3",
    ),
    "gloo-peer": (
        "RuntimeError: [gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:4711",
        "RuntimeError: [/pytorch/third_party/gloo/gloo/transport/tcp/unbound_buffer.cc:78] Timed out waiting 1800000ms "
        "for recv operation to complete",
        "RuntimeError: Gloo connectFullMesh failed with [gloo/transport/tcp/pair.cc:144] no error",
    ),
    "socket": (
        "TimeoutError: [Errno 110] Connection timed out",
        "ConnectionRefusedError: [Errno 111] Connection refused",
    ),
    "store-lost": (
        "torch.distributed.DistNetworkError: Failed to recv, got 0 bytes. Connection was likely closed. Did the remote "
        "server shutdown or crash?",
        "ConnectionResetError: [Errno 104] Connection reset by peer",
    ),
    "store-timeout": (
        "torch.distributed.DistStoreError: wait timeout after 300000ms, keys: /default_pg/0//cuda//1",
        "torch.distributed.DistStoreError: Timed out after 901 seconds waiting for clients. 15/16 clients joined.",
        "torch.distributed.DistNetworkError: The client socket has timed out after 900000ms while trying to connect to "
        "(gpu01, 29500).",
    ),
    "rendezvous": (
        "torch.distributed.elastic.rendezvous.api.RendezvousConnectionError: The connection to the C10d store has failed.",
        "torch.distributed.elastic.rendezvous.api.RendezvousClosedError: ",
    ),
    "launcher-report": ("torch.distributed.elastic.multiprocessing.errors.ChildFailedError: ",),
    "port-in-use": (
        "torch.distributed.DistNetworkError: The server socket has failed to listen on any local network address. port: "
        "29500, useIpv6: false, code: -98, name: EADDRINUSE, message: address already in use",
        "OSError: [Errno 98] Address already in use",
    ),
    "host-unknown": (
        "socket.gaierror: [Errno -2] Name or service not known",
        "torch.distributed.DistNetworkError: The IPv4 network addresses of (gpu01, 29500) cannot be retrieved "
        "(gai error: -2 - Name or service not known).",
    ),
    "ended-with-others": ("ended because another node failed", "killed by SIGTERM"),
}

_C10 = "[rank3]:[E321 02:07:08.408271257 ProcessGroupNCCL.cpp:607] "
_NCCL = "gpu07:4711:4790 [3] "

LOGGED: dict[str, tuple[str, ...]] = {
    "gpu-ecc": (
        _NCCL + "transport/net.cc:1302 NCCL WARN Cuda failure 'uncorrectable ECC error encountered'",
        "  what():  CUDA error: uncorrectable ECC error encountered",
    ),
    "gpu-lost": ("[rank0]: pynvml.NVMLError_GpuIsLost: GPU is lost",),
    "gpu-memory": (
        "[rank5]: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.50 GiB. GPU 5 has a total capacity",
        _NCCL + "include/alloc.h:223 NCCL WARN Cuda failure 2 'out of memory'",
        _NCCL + "include/alloc.h:462 NCCL WARN Failed to CUDA calloc 4194304 bytes",
    ),
    "gpu-launch-failure": (
        "  what():  [PG ID 0 PG GUID 0(default_pg) Rank 5] Process group watchdog thread terminated with exception: CUDA "
        "error: unspecified launch failure",
    ),
    "xid-48": (
        "3,901,7777777,-;NVRM: Xid (PCI:0000:1b:00): 48, pid=4711, name=python, An uncorrectable double bit error",
    ),
    "xid-63": ("NVRM: Xid (PCI:0000:1b:00): 63, pid=4711, name=python, Row Remapper: New row marked for remapping",),
    "xid-64": ("NVRM: Xid (PCI:0000:1b:00): 64, pid='<unknown>', name=<unknown>, Row Remapper: Failed to remap row",),
    "xid-74": (
        "NVRM: Xid (PCI:0000:1b:00): 74, pid=4711, name=python, NVLink: fatal error detected on link 6(0x0, 0x0)",
    ),
    "xid-79": (
        "[123456.789012] NVRM: Xid (PCI:0000:1b:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.",
    ),
    "xid-92": ("NVRM: Xid (PCI:0000:1b:00): 92, pid=4711, name=python, High single-bit ECC error rate",),
    "xid-94": ("NVRM: Xid (PCI:0000:1b:00): 94, pid=4711, name=python, Contained: SM (0x1). RST: No, D-RST: No",),
    "xid-95": ("NVRM: Xid (PCI:0000:1b:00): 95, pid=4711, name=python, Uncontained: FBHUB. RST: Yes, D-RST: No",),
    "xid-gsp": (
        "NVRM: Xid (PCI:0000:1b:00): 119, pid=4711, name=python, Timeout after 6s of waiting for RPC response from GPU0 "
        "GSP! Expected function 76 (GSP_RM_CONTROL) (0x20808513 0x598).",
        "NVRM: Xid (PCI:0000:1b:00): 120, pid=4711, name=python, GSP Error: Task 1 raised error code 0x5 for reason 0x0",
    ),
    "xid-140": (
        "NVRM: Xid (PCI:0000:1b:00): 140, pid='<unknown>', name=<unknown>, An uncorrectable ECC error detected",
    ),
    "xid-nvlink-5": (
        "NVRM: Xid (PCI:0000:1b:00): 149, pid='<unknown>', name=<unknown>, NETIR_LINK_EVT  Fatal   XC0 i0",
    ),
    "xid-program": (
        "NVRM: Xid (PCI:0000:1b:00): 31, pid=4711, name=python, Ch 00000018, intr 00000000. MMU Fault: ENGINE GRAPHICS",
        "NVRM: Xid (PCI:0000:1b:00): 13, pid=4711, name=python, Graphics SM Warp Exception on (GPC 2, TPC 0, SM 0)",
    ),
    "xid-cleanup": (
        "NVRM: Xid (PCI:0000:1b:00): 43, pid=4711, name=python, Ch 00000018",
        "NVRM: Xid (PCI:0000:1b:00): 45, pid=4711, name=python, Ch 00000018",
    ),
    "host-oom-cgroup": (
        "3,1201,88888888,-;Memory cgroup out of memory: Killed process 4711 (python) total-vm:92048712kB, anon-rss:6712kB",
        "6,1200,88888887,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=step_0,mems_allowed=0-1,"
        "oom_memcg=/slurm/job_42,task_memcg=/slurm/job_42/step_0,task=python,pid=4711,uid=1000",
    ),
    "host-oom": (
        "[123456.789012] Out of memory: Killed process 4711 (python) total-vm:92048712kB, anon-rss:67108864kB, UID:1000",
    ),
    "slurm-oom": (
        "slurmstepd: error: Detected 1 oom_kill event in StepId=11300781.0. Some of the step tasks have been OOM Killed.",
        "slurmstepd-gpu07: error: Detected 2 oom-kill event(s) in StepId=191.0 cgroup.",
        "srun: error: gpu07: task 0: Out Of Memory",
        "slurmstepd: error: Step 42.0 exceeded memory limit (2097152 > 1048576), being killed",
    ),
    "shared-memory": (
        "ERROR: Unexpected bus error encountered in worker. This might be caused by insufficient shared memory (shm).",
        _NCCL
        + "misc/shmutils.cc:87 NCCL WARN Error while creating shared memory segment /dev/shm/nccl-abc (size 9637888)",
    ),
    "worker-killed": ("[rank1]: RuntimeError: DataLoader worker (pid 4711) is killed by signal: Killed. ",),
    "slurm-node-failure": (
        "slurmstepd-gpu07: error: *** STEP 42.0 ON gpu07 CANCELLED AT 2026-11-27T02:07:08 DUE TO NODE FAILURE, SEE "
        "SLURMCTLD LOG FOR DETAILS ***",
        "srun: error: Node failure on gpu07",
    ),
    "slurm-time-limit": (
        "slurmstepd-gpu07: error: *** JOB 42 ON gpu07 CANCELLED AT 2026-11-27T02:07:08 DUE TO TIME LIMIT ***",
    ),
    "slurm-preempted": (
        "slurmstepd-gpu07: error: *** JOB 42 ON gpu07 CANCELLED AT 2026-11-27T02:07:08 DUE TO PREEMPTION ***",
    ),
    "slurm-requeued": (
        "slurmstepd-gpu07: error: *** JOB 42 ON gpu07 CANCELLED AT 2026-11-27T02:07:08 DUE TO JOB REQUEUE ***",
    ),
    "slurm-cancelled": (
        "slurmstepd-gpu07: error: *** STEP 42.0 ON gpu07 CANCELLED AT 2026-11-27T02:07:08 ***",
        "srun: Job step aborted: Waiting up to 32 seconds for job step to finish.",
        "srun: Terminating StepId=42.0",
    ),
    "slurm-step-creation": (
        "srun: error: Unable to create step for job 42: Job/step already completing or completed",
        "srun: error: Task launch for StepId=42.0 failed on node gpu07: Unspecified error",
    ),
    "slurm-prolog": ("slurmstepd: error: Prolog failed for job 42 on gpu07 (exit 1)",),
    "container-import": (
        "slurmstepd: error: pyxis: failed to import docker image",
        "[ERROR] URL https://nvcr.io/v2/nvidia/nemo/manifests/none returned error code: 404 Not Found",
    ),
    "container-start": (
        "slurmstepd: error: pyxis: container start failed with error code: 1",
        "slurmstepd: error: pyxis: couldn't start container",
    ),
    "library-missing": ("[rank0]: ImportError: /opt/x.so: undefined symbol: _ZN3c104cuda9SetDeviceEi",),
    "weights-keys": ('[rank0]: RuntimeError: Missing key(s) in state_dict: "lm_head.weight". ',),
    "segfault": ("Fatal Python error: Segmentation fault", "malloc(): invalid size (unsorted)"),
    "abort": ("Fatal Python error: Aborted",),
    "nccl-timeout": (
        _C10
        + "[Rank 3] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=610, OpType=ALLREDUCE, NumelIn=1)",
        _C10
        + "[PG ID 2 PG GUID 9 Rank 4] Timeout at NCCL work: 610, last enqueued NCCL work: 616, last completed NCCL",
        _C10 + "[Rank 4] Some NCCL operations have failed or timed out. Due to the asynchronous nature of CUDA kernels",
        _C10 + "[PG 1 Rank 0] Exception (either an error or timeout) detected by watchdog at work: 1580, last enqueued",
    ),
    "nccl-heartbeat": (
        _C10
        + "[PG 0 Rank 3] ProcessGroupNCCL's watchdog got stuck for 480 seconds without making progress in monitoring",
        _C10 + "[PG 0 Rank 3] Heartbeat monitor timed out! Process will be terminated after dumping debug info.",
        _C10 + "[PG 0 Rank 3] Received a dump signal due to a collective timeout from rank 5",
    ),
    "nccl-remote": (
        _NCCL + "NCCL WARN socketProgress: Connection closed by remote peer gpu03<47110>",
        _NCCL + "proxy.cc:1458 NCCL WARN Proxy Call to rank 5 failed (Connect)",
    ),
    "nccl-ib-completion": (
        _NCCL + "transport/net_ib.cc:1295 NCCL WARN NET/IB : Got completion from peer 10.0.0.3<54862> with status=12 "
        "opcode=0 len=0 vendor err 129 (Recv) localGid ::ffff:10.0.0.1",
    ),
    "nccl-ib-fatal": (
        _NCCL + "transport/net_ib.cc:99 NCCL WARN NET/IB : mlx5_3:1 async fatal event: local catastrophic error",
    ),
    "nccl-ib-port": (_NCCL + "NCCL WARN NET/IB : mlx5_3:1 Got non-fatal async event: port error(10)",),
    "nccl-ib-registration": (
        _NCCL + "misc/ibvwrap.cc:262 NCCL WARN Call to ibv_reg_mr failed with error Cannot allocate memory",
    ),
    "nccl-ib-connect": (
        _NCCL + "misc/ibvwrap.cc:301 NCCL WARN Call to ibv_modify_qp failed with error No such device",
        _NCCL + "misc/socket.cc:484 NCCL WARN Call to connect to 10.0.0.3<47110> failed : No route to host",
    ),
    "nccl-no-interface": (_NCCL + "bootstrap.cc:45 NCCL WARN Bootstrap : no socket interface found",),
    "nccl-versions": (
        _NCCL + "init.cc:1043 NCCL WARN Mismatched NCCL version detected : rank 0 version 22703 rank 8 version 22105",
    ),
    "nccl-duplicate-gpu": (
        _NCCL + "init.cc:1061 NCCL WARN Duplicate GPU detected : rank 1 and rank 0 both on CUDA device 1b000",
    ),
    "store-lost": (
        "[rank3]:[E321 02:07:08.408271257 TCPStore.cpp:106] Failed to recv, got 0 bytes. Connection was likely closed.",
    ),
}
