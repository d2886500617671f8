#!/bin/sh
# Installs what tests/page needs, where it is missing: Chromium, and two packages into .venv.
cd "$(dirname "$0")/../.." || exit 1
# PIP_FLAGS as for make.
# shellcheck disable=SC2086
.venv/bin/python -m pip install --quiet $PIP_FLAGS -r tests/requirements-page.txt || exit 1

for program in chromium chromium-browser google-chrome; do
    command -v "$program" >/dev/null && exit 0
done

packages="chromium"
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "error: no chromium; as root, on Debian: apt-get install $packages" >&2
    exit 1
fi
echo "installing $packages"
export DEBIAN_FRONTEND=noninteractive
apt-get install -qq -y --no-install-recommends $packages >/dev/null 2>&1 ||
    { apt-get update -qq && apt-get install -qq -y --no-install-recommends $packages >/dev/null; }
