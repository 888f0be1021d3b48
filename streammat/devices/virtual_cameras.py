"""Finds the virtual cameras of a machine, what keeps meetings from seeing them, and what to do next: Linux, macOS and Windows.

It looks for the cameras that pyvirtualcam 0.15 can write to: v4l2loopback on Linux, OBS Studio 30 or newer on macOS 13 or newer,
OBS Studio and Unity Capture on Windows. Only Linux was tested; the rest follows OBS's and Unity Capture's sources and users'
reports.
"""

from __future__ import annotations

import os
import platform
import plistlib
import re
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from streammat.devices import v4l2

MODULE: Final = "v4l2loopback"
OPTIONS: Final = "exclusive_caps=1 card_label=streammat"
_PERSIST: Final = (
    f"echo {MODULE} | sudo tee /etc/modules-load.d/{MODULE}.conf; echo options {MODULE} {OPTIONS} | sudo tee /etc/modprobe.d/{MODULE}.conf"
)
_PACKAGES: Final = {
    "debian": f"sudo apt install {MODULE}-dkms", "ubuntu": f"sudo apt install {MODULE}-dkms", "arch": f"sudo pacman -S {MODULE}-dkms",
    "fedora": f"sudo dnf install akmod-{MODULE} (of RPM Fusion)", "suse": f"sudo zypper install {MODULE}-kmp-default",
    "opensuse": f"sudo zypper install {MODULE}-kmp-default",
}
_SECURE_BOOT: Final = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
_EXTENSION: Final = "com.obsproject.obs-studio.mac-camera-extension"
OBS_CLSID: Final = "{A3FCE0F5-3493-419F-958A-ABA1250EC20B}"
UNITY_CLSID: Final = "{5C2CD55C-92AD-4999-8666-912BD3E70010}"
"""Class ids under which the two register themselves for 64 bits."""
_START_ONCE: Final = "start OBS, press Start Virtual Camera and then Stop Virtual Camera, and close OBS"


@dataclass(frozen=True)
class System:
    """Queries to the machine; tests use made-up ones."""

    name: str = field(default_factory=platform.system)
    """``Linux``, ``Darwin`` or ``Windows``."""
    root: Path = Path("/")
    """Root folder of its files."""
    kernel: str = field(default_factory=platform.release)
    session: str = field(default_factory=lambda: os.environ.get("XDG_SESSION_TYPE", ""))
    home: Path = field(default_factory=lambda: Path(os.path.expanduser("~")))

    def text(self, path: str) -> str | None:
        """Return a small file's text; None if it cannot be read."""
        with suppress(OSError, UnicodeDecodeError):
            return (self.root / path).read_text(encoding="utf-8").strip()
        return None

    def said(self, *command: str) -> str:
        """Return a command's output; empty if it cannot be run."""
        with suppress(OSError, subprocess.SubprocessError):
            return subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout  # noqa: S603 - our own words
        return ""

    def registered(self, key: str) -> str | None:
        """Return the default value of a key under HKEY_CLASSES_ROOT; None if there is no such key."""
        try:
            import winreg

            with winreg.OpenKey(winreg.HKEY_CLASSES_ROOT, key) as opened:  # type: ignore[attr-defined, unused-ignore]
                return str(winreg.QueryValueEx(opened, "")[0])  # type: ignore[attr-defined, unused-ignore]
        except (ImportError, OSError):
            return None

    def devices(self) -> list[v4l2.Device]:
        """Return the video devices of Linux that may be opened."""
        return v4l2.devices()


@dataclass(frozen=True)
class CameraDriver:
    """One kind of virtual camera."""

    name: str
    """The name that meetings list it by."""
    ready: bool
    found: str
    """What was found, in words."""
    next_step: str | None
    """What to do next; None if nothing is left to do."""
    details: dict[str, Any]
    """Details for a request for help."""


def backends(system: System) -> list[CameraDriver]:
    """Return the virtual cameras of this system, working ones first."""
    found = {"Linux": _linux, "Darwin": _macos, "Windows": _windows}.get(system.name, _none)(system)
    return sorted(found, key=lambda backend: not backend.ready)


def portal(system: System) -> str | None:
    """Return what a Wayland session's camera portal hides; None if there is no such session."""
    if system.name != "Linux" or system.session != "wayland":
        return None
    return (
        "programs that ask the desktop's camera portal (Flatpaks, Firefox where it is built so) are shown no v4l2loopback; in Firefox set "
        "media.webrtc.camera.allow-pipewire to false in about:config, or take a Chromium that is no Flatpak"
    )


# -- Linux ------------------------------------------------------------------------------------------------------------


