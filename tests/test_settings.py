from pathlib import Path

import pytest

from atoll.settings import Settings, SettingsError, load, page


def test_later_sources_win(tmp_path: Path) -> None:
    file = tmp_path / "atoll.toml"
    file.write_text('port = 1\nhost = "file"\nlog_level = "debug"\npreload_sets = [["numpy"]]\n')
    settings = load({"port": 3, "insecure": None}, file, {"ATOLL_PORT": "2", "ATOLL_HOST": "env"})
    assert (settings.port, settings.host, settings.log_level) == (3, "env", "debug")
    assert settings.preload_sets == (("numpy",),)
    assert settings.insecure is False


def test_lists_in_the_environment() -> None:
    env = {"ATOLL_DIALECTS": "wasmrun, agentkernel=127.0.0.1:1", "ATOLL_PRELOAD_SETS": '[["a"]]'}
    settings = load(environ=env)
    assert settings.dialects == ("wasmrun", "agentkernel=127.0.0.1:1")
    assert settings.preload_sets == (("a",),)


def test_all_problems_at_once(tmp_path: Path) -> None:
    file = tmp_path / "atoll.toml"
    file.write_text('hots = "x"\npool_size = -1\n')
    env = {"ATOLL_PRT": "1", "ATOLL_PRELOAD_SETS": "[1", "ATOLL_MAX_CPUS": "nan", "OTHER": "x"}
    with pytest.raises(SettingsError) as caught:
        load({"log_level": "loud"}, file, env)
    text = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == 6
    for word in ("'hots'", "'host'", "pool_size", "ATOLL_PRT", "ATOLL_PRELOAD_SETS", "max_cpus"):
        assert word in text
    assert "log_level" in text


def test_contradictions_are_named() -> None:
    with pytest.raises(SettingsError, match="default_timeout_s is more than max_timeout_s"):
        load({"default_timeout_s": 10, "max_timeout_s": 5})
    with pytest.raises(SettingsError, match="default_profile is 'odd'"):
        load({"default_profile": "odd"})
    with pytest.raises(SettingsError, match="dialects has 'x=y'"):
        load({"dialects": ["x=y"]})
    with pytest.raises(SettingsError, match=r"profiles\.own: base is 'odd'"):
        load({"profiles": {"own": {"base": "odd"}}})


def test_never() -> None:
    assert load(environ={"ATOLL_DEFAULT_LIFETIME_S": "never"}).default_lifetime_s is None


def test_missing_file() -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.toml cannot be read"):
        load(config=Path("nowhere.toml"), environ={})


def test_secrets_do_not_show() -> None:
    settings = load({"session_secret": "hush", "database_url": "postgresql://u:hush@h/d"})
    assert "hush" not in repr(settings)
    assert settings.url.endswith("hush@h/d")


def test_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().port = 1  # type: ignore[misc]


def test_page_is_current() -> None:
    path = Path(__file__).parent.parent / "docs" / "settings.md"
    assert path.read_text() == page(), "run: python -m atoll.settings > docs/settings.md"


def test_every_setting_is_described() -> None:
    assert [n for n, f in Settings.model_fields.items() if not f.description] == []
