#!/usr/bin/env bash
# `make test-ray`: runs a command beside a Ray cluster of two workers on this machine, stopped at the end. $1: the folder `ray` lies in.
set -euo pipefail
bin=$1
shift
port=26379
folder=$(mktemp -d /tmp/lore_lab-ray.XXXXXX)
export RAY_ADDRESS=127.0.0.1:$port RAY_USAGE_STATS_ENABLED=0 RAY_DISABLE_IMPORT_WARNING=1
export RAY_worker_niceness=0 # its default of 15 starves workers beside anything else
heads=()

stop() {
  for pid in "${heads[@]}"; do kill "$pid" 2> /dev/null || true; done
  wait || true
  rm -rf "$folder"
}
trap stop EXIT

node() { # in the foreground of a process of its own, so that exactly this one is stopped; memory is the least Ray takes
  "$bin/ray" start --block --num-cpus=1 --object-store-memory=80000000 --temp-dir="$folder" "$@" > "$folder/node-${#heads[@]}.log" 2>&1 &
  heads+=($!)
}

node --head --port=$port --include-dashboard=false
for _ in $(seq 40); do
  timeout 60 "$bin/ray" status 2> /dev/null | grep -q "1.0 CPU" && break
  sleep 0.5
done
"$bin/ray" start --block --num-cpus=1 --object-store-memory=80000000 --address=$RAY_ADDRESS > "$folder/worker.log" 2>&1 &
heads+=($!)
for _ in $(seq 40); do
  timeout 60 "$bin/ray" status 2> /dev/null | grep -q "2.0 CPU" && break
  sleep 0.5
done
"$bin/ray" status | grep "CPU" || { tail -20 "$folder"/*.log; exit 1; }

LORE_LAB_TEST_RAY=1 "$@"
