# What the batch script of a chain does where `begin` could not run: this node has no Python that can, say.
# The node is noted as bad, and kept from the job that waits, so that one such node does not take every attempt in turn.
# Prints lines for the script to evaluate. Names of files and keys are those of contract.py.
job=$1 me=$SLURM_JOB_ID node=$SLURMD_NODENAME
echo "the node agent cannot run on $node (see the lines above): no attempt is begun there" >&2
if ! read -r now next _ spare < "$job/chain"; then
  echo 'exit 1' # the first attempt: nobody waits, and `finish` writes it down if it can
  exit
fi
if [ "$me" != "$now" ]; then
  printf '{"time": %s, "node": "%s", "why": "the node agent cannot run there", "job_id": "%s"}\n' \
    "$(date +%s)" "$node" "${job##*/}" >> "${job%/*}/bad-nodes.jsonl"
fi
for waiting in ${next#-} $spare; do
  [ "$waiting" != "$me" ] || continue
  excluded=$(scontrol -o show job "$waiting" | sed -n 's/.* ExcNodeList=\([^ ]*\) .*/\1/p')
  [ "$excluded" != "(null)" ] || excluded=
  scontrol update "JobId=$waiting" "ExcNodeList=${excluded:+$excluded,}$node" >&2
done
echo 'trap - EXIT'
echo 'exit 1'
