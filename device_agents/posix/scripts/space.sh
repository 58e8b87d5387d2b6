# space.sh ROOT: prints "free KILOBYTES", "uses SHA256" for every artifact that a job on the device names, and
# "keeps KILOBYTES NAME" for every entry of the store, the least recently used first.
mkdir -p "$1/store" && cd "$1/store" || exit 1
df -P -k . | while IFS= read -r line; do
  case $line in *%*/*) echo "free $line" ;; esac
done
grep -o -h '/store/[0-9a-f]*' "$1"/jobs/*/spec 2> /dev/null | while IFS= read -r line; do echo "uses ${line#/store/}"; done
ls -tr | while IFS= read -r name; do
  du -s -k "$name" | { read -r kilobytes _ && echo "keeps $kilobytes $name"; }
done
exit 0
