"use strict";
// Output of models and stories is always set as text, never as HTML.
const $ = id => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
let token = "";

function make(name, attributes = {}, ...children) {
  const one = attributes.svg ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "svg") continue;
    if (key === "colour") one.style.setProperty("--c", value);
    else one.setAttribute(key, value);
  }
  one.append(...children);
  return one;
}
const draw = (name, attributes, ...children) => make(name, {...attributes, svg: true}, ...children);
function button(text, press, attributes = {}) {
  const one = make("button", {type: "button", ...attributes}, text);
  one.addEventListener("click", press);
  return one;
}

// The first six colours are chosen; further ones turn the hue by the golden angle and alternate in lightness.
const colour = i => i < 6 ? `var(--c${i})`
  : `oklch(calc(var(--light) + ${[0, .09, -.06][i % 3]}) .13 ${(20 + i * 137.508).toFixed(1) % 360})`;
const words = name => name.replaceAll("_", " ");
const total = numbers => numbers.reduce((sum, one) => sum + one, 0);

// ---- Numbers, in the reader's locale ----
const minus = text => text.replace("-", "\u2212");
const number = (x, least, most) =>
  minus(new Intl.NumberFormat(undefined, {minimumFractionDigits: least, maximumFractionDigits: most}).format(x));
const short = x => { if (Math.abs(x) < 0.005) x = 0; const digits = Math.abs(x) >= 100 ? 0 : Math.abs(x) >= 10 ? 1 : 2; return number(x, digits, digits); };
const percent = (share, digits = 0) =>
  new Intl.NumberFormat(undefined, {style: "percent", maximumFractionDigits: digits}).format(share);
// Shares rounded to percent so that they sum to 1, by largest remainders.
function rounded(shares, digits = 0) {
  const units = 100 * 10 ** digits, sum = total(shares);
  const exact = shares.map(share => share / sum * units), whole = exact.map(one => Math.floor(one + 1e-9));
  const order = shares.map((_, i) => i).sort((a, b) => exact[b] - whole[b] - exact[a] + whole[a]);
  for (const i of order.slice(0, Math.round(units - total(whole)))) whole[i] += 1;
  return whole.map(one => one / units);
}
// Factors by what is at stake in the prompt: those below 1.
function factorsOf(factors) {
  const below = Object.entries(factors).filter(([, factor]) => factor < 1);
  return below.length ? below.map(([name, factor]) => `${words(name)} × ${number(factor, 0, 2)}`).join(", ") : "everything";
}

function described(weights) {
  const shares = rounded(Object.values(weights));
  return Object.keys(weights).map((name, i) => [name, shares[i]]).filter(([, share]) => share > 0)
    .map(([name, share]) => `${words(name)} ${percent(share)}`).join(", ");
}

// ---- Errors, and numbers that are refused in their field ----
let complainant;
// What succeeds takes back its own error, and no other's; without a name, any.
function complain(message, by) {
  if (!message && by && by !== complainant) return;
  complainant = by;
  $("error-text").textContent = message;
  $("error").hidden = !message;
}
function wrong(field) {
  const {badInput, valueMissing, rangeUnderflow, rangeOverflow, stepMismatch} = field.validity;
  const whole = field.step === "1";
  if (!(badInput || valueMissing || rangeUnderflow || rangeOverflow || whole && stepMismatch)) return "";
  return `${whole ? "A whole number" : "A number"} from ${number(+field.min, 0, 0)} to ${number(+field.max, 0, 0)}`;
}
// Shows what is wrong with a number next to its field; returns whether nothing is.
function accept(field, note) {
  const message = wrong(field);
  note.textContent = message;
  field.toggleAttribute("aria-invalid", Boolean(message));
  if (message) field.setAttribute("aria-invalid", "true");
  return !message;
}

// ---- The server ----
// Like a request, it ends with the signal.
const pause = (seconds, signal) => new Promise((done, fail) => {
  const timer = setTimeout(done, 1000 * seconds);
  signal?.addEventListener("abort", () => { clearTimeout(timer); fail(signal.reason); }, {once: true});
});
// A server that is busy says when it has a place; the request is sent once more then. `say` shows the wait.
async function ask(path, body, signal, say = () => {}) {
  const headers = token ? {Authorization: `Bearer ${token}`} : {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  for (let first = true; ; first = false) {
    let answer;
    try {
      answer = await fetch(path, {
        method: body === undefined ? "GET" : "POST", headers, signal,
        body: body === undefined ? undefined : JSON.stringify(body),
      });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Error("The server does not respond.");
    }
    if (answer.ok) return answer;
    const seconds = Number(answer.headers.get("Retry-After"));
    if (first && answer.status === 429 && seconds > 0) {
      say(`The server is busy. Trying again in ${number(seconds, 0, 0)} ${seconds === 1 ? "second" : "seconds"}…`);
      await pause(seconds, signal);
      say("Trying again…");
      continue;
    }
    let message = `The server responded with status ${answer.status}.`;
    try { message = (await answer.json()).error.message; } catch { /* no JSON: the status must do */ }
    const error = new Error(message);
    error.status = answer.status;
    throw error;
  }
}

async function* events(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "", complete = false;
  for (;;) {
    // A connection that fails is one that ends too early.
    const {done, value} = await reader.read().catch(() => ({done: true}));
    if (done && complete) return;
    if (done) throw new Error("The answer broke off: the connection to the server ended.");
    const parts = (rest + value).split(/\r?\n\r?\n/);
    rest = parts.pop();
    for (const part of parts) {
      // A proxy adds comments, which keep the connection open.
      const lines = part.split(/\r?\n/).filter(line => line.startsWith("data:"));
      if (!lines.length) continue;
      const data = lines.map(line => line.slice(5).trim()).join("\n");
      complete ||= data === "[DONE]";
      if (!complete) yield JSON.parse(data);
    }
  }
}
