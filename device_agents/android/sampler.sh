# Samples a running process and the phone around it until the process ends.
#
#   sh sampler.sh JOBDIR RUNNER_PID memory_s files_s services_s max_s [floor_kb [calm_s]]
#
# Memory is read every memory_s while it grows or shrinks, and every calm_s once VmRSS has stood still for a second: what
# does not change need not be asked for often, and VmHWM misses no peak in between.
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
#   p UPTIME USER SYSTEM THREADS          CPU time of the process in ticks of 10 ms, and its threads
#   a UPTIME LISTS CPUSET                 cores its threads may use: the different lists, joined by ";"
#   watchdog UPTIME AVAILABLE_KB          the phone's available memory fell below floor_kb: the process was killed
#   s UPTIME UPTIME2 STATUS SERVICE       an answer of `dumpsys SERVICE`, asked and complete at these times; ...
#   | LINE                                ... its lines ...
#   e SERVICE                             ... and its end
#   end UPTIME REASON
#
# Shell builtins only in the loop: a fork per value costs more than a hundred reads. TERM takes a last sample of memory,
# asks for meminfo, and ends it; so does the end of the process, and max_s in any case. The services are asked at the
# start and once more at the end.
#
# What was discovered is kept in the file `sampler.sources` beside this script, for the build of the system and the number
# of thermal zones that stand in its first line; it is used when every source still answers as it did.

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

# The first word of the file $1 into $value; empty when it cannot be read.
if [ -n "$KSH_VERSION" ]; then
  eval 'first_of() {
    value=$(<"$1")
    case $value in " "* | "$tab"*) IFS="$tab " read -r value ignored <"$1" ;; esac
    value=${value%%[ $tab$nl]*}
  }'
else
  first_of() { value=; IFS="$tab " read -r value ignored <"$1"; }
fi

