"""sbatch's long options, of the versions from 17.11 to 25.05, srun's, and those of the plug-in pyxis.

From sbatch(1) and `sbatch --help`. A cluster may have more: plug-ins (SPANK) add options of their own.
"""

from __future__ import annotations


def names(text: str) -> frozenset[str]:
    """Words of a text, as a set."""
    return frozenset(text.split())


# that take no value
FLAGS = names("""
    contiguous help hold ignore-pbs no-requeue overcommit oversubscribe parsable quiet reboot requeue share
    spread-job stepmgr test-only usage use-min-nodes verbose version wait spread-segments external
    container-mount-home no-container-mount-home container-remap-root no-container-remap-root container-entrypoint
    no-container-entrypoint container-entrypoint-log container-writable container-readonly
""")
# with a value or without
EITHER = names("exclusive get-user-env nice no-kill propagate resv-ports wrap x11")
NUMBERS = names("""
    core-spec cpus-per-gpu cpus-per-task mincpus ntasks ntasks-per-core ntasks-per-gpu ntasks-per-node
    ntasks-per-socket segment thread-spec threads-per-core
""")
VALUED = NUMBERS | names("""
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
# srun's, from srun(1); some of sbatch's names are others there
SRUN_VALUED = VALUED - names("oom-kill-step") | names("""
    bcast-exclude epilog het-group jobid launcher-opts max-launch-time max-exit-timeout mpi msg-timeout ntasks-per-tres
    pack-group prolog relative slurmd-debug task-epilog task-prolog threads treewidth wait
""")
SRUN = (
    KNOWN
    | SRUN_VALUED
    | names("""
    bcast compress disable-status exact immediate interactive kill-on-bad-exit label launch-cmd multi-prog
    no-allocate overlap preserve-env pty quit-on-interrupt send-libs unbuffered whole
""")
)
# Fields of NeMo-Run's SlurmExecutor that people bring along; sbatch has no option of that name.
NEMO_RUN = names("""
    additional-parameters env-vars het-group-indices heterogeneous job-dir job-details job-name-prefix launcher
    memory-measure monitor-group-job packager poll-estimated-start-time resource-group retries setup-lines
    srun-args stderr-to-stdout torchrun-nproc-per-node tunnel wait-time-for-group-job
""")


def full(name: str, options: frozenset[str] = KNOWN) -> str:
    """The option that getopt_long takes `name` for: itself, or the only one that begins so; else `name`."""
    longer = [option for option in options if option.startswith(name)]
    return longer[0] if name and name not in options and len(longer) == 1 else name


def known(name: str) -> bool:
    """sbatch has the option, or one alone that begins with `name`."""
    return full(name) in KNOWN
