"""iPhones, behind usbmux."""
