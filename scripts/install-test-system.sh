#!/bin/bash
# Installs with apt what the tests need beside Python: Slurm, munge, a database, OpenSSH, login shells, rsync, network
# tools, Docker, what builds a stand-in for pyxis, and a browser for the page that `report` writes.
# Usage: scripts/install-test-system.sh          (as root, on Debian or Ubuntu; nothing happens when all is there)
set -euo pipefail

# A command that shows that a package is there. Asking the PATH takes a millisecond, works on systems without dpkg, and
# accepts a Slurm that somebody built by hand.
NEEDED="
slurmctld:slurmctld slurmd:slurmd sbatch:slurm-client munged:munge
slurmdbd:slurmdbd mariadbd:mariadb-server mariadb:mariadb-client
ip:iproute2 ss:iproute2 sshd:openssh-server ssh:openssh-client rsync:rsync
gcc:gcc mksquashfs:squashfs-tools dockerd:docker.io
tcsh:tcsh zsh:zsh fish:fish openssl:openssl
unshare:util-linux setsid:util-linux ps:procps pgrep:procps
"
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin # an ordinary user's PATH lacks the daemons
POLICY=/usr/sbin/policy-rc.d

die() {
  printf 'install-test-system: %s\n' "$@" >&2
  exit 1
}

missing_packages() {
  local pair
  {
    for pair in $NEEDED; do
      command -v "${pair%%:*}" > /dev/null || echo "${pair#*:}"
    done
    [ -e /usr/include/slurm/spank.h ] || echo libslurm-dev
    # Ubuntu has Chromium as a snap alone, which apt-get cannot install in a container.
    command -v chromium-headless-shell > /dev/null || grep -qs '^ID=ubuntu' /etc/os-release \
      || echo chromium-headless-shell
  } | sort -u
}

# The packages would start slurmctld, munge, mariadb and sshd system-wide with their default settings: open ports that
# nobody asked for on a person's machine, errors in a container. The tests start private ones of their own.
forbid_service_starts() {
  policy_backup=$(mktemp)
  if [ -e "$POLICY" ]; then cp -p "$POLICY" "$policy_backup"; else rm "$policy_backup"; fi
  trap restore_policy EXIT
  printf '#!/bin/sh\nexit 101\n' > "$POLICY" # 101: action forbidden by policy
  chmod 755 "$POLICY"
}

restore_policy() {
  if [ -e "$policy_backup" ]; then mv "$policy_backup" "$POLICY"; else rm -f "$POLICY"; fi
}

# policy-rc.d holds only during the installation: units that were just enabled would still start at the next boot.
disable_units_of() {
  local unit
  [ $# -gt 0 ] && command -v systemctl > /dev/null || return 0
  for unit in $(dpkg-query -L "$@" | sed -nE 's,.*/systemd/system/([^/@]*[.](service|socket))$,\1,p'); do
    systemctl disable "$unit" > /dev/null 2>&1 || true # not every unit can be enabled, so not every one be disabled
  done
}

main() {
  mapfile -t missing < <(missing_packages)
  [ ${#missing[@]} -gt 0 ] || exit 0
  command -v apt-get > /dev/null || die "this system has no apt-get; install the counterparts of: ${missing[*]}"
  [ "$(id -u)" = 0 ] || die "needs root to install: ${missing[*]}" \
    "hint: sudo $0, or run the tests that need no Slurm: pytest -m 'not slurm'"

  local before after new
  before=$(dpkg-query -W -f '${Package}\n' | sort)
  forbid_service_starts
  export DEBIAN_FRONTEND=noninteractive
  echo "install-test-system: installing ${missing[*]}" >&2
  # The package lists of an image are often missing or too old to name files that the mirror still has.
  apt-get install -qq -y --no-install-recommends "${missing[@]}" > /dev/null 2>&1 || {
    apt-get update -qq
    apt-get install -qq -y --no-install-recommends "${missing[@]}" > /dev/null
  }
  after=$(dpkg-query -W -f '${Package}\n' | sort)
  new=$(comm -13 <(echo "$before") <(echo "$after"))
  # shellcheck disable=SC2086 # one word a package
  disable_units_of $new

  mapfile -t missing < <(missing_packages)
  [ ${#missing[@]} -eq 0 ] || die "still missing after the installation: ${missing[*]}"
}

main
