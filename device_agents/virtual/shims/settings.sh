#!/system/bin/sh
# settings get|put|delete|list NAMESPACE [KEY [VALUE]]
. /system/etc/common.sh
verb=$1 space=$2 key=$3
[[ $verb = --user ]] && { shift 2; verb=$1 space=$2 key=$3; }
case $space in
  system|secure|global) ;;
  *) print -u2 "Invalid namespace '$space'"; exit 255 ;;
esac
case $key in */*) print -u2 "Bad arguments"; exit 255 ;; esac
case $verb in
  get)
    case $space.$key in
      system.screen_off_timeout) default=60000 ;;
      global.airplane_mode_radios) default=cell,bluetooth,wifi,nfc,wimax ;;
      global.wifi_on) default=1 ;;
      *) default=null ;;
    esac
    get_state "$space.$key" $default
    ;;
  put)
    if [[ $# -lt 4 ]]; then print -u2 "Bad arguments"; exit 255; fi
    check_may_write put
    put_state "$space.$key" "$4"
    await_applied
    ;;
  delete)
    check_may_write delete
    if [[ -e $SETTINGS/$space.$key ]]; then rm -f "$SETTINGS/$space.$key"; print "Deleted 1 rows"; else print "Deleted 0 rows"; fi
    await_applied
    ;;
  list)
    for file in $SETTINGS/$space.*; do
      [[ -r $file ]] || continue
      IFS= read -r value < "$file"
      name=${file##*/}
      print -r -- "${name#$space.}=$value"
    done
    ;;
  *) print -u2 "Invalid command: $verb"; exit 255 ;;
esac