# Hundredths since the start into $now, the phone's uptime into $up. Counted from the start: mksh has 32-bit numbers.
clock() {
  first_of /proc/uptime
  up=$value
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
floor=${7:-0}
to_hundredths "${8:-0}"; calm_period=$((hundredths > memory_period ? hundredths : memory_period))
placement_period=500 placement_due=$((started + 100))

# Start time, state, CPU time and threads of the process; the first two are empty when it is gone.
identify() {
  line= start_time= state=
  read -r line </proc/"$pid"/stat || return 1
  line=${line##*') '}
  IFS=' '
  set -f
  set -- $line
  state=$1 user=${12} system=${13} threads=${18}
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

# Kilobytes that the phone can still give, into $available; empty where its kernel does not say.
if [ -n "$KSH_VERSION" ]; then
  eval 'read_available() { set -f; IFS="$tab $nl"; pick_available $(</proc/meminfo); }'
else
  read_available() {
    available=
    while IFS="$tab " read -r key value ignored; do
      [ "$key" = MemAvailable: ] && available=$value && break
    done </proc/meminfo
  }
fi
pick_available() {
  available=
  [ "$7" = MemAvailable: ] || while [ $# -gt 1 ] && [ "$1" != MemAvailable: ]; do shift; done
  if [ "$1" = MemAvailable: ]; then available=$2; elif [ "$7" = MemAvailable: ]; then available=$8; fi
}

# Ends the process before the phone hangs for lack of memory; its parent finds the reason in the file ended_by.
guard() {
  read_available
  [ -n "$available" ] && [ "$available" -lt "$floor" ] && alive || return 0
  say "watchdog $up $available"
  [ -e "$dir/ended_by" ] || say watchdog >"$dir/ended_by"
  kill -KILL "-$pid" || kill -KILL "$pid"
  floor=0
}

# The list of cores in the status file of a thread, into $allowed.
if [ -n "$KSH_VERSION" ]; then
  eval 'read_allowed() {
    allowed=
    text=$(<"$1")
    case $text in *Cpus_allowed_list:*) ;; *) return ;; esac
    allowed=${text#*Cpus_allowed_list:}
    allowed=${allowed%%"$nl"*}
    allowed=${allowed##*[$tab ]}
  }'
else
  read_allowed() {
    allowed=
    while IFS="$tab " read -r key value ignored; do
      [ "$key" = Cpus_allowed_list: ] && allowed=$value && break
    done <"$1"
  }
fi

sample_placement() {
  placement_due=$((now + placement_period))
  lists= cpuset=
  set +f
  for status in /proc/"$pid"/task/*/status; do
    read_allowed "$status"
    [ -n "$allowed" ] && [ ${#lists} -lt 300 ] || continue
    case ";$lists;" in *";$allowed;"*) ;; *) lists=$lists${lists:+;}$allowed ;; esac
  done
  set -f
  IFS= read -r cpuset </proc/"$pid"/cpuset
  [ -z "$lists" ] || say "a $up $lists ${cpuset:--}"
}

sample_memory() {
  hwm=- rss=- anon=- file=- swap=-
  read_status
  [ "$hwm$rss" = -- ] || say "m $up $hwm $rss $anon $file $swap"
}

# When VmRSS was last seen to change, by more than 1/64 of what it was.
stirred_at=$started stood=0
watch_change() {
  [ "$rss" != - ] || return 0
  changed=$((rss - stood))
  [ $((${changed#-} * 64)) -gt "$stood" ] || return 0
  stirred_at=$now stood=$rss
}

sample_files() {
  out="f $up"
  IFS=$nl
  for entry in $sources; do
    first_of "${entry#*=}"
    [ -n "$value" ] && out="$out ${entry%%=*}=$value"
    [ ${#out} -gt 400 ] && say "$out" && out="f $up"
  done
  IFS="$tab "
  read_available
  say "$out${available:+ ma=$available}"
  line=
  IFS= read -r line </proc/stat
  say "c $up $line"
  say "p $up $user $system $threads"
}

# One memory sample if one is due; called inside the discovery too, which takes long on phones with many zones.
memory_due=$started
tick_memory() {
  clock
  if [ "$now" -ge "$memory_due" ]; then
    sample_memory
    watch_change
    period=$memory_period
    [ $((now - stirred_at)) -lt 100 ] || period=$calm_period
    memory_due=$((started + (now - started) / period * period + period))
    [ "$floor" -le 0 ] || guard
  fi
}

# A line of the header, kept for the next time.
header=
declare_source() {
  say "$1"
  header=$header$1$nl
}

# One source: KEY NAME UNIT PATH.
sources=
offer() {
  value=
  read -r value <"$4"
  if [ -n "$value" ]; then
    declare_source "channel$tab$1$tab$2$tab$3$tab$4"
    sources="$sources$1=$4$nl"
  else
    why=$(cat "$4" 2>&1)
    why=${why##*: }
    declare_source "absent$tab$2$tab$4$tab${why:-it is empty}"
  fi
  tick_memory
}

# Nothing matched a pattern: NAME FOLDER, with the phone's words about the folder.
none_in() {
  why=$(ls "$2" 2>&1 >/dev/null)
  why=${why##*: }
  declare_source "absent$tab$1$tab$2$tab${why:-the folder has none}"
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

# Whether the source of a kept line answers as it did then: a value of the same zone, or none.
answers() {
  value=
  case $1 in
  channel*)
    path=${1##*"$tab"}
    read -r value <"$path"
    [ -n "$value" ] || return 1
    case $path in
    */thermal_zone*)
      IFS= read -r value <"${path%/*}/type"
      case $1 in *"${tab}zone.${value:-${path%/*}}.temperature$tab"*) ;; *"${tab}zone.thermal_zone"*) ;; *) return 1 ;; esac
      ;;
    esac
    ;;
  absent*)
    path=${1%"$tab"*}
    read -r value <"${path##*"$tab"}"
    [ -z "$value" ]
    ;;
  *) return 1 ;;
  esac
}

