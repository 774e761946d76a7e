"""What to do about words of pyxis, enroot, apptainer, Docker and the programs that they call: a kind, its advice.

The more special kind stands first.
"""

from __future__ import annotations

import re

# fmt: off
KINDS = (
    (r"[Nn]o space left|Not enough space",
     "the disk on which that node unpacks images is full: `exclude` the node and tell the operators"),
    (r"[Qq]uota exceeded",
     "enroot's files count to this quota: clear ~/.cache/enroot and ~/.local/share/enroot, or have ENROOT_CACHE_PATH "
     "and ENROOT_DATA_PATH name another disk"),
    (r"corrupt|uncompress|failed because EOF|superblock|Invalid image format|failed to read .*table|[Cc]hecksum"
     r"|digest (mismatch|does not match)|unexpected EOF|image format not recognized",
     "the image's file is broken or cut short: import it again (`image PROFILE import`, or enroot import)"),
    (r"error code: 404|manifest unknown|manifest .*not found|name unknown|repository .*not found",
     "the registry has no image of that name and tag: correct container_image"),
    (r"error code: 429|toomanyrequests|[Tt]oo [Mm]any [Rr]equests|pull rate limit",
     "the registry takes no more requests for a while: import the image once (image_cache), with credentials"),
    (r"error code: 40[13]|[Uu]nauthorized|[Aa]uthentication required|access (denied|forbidden)|access .*is denied"
     r"|403 Forbidden",
     "who may read it? enroot has its keys in ~/.config/enroot/.credentials on the cluster, Docker by `docker login`"),
    (r"error code: 5[0-9][0-9]",
     "the registry itself is in trouble: try again later, or import the image once (image_cache)"),
    (r"certificate|x509:|curl: \((51|58|60|77|83|91)\)",
     "that machine does not trust the registry's certificate: tell its operators"),
    (r"curl: \((5|6|7|18|28|35|52|55|56|92)\)|Could not resolve|no such host|[Cc]onnection (refused|timed out|reset)"
     r"|i/o timeout|[Nn]etwork is unreachable|TLS handshake timeout|server misbehaving",
     "that machine cannot reach the registry: import the image where it can be reached (image_cache, build_partition)"),
    (r"failed to set capabilities|[Uu]ser namespace|unshare.*(not permitted|No space)|newuidmap|max_user_namespaces",
     "the node's enroot or apptainer is not set up for users: tell the cluster's operators this line"),
    (r"nvidia-container-(cli|runtime)|nvml|could not select device driver|[Uu]nknown (or invalid )?runtime",
     "that machine's GPU driver or NVIDIA's container toolkit does not work: `exclude` the node where others do"),
    (r"source path does not exist|mount source .*doesn.t exist|statfs .*no such file",
     "`mounts` names a path that is not there: make it, on all nodes, or take the mount out"),
    (r"(failed to create|mkdir|create mount point).*[Rr]ead-only",
     "a mount's target lies in what is read-only, the image or another mount: make the directory there beforehand, or "
     "mount it elsewhere"),
    (r"enroot-mount: |while mounting|failed to mount|mount:.*(No such|failed)",
     "correct `mounts`: source, target and flags have to be right on all nodes"),
    (r"\[ERROR\] No such file or directory: |could not open image|failed to retrieve path for",
     "the image's file is not there on the node: it has to lie on a file system of all nodes"),
    (r"[Ee]xec format error|architecture doesn.t match|no matching manifest|cannot run on ",
     "the image is for another kind of CPU (x86-64, arm64): another tag, or another partition"),
    (r"execve\(\): \S*(apptainer|singularity)",
     'a compute node lacks it; where a module brings it: container_runtime = "/path/of/apptainer"'),
    (r'execve\(\): (python3|sh)\b|python3: No such|"(sh|python3)": executable file not found',
     "the node agent needs sh and a Python, 3.8 or later, on the PATH of the node or its image"),
    (r"going to /tmp instead|node_agent.sh",
     "the node does not see the job's directory: remote_job_dir has to lie on a file system of all nodes"),
    (r"couldn.t chdir to",
     "the container has no such directory: container_workdir, or a mount that brings it"),
    (r"unusual entrypoint|container exited too soon",
     'the image\'s entrypoint does not go on to the command: srun_args = ["--no-container-entrypoint"]'),
    (r"\[ERROR\] Command not found: ",
     "the node's enroot lacks this program: tell the operators"),
    (r"[Pp]ermission denied",
     "the user of the job may not read or write that: its owner and mode on the node"),
)
# fmt: on


def of(text: str) -> str | None:
    """What to do, or None for words of no known kind."""
    return next((advice for pattern, advice in KINDS if re.search(pattern, text)), None)
