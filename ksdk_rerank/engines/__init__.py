"""Local models: text pairs in, one logit a pair out.

    shared.py    one copy of the weights a process and configuration, on threads of its own
    line.py      the calls that wait for one model, and who goes next
    loading.py   from settings to a loaded model: which files, which engine
    files.py     a folder, or a hub repository through its cache
    head.py      what config.json says: one logit or not, how many tokens, which padding
    first_tokens.py  as much of a text to tokens as is read
    encoding.py  text pairs to token ids                                   the same
    batching.py  token ids to padded batches under a token budget          for every engine
    scoring.py   encoding, batching and an engine together
    base.py      what an engine is; onnx.py, openvino.py and torch.py are three
    graphs.py    ONNX files: which one a model offers to which engine
    machine.py   cores, fast arithmetic in fewer bits, a GPU
    telemetry.py the engines' own, switched off
    export.py    ONNX files, fp32 and int8, from any cross-encoder

All but `base`, `shared`, `line` and `machine` need an extra, so nothing is imported here.
"""
