#!/bin/sh
# Follows a SceneBus device from a shell, with mosquitto_sub: descriptions and events, one JSON object a line.
#
#     examples/bus/watch.sh demo
#     examples/bus/watch.sh demo front     only the camera front
#
# COUNT=n ends it after n messages.
set -eu
device=$1
camera=${2:-+}
base=${ROOT:-scenebus}/$device/camera/$camera
set -- -h "${HOST:-127.0.0.1}" -p "${PORT:-1883}" -q 1 -t "$base/scene" -t "$base/event"
if [ -n "${COUNT:-}" ]; then set -- "$@" -C "$COUNT"; fi
exec mosquitto_sub "$@"
