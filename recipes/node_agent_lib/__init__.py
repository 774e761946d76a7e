"""What node_agent.py is made of. Standard library only, Python 3.8 or later; names and keys are those of contract.py.

run, one process a node
    start.py         foreground or detached
    spec.py          agent.json, the launcher's order, checked
    standing.py      is this the job's directory, or a copy of it?
    supervisor.py    one node's life: lock, startup commands, training, end
    control.py       is this node to go on? signals, stop files, the time limit, other nodes
    environment.py   the environment that the training gets; startup.py runs setup lines and startup commands
    ulimits.py       the umask and limits that those have set
    ranks.py         the node's ranks, from their start to their end
    ending.py        the end of one node
    errors.py        how it can be cut short
    loop.py          signals, ended children, time
    journal.py       what the agent writes down while it runs
    metrics.py       rank 0's log -> metrics.jsonl
    outside.py       has anybody left something for it? one look at a directory's time
    peers.py         how nodes learn that another one has failed, and who ends last
    stops.py         stop files: cancel, pause
    requests.py      what a person asks of a job that runs: its ranks' stacks
    limits.py        the end of the attempt's time: when to save
    lock.py          one job at a time for a run
    sharing.py       a run of a group: what is written for it is theirs
    code_copy.py     the job's code on the node's own disk; code_archive.py: as it gets there
    venv.py          the job's Python there, out of an archive; node_disk.py: folders there, and what killed agents left
    data.py          what a run trains on never changes under it

the training processes
    training.py      start, watch, stop, kill
    command.py       their command line and what is added to their environment
    image_path.py    the Python of the image that a login shell has hidden
    nodes.py         which node this is, and which one is the head
    gpu_model.py     which GPUs this node has
    meeting.py       the port at which they meet
    worker.py        what torchrun starts as each rank: watcher.py is its parent, script_run.py the rank itself
    code_names.py    tracebacks name the job's code, not that copy of it
    what_ran.py      environment.json: what the job ran with; ran_with.py looks
    rank_files.py    the private directory through which agent and workers talk
    phases.py        what the ranks say that they are at, before the first step and between others
    stall.py         is the training hung? hang.py is what a node does about it, stacks.py where every rank is
    auto_stall.py    the same where nobody has said after how many seconds; activity.py: do the processes work?

a job with spare nodes
    keeper.py        one process a node for the whole Slurm job, which starts the node's agent
    deciding.py      is a node lost, does a spare take its rank? One keeper decides for all
    replacing.py     ... and what is written down then: one attempt ends, the next one begins
    batch_script.py  is the batch script there?
    seats.py         which node has which rank; what the keepers tell each other
    silence.py       since when has a node given no sign of life?

several attempts
    begin.py         `begin`: which attempt this is, and the next one queued
    turn.py          may this Slurm job make the next attempt? times.py: how long may that run?
    finish.py        `finish`, and writing exit.json
    left_open.py     attempts whose agents did not live to write their end: the next one does
    chain.py         a job of several attempts
    decision.py      will there be another attempt?
    history.py       the run's history.jsonl
    budget.py        max_gpu_hours: what the attempts have used
    bad_nodes.py     nodes that have failed jobs
    tracking.py      metrics to experiment trackers; track_send.py is a process for each, trackers.py what it calls
    notify.py        who is told of a run's end; notify_send.py is the process that sends
    disk_reserve.py  space for the job's own records on a full disk
    slurm.py         what is asked of Slurm for all that
    on_checkpoint.py a job for each checkpoint, which evaluates it
    successors.py    jobs that wait for the end of this run: let go, or cancelled
    predecessors.py  has all ended that this job was to wait for?
    choosing.py      which point of a sweep is the best, for the job that takes it

records
    records.py       the JSON records and where they lie
    verdict.py       all nodes' records -> what happened to the job
    root_cause.py    what began it; known/ is the table of known errors, evidence.py what tells one in a rank's log
    kernel_log.py    what the kernel says of it; lost_logs.py: what ranks have said whose agents are gone
    oom_kills.py     was it the kernel, for memory, that has killed a rank?
    files.py         JSON files that are complete or absent
    redaction.py     no value of a secret in any of them
    messages.py, error_line.py, log.py   one line about an end or an exception; the agent's own log
    procs.py         processes: liveness, descendants, prctl
    patterns.py      regular expressions that are compiled when they are first used

backends/ is what trains: log lines, checkpoints, end.
"""
