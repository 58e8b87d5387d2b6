"""A virtual phone looks and refuses like a phone."""

from __future__ import annotations

import re
import subprocess

import pytest

from device_agents.virtual import profiles
from tests.lab.conftest import RunningLab, StartLab, eventually

PIXEL, A34 = "pixel-8-pro", "galaxy-a34"


def test_shell_is_the_shell_user_without_any_capability(virtual_lab: RunningLab) -> None:
    assert virtual_lab.says(PIXEL, "id -u; id -un; id -g").split() == ["2000", "shell", "2000"]
    capabilities = re.findall(r"Cap\w+:\s+(\w+)", virtual_lab.says(PIXEL, "cat /proc/self/status"))
    assert capabilities == ["0" * 16] * 5


def test_what_the_shell_may_not_read_is_denied(virtual_lab: RunningLab) -> None:
    for script in (
        "echo x > /data/local/tmp/secret; chmod 000 /data/local/tmp/secret; cat /data/local/tmp/secret",
        "ls /data",
        "cat /proc/1/environ",
        "ls /proc/1/cwd/",
    ):
        done = virtual_lab.shell(PIXEL, script)
        assert done.returncode != 0
        assert b"Permission denied" in done.stderr, script
    virtual_lab.says(PIXEL, "rm -f /data/local/tmp/secret")


def test_profile_denies_its_files(start_lab: StartLab) -> None:
    lab = start_lab("galaxy-a54")
    for file in ("power_supply/battery/current_now", "power_supply/battery/uevent", "thermal/thermal_zone0/temp"):
        done = lab.shell("galaxy-a54", f"cat /sys/class/{file}")
        assert b"Permission denied" in done.stderr, file
    assert int(lab.says("galaxy-a54", "cat /sys/class/power_supply/battery/temp")) > 0


def test_only_the_temporary_folder_is_writable(virtual_lab: RunningLab) -> None:
    done = virtual_lab.shell(
        PIXEL, "touch /x /system/x /data/x /dev/x /sys/x; touch /data/local/tmp/y && rm /data/local/tmp/y"
    )
    assert done.returncode == 0
    assert done.stderr.count(b"touch:") == 5


def test_nothing_of_the_machine_shows(virtual_lab: RunningLab) -> None:
    assert virtual_lab.says(PIXEL, "ls -d /home /root /usr/local 2>/dev/null; true") == ""
    assert virtual_lab.says(PIXEL, "hostname") == "localhost"
    processes = virtual_lab.says(PIXEL, "ps -A -o NAME").split()[1:]
    assert set(processes) <= {"init", "adbd", "sh", "ps"}


@pytest.mark.parametrize(
    "command",
    [
        "ps",
        "kill",
        "setsid",
        "nohup",
        "nc",
        "taskset",
        "sha256sum",
        "df",
        "stat",
        "truncate",
        "head",
        "timeout",
        "cat",
        "dd",
        "tr",
        "tee",
        "mkfifo",
        "getprop",
        "setprop",
        "dumpsys",
        "am",
        "pm",
        "settings",
        "cmd",
        "svc",
        "logcat",
        "reboot",
        "input",
        "sh",
        "toybox",
        "grep",
        "sed",
        "sleep",
        "mv",
        "rm",
        "mkdir",
        "chmod",
        "touch",
        "sync",
        "stty",
        "md5sum",
        "xargs",
        "find",
    ],
)
def test_command_is_there(virtual_lab: RunningLab, command: str) -> None:
    found = virtual_lab.says(PIXEL, f"ls /system/bin/{command} /bin/{command}; which {command}")
    assert found.split() == [f"/bin/{command}", f"/system/bin/{command}", f"/system/bin/{command}"]


def test_scripts_run_with_the_phones_shell(virtual_lab: RunningLab) -> None:
    script = '#!/system/bin/sh\necho "$KSH_VERSION"\nexit 7\n'
    virtual_lab.adb(
        "-s", virtual_lab.info.phone(PIXEL).adb_serial, "shell", "cat > /data/local/tmp/s.sh", stdin=script.encode()
    )
    done = virtual_lab.shell(PIXEL, "chmod 755 /data/local/tmp/s.sh; /data/local/tmp/s.sh")
    virtual_lab.says(PIXEL, "rm /data/local/tmp/s.sh")
    assert done.returncode == 7
    assert b"MIRBSD" in done.stdout