def _linux(system: System) -> list[CameraDriver]:
    loaded = (system.root / f"sys/module/{MODULE}").is_dir()
    installed = _module_of(system, system.kernel)
    others = sorted({path.parent.name for path in (system.root / "lib/modules").glob("*/modules.dep") if _module_of(system, path.parent.name)})
    source = next((path.name for path in (system.root / "usr/src").glob(f"{MODULE}-*")), None)
    boots, options = _at_boot(system)
    caps = system.text(f"sys/module/{MODULE}/parameters/exclusive_caps")
    devices = [device for device in system.devices() if device.loopback]
    details = {
        "loaded": loaded, "version": system.text(f"sys/module/{MODULE}/version"), "exclusive_caps": caps, "kernel": system.kernel,
        "installed": installed, "installed_for": others, "source": source, "loaded_at_boot": boots, "options_at_boot": options,
        "secure_boot": _secure_boot(system), "devices": [device.path for device in devices],
    }
    if not loaded:
        found, step = _not_loaded(system, installed=installed, others=others, source=source)
        return [CameraDriver("streammat", False, found, step, details)]
    if not devices:
        nodes = v4l2.paths(system.root / "dev")
        step = "run: sudo usermod -aG video $USER, then log in again" if nodes else f"run: sudo modprobe -r {MODULE}; {v4l2.MODPROBE}"
        return [CameraDriver("streammat", False, f"{MODULE} is loaded, and its devices may not be opened", step, details)]
    kept = boots and options is not None and "exclusive_caps=1" in options.replace(" ", "")
    persist = None if kept else f"to have it after the next start, too, run: {_PERSIST}"
    found_all = []
    for number, device in enumerate(devices):
        # A device that is both has no exclusive caps; one that is fed, or waits to be, is one of the two.
        exclusive = not (device.captures and device.outputs) and _flag(caps, number) is not False
        what = f"{device.path} ({device.name})"
        if not exclusive:
            step = f"browsers do not list it; run: sudo modprobe -r {MODULE}; {v4l2.MODPROBE}"
            found_all.append(CameraDriver(device.name, False, f"{what} has no exclusive_caps", step, details))
        else:
            stays = "stays over restarts" if kept else "will be gone after a restart"
            found_all.append(CameraDriver(device.name, True, f"{what}, exclusive_caps, {stays}", persist, details))
    return found_all


def _not_loaded(system: System, *, installed: bool, others: Sequence[str], source: str | None) -> tuple[str, str]:
    """Return (what was found, what to do)."""
    if installed:
        if _secure_boot(system):
            return (
                f"{MODULE} is installed and not loaded; Secure Boot is on, which loads signed modules alone",
                f"run: {v4l2.MODPROBE}; if the key was rejected, enrol that of your distribution's DKMS (sudo mokutil --import /var/lib/dkms/mok.pub, then restart)",
            )
        return f"{MODULE} is installed and not loaded", f"run: {v4l2.MODPROBE}"
    if others or source:
        where = f"for {', '.join(others)}" if others else f"as source ({source})"
        return (
            f"{MODULE} is installed {where}, and not for the kernel that runs ({system.kernel})",
            "restart into the new kernel, or install the headers of this one and run: sudo dkms autoinstall",
        )
    words = (system.text("etc/os-release") or "").replace('"', "")
    likes = re.findall(r"^ID(?:_LIKE)?=(.*)$", words, re.MULTILINE)
    how = next((_PACKAGES[word] for like in likes for word in like.split() if word in _PACKAGES), f"install {MODULE} of your distribution")
    return f"{MODULE} is not installed", f"run: {how}; then: {v4l2.MODPROBE}"


def _module_of(system: System, kernel: str) -> bool:
    listed = system.text(f"lib/modules/{kernel}/modules.dep") or ""
    built = system.text(f"lib/modules/{kernel}/modules.builtin") or ""
    return re.search(rf"(^|/){MODULE}\.ko", f"{listed}\n{built}", re.MULTILINE) is not None


def _at_boot(system: System) -> tuple[bool, str | None]:
    """Return (whether the module is loaded at the start, its options there)."""
    loads, options = False, None
    for folder in ("usr/lib", "run", "etc"):
        for path in sorted((system.root / folder / "modules-load.d").glob("*.conf")):
            loads |= MODULE in _words(system.text(str(path)))
        for path in sorted((system.root / folder / "modprobe.d").glob("*.conf")):
            for line in (system.text(str(path)) or "").splitlines():
                words = line.split()
                if words[:2] == ["options", MODULE]:
                    options = " ".join(words[2:])
    return loads or MODULE in _words(system.text("etc/modules")), options


