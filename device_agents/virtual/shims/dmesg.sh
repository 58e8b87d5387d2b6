#!/system/bin/sh
# dmesg: the shell user of a phone may not read the kernel's log.
print -u2 "dmesg: klogctl: Permission denied"
exit 1
