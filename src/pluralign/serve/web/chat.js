// ---- The chat: the answer is written again when the weights change ----
const MOST_CARDS = 6, MOST_EARLIER = 30;

class Chat {
  constructor(config, units) {
    const names = config.objectives, kept = saved.read(), mine = String(kept.objectives) === String(names) ? kept : {};
    // Another model, at the same address, did not write these.
    const own = mine.model === config.model ? mine : {};
    this.model = config.model;
    this.rewardNames = config.rewards;
    this.units = units;
    this.past = [];
    this.earlier = own.earlier ?? [];
    this.turns = own.turns ?? [];
    this.front = new Front($("chat-front"), units, names);
    this.dials = new Dials($("chat-dials"), names, mine.weights ?? config.steering_weights, () => this.moved(), config.presets);
    this.fields = ["tokens", "temperature", "seed"].map($);
    $("relevance-field").hidden = !config.relevance;
    $("relevance").checked = Boolean(config.relevance && mine.relevance);
    $("tokens").max = config.new_tokens;
    $("tokens").value = Math.min(160, config.new_tokens);
    for (const name of ["prompt", "system", "tokens", "temperature", "seed"]) $(name).value = mine[name] ?? $(name).value;
    this.cards = [new Card(this, "Answer", this.dials.value, true)];
    this.hint("Write a prompt, then move the sliders: the answer is written again under each mix.");
    for (const [title, weights] of mine.pinned ?? []) this.add(title, weights);
    this.place();
    this.listen();
    this.open();
    this.front.show(this.dials.value);
    this.showTurns();
    this.showEarlier();
    $("unit").textContent = `Rewards ${units.words}. Bold: this answer; faint: the other answers to this prompt` +
      (units.front ? "; band: the range of the sweep’s means." : ".");
    $("unit").hidden = !this.rewardNames.length;
  }
  get live() { return this.cards[0]; }
  listen() {
    $("ask").addEventListener("submit", event => { event.preventDefault(); this.begin(); });
    $("stop").addEventListener("click", () => this.stop());
    $("another").addEventListener("click", () => { $("seed").value = Number($("seed").value) + 1; this.begin(); });
    for (const name of ["prompt", "system"]) {
      $(name).addEventListener("input", () => { this.changed(); this.save(); });
      $(name).addEventListener("keydown", event => {
        if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); this.begin(); }
      });
    }
    for (const field of this.fields) field.addEventListener("input", () => { accept(field, $(`${field.id}-wrong`)); this.save(); });
    $("relevance").addEventListener("change", () => { this.save(); if (this.asked) this.begin(); });
    $("pin").addEventListener("click", () => {
      let i = 1;
      while (this.cards.some(card => card.title === `Pinned mix ${i}`)) i += 1;
      this.pin(`Pinned mix ${i}`, this.dials.value);
    });
    $("equal").addEventListener("click", () => {
      const {names} = this.dials;
      this.pin("Unsteered: equal weights", Object.fromEntries(names.map(name => [name, 1 / names.length])));
    });
    $("back-turn").addEventListener("click", () => this.takeBack());
    $("new-conversation").addEventListener("click", () => { this.turns = []; $("prompt").value = ""; this.showTurns(); this.changed(); this.save(); $("prompt").focus(); });
    $("copy-link").addEventListener("click", () => this.share(asked => [linkTo(asked, this.dials.value), "link"]));
    $("copy-curl").addEventListener("click", () => this.share(asked => [curlOf(requestOf(this.model, asked, this.dials.value)), "curl command"]));
    $("copy-python").addEventListener("click", () => this.share(asked => [pythonOf(requestOf(this.model, asked, this.dials.value)), "Python code"]));
    addEventListener("hashchange", () => this.open());
  }
  // ---- What is asked ----
  // The request in the fields; undefined, with the focus on the field, if one is wrong.
  read() {
    const refused = [...this.fields, ...this.dials.inputs.map(one => one.typed)].find(field => wrong(field));
    if (refused) {
      if (this.fields.includes(refused)) accept(refused, $(`${refused.id}-wrong`));
      refused.focus();
      return undefined;
    }
    const [tokens, temperature, seed] = this.fields.map(field => Number(field.value));
    return {prompt: $("prompt").value, system: $("system").value, turns: this.turns, tokens, temperature, seed, relevance: $("relevance").checked};
  }
  same(a, b) { return JSON.stringify([...before(a), a.prompt]) === JSON.stringify([...before(b), b.prompt]); }
  begin() {
    const asked = this.read();
    if (!asked) return;
    if (!asked.prompt.trim()) { this.hint("Write a prompt first."); $("prompt").focus(); return; }
    if (!this.asked || !this.same(this.asked, asked)) this.fresh("");
    this.asked = asked;
    complain("", this);
    this.save();
    clearTimeout(this.timer);
    for (const card of this.cards) card.write(asked);
  }
  moved() {
    this.live.show(this.dials.value);
    this.front.show(this.dials.value);
    this.save();
    if (!this.asked) return;
    // The running request has the old weights.
    this.live.abort();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      const asked = this.read();
      if (!asked) return this.stop();
      complain("", this);
      this.asked = asked;
      this.live.write(asked);
    }, 180);
  }
  // The prompt is another one: its answers leave.
  changed() {
    if (!this.asked || this.same(this.asked, {...this.asked, prompt: $("prompt").value, system: $("system").value, turns: this.turns})) return;
    for (const card of this.cards) card.stop();
    this.fresh("Press Write for the answer to this prompt.");
  }
  fresh(hint) {
    clearTimeout(this.timer);
    this.asked = undefined;
    this.past = [];
    for (const card of this.cards) card.clear(hint);
    $("another").disabled = true;
  }
  hint(text) {
    for (const card of this.cards) card.text.dataset.empty = text;
  }
  stop() {
    clearTimeout(this.timer);
    for (const card of this.cards) card.stop();
  }
  showBusy() {
    if (!this.cards) return;
    $("stop").disabled = !this.cards.some(card => card.busy);
    $("another").disabled = !this.asked;
  }
  // ---- Several mixes side by side ----
  add(title, weights) {
    const card = new Card(this, title, weights);
    this.cards.push(card);
    return card;
  }
  pin(title, weights) {
    const card = this.add(title, weights);
    this.place();
    this.save();
    if (!this.asked) return;
    if (this.live.written && JSON.stringify(this.live.written.weights) === JSON.stringify(weights)) card.restore(this.live.written);
    else card.write(this.asked);
  }
  remove(card) {
    card.abort();
    this.cards.splice(this.cards.indexOf(card), 1);
    this.place();
    this.showBusy();
    this.save();
    $("pin").focus();
  }
  place() {
    $("cards").replaceChildren(...this.cards.map(card => card.place));
    $("pin").disabled = this.cards.length >= MOST_CARDS;
    $("equal").disabled = $("pin").disabled || this.cards.some(card => card.title.startsWith("Unsteered"));
  }
  score(rewards) {
    this.past.push(rewards);
    for (const card of this.cards) card.showRewards(this.past);
  }
  // ---- Several turns ----
  turn(card) {
    const {prompt, text} = card.written;
    this.turns = [...card.written.turns, {role: "user", content: prompt}, {role: "assistant", content: text}];
    $("prompt").value = "";
    this.fresh("Write the next prompt.");
    this.showTurns();
    this.save();
    $("prompt").focus();
  }
  takeBack() {
    $("prompt").value = this.turns.at(-2).content;
    this.turns = this.turns.slice(0, -2);
    this.fresh("Press Write for the answer to this prompt.");
    this.showTurns();
    this.save();
    $("prompt").focus();
  }
  showTurns() {
    $("conversation").hidden = !this.turns.length;
    $("turns").replaceChildren(...this.turns.map(({role, content}) =>
      make("li", {class: role}, make("b", {}, role === "user" ? "You" : this.model), make("div", {class: "prose"}, content.trimStart()))));
    if ($("system").value) $("system-box").open = true;
  }
  // ---- Earlier answers ----
  remember(answer) {
    this.earlier = [answer, ...this.earlier].slice(0, MOST_EARLIER);
    this.showEarlier();
    this.save();
  }
  showEarlier() {
    $("earlier").hidden = !this.earlier.length;
    $("earlier-count").textContent = `Earlier answers (${number(this.earlier.length, 0, 0)})`;
    $("earlier-list").replaceChildren(...this.earlier.map(answer => make("li", {},
      button(answer.prompt.slice(0, 80), () => this.restore(answer), {class: "back"}),
      make("span", {class: "muted"}, `${described(answer.weights)}, seed ${answer.seed}, ${answer.note}`),
      make("span", {class: "glimpse"}, answer.text.trim().slice(0, 160)))));
  }
  restore(answer) {
    this.stop();
    const others = !this.asked || !this.same(this.asked, answer);
    if (others) this.fresh("Press Write for the answer under this mix.");
    this.fill(answer);
    this.asked = {...answer};
    // The dials move without a new request: the answer is there.
    clearTimeout(this.timer);
    this.live.restore(answer);
    this.showBusy();
    this.save();
    this.live.place.scrollIntoView({block: "nearest"});
  }
  // ---- Links, code, and the tab's memory ----
  fill({weights, turns, relevance, ...texts}) {
    if (relevance !== undefined) $("relevance").checked = relevance && !$("relevance-field").hidden;
    for (const name of ["prompt", "system", "tokens", "temperature", "seed"]) {
      if (texts[name] === undefined) continue;
      $(name).value = texts[name];
      if ($(`${name}-wrong`)) accept($(name), $(`${name}-wrong`));
    }
    if (turns) this.turns = turns;
    if (weights) this.dials.set(this.dials.names.map(name => weights[name]));
    this.showTurns();
  }
  // A link fills the fields; it writes nothing by itself.
  open() {
    if (location.hash.length < 2) return;
    const fragment = location.hash;
    history.replaceState(null, "", location.pathname + location.search);
    select("chat");
    try {
      const found = readLink(fragment, this.dials.names);
      this.stop();
      this.fresh("Press Write for the answer to this prompt.");
      this.fill({system: "", turns: [], relevance: false, ...found});
      this.save();
    } catch (error) { complain(error.message, this); }
  }
  share(make) {
    const asked = this.read();
    if (asked) copy(...make(asked));
  }
  save() {
    const texts = Object.fromEntries(["prompt", "system", "tokens", "temperature", "seed"].map(name => [name, $(name).value]));
    saved.write({model: this.model, objectives: this.dials.names, weights: this.dials.value, turns: this.turns, earlier: this.earlier, relevance: $("relevance").checked, ...texts,
      pinned: this.cards.slice(1).map(card => [card.title, card.weights])});
  }
}
