# look.sh STORE SHA256...: prints "free" with the answer of df, and for every artifact "artifact SHA256" followed by
# "present SIZE NAME" per file of it, or by "part SIZE NAME" per file of a cut push. NAME is relative; an artifact that is
# there counts as used now.
cd "$1" 2> /dev/null || exit 0
shift
df -P -k . | while IFS= read -r line; do
  case $line in *%*/*) echo "free $line" ;; esac
done
for sha256; do
  echo "artifact $sha256"
  state=present folder=$sha256
  if [ -d "$folder" ]; then touch "$folder"; else state=part folder=$sha256.part; fi
  [ -d "$folder" ] || continue
  find "$folder" -type f | while IFS= read -r path; do
    printf '%s %s %s\n' "$state" "$(wc -c < "$path")" "${path#"$folder"/}"
  done
done
exit 0