def test_shell_protocol_keeps_streams_and_exit_code_apart(virtual_lab: RunningLab) -> None:
    done = virtual_lab.shell(PIXEL, "echo out; echo err >&2; exit 3")
    assert (done.stdout, done.stderr, done.returncode) == (b"out\n", b"err\n", 3)
    raw = virtual_lab.adb("-s", virtual_lab.info.phone(PIXEL).adb_serial, "exec-out", "head -c 5 /dev/zero")
    assert raw.stdout == b"\0" * 5


def test_properties_say_what_it_is(virtual_lab: RunningLab) -> None:
    for phone in (PIXEL, A34):
        profile, info = profiles.load(phone), virtual_lab.info.phone(phone)
        assert virtual_lab.says(phone, "getprop ro.product.model") == profile.model
        assert virtual_lab.says(phone, "getprop ro.serialno") == info.serial
        assert virtual_lab.says(phone, "getprop ro.farm.virtual") == "1"
        assert virtual_lab.says(phone, "getprop no.such fallback") == "fallback"
        assert f"[ro.soc.model]: [{profile.soc_model}]" in virtual_lab.says(phone, "getprop")
    assert virtual_lab.shell(PIXEL, "setprop ro.serialno x").returncode == 1
    assert virtual_lab.says(PIXEL, "setprop debug.farm 'a b'; getprop debug.farm") == "a b"


def test_adb_shows_the_model(virtual_lab: RunningLab) -> None:
    listed = virtual_lab.adb("devices", "-l").stdout.decode()
    if "product:" not in listed:
        pytest.skip("no C compiler: adbd answers without properties")
    assert "product:husky model:Pixel_8_Pro device:husky" in listed
    assert "model:SM_A346B" in listed


def test_topology_is_the_socs(virtual_lab: RunningLab) -> None:
    cpu = "/sys/devices/system/cpu"
    assert virtual_lab.says(PIXEL, f"cat {cpu}/possible") == "0-8"
    capacities = virtual_lab.says(PIXEL, f"cat {cpu}/cpu[0-8]/cpu_capacity").split()
    assert capacities == ["256"] * 4 + ["696"] * 4 + ["1024"]
    assert (
        virtual_lab.says(PIXEL, f"cat {cpu}/cpu8/cpufreq/cpuinfo_max_freq {cpu}/cpufreq/policy0/related_cpus")
        == "2914000\n0 1 2 3"
    )
    assert virtual_lab.says(PIXEL, "grep -c ^processor /proc/cpuinfo") == "9"


def test_a_core_that_the_machine_lacks_can_be_asked_for(virtual_lab: RunningLab) -> None:
    assert virtual_lab.says(PIXEL, "taskset 100 echo pinned") == "pinned"
    assert virtual_lab.shell(PIXEL, "taskset 80000000 echo pinned").returncode != 0


def test_services_answer_in_the_makers_form(virtual_lab: RunningLab) -> None:
    battery = virtual_lab.says(A34, "dumpsys battery")
    assert re.search(r"(?m)^  level: \d+$", battery)
    assert re.search(r"(?m)^  current now: -?\d+$", battery)
    assert "current now" not in virtual_lab.says(PIXEL, "dumpsys battery")
    assert re.search(r"(?m)^  Capacity level: \d$", virtual_lab.says(PIXEL, "dumpsys battery"))
    thermal = virtual_lab.says(PIXEL, "dumpsys thermalservice")
    current = thermal.split("Current temperatures from HAL:")[1]
    skin = re.search(r"Temperature\{mValue=([\d.]+), mType=3, mName=VIRTUAL-SKIN, mStatus=0\}", current)
    assert skin is not None and 15 < float(skin[1]) < 60
    assert "mStayOnWhilePluggedInSetting=" in virtual_lab.says(PIXEL, "dumpsys power")
    memory = virtual_lab.says(PIXEL, "dumpsys meminfo $$")
    assert re.search(r"TOTAL PSS:\s+\d+\s+TOTAL RSS:\s+\d+", memory)


