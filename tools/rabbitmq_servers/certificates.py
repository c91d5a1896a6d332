"""Certificates for TLS tests, made at run time by the openssl command.

None is kept in git: a test certificate that expires there breaks the build one day. They are
valid for 30 days and made anew when less than two days are left. `tools/rabbitmq certs DIR`
makes a set anywhere, without any server, for tests against the embedded broker.

=================  ==========================================================================
ca.pem             the authority that clients and servers of the tests trust
server.pem, .key   for localhost, 127.0.0.1 and ::1
client.pem, .key   CN=leveret-client, which is also a user of the servers (EXTERNAL)
other-ca.pem       an authority that signed neither: verification by it must fail
other.pem, .key    a client certificate of that other authority
wrong-host.pem     of the right authority (with .key), for a host that nobody here has
=================  ==========================================================================
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from debian.running import Failed, locked, run

CLIENT_USER = "leveret-client"
DAYS = 30
RENEW_BEFORE_SECONDS = 2 * 24 * 3600

# name: (signed by, subject, key usage, more extensions); an authority signs itself
_AUTHORITY = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n"
_LEAF = "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n"
_SERVER = _LEAF + "extendedKeyUsage=serverAuth\n"
_CLIENT = _LEAF + "extendedKeyUsage=clientAuth\n"
_SET = {
    "ca": ("ca", "Leveret test CA", _AUTHORITY),
    "server": ("ca", "localhost", _SERVER + "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1\n"),
    "client": ("ca", CLIENT_USER, _CLIENT),
    "wrong-host": ("ca", "wrong.invalid", _SERVER + "subjectAltName=DNS:wrong.invalid\n"),
    "other-ca": ("other-ca", "Another test CA", _AUTHORITY),
    "other": ("other-ca", CLIENT_USER, _CLIENT),
}


def make(folder: Path) -> bool:
    """See to it that `folder` holds a whole set that is still valid; True if one was made.

    Raises:
        Unavailable: there is no openssl command.
        Failed: it is there and did not do it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / ".lock"):
        if _is_valid(folder):
            return False
        with tempfile.TemporaryDirectory(dir=folder, prefix=".new-") as name:
            fresh = Path(name)
            for certificate in _SET:
                _issue(fresh, certificate)
            for file in [*fresh.glob("*.key"), *fresh.glob("*.pem")]:
                file.replace(folder / file.name)
        return True


def _is_valid(folder: Path) -> bool:
    for name, (issuer, _, _) in _SET.items():
        certificate = str(folder / f"{name}.pem")
        if not Path(certificate).exists() or not (folder / f"{name}.key").exists():
            return False
        lasts = ["openssl", "x509", "-checkend", str(RENEW_BEFORE_SECONDS), "-noout"]
        belongs = ["openssl", "verify", "-CAfile", str(folder / f"{issuer}.pem"), certificate]
        try:
            run([*lasts, "-in", certificate], timeout=30)
            run(belongs, timeout=30)
        except Failed:
            return False
    return True


def _issue(folder: Path, name: str) -> None:
    issuer, subject, extensions = _SET[name]
    # Both identifiers: Python 3.13 verifies strictly (RFC 5280, 4.2.1.1 and 4.2.1.2).
    extensions += "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
    config = folder / f"{name}.cnf"
    config.write_text(
        "[req]\nprompt=no\ndistinguished_name=subject\nx509_extensions=extensions\n"
        f"[subject]\nCN={subject}\n[extensions]\n{extensions}"
    )
    key, certificate = folder / f"{name}.key", folder / f"{name}.pem"
    command = ["openssl", "req", "-x509", "-config", str(config), "-days", str(DAYS)]
    command += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-keyout", str(key), "-out", str(certificate)]
    if issuer != name:
        command += ["-CA", str(folder / f"{issuer}.pem"), "-CAkey", str(folder / f"{issuer}.key")]
    run(command, timeout=60)
    key.chmod(0o600)
