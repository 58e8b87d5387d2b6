#!/system/bin/sh
# df [-h|-k|-P] [PATH...]: /data has the capacity of the phone's profile; what lies in it is really counted.
. /system/etc/common.sh
human=0
set -A paths
while [[ $# -gt 0 ]]; do
  case $1 in
    -h|-H) human=1 ;;
    -*) ;;
    *) paths[${#paths[*]}]=$1 ;;
  esac
  shift
done
size() {
  if [[ $human = 0 ]]; then print -r -- "$1"
  elif (( $1 >= 10485760 )); then print "$(( ($1 + 524288) / 1048576 ))G"
  elif (( $1 >= 1048576 )); then print "$(( $1 / 1048576 )).$(( $1 % 1048576 * 10 / 1048576 ))G"
  else print "$(( $1 / 1024 ))M"; fi
}
row() {
  typeset use=$(( ($3 + $2 / 100) / ($2 / 100 + 1) ))
  printf '%-20s %10s %10s %10s %4s %s\n' "$1" "$(size $2)" "$(size $3)" "$(size $4)" "$use%" "$5"
}
data_row() {
  if behaves small_storage; then
    set -- $(stat -f -c '%b %a %S' /data/local/tmp)
    total=$(($1 * ($3 / 1024))) free=$(($2 * ($3 / 1024)))
    row /dev/block/dm-52 $total $((total - free)) $free /data/user/0
    return
  fi
  read -r total base < $STATE/storage
  used=$(du -sk /data/local/tmp 2>/dev/null)
  used=$((base + ${used%%[!0-9]*}))
  set -- $(stat -f -c '%a %S' /data/local/tmp)
  # The shell counts in 32 bits: kilobytes, never bytes.
  free=$((total - used)) room=$(($1 * ($2 / 1024)))
  # Never promises more than the machine under it really has.
  (( free > room )) && free=$room
  (( free < 0 )) && free=0
  row /dev/block/dm-52 $total $used $free /data/user/0
}
if [[ $human = 1 ]]; then title=Size; else title=1K-blocks; fi
printf '%-20s %10s %10s %10s %4s %s\n' Filesystem $title Used Available Use% "Mounted on"
if [[ ${#paths[*]} -eq 0 ]]; then set -A paths / /data; fi
status=0
for path in "${paths[@]}"; do
  if [[ ! -e $path ]]; then print -u2 "df: $path: No such file or directory"; status=1; continue; fi
  case $(realpath "$path") in
    /data|/data/*|/storage/*) data_row ;;
    *) row /dev/block/dm-5 1048576 1048576 0 / ;;
  esac
done
exit $status
