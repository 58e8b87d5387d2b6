# Samples a running process and the phone around it until the process ends.
#
#   sh sampler.sh JOBDIR RUNNER_PID memory_s files_s services_s max_s
#
# Appends lines to JOBDIR/samples; every line is one write of under 512 bytes, so that what a killed phone leaves is
# readable up to its last line. Fields of the header are separated by tabs, UPTIME is that of /proc/uptime in seconds:
#
#   farm-samples 1                        the format
#   channel KEY NAME UNIT SOURCE          a source that is read: short key, channel, unit as the phone gives it, path
#   absent NAME SOURCE REASON             a source that cannot be read, with the phone's own words
#   note KEY VALUE                        shell, way of waiting, periods
#   m UPTIME HWM RSS ANON FILE SWAP       memory of the process in kB ("-": not given)
#   f UPTIME KEY=VALUE ...                the files of the channels, by key
#   c UPTIME cpu USER NICE SYSTEM ...     CPU time of the phone
#   s UPTIME UPTIME2 STATUS SERVICE       an answer of `dumpsys SERVICE`, asked and complete at these times; ...
#   | LINE                                ... its lines ...
#   e SERVICE                             ... and its end
#   end UPTIME REASON
#
# Shell builtins only in the loop: a fork per value costs more than a hundred reads. TERM takes a last memory sample and
# ends it; so does the end of the process, and max_s in any case.

# A failed redirection prints through "2>/dev/null" of its own command in mksh, so silence comes first.
exec 2>/dev/null
dir=$1 pid=$2
exec >>"$dir/samples" </dev/null || exit 1
trap '' HUP
ending=
trap 'ending=asked' TERM INT
tab='	'
nl='
'

if [ -n "$KSH_VERSION" ]; then
  say() { print -r -- "$1"; }
else
  say() { printf '%s\n' "$1"; }
fi

