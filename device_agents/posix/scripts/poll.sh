# poll.sh FOLDER BOOT TENTHS: prints "done", "running", or "lost WHY", then the newest readings of the sampler. A job that
# runs is watched for up to TENTHS of a second first, so that its end is told when it comes and nobody has to ask often.
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
tenths=1
pause() { sleep 0.1; }
# A read that times out costs no process, where the shell has it, and the supervisor ends it by a line.
if [ -n "$KSH_VERSION$BASH_VERSION" ]; then
  [ -p poll.fifo ] || mkfifo poll.fifo
  exec 3<> poll.fifo && tenths=20 && pause() { read -r -t 2 _ <&3; }
fi
watched=0
while [ "$watched" -lt "${3:-0}" ] && ! [ -e result ] && [ -s pid ]; do
  read -r supervisor _ < pid
  kill -0 "$supervisor" || break
  pause
  watched=$((watched + tenths))
done
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
