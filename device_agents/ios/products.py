"""ProductType → what the phone is called and what is in it. An iPhone names itself by its ProductType only.

Names: the device table of libirecovery (github.com/libimobiledevice/libirecovery, src/libirecovery.c). Chips and cores:
Apple's technical specifications (support.apple.com/specs/iphone). Memory, which Apple does not publish: Xcode's device
files as reported for each generation, e.g. macrumors.com/2022/09/08/iphone-14-ram-amounts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Product:
    """A model of iPhone: name, chip, number of performance cores, memory."""

    name: str
    chip: str
    performance_cores: int
    ram_bytes: int


def _product(name: str, chip: str, ram_gib: int) -> Product:
    """Every iPhone's chip since the A11 has two performance cores."""
    return Product(name, chip, 2, ram_gib * GIB)


PRODUCTS: Mapping[str, Product] = {
    "iPhone10,1": _product("iPhone 8", "A11 Bionic", 2),
    "iPhone10,2": _product("iPhone 8 Plus", "A11 Bionic", 3),
    "iPhone10,3": _product("iPhone X", "A11 Bionic", 3),
    "iPhone10,4": _product("iPhone 8", "A11 Bionic", 2),
    "iPhone10,5": _product("iPhone 8 Plus", "A11 Bionic", 3),
    "iPhone10,6": _product("iPhone X", "A11 Bionic", 3),
    "iPhone11,2": _product("iPhone XS", "A12 Bionic", 4),
    "iPhone11,4": _product("iPhone XS Max", "A12 Bionic", 4),
    "iPhone11,6": _product("iPhone XS Max", "A12 Bionic", 4),
    "iPhone11,8": _product("iPhone XR", "A12 Bionic", 3),
    "iPhone12,1": _product("iPhone 11", "A13 Bionic", 4),
    "iPhone12,3": _product("iPhone 11 Pro", "A13 Bionic", 4),
    "iPhone12,5": _product("iPhone 11 Pro Max", "A13 Bionic", 4),
    "iPhone12,8": _product("iPhone SE (2nd generation)", "A13 Bionic", 3),
    "iPhone13,1": _product("iPhone 12 mini", "A14 Bionic", 4),
    "iPhone13,2": _product("iPhone 12", "A14 Bionic", 4),
    "iPhone13,3": _product("iPhone 12 Pro", "A14 Bionic", 6),
    "iPhone13,4": _product("iPhone 12 Pro Max", "A14 Bionic", 6),
    "iPhone14,2": _product("iPhone 13 Pro", "A15 Bionic", 6),
    "iPhone14,3": _product("iPhone 13 Pro Max", "A15 Bionic", 6),
    "iPhone14,4": _product("iPhone 13 mini", "A15 Bionic", 4),
    "iPhone14,5": _product("iPhone 13", "A15 Bionic", 4),
    "iPhone14,6": _product("iPhone SE (3rd generation)", "A15 Bionic", 4),
    "iPhone14,7": _product("iPhone 14", "A15 Bionic", 6),
    "iPhone14,8": _product("iPhone 14 Plus", "A15 Bionic", 6),
    "iPhone15,2": _product("iPhone 14 Pro", "A16 Bionic", 6),
    "iPhone15,3": _product("iPhone 14 Pro Max", "A16 Bionic", 6),
    "iPhone15,4": _product("iPhone 15", "A16 Bionic", 6),
    "iPhone15,5": _product("iPhone 15 Plus", "A16 Bionic", 6),
    "iPhone16,1": _product("iPhone 15 Pro", "A17 Pro", 8),
    "iPhone16,2": _product("iPhone 15 Pro Max", "A17 Pro", 8),
    "iPhone17,1": _product("iPhone 16 Pro", "A18 Pro", 8),
    "iPhone17,2": _product("iPhone 16 Pro Max", "A18 Pro", 8),
    "iPhone17,3": _product("iPhone 16", "A18", 8),
    "iPhone17,4": _product("iPhone 16 Plus", "A18", 8),
    "iPhone17,5": _product("iPhone 16e", "A18", 8),
    "iPhone18,1": _product("iPhone 17 Pro", "A19 Pro", 12),
    "iPhone18,2": _product("iPhone 17 Pro Max", "A19 Pro", 12),
    "iPhone18,3": _product("iPhone 17", "A19", 8),
    "iPhone18,4": _product("iPhone Air", "A19 Pro", 12),
}


def product_of(product_type: str) -> Product | None:
    """The model of a ProductType, None for one that is not in the table (newer than it, or no iPhone)."""
    return PRODUCTS.get(product_type)
