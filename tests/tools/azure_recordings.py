"""azure_recordings.py FOLDER: puts recorded traffic of Azure into FOLDER/recordings, one file for each recording, one exchange a line.

It comes with the source archives of Microsoft's libraries for Python, which pip downloads and holds to their hashes. Nothing of them
is installed. Running it again is cheap.
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import zipfile

import yaml

REQUIREMENTS = pathlib.Path(__file__).with_name("azure-recordings.txt")
# What a recording is called here, and its file in an archive.
RECORDINGS = {
    "firewall-classic-503-2020-08-01": "test_cli_mgmt_network_firewall.test_network.yaml",
    "network-interface-2020-08-01": "test_mgmt_network.test_network_interface_card.yaml",
    "public-ip-2020-04-01": "test_mgmt_network.test_public_ip_addresses.yaml",
    "subnets-2020-04-01": "test_mgmt_network.test_subnets.yaml",
    "virtual-networks-2020-04-01": "test_mgmt_network.test_virtual_networks.yaml",
    "vm-life-2020-06-01": "test_mgmt_compute_vm.test_compute_vm_2.yaml",
    "vm-run-command-2020-06-01": "test_mgmt_compute_vm.test_compute_vm.yaml",
}
HEADERS = ("azure-asyncoperation", "content-type", "etag", "location", "retry-after", "x-ms-failure-cause")


def download(folder):
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "download"]
    subprocess.run([*pip, "--no-deps", "--no-binary", ":all:", "--require-hashes", "-r", str(REQUIREMENTS), "-d", folder], check=True)


def exchange(interaction):
    request, answer = interaction["request"], interaction["response"]
    body, headers = request["body"], {name.lower(): values for name, values in answer["headers"].items()}
    return {
        "method": request["method"],
        "url": request["uri"],
        "request": body.decode() if isinstance(body, bytes) else body or "",
        "status": answer["status"]["code"],
        "headers": {name: headers[name][0] for name in HEADERS if name in headers},
        "response": answer["body"]["string"],
    }


def convert(archive, name, into):
    # The C loader where there is one: it is ten times as fast.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found = yaml.load(archive.read(name), Loader=loader)["interactions"]
    into.write_text("".join(f"{json.dumps(exchange(one))}\n" for one in found))


def main(folder):
    done = folder / "azure-recordings.txt"
    wanted = REQUIREMENTS.read_text() + "".join(sorted(RECORDINGS))
    if done.exists() and done.read_text() == wanted:
        return
    (folder / "recordings").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as downloads:
        download(downloads)
        names = {file: name for name, file in RECORDINGS.items()}
        for path in pathlib.Path(downloads).glob("*.zip"):
            with zipfile.ZipFile(path) as archive:
                for member in archive.namelist():
                    file = member.split("/")[-1]
                    if "/recordings/" in member and file in names:
                        convert(archive, member, folder / "recordings" / f"{names.pop(file)}.jsonl")
    if names:
        raise SystemExit(f"not in the archives: {', '.join(sorted(names))}")
    done.write_text(wanted)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
