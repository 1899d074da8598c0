// ---- One answer: the text that one mix writes to the prompt ----
class Card {
  // Of several cards, one follows the dials ("live"); the others keep their weights.
  constructor(chat, title, weights, live = false) {
    this.chat = chat;
    this.live = live;
    this.weights = weights;
    const named = name => live ? {id: name} : {};
    this.bar = make("div", {class: "mix", "aria-hidden": "true"});
    this.text = make("div", {class: "answer prose", role: "region", "aria-label": title, "aria-busy": "false",
      "data-empty": "No answer yet.", ...named("answer")});
    this.status = make("p", {class: "status muted", role: "status", ...named("status")});
    this.worth = make("div", {class: "worth", ...named("worth")});
    this.reply = button("Reply to this answer", () => chat.turn(this), {class: "plain", hidden: ""});
    const head = make("div", {class: "head"}, make("h2", {}, title));
    if (!live) head.append(
      button("use", () => chat.dials.set(chat.dials.names.map(name => this.weights[name])), {class: "plain", "aria-label": `Set the dials to: ${title}`}),
      button("remove", () => chat.remove(this), {class: "plain", "aria-label": `Remove: ${title}`}));
    this.place = make("article", {class: live ? "card live" : "card"}, head, this.bar, this.text, this.status, this.reply, this.worth);
    this.title = title;
    this.show(weights);
  }
  show(weights) {
    this.weights = weights;
    if (!this.live) this.status.textContent = described(weights);
    this.bar.replaceChildren(...Object.values(weights).map((w, i) => {
      const part = make("span", {colour: colour(i)});
      part.style.flexBasis = `${100 * w}%`;
      return part;
    }));
  }
  get busy() { return this.text.getAttribute("aria-busy") === "true"; }
  set busy(is) {
    this.text.setAttribute("aria-busy", String(is));
    this.chat.showBusy();
  }
  abort() {
    if (this.controller) this.controller.abort();
    this.controller = undefined;
  }
  // No text, for a new prompt.
  clear(hint) {
    this.abort();
    this.written = undefined;
    this.rewards = undefined;
    this.text.textContent = "";
    this.text.classList.remove("old");
    this.status.textContent = this.live ? "" : described(this.weights);
    this.text.dataset.empty = hint;
    this.reply.hidden = true;
    this.worth.replaceChildren();
    this.busy = false;
  }
  stop() {
    if (!this.busy) return;
    this.abort();
    this.busy = false;
    if (this.partial) this.keep("stopped");
    // If the dials have moved since, the text is not that of this card's mix.
    if (!this.partial || this.under !== this.weights) this.clear("No answer.");
    this.status.textContent = "Stopped.";
  }
  keep(note) {
    // By relevance, the mix that wrote is not the one that was asked for.
    this.written = {...this.asked, weights: this.under, mix: this.mix, text: this.partial, note};
    this.reply.hidden = false;
    this.text.classList.remove("old");
    this.chat.remember(this.written);
  }
  // Cards side by side may have answers of several seeds: the live one is written anew when the dials move.
  wrote(mix, note) { return `${described(mix)} · seed ${this.asked.seed} · ${note}`; }
  // An answer that was written earlier.
  restore(answer) {
    this.clear("");
    this.asked = answer;
    this.written = answer;
    this.text.textContent = answer.text || "(empty)";
    this.status.textContent = this.wrote(answer.mix ?? answer.weights, answer.note);
    this.reply.hidden = false;
    this.score(answer);
  }
  async write(asked) {
    this.abort();
    const own = this.controller = new AbortController();
    this.asked = asked;
    this.under = this.mix = this.weights;
    this.written = undefined;
    this.partial = "";
    this.reply.hidden = true;
    // Under another mix, the old text stays, faded, until the new one begins.
    this.text.classList.toggle("old", Boolean(this.text.textContent));
    this.busy = true;
    this.status.textContent = "Writing…";
    let usage, finish, factors;
    try {
      const body = {...requestOf(this.chat.model, asked, this.under), stream: true, stream_options: {include_usage: true}};
      const answer = await ask("/v1/chat/completions", body, own.signal, words => { this.status.textContent = words; });
      this.status.textContent = "Writing…";
      this.text.textContent = "";
      this.text.classList.remove("old");
      this.rewards = undefined;
      this.worth.replaceChildren();
      for await (const chunk of events(answer)) {
        if (chunk.error) throw new Error(chunk.error.message);
        this.mix = chunk.steering_weights;
        factors = chunk.steering_relevance;
        usage = chunk.usage ?? usage;
        const choice = chunk.choices[0];
        if (!choice) continue;
        finish = choice.finish_reason ?? finish;
        if (choice.delta.content) { this.partial += choice.delta.content; this.text.textContent = this.partial.trimStart(); }
      }
    } catch (error) {
      if (own.signal.aborted) return;
      complain(error.message, this.chat);
      if (!this.partial) { this.clear("No answer: the request failed."); return; }
      this.busy = false;
      this.keep("broken off");
      this.status.textContent = this.wrote(this.mix, "broken off");
      return;
    }
    if (own !== this.controller) return;
    this.busy = false;
    if (!this.partial) this.text.textContent = "(empty)";
    const note = `${usage ? number(usage.completion_tokens, 0, 0) : "?"} tokens${finish === "length" ? ", cut off at the limit" : ""}${factors ? ` · at stake: ${factorsOf(factors)}` : ""}`;
    this.status.textContent = this.wrote(this.mix, note);
    this.keep(note);
    await this.score(this.written);
  }
  async score(answer) {
    const {chat} = this;
    if (!chat.rewardNames.length) return;
    const own = this.controller ??= new AbortController();
    try {
      const history = before(answer);
      const body = {prompt: answer.prompt, answer: answer.text, ...(history.length ? {history} : {})};
      const {rewards} = await (await ask("/pluralign/rewards", body, own.signal, words => { this.worth.textContent = words; })).json();
      if (own.signal.aborted) return;
      this.rewards = Object.fromEntries(Object.entries(rewards).map(([name, {reward, sigma}]) =>
        [name, {value: chat.units.value(name, reward), sigma: chat.units.spread(name, sigma)}]));
      chat.score(this.rewards);
    } catch (error) {
      if (own.signal.aborted) return;
      this.worth.replaceChildren();
      complain(error.message, chat);
    }
  }
  // All cards have one axis per objective: the sweep's range, and all answers to the prompt.
  showRewards(past) {
    if (!this.rewards) return;
    this.worth.replaceChildren(...this.chat.rewardNames.flatMap(name => {
      const {value, sigma} = this.rewards[name], i = this.chat.dials.names.indexOf(name);
      const spread = sigma ? ` ± ${short(sigma)}` : "";
      return [make("span", {}, this.chat.units.label(name)),
        make("span", {class: "number"}, value === null ? "not a number" : short(value) + spread),
        strip(value, past.map(one => one[name].value).filter(v => v !== null), this.chat.units.range(name), i < 0 ? "var(--ink)" : colour(i))];
    }));
  }
}

// An axis with the sweep's range as a band, this answer's reward, and those of the others.
function strip(value, known, range, fill) {
  const low = Math.min(...known, ...range), high = Math.max(...known, ...range);
  if (!isFinite(low)) return make("span", {});
  const at = v => `${high > low ? 3 + 94 * (v - low) / (high - low) : 50}%`;
  const one = draw("svg", {"aria-hidden": "true"},
    draw("line", {x1: "0%", x2: "100%", y1: 10, y2: 10, stroke: "var(--rule)", "stroke-width": 2}));
  if (range.length) one.append(draw("line", {class: "band", x1: at(range[0]), x2: at(range[1]), y1: 10, y2: 10, stroke: "var(--rule)", "stroke-width": 9}));
  one.append(...known.map(v => draw("circle", {cx: at(v), cy: 10, r: 4, fill: "var(--muted)", opacity: .4})));
  if (high > low) one.append(draw("text", {x: "0%", y: 30}, short(low)), draw("text", {x: "100%", y: 30, "text-anchor": "end"}, short(high)));
  if (value !== null) {
    const dot = draw("circle", {class: "this", cx: at(value), cy: 10, r: 7});
    dot.style.fill = fill;
    one.append(dot);
  }
  return one;
}
