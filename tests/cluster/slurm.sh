#!/usr/bin/env bash
# `make test-slurm`: runs a command beside a real Slurm of one node, which is this machine. Installs Debian's packages where they are missing (root),
# keeps all of its files in a folder of its own, so that a Slurm of the machine stays as it is, and stops and removes everything at the end.
set -euo pipefail

if ! command -v slurmctld munged slurmd squeue > /dev/null; then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends slurmctld slurmd slurm-client munge > /dev/null
fi

folder=$(mktemp -d /tmp/lore_lab-slurm.XXXXXX)
host=$(hostname -s)
export SLURM_CONF=$folder/slurm.conf

stop() {
  scancel --user=root 2> /dev/null || true
  scontrol shutdown 2> /dev/null || true
  for _ in $(seq 50); do
    [ -e "$folder/slurmctld.pid" ] || [ -e "$folder/slurmd.pid" ] || break
    sleep 0.2
  done
  for name in slurmctld slurmd munged; do
    [ -e "$folder/$name.pid" ] && kill -9 "$(cat "$folder/$name.pid")" 2> /dev/null || true
  done
  rm -rf "$folder"
}
trap stop EXIT

mkdir "$folder/state" "$folder/spool"
chmod 755 "$folder"
head -c 1024 /dev/urandom > "$folder/munge.key"
chmod 400 "$folder/munge.key"
munged --key-file="$folder/munge.key" --socket="$folder/munge.socket" --pid-file="$folder/munged.pid" \
  --log-file="$folder/munged.log" --seed-file="$folder/munged.seed"

cat > "$SLURM_CONF" << CONF
ClusterName=lore_lab
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=26817
SlurmdPort=26818
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
CredType=cred/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
KillWait=5
SchedulerParameters=sched_interval=2
NodeName=$host NodeAddr=127.0.0.1 CPUs=2 RealMemory=4000 State=UNKNOWN
PartitionName=debug Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF

slurmctld
slurmd
for _ in $(seq 60); do
  sinfo --noheader --format=%t 2> /dev/null | grep -q idle && break
  sleep 0.5
done
sinfo
sinfo --noheader --format=%t | grep -q idle || { tail -20 "$folder"/*.log; exit 1; }

LORE_LAB_TEST_SLURM=1 "$@"