# Seconds with at most two decimals -> hundredths, into $hundredths.
to_hundredths() {
  case $1 in
  *.*) whole=${1%%.*} part=${1#*.}00 ;;
  *) whole=$1 part=00 ;;
  esac
  part=${part%"${part#??}"}
  hundredths=$((${whole:-0} * 100 + ${part#0}))
}

# Hundredths since the start into $now, the phone's uptime into $up. Counted from the start: mksh has 32-bit numbers.
clock() {
  read -r up ignored </proc/uptime
  part=${up#*.}
  now=$(((${up%.*} - origin) * 100 + ${part#0}))
}

read -r up ignored </proc/uptime
origin=${up%.*}
clock
started=$now
to_hundredths "${3:-0.1}"; memory_period=$((hundredths > 0 ? hundredths : 10))
to_hundredths "${4:-0.5}"; files_period=$((hundredths > 0 ? hundredths : 50))
to_hundredths "${5:-1}"; services_period=$((hundredths > 0 ? hundredths : 100))
to_hundredths "${6:-3600}"; limit=$((started + hundredths))

# Start time and state of the process, into $start_time and $state; both empty when it is gone.
identify() {
  line= start_time= state=
  read -r line </proc/"$pid"/stat || return 1
  line=${line##*') '}
  IFS=' '
  set -f
  set -- $line
  state=$1
  shift 19
  start_time=$1
}

alive() {
  identify && [ "$start_time" = "$born" ] && [ "$state" != Z ] && [ "$state" != X ]
}

# Memory of the process into $hwm, $rss, $anon, $file and $swap, "-" for what is not given. mksh reads a file into words
# six times faster than line by line, where every `read` asks the kernel for the whole of it again.
if [ -n "$KSH_VERSION" ]; then
  eval 'read_status() { set -f; IFS="$tab $nl"; pick $(</proc/"$pid"/status) || pick $(</proc/"$pid"/status); }'
else
  read_status() {
    while IFS="$tab " read -r key value ignored; do
      case $key in
      VmHWM:) hwm=$value ;;
      VmRSS:) rss=$value ;;
      RssAnon:) anon=$value ;;
      RssFile:) file=$value ;;
      VmSwap:) swap=$value; break ;;
      esac
    done </proc/"$pid"/status
  }
fi

# The same from the words of the file: where the fields stand does not change while a process lives. Fails when they
# stand elsewhere, and looks for them then.
before_hwm= to_swap=0
pick() {
  if [ -n "$before_hwm" ]; then
    [ $# -gt "$before_hwm" ] && shift "$before_hwm"
    [ "$1$4$7${10}" = VmHWM:VmRSS:RssAnon:RssFile: ] || { before_hwm=; return 1; }
  else
    before_hwm=0
    while [ $# -gt 0 ] && [ "$1" != VmHWM: ]; do shift; before_hwm=$((before_hwm + 1)); done
    [ $# -gt 0 ] || { before_hwm=; return 0; }
    to_swap=0 count=0
    for word; do
      count=$((count + 1))
      [ "$word" = VmSwap: ] && to_swap=$count && break
    done
  fi
  hwm=$2
  [ "$4" = VmRSS: ] && rss=$5
  [ "$7" = RssAnon: ] && anon=$8
  [ "${10}" = RssFile: ] && file=${11}
  [ "$to_swap" -gt 0 ] && [ $# -gt "$to_swap" ] && shift "$to_swap" && swap=$1
  return 0
}

sample_memory() {
  hwm=- rss=- anon=- file=- swap=-
  read_status
  [ "$hwm$rss" = -- ] || say "m $up $hwm $rss $anon $file $swap"
}

sample_files() {
  out="f $up"
  IFS=$nl
  for entry in $sources; do
    value=
    IFS=' ' read -r value ignored <"${entry#*=}"
    [ -n "$value" ] && out="$out ${entry%%=*}=$value"
    [ ${#out} -gt 400 ] && say "$out" && out="f $up"
  done
  IFS="$tab "
  while read -r key value ignored; do
    [ "$key" = MemAvailable: ] && out="$out ma=$value" && break
  done </proc/meminfo
  say "$out"
  line=
  read -r line </proc/stat
  say "c $up $line"
}

# One memory sample if one is due; called inside the discovery too, which takes long on phones with many zones.
memory_due=$started
tick_memory() {
  clock
  if [ "$now" -ge "$memory_due" ]; then
    sample_memory
    memory_due=$((memory_due + (now - memory_due) / memory_period * memory_period + memory_period))
  fi
}

# One source: KEY NAME UNIT PATH.
sources=
offer() {
  value=
  read -r value <"$4"
  if [ -n "$value" ]; then
    say "channel$tab$1$tab$2$tab$3$tab$4"
    sources="$sources$1=$4$nl"
  else
    why=$(cat "$4" 2>&1)
    why=${why##*: }
    say "absent$tab$2$tab$4$tab${why:-it is empty}"
  fi
  tick_memory
}

# Nothing matched a pattern: NAME FOLDER, with the phone's words about the folder.
none_in() {
  why=$(ls "$2" 2>&1 >/dev/null)
  why=${why##*: }
  say "absent$tab$1$tab$2$tab${why:-the folder has none}"
}

discover() {
  set +f
  found=
  for policy in /sys/devices/system/cpu/cpufreq/policy*; do
    [ -d "$policy" ] || continue
    found=1 name=${policy##*/} number=${policy##*policy}
    offer "p${number}c" "$name.cur_freq" kHz "$policy/scaling_cur_freq"
    offer "p${number}m" "$name.max_freq" kHz "$policy/scaling_max_freq"
  done
  [ -n "$found" ] || none_in policy.cur_freq /sys/devices/system/cpu/cpufreq
  battery=/sys/class/power_supply/battery
  offer bi battery.current µA $battery/current_now
  offer bv battery.voltage µV $battery/voltage_now
  offer bt battery.temperature '0.1 °C' $battery/temp
  offer bl battery.level % $battery/capacity
  offer bs battery.status '' $battery/status
  offer bc battery.charge_counter µAh $battery/charge_counter
  found=
  set +f
  for zone in /sys/class/thermal/thermal_zone*; do
    [ -e "$zone" ] || continue
    found=1 number=${zone##*thermal_zone} type=
    IFS= read -r type <"$zone/type"
    offer "z$number" "zone.${type:-thermal_zone$number}.temperature" '' "$zone/temp"
  done
  [ -n "$found" ] || none_in zone.temperature /sys/class/thermal
}

# Waits $1 hundredths: on a fifo that nobody writes to where the shell's read can time out, else by sleep.
wait_fifo() { IFS= read -r -t "$seconds" ignored <&3; }
wait_sleep() { sleep "$seconds"; }
pause() {
  [ "$1" -gt 0 ] || return 0
  part=$(($1 % 100))
  [ "$part" -lt 10 ] && part=0$part
  seconds=$(($1 / 100)).$part
  $way
}

choose_way() {
  way=wait_sleep
  mkfifo "$dir/sampler.fifo" && exec 3<>"$dir/sampler.fifo" || return
  rm -f "$dir/sampler.fifo"
  way=wait_fifo
  clock; before=$now
  pause 5
  clock
  # A shell without the option, or with whole seconds only, comes back at once or late.
  [ $((now - before)) -ge 4 ] && [ $((now - before)) -le 40 ] || way=wait_sleep
}

# The services, in a process of its own: a dumpsys takes tens of milliseconds and may hang.
services() {
  asked=
  trap 'kill "$asked"; exit 0' TERM INT
  clock
  due=$now
  while clock; [ "$now" -lt "$limit" ] && alive && [ -d /proc/$$ ]; do
    for service in battery thermalservice; do
      clock; before=$up
      dumpsys $service >"$dir/sampler.part" 2>&1 &
      asked=$!
      wait $asked
      status=$?
      clock
      say "s $before $up $status $service"
      skip=
      while IFS= read -r line; do
        case $line in
        # Stale values and constants: most of the text, and never used.
        *'Cached temperatures:'*) skip=1 ;;
        *'HAL Ready:'*) skip= ;;
        *'static thresholds'*) break ;;
        esac
        [ -z "$skip" ] && [ ${#line} -lt 400 ] && say "| $line"
      done <"$dir/sampler.part"
      say "e $service"
    done
    # Not a phone: there is no such program.
    [ "$status" -ne 127 ] || return
    due=$((due + services_period))
    clock
    [ "$due" -lt "$now" ] && due=$now
    pause $((due - now))
  done
}

say "farm-samples 1"
identify
born=$start_time
tick_memory
choose_way
say "note${tab}shell$tab${KSH_VERSION:-${BASH_VERSION:-sh}}"
say "note${tab}wait$tab$way"
say "note${tab}process$tab$pid $born"
say "note${tab}periods$tab$memory_period $files_period $services_period hundredths"
services &
helper=$!
discover
clock
files_due=$now
while [ -z "$ending" ]; do
  clock
  [ "$now" -lt "$limit" ] || { ending=limit; break; }
  tick_memory
  [ "$hwm$rss" = -- ] && ! alive && { ending=gone; break; }
  if [ "$now" -ge "$files_due" ]; then
    alive || { ending=gone; break; }
    sample_files
    files_due=$((files_due + (now - files_due) / files_period * files_period + files_period))
  fi
  next=$memory_due
  [ "$files_due" -lt "$next" ] && next=$files_due
  [ "$limit" -lt "$next" ] && next=$limit
  clock
  pause $((next - now))
done
clock
[ "$ending" = gone ] || sample_memory
say "end $up $ending"
kill "$helper"
rm -f "$dir/sampler.part"
