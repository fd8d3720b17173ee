#!/usr/bin/env bash
# Runs the client benchmark with btt among its clients.
#   bench/clients/run.sh HARNESS [bench.py's arguments]
# HARNESS is the folder of the benchmark (bench.py, adapters.py, core.py). The
# btt measured is $BTT_BINARY, or one built from this tree.
set -euo pipefail

if [[ $# -lt 1 || ! -f $1/bench.py ]]; then
  sed -n '2,5s/^# //p' "$0" >&2
  exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
harness=$(cd "$1" && pwd)
shift

if [[ -z ${BTT_BINARY:-} ]]; then
  mkdir -p "$here/../out"
  BTT_BINARY=$(cd "$here/../out" && pwd)/btt
  (cd "$here/../.." && CGO_ENABLED=0 go build -trimpath -o "$BTT_BINARY" ./cmd/btt)
fi
export BTT_BINARY PYTHONDONTWRITEBYTECODE=1

exec python3 - "$harness" "$here" "$@" <<'PYTHON'
import runpy
import sys

harness, here = sys.argv[1:3]
sys.path[:0] = [harness, here]
import adapters
import btt

adapters.ALL[btt.BTT.name] = btt.BTT
program = harness + "/bench.py"
sys.argv = [program] + sys.argv[3:]
runpy.run_path(program, run_name="__main__")
PYTHON
