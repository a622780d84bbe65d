#!/usr/bin/env bash
# A night: hunts all of scenarios/consensus in simulation, then for a while on containers where an engine answers.
#
#   NIGHTLY_TIME         how long to search in simulation: 30m
#   NIGHTLY_DOCKER_TIME  how long to search on containers: 5m; 0s leaves them out
#   NIGHTLY_WORKERS      processes in simulation: one for each core
#   NIGHTLY_STATE        kept from night to night (example database, campaigns, ledgers of failures): chaos-nightly
#   NIGHTLY_OUT          what this night leaves, to be uploaded; emptied first: chaos-nightly-out
#   MCP_CHAOS            the command: .venv/bin/mcp-chaos
#
# Leaves in NIGHTLY_OUT for each backend junit-BACKEND.xml, summary-BACKEND.md and campaign-BACKEND.json, and the
# bundles, candidates for scenarios/regressions and plans of crashed workers that this night wrote. Appends the
# summaries to $GITHUB_STEP_SUMMARY if that is set. Ends with the campaigns' exit code, of two the graver one: 130
# interrupted, 1 a violation, 2 usage, 4 the harness failed, 3 unknown, 0.
set -euo pipefail

here=$PWD
cd "$(dirname "$0")/.."
absolute() { case $1 in /*) printf '%s' "$1" ;; *) printf '%s/%s' "$here" "$1" ;; esac; }

state=$(absolute "${NIGHTLY_STATE:-chaos-nightly}")
out=$(absolute "${NIGHTLY_OUT:-chaos-nightly-out}")
command=${MCP_CHAOS:-.venv/bin/mcp-chaos}
workers=${NIGHTLY_WORKERS:-$(nproc)}
kept_days=30

mkdir -p "$state" "$out"
# Only what a night wrote is emptied: the place may be anybody's.
rm -rf "$out/bundles" "$out/regressions" "$out/crashes"
rm -f "$out"/junit-*.xml "$out"/summary-*.md "$out"/campaign-*.json
mkdir "$out/bundles" "$out/regressions" "$out/crashes"

# hunt BACKEND TIME WORKERS: one campaign, and what it left. Its exit code is then in $code.
hunt() {
  local backend=$1 campaign=$state/$1 summary=$out/summary-$1.md
  code=0
  printf '\n── hunting on %s for %s ──\n' "$backend" "$2"
  mkdir -p "$campaign"
  # A file system's clock goes in steps of some milliseconds: what is written at once must be newer.
  touch --date='1 second ago' "$campaign/begun"
  "$command" hunt scenarios/consensus --backend "$backend" --time "$2" --workers "$3" \
    --state "$campaign" --database "dir:$state/examples" \
    --junit "$out/junit-$backend.xml" --summary "$summary" --json >"$out/campaign-$backend.json" || code=$?
  if [[ ! -s $summary ]]; then
    printf '## mcp-chaos hunt on %s ended with %s before it could report\n' "$backend" "$code" >"$summary"
  fi
  if [[ -n ${GITHUB_STEP_SUMMARY:-} ]]; then
    cat "$summary" >>"$GITHUB_STEP_SUMMARY"
  fi
  local kind
  for kind in bundles regressions crashes; do
    [[ -d $campaign/$kind ]] || continue
    find "$campaign/$kind" -mindepth 1 -maxdepth 1 ! -name '.*' -newer "$campaign/begun" -exec cp -R {} "$out/$kind/" \;
  done
  # The state is carried from night to night: it must not grow for ever. Ledger and candidates stay.
  for kind in bundles crashes; do
    [[ -d $campaign/$kind ]] || continue
    find "$campaign/$kind" -mindepth 1 -maxdepth 1 -mtime +"$kept_days" -exec rm -rf {} +
  done
}

# rank CODE: how grave an exit code is. What no campaign ends with (a signal, say) is a broken harness.
rank() {
  case $1 in 0) echo 0 ;; 3) echo 1 ;; 2) echo 3 ;; 1) echo 4 ;; 130) echo 5 ;; *) echo 2 ;; esac
}

hunt sim "${NIGHTLY_TIME:-30m}" "$workers"
worst=$code
docker_time=${NIGHTLY_DOCKER_TIME:-5m}
if [[ $worst == 130 || $docker_time == 0s ]]; then
  :
elif .venv/bin/python ci/engine_answers.py; then
  make --no-print-directory node toxiproxy
  hunt docker "$docker_time" 1
  if (($(rank "$code") > $(rank "$worst"))); then
    worst=$code
  fi
else
  printf '\nNo Docker engine answers, so nothing was hunted on containers.\n'
fi
printf '\nWhat this night left: %s (exit %s)\n' "$out" "$worst"
exit "$worst"
