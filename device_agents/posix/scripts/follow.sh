# follow.sh FILE SIZE: prints the SHA-256 of FILE, read while it grows to SIZE bytes. Ends with 4 when it stops growing.
#
# The shell keeps FILE open, so that every cat goes on where the last one stopped. Sizes are compared as text: numbers
# have 32 bits in mksh. It changes nothing, for it may outlive a cut cable by some seconds.
file=$1
size=$2
if command -v sha256sum > /dev/null; then digest() { sha256sum; }; else digest() { shasum -a 256; }; fi
exec 3< "$file" || exit 3
sum=$(
  {
    idle=0 last= now=
    while [ "$idle" -lt 500 ]; do
      now=$(wc -c < "$file")
      now=${now##* }
      [ "$now" != "$size" ] || break
      if [ "$now" = "$last" ]; then idle=$((idle + 1)); else idle=0 last=$now; fi
      cat <&3
      sleep 0.02
    done
    cat <&3
  } | digest
)
now=$(wc -c < "$file")
[ "${now##* }" = "$size" ] || exit 4
echo "${sum%% *}"
