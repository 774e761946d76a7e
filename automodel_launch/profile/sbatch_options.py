"""sbatch's long options, of the versions from 17.11 to 25.05, and those of the plug-in pyxis.

From sbatch(1) and `sbatch --help`. A cluster may have more: plug-ins (SPANK) add options of their own.
"""

from __future__ import annotations


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# that take no value
FLAGS = _names("""
    contiguous help hold ignore-pbs no-requeue overcommit oversubscribe parsable quiet reboot requeue share
    spread-job stepmgr test-only usage use-min-nodes verbose version wait spread-segments external
    container-mount-home no-container-mount-home container-remap-root no-container-remap-root container-entrypoint
    no-container-entrypoint container-entrypoint-log container-writable container-readonly
""")
# with a value or without
EITHER = _names("exclusive get-user-env nice no-kill propagate resv-ports wrap x11")
NUMBERS = _names("""
    core-spec cpus-per-gpu cpus-per-task mincpus ntasks ntasks-per-core ntasks-per-gpu ntasks-per-node
    ntasks-per-socket segment thread-spec threads-per-core
""")
VALUED = NUMBERS | _names("""
    account acctg-freq array batch bb bbf begin chdir checkpoint checkpoint-dir cluster-constraint clusters comment
    consolidate-segments constraint container container-id cores-per-socket cpu-bind cpu-freq deadline delay-boot
    dependency distribution error exclude export export-file extra extra-node-info gid gpu-bind gpu-freq gpus
    gpus-per-node gpus-per-socket gpus-per-task gres gres-flags hint input job-name kill-on-invalid-dep licenses
    mail-type mail-user mcs-label mem mem-bind mem-per-cpu mem-per-gpu network nodefile nodelist nodes oom-kill-step
    open-mode output partition power prefer priority profile qos reservation signal sockets-per-node switches
    tasks-per-node time time-min tmp tres-bind tres-per-task uid wait-all-nodes wckey workdir
    container-env container-image container-mounts container-name container-save container-workdir
""")
KNOWN = FLAGS | EITHER | VALUED
# Fields of NeMo-Run's SlurmExecutor that people bring along; sbatch has no option of that name.
NEMO_RUN = _names("""
    additional-parameters env-vars het-group-indices heterogeneous job-dir job-details job-name-prefix launcher
    memory-measure monitor-group-job packager poll-estimated-start-time resource-group retries setup-lines
    srun-args stderr-to-stdout torchrun-nproc-per-node tunnel wait-time-for-group-job
""")


def known(name: str) -> bool:
    """sbatch has the option, or one alone that begins with `name` (getopt_long takes those)."""
    return name in KNOWN or sum(option.startswith(name) for option in KNOWN) == 1
