# receive.sh PART NAME OFFSET MARK SHA256 FINAL < rest: appends standard input to PART/NAME, which has OFFSET bytes,
# prints the SHA-256 of the whole, read while it grows, and gives PART the name FINAL when that is SHA256. Ends with 9
# when the file has another size, with 8 when it cannot be written.
#
# MARK is a file of this call alone: it says that nothing more comes, and the reader may outlive a cut cable by a
# moment. The shell keeps the file open for reading, so that every dd goes on where the last one stopped; dd takes what
# is there in large pieces, where cat and head of many phones take 4 KiB. Sizes are compared as text: numbers have 32
# bits in mksh.
file=$1/$2
mark=$4
mkdir -p "$1" || exit 8
if command -v sha256sum > /dev/null; then digest() { sha256sum; }; else digest() { shasum -a 256; }; fi
[ "$3" != 0 ] || : > "$file"
now=$(wc -c < "$file")
[ "${now##* }" = "$3" ] || { echo "the partial file has ${now##* } bytes in place of $3" >&2; exit 9; }
exec 3< "$file" 4<&0 || exit 8
{
  said=$(dd bs=1048576 <&4 2>&1 >> "$file")
  code=$?
  : > "$mark"
  [ "$code" = 0 ] || { echo "$said" >&2; exit 8; }
} &
writer=$!
sum=$({
  until [ -e "$mark" ]; do
    dd bs=1048576 <&3 2> /dev/null
    sleep 0.02
  done
  dd bs=1048576 <&3 2> /dev/null
} | digest)
wait "$writer"
code=$?
rm -f "$mark"
[ "$code" = 0 ] || exit 8
sum=${sum%% *}
echo "$sum"
[ "$sum" != "$5" ] || mv "$1" "$6"
