#!/bin/sh
# Gets a Docker engine that answers, on Debian or Ubuntu. Run it as root. Repeatable.
#
# Where an engine answers already nothing is done. Else docker.io is installed if there is no dockerd, and
# dockerd is started in the background. Its process id is then in $MCP_CHAOS_DOCKERD_PIDFILE (default:
# /run/mcp-chaos-dockerd.pid), so that whoever called can stop what this script started:
#
#     ci/install-docker.sh && … ; ci/install-docker.sh --stop
#
# --stop ends the dockerd that this script started, and no other.
set -eu

pidfile=${MCP_CHAOS_DOCKERD_PIDFILE:-/run/mcp-chaos-dockerd.pid}
log=${MCP_CHAOS_DOCKERD_LOG:-/var/log/mcp-chaos-dockerd.log}
socket=/var/run/docker.sock
patience_s=30

say() { printf 'install-docker: %s\n' "$*" >&2; }

# The engine's own health check, without a client: docker.io may come without the `docker` command.
answers() {
    if command -v docker >/dev/null 2>&1; then
        docker version --format '{{.Server.Version}}' >/dev/null 2>&1
    else
        [ -S "$socket" ] && curl --silent --fail --max-time 5 --unix-socket "$socket" http://localhost/_ping >/dev/null
    fi
}

# Whether the recorded process is a dockerd: its number may have been used again since.
ours() {
    [ -s "$pidfile" ] || return 1
    pid=$(cat "$pidfile")
    [ -r "/proc/$pid/comm" ] && [ "$(cat "/proc/$pid/comm")" = dockerd ]
}

if [ "${1:-}" = --stop ]; then
    if ours; then
        pid=$(cat "$pidfile")
        kill "$pid"
        left=$patience_s
        while [ -d "/proc/$pid" ] && [ "$left" -gt 0 ]; do
            sleep 1
            left=$((left - 1))
        done
        say "stopped dockerd (process $pid)"
    else
        say "no dockerd that this script started is running"
    fi
    rm -f "$pidfile"
    exit 0
fi

if [ $# -gt 0 ]; then
    say "unknown argument: $1 (only --stop is known)"
    exit 2
fi

if answers; then
    say "an engine answers already"
    exit 0
fi

if [ "$(id -u)" -ne 0 ]; then
    say "no engine answers, and starting one takes root: run this with sudo"
    exit 1
fi

if ! command -v dockerd >/dev/null 2>&1; then
    if ! command -v apt-get >/dev/null 2>&1; then
        say "no dockerd and no apt-get: see https://docs.docker.com/engine/install/"
        exit 1
    fi
    say "installing docker.io, iptables, iproute2"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        docker.io iptables iproute2 curl >/dev/null
fi

# The package's own service may have started it by now.
sleep 1
if answers; then
    say "an engine answers"
    exit 0
fi

if ! ours; then
    say "starting dockerd (its log: $log)"
    nohup dockerd >"$log" 2>&1 </dev/null &
    printf '%s\n' "$!" >"$pidfile"
fi

left=$patience_s
until answers; do
    # Right after its start the process may still be nohup: that it lives is what counts here.
    if ! kill -0 "$(cat "$pidfile")" 2>/dev/null || [ "$left" -eq 0 ]; then
        say "dockerd does not answer; the end of its log:"
        tail -n 20 "$log" >&2
        exit 1
    fi
    sleep 1
    left=$((left - 1))
done
say "an engine answers (process $(cat "$pidfile"))"
