# Sourced by the shims. State: /mnt/virtual is written by the simulator, /mnt/virtual/settings by this phone.
STATE=/mnt/virtual
SETTINGS=/mnt/virtual/settings

# Succeeds when the phone was started with the behaviour $1.
behaves() { [[ -e $STATE/behaviours/$1 ]]; }

# Writes $2 into the setting file $1, atomically.
put_state() {
  print -r -- "$2" > "$SETTINGS/.$$.new" && mv "$SETTINGS/.$$.new" "$SETTINGS/$1"
}

# Prints the setting file $1, or $2 when there is none.
get_state() {
  typeset value=$2
  [[ -r $SETTINGS/$1 ]] && IFS= read -r value < "$SETTINGS/$1"
  print -r -- "$value"
}

# Waits until the simulator has seen what was written, one second at most.
await_applied() {
  typeset want=$RANDOM$RANDOM seen= tries=0
  put_state sequence "$want"
  while [[ $seen != "$want" && tries -lt 10 ]]; do
    sleep 0.1
    [[ -r $STATE/applied ]] && IFS= read -r seen < $STATE/applied
    tries=$((tries + 1))
  done
}

# A denied or ignored write: prints what the phone prints and ends the shim; returns where writing is allowed.
check_may_write() {
  behaves ignore_settings && exit 0
  behaves deny_settings || return 0
  print -u2 "
Exception occurred while executing '$1':
java.lang.SecurityException: Permission denial: writing to settings requires:android.permission.WRITE_SECURE_SETTINGS
	at com.android.providers.settings.SettingsProvider.enforceWritePermission(SettingsProvider.java:2386)"
  exit 255
}
