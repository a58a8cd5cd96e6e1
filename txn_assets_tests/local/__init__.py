"""The local stack, with its real servers.

test_lifecycle    starting once, surviving, stopping, coming back
test_faults       each way in which it cannot start, and what is said then
test_landscape    what a running stack looks like from outside: ports, files, environment, landed files
test_gcs_shim     what the shim adds to fake-gcs-server, through the real client
test_rules        its rules without a server
"""
