"""AFC and house_arrest of virtual iPhones, seen by unmodified clients."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import shutil
import ssl
import struct
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pymobiledevice3.exceptions import (
    AfcException,
    AfcFileNotFoundError,
    AppNotInstalledError,
    ConnectionTerminatedError,
)
from pymobiledevice3.services.afc import (
    AFC_LOCK_EX,
    AFC_LOCK_UN,
    MAXIMUM_READ_SIZE,
    AfcError,
    AfcOpcode,
    AfcService,
)
from pymobiledevice3.services.house_arrest import HouseArrestService

from device_agents.virtual.errors import LabError
from device_agents.virtual.iphone import links
from device_agents.virtual.iphone.afc_files import AfcError as Refused
from device_agents.virtual.iphone.afc_files import Root, Status
from device_agents.virtual.iphone.lab import IphoneWish
from device_agents.virtual.iphone.links import Cable, Fuse
from device_agents.virtual.iphone.profiles import load
from device_agents.virtual.iphone.storage import Storage
from tests.lab.iphone_lab import BUNDLE, Running, iphones, package, run, until

BIG = 3 * MAXIMUM_READ_SIZE + 12345


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("one")
    app = package(folder / "runner.ipa")
    with iphones(folder, IphoneWish("iphone-15-pro", apps=(app,))) as running:
        yield running


@pytest.fixture
def big(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(random.Random(7).randbytes(BIG))
    return path


@asynccontextmanager
async def documents(running: Running, *, whole: bool = False) -> AsyncIterator[HouseArrestService]:
    async with (
        running.connect() as client,
        await HouseArrestService.create(client, BUNDLE, documents_only=not whole) as files,
    ):
        yield files


def inside(running: Running) -> Path:
    return Path(running.status()["apps"][BUNDLE])


def test_a_file_goes_to_the_app_and_comes_back(one: Running, big: Path, tmp_path: Path) -> None:
    async def work() -> None:
        async with documents(one) as files:
            await files.makedirs("/Documents/farm/models")
            await files.push(str(big), "/Documents/farm/models/x.part", progress_bar=False)
            assert (await files.stat("/Documents/farm/models/x.part"))["st_size"] == BIG
            await files.rename("/Documents/farm/models/x.part", "/Documents/farm/models/x")
            with pytest.raises(AfcFileNotFoundError):
                await files.stat("/Documents/farm/models/x.part")
            await files.pull("/Documents/farm/models/x", str(tmp_path / "back"), progress_bar=False)
            assert await files.listdir("/Documents/farm/models") == ["x"]
            assert await files.listdir("/") == ["Documents"]

    run(work)
    assert (tmp_path / "back").read_bytes() == big.read_bytes() == (inside(one) / "farm/models/x").read_bytes()


def test_a_push_is_resumed_where_it_ended(one: Running, big: Path) -> None:
    data = big.read_bytes()

    async def work() -> None:
        async with documents(one) as files:
            await files.set_file_contents("/Documents/part", data[: BIG // 2])
            handle = await files.fopen("/Documents/part", "r+")
            await files.fseek(handle, 0, os.SEEK_END)
            await files.fwrite(handle, data[BIG // 2 :])
            await files.fseek(handle, 5)
            assert await files.fread(handle, 10) == data[5:15]
            await files.fclose(handle)
            assert await files.get_file_contents("/Documents/part") == data
            assert (await files.rm("/Documents/part")) == []

    run(work)


def test_truncate_time_links_and_locks(one: Running) -> None:
    async def work() -> None:
        async with documents(one) as files, documents(one) as others:
            await files.set_file_contents("/Documents/t", b"0123456789")
            handle = await files.fopen("/Documents/t", "r+")
            await files._do_operation(AfcOpcode.FILE_SET_SIZE, struct.pack("<QQ", handle, 4))
            assert await files.get_file_contents("/Documents/t") == b"0123"
            await files._do_operation(AfcOpcode.TRUNCATE, struct.pack("<Q", 2) + b"/Documents/t\0")
            assert await files.get_file_contents("/Documents/t") == b"01"
            await files._do_operation(AfcOpcode.SET_FILE_TIME, struct.pack("<Q", 10**18 + 5) + b"/Documents/t\0")
            assert (inside(one) / "t").stat().st_mtime_ns == 10**18 + 5
            other = await others.fopen("/Documents/t", "r+")
            await files.lock(handle, AFC_LOCK_EX)
            with pytest.raises(AfcException) as refused:
                await others.lock(other, AFC_LOCK_EX)
            assert refused.value.status == AfcError.OP_WOULD_BLOCK
            await files.lock(handle, AFC_LOCK_UN)
            await others.lock(other, AFC_LOCK_EX)
            await files.link("t", "/Documents/to-t")
            assert await files.get_file_contents("/Documents/to-t") == b"01"
            info = await files.get_device_info()
            assert 0 < int(info["FSFreeBytes"]) < int(info["FSTotalBytes"])

    run(work)


def test_names_of_any_kind_and_paths_that_stay_inside(one: Running, tmp_path: Path) -> None:
    names = ["-rf", "a b", "größe", "$(reboot)", "new\nline", "..x", "x" * 255]

    async def work() -> None:
        async with documents(one) as files:
            for name in names:
                await files.set_file_contents(f"/Documents/odd-{name}"[: 255 + len("/Documents/")], name.encode())
            for path in ("/Documents/../../../../etc/passwd", "/../../../etc/passwd", "/Library/x"):
                with pytest.raises(AfcException):
                    await files.get_file_contents(path)
            with pytest.raises(AfcException):
                await files.rm_single("/Documents")
            await files.link("/etc", "/Documents/out")
            with pytest.raises(AfcException) as refused:
                await files.listdir("/Documents/out/ssl")
            assert refused.value.status == AfcError.PERM_DENIED
            with pytest.raises(AfcException) as refused:
                await files.get_file_contents("/Documents/" + "y" * 300)
            assert refused.value.status == AfcError.INVALID_ARG
            listed = await files.listdir("/Documents")
            assert {f"odd-{name}"[:255] for name in names} <= set(listed)

    run(work)


def test_what_is_refused_and_how(one: Running) -> None:
    async def work() -> None:
        async with documents(one) as files:
            await files.makedirs("/Documents/folder/inner")
            for asked, status in (
                (files.fopen("/Documents/none"), AfcError.OBJECT_NOT_FOUND),
                (files.fopen("/Documents/folder"), AfcError.OBJECT_IS_DIR),
                (files.rm_single("/Documents/folder"), AfcError.DIR_NOT_EMPTY),
                (files.fclose(4711), AfcError.INVALID_ARG),
                (files.fwrite(4711, b"x" * 100_000), None),
                (files._do_operation(AfcOpcode.WRITE_FILE_ATOM), AfcError.UNKNOWN_PACKET_TYPE),
                (files._do_operation(AfcOpcode.READ, b"short"), AfcError.INVALID_ARG),
            ):
                with pytest.raises(AfcException) as refused:
                    await asked
                assert status is None or refused.value.status == status
            # The connection lives on after each of them.
            handle = await files.fopen("/Documents/folder/inner/x", "w")
            await files.fclose(handle)
            handle = await files.fopen("/Documents/folder/inner/x", "r")
            with pytest.raises(AfcException):
                await files.fwrite(handle, b"x" * 3_000_000)
            assert await files.listdir("/Documents/folder/inner") == ["x"]

        async with one.connect() as client:
            with pytest.raises(AppNotInstalledError):
                await HouseArrestService.create(client, "org.example.none", documents_only=True)

    run(work)


def test_the_whole_container_of_a_development_app(one: Running) -> None:
    async def work() -> None:
        async with documents(one, whole=True) as files:
            assert {"Documents", "Library", "tmp"} <= set(await files.listdir("/"))

    run(work)


def test_media_is_seen_by_the_tool_of_libimobiledevice(one: Running, tmp_path: Path) -> None:
    if shutil.which("afcclient") is None:
        pytest.skip("afcclient is not installed (Debian: libimobiledevice-utils)")

    async def work() -> None:
        async with one.connect() as client, AfcService(client) as files:
            await files.set_file_contents("/DCIM/from-us", b"seen")

    run(work)
    environment = {**os.environ, **one.info.env, "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    command = ["afcclient", "-u", one.phone().udid]
    for arguments, says in ((["ls", "/DCIM"], "from-us"), (["get", "/DCIM/from-us", str(tmp_path / "got")], "")):
        done = subprocess.run(
            [*command, *arguments], capture_output=True, text=True, timeout=30, env=environment, check=False
        )
        assert done.returncode == 0 and says in done.stdout, (done.stdout, done.stderr)
    assert (tmp_path / "got").read_bytes() == b"seen"


# --- what goes wrong --------------------------------------------------------------------------------------------------


def test_a_full_phone_takes_exactly_what_fits(tmp_path: Path, big: Path) -> None:
    app = package(tmp_path / "runner.ipa")
    with iphones(tmp_path, IphoneWish("iphone-14@16", apps=(app,))) as running:

        async def work() -> None:
            fits = MAXIMUM_READ_SIZE + 1000
            await asyncio.to_thread(running.order, "storage_full", bytes=fits)
            async with documents(running) as files:
                with pytest.raises(AfcException) as refused:
                    await files.push(str(big), "/Documents/model.part", progress_bar=False)
                assert refused.value.status == AfcError.NO_SPACE_LEFT
                assert (await files.stat("/Documents/model.part"))["st_size"] == fits
                assert int((await files.get_device_info())["FSFreeBytes"]) == 0
                await files.rm_single("/Documents/model.part")
                assert int((await files.get_device_info())["FSFreeBytes"]) == fits
                await files.set_file_contents("/Documents/small", b"x" * 1000)
                await files.set_file_contents("/Documents/small", b"y" * 1000)
                assert int((await files.get_device_info())["FSFreeBytes"]) == fits - 1000
            await asyncio.to_thread(running.order, "storage_full", bytes=None)
            async with documents(running) as files:
                await files.push(str(big), "/Documents/model.part", progress_bar=False)

        run(work)


@pytest.mark.parametrize("offset", [1, MAXIMUM_READ_SIZE, MAXIMUM_READ_SIZE + 54321, BIG - 1])
def test_a_cable_pulled_in_mid_push_leaves_what_was_sent(tmp_path: Path, big: Path, offset: int) -> None:
    app = package(tmp_path / "runner.ipa")
    with iphones(tmp_path, IphoneWish("iphone-15-pro", apps=(app,))) as running:

        async def work() -> None:
            await asyncio.to_thread(running.order, "unplug", after_bytes=offset)
            with pytest.raises(ConnectionTerminatedError):
                async with documents(running) as files:
                    await files.push(str(big), "/Documents/model.part", progress_bar=False)
            await until(lambda: not running.status()["plugged"])
            assert (inside(running) / "model.part").read_bytes() == big.read_bytes()[:offset]
            await asyncio.to_thread(running.order, "plug")
            async with documents(running) as files:
                handle = await files.fopen("/Documents/model.part", "r+")
                await files.fseek(handle, offset)
                await files.fwrite(handle, big.read_bytes()[offset:])
                await files.fclose(handle)
            sent = hashlib.sha256((inside(running) / "model.part").read_bytes()).digest()
            assert sent == hashlib.sha256(big.read_bytes()).digest()

        run(work)


def test_a_stalled_phone_goes_on_later(tmp_path: Path, big: Path) -> None:
    app = package(tmp_path / "runner.ipa")
    with iphones(tmp_path, IphoneWish("iphone-15-pro", apps=(app,))) as running:

        async def work() -> None:
            async with documents(running) as files:
                await files.listdir("/Documents")
                await asyncio.to_thread(running.order, "afc_stall")
                pushing = asyncio.create_task(files.push(str(big), "/Documents/model", progress_bar=False))
                done, _ = await asyncio.wait([pushing], timeout=0.5)
                assert not done
                await asyncio.to_thread(running.order, "afc_stall", on=False)
                await pushing
            await asyncio.to_thread(running.order, "afc_stall")
            async with running.connect() as client:
                # Other services answer; a cable that is pulled ends the stall too.
                assert client.paired
                waiting = asyncio.create_task(AfcService(client).listdir("/"))
                await asyncio.wait([waiting], timeout=0.2)
                await asyncio.to_thread(running.order, "unplug")
                with pytest.raises(ConnectionTerminatedError):
                    await waiting

        run(work)
        assert (inside(running) / "model").read_bytes() == big.read_bytes()


def test_a_host_that_is_not_trusted_gets_no_service(one: Running) -> None:
    """Another host's certificate is refused by the service, although it knows the port."""

    async def work() -> None:
        async with one.connect() as client:
            attributes = await client.get_service_connection_attributes("com.apple.afc")
            assert attributes["EnableServiceSSL"] is True
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            context.set_ciphers("ALL:@SECLEVEL=0")
            with pytest.raises((ConnectionTerminatedError, OSError)):
                service = await client.create_service_connection(attributes["Port"], ssl_context=context)
                await service.sendall(b"CFA6LPAA")
                if not await service.recv_any(1):
                    raise ConnectionTerminatedError

    run(work)


