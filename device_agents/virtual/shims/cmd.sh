#!/system/bin/sh
# cmd SERVICE ARGUMENT...
. /system/etc/common.sh
service=$1
[[ $# -gt 0 ]] && shift
case $service in
  settings) exec settings "$@" ;;
  package) exec pm "$@" ;;
  activity) exec am "$@" ;;
  battery)
    case $1 in
      get) sed -n "s/^  $2: //p" $STATE/dumpsys/battery | head -n 1 ;;
      *) exec dumpsys battery "$@" ;;
    esac
    ;;
  thermalservice)
    case $1 in
      override-status) put_state thermal.override "$2"; await_applied ;;
      reset) put_state thermal.override ""; await_applied ;;
      *) print -u2 "Thermal service commands: override-status STATUS, reset"; exit 255 ;;
    esac
    ;;
  connectivity)
    [[ $1 = airplane-mode ]] || exit 255
    case $2 in
      enable)
        check_may_write airplane-mode
        put_state global.airplane_mode_on 1
        # Wi-Fi goes off with the radios that airplane mode names; 3 is "off because of airplane mode".
        case ,$(settings get global airplane_mode_radios), in
          *,wifi,*) [[ $(settings get global wifi_on) = 1 ]] && put_state global.wifi_on 3 ;;
        esac
        exit 0
        ;;
      disable)
        check_may_write airplane-mode
        put_state global.airplane_mode_on 0
        [[ $(settings get global wifi_on) = 3 ]] && put_state global.wifi_on 1
        exit 0
        ;;
      *) [[ $(get_state global.airplane_mode_on 0) = 1 ]] && print enabled || print disabled ;;
    esac
    ;;
  power)
    [[ $1 = set-mode ]] || exit 255
    check_may_write set-mode
    put_state global.low_power "$2"
    await_applied
    ;;
  -l) print "Currently running services:"; print "  activity\n  battery\n  connectivity\n  package\n  power\n  settings\n  thermalservice" ;;
  *) print -u2 "cmd: Can't find service: $service"; exit 20 ;;
esac
