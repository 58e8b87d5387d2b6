# unused.sh ROOT: prints "now SECONDS" by the device's own clock, "uses SHA256" for every artifact that a job on the
# device names, and "used SECONDS NAME" for every entry of the store: when it was used last.
cd "$1/store" 2> /dev/null || exit 0
echo "now $(date +%s)"
grep -o -h '/store/[0-9a-f]*' "$1"/jobs/*/spec 2> /dev/null | while IFS= read -r line; do echo "uses ${line#/store/}"; done
for name in *; do
  seconds=$(stat -c %Y "./$name" 2> /dev/null) && echo "used $seconds $name"
done
exit 0