# Takes the sources from the file of an earlier time; fails when it is of another build or a source has changed.
recall() {
  [ -n "$fingerprint" ] || return 1
  kept=
  {
    line=
    IFS= read -r line
    [ "$line" = "$version" ] || return 1
    while IFS= read -r line; do
      answers "$line" || return 1
      kept=$kept$line$nl
      tick_memory
    done
  } <"$kept_in" || return 1
  set -f
  IFS=$nl
  for line in $kept; do
    say "$line"
    case $line in channel*) key=${line#*"$tab"} sources="$sources${key%%"$tab"*}=${line##*"$tab"}$nl" ;; esac
  done
  IFS="$tab "
  [ -n "$kept" ]
}

# What this build of the system has, from the kept file or by looking.
find_sources() {
  kept_in=${0%/*}/sampler.sources
  fingerprint=$(getprop ro.build.fingerprint)
  set +f
  set -- /sys/class/thermal/thermal_zone*
  version="farm-sources 1 $# $fingerprint"
  recall && return
  discover
  [ -n "$fingerprint" ] && say "$version$nl${header%"$nl"}" >"$kept_in.$$" && mv -f "$kept_in.$$" "$kept_in"
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

# Writes one line of an answer, or leaves it out; fails when nothing more is wanted.
keep_line() {
  case $line in
  # Stale values and constants: most of the text, and never used.
  *'Cached temperatures:'*) skip=1 ;;
  *'HAL Ready:'*) skip= ;;
  *'static thresholds'*) return 1 ;;
  esac
  [ -n "$skip" ] || [ ${#line} -ge 400 ] || say "| $line"
}

# Every line of the file $1, but for empty ones in mksh, through keep_line.
if [ -n "$KSH_VERSION" ]; then
  eval 'keep_lines() { set -f; IFS=$nl; for line in $(<"$1"); do keep_line || break; done; IFS="$tab "; }'
else
  keep_lines() { while IFS= read -r line; do keep_line || break; done <"$1"; }
fi

# Writes what a service answered: SERVICE FILE, with $before, $up and $status.
answer() {
  say "s $before $up $status $1"
  skip=
  keep_lines "$2"
  say "e $1"
}

runs() {
  line=
  read -r line </proc/"$1"/stat || return 1
  case ${line##*') '} in '' | Z* | X*) return 1 ;; esac
}

# Asks one service a last time, with its arguments; gives it up at $patience.
ask_once() {
  clock; before=$up
  dumpsys "$@" >"$dir/sampler.last" 2>&1 &
  asked=$!
  while runs "$asked" && [ "$now" -lt "$patience" ]; do
    pause 3
    clock
  done
  if runs "$asked"; then
    kill -KILL "$asked"
    wait "$asked"
    return
  fi
  wait "$asked"
  status=$?
  clock
  answer "$1" "$dir/sampler.last"
}

# The state in which the phone is left, so that both ends of a case have one. Within 1.5 s: somebody waits for it.
ask_at_end() {
  command -v dumpsys >/dev/null || return
  clock
  patience=$((now + 150))
  ask_once battery
  ask_once thermalservice
  # Last, because it is the slow one on phones.
  [ "$ending" = asked ] && alive && ask_once meminfo "$pid"
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
      answer "$service" "$dir/sampler.part"
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
find_sources
clock
files_due=$now
while [ -z "$ending" ]; do
  tick_memory
  [ "$now" -lt "$limit" ] || { ending=limit; break; }
  [ "$hwm$rss" = -- ] && ! alive && { ending=gone; break; }
  if [ "$now" -ge "$files_due" ]; then
    alive || { ending=gone; break; }
    sample_files
    [ "$now" -lt "$placement_due" ] || sample_placement
    # On one grid with memory, so that both are read in one waking.
    files_due=$((started + (now - started) / files_period * files_period + files_period))
    clock
  fi
  next=$memory_due
  [ "$files_due" -lt "$next" ] && next=$files_due
  [ "$limit" -lt "$next" ] && next=$limit
  pause $((next - now))
done
clock
if [ "$ending" != gone ]; then
  alive && say "p $up $user $system $threads"
  sample_memory
fi
trap '' TERM INT
kill "$helper"
[ "$ending" = limit ] || ask_at_end
clock
say "end $up $ending"
rm -f "$dir/sampler.part" "$dir/sampler.last"
