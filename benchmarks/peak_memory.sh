#!/usr/bin/env bash
# Seconds and peak memory of a command with everything it starts.
#   benchmarks/peak_memory.sh COMMAND [ARG ...]
# Adds the resident memory of all its processes twice a second; pages that processes share are
# counted in each, so the figure errs on the high side.
set -uo pipefail
"$@" &
main=$! peak=0 start=$SECONDS
below() {
  for kid in $(pgrep -P "$1"); do echo "$kid"; below "$kid"; done
}
while kill -0 "$main" 2>/dev/null; do
  files=$(for pid in "$main" $(below "$main"); do echo "/proc/$pid/status"; done)
  rss=$(cat $files 2>/dev/null | awk '/^VmRSS/ {s += $2} END {print int(s / 1024)}')
  ((rss > peak)) && peak=$rss
  sleep 0.5
done
wait "$main"
echo "exit=$? seconds=$((SECONDS - start)) peak_rss_mb=$peak"
