"""Certificates for the TLS checks, made by an independent library: certificates.py FOLDER. Run in the virtual environment of run.sh.

`ca` signs `server`, `client`, `expired` and `revoked` (which stands in revoked.crl); `stranger` signs `wrong`. Each is NAME.pem and NAME.key."""

import datetime
import ipaddress
import pathlib
import sys

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NOW = datetime.datetime.now(datetime.timezone.utc)
DAY = datetime.timedelta(days=1)
folder = pathlib.Path(sys.argv[1])


def named(name):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def make(name, issuer=None, begins=NOW - DAY, ends=NOW + DAY):
    """Writes a key and its certificate; gives both. Without an issuer it signs itself, and may sign others."""
    key = ec.generate_private_key(ec.SECP256R1())
    signer_name, signer = (named(name), key) if issuer is None else (issuer[0].subject, issuer[1])
    builder = (
        x509.CertificateBuilder()
        .subject_name(named(name))
        .issuer_name(signer_name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if issuer is None:
        usage = dict.fromkeys(("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only", "decipher_only"), False)
        builder = builder.add_extension(x509.KeyUsage(key_cert_sign=True, crl_sign=True, **usage), critical=True)
    else:
        addresses = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))] if name == "server" else [x509.DNSName(f"{name}.harbor.example")]
        builder = builder.add_extension(x509.SubjectAlternativeName(addresses), critical=False)
    certificate = builder.sign(signer, hashes.SHA256())
    (folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / f"{name}.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate, key


ca = make("ca")
stranger = make("stranger")
make("server", ca)
make("client", ca)
make("expired", ca, NOW - 3 * DAY, NOW - DAY)
make("wrong", stranger)
revoked, _ = make("revoked", ca)
entry = x509.RevokedCertificateBuilder().serial_number(revoked.serial_number).revocation_date(NOW - DAY).build()
crl = x509.CertificateRevocationListBuilder().issuer_name(ca[0].subject).last_update(NOW - DAY).next_update(NOW + DAY).add_revoked_certificate(entry)
# Both are demanded by RFC 5280, 5.2.
crl = crl.add_extension(x509.CRLNumber(1), critical=False).add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca[1].public_key()), critical=False)
(folder / "revoked.crl").write_bytes(crl.sign(ca[1], hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
