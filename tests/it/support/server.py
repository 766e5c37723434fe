"""moto's server for the tests: one process, any number of accounts.

Listens on a loopback port that the system chooses, prints it, and ends when its standard input does: the process that
started it holds the other end, so that it cannot outlive the tests, however these end.
"""

import logging
import os
import re
import sys
import tempfile
import threading

import images

with tempfile.NamedTemporaryFile("w", suffix=".json") as catalogue:
    # moto reads the file when it is imported, for every account and region that is used later.
    catalogue.write(images.as_json())
    catalogue.flush()
    os.environ["MOTO_AMIS_PATH"] = catalogue.name
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from moto.ec2.models import amis

    import stricter

# moto calls everything that it preloads Amazon's.
amis.Ami.owner_alias = property(lambda ami: images.ALIASES.get(ami.owner_id), lambda ami, alias: None)

from werkzeug.serving import make_server  # noqa: E402

ACCOUNT = re.compile(r"Credential=AKIA\d{4}(\d{12})/")


class AccountByAccessKey:
    """The last twelve digits of an access key are the account, so that tests which share this process share no world."""

    def __init__(self, app):
        self.app = app

    def __call__(self, environ, start_response):
        account = ACCOUNT.search(environ.get("HTTP_AUTHORIZATION", ""))
        if account:
            environ["HTTP_X_MOTO_ACCOUNT_ID"] = account.group(1)
        return self.app(environ, start_response)


# Header and body leave in two writes; without this the second waits for the other side's delayed ACK, 40 ms a call.
MotoRequestHandler.disable_nagle_algorithm = True
logging.getLogger("werkzeug").setLevel(logging.ERROR)
stricter.apply()
app = AccountByAccessKey(stricter.ClientTokens(DomainDispatcherApplication(create_backend_app)))
server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=MotoRequestHandler)

threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_address[1], flush=True)
sys.stdin.read()
os._exit(0)
