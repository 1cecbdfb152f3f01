#!/bin/sh
# Asks a SceneBus device from a shell, with the Mosquitto clients (Debian: mosquitto-clients).
#
#     examples/bus/ask.sh demo "Where is the red cup?"
#     HOST=192.168.1.10 PORT=1883 examples/bus/ask.sh kiosk-3 "Is somebody waiting?"
#
# Prints the answer as JSON. Exit code 0: answered; 1: refused or failed; 27: no answer in time.
set -eu
device=$1
question=$2
host=${HOST:-127.0.0.1}
port=${PORT:-1883}
root=${ROOT:-scenebus}
seconds=${SECONDS_TO_WAIT:-60}

# One of its own for each request: the same again within seconds would be answered once.
transaction=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
answers=$root/client/$transaction/response
# Quotes and backslashes are what JSON minds in a line of text.
text=$(printf '%s' "$question" | sed 's/\\/\\\\/g; s/"/\\"/g')

answer=$(mosquitto_rr -h "$host" -p "$port" -V 311 -q 1 -W "$seconds" -t "$root/$device/request/ask" -e "$answers" -m \
  "{\"question\":\"$text\",\"transaction\":\"$transaction\",\"responseTopic\":\"$answers\",\"timeoutMs\":$((seconds * 1000))}")
printf '%s\n' "$answer"
case $answer in
  *'"status":"ok"'*) exit 0 ;;
  *) exit 1 ;;
esac
