"""The secret of the keys: made once, for its owner only, and never made anew beside keys that it does not fit."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from embedrock.store import ConfigError
from embedrock.store.secret import Secret


def test_secret_is_made_once_and_found_by_others(tmp_path: Path) -> None:
    path = tmp_path / "db.secret"
    assert Secret("", path).find() is None
    assert not path.exists(), "looking makes nothing"

    made = Secret("", path).make()

    assert len(made) == 64
    assert Secret("", path).find() == Secret("", path).make() == made
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [found.name for found in tmp_path.iterdir()] == ["db.secret"], "nothing is left beside it"


def test_processes_that_make_it_at_once_have_one(tmp_path: Path) -> None:
    secrets = [Secret("", tmp_path / "db.secret") for _ in range(16)]
    with ThreadPoolExecutor(16) as pool:
        made = set(pool.map(lambda secret: secret.make(), secrets))

    assert len(made) == 1


def test_secret_of_the_settings_wins_and_no_file_is_made(tmp_path: Path) -> None:
    secret = Secret("0123456789abcdef0123456789abcdef", tmp_path / "db.secret")

    assert secret.make() == secret.find() == b"0123456789abcdef0123456789abcdef"
    assert list(tmp_path.iterdir()) == []


def test_without_a_place_for_it_the_setting_is_named() -> None:
    with pytest.raises(ConfigError, match="EMBEDROCK_KEY_SECRET"):
        Secret("", None).make()


@pytest.mark.parametrize("mode, content, said", [(0o644, "0" * 64, "chmod 600"), (0o600, "short", "no secret")])
def test_file_that_others_read_or_that_is_something_else_is_refused(
    tmp_path: Path, mode: int, content: str, said: str
) -> None:
    path = tmp_path / "db.secret"
    path.write_text(content, encoding="ascii")
    path.chmod(mode)

    with pytest.raises(ConfigError, match=said) as caught:
        Secret("", path).find()
    assert content not in str(caught.value)
