"""Paths of the requests that the shim inspects; see https://cloud.google.com/storage/docs/request-endpoints."""

import re

OBJECT = re.compile(r"(?:/storage|/download/storage)/v1/b/(?P<bucket>[^/]+)/o/(?P<name>.+)")
COPY = re.compile(
    r"/storage/v1/b/(?P<source_bucket>[^/]+)/o/(?P<source>.+)/(?:rewriteTo|copyTo)/b/(?P<bucket>[^/]+)/o/(?P<name>.+)"
)
COMPOSE = re.compile(r"/storage/v1/b/(?P<bucket>[^/]+)/o/(?P<name>.+)/compose")
# gcloud and gsutil start resumable uploads below /resumable/.
UPLOAD = re.compile(r"(?:/resumable)?/upload/storage/v1/b/(?P<bucket>[^/]+)/o")
XML = re.compile(r"/(?!storage/|upload/|resumable/|download/|batch/|_)(?P<bucket>[^/]+)/(?P<name>.+)")
