"""`python -m ksdk_rerank`, the same as the command `ksdk-rerank`."""

import sys

from ksdk_rerank.commands.main import main

sys.exit(main())
