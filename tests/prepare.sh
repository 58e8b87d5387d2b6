#!/bin/sh
# What the tests use besides Python packages: a browser, and axe-core. Where one cannot be installed the tests that
# need it skip and say so.
set -u

have() { command -v "$1" > /dev/null 2>&1; }

if ! { have chromium && have chromedriver; } && have apt-get && [ "$(id -u)" = 0 ]; then
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        chromium chromium-driver fonts-dejavu-core > /dev/null || echo "tests: no Chromium could be installed" >&2
fi
exit 0
