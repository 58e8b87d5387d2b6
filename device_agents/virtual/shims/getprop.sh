#!/system/bin/sh
# getprop [NAME [DEFAULT]]
. /system/etc/common.sh
show() {
  value=
  IFS= read -r value < "$1"
  print -r -- "[${1##*/}]: [$value]"
}
if [[ $# -eq 0 ]]; then
  for file in $STATE/props/*; do show "$file"; done
  exit 0
fi
value=
case $1 in
  */*) ;;
  *)
    if [[ -r $SETTINGS/prop.$1 ]]; then
      IFS= read -r value < "$SETTINGS/prop.$1"
    elif [[ -r $STATE/props/$1 ]]; then
      IFS= read -r value < "$STATE/props/$1"
    fi
    ;;
esac
print -r -- "${value:-$2}"
