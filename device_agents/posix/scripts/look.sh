# look.sh STORE SHA256: prints "free" with the answer of df, and "present SIZE NAME" per file of the artifact, or
# "part SIZE NAME" per file of a cut push. NAME is relative; the artifact counts as used now.
cd "$1" 2> /dev/null || exit 0
df -P -k . | while IFS= read -r line; do
  case $line in *%*/*) echo "free $line" ;; esac
done
state=present folder=$2
if [ -d "$folder" ]; then touch "$folder"; else state=part folder=$2.part; fi
[ -d "$folder" ] || exit 0
find "$folder" -type f | while IFS= read -r path; do
  printf '%s %s %s\n' "$state" "$(wc -c < "$path")" "${path#"$folder"/}"
done
