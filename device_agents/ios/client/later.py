"""What of the library only some calls need, so that whoever forks workers can load it for all of them."""

from pymobiledevice3.remote import userspace_tunnel
from pymobiledevice3.services import mobile_image_mounter

__all__ = ["mobile_image_mounter", "userspace_tunnel"]
