"""An authority and a certificate for 127.0.0.1: msal takes no authority without TLS."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _begun(
    subject: str, issuer: str, key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey, days: int
) -> x509.CertificateBuilder:
    end = datetime.now(UTC) + timedelta(days=days)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(end - timedelta(days=400))
        .not_valid_after(end)
    )


def pem_of(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, password: str = "") -> str:
    locked = (
        serialization.BestAvailableEncryption(password.encode())
        if password
        else serialization.NoEncryption()
    )
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, locked).decode()


def client_certificate(days: int = 30) -> tuple[x509.Certificate, rsa.RSAPrivateKey]:
    """A self-signed certificate of an application, as one uploads to its registration."""
    key = rsa.generate_private_key(65537, 2048)
    made = _begun("app", "app", key.public_key(), days).sign(key, hashes.SHA256())
    return made, key


def server_tls(at: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's context, and the file of the authority to trust."""
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    ca_id = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
    ca = (
        _begun("fake ca", "fake ca", ca_key.public_key(), 30)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(ca_id, critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    names = [x509.IPAddress(ip_address("127.0.0.1")), x509.DNSName("localhost")]
    leaf = (
        _begun("127.0.0.1", "fake ca", key.public_key(), 30)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ca_id), critical=False
        )
        .sign(ca_key, hashes.SHA256())
    )
    authority, chain = at / "ca.pem", at / "server.pem"
    authority.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    chain.write_text(leaf.public_bytes(serialization.Encoding.PEM).decode() + pem_of(key))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    return context, authority
