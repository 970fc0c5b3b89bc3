"""Sends every request to a service: a JSON POST with deadlines, retries, and errors that state what to do next.

    service.py         one remote service, called by POST
    urls.py            validates every URL that a user passes
    auth.py            API keys: found, kept secret, sent in a header or a query, or used to sign
    connections.py     HTTP clients, kept per event loop
    environment.py     finds proxy and certificate variables that cannot be used
    retry.py           which errors are retried, and when
    json_reply.py      reads a successful reply
    failed_replies.py  reads the reason for a failure out of a reply
    statuses.py        what each HTTP status means
    error_mapping.py   turns failures into our errors
    sync_bridge.py     runs synchronous calls on a background event loop
    pacing.py          yields to other tasks when very many calls begin at once
    slots.py           limits the requests under way, for all threads and event loops

Rerankers and the search client only define what to send and how to parse the reply.
"""
