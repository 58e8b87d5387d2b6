#!/system/bin/sh
# svc power stayon true|false|usb|ac|wireless; svc wifi|data enable|disable
. /system/etc/common.sh
case "$1 $2" in
  "power stayon")
    case $3 in
      true) mask=15 ;;
      false) mask=0 ;;
      ac) mask=1 ;;
      usb) mask=2 ;;
      wireless) mask=4 ;;
      *) print -u2 "usage: svc power stayon [true|false|usb|ac|wireless|dock]"; exit 1 ;;
    esac
    behaves ignore_settings && exit 0
    behaves deny_settings && exit 0
    # As on phones: whoever wants the phone to stay awake wakes it.
    (( mask )) && put_state awake 1
    put_state global.stay_on_while_plugged_in "$mask"
    await_applied
    ;;
  "power reboot") exec reboot ;;
  "wifi enable"|"wifi disable"|"data enable"|"data disable")
    check_may_write "$1"
    [[ $2 = enable ]] && on=1 || on=0
    [[ $1 = wifi ]] && put_state global.wifi_on $on || put_state global.mobile_data $on
    ;;
  *) print -u2 "Available commands: help power data wifi"; exit 1 ;;
esac
