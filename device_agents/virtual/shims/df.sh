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
# The size $1 in kilobytes as it is shown, into $shown.
show() {
  if [[ $human = 0 ]]; then shown=$1
  elif (( $1 >= 10485760 )); then shown="$(( ($1 + 524288) / 1048576 ))G"
  elif (( $1 >= 1048576 )); then shown="$(( $1 / 1048576 )).$(( $1 % 1048576 * 10 / 1048576 ))G"
  else shown="$(( $1 / 1024 ))M"; fi
}
# mksh has no printf of its own.
line() {
  typeset -L20 filesystem=$1
  typeset -R10 size=$2 used=$3 free=$4
  typeset -R4 use=$5
  print -r -- "$filesystem $size $used $free $use $6"
}
row() {
  typeset percent=$(( ($3 + $2 / 100) / ($2 / 100 + 1) )) size used
  show $2; size=$shown
  show $3; used=$shown
  show $4
  line "$1" "$size" "$used" "$shown" "$percent%" "$5"
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
line Filesystem $title Used Available Use% "Mounted on"
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
