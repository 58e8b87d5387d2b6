# end.sh FOLDER…: ends every process of these jobs and removes the folders; prints what could not be ended.
#
# A process belongs to a job when its environment names the job's folder, or when it is in a session or group of one of
# the job's recorded processes. Nothing else is touched.
exec 2> /dev/null
# Prints the pid of every process that belongs to job folder $1.
members() {
  if [ -d /proc/self ]; then
    for found in $(grep -l -F "FARM_JOB=$1/" /proc/[0-9]*/environ); do
      found=${found#/proc/}
      found=${found%/environ}
      [ "$found" = "$$" ] || echo "$found"
    done
    # Those that hide their environment: by session or group of a recorded process, unless its pid was given to another.
    [ -s "$1/pid" ] || return
    read -r supervisor ticks runner runner_ticks < "$1/pid"
    for stat in /proc/[0-9]*/stat; do
      line=
      read -r line < "$stat" || continue
      set -- ${line##*) }
      case $1 in Z | X) continue ;; esac
      if [ "$3" = "$supervisor" ] || [ "$4" = "$supervisor" ]; then leader_ticks=$ticks
      elif [ "$3" = "$runner" ] || [ "$4" = "$runner" ]; then leader_ticks=$runner_ticks
      else continue
      fi
      # A member of the session is no older than its leader.
      [ "${20}" -ge "$leader_ticks" ] && echo "${line%% *}"
    done
  elif [ -s "$1/pid" ]; then
    read -r supervisor _ runner _ < "$1/pid"
    kill -0 "-$supervisor" && echo "-$supervisor"
    kill -0 "-$runner" && echo "-$runner"
  fi
}
status=0
for folder; do
  tries=0
  left=$(members "$folder")
  while [ -n "$left" ] && [ $tries -lt 100 ]; do
    for process in $left; do kill -KILL "$process"; done
    sleep 0.02
    tries=$((tries + 1))
    left=$(members "$folder")
  done
  if [ -n "$left" ]; then
    echo "$folder" $left
    status=1
  else
    rm -rf "$folder"
  fi
done
exit $status
