"""A bucket of Google Cloud Storage that is none: a server on 127.0.0.1, from PyPI."""

import contextlib
import logging
import socket


@contextlib.contextmanager
def served_bucket(name="bucket"):
    """Yields the environment variables with which gcsfs and TensorStore find the bucket `name`."""
    from gcp_storage_emulator import server, storage

    _answer_with_generations(server, storage)
    logging.getLogger("gcp_storage_emulator").setLevel(logging.CRITICAL)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    emulator = server.create_server("127.0.0.1", port, in_memory=True, default_bucket=name)
    emulator.start()
    # TensorStore hangs up on answers that it needs no more, which the server would print.
    emulator._api._httpd.handle_error = lambda *_: None
    address = f"http://127.0.0.1:{port}"
    try:
        yield {
            "STORAGE_EMULATOR_HOST": address,
            "TENSORSTORE_GCS_HTTP_URL": address,
            "GOOGLE_AUTH_TOKEN_FOR_TESTING": "none",
        }
    finally:
        emulator.stop()


def _answer_with_generations(server, storage):
    """Adds the header by which TensorStore tells versions of an object, as Google's server does."""
    get_file_obj, write_file = storage.Storage.get_file_obj, server.Response.write_file
    latest = {}

    def remembering(self, *arguments):
        latest["object"] = get_file_obj(self, *arguments)
        return latest["object"]

    def with_header(self, *arguments, **keywords):
        self["x-goog-generation"] = latest["object"]["generation"]
        write_file(self, *arguments, **keywords)

    storage.Storage.get_file_obj, server.Response.write_file = remembering, with_header
