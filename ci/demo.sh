#!/usr/bin/env bash
# The main job, as a newcomer sees it: one scenario file, first in simulation, then on real containers.
set -euo pipefail
cd "$(dirname "$0")/.."

bin=.venv/bin
scenario=scenarios/smoke/isolated-leader.yaml

printf '\n── %s in simulation ──\n' "$scenario"
"$bin/mcp-chaos" run "$scenario" --backend sim

if "$bin/python" ci/engine_answers.py; then
  make --no-print-directory node toxiproxy
  printf '\n── %s on Docker, through Toxiproxy ──\n' "$scenario"
  "$bin/mcp-chaos" run "$scenario" --backend docker
else
  printf '\nNo Docker engine answers, so the demo ends here. ci/install-docker.sh installs and starts one (Debian, as root); mcp-chaos doctor says what else is missing.\n'
fi
printf '\nThe command mcp-chaos is in .venv/bin: `source .venv/bin/activate` puts it on the path.\n'
