#!/system/bin/sh
# dumpsys [-t SECONDS] [-l] SERVICE [ARGUMENT...]
. /system/etc/common.sh
while [[ $1 = -* ]]; do
  case $1 in
    -l) print "Currently running services:"; for file in $STATE/dumpsys/*; do print "  ${file##*/}"; done; exit 0 ;;
    -t|-T) shift 2 ;;
    *) shift ;;
  esac
done
service=$1
[[ $# -gt 0 ]] && shift

battery_override() {
  case $1 in
    unplug) print "charger=none" ;;
    reset) print "" ;;
    set)
      case $2 in
        ac) [[ $3 = 0 ]] && print "charger=none" || print "charger=ac" ;;
        usb) [[ $3 = 0 ]] && print "charger=none" || print "charger=usb" ;;
        level|status|temp) print "$2=$3" ;;
        *) print -u2 "Unknown set option: $2"; return 1 ;;
      esac
      ;;
  esac
}

memory() {
  if [[ ! -r /proc/$1/status ]]; then print "No process found for: $1"; exit 0; fi
  typeset anon=0 file=0 shared=0 swap=0 size=0 name=
  while read -r key value rest; do
    case $key in
      Name:) name=$value ;;
      VmSize:) size=$value ;;
      RssAnon:) anon=$value ;;
      RssFile:) file=$value ;;
      RssShmem:) shared=$value ;;
      VmSwap:) swap=$value ;;
    esac
  done < /proc/$1/status
  IFS= read -r up rest < /proc/uptime
  up=${up%%.*}000
  total=$((anon + file + shared + swap))
  print "Applications Memory Usage (in Kilobytes):"
  print "Uptime: $up Realtime: $up"
  print
  print "** MEMINFO in pid $1 [$name] **"
  print "                   Pss  Private  Private  SwapPss      Rss     Heap     Heap     Heap"
  print "                 Total    Dirty    Clean    Dirty    Total     Size    Alloc     Free"
  print "                ------   ------   ------   ------   ------   ------   ------   ------"
  printf '  %-13s %7d  %7d  %7d  %7d  %7d  %7d  %7d  %7d\n' "Native Heap" $anon $anon 0 $swap $anon $size $anon 0
  printf '  %-13s %7d  %7d  %7d  %7d  %7d\n' "Other mmap" $((file + shared)) 0 $file 0 $((file + shared))
  printf '  %-13s %7d  %7d  %7d  %7d  %7d  %7d  %7d  %7d\n' TOTAL $total $anon $file $swap $((anon + file + shared)) $size $anon 0
  print
  print " App Summary"
  print "                       Pss(KB)                        Rss(KB)"
  print "                        ------                         ------"
  printf '%21s: %7d %30d\n' "Native Heap" $anon $anon
  printf '%21s: %7d %30d\n' "Code" $file $file
  print
  printf '%21s: %7d %14s: %7d %20s: %7d\n' "TOTAL PSS" $total "TOTAL RSS" $((anon + file + shared)) "TOTAL SWAP PSS" $swap
}

case $service in
  battery)
    case $1 in
      unplug|reset|set)
        change=$(battery_override "$@") || exit 255
        old=$(get_state battery.override "")
        if [[ $1 = reset ]]; then put_state battery.override ""; else put_state battery.override "$old $change"; fi
        await_applied
        ;;
      *) print -r -- "$(<$STATE/dumpsys/battery)" ;;
    esac
    ;;
  meminfo)
    [[ $1 = --* || $1 = -* ]] && shift
    if [[ -n $1 ]]; then
      case $1 in
        *[!0-9]*) print "No process found for: $1" ;;
        *) memory "$1" ;;
      esac
    else
      cat /proc/meminfo
    fi
    ;;
  "") for file in $STATE/dumpsys/*; do print "DUMP OF SERVICE ${file##*/}:"; cat "$file"; done ;;
  power)
    timeout=$(get_state system.screen_off_timeout 60000)
    case $timeout in ""|*[!0-9]*) timeout=60000 ;; esac
    sed "s/mScreenOffTimeoutSetting=.*/mScreenOffTimeoutSetting=$timeout/" $STATE/dumpsys/power
    ;;
  */*) print -u2 "Can't find service: $service" ;;
  *)
    if [[ -r $STATE/dumpsys/$service ]]; then print -r -- "$(<$STATE/dumpsys/$service)"; else print -u2 "Can't find service: $service"; fi
    ;;
esac
