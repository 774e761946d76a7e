"""Twenty launches of great variety. Whatever is rebuilt, their scripts, agent.json and config.yaml stay the same."""

from __future__ import annotations

from pathlib import Path

ENV_TOML = """\
[local]
executor = "local"
nodes = 1
nproc_per_node = 2

[four]
extends = "local"
nproc_per_node = 4
setup_lines = ["export OMP_NUM_THREADS=1", "ulimit -n 4096"]
startup_commands = ["hostname", "echo it\\\\'s here"]
env_vars = { GREETING = "hello world", PATH_LIKE = "/a:/b" }
stall = "15m"
max_nan_steps = 3

[cluster]
executor = "slurm"
account = "research"
partition = "batch"
nodes = 2
gpus_per_node = 8
cpus_per_task = 8
time = "04:00:00"
remote_job_dir = "/shared/jobs"
python = "/opt/train/bin/python"
container_image = "none"

[requeue]
extends = "cluster"
run_partition = "interactive"
batch_partition = "long"
mem = "400G"
exclusive = true
qos = "high"
constraint = "a100&ib"
exclude = "n13,n14"
gres = "nvme:1"
signal = "B:USR1@120"
reservation = "maintenance"
nodelist = "n[01-08]"
dependency = "afterok:17"
network = "sharp"
segment = 2
srun_args = ["--cpu-bind=none", "--distribution=block:cyclic"]
additional_parameters = { hint = "nomultithread", "mail-type" = "END,FAIL" }

[chain]
extends = "cluster"
until = "done"
chain = 20
spares = 2
max_failures = 5
max_nan_steps = 4
exclude = "n99"
secrets = ["HF_TOKEN"]
env = ["LANGUAGE"]

[ft]
extends = "cluster"
launcher = "ft"
until = "done"

[ssh]
extends = "cluster"
tunnel = "ssh"
host = "login.example.org"
user = "me"
identity = "~/.ssh/id_cluster"

[pyxis]
extends = "cluster"
container_image = "nvcr.io/nvidia/nemo-automodel:26.04"
mounts = ["/lustre/data:/data:ro", "~/cache:/root/.cache", "$SCRATCH/x:/x"]
container_writable = true
container_mount_home = false
container_env = ["PATH_EXTRA"]
container_workdir = "/workspace"
env_vars = { PATH_EXTRA = "1" }

[sqsh]
extends = "ssh"
container_image = "/shared/images/train.sqsh"
container_mount_home = true
until = "done"

[cached]
extends = "pyxis"
image_cache = "/shared/images"

[apptainer]
extends = "cluster"
container_runtime = "apptainer"
container_image = "docker://pytorch/pytorch:latest"
mounts = ["/lustre:/lustre"]
container_writable = true

[docker]
executor = "docker"
gpus_per_node = 2
container_image = "nvcr.io/nvidia/nemo-automodel:26.04"
mounts = ["/lustre/data:/data:ro"]
shm_size = "32g"
ipc_mode = "host"
docker_args = ["--ulimit", "memlock=-1"]
secrets = ["WANDB_API_KEY"]
rdzv_port = 29511

[one-node]
extends = "cluster"
nodes = 1
rdzv_port = 29500
code = ["configs/pretrain"]
stop_grace = 600
"""

# name -> words behind launch.py
LAUNCHES: dict[str, tuple[str, ...]] = {
    "local-tiny": ("pretrain", "-c", "tiny"),
    "local-override": ("pretrain", "-c", "tiny", "optimizer.lr=3e-4", "step_scheduler.max_steps=20"),
    "local-four": ("pretrain", "-c", "tiny", "--batch", "four", "step_scheduler.local_batch_size=4"),
    "local-nanogpt": ("pretrain", "-c", "nanogpt", "--run", "four"),
    "local-data-prep": ("data-prep", "-c", "tiny"),
    "slurm-tiny": ("pretrain", "-c", "tiny", "--run", "cluster", "step_scheduler.local_batch_size=1"),
    "slurm-default": ("pretrain", "--batch", "cluster", "run.env.nodes=4"),
    "slurm-every-key-run": ("pretrain", "-c", "nanogpt", "--run", "requeue"),
    "slurm-every-key-batch": ("pretrain", "-c", "nanogpt", "--batch", "requeue", "--name", "every-key"),
    "slurm-chain": ("pretrain", "-c", "tiny", "--batch", "chain", "step_scheduler.local_batch_size=1"),
    "slurm-ft": ("pretrain", "-c", "tiny", "--batch", "ft", "step_scheduler.local_batch_size=1"),
    "slurm-one-node-code": ("pretrain", "-c", "tiny", "--batch", "one-node"),
    "slurm-data-prep": ("data-prep", "-c", "tiny", "--batch", "cluster", "run.env.nodes=1"),
    "slurm-gpu-check": ("gpu-check", "--run", "cluster"),
    "ssh-tiny": ("pretrain", "-c", "tiny", "--run", "ssh", "step_scheduler.local_batch_size=1"),
    "pyxis-default": ("pretrain", "--batch", "pyxis"),
    "pyxis-sqsh-ssh-chain": ("pretrain", "--batch", "sqsh", "--name", "sqsh-chain"),
    "pyxis-image-cache": ("pretrain", "-c", "nanogpt", "--run", "cached"),
    "apptainer-nanogpt": ("pretrain", "-c", "nanogpt", "--run", "apptainer"),
    "docker-tiny": ("pretrain", "-c", "tiny", "--run", "docker"),
}

ENVIRON = {
    "LANGUAGE": "en",
    "HF_TOKEN": "hf-secret",
    "WANDB_API_KEY": "wandb-secret",
    "SCRATCH": "/scratch/me",
    "PRETRAIN_BLEND_PATH": "/data/blend.json",
}


def write_env(path: Path) -> None:
    """Write the profiles that the launches name."""
    path.write_text(ENV_TOML, encoding="utf-8")
