#!/system/bin/sh
# am get-current-user|get-started-user-state|broadcast|force-stop: a virtual phone has no apps.
case $1 in
  get-current-user) print 0 ;;
  get-started-user-state) print RUNNING_UNLOCKED ;;
  broadcast) print "Broadcasting: Intent { act=$3 flg=0x400000 }\nBroadcast completed: result=0" ;;
  force-stop|kill-all) ;;
  *) print -u2 "am: a virtual phone has no activity manager"; exit 255 ;;
esac
