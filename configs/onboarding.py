"""Display names of the onboarding steps; the steps and their order are those of `roles.onboarding`."""

from __future__ import annotations

from pydantic import Field

from configs.section import Section


class Onboarding(Section):
    """How the first steps are named to people."""

    names: dict[str, str] = Field(
        description="what people read, by an event name of roles.onboarding, e.g. { tutorial_complete = 'the tour' }"
    )

    def name_of(self, step: str | None) -> str:
        """Name a step for people: as the profile does, else by the words of its event name; nothing of no step.

        Examples
        --------
        >>> onboarding = Onboarding(names={"kyc_done": "confirm who you are"})
        >>> [onboarding.name_of(step) for step in ("kyc_done", "tutorial_complete", None)]
        ['confirm who you are', 'tutorial complete', '']
        """
        return "" if step is None else self.names.get(step, step.replace("_", " "))