def test_settings_change_what_the_services_say(virtual_lab: RunningLab) -> None:
    assert virtual_lab.says(PIXEL, "settings get system no_such") == "null"
    virtual_lab.says(PIXEL, "svc power stayon true")
    assert "mStayOn=true" in virtual_lab.says(PIXEL, "dumpsys power")
    virtual_lab.says(PIXEL, 'svc power stayon false; settings put system farm_test "it\'s 1"')
    assert "mStayOn=false" in virtual_lab.says(PIXEL, "dumpsys power")
    assert virtual_lab.says(PIXEL, "settings get system farm_test") == "it's 1"
    virtual_lab.says(PIXEL, "settings delete system farm_test; settings delete global stay_on_while_plugged_in")
    assert virtual_lab.says(PIXEL, "settings get system farm_test") == "null"


def test_overridden_battery_shows_that_it_is(virtual_lab: RunningLab) -> None:
    shown = virtual_lab.says(A34, "dumpsys battery set level 11; dumpsys battery; dumpsys battery reset")
    assert "UPDATES STOPPED" in shown
    assert "\n  level: 11\n" in shown
    assert "UPDATES STOPPED" not in virtual_lab.says(A34, "dumpsys battery")


def test_settings_denied_and_ignored(start_lab: StartLab) -> None:
    lab = start_lab("oneplus-12+deny_settings", "pixel-7a+ignore_settings")
    denied = lab.shell("oneplus-12", "settings put global stay_on_while_plugged_in 7")
    assert denied.returncode == 255
    assert b"SecurityException" in denied.stderr
    assert lab.says("oneplus-12", "svc power stayon true; settings get global stay_on_while_plugged_in") == "null"
    assert lab.says("pixel-7a", "settings put global a 7; settings get global a") == "null"


def test_memory_and_processors_are_the_phones_own(virtual_lab: RunningLab) -> None:
    def available(phone: str) -> int:
        found = re.search(r"MemAvailable:\s+(\d+)", virtual_lab.says(phone, "cat /proc/meminfo"))
        assert found is not None
        return int(found[1])

    def busy(phone: str) -> int:
        return int(virtual_lab.says(phone, "cat /proc/stat").split()[1])

    assert f"{profiles.load(A34).ram_kb} kB" in virtual_lab.says(A34, "grep MemTotal /proc/meminfo")
    before, neighbour, memory = busy(PIXEL), busy(A34), available(PIXEL)
    loop = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"
    script = f"x=$(head -c 40000000 /dev/zero | tr '\\0' a); {loop}; cat /proc/meminfo"
    held = re.search(
        r"MemAvailable:\s+(\d+)",
        virtual_lab.says(PIXEL, f"{script} >/dev/null; sleep 1.3; cat /proc/meminfo", limit_s=60),
    )
    assert held is not None and int(held[1]) < memory - 35_000
    eventually(lambda: busy(PIXEL) > before + 20)
    assert busy(A34) - neighbour < busy(PIXEL) - before


def test_free_space_counts_what_is_stored(virtual_lab: RunningLab) -> None:
    def used() -> list[int]:
        line = virtual_lab.says(PIXEL, "df /data/local/tmp").splitlines()[-1].split()
        return [int(number) for number in line[1:4]]

    total, before, _ = used()
    assert total == profiles.load(PIXEL).storage_kb
    virtual_lab.says(PIXEL, "head -c 30000000 /dev/zero > /data/local/tmp/big")
    _, after, free = used()
    virtual_lab.says(PIXEL, "rm /data/local/tmp/big")
    assert 29_000 < after - before < 31_000
    assert free <= total - after


def test_small_storage_really_fills(start_lab: StartLab) -> None:
    lab = start_lab("galaxy-a54+small_storage")
    full = lab.shell("galaxy-a54", "head -c 60000000 /dev/zero > /data/local/tmp/big")
    assert full.returncode != 0
    assert b"No space left" in full.stderr
    assert lab.says("galaxy-a54", "df /data").splitlines()[-1].split()[3] == "0"


def test_files_pushed_come_back(virtual_lab: RunningLab, tmp_path: object) -> None:
    serial = virtual_lab.info.phone(PIXEL).adb_serial
    done = subprocess.run(
        ["sh", "-c", f"head -c 3000000 /dev/urandom > '{tmp_path}/a'; sha256sum < '{tmp_path}/a'"],
        capture_output=True,
        check=True,
    )
    pushed = virtual_lab.adb("-s", serial, "push", f"{tmp_path}/a", "/data/local/tmp/a b")
    assert pushed.returncode == 0, pushed.stderr
    assert (
        virtual_lab.says(PIXEL, "sha256sum < '/data/local/tmp/a b'; rm '/data/local/tmp/a b'")
        == done.stdout.decode().strip()
    )
