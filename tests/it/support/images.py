"""The machine images of the tests' cloud, named and owned as their publishers do it, with what a careless query would
catch: older builds, other variants, and a stranger's image that is the newest of all."""

import json

DEBIAN = "136693071363"
CANONICAL = "099720109477"
AMAZON = "137112412989"
STRANGER = "666666666666"

# Only Amazon's images carry an alias in DescribeImages.
ALIASES = {AMAZON: "amazon"}


def image(number, owner, name, architecture, root, created):
    return {
        "ami_id": f"ami-{number:017x}",
        "name": name,
        "owner_id": owner,
        "public": True,
        "architecture": architecture,
        "state": "available",
        "virtualization_type": "hvm",
        "hypervisor": "xen",
        "image_type": "machine",
        "image_location": f"{owner}/{name}",
        "root_device_type": "ebs",
        "root_device_name": root,
        "description": name,
        "sriov": "simple",
        "creation_date": f"{created}T00:00:00.000Z",
    }


def rows():
    for architecture, debian, amazon in [("arm64", "arm64", "arm64"), ("x86_64", "amd64", "x86_64")]:
        for release in ["12", "13"]:
            yield DEBIAN, f"debian-{release}-{debian}-20251006-2257", architecture, "/dev/xvda", "2025-10-06"
            yield DEBIAN, f"debian-{release}-{debian}-20260112-2355", architecture, "/dev/xvda", "2026-01-12"
            yield DEBIAN, f"debian-{release}-backports-{debian}-20260119-2362", architecture, "/dev/xvda", "2026-01-19"
            yield STRANGER, f"debian-{release}-{debian}-20260601-9999", architecture, "/dev/xvda", "2026-06-01"
        for code, release in [("noble", "24.04"), ("resolute", "26.04")]:
            for built, created in [("20260108", "2026-01-08"), ("20260512", "2026-05-12")]:
                name = f"ubuntu/images/hvm-ssd-gp3/ubuntu-{code}-{release}-{debian}-server-{built}"
                yield CANONICAL, name, architecture, "/dev/sda1", created
            for family in ["ubuntu-minimal/images", "ubuntu/images-testing"]:
                name = f"{family}/hvm-ssd-gp3/ubuntu-{code}-{release}-{debian}-server-20260520"
                yield CANONICAL, name, architecture, "/dev/sda1", "2026-05-20"
        for build, kernel, created in [
            ("2023.9.20251117.1", "6.1", "2025-11-17"),
            ("2023.10.20260105.0", "6.1", "2026-01-05"),
            ("2023.10.20260105.0", "6.12", "2026-01-06"),
        ]:
            name = f"al2023-ami-{build}-kernel-{kernel}-{amazon}"
            yield AMAZON, name, architecture, "/dev/xvda", created
        yield AMAZON, f"al2023-ami-minimal-2023.10.20260112.0-kernel-6.1-{amazon}", architecture, "/dev/xvda", "2026-01-12"
        yield AMAZON, f"al2023-ami-ecs-hvm-2023.0.20260112-kernel-6.1-{amazon}", architecture, "/dev/xvda", "2026-01-12"


def as_json():
    table = enumerate(rows(), start=1)
    return json.dumps([image(number, *row) for number, row in table])
