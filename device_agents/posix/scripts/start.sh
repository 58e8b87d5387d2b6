# start.sh FOLDER SUPERVISOR SAMPLER < spec: starts the job and prints the two lines of FOLDER/pid. Ends with 90 when the
# script SUPERVISOR, or SAMPLER unless that is empty, is not on the device.
folder=$1
supervisor=$2
[ -e "$supervisor" ] && { [ -z "$3" ] || [ -e "$3" ]; } || exit 90
if [ -e "$folder/pid" ] || [ -e "$folder/result" ]; then exit 91; fi
mkdir -p "$folder" && cat > "$folder/spec" || exit 93
. "$folder/spec"
[ -z "$needs" ] || command -v "$needs" > /dev/null || { rm -rf "$folder"; exit 94; }
cd /
export FARM_JOB="$folder/"
(detach sh "$supervisor" run "$folder") > /dev/null 2>&1 < /dev/null &
tries=0
while ! [ -s "$folder/pid" ]; do
  tries=$((tries + 1))
  [ $tries -lt 500 ] || { cat "$folder/supervisor.log" >&2; exit 92; }
  sleep 0.02
done
cat "$folder/pid"
