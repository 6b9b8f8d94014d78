"""PyPI's spiffe and spiffe-tls as a peer; see ../README.md."""

import logging
import socket
import sys
import threading
import time

from cryptography import x509
from OpenSSL import SSL
from spiffe import JwtSource, SpiffeId, X509Source
from spiffe.svid.jwt_svid import JwtSvid
from spiffetls import dial
from spiffetls.context import create_ssl_context
from spiffetls.mode import ClientTlsMode
from spiffetls.tlsconfig.authorize import authorize_id

HELLO = b"hello\n"
USAGE = (
    "usage: who | serve ADDRESS CLIENT-ID | call ADDRESS SERVER-ID RENEWALS | "
    "jwt-mint AUDIENCE | jwt-check AUDIENCE TOKEN"
)


def who():
    with X509Source(timeout_in_seconds=30) as source:
        print(source.get_x509_context().default_svid.spiffe_id)


def serve(address, client):
    """With a context for each connection: that of spiffetls.listen cannot be renewed, for pyOpenSSL
    changes no context that has been used."""
    source = X509Source(timeout_in_seconds=30)
    host, port = address.split(":")
    listener = socket.create_server((host, int(port)), backlog=64)
    print("listening", flush=True)
    while True:
        connection, _ = listener.accept()
        context = create_ssl_context(
            SSL.TLS_SERVER_METHOD,
            source,
            authorize_id(SpiffeId(client)),
            SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT,
        )
        connection = SSL.Connection(context, connection)
        connection.set_accept_state()
        threading.Thread(target=answer, args=(connection,), daemon=True).start()


def answer(connection):
    try:
        connection.do_handshake()
        said = b""
        while len(said) < len(HELLO):
            said += connection.recv(len(HELLO) - len(said))
        leaf = connection.get_peer_certificate()
        connection.sendall(f"{spiffe_id(leaf)} {leaf.get_serial_number():x}\n".encode())
        connection.shutdown()
    except SSL.Error as why:
        print("refused:", why, file=sys.stderr, flush=True)
    finally:
        connection.close()


def call(address, server, renewals):
    source = X509Source(timeout_in_seconds=30)
    calls, theirs, ours = 0, set(), set()
    while min(len(theirs), len(ours)) <= int(renewals):
        if calls:
            time.sleep(0.1)
        seen, told = ask(address, source, server)
        calls += 1
        theirs.add(seen)
        ours.add(told)
    print(f"{calls} calls, {len(theirs) - 1} renewals of theirs, {len(ours) - 1} of ours")
    source.close()


def ask(address, source, server):
    """What the server's certificate says, and what the server says of ours."""
    connection = dial(
        address,
        source,
        tls_mode=ClientTlsMode.TLS,
        authorize_fn=authorize_id(SpiffeId(server)),
    )
    try:
        connection.sendall(HELLO)
        told = b""
        while True:
            try:
                told += connection.recv(1024)
            except SSL.ZeroReturnError:
                break
        if not told:
            raise RuntimeError("the server said nothing")
        return connection.get_peer_certificate().get_serial_number(), told
    finally:
        connection.close()


def spiffe_id(leaf):
    """The one URI of a certificate whose holder the authorizer has let in."""
    names = leaf.to_cryptography().extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    return names.value.get_values_for_type(x509.UniformResourceIdentifier)[0]


def mint(audience):
    with JwtSource(timeout_in_seconds=30) as source:
        print(source.fetch_svid({audience}).token)


def check(audience, token):
    with JwtSource(timeout_in_seconds=30) as source:
        # The bundle to verify with is that of the trust domain which the token names.
        claimed = JwtSvid.parse_insecure(token, {audience}).spiffe_id
        bundle = source.get_bundle_for_trust_domain(claimed.trust_domain)
        print(JwtSvid.parse_and_validate(token, bundle, {audience}).spiffe_id)


def main(arguments):
    match arguments:
        case ["who"]:
            who()
        case ["serve", address, client]:
            serve(address, client)
        case ["call", address, server, renewals]:
            call(address, server, renewals)
        case ["jwt-mint", audience]:
            mint(audience)
        case ["jwt-check", audience, token]:
            check(audience, token)
        case _:
            sys.exit(USAGE)


# Otherwise each old context complains at each renewal, see above.
logging.getLogger("spiffe").setLevel(logging.CRITICAL)
main(sys.argv[1:])