# --- without a client -------------------------------------------------------------------------------------------------


def test_a_root_shows_nothing_above_it(tmp_path: Path) -> None:
    storage = Storage(tmp_path / "phone", load("iphone-14"))
    (tmp_path / "secret").write_text("x")
    folder = storage.container("org.example")
    root = Root(folder, storage, only="Documents")
    (folder / "Documents/up").symlink_to(tmp_path)
    for path in (b"/Documents/up/secret", b"/Documents/../../../secret", b"Library/Caches"):
        with pytest.raises(Refused) as refused:
            root.resolve(path, follow=True)
        assert refused.value.status == Status.PERM_DENIED
    assert root.resolve(b"/Documents/./a//b/../c") == os.path.realpath(folder / "Documents/a/c")
    assert root.info(b"/Documents/up")["st_ifmt"] == b"S_IFLNK"


def test_storage_counts_what_is_taken_and_given(tmp_path: Path) -> None:
    storage = Storage(tmp_path, load("iphone-14"))
    storage.limit(1000)
    assert (storage.take(600), storage.take(600), storage.take(1)) == (600, 400, 0)
    storage.give(100)
    assert storage.free == 100
    storage.recount()
    assert storage.free == 1000
    assert storage.container("../../etc").parent == storage.container("org.example").parent


