"""The key file and its rotation."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet as JoserfcKeySet

from scalekit import ConfigError, StartError, create_app
from scalekit_jwt.keys.key_file import KeyFile
from tests.jwt.harness import app as application
from tests.jwt.harness import published_keys, service, write_key

pytestmark = pytest.mark.anyio
ALGORITHMS = ["HS256", "RS256", "RS512", "PS256", "PS384", "ES256", "ES384", "ES512", "EdDSA"]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_a_key_file_is_created_with_mode_0600_and_loaded_again(algorithm: str, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    table = {"key_file": str(path), "algorithm": algorithm, "fingerprint": False}
    async with service(table) as client:
        await client.login("ada")
        assert (await client.api()).status == 200
        assert path.stat().st_mode & 0o777 == 0o600
        token_before = client.token
        published = await published_keys(client)
    async with service(table) as client:
        client.token = token_before
        assert (await client.api()).status == 200
    if algorithm == "HS256":
        assert published == []
        return
    assert not {"d", "p", "q", "dp", "dq", "qi", "k"} & published[0].keys()
    assert published[0]["alg"] == algorithm
    if algorithm != "EdDSA":  # another library verifies with the published keys
        verified = jwt.decode(token_before, JoserfcKeySet.import_key_set({"keys": published}), algorithms=[algorithm])  # type: ignore[typeddict-item]  # joserfc checks the members
        assert verified.claims["sub"] == "ada"
        assert verified.header["typ"] == "at+jwt"


async def test_a_key_file_readable_by_others_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    KeyFile(path, "HS256")
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        async with service({"key_file": str(path)}):
            pass


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"key_file": "{}/missing/keys.json"}, r"key_file: folder .*/missing does not exist; create"),
        (
            {"keys": ["{}/missing.pem"], "algorithm": "ES256"},
            r"keys\[0\]: file .*/missing.pem does not exist; put the key there",
        ),
    ],
)
def test_missing_files_and_folders_are_reported_before_the_start(
    table: dict[str, Any], message: str, tmp_path: Path
) -> None:
    named = {
        name: [each.format(tmp_path) for each in value] if isinstance(value, list) else value.format(tmp_path)
        for name, value in table.items()
    }
    with pytest.raises(ConfigError, match=message):
        create_app({"plugins": {"jwt": named}}, app=application)
    assert os.listdir(tmp_path) == [], "a missing folder is not created"


async def test_a_key_file_that_cannot_be_created_is_named_in_the_error(tmp_path: Path) -> None:
    path = tmp_path / ("k" * 250)  # too long for the temporary file
    with pytest.raises(StartError, match=f"{path.name}: File name too long$"):
        async with service({"key_file": str(path)}):
            pass


async def test_workers_that_start_at_once_load_the_same_key(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    with ThreadPoolExecutor(16) as threads:
        files = list(threads.map(lambda _: KeyFile(path, "HS256"), range(16)))
    assert len({file.current.keys[0].kid for file in files}) == 1
    assert os.listdir(tmp_path) == ["keys.json"]


async def test_after_a_rotation_the_new_key_signs_and_the_old_key_verifies(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    table = {"key_file": str(path), "poll_interval": "1h", "fingerprint": False}
    async with service(table) as first, service(table) as second:
        await first.login("ada")
        old = first.token
        kid = KeyFile(path, "HS256").rotate(3600, lambda: 0.0 + os.stat(path).st_mtime)
        async with service(table) as third:
            await third.login("ada")
            assert third.token.partition(".")[0] != old.partition(".")[0]
            second.token = third.token
            assert (await second.api()).status == 200, f"{kid} is loaded at once, before the next poll"
            third.token = old
            assert (await third.api()).status == 200


def test_a_rotated_key_expires_with_its_tokens(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    old = KeyFile(path, "ES256").current.keys[0]
    KeyFile(path, "ES256").rotate(100, lambda: 1000.0)
    keys = KeyFile(path, "ES256").current
    header = {"kid": old.kid, "alg": "ES256"}
    assert keys.find(header, 1099.0).kid == old.kid
    with pytest.raises(Exception, match="unknown_key"):
        keys.find(header, 1101.0)
    KeyFile(path, "ES256").rotate(100, lambda: 2000.0)
    assert len(KeyFile(path, "ES256").current.keys) == 2, "the next rotation removes it"


async def test_an_unreadable_key_file_leaves_the_loaded_keys_in_use(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "keys.json"
    async with service({"key_file": str(path), "poll_interval": "10ms"}) as client:
        await client.login("ada")
        write_key(path, b"{")
        while "key file not reloaded" not in caplog.text:
            await asyncio.sleep(0.01)
        assert (await client.api()).status == 200
        await client.login("bob")
        assert (await client.api()).status == 200
