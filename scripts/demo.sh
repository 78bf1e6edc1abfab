#!/bin/sh
# The first command: installs what is missing (as root), builds, and writes text with the bundled ternary model on the best
# device present. Arguments replace the prompt.
set -eu
cd "$(dirname "$0")/.."
./scripts/setup.sh
./scripts/build.sh build -DTERN_TESTS=OFF
prompt=${*:-"Once upon a time there was a little"}
printf '\nprompt: %s\n' "$prompt"
./build/tern run -m models/stories -p "$prompt" -n 120 --temp 0.8 --seed 1
echo
