"""Local models: text pairs in, one logit per pair out.

From a reranker's settings to a loaded model:

    pool.py          one copy of the weights per process and settings, on threads of its own
    scheduler.py     fair queueing of the calls for one model
    select.py        which engine and which files run a model here
    files.py         the model's files in a folder; hub.py, on a model hub and in its cache
    reading.py       JSON files and tokenizers, and what is wrong with a damaged one
    model_config.py  labels, window and pad token from the model's config
    pairs.py         whether a tokenizer separates query and document
    graphs.py        which ONNX file suits this processor; onnx_format.py reads what is in it
    torch_files.py   checks of the files that torch reads
    hardware.py      cores, fast reduced precision, a GPU

From texts to logits, the same for every engine:

    encoding.py      text pairs to token ids; first_tokens.py tokenizes no more of a text than is read
    batching.py      token ids to padded batches under a token budget
    scoring.py       encoding, batching and an engine together
    engine.py        what an engine is; onnx.py, openvino.py and torch.py are three
    telemetry.py     switches off the telemetry of those libraries

    export.py        writes ONNX files, float32 and int8, of any cross-encoder

Most of these modules need an extra, so nothing is imported here.
"""
