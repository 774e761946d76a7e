#!/bin/sh
# Starts node_agent.py with a Python that can run it (3.8 or later), or says what was there instead. POSIX sh: it runs
# on any node and in nearly any container; an older Python alone would end in a SyntaxError and leave no record.
#
#   node_agent.sh run SPEC.json | begin JOB_DIR | watch JOB_DIR | finish JOB_DIR --code N    as node_agent.py
#   node_agent.sh which [FIRST [LAST]]    prints what it would take and the version, and what does not do
#
# In this order: `agent_python` of the profile (FIRST), the usual names, what the training itself runs with (LAST).
# Slurm takes a job's variables from a login shell of the user. Where that gives none, Python alone is not to blame.
bare=
[ -n "$HOME" ] || [ -z "$SLURM_JOB_ID" ] || bare="HOME is not set: the start-up files of the login shell \
(~/.bash_profile) end it or run another shell, so Slurm had no environment for the job"
names="python3 python3.13 python3.12 python3.11 python3.10 python3.9 python3.8 /usr/libexec/platform-python"
job= found= seen=

value() { sed -n "s/^ \"$1\": \"\{0,1\}\([^\"]*[^\",]\)\"\{0,1\},\{0,1\}\$/\1/p" "$job/agent.json" 2>/dev/null; }

try() { # PYTHON: it may be there and not work, as a link of pyenv's
  if [ -z "$1" ] || [ -n "$found" ] || ! command -v "$1" >/dev/null 2>&1; then return; fi
  version=$("$1" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3]); sys.exit(sys.version_info < (3, 8))' \
    </dev/null 2>/dev/null) && found=$1 && return
  seen="${seen:+$seen, }$1 is ${version:-there and does not work}"
}

# What the batch script does where `begin` could not run though another attempt came before, and others wait: this one is
# not begun, and the node is noted as bad and kept from those that wait, so that it does not take every attempt in turn.
cannot_begin() {
  read -r now next _ spare 2>/dev/null <"$job/chain" && [ "$SLURM_JOB_ID" != "$now" ] && grep -q '^ "chain": {' \
    "$job/agent.json" || return 0
  echo "node agent: $SLURMD_NODENAME: it cannot run there, so no attempt is begun" >&2
  printf '{"time": %s, "node": "%s", "why": "the node agent cannot run there", "job_id": "%s"}\n' \
    "$(date +%s)" "$SLURMD_NODENAME" "$(basename "$job")" >>"$(dirname "$job")/bad-nodes.jsonl"
  for waiting in ${next#-} $spare; do
    [ "$waiting" != "$SLURM_JOB_ID" ] || continue
    excluded=$(scontrol -o show job "$waiting" | sed -n 's/.* ExcNodeList=\([^ ]*\) .*/\1/p')
    [ "$excluded" != "(null)" ] || excluded=
    scontrol update "JobId=$waiting" "ExcNodeList=${excluded:+$excluded,}$SLURMD_NODENAME" >&2
  done
  printf 'trap - EXIT\nexit 1\n'
}

case $1 in
run)
  job=$(dirname "$2")
  # Slurm's warning (`signal`) may come before the agent can take it, up to a minute early, and would end this shell. The
  # agent sets a handler of its own, and watches the time limit anyway.
  trap '' USR1
  ;;
watch)
  job=$2
  trap '' USR1 # the warning goes to all of the batch step, where Slurm is told so
  ;;
begin | finish) job=$2 ;;
esac
if [ -n "$job" ]; then first=$(value agent_python) last=$(value python); else first=$2 last=$3; fi
try "$first"
[ -z "$first$found" ] || [ -n "$found" ] || seen=${seen:-$first is not there}
for python in $names "$last"; do try "$python"; done
if [ -z "$job" ]; then
  printf '%s\n%s\n' "${found:-none}${found:+ $version}" "$seen"
  exit
fi
if [ "$1" = begin ] && [ -n "$bare" ]; then echo "node agent: $bare" >&2; fi
if [ -n "$found" ]; then
  [ -z "$seen" ] || echo "node agent: $seen; taking $found, which is $version" >&2
  [ "$1" = begin ] || exec "$found" "$(dirname "$0")/node_agent.py" "$@"
  "$found" "$(dirname "$0")/node_agent.py" "$@" || cannot_begin
  exit
fi

# There is none: the job's record has to be written without one.
host=${SLURMD_NODENAME:-$(uname -n)} now=$(date +%s) attempt=${LAUNCH_ATTEMPT:-${SLURM_RESTART_COUNT:-0}}
node=${LAUNCH_NODE_RANK:-${SLURM_NODEID:-0}}
words="no Python"
error="$words 3.8 or later for the node agent: $(printf %s "${seen:-none at all}" | tr -d '"\\'); agent_python names one"
error="$error${bare:+. $bare}"
echo "node agent: $host: $error" >&2
ended="\"schema\": 1, \"job_id\": \"$(basename "$job")\", \"attempt\": $attempt, \"started\": $now"
code=127

put() { # FILE JSON: whole, or not at all
  printf '%s\n' "$2" >"$1.$host.tmp" && mv "$1.$host.tmp" "$1"
}

put_exit() {
  put "$job/exit.json" "{$ended, \"code\": $code, \"complete\": true, \"state\": \"FAILED\", \"signal\": null, \"rank\": null, \"known\": null,\
 \"node\": \"$host\", \"error\": \"$error\", \"traceback\": null, \"log\": null, \"ended\": $now, \"step\": null,\
 \"nodes\": []}"
}

case $1 in
begin)
  lines=$(cannot_begin)
  if [ -n "$lines" ]; then printf '%s\n' "$lines"; exit; fi
  echo "node agent: this is the job's only attempt, and nothing is saved before its time limit" >&2
  ;;
run)
  mkdir -p "$job/nodes"
  put "$job/nodes/$node.json" "{$ended, \"code\": $code, \"node\": $node, \"nnodes\": $(value nnodes), \"host\": \"$host\",\
 \"agent_pid\": $$, \"agent_start\": null, \"time\": $now, \"state\": \"ended\", \"ranks\": {},\
 \"failure\": {\"code\": 127, \"error\": \"$error\", \"time\": $now, \"traceback\": null, \"victim\": false}}"
  [ -n "$SLURM_JOB_ID" ] || put_exit # under Slurm `finish` does it, on a node that may have a Python
  exit 127
  ;;
finish) # the containers may have had one: then the last agent has written exit.json, unless it was killed
  own=$(grep -l "\"error\": \"$words" "$job/nodes/0.json" 2>/dev/null)
  if [ -e "$job/exit.json" ]; then :
  elif [ -n "$SLURM_JOB_ID" ]; then { [ -e "$job/nodes/0.json" ] && [ -z "$own" ]; } || put_exit # Slurm knows the rest
  else # of an exported job, whose container has the Python
    [ -n "$own" ] || { code=${4:-1} error="the job ended without a record: killed, or it did not start"; }
    put_exit
  fi
  code=$(grep '"complete": true' "$job/exit.json" 2>/dev/null | grep -o '"code": [0-9]*' | head -n 1)
  code=${code#*: }
  exit "${code:-$4}"
  ;;
esac
