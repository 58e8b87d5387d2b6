#!/bin/sh
# Runs once more, one after the other, the tests that failed while four ran side by side: they drive real processes with
# real limits of time, and a machine of two cores may not keep them all. One that fails by itself, too, is broken. What
# passes now is named, since it is either too tight or racy.
# Usage: again.sh PYTHON
set -eu
failed=$("$1" -c 'import json, pathlib
path = pathlib.Path(".pytest_cache/v/cache/lastfailed")
print("\n".join(json.loads(path.read_text())) if path.is_file() else "")')
if [ -z "$failed" ]; then
  echo "the tests did not run through" >&2
  exit 1
fi
"$1" -m pytest -p no:xdist --last-failed --last-failed-no-failures=none
echo "failed beside others, passed alone:"
echo "$failed"
