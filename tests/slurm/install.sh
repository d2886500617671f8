#!/bin/sh
# Installs the packages that tests/slurm needs, where they are missing.
PATH=$PATH:/usr/sbin:/sbin
for program in munged slurmctld slurmd sbatch; do
    command -v "$program" >/dev/null || missing="$missing $program"
done
[ -z "$missing" ] && exit 0

packages="slurm-wlm munge"
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "error: no$missing; as root, on Debian or Ubuntu: apt-get install $packages" >&2
    exit 1
fi
echo "installing $packages"
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086
apt-get install -qq -y --no-install-recommends $packages >/dev/null 2>&1 ||
    { apt-get update -qq && apt-get install -qq -y --no-install-recommends $packages >/dev/null; }
