"""Local models: text pairs in, one logit per pair out.

From a reranker's settings to a loaded model:

    pool.py          one copy of the weights per process and settings, on threads of its own
    select.py        finds the model's files and picks the engine that runs them here
    files.py         a model's files in a folder: reads them, and explains what is wrong with a damaged one
    hub.py           the same files on a model hub and in its cache; hub_errors.py explains why one is missing
    model_config.py  reads labels, window and pad token from the model's config
    onnx_files.py    picks the ONNX file that suits this processor; onnx_graph.py reads its contents
    onnx_mapping.py  lets onnxruntime map its weights into memory; protobuf.py is for both
    torch_files.py   checks the files that torch will load
    hardware.py      detects cores, fast reduced precision and a GPU

From texts to logits, the same for every engine:

    scheduler.py     fair queueing of the calls for one model
    scoring.py       one call, one forward pass for one or more calls, and the model that runs it
    encoding.py      text pairs to token ids; first_tokens.py tokenizes no more of a text than is read
    separators.py    checks that a tokenizer puts a separator between query and document
    prompts.py       the same for language models, which read a pair in a prompt
    batching.py      token ids to padded batches under a token budget
    engine.py        the engine interface; onnx.py, openvino.py and torch.py implement it
    onnx_head.py     runs the head of a model whose graph lacks it; torch_prompts.py runs language models
    telemetry.py     switches off the telemetry of those libraries; foreign_errors.py maps what they raise

From a model to faster files:

    export.py        exports any cross-encoder to ONNX files, float32 and int8; new_folder.py writes all or nothing
    quantize.py      makes the int8 file from a float32 one, without torch, with the three modules int8_*.py
    last_layer.py    drops from a graph what the head does not read

Most of these modules need an extra, so this package imports none of them.
"""
