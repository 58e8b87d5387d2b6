#!/system/bin/sh
# setprop NAME VALUE: the shell user may set debug.*, log.* and persist.log.* only.
. /system/etc/common.sh
if [[ $# -ne 2 ]]; then
  print -u2 "usage: setprop NAME VALUE"
  exit 1
fi
case $1 in
  */*) ;;
  debug.*|log.*|persist.log.*) put_state "prop.$1" "$2"; exit 0 ;;
esac
print -u2 "Failed to set property '$1' to '$2'.
See dmesg for error reason."
exit 1
