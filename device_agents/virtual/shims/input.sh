#!/system/bin/sh
# input keyevent KEY | tap X Y: wakes the screen or puts it to sleep.
. /system/etc/common.sh
[[ $1 = keyevent ]] || exit 0
case $2 in
  KEYCODE_WAKEUP|224) put_state awake 1; await_applied ;;
  KEYCODE_SLEEP|223) put_state awake 0; await_applied ;;
  KEYCODE_POWER|26) [[ $(get_state awake 1) = 1 ]] && put_state awake 0 || put_state awake 1; await_applied ;;
esac
