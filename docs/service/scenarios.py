"""Three ways through the gen-AI services, against a running `dure serve`.

    python docs/service/scenarios.py http://127.0.0.1:8000 dure_...

Without a key: for a service with DURE_AUTH=off.
"""

import json
import sys
import urllib.error
import urllib.request

base = sys.argv[1].rstrip("/") + "/api/v1/gen-ai"
key = sys.argv[2] if len(sys.argv) > 2 else ""


def call(path, body=None):
    headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(base + path, data, headers)) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refused:
        return refused.code, json.load(refused)


# 1. List the models, choose one, build a strategy.
status, listed = call("/models")
chosen = next(one for one in listed["models"] if one["model_id"] == "gpt-4o-mini")
goal = {"goal": "Win back customers who left last year.", "model_id": chosen["model_id"]}
status, made = call("/strategies", goal)
assert (status, made["model_id"]) == (200, "gpt-4o-mini"), made
print("1.", made["model_id"], "$" + made["usage"]["cost_usd"], made["strategy"][:60])

# 2. A model that the service may not use is refused, and nothing is sent.
status, refused = call("/strategies", {**goal, "model_id": "o1-preview"})
assert status == 400, refused
assert refused["error"]["message"] == "Model o1-preview not allowed for service StrategyBuilder"
print("2.", status, refused["error"]["message"])

# 3. What a service may use, and that each of it is let in.
status, policy = call("/models/StrategyBuilder")
allowed = [one["model_id"] for one in policy["allowed_models"]]
assert policy["default_model"] in allowed
for model in ("gpt-4o-mini", "gpt-4o"):
    status, answer = call("/strategies", {**goal, "model_id": model, "max_tokens": 20})
    assert status == (200 if model in allowed else 400), answer
print("3.", policy["service_name"], "may use", ", ".join(allowed))
