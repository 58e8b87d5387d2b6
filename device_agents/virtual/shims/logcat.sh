#!/system/bin/sh
# logcat [-d] [-c] [-b BUFFER] [-t N]: the lab writes low-memory kills and reboots here.
. /system/etc/common.sh
follow=1
for option in "$@"; do
  case $option in
    -c|--clear) exit 0 ;;
    -d|-t|-t*) follow=0 ;;
  esac
done
print -- "--------- beginning of main"
[[ -r $STATE/logcat ]] && cat $STATE/logcat
[[ $follow = 1 ]] && exec tail -f $STATE/logcat
exit 0
