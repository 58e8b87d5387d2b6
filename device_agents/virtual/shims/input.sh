#!/system/bin/sh
# input keyevent KEY | tap X Y: wakes the screen or puts it to sleep. Makers that deny settings deny injected keys, too.
. /system/etc/common.sh
behaves ignore_settings && exit 0
if behaves deny_settings; then
  print -u2 "
Exception occurred while executing '$1':
java.lang.SecurityException: Injecting input events requires the caller (or the source of the instrumentation, if any) to have the INJECT_EVENTS permission.
	at com.android.server.input.InputManagerService.injectInputEvent(InputManagerService.java:976)"
  exit 255
fi
[[ $1 = keyevent ]] || exit 0
case $2 in
  KEYCODE_WAKEUP|224) put_state awake 1; await_applied ;;
  KEYCODE_SLEEP|223) put_state awake 0; await_applied ;;
  KEYCODE_POWER|26) [[ $(get_state awake 1) = 1 ]] && put_state awake 0 || put_state awake 1; await_applied ;;
esac
