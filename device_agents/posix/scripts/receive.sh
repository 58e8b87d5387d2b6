# receive.sh FILE OFFSET MARK < rest: appends standard input to FILE, which has OFFSET bytes, and prints the SHA-256 of
# the whole, read while it grows. Ends with 9 when FILE has another size, with 8 when it cannot be written.
#
# MARK is a file of this call alone: it says that nothing more comes, and the reader may outlive a cut cable by a
# moment. The shell keeps FILE open for reading, so that every dd goes on where the last one stopped; dd takes what is
# there in large pieces, where cat and head of many phones take 4 KiB. Sizes are compared as text: numbers have 32 bits
# in mksh.
file=$1
mark=$3
if command -v sha256sum > /dev/null; then digest() { sha256sum; }; else digest() { shasum -a 256; }; fi
[ "$2" != 0 ] || : > "$file"
now=$(wc -c < "$file")
[ "${now##* }" = "$2" ] || { echo "the partial file has ${now##* } bytes in place of $2" >&2; exit 9; }
exec 3< "$file" 4<&0 || exit 8
{
  {
    until [ -e "$mark" ]; do
      dd bs=1048576 <&3 2> /dev/null
      sleep 0.05
    done
    dd bs=1048576 <&3 2> /dev/null
  } | digest
} &
said=$(dd bs=1048576 <&4 2>&1 >> "$file")
code=$?
: > "$mark"
wait
rm -f "$mark"
[ "$code" = 0 ] || { echo "$said" >&2; exit 8; }
