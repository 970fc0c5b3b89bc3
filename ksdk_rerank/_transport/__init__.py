"""Every service is asked through here: a JSON POST with deadlines, retries, and errors that say what to do next.

    service.py         one remote service, asked by POST
    urls.py            one check for every URL that a user gives
    auth.py            API keys: found, kept secret, masked in errors
    connections.py     HTTP clients, kept per event loop
    environment.py     proxy and certificate variables that cannot be used
    retry.py           which errors get another attempt, and when
    failed_replies.py  what a failed reply says
    statuses.py        what an HTTP status means
    error_mapping.py   failures as our errors
    sync_bridge.py     synchronous calls run the asynchronous code on a background loop
    pacing.py          yields to others when very many calls begin at once

Rerankers and the search client only say what to send and how to read the reply.
"""