def _words(text: str | None) -> list[str]:
    return [line.split()[0] for line in (text or "").splitlines() if line.strip() and not line.lstrip().startswith(("#", ";"))]


def _secure_boot(system: System) -> bool:
    with suppress(OSError, IndexError):
        return (system.root / _SECURE_BOOT).read_bytes()[4] == 1
    return False


def _flag(values: str | None, number: int) -> bool | None:
    """Return one of the module's flags, ``Y,N,N``; None if it is missing."""
    flags = (values or "").split(",")
    return None if number >= len(flags) or not flags[number] else flags[number].strip() in ("Y", "1")


# -- macOS ------------------------------------------------------------------------------------------------------------


def _macos(system: System) -> list[CameraDriver]:
    version = _plist(system.root / "System/Library/CoreServices/SystemVersion.plist").get("ProductVersion", "")
    apps = [system.root / "Applications/OBS.app", system.home / "Applications/OBS.app"]
    obs = next((found for app in apps if (found := _plist(app / "Contents/Info.plist").get("CFBundleShortVersionString"))), None)
    listed = [line for line in system.said("systemextensionsctl", "list").splitlines() if _EXTENSION in line]
    states = [(match[1], match[2]) for line in listed if (match := re.search(r"\(([0-9.]+)[^)]*\).*\[([^]]*)\]", line))]
    details = {"macos": version, "obs": obs, "extensions": [line.strip() for line in listed]}

    def blocked(found: str, step: str) -> list[CameraDriver]:
        return [CameraDriver("OBS Virtual Camera", False, found, step, details)]

    if version and _major(version) < 13:
        return blocked(f"macOS {version} has no camera extensions", "update to macOS 13 or newer: OBS's virtual camera needs it")
    if obs is None:
        return blocked("OBS Studio is not installed", f"install OBS Studio 30 or newer from https://obsproject.com; then {_START_ONCE}")
    if _major(obs) < 30:
        return blocked(f"OBS Studio {obs} is installed", f"update it to 30 or newer; then {_START_ONCE}")
    enabled = [which for which, state in states if state == "activated enabled"]
    if not enabled:
        if any(state == "activated waiting for user" for _, state in states):
            return blocked(
                f"OBS Studio {obs}: its camera extension waits for your approval",
                "allow it: System Settings, General, Login Items & Extensions, Camera Extensions (before macOS 15: Privacy & Security)",
            )
        return blocked(f"OBS Studio {obs}: its camera extension is not installed", f"{_START_ONCE}, and allow its extension in System Settings")
    if obs not in enabled:
        return blocked(
            f"OBS Studio {obs} was updated, and the camera extension is still of {', '.join(enabled)}",
            f"{_START_ONCE}; where the camera stays away, log out and in, which starts extensions anew",
        )
    return [CameraDriver("OBS Virtual Camera", True, f"OBS Studio {obs}, camera extension enabled", None, details)]


def _plist(path: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError, plistlib.InvalidFileException):
        found = plistlib.loads(path.read_bytes())
        return found if isinstance(found, dict) else {}
    return {}


def _major(version: str) -> int:
    match = re.match("[0-9]+", version)
    return int(match[0]) if match else 0


# -- Windows ----------------------------------------------------------------------------------------------------------


def _windows(system: System) -> list[CameraDriver]:
    return [
        _filter(system, "OBS Virtual Camera", "OBS Studio", OBS_CLSID, f"install OBS Studio from https://obsproject.com; then {_START_ONCE}",
                f"install OBS Studio again over the old one, which registers it anew; then {_START_ONCE}"),
        _filter(system, "Unity Video Capture", "Unity Capture", UNITY_CLSID,
                "or install Unity Capture: run Install.bat of https://github.com/schellingb/UnityCapture as administrator, in a folder that stays",
                "run its Install.bat again, from a folder that stays"),
    ]


def _filter(system: System, name: str, product: str, clsid: str, install: str, again: str) -> CameraDriver:
    """Return a DirectShow filter, which is a registered DLL."""
    library = system.registered(rf"CLSID\{clsid}\InprocServer32")
    details = {"clsid": clsid, "library": library}
    if library is None:
        return CameraDriver(name, False, f"{product} is not registered", install, details)
    if not Path(library).exists():
        return CameraDriver(name, False, f"{product} is registered and its file is gone ({library}), as after an update or a move", again, details)
    return CameraDriver(name, True, f"{product} is registered", None, details)


def _none(system: System) -> list[CameraDriver]:
    return [CameraDriver("none", False, f"{system.name} has no virtual camera that is known here", "use Linux, macOS or Windows", {})]
