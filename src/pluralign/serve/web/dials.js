// ---- The sliders and typed weights: a point on the simplex ----
class Dials {
  constructor(place, names, weights, moved, presets = {}, {title = "Weights", noun = "Weight of"} = {}) {
    this.names = names;
    this.noun = noun;
    this.moved = [moved];
    this.presets = presets;
    this.digits = 0;
    this.weights = this.kept = names.map(name => weights[name] ?? 0);
    this.before = [];
    this.parts = names.map((_, i) => make("span", {colour: colour(i)}));
    this.undoing = button("undo", () => this.undo(), {class: "plain"});
    this.equal = button("equal", () => this.set(names.map(() => 1 / names.length)), {class: "plain"});
    place.classList.toggle("few", names.length <= 3);
    place.append(
      make("div", {class: "head"}, make("h2", {id: `${place.id}-title`}, title), ...this.choice(), this.undoing, this.equal),
      make("div", {class: "mix", "aria-hidden": "true"}, ...this.parts));
    this.inputs = names.map((name, i) => this.dial(place, name, i));
    place.addEventListener("keydown", event => {
      // In a field that is typed into, the browser's own undo is meant.
      if (event.key !== "z" || !(event.ctrlKey || event.metaKey) || event.target.type === "number") return;
      event.preventDefault();
      this.undo();
    });
    this.show();
  }
  choice() {
    const names = Object.keys(this.presets);
    if (!names.length) return [];
    this.select = make("select", {"aria-label": "Preset"}, make("option", {value: ""}, "preset"),
      ...names.map((name, i) => make("option", {value: i + 1}, name)));
    this.select.addEventListener("change", () => {
      const chosen = this.presets[names[this.select.value - 1]];
      if (chosen) this.set(this.names.map(name => chosen[name] ?? 0));
    });
    return [this.select];
  }
  dial(place, name, i) {
    const id = `${place.id}-${i}`;
    const input = make("input", {id, type: "range", min: 0, max: 100, step: 1, colour: colour(i)});
    const typed = make("input", {type: "number", min: 0, max: 100, step: "any", required: "",
      "aria-label": `${this.noun} ${words(name)} in percent`, "aria-describedby": `${id}-wrong`});
    const note = make("small", {class: "wrong", id: `${id}-wrong`, role: "alert"});
    input.addEventListener("input", () => { this.digits = 0; this.turn(i, input.value / 100); });
    typed.addEventListener("input", () => accept(typed, note));
    typed.addEventListener("change", () => {
      if (!accept(typed, note)) return;
      this.digits = Math.min(2, (typed.value.split(".")[1] ?? "").length);
      this.turn(i, typed.value / 100);
    });
    const range = make("span", {class: "range"}), mean = make("span", {class: "mean"});
    const bar = make("div", {class: "interval", "aria-hidden": "true"}, range, mean);
    place.append(make("div", {class: "dial", colour: colour(i)},
      make("label", {for: id}, make("span", {class: "dot", "aria-hidden": "true"}), words(name)),
      make("span", {class: "typed"}, typed, make("span", {"aria-hidden": "true"}, "%")), input, bar, note));
    return {input, typed, note, bar, range, mean};
  }
  // The others keep their proportions; those before this weight was 100 % if they are all zero now.
  turn(i, value) {
    const others = weights => weights.map((w, j) => j === i ? 0 : w);
    let rest = others(this.weights);
    if (total(rest) > 1e-9) this.kept = this.weights;
    else rest = others(this.kept);
    const sum = total(rest), equal = 1 / (this.names.length - 1);
    this.set(this.weights.map((_, j) => j === i ? value : (sum > 1e-9 ? rest[j] / sum : equal) * (1 - value)), i);
  }
  // One gesture is one step of undo: moves of one dial in quick succession.
  set(weights, dial = -1) {
    const now = performance.now();
    if (dial < 0 || dial !== this.last || now > this.until) this.before.push(this.weights);
    [this.last, this.until] = [dial, now + 1000];
    this.change(weights);
  }
  undo() {
    if (!this.before.length || this.preview) return;
    this.last = -1;
    this.change(this.before.pop());
  }
  change(weights) {
    this.weights = weights;
    this.show();
    for (const told of this.moved) told();
  }
  // The dials show these weights with their intervals, and cannot be moved, until they show their own again.
  look(preview) {
    this.preview = preview;
    this.show();
  }
  show() {
    const weights = this.preview ? this.names.map(name => this.preview.weights[name]) : this.weights;
    const shares = rounded(weights, this.digits), fixed = Boolean(this.preview);
    // Intervals belong to inferred weights: once a dial has moved, they are hidden.
    const known = this.preview ?? this.estimate;
    const inferred = known && this.names.every((name, i) => Math.abs((known.weights[name] ?? 0) - weights[i]) < 1e-6);
    weights.forEach((w, i) => {
      const {input, typed, note, bar, range, mean} = this.inputs[i];
      let share = percent(shares[i], this.digits);
      input.disabled = typed.disabled = fixed || this.names.length === 1;
      bar.hidden = !inferred;
      if (inferred) {
        const [low, high] = known.intervals[this.names[i]];
        range.style.left = `${100 * low}%`;
        mean.style.left = `${100 * w}%`;
        range.style.width = `${100 * (high - low)}%`;
        share += `, 90% interval from ${percent(low)} to ${percent(high)}`;
      }
      if (Math.abs(input.value - 100 * w) > 0.5 || document.activeElement !== input) input.value = 100 * w;
      input.setAttribute("aria-valuetext", share);
      typed.value = +(100 * shares[i]).toFixed(this.digits);
      accept(typed, note);
      this.parts[i].style.flexBasis = `${100 * w}%`;
    });
    this.undoing.disabled = fixed || !this.before.length;
    this.equal.disabled = fixed;
    if (!this.select) return;
    this.select.disabled = fixed;
    const same = preset => this.names.every((name, i) => Math.abs((preset[name] ?? 0) - this.weights[i]) < 1e-6);
    this.select.value = Object.values(this.presets).findIndex(same) + 1 || "";
  }
  // The first field with a wrong number.
  get refused() {
    return this.inputs.map(one => one.typed).find(wrong);
  }
  get value() {
    return Object.fromEntries(this.names.map((name, i) => [name, this.weights[i]]));
  }
}
