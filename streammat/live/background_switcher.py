"""The backgrounds of a live run: a list to switch through; images are reloaded when their files change."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import count

from streammat.compositing.backgrounds import Background, BackgroundSpec, open_background, parse_background
from streammat.compositing.compositor import Compositor
from streammat.config import CompositeOptions, Content, ImageArray, MatteControls
from streammat.errors import InputError, UsageError

_MOST_ADDED = 16
"""Most backgrounds added during the run that are kept open; each holds an image or a clip."""


@dataclass(frozen=True)
class BackgroundChoice:
    """A background, and the compositor that draws the subject in front of it."""

    text: str
    """The background as the user wrote it; ``image 1`` and so on for arrays."""
    spec: BackgroundSpec
    background: Background
    compositor: Compositor

    @property
    def shows_room(self) -> bool:
        """True if the background is made from the frame (blur), so that it cannot be shown without a matte."""
        return self.spec.kind == "blur"


class BackgroundSwitcher:
    """The list of backgrounds, and the current one. Any thread may call; the compositor reads ``current`` once per frame.

    A replaced choice is not closed, because a frame may still be using it; it is freed with its last reference.

    Args:
        given: backgrounds as ``streammat.compositing.backgrounds.parse_background`` takes them, at least one, none transparent.
        options: how they are fitted, and whether the old background's colour is removed from edges.
        controls: adjustments of the subject's colour.
        alpha: draw the subject alone beside the composite, for outputs with alpha.

    Raises:
        UsageError, InputError: one of them cannot be shown; the message names it.
    """

    def __init__(
        self, given: Sequence[str | ImageArray], options: CompositeOptions,
        controls: MatteControls = MatteControls(),  # noqa: B008 - frozen
        *, alpha: bool = False,
    ) -> None:
        self._contents: tuple[Content, ...] = ("composite", "transparent") if alpha else ("composite",)
        self._options = options
        self._controls = controls
        self._lock = threading.RLock()
        self._numbers = count(1)
        self._choices = [self._open(each) for each in given]
        self._stamps = [_stamp(choice.spec) for choice in self._choices]
        self._given = len(given)
        self._index = 0
        self.current = self._choices[0]

    @property
    def names(self) -> list[str]:
        """The list, as the user wrote it."""
        return [choice.text for choice in self._choices]

    def step(self, by: int) -> BackgroundChoice:
        """Switch to the next (1) or the previous (-1) background; the list wraps around."""
        with self._lock:
            return self._switch((self._index + by) % len(self._choices))

    def spec_of(self, text: str) -> BackgroundSpec:
        """Return a background of the list.

        Raises:
            UsageError: it is none of them.
        """
        with self._lock:
            found = next((choice.spec for choice in self._choices if choice.text == text), None)
        if found is None:
            raise UsageError(f"the background {text!r} is not in the list; expected one of {', '.join(self.names)}")
        return found

    def choose(self, given: str | ImageArray) -> BackgroundChoice:
        """Switch to the background ``given``; a new one is added to the list, which drops the oldest of many new ones.

        Raises:
            UsageError, InputError: it cannot be shown; the current one stays.
        """
        with self._lock:
            text = next((name for name in self.names if name == given), None)
            if text is None:
                choice = self._open(given)
                text = choice.text
                self._choices.append(choice)
                self._stamps.append(_stamp(choice.spec))
            chosen = self._switch(self.names.index(text))
            if len(self._choices) > self._given + _MOST_ADDED:
                del self._choices[self._given], self._stamps[self._given]
                self._index -= 1  # what is on was added last
            return chosen

    def blur(self, by: float) -> BackgroundChoice:
        """Change the blur: ``by`` is added to its strength of 0..1.

        Raises:
            UsageError: the current background is no blur.
        """
        with self._lock:
            spec = self.current.spec
            if spec.kind != "blur":
                raise UsageError(f"the background {self.current.text} is no blur; switch to one first, such as blur:50")
            strength = min(1.0, max(0.0, spec.strength + by))
            return self._put(self._index, self._choice_of(f"blur:{round(100 * strength)}", replace(spec, strength=strength)))

    def set_blur(self, strength: float) -> BackgroundChoice:
        """Set the strength of blur, 0..1: of the current background, else of the first blur in the list, else of a new one."""
        with self._lock:
            if self.current.spec.kind != "blur":
                blurs = [index for index, choice in enumerate(self._choices) if choice.spec.kind == "blur"]
                if not blurs:
                    return self.choose(f"blur:{round(100 * strength)}")
                self._switch(blurs[0])
            return self.blur(strength - self.current.spec.strength)

    def reload(self) -> str | None:
        """Reload images whose files have changed.

        Returns:
            The name of a reloaded image, or None. An image that cannot be read (it may be half written) is kept and tried again.
        """
        with self._lock:
            for index, choice in enumerate(self._choices):
                stamp = _stamp(choice.spec)
                if stamp is None or stamp == self._stamps[index]:
                    continue
                try:
                    fresh = self._choice_of(choice.text, choice.spec)
                except InputError:
                    continue
                self._stamps[index] = stamp
                self._put(index, fresh)
                return choice.text
            return None

    def decontaminate(self, wanted: bool) -> None:
        """Turn the estimate of the subject's own colour at soft edges on or off."""
        with self._lock:
            if wanted == self._options.decontaminate:
                return
            self._options = replace(self._options, decontaminate=wanted)
            self._renew_compositors()

    def control(self, controls: MatteControls) -> None:
        """Set the adjustments of the subject's colour from the next frame on."""
        with self._lock:
            self._controls = controls
            self._renew_compositors()

    def close(self) -> None:
        """Close the files; only once the compositor has stopped."""
        for choice in self._choices:
            choice.background.close()

    def _switch(self, index: int) -> BackgroundChoice:
        choice = self._choices[index]
        if choice.spec.kind == "video" and index != self._index:
            # A clip starts anew: catching up with the time that it was off would mean decoding all of that.
            self._choices[index] = choice = self._choice_of(choice.text, choice.spec)
        self._index, self.current = index, choice
        return choice

    def _renew_compositors(self) -> None:
        for index, choice in enumerate(self._choices):
            self._put(index, replace(choice, compositor=self._compositor(choice.background)))

    def _put(self, index: int, choice: BackgroundChoice) -> BackgroundChoice:
        self._choices[index] = choice
        if index == self._index:
            self.current = choice
        return choice

    def _open(self, given: str | ImageArray) -> BackgroundChoice:
        spec = parse_background(given)
        if spec.kind == "transparent":
            raise UsageError("--bg transparent: cameras and streams carry no transparency; give a colour such as green to key on, or --to alpha for OBS")
        return self._choice_of(given if isinstance(given, str) else f"image {next(self._numbers)}", spec)

    def _choice_of(self, text: str, spec: BackgroundSpec) -> BackgroundChoice:
        background = open_background(spec, self._options.fit, Fraction(1))
        return BackgroundChoice(text, spec, background, self._compositor(background))

    def _compositor(self, background: Background) -> Compositor:
        return Compositor(self._contents, background, decontaminate=self._options.decontaminate, alpha="straight", controls=self._controls)


def _stamp(spec: BackgroundSpec) -> tuple[int, int] | None:
    """Return the state of an image's file, to detect changes; None for other backgrounds and missing files."""
    if spec.kind != "image" or spec.path is None:
        return None
    try:
        status = os.stat(spec.path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