def test_a_fuse_lets_exactly_so_much_pass() -> None:
    blown: list[bool] = []
    fuse = Fuse()
    assert fuse.spend(10**9) == (10**9, False)
    fuse.arm(100, lambda: blown.append(True))
    assert [fuse.spend(60), fuse.spend(60), fuse.spend(60)] == [(60, False), (40, True), (60, False)]
    assert blown == [True]


def test_a_cable_is_held_to_its_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    now, waits = [100.0], []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        now[0] += seconds

    monkeypatch.setattr(links.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(links.time, "sleep", sleep)
    cable = Cable()
    cable.take(1000)
    assert waits == []
    cable.hold(1000.0)
    for _ in range(40):
        cable.take(50)
    assert now[0] - 100 == pytest.approx(2.0, abs=0.051)
    now[0] += 10
    # What nobody sent meanwhile is not made up for.
    cable.take(1000)
    assert now[0] - 112 == pytest.approx(1.0, abs=0.11)
    cable.hold(None)
    held = len(waits)
    cable.take(10_000)
    assert len(waits) == held


def test_a_rate_is_an_order(one: Running, big: Path) -> None:
    for rate in (0, -1.0):
        with pytest.raises(LabError, match="no rate"):
            one.order("link_rate", bytes_per_s=rate)
    one.order("link_rate", bytes_per_s=2 * BIG)
    taken = []

    async def work() -> None:
        async with documents(one) as files:
            begun = time.monotonic()
            await files.push(str(big), "/Documents/slow.gguf", progress_bar=False)
            taken.append(time.monotonic() - begun)

    try:
        run(work)
    finally:
        one.order("link_rate", bytes_per_s=None)
    assert taken[0] > 0.4


def test_a_connection_that_says_nothing_of_afc_is_closed(one: Running) -> None:
    async def work() -> None:
        async with one.connect() as client:
            service = await client.start_lockdown_service("com.apple.afc")
            await service.sendall(b"X" * 40)
            answer = await service.recvall(48)
            assert struct.unpack_from("<Q", answer, 40)[0] == AfcError.OP_HEADER_INVALID
            assert await service.recv_any(1) == b""
            await service.close()

    run(work)
