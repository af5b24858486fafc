"""Which disks the technician's tool writes: cards, and none that looks like the computer's."""

import json
from typing import Any

import pytest

from firmware.device import disks

PART = {"name": "p1", "partlabel": None, "fstype": None, "mountpoints": [None]}
CARD = {
    "name": "sdb", "path": "/dev/sdb", "size": 32_000_000_000, "rm": True, "hotplug": True,
    "tran": "usb", "mountpoints": [None], "model": "STORAGE DEVICE", "serial": "1", "type": "disk",
    "fstype": None, "partlabel": None, "label": None, "ro": False,
}  # fmt: skip
OURS = [
    {**PART, "partlabel": name} for name in ("esp", "boot-a", "boot-b", "root-a", "root-b", "data")
]


def look(**changes: Any) -> disks.Disk:
    [disk] = disks.read(json.dumps({"blockdevices": [{**CARD, **changes}]}))
    return disk


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"name": "mmcblk0", "path": "/dev/mmcblk0", "rm": False, "hotplug": False, "tran": None},
        {"children": [{**PART, "fstype": "vfat"}]},
        {"children": OURS},
    ],
)
def test_a_card_may_be_written(changes: dict[str, Any]) -> None:
    assert look(**changes).why_not == ""


@pytest.mark.parametrize(
    ("why", "changes"),
    [
        ("disk_mounted", {"children": [{**PART, "mountpoints": ["/media/card"]}]}),
        ("disk_mounted", {"tran": "nvme", "children": [{**PART, "mountpoints": [None, "/"]}]}),
        (
            "disk_mounted",
            {"children": [{**PART, "children": [{**PART, "mountpoints": ["/home"]}]}]},
        ),
        ("disk_mounted", {"mountpoints": ["[SWAP]"]}),
        ("disk_fixed", {"tran": "nvme", "rm": False, "hotplug": False}),
        ("disk_fixed", {"tran": "sata", "rm": False, "hotplug": False}),
        ("disk_fixed", {"tran": None, "rm": False, "hotplug": False, "name": "vda"}),
        ("disk_locked", {"ro": True}),
        ("disk_in_use", {"children": [{**PART, "fstype": "crypto_LUKS"}]}),
        ("disk_in_use", {"children": [{**PART, "fstype": "LVM2_member"}]}),
        ("disk_in_use", {"children": [{**PART, "fstype": "BitLocker"}]}),
        ("disk_large", {"size": 2_000_000_000_000}),
        ("disk_small", {"size": 512_000_000}),
    ],
)
def test_what_is_no_card_is_refused_with_its_reason(why: str, changes: dict[str, Any]) -> None:
    assert look(**changes).why_not == why


def test_partitions_loops_and_empty_readers_are_no_disks() -> None:
    entries = [{**CARD, "type": "loop"}, {**CARD, "size": 0}, {**CARD, "type": "rom"}]
    assert disks.read(json.dumps({"blockdevices": entries})) == []


def test_a_card_of_ours_is_known() -> None:
    assert look(children=OURS).is_ours
    assert not look(children=OURS[:3]).is_ours


def test_this_computers_disks_are_all_refused_unless_they_are_cards() -> None:
    for disk in disks.listed():
        assert disk.why_not, disk
