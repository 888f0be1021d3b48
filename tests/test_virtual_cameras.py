"""What the check-up says of virtual cameras on machines that are made up: files, a kernel's devices, a registry, a command's words."""

from __future__ import annotations

import json
import plistlib
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from running import call

from streammat import doctor
from streammat.config import LiveOptions
from streammat.devices import v4l2
from streammat.devices.virtual_cameras import OBS_CLSID, UNITY_CLSID, System

KERNEL = "6.1.0-9-amd64"
EXTENSION = "com.obsproject.obs-studio.mac-camera-extension"


@dataclass(frozen=True)
class Machine(System):
    """One that is made up."""

    kernel: str = KERNEL
    session: str = "x11"
    found: tuple[v4l2.Device, ...] = ()
    registry: dict[str, str] = field(default_factory=dict)
    words: str = ""

    def devices(self) -> list[v4l2.Device]:
        return list(self.found)

    def said(self, *command: str) -> str:
        assert command == ("systemextensionsctl", "list")
        return self.words

    def registered(self, key: str) -> str | None:
        return self.registry.get(key)

    def write(self, path: str, text: str | bytes) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else text.encode())


def findings(monkeypatch: pytest.MonkeyPatch, machine: Machine) -> dict[str, doctor.Finding]:
    """What `streammat doctor` finds on it, up to what is not about virtual cameras."""
    monkeypatch.setattr(doctor, "SYSTEM", lambda: machine)
    found = {}
    for finding in doctor.examine(LiveOptions()):
        found[finding.name] = finding
        if finding.name == "browsers":
            break
    return found


