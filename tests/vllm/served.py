"""`python served.py MODEL PORT`: vLLM's own OpenAI-compatible server, as docs/rollouts.md starts it, with oneDNN off (see rollout/vllm_colocate.py)."""

from __future__ import annotations

import os
import runpy
import sys

if __name__ == "__main__":
    # The engine's process is forked, so that it keeps what is set here.
    os.environ |= {"VLLM_SERVER_DEV_MODE": "1", "VLLM_WORKER_MULTIPROCESSING_METHOD": "fork", "VLLM_NO_USAGE_STATS": "1"}
    from lore_lab.rollout.vllm_colocate import keep_weights_loose

    keep_weights_loose()
    model, port = sys.argv[1:]
    sys.argv = [
        "api_server", "--model", model, "--served-model-name", "policy", "--host", "127.0.0.1", "--port", port, "--max-model-len", "2048",
        "--logprobs-mode", "processed_logprobs", "--max-num-seqs", "32", "--dtype", "float32", "--enforce-eager",
    ]  # fmt: skip
    runpy.run_module("vllm.entrypoints.openai.api_server", run_name="__main__")
