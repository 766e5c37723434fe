"""TLS with a private certificate authority in front of a plain server.

Arguments: the port to pass bytes on to, and a folder for the authority's certificate (ca.pem). Listens on a loopback port that the
system chooses, prints it, and ends when its standard input does.
"""

import datetime
import ipaddress
import os
import socket
import ssl
import sys
import threading

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

upstream, folder = int(sys.argv[1]), sys.argv[2]


def name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def certificate(subject, key, issuer, issuer_key, *extensions):
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name(issuer)).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
    builder = builder.not_valid_after(now + datetime.timedelta(days=1))
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(issuer_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


authority, own = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
ca = certificate("a company", authority, "a company", authority, (x509.BasicConstraints(ca=True, path_length=None), True))
names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
leaf = certificate("localhost", own, "a company", authority, (names, False))
private = own.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
)
paths = {file: os.path.join(folder, file) for file in ("ca.pem", "leaf.pem")}
for file, content in (("ca.pem", ca), ("leaf.pem", private + leaf)):
    with open(paths[file], "wb") as out:
        out.write(content)

context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(paths["leaf.pem"])


def pump(source, target):
    try:
        while chunk := source.recv(65536):
            target.sendall(chunk)
    except OSError:
        pass
    finally:
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def serve(plain):
    try:
        caller = context.wrap_socket(plain, server_side=True)
        cloud = socket.create_connection(("127.0.0.1", upstream))
    except OSError:
        plain.close()
        return
    threading.Thread(target=pump, args=(caller, cloud), daemon=True).start()
    pump(cloud, caller)


listener = socket.create_server(("127.0.0.1", 0))


def accept():
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()


threading.Thread(target=accept, daemon=True).start()
print(listener.getsockname()[1], flush=True)
sys.stdin.read()
os._exit(0)
