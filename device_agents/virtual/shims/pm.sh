#!/system/bin/sh
# pm list packages|users; pm path PACKAGE: a virtual phone has no apps.
case "$1 $2" in
  "list packages") print "package:android\npackage:com.android.shell\npackage:com.android.settings" ;;
  "list users") print "Users:\n\tUserInfo{0:Owner:4c13} running" ;;
  "path "*) exit 1 ;;
  *) print -u2 "pm: a virtual phone has no package manager"; exit 255 ;;
esac
