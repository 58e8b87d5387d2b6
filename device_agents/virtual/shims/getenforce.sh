#!/system/bin/sh
# A virtual phone has no SELinux, and says so.
print Disabled
