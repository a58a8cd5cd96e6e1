"""Tests of the local stack, with its real servers.

test_lifecycle    starting once, surviving, stopping, coming back
test_faults       each way in which it fails to start, and the message
test_landscape    a running stack from the outside: ports, files, environment, landed files
test_gcs_shim     what the shim adds to fake-gcs-server, through the real client
test_rules        the shim's rules without a server
"""
