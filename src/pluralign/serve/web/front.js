// ---- Units: the sweep's standardised rewards if it has them, otherwise the rewards' own ----
class Units {
  constructor(front) {
    this.scale = front?.scale;
    this.words = this.scale ? "in standard deviations of the base model’s rewards; 0 is their mean" : "in the rewards’ own units";
    this.front = front && {...front, exact_front: front.exact_front.map(row => this.all(row)),
      points: front.points.map(point => ({...point, returns: this.all(point.returns)}))};
  }
  value(name, raw) {
    const {origin, unit} = this.scale ?? {};
    return raw === null || origin?.[name] === undefined ? raw : (raw - origin[name]) / unit[name];
  }
  // An objective that the sweep does not have keeps its own unit.
  label(name) { return words(name) + (this.scale && this.scale.unit[name] === undefined ? " (in its own unit)" : ""); }
  spread(name, sigma) { return sigma && sigma / (this.scale?.unit[name] ?? 1); }
  all(row) { return Object.fromEntries(Object.entries(row).map(([name, v]) => [name, this.value(name, v)])); }
  // The range of an objective in the sweep's picture.
  range(name) {
    if (!this.front) return [];
    const rows = [...this.front.points.map(point => point.returns), ...this.front.exact_front];
    const values = rows.map(row => row[name]).filter(v => v !== undefined);
    return values.length ? [Math.min(...values), Math.max(...values)] : [];
  }
}

// The colour of a mix of objectives, each with its weight.
function blended(names, weights) {
  let mixed, sum = 0;
  for (const [i, name] of names.entries()) {
    const w = weights[name] ?? 0;
    if (!w) continue;
    sum += w;
    mixed = mixed ? `color-mix(in oklab, ${colour(i)} ${(100 * w / sum).toFixed(2)}%, ${mixed})` : colour(i);
  }
  return mixed ?? "var(--muted)";
}

// ---- The Pareto front of a sweep, with the current weights on it ----
class Front {
  constructor(place, units, names) {
    const {front} = units;
    if (!front) return;
    this.front = front;
    this.names = names;
    [this.x, this.y] = front.objectives;
    const rows = [...front.points.map(point => point.returns), ...front.exact_front];
    this.scale = [this.span(rows, this.x, 44, 288), this.span(rows, this.y, 228, 12)];
    this.now = draw("circle", {r: 8, fill: "none", stroke: "var(--ink)", "stroke-width": 2.5});
    this.caption = make("span", {});
    const dots = front.points.map(point => {
      const dot = draw("circle", {r: 4.5, cx: this.scale[0](point.returns[this.x]), cy: this.scale[1](point.returns[this.y])},
        draw("title", {}, `${described(point.weights)}: ${this.read(point.returns)}`));
      dot.style.fill = blended(names, point.weights);
      return dot;
    });
    place.append(
      make("h2", {}, "Results of a sweep"),
      draw("svg", {viewBox: "0 0 300 270", role: "img", "aria-label":
        `${words(this.x)} against ${words(this.y)}: ${front.points.length} mixes, and the current weights`},
        ...this.axes(rows), ...this.stairs(), this.line(), ...dots, this.now),
      make("figcaption", {}, this.caption,
        ` Line: mixes that no other mix dominates${front.objectives.length > 2 ? " in these two objectives" : ""}.${front.exact_front.length ? " Dashed: the exact front." : ""}`,
        ` Means over the sweep, ${units.words}.`));
    place.hidden = false;
  }
  span(rows, name, from, to) {
    const values = rows.map(row => row[name]);
    const low = Math.min(...values), high = Math.max(...values), wide = high - low || 1;
    return v => from + (to - from) * (0.05 + 0.9 * (v - low) / wide);
  }
  axes(rows) {
    const ends = name => { const v = rows.map(row => row[name]); return [Math.min(...v), Math.max(...v)]; };
    const label = (text, attributes) => draw("text", attributes, text);
    return [
      draw("path", {d: "M44 8V232H292", fill: "none", stroke: "var(--rule)"}),
      label(`${words(this.x)} →`, {x: 168, y: 266, "text-anchor": "middle"}),
      label(`${words(this.y)} →`, {x: 12, y: 120, "text-anchor": "middle", transform: "rotate(-90 12 120)"}),
      ...ends(this.x).map(v => label(short(v), {x: this.scale[0](v), y: 247, "text-anchor": "middle"})),
      ...ends(this.y).map(v => label(short(v), {x: 40, y: this.scale[1](v) + 4, "text-anchor": "end"})),
    ];
  }
  // By the two axes: with further objectives, a row that is beaten here may be the best in one of those.
  best(rows) {
    const {x, y} = this;
    const beaten = a => rows.some(b => b[x] >= a[x] && b[y] >= a[y] && (b[x] > a[x] || b[y] > a[y]));
    return rows.filter(row => !beaten(row)).sort((a, b) => a[x] - b[x]);
  }
  stairs() {
    const known = this.best(this.front.exact_front);
    if (!known.length) return [];
    const at = row => [this.scale[0](row[this.x]), this.scale[1](row[this.y])];
    let path = `M${at(known[0])}`;
    for (const row of known.slice(1)) path += `V${at(row)[1]}H${at(row)[0]}`;
    return [draw("path", {d: path, fill: "none", stroke: "var(--muted)", "stroke-dasharray": "3 3"},
      draw("title", {}, "the exact front"))];
  }
  line() {
    const best = this.best(this.front.points.map(point => point.returns));
    const at = row => `${this.scale[0](row[this.x])},${this.scale[1](row[this.y])}`;
    return draw("polyline", {points: best.map(at).join(" "), fill: "none", stroke: "var(--muted)"});
  }
  read(returns) {
    return this.front.objectives.map(name => `${words(name)} ${short(returns[name])}`).join(", ");
  }
  show(weights) {
    if (!this.front) return;
    const [returns, where] = this.names.length === 2 ? this.between(weights) : this.nearest(weights);
    this.now.setAttribute("cx", this.scale[0](returns[this.x]));
    this.now.setAttribute("cy", this.scale[1](returns[this.y]));
    this.caption.textContent = `Ring: the current weights (${where}): ${this.read(returns)}.`;
  }
  between(weights) {
    const name = this.names[0], at = point => point.weights[name] ?? 0, w = weights[name];
    const sorted = [...this.front.points].sort((a, b) => at(a) - at(b));
    const above = sorted.findIndex(point => at(point) >= w - 1e-9);
    if (above < 0 || (above === 0 && at(sorted[0]) > w + 1e-9)) return this.nearest(weights);
    const b = sorted[above], a = sorted[Math.max(0, above - 1)];
    if (Math.abs(at(b) - w) < 1e-9) return [b.returns, "measured"];
    const share = (w - at(a)) / (at(b) - at(a));
    const mixed = o => a.returns[o] + share * (b.returns[o] - a.returns[o]);
    return [Object.fromEntries(this.front.objectives.map(o => [o, mixed(o)])), "between measured mixes"];
  }
  nearest(weights) {
    const distance = point => this.names.reduce((sum, n) => sum + ((point.weights[n] ?? 0) - weights[n]) ** 2, 0);
    const best = this.front.points.reduce((best, point) => distance(point) < distance(best) ? point : best);
    return [best.returns, distance(best) < 1e-9 ? "measured" : "the nearest measured mix"];
  }
}

