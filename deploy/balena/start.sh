#!/bin/sh
# Waits until this device has joined, and then is one of its two processes.
set -eu
until [ -r /config/agent.toml ]; do sleep 5; done
exec dizaine-agent run --part "$1" --config /config/agent.toml