def virtual(monkeypatch: pytest.MonkeyPatch, machine: Machine) -> doctor.Finding:
    return findings(monkeypatch, machine)["virtual camera"]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other checks take their time and say nothing here."""
    for name in ("_weights", "_cpu", "_cameras"):
        monkeypatch.setattr(doctor, name, lambda: ("ok", ""))
    monkeypatch.setattr(doctor, "_engine", lambda options: ("ok", ""))


def loopback(*, captures: bool = False, outputs: bool = True) -> v4l2.Device:
    return v4l2.Device("/dev/video9", "streammat", v4l2.LOOPBACK_DRIVER, captures, outputs, ())


def linux(root: Path, *, installed: str | None = KERNEL, loaded: str | None = "Y,N", boot: bool = False, found: tuple[v4l2.Device, ...] = ()) -> Machine:
    machine = Machine(name="Linux", root=root, found=found)
    if installed:
        machine.write(f"lib/modules/{installed}/modules.dep", "updates/dkms/v4l2loopback.ko.xz: kernel/drivers/media/videodev.ko\n")
    if loaded:
        machine.write("sys/module/v4l2loopback/parameters/exclusive_caps", loaded)
        machine.write("sys/module/v4l2loopback/version", "0.13.2")
    if boot:
        machine.write("etc/modules-load.d/cameras.conf", "# cameras\nv4l2loopback\n")
        machine.write("etc/modprobe.d/v4l2loopback.conf", "options v4l2loopback exclusive_caps=1 card_label=streammat\n")
    return machine


@pytest.mark.parametrize(("system", "how"), [
    ("ID=ubuntu\nID_LIKE=debian", "sudo apt install v4l2loopback-dkms"), ('ID="fedora"', "akmod-v4l2loopback"), ("ID=manjaro\nID_LIKE=arch", "pacman -S"),
    ('ID="opensuse-tumbleweed"\nID_LIKE="opensuse suse"', "zypper"), ("ID=other", "install v4l2loopback of your distribution"),
])
def test_linux_without_the_module(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, system: str, how: str) -> None:
    machine = linux(tmp_path, installed=None, loaded=None)
    machine.write("etc/os-release", system)
    found = virtual(monkeypatch, machine)
    assert (found.state, found.message) == ("warning", "v4l2loopback is not installed")
    assert how in str(found.next_step)
    assert "modprobe v4l2loopback exclusive_caps=1" in str(found.next_step)


def test_linux_with_the_module_for_another_kernel_or_not_loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = virtual(monkeypatch, linux(tmp_path / "a", installed="6.1.0-8-amd64", loaded=None))
    assert "for 6.1.0-8-amd64, and not for the kernel that runs (6.1.0-9-amd64)" in found.message
    assert "dkms autoinstall" in str(found.next_step)
    machine = linux(tmp_path / "b", loaded=None)
    found = virtual(monkeypatch, machine)
    assert (found.message, found.next_step) == ("v4l2loopback is installed and not loaded", f"run: {v4l2.MODPROBE}")
    machine.write("sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c", bytes([6, 0, 0, 0, 1]))
    found = virtual(monkeypatch, machine)
    assert "Secure Boot is on" in found.message
    assert "mokutil" in str(found.next_step)


def test_linux_with_the_module_as_it_should_be_or_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = virtual(monkeypatch, linux(tmp_path / "a", boot=True, found=(loopback(),)))
    assert (found.state, found.next_step) == ("ok", None)
    assert "stays over restarts; in the meeting choose streammat" in found.message
    backend = found.details["backends"][0]
    assert (backend["ready"], backend["details"]["version"], backend["details"]["loaded_at_boot"]) == (True, "0.13.2", True)
    found = virtual(monkeypatch, linux(tmp_path / "b", found=(loopback(captures=True, outputs=False),)))
    assert found.state == "ok"
    assert "will be gone after a restart" in found.message
    assert "/etc/modules-load.d/v4l2loopback.conf" in str(found.next_step)
    for name, caps, device in (("c", "N", loopback()), ("d", "", loopback(captures=True))):
        found = virtual(monkeypatch, linux(tmp_path / name, loaded=caps or "Y", boot=True, found=(device,)))
        assert found.state == "warning"
        assert "no exclusive_caps" in found.message
        assert "modprobe -r v4l2loopback" in str(found.next_step)
    machine = linux(tmp_path / "e")
    machine.write("dev/video9", "")
    assert "usermod -aG video" in str(virtual(monkeypatch, machine).next_step)


def test_a_wayland_session_is_told_what_its_portal_does_not_show(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wayland = Machine(name="Linux", root=tmp_path, session="wayland")
    found = findings(monkeypatch, wayland)["browsers"]
    assert found.state == "warning"
    assert "allow-pipewire" in str(found.next_step)
    assert findings(monkeypatch, linux(tmp_path))["browsers"].state == "ok"


def macos(root: Path, words: str = "", *, version: str = "15.1", obs: str | None = "31.0.2") -> Machine:
    machine = Machine(name="Darwin", root=root, words=words, home=root / "Users/me")
    machine.write("System/Library/CoreServices/SystemVersion.plist", plistlib.dumps({"ProductVersion": version}))
    if obs:
        machine.write("Users/me/Applications/OBS.app/Contents/Info.plist", plistlib.dumps({"CFBundleShortVersionString": obs}))
    return machine


@pytest.mark.parametrize(("given", "state", "message", "step"), [
    ({"version": "12.7"}, "warning", "macOS 12.7 has no camera extensions", "macOS 13"),
    ({"obs": None}, "warning", "OBS Studio is not installed", "install OBS Studio 30 or newer"),
    ({"obs": "29.1.3"}, "warning", "OBS Studio 29.1.3 is installed", "update it to 30"),
    ({}, "warning", "its camera extension is not installed", "press Start Virtual Camera"),
    ({"words": f"\t*\t2MMRE5MTB8\t{EXTENSION} (31.0.2/991)\tOBS Virtual Camera\t[activated waiting for user]"}, "warning", "waits for your approval", "Camera Extensions"),
    ({"words": f"*\t*\t2MMRE5MTB8\t{EXTENSION} (30.2.0/991)\tOBS Virtual Camera\t[activated enabled]"}, "warning", "was updated, and the camera extension is still of 30.2.0", "log out and in"),
    ({"words": f"*\t*\t2MMRE5MTB8\t{EXTENSION} (31.0.2/991)\tOBS Virtual Camera\t[activated enabled]"}, "ok", "camera extension enabled; in the meeting choose OBS Virtual Camera", None),
])
def test_macos(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: dict[str, str], state: str, message: str, step: str | None) -> None:
    found = virtual(monkeypatch, macos(tmp_path, **given))
    assert found.state == state
    assert message in found.message
    assert found.next_step is None if step is None else step in str(found.next_step)


def test_windows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    library = tmp_path / "obs-virtualcam-module64.dll"
    obs, unity = (rf"CLSID\{clsid}\InprocServer32" for clsid in (OBS_CLSID, UNITY_CLSID))
    found = virtual(monkeypatch, Machine(name="Windows"))
    assert found.state == "warning"
    assert "install OBS Studio" in str(found.next_step)
    assert "Unity Capture" in str(found.next_step)
    found = virtual(monkeypatch, Machine(name="Windows", registry={obs: str(library)}))
    assert "its file is gone" in found.message
    assert "install OBS Studio again" in str(found.next_step)
    library.touch()
    found = virtual(monkeypatch, Machine(name="Windows", registry={obs: str(library)}))
    assert (found.state, found.next_step) == ("ok", None)
    assert "in the meeting choose OBS Virtual Camera" in found.message
    found = virtual(monkeypatch, Machine(name="Windows", registry={unity: str(library)}))
    assert "in the meeting choose Unity Video Capture" in found.message


def test_the_command_prints_the_next_step(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """To people, and as JSON for whoever is asked for help."""
    monkeypatch.setattr(doctor, "SYSTEM", lambda: linux(tmp_path, loaded=None))
    monkeypatch.setattr(doctor, "_microphones", lambda: ("ok", ""))
    monkeypatch.setattr(doctor, "_trial", lambda options, seconds: ("ok", ""))
    assert f"next: run: {v4l2.MODPROBE}" in call("doctor").ok().out
    found = {finding["name"]: finding for finding in json.loads(call("doctor", "--json").ok().out)}
    assert found["virtual camera"]["next_step"] == f"run: {v4l2.MODPROBE}"
    assert found["virtual camera"]["details"]["backends"][0]["details"]["kernel"] == KERNEL
