# poll.sh FOLDER BOOT: prints "done", "running", or "lost WHY", then the newest readings of the sampler.
[ -d "$1" ] || { echo lost folder; exit 0; }
cd "$1" || exit 1
exec 2> /dev/null
boot=
[ -r /proc/sys/kernel/random/boot_id ] && read -r boot < /proc/sys/kernel/random/boot_id
[ -n "$boot" ] || boot=$(sysctl -n kern.boottime)
is_running() {
  [ -s pid ] || return 1
  read -r supervisor ticks _ < pid
  kill -0 "$supervisor" || return 1
  [ -r "/proc/$supervisor/stat" ] || { [ ! -d /proc/self ]; return; }
  read -r line < "/proc/$supervisor/stat"
  case ${line##*) } in Z* | X*) return 1 ;; esac
  [ "$(set -- ${line##*) } && echo "${20}")" = "$ticks" ]
}
if [ -e result ]; then
  echo done
elif [ "$boot" != "$2" ]; then
  echo lost boot
elif is_running; then
  echo running
elif [ -e result ]; then
  echo done
else
  echo lost gone
fi
[ -r live ] && cat live
exit 0
