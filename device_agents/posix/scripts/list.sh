# list.sh JOBS PATTERN: prints the folder of every job that left a folder or a process, one a line.
# PATTERN is JOBS as a basic regular expression.
exec 2> /dev/null
for folder in "$1"/*/; do
  [ -d "$folder" ] && echo "${folder%/}"
done
[ -d /proc/self ] || exit 0
grep -o -h -a "FARM_JOB=$2/[A-Za-z0-9._-]*/" /proc/[0-9]*/environ | while IFS= read -r line; do
  line=${line#FARM_JOB=}
  echo "${line%/}"
done
exit 0
