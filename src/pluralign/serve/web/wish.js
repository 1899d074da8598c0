// ---- Dials of outcomes: the server suggests weights for what the answers should achieve ----
class Wish {
  // `known` is what the server says of its dial: from how many mixes of a sweep it predicts.
  constructor(place, known, dials, units) {
    if (!known) return;
    this.known = known;
    this.dials = dials;
    this.units = units;
    dials.moved.push(() => this.leave());
    this.said = make("p", {class: "hint muted", role: "status"});
    place.hidden = false;
    if (!known.predicts) {
      this.hint = "";
      place.append(make("summary", {}, "Suggested weights"),
        button(known.reads ? "Suggest weights for this prompt" : "Suggest weights", () => this.look({prompt: $("prompt").value})), this.said);
      place.open = true;
      if (known.reads) $("prompt").addEventListener("input", () => this.leave());
      return;
    }
    const inner = make("div", {id: "chat-wish-dials", role: "group", "aria-labelledby": "chat-wish-dials-title"});
    place.append(make("summary", {}, "Ask for outcomes"), inner, this.said);
    const equal = Object.fromEntries(dials.names.map(name => [name, 1 / dials.names.length]));
    this.wishes = new Dials(inner, dials.names, equal, () => this.moved(), {}, {title: "What matters to you", noun: "Importance of"});
    this.said.textContent = this.hint = "Set how much each outcome matters; the weights above follow.";
  }
  // What was said is of weights, or of a prompt, that are there no more.
  leave() {
    if (this.setting) return;
    clearTimeout(this.timer);
    this.controller?.abort();
    this.said.textContent = this.hint;
  }
  moved() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.look({steering_wish: this.wishes.value, normalize: true}), 120);
  }
  // The last move is the one that counts.
  async look(asked) {
    this.controller?.abort();
    const own = this.controller = new AbortController();
    try {
      const answer = await ask("/pluralign/suggest", asked, own.signal, () => {});
      const {steering_weights: weights, predicted} = await answer.json();
      if (own.signal.aborted || this.known.reads && asked.prompt !== $("prompt").value) return;
      complain("", this);
      this.setting = true;
      this.dials.set(this.dials.names.map(name => weights[name]));
      this.setting = false;
      if (!predicted) { this.said.textContent = `Suggested: ${described(weights)}.`; return; }
      const outcomes = Object.entries(predicted).map(([name, value]) => `${this.units.label(name)} ${short(this.units.value(name, value))}`).join(", ");
      this.said.textContent = `Predicted from ${number(this.known.weightings, 0, 0)} measured mixes, ${this.units.words}: ${outcomes}.`;
    } catch (error) {
      if (!own.signal.aborted) complain(error.message, this);
    }
  }
}
