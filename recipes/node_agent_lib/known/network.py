"""What ranks say to each other: NCCL, gloo, torch's store, InfiniBand. Most of it only shows that a peer is gone."""

from __future__ import annotations

from .signature import CASCADE, HELPS, MAY, ROOT, Signature

_PEER = "another rank ended first: look for its error"
_LATE = (
    "some rank came late or not at all: it failed, hangs, or does something else (saving, loading, other data). "
    "logs/stack-*.txt; dist_env.timeout_minutes, where a step may really take so long"
)
_LINK = "`launch.py doctor --gpu PROFILE` measures links; tell the operators the node and this line"

NETWORK = (
    Signature(
        "nccl-timeout",
        CASCADE,
        r"Watchdog caught collective operation timeout|Collective (?:operation )?tim(?:ed out|eout)"
        r"|(?:Some NCCL operations have failed or timed out|Timeout at NCCL work|Work .* timed out in blocking wait)"
        r"|(?:Process group|NCCL) watchdog thread terminated with exception|Exception \(either an error or timeout\)",
        "a collective did not end within its time limit",
        _LATE,
    ),
    Signature(
        "nccl-heartbeat",
        CASCADE,
        r"ProcessGroupNCCL's watchdog got stuck|Heartbeat monitor timed out|First PG on this rank that detected no"
        r" heartbeat|Received a dump signal|Observed flight recorder dump signal",
        "NCCL's watchdog waited for a GPU or for CUDA itself, or another rank told this one to end",
        _LATE,
    ),
    Signature(
        "nccl-remote",
        CASCADE,
        r"ncclRemoteError|NCCL communicator (?:was|is) aborted|NCCL error: remote process exited"
        r"|.*(?:socketProgress|socketPollConnect|socketProgressOpt): Connection closed by remote peer"
        r"|.*\bremote process exited or there was a network error|Proxy Call to rank \d+ failed"
        r"|(?:\S+ )?Connect to \S+ failed : (?:Connection refused|Software caused connection abort)"
        r"|Accept thread failed|communicator encountered a fatal error",
        "NCCL has lost the connection to another rank",
        _PEER,
    ),
    Signature(
        "nccl-ib-completion",
        CASCADE,
        r"NET/IBP? ?: ?Got completion|transport retry counter exceeded|RNR retry counter exceeded",
        "InfiniBand's adapter got no answer from another node: that node or the link to it is gone",
        "did another node fail? Else " + _LINK,
        HELPS,
        True,
    ),
    Signature(
        "nccl-ib-fatal",
        ROOT,
        r"NET/IB ?: \S+ (?:async fatal event|Got async event ?: local catastrophic)|.*local catastrophic error"
        r"|local work queue operation error",
        "the node's InfiniBand adapter has failed",
        _LINK,
        HELPS,
        True,
    ),
    Signature(
        "nccl-ib-port",
        CASCADE,
        r"NET/IB ?: \S+ Got (?:async event ?: (?:port error|client reregistration)|non-fatal async event: port error)",
        "the node's InfiniBand link was down for a moment",
        _LINK,
        HELPS,
    ),
    Signature(
        "nccl-ib-registration",
        ROOT,
        r"Call to ibv_(?:reg_mr|create_qp|create_cq|alloc_pd|reg_mr_iova2|reg_dmabuf_mr)\w* failed"
        r"|NET/IB ?: .*(?:Cannot|Failed to) (?:register|allocate) memory",
        "the node's InfiniBand adapter could not be given memory: mostly the limit of locked memory",
        "ulimit -l unlimited as a setup line; in a container --ulimit memlock=-1; else the operators",
    ),
    Signature(
        "nccl-ib-connect",
        CASCADE,
        r"Call to ibv_\w+ failed|Call to (?:connect|bind|recv|send) (?:to \S+ )?failed|NET/Socket ?: ",
        "NCCL could not reach another node",
        "NCCL_SOCKET_IFNAME, NCCL_IB_HCA: the interfaces that all nodes share; " + _LINK,
    ),
    Signature(
        "nccl-no-interface",
        ROOT,
        r"Bootstrap : no socket interface found|NET/Socket : [Nn]o usable listening interface"
        r"|.*no device found matching",
        "NCCL found none of the network interfaces that it was told to use",
        "NCCL_SOCKET_IFNAME (NCCL_OOB_NET_IFNAME) in env_vars has to name an interface that every node has",
    ),
    Signature(
        "nccl-versions",
        ROOT,
        r"Mismatched NCCL version detected",
        "the nodes load different versions of NCCL",
        "one image for all nodes; LD_LIBRARY_PATH and LD_PRELOAD must not differ",
    ),
    Signature(
        "nccl-duplicate-gpu",
        ROOT,
        r"Duplicate GPU detected|Multiple Ranks are using the same GPU",
        "two ranks of a node use one GPU",
        "nproc_per_node of the profile must not exceed the GPUs that Slurm gives; CUDA_VISIBLE_DEVICES",
    ),
    Signature(
        "nccl-invalid-usage",
        ROOT,
        r"ncclInvalidUsage|NCCL error .*invalid usage",
        "NCCL was called wrongly: ranks whose tensors differ in size, or two ranks on one GPU",
        "NCCL_DEBUG=WARN in env_vars says which",
    ),
    Signature(
        "nccl-failed",
        CASCADE,
        r"NCCL (?:error|Error) |NCCL error in: |ncclUnhandledCudaError|ncclSystemError|ncclInternalError"
        r"|NCCL WARN |(?:[\w.]+\.)?DistBackendError: ",
        "NCCL has failed; its own reason stands in the log",
        "NCCL_DEBUG=WARN in env_vars says more",
    ),
    Signature(
        "gloo-peer",
        CASCADE,
        r"\[[^\]]*gloo/transport/[^\]]*\] (?:Connection closed by peer|Read error|Write error|Timed out waiting"
        r"|Application timeout)|.*Gloo connectFullMesh failed|Application timeout caused pair closure",
        "gloo has lost the connection to another rank, or waited too long for it",
        _PEER,
    ),
    Signature(
        "store-lost",
        CASCADE,
        r"(?:Failed to recv, got 0 bytes|recvValue(?:WithTimeout)? failed on|sendBytes failed on)"
        r"|.*Connection was likely closed\. Did the remote server shutdown|Broken pipe$"
        r"|(?:\[Errno \d+\] )?(?:Connection reset by peer|Broken pipe)|failed to recv, got 0 bytes"
        r"|.*\b(?:TCPStore|store) .*(?:Connection (?:reset|refused|closed))",
        "the store through which ranks meet is gone; it runs on rank 0's node",
        _PEER,
    ),
    Signature(
        "store-timeout",
        CASCADE,
        r"wait timeout after \d+ms, keys: |Timed out after \d+ seconds waiting for clients|Socket Timeout"
        r"|Timeout waiting for key: |.*The client socket has timed out after|Operation timed out!"
        r"|TCP client failed to connect/validate to host|The client socket has failed to connect",
        "not all ranks have met in time: a node starts late, failed, or cannot reach the head node",
        "is there an error of another node? Else a firewall, or a head node's name that nodes resolve differently",
    ),
    Signature(
        "rendezvous",
        CASCADE,
        r"(?:[\w.]+\.)?Rendezvous(?:Connection|Closed|Timeout|Graceful\w*|State)\w*Error|.*rendezvous.* closed",
        "ranks could not meet, since the agents of some have ended",
        _PEER,
    ),
    Signature(
        "launcher-report",
        CASCADE,
        r"(?:[\w.]+\.)?(?:ChildFailedError|SignalException|ProcessRaisedException|ProcessExitedException)\b",
        "the launcher of the ranks says that one has failed",
        _PEER,
    ),
    Signature(
        "port-in-use",
        ROOT,
        r"The server socket has failed to (?:listen|bind)|.*\bEADDRINUSE\b|(?:\[Errno 98\] )?[Aa]ddress already in use"
        r"|port \d+ .*\bis (?:taken|in use)",
        "the port at which the ranks meet is taken on the head node",
        "rdzv_port of the profile names another one; without it each attempt looks for a free one",
    ),
    Signature(
        "host-unknown",
        ROOT,
        r"(?:\[Errno -\d\] )?(?:Name or service not known|Temporary failure in name resolution|No address associated)"
        r"|getaddrinfo failed|.*The IPv[46] network addresses of \(\S+ \d+\) cannot be retrieved",
        "a node does not know another one's name, or the hub's",
        "tell the operators; head_host, where nodes have several names; a node without internet needs HF_HUB_OFFLINE=1",
        MAY,
    ),
    Signature(
        "socket",
        CASCADE,
        r".*\[Errno (?:107\] Transport endpoint is not connected"
        r"|110\] Connection timed out|111\] Connection refused|112\] Host is down|113\] No route to host)",
        "another process does not answer, or has gone: of another rank, or a server outside the job (a tracker)",
        "is there an error of another rank? Else the server that the traceback leads to",
    ),
    Signature(
        "ended-with-others",
        CASCADE,
        r"ended because (?:another node failed|the training hung)|killed by SIGTERM",
        "it was ended because something else had failed",
        _PEER,
    ),
)
