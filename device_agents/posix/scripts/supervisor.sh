# Runs one job detached from whoever started it, and leaves its end in FOLDER/result.
#
#   sh supervisor.sh run FOLDER              the supervisor itself: leader of its own session
#   sh supervisor.sh limit FOLDER PID A B    after A seconds note the placement, after B more end the runner's group
#
# FOLDER/spec is data written by the controller: variables, and the functions runner (replaces itself by the runner),
# detach (replaces itself by its arguments in a new session) and netcat. Times are device uptimes in seconds.
# Works in mksh, dash and bash; only builtins while the runner works, but for sleep where the shell has none.

mode=$1
folder=$2
cd "$folder" || exit 1
exec 2>> supervisor.log
trap '' HUP
. ./spec

uptime_now() {
  up=
  [ -r /proc/uptime ] && read -r up _ < /proc/uptime
  [ -n "$up" ] || up=$(date +%s).00
}

stamp() {
  uptime_now
  echo "$1=$up" >> stamps
}

# A dead child stays a zombie until it is waited for, and kill -0 counts it as alive.
alive() {
  if [ -d /proc/self ]; then
    line=
    [ -r "/proc/$1/stat" ] && read -r line < "/proc/$1/stat"
    case ${line##*) } in '' | Z* | X*) return 1 ;; esac
    return 0
  fi
  kill -0 "$1"
}

# Start time in clock ticks after boot: tells a process from a later one with the same pid.
started_at() {
  ticks=0
  if [ -r "/proc/$1/stat" ]; then
    read -r line < "/proc/$1/stat"
    ticks=$(set -- ${line##*) } && echo "${20}")
  fi
}

signal_group() {
  kill "-$1" "-$2" || kill "-$1" "$2"
}

end_group() {
  alive "$1" || { kill -KILL "-$1"; return; }
  signal_group TERM "$1"
  tries=0
  while alive "$1" && [ $tries -lt 60 ]; do
    sleep 0.05
    tries=$((tries + 1))
  done
  signal_group KILL "$1"
}

await_sampler() {
  tries=0
  while alive "$sampler_pid" && [ $tries -lt 60 ]; do
    sleep 0.05
    tries=$((tries + 1))
  done
}

# Some things the sampler can ask only while the runner lives. The stamp parts what that costs from the run.
last_look() {
  [ -n "$sampler_pid" ] && alive "$sampler_pid" || return
  stamp closing
  signal_group TERM "$sampler_pid"
  await_sampler
}

note_placement() {
  allowed=
  for status in "/proc/$1/task"/*/status; do
    [ -r "$status" ] || continue
    while read -r key value; do
      case $key in
        Cpus_allowed_list:)
          case " $allowed " in *" $value "*) ;; *) allowed="$allowed $value" ;; esac
          break
          ;;
      esac
    done < "$status"
  done
  cpuset= cgroup=
  [ -r "/proc/$1/cpuset" ] && read -r cpuset < "/proc/$1/cpuset"
  [ -r "/proc/$1/cgroup" ] && while read -r line; do cgroup="$cgroup${cgroup:+;}$line"; done < "/proc/$1/cgroup"
  online=
  [ -r /sys/devices/system/cpu/online ] && read -r online < /sys/devices/system/cpu/online
  [ -z "$allowed" ] || printf 'cpus_allowed=%s\ncpuset=%s\ncgroup=%s\ncpus_online=%s\n' \
    "${allowed# }" "$cpuset" "$cgroup" "$online" > placement
}

# The time that a core accounts for stands still while the device sleeps, uptime does not.
note_clocks() {
  awake=
  [ -r /proc/stat ] && while read -r key a b c d e f g h _; do
    case $key in
      cpu) ;;
      cpu*) awake="$awake $key,$a,$b,$c,$d,$e,$f,$g,$h" ;;
      *) break ;;
    esac
  done < /proc/stat
  uptime_now
  [ -z "$awake" ] || echo "$1=$up$awake" >> clocks
}

if [ "$mode" = limit ]; then
  sleep "$4"
  note_placement "$3"
  sleep "$5"
  # A server that has answered is not late.
  [ -e ended_by ] || echo limit > ended_by
  signal_group TERM "$3"
  sleep 3
  signal_group KILL "$3"
  exit 0
fi

# One GET; its answer is in the file probe. The pipe stays open until the server has answered, since several servers
# drop a request whose sender has closed its end.
probe() {
  rm -f probed
  {
    printf 'GET %s HTTP/1.1\r\nHost: 127.0.0.1:%s\r\nConnection: close\r\n\r\n' "$ready_path" "$port"
    tries=0
    while ! [ -e probed ] && [ $tries -lt 100 ]; do sleep 0.02; tries=$((tries + 1)); done
  } | {
    (netcat 127.0.0.1 "$port" > probe)
    : > probed
  }
  line=
  read -r line < probe
  case $line in HTTP/*" 200"*) return 0 ;; esac
  return 1
}

wait_ready() {
  uptime_now
  until=$((${up%.*} + ready_limit))
  while alive "$pid"; do
    probe && return 0
    uptime_now
    [ "${up%.*}" -lt "$until" ] || { echo not_ready > ended_by; return 1; }
    sleep 0.05
  done
  return 1
}

note_answered() {
  [ -z "$seen" ] || return
  seen=1
  uptime_now
  echo "$up" > answered
}

# Returns when a whole line of the answer holds the marker, or when no more can come.
await_answer() {
  held=
  seen=
  tries=0
  while :; do
    if IFS= read -r part <&5; then
      case $held$part in *"$stop_marker"*) note_answered; return ;; esac
      held=
    else
      held=$held$part
      case $held in *"$stop_marker"*) note_answered ;; esac
      [ -z "$closing" ] || return
      { [ -e closed ] || ! alive "$pid"; } && closing=1
      [ -z "$seen" ] || tries=$((tries + 1))
      [ $tries -lt 30 ] || return
      [ -n "$closing" ] || sleep 0.03
    fi
  done
}

# A server may keep a connection that it no longer needs.
end_netcat() {
  tries=0
  while ! [ -e closed ]; do
    if [ $tries -ge 10 ] && [ -r netcat_pid ]; then
      read -r held < netcat_pid
      kill -TERM "$held"
      return
    fi
    sleep 0.02
    tries=$((tries + 1))
  done
}

# One request. Its answer grows in the file $1; the moment at which it was whole is in the file answered.
ask() {
  rm -f answered closed netcat_pid
  : > "$1"
  exec 5< "$1"
  closing=
  uptime_now
  asked=$up
  {
    cat request
    await_answer
    end_netcat
  } | {
    # What a shell starts in the background loses its standard input, unless it is given.
    exec 6<&0
    netcat 127.0.0.1 "$port" <&6 >> "$1" &
    echo "$!" > netcat_pid
    exec 6<&-
    wait "$!"
    : > closed
  }
}

keep_answer() {
  echo ": requested=$asked"
  if [ -n "$shorten" ]; then sed -E "$shorten" answer; else cat answer; fi
  echo
  if [ -r answered ]; then
    read -r up < answered
    echo ": answered=$up"
  fi
}

drive() {
  wait_ready || return
  stamp ready
  stamp requested
  if [ "$repeat_for" = 0 ]; then
    ask stream
  else
    # One second more, since both ends are rounded down.
    until=$((${up%.*} + repeat_for + 1))
    : > stream
    while :; do
      ask answer
      keep_answer >> stream
      [ -r answered ] && alive "$pid" && ! [ -e ended_by ] || break
      uptime_now
      [ "${up%.*}" -lt "$until" ] || break
    done
  fi
  if [ -r answered ]; then
    read -r up < answered
    echo "answered=$up" >> stamps
  fi
  if alive "$pid" && ! [ -e ended_by ]; then
    echo server_done > ended_by
    last_look
  fi
  end_group "$pid"
}

cancel() {
  echo cancel > ended_by
  [ -z "$pid" ] || signal_group TERM "$pid"
}

# PID TICKS of the supervisor, then of the runner.
note_pids() {
  printf '%s %s %s %s\n%s\n' "$$" "$1" "$2" "$3" "$boot" > pid.new
  mv pid.new pid
}

# Whether the device itself says that it has no external power: every source that it tells is off. What some makers
# append to their report repeats keys, so the first of each counts; a report that somebody froze says nothing.
is_unplugged() {
  dumpsys battery > power < /dev/null
  known= off=
  while read -r line; do
    case $line in
      *'UPDATES STOPPED'*) return 1 ;;
      'AC powered:'* | 'USB powered:'* | 'Wireless powered:'* | 'Dock powered:'* | 'POGO powered:'*)
        case $known in *"<${line%%:*}>"*) continue ;; esac
        known="$known<${line%%:*}>"
        case ${line#*:} in *false*) off=1 ;; *) return 1 ;; esac
        ;;
    esac
  done < power
  [ -n "$off" ]
}

# Looks once a second; fails when the power stays too long, or when the job is cancelled meanwhile.
await_unplugged() {
  uptime_now
  until=$((${up%.*} + unplugged_within))
  until is_unplugged; do
    [ -e ended_by ] && return 1
    uptime_now
    [ "${up%.*}" -lt "$until" ] || { echo stayed_powered > ended_by; return 1; }
    sleep 1
  done
  ! [ -e ended_by ]
}

# CODE: the job is over; its command's exit code, "" when it was never started.
finish() {
  ended=exit
  [ -r ended_by ] && read -r ended < ended_by
  printf 'code=%s\nended_by=%s\n' "$1" "$ended" > result.new
  mv result.new result
  # Wakes a poll that watches; open for both directions, so that nobody has to be there.
  [ ! -p poll.fifo ] || echo done 1<> poll.fifo
}

boot=
[ -r /proc/sys/kernel/random/boot_id ] && read -r boot < /proc/sys/kernel/random/boot_id
[ -n "$boot" ] || boot=$(sysctl -n kern.boottime)
started_at "$$"
own_ticks=$ticks
pid=
if [ "$unplugged_within" != 0 ]; then
  trap cancel TERM INT
  # Until there is a runner, the supervisor stands for it, so that the job is seen and can be ended.
  note_pids "$own_ticks" "$$" "$own_ticks"
  await_unplugged || { trap '' TERM INT; stamp ended; finish ''; exit 0; }
  stamp unplugged
fi
note_clocks started
stamp started
(detach sh -c '. ./spec; runner') > stdout 2> stderr < /dev/null &
pid=$!
trap cancel TERM INT
# Cancelled between the last look at the power and now.
[ "$unplugged_within" = 0 ] || ! [ -e ended_by ] || cancel
started_at "$pid"
note_pids "$own_ticks" "$pid" "$ticks"
(detach sh "$0" limit "$folder" "$pid" "$limit_first" "$limit_rest") > /dev/null < /dev/null &
timer=$!
sampler_pid=
if [ -n "$sampler" ]; then
  (detach sh "$sampler" "$folder" "$pid" "$memory_s" "$files_s" "$services_s" "$sampler_max" "$floor_kb" "$calm_s") > /dev/null < /dev/null &
  sampler_pid=$!
fi
# The runner gives itself its cores a moment after it began; one that ended before says nothing of them.
note_placement "$pid"
tries=0
while [ -n "$cores" ] && [ "${allowed# }" != "$cores" ] && [ $tries -lt 25 ]; do
  alive "$pid" || { rm -f placement; break; }
  sleep 0.02
  note_placement "$pid"
  tries=$((tries + 1))
done

if [ -n "$port" ]; then
  drive
  end_group "$pid"
fi
while :; do
  wait "$pid"
  code=$?
  alive "$pid" || break
done
stamp ended
note_clocks ended
trap '' TERM INT
kill -KILL "-$pid"
signal_group KILL "$timer"
wait "$timer"
if [ -n "$sampler_pid" ]; then
  await_sampler
  signal_group KILL "$sampler_pid"
  wait "$sampler_pid"
fi
finish "$code"
