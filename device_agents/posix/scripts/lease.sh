# lease.sh ROOT VERB TOKEN DEAD SECONDS TEXT UNIQUE: reads or changes ROOT/lease, then prints the device's time and the
# lease. VERB acquire takes a lease that is free, TOKEN's own, expired, or DEAD's; renew and release only TOKEN's own.
root=$1 verb=$2 token=$3 dead=$4 seconds=$5 text=$6 unique=$7
mkdir -p "$root" && cd "$root" || exit 1
mutex=lease.busy

# One holder of the mutex at a time. Whoever died inside left its name; after it was seen unchanged for 5 s, the folder
# is moved away by rename, which only one can do.
enter() {
  seen= waited=0
  until mkdir "$mutex" 2> /dev/null; do
    [ -d "$mutex" ] || [ -w . ] || return 1
    holder=
    { read -r holder < "$mutex/holder"; } 2> /dev/null
    if [ "$holder" = "$seen" ]; then waited=$((waited + 1)); else waited=0 seen=$holder; fi
    if [ "$waited" -ge 100 ]; then
      mv "$mutex" "lease.dead.$unique" 2> /dev/null && rm -rf "lease.dead.$unique"
      waited=0
    fi
    sleep 0.05
  done
  echo "$unique" > "$mutex/holder"
}

expiry= current=
known() {
  expiry= current=
  [ -s lease ] && { read -r expiry; read -r current; } < lease
}

if [ "$verb" != read ]; then
  enter || exit 1
  known
  now=$(date +%s)
  case $verb in
    acquire)
      if [ -z "$current" ] || [ "$current" = "$token" ] || [ "$current" = "$dead" ] || [ "$expiry" -le "$now" ]; then
        printf '%s\n%s\n%s\n' "$((now + seconds))" "$token" "$text" > "lease.$unique" && mv -f "lease.$unique" lease
      fi
      ;;
    renew)
      if [ "$current" = "$token" ]; then
        printf '%s\n%s\n%s\n' "$((now + seconds))" "$token" "$text" > "lease.$unique" && mv -f "lease.$unique" lease
      fi
      ;;
    release)
      [ "$current" = "$token" ] && rm -f lease
      ;;
  esac
  rm -rf "$mutex"
fi
date +%s
[ -s lease ] && cat lease
exit 0
