#!/usr/bin/env bash
# The main job on real sockets, on loopback: a peer is watched, stopped and continued,
# killed, and started anew. Ends by itself after nine seconds.
#
#   run-demo.sh path/to/systole
set -euo pipefail

systole=${1:?usage: run-demo.sh path/to/systole}
work=$(mktemp -d)
peer=0 probe=0

finish() {
	for pid in $peer $probe; do
		if [ "$pid" != 0 ] && kill -0 "$pid" 2>/dev/null; then kill -KILL "$pid"; fi
	done
	rm -rf "$work"
}
trap finish EXIT

say() { printf '%s ### %s\n' "$(date +%H:%M:%S.%3N)" "$*"; }

# start_peer ADDRESS starts the peer there and waits until it serves.
start_peer() {
	"$systole" serve --id 42 --listen "$1" >"$work/peer" 2>"$work/peer.log" &
	peer=$!
	for _ in $(seq 100); do
		if grep -q serving "$work/peer"; then return; fi
		sleep 0.02
	done
	echo "the peer did not start:" >&2
	cat "$work/peer.log" >&2
	exit 2
}

start_peer 127.0.0.1:0
address=$(sed -n 's/serving on \[\([^],]*\).*/\1/p' "$work/peer")
say "systole serve runs on $address; systole ping watches it, with a heartbeat per 100 ms"
"$systole" ping "$address" --interval 100ms --wait 8s --report 0 --stamps kernel &
probe=$!
sleep 2.5

say "kill -STOP: the peer hangs for a second"
kill -STOP "$peer"
sleep 1
kill -CONT "$peer"
sleep 1

say "kill -KILL: the peer's process dies"
kill -KILL "$peer"
wait "$peer" 2>/dev/null || true
sleep 1.5

say "the peer is started anew"
start_peer "$address"

code=0
wait "$probe" || code=$?
probe=0
kill -TERM "$peer"
wait "$peer"
peer=0
say "every peer is alive at the end: exit status $code"
exit "$code"
