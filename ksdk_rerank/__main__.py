"""`python -m ksdk_rerank`, the same as the command `ksdk-rerank`."""

import sys

from ksdk_rerank.cli import main

sys.exit(main())
