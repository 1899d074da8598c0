// ---- Requests, and what is kept of them: the tab's memory, links, code ----

// The messages before the prompt.
const before = asked => [...(asked.system.trim() ? [{role: "system", content: asked.system}] : []), ...asked.turns];

function requestOf(model, asked, weights) {
  return {
    model, messages: [...before(asked), {role: "user", content: asked.prompt}], steering_weights: weights,
    max_tokens: asked.tokens, temperature: asked.temperature, seed: asked.seed,
    ...(asked.relevance ? {steering_relevance: true} : {}),
  };
}

const saved = {
  read() {
    try { return JSON.parse(sessionStorage.getItem("pluralign")) ?? {}; } catch { return {}; }
  },
  write(part) {
    // Storage may be full or forbidden; the page works without it.
    try { sessionStorage.setItem("pluralign", JSON.stringify({...this.read(), ...part})); } catch { /* nothing is kept */ }
  },
};

// A user's message and the answer to it, in turn: the last two are taken back together.
const isTurn = (turn, i) => turn?.role === ["user", "assistant"][i % 2] && typeof turn.content === "string";

// A link holds a request in its fragment, which browsers do not send.
function linkTo(asked, weights) {
  const mix = Object.entries(weights).filter(([, w]) => w > 0).map(([name, w]) => `${name}=${+w.toFixed(6)}`).join(",");
  const parts = new URLSearchParams({prompt: asked.prompt, weights: mix, seed: asked.seed, tokens: asked.tokens, temperature: asked.temperature});
  if (asked.system) parts.set("system", asked.system);
  if (asked.relevance) parts.set("relevance", "1");
  if (asked.turns.length) parts.set("turns", JSON.stringify(asked.turns));
  return `${location.origin}${location.pathname}#${parts}`;
}

// What a link's fragment asks for; an Error names what is wrong with it.
function readLink(fragment, names) {
  const parts = new URLSearchParams(fragment.replace(/^#/, "")), found = {};
  for (const name of ["prompt", "system"]) if (parts.has(name)) found[name] = parts.get(name);
  for (const name of ["seed", "tokens", "temperature"]) if (parts.has(name)) found[name] = parts.get(name);
  if (parts.has("relevance")) found.relevance = parts.get("relevance") === "1";
  if (parts.has("turns")) {
    try { found.turns = JSON.parse(parts.get("turns")); } catch { found.turns = undefined; }
    if (!Array.isArray(found.turns) || found.turns.length % 2 || !found.turns.every(isTurn)) throw new Error("The turns of the link cannot be read.");
  }
  if (parts.has("weights")) {
    const pairs = parts.get("weights").split(",").map(pair => pair.split("="));
    const unknown = pairs.find(([name]) => !names.includes(name));
    if (unknown) throw new Error(`The link has a weight of ${unknown[0]}, which this server does not have.`);
    const weights = Object.fromEntries(pairs.map(([name, w]) => [name, Number(w)])), sum = total(Object.values(weights));
    if (!Object.values(weights).every(w => w >= 0) || Math.abs(sum - 1) > 1e-4) throw new Error("The weights of the link do not sum to 1.");
    found.weights = Object.fromEntries(names.map(name => [name, (weights[name] ?? 0) / sum]));
  }
  return found;
}

function curlOf(body) {
  const quoted = JSON.stringify(body, null, 2).replaceAll("'", "'\\''");
  const access = token ? ` \\\n  -H "Authorization: Bearer $PLURALIGN_TOKEN"` : "";
  return `curl ${location.origin}/v1/chat/completions${access} \\\n  -H 'Content-Type: application/json' \\\n  -d '${quoted}'\n`;
}

// JSON of texts and numbers is Python, too.
function pythonOf({steering_weights: weights, steering_relevance: relevance, ...body}) {
  const fields = Object.entries(body).map(([name, value]) => `    ${name}=${JSON.stringify(value)},\n`).join("");
  return `${token ? "import os\n\n" : ""}import openai\n
client = openai.OpenAI(base_url="${location.origin}/v1", api_key=${token ? 'os.environ["PLURALIGN_TOKEN"]' : '"none"'})
answer = client.chat.completions.create(
${fields}    extra_body={"steering_weights": ${JSON.stringify(weights)}${relevance ? ', "steering_relevance": True' : ""}},
)
print(answer.choices[0].message.content)
`;
}

// To the clipboard; where the browser has none (plain http), into a field to copy from.
async function copy(text, name) {
  $("copied").hidden = true;
  try {
    await navigator.clipboard.writeText(text);
    $("copy-status").textContent = `Copied: ${name}.`;
  } catch {
    $("copy-status").textContent = `The browser does not let this page copy; copy the ${name} from the field.`;
    $("copied").hidden = false;
    $("copied").value = text;
    $("copied").select();
  }
}
