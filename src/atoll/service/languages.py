"""The languages that can be asked for."""

from collections.abc import Callable, Collection, Mapping, Sequence

import anyio.to_thread

from atoll.core.errors import InvalidRequest, Unavailable
from atoll.core.languages import Language
from atoll.service.preludes import Preludes

__all__ = ["Language", "Languages"]

HOST_IMAGE = "host"


class Languages:
    """Finds languages by name or alias, and says what to install for those the host lacks.

    `available` looks at the host, in a thread. A yes is remembered; a no is asked again by the
    next `look_for`, so that installing an interpreter needs no restart. `own` names the programs
    of those backends that run none of the host's. `preludes` are put before programs.
    """

    def __init__(
        self,
        table: Mapping[str, Language],
        *,
        available: Callable[[Language], bool],
        own: Mapping[str, Collection[str]] | None = None,
        preludes: Preludes | None = None,
    ) -> None:
        self.preludes = preludes or Preludes()
        self._own = dict(own or {})
        self._table = dict(table)
        self._names = {name.casefold(): language for name, language in table.items()}
        for language in table.values():
            for alias in language.aliases:
                self._names.setdefault(alias.casefold(), language)
        self._available = available
        self._found: set[str] = set()

    def all(self) -> Sequence[Language]:
        """Every language of the table, in its order."""
        return tuple(self._table.values())

    def is_available(self, language: Language) -> bool:
        """Whether the host had what runs it when last looked for."""
        return language.name in self._found

    async def look_for(self, name: str | None = None) -> None:
        """Look for a language on the host, or for all, unless found before."""
        if name is None:
            missing = [each for each in self._table.values() if each.name not in self._found]
        else:
            language = self._find(name)
            if language is None or language.name in self._found:
                return
            missing = [language]
        self._found |= await anyio.to_thread.run_sync(self._there, missing)

    def get(self, name: str) -> Language:
        """The language of that name or alias, in any case; `InvalidRequest` when there is none."""
        found = self._find(name)
        if found is None:
            known = ", ".join(self._table)
            raise InvalidRequest(
                f"There is no language {name[:64]!r}; this server has: {known}.", field="language"
            )
        return found

    def name_of(self, name: str | None) -> str | None:
        """The own name of the language that is called so, if there is one."""
        found = None if name is None else self._find(name)
        return None if found is None else found.name

    def usable(self, name: str, *, image: str = HOST_IMAGE, backend: str | None = None) -> Language:
        """The same, and `Unavailable` with the way to install it when the host image lacks it.

        Await `look_for` first.
        """
        language = self.get(name)
        if backend in self._own:
            if language.argv[0] not in self._own[backend]:
                raise Unavailable(f"The backend {backend} does not have {language.title}.")
            return language
        if image == HOST_IMAGE and not self.is_available(language):
            raise Unavailable(
                f"{language.title} is not installed on this host: {language.install_hint}"
            )
        return language

    def _find(self, name: str) -> Language | None:
        return self._names.get(name) or self._names.get(name.casefold())

    def _there(self, languages: Sequence[Language]) -> set[str]:
        return {language.name for language in languages if self._available(language)}
