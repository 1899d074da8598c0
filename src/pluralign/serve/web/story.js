// ---- The story: the probabilities of the agent's choices ----
class Story {
  constructor(story, units) {
    const names = story.objectives.map(objective => objective.name), {story: kept} = saved.read();
    const mine = kept?.title === story.title && String(kept.names) === String(names) ? kept : {};
    this.names = names;
    this.actions = mine.actions ?? [];
    this.title = story.title;
    this.usual = story.steering_intervals && story.steering_weights;
    this.front = new Front($("story-front"), units, names);
    this.dials = new Dials($("story-dials"), names, mine.weights ?? story.steering_weights,
      () => { this.front.show(this.dials.value); this.look(); });
    this.front.show(this.dials.value);
    this.offer(story.implied_dial);
    $("story-title").textContent = story.title;
    $("summary").textContent = story.summary;
    $("key").append(make("span", {}, "Bar: the mix. Marks: each policy alone:"),
      ...names.map((name, i) => make("span", {}, make("span", {class: "dot", colour: colour(i), "aria-hidden": "true"}), words(name))));
    $("choose").addEventListener("click", () => this.choose());
    $("back").addEventListener("click", () => this.go(this.actions.slice(0, -1)));
    $("again").addEventListener("click", () => this.go([]));
  }
  // The mix whose own choices the inferred weights explain best, with what was measured of it.
  offer(dial) {
    if (!dial) return;
    $("story-wish").hidden = false;
    $("story-wish").append(make("summary", {}, "The mix that acts by these weights"),
      make("p", {class: "hint muted"}, "The inferred weights explain this mix's own choices best. On four stories it did not serve people " +
        "better than the inferred weights in the units of their values: its regret was higher on each."),
      button(`Use ${described(dial)}`, () => this.dials.set(this.names.map(name => dial[name]))));
  }
  // The server says more of its own default weights, where they were inferred.
  weights() {
    const {value} = this.dials;
    return this.usual && this.names.every(name => Math.abs(value[name] - this.usual[name]) < 1e-9) ? {} : {steering_weights: value};
  }
  likeliest() { return this.found.mixed.indexOf(Math.max(...this.found.mixed)); }
  // By the mix of the dials: until its response is there, the choice waits.
  choose() {
    if (!this.found || this.found.ended) return;
    if (!this.stale || this.actions.length !== this.found.taken.length) { this.take(this.likeliest()); return; }
    this.choosing = true;
    if (!this.asking) this.look(true);
  }
  go(actions) {
    this.choosing = false;
    this.actions = actions;
    this.look();
  }
  take(action) {
    this.choosing = false;
    // The options are those of the last response: before the next one, a press would take one of another decision.
    if (this.actions.length !== this.found.taken.length) {
      if (!this.asking) this.look(true);
      return;
    }
    $("story-status").textContent = `Taken: ${this.found.options[action]}`;
    this.actions.push(action);
    this.look(true);
  }
  // One request at a time: if the sliders move faster than responses come, only the last position is requested.
  async look(focus = false) {
    this.focus ||= focus;
    saved.write({story: {title: this.title, names: this.names, actions: this.actions, weights: this.dials.value}});
    if (this.asking) { this.again = true; return; }
    this.asking = this.stale = true;
    let waited = false;
    do {
      this.again = false;
      try {
        const body = {actions: this.actions, ...this.weights()};
        const answer = await ask("/pluralign/story/play", body, undefined, words => {
          waited = true;
          $("story-status").textContent = words;
        });
        this.found = await answer.json();
        complain("", this);
        this.stale = this.again;
        this.show();
      } catch (error) { complain(error.message, this); }
    } while (this.again);
    this.asking = false;
    if (waited) $("story-status").textContent = "";
    // What is shown after an error is of an earlier request.
    $("options").classList.toggle("old", this.stale);
    // The buttons have been replaced: keyboard focus moves to the start of the text.
    if (this.focus) $("scene").focus();
    this.focus = false;
    const {choosing} = this;
    this.choosing = false;
    if (choosing && !this.stale && !this.found.ended) this.take(this.likeliest());
  }
  show() {
    const {found} = this;
    if ($("scene").textContent !== found.text) $("scene").textContent = found.text;
    const past = $("past");
    past.hidden = !found.taken.length;
    past.querySelector("summary").textContent = `${found.taken.length} ${found.taken.length === 1 ? "choice" : "choices"} so far`;
    past.querySelector("div").replaceChildren(...found.taken.flatMap(step => [
      make("div", {class: "prose"}, step.text), make("p", {class: "took"}, `→ ${step.option}`)]));
    this.showOptions();
    $("verdict").hidden = found.decided !== false;
    $("verdict").textContent = found.decided === false ? "The inferred weights do not decide here between: " +
      found.undominated.map(i => `“${found.options[i]}”`).join(", ") : "";
    $("back").disabled = $("again").disabled = !this.actions.length;
    $("choose").disabled = found.ended;
    $("sum").replaceChildren(make("span", {class: "muted"}, found.ended ? "The end. In all:" : "So far:"),
      ...this.names.map(name => make("span", {}, `${words(name)} `, make("b", {}, number(found.returns[name], 0, 2)))));
  }
  showOptions() {
    const {found} = this;
    const same = this.shown && this.shown.length === found.options.length && this.shown.every((o, i) => o === found.options[i])
      && this.depth === found.taken.length;
    if (!same) {
      this.shown = found.options;
      this.depth = found.taken.length;
      this.rows = found.options.map((option, i) => {
        const fill = make("span", {class: "fill"}), share = make("span", {class: "share"});
        const marks = this.names.map((_, j) => make("span", {class: "own", colour: colour(j)}));
        const button = make("button", {type: "button", class: "option"},
          make("span", {class: "line"}, make("span", {}, option), share),
          make("span", {class: "bar", "aria-hidden": "true"}, fill, ...marks));
        button.addEventListener("click", () => this.take(i));
        return {button, fill, share, marks, option};
      });
      $("options").replaceChildren(...this.rows.map(row => make("li", {}, row.button)));
    }
    // Each policy's shares, and the mix's, sum to 100 %.
    const shares = found.options.length ? rounded(found.mixed) : [];
    const alone = Object.fromEntries(this.names.map(name => [name, found.options.length ? rounded(found.probabilities[name]) : []]));
    const best = found.options.length ? this.likeliest() : -1;
    this.rows.forEach((row, i) => {
      row.fill.style.width = `${100 * found.mixed[i]}%`;
      row.share.textContent = percent(shares[i]);
      row.button.classList.toggle("likeliest", i === best);
      this.names.forEach((name, j) => { row.marks[j].style.left = `${100 * found.probabilities[name][i]}%`; });
      row.button.setAttribute("aria-label", `${row.option} Taken with ${percent(shares[i])}; ` +
        this.names.map(name => `${words(name)} alone ${percent(alone[name][i])}`).join(", "));
    });
  }
}

