// The three ways through the gen-AI services, by the generated client; ends with 1 if one fails.
import { client } from "./client/client.gen.js";
import * as dure from "./client/sdk.gen.js";

const [url, key] = process.argv.slice(2);
client.setConfig({ baseUrl: url, headers: { authorization: `Bearer ${key ?? ""}` } });

function must(condition: unknown, what: string): void {
  if (!condition) throw new Error(what);
  console.log("ok", what);
}

const calls = dure as unknown as Record<string, (options?: object) => Promise<any>>;
function named(start: string): (options?: object) => Promise<any> {
  const name = Object.keys(calls).find((one) => one.startsWith(start));
  if (name === undefined) throw new Error(`the client has no ${start}`);
  return calls[name];
}

const listed = await named("listModelsApiV1GenAiModels")();
const chosen = listed.data.models.find((one: any) => one.model_id === "gpt-4o-mini");
must(chosen?.tier === "mini", "models are listed");
const goal = { goal: "Win back customers who left.", model_id: chosen.model_id };
const made = await named("buildStrategy")({ body: goal });
must(made.data?.model_id === "gpt-4o-mini", "a strategy is built by the chosen model");
const refused = await named("buildStrategy")({ body: { ...goal, model_id: "o1-preview" } });
must(refused.response.status === 400, "a model that the service may not use is refused");
must(
  refused.error?.error?.message === "Model o1-preview not allowed for service StrategyBuilder",
  "the refusal names both",
);
