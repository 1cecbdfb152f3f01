#!/usr/bin/env python3
"""Follows a SceneBus device and asks it, with paho-mqtt and nothing else (Debian: python3-paho-mqtt).

    python3 follow.py --host 127.0.0.1 --device demo "Where is the red cup?"

Prints presence, descriptions and events as they come, then the answer, and ends with it (or goes on with --stay).
"""

import argparse
import json
import sys
import uuid

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("question", nargs="?")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=1883)
    parser.add_argument("--root", default="scenebus")
    parser.add_argument("--device", default="demo")
    parser.add_argument("--timeout", type=float, default=60, help="seconds to wait for the answer")
    parser.add_argument("--mqtt5", action="store_true", help="MQTT 5 instead of 3.1.1")
    parser.add_argument("--stay", action="store_true", help="go on following after the answer")
    return parser.parse_args()


def create_client(version):
    # paho 2 asks which form of callbacks is meant; both forms take these below.
    if hasattr(mqtt, "CallbackAPIVersion"):
        return mqtt.Client(mqtt.CallbackAPIVersion.VERSION1, protocol=version)
    return mqtt.Client(protocol=version)


def main():
    options = parse_arguments()
    base = f"{options.root}/{options.device}"
    # A topic of our own: on the device's default topic everybody hears the answer.
    answer_topic = f"{options.root}/client/{uuid.uuid4().hex}/response"
    transaction = uuid.uuid4().hex
    client = create_client(mqtt.MQTTv5 if options.mqtt5 else mqtt.MQTTv311)
    failures = []

    def ask():
        request = {"question": options.question, "transaction": transaction, "timeoutMs": int(options.timeout * 1000)}
        properties = None
        if options.mqtt5:
            properties = Properties(PacketTypes.PUBLISH)
            properties.ResponseTopic = answer_topic
            properties.CorrelationData = transaction.encode()
            properties.MessageExpiryInterval = max(1, int(options.timeout))
        else:
            request["responseTopic"] = answer_topic
        client.publish(f"{base}/request/ask", json.dumps(request), qos=1, properties=properties)

    def on_connect(client, _userdata, _flags, reason, *_properties):
        if reason != 0:
            failures.append(f"the broker refused the connection: {reason}")
            client.disconnect()
            return
        filters = ["availability", "camera/+/scene", "camera/+/event"]
        client.subscribe([(f"{base}/{each}", 1) for each in filters] + [(answer_topic, 1)])

    def on_subscribe(*_arguments):
        if options.question is not None:
            ask()

    def on_message(client, _userdata, message):
        payload = json.loads(message.payload) if message.payload else {}
        if message.topic == answer_topic:
            # On both versions the transaction says which request this answers.
            if payload.get("transaction") != transaction:
                return
            if payload["status"] == "ok":
                print("answer:", payload["data"]["text"])
                for found in payload["data"]["objects"]:
                    print("object:", found["label"], found["boxPixels"])
            else:
                error = payload["error"]
                hint = f", again in {error['retryAfterMs']} ms" if "retryAfterMs" in error else ""
                failures.append(f"{error['code']}: {error['message']}{hint}")
            if not options.stay:
                client.disconnect()
        elif message.topic == f"{base}/availability":
            print("device:", payload["state"])
        elif message.topic.endswith("/scene"):
            print(f"scene of {payload['camera']}:", payload["text"])
        elif message.topic.endswith("/event"):
            print(f"event of {payload['camera']}:", payload["watch"], payload["type"], payload["value"])
        sys.stdout.flush()

    client.on_connect = on_connect
    client.on_subscribe = on_subscribe
    client.on_message = on_message
    client.connect(options.host, options.port)
    client.loop_forever()
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
