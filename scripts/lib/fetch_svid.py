"""Prints the SPIFFE ID that the Workload API on a Unix socket gives to this process."""

import sys

from spiffe import WorkloadApiClient

with WorkloadApiClient(f"unix://{sys.argv[1]}") as client:
    print(client.fetch_x509_svid().spiffe_id)
