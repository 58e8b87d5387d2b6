# look.sh STORE SHA256...: prints for every artifact "artifact SHA256" followed by "present" or "part" and the lines
# "SIZE PATH" of its files, or of the files of a cut push; PATH begins with the folder's name. An artifact that is there
# counts as used now. Then "free" with the answer of df, if something is not there.
cd "$1" 2> /dev/null || exit 0
space=
shift
for sha256; do
  echo "artifact $sha256"
  folder=$sha256
  if [ -d "$folder" ]; then
    touch "$folder"
    echo present
  else
    folder=$sha256.part
    space=asked
    [ -d "$folder" ] || continue
    echo part
  fi
  find "$folder" -type f -exec wc -c {} +
done
[ -n "$space" ] || exit 0
df -P -k . | while IFS= read -r line; do
  case $line in *%*/*) echo "free $line" ;; esac
done
exit 0
