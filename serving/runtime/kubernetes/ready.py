"""Readiness of a language model's server: exits with 0 when it has just made a token.

``python -m serving.runtime.kubernetes.ready --url http://127.0.0.1:8000 --model NAME``. Runs in the server's own
container every few seconds, so it imports the standard library only.
"""

from __future__ import annotations

import argparse
import json
import sys
import urllib.error
import urllib.request


def problem(url: str, model: str, timeout_s: float) -> str | None:
    """Why the server at ``url`` cannot answer for ``model``, or None when it just did."""
    body = json.dumps({"model": model, "prompt": "Hello", "max_tokens": 1, "temperature": 0}).encode()
    request = urllib.request.Request(f"{url}/v1/completions", body, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=timeout_s):
            pass
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:
            made = int(json.load(answer)["usage"]["completion_tokens"])
    except urllib.error.HTTPError as error:
        return f"{error.url} answers {error.code}"
    except OSError as error:
        return f"no answer: {error}"
    except (ValueError, KeyError, TypeError) as error:
        return f"the answer is no completion: {error}"
    return None if made > 0 else "a completion came back without a token"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--timeout", type=float, default=10.0)
    options = parser.parse_args()
    found = problem(options.url, options.model, options.timeout)
    if found is not None:
        print(found, file=sys.stderr)
    return 0 if found is None else 1


if __name__ == "__main__":
    sys.exit(main())
