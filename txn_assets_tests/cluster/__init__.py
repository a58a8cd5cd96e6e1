"""`make cluster-test CONTEXT=...`: install the platform on a one-node cluster without Google, load files, and break it.

    __main__    the steps, and the line that each one prints
    release     kubectl and helm: what is installed, and what becomes of its pods
    files       landing files, waiting for their loads, and comparing the stores with what was sent

docs/deploy.md, "Try it without Google", says how to get the cluster and its images.
"""
