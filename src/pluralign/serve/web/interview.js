// ---- "Ask me": weights from a few choices. The answers are kept in this tab, and sent whole with each request. ----
const ENDS = {
  number: "That was the last question.",
  information: "No further question would say much more.",
  pool: "No question is left.",
};

class Interview {
  // `known` is what the server says of its questions, `usual` the default weights if they were inferred.
  constructor(name, known, dials, usual) {
    const {names} = dials, kept = saved.read()[`${name}-interview`];
    const fits = known && known.objectives.length === names.length && names.every(one => known.objectives.includes(one));
    const mine = fits && kept?.pool === known.pool ? kept : {};
    dials.estimate = mine.estimate ?? usual;
    dials.show();
    if (!fits) return;
    this.name = name;
    this.known = known;
    this.dials = dials;
    // One entry per question: its key and the answer, null if it was skipped.
    this.given = mine.given ?? [];
    this.build($(`${name}-interview`));
    if (mine.open) this.open(false);
  }
  build(place) {
    const id = `${this.name}-question`;
    this.begin = button("Ask me", () => this.open(), {"aria-expanded": "false", "aria-controls": `${id}-box`});
    this.title = make("h2", {}, "Your choice");
    this.progress = make("p", {class: "muted", role: "status"});
    this.prompt = make("div", {class: "prose prompt", id, tabindex: "-1"});
    this.offers = make("div", {class: "offers", role: "group", "aria-labelledby": id});
    this.same = button("About the same", () => this.take("same"));
    this.skip = button("Skip", () => this.take(null));
    this.undoing = button("Undo", () => this.undo(), {"aria-label": "Undo the last answer"});
    this.using = button("Use these weights", () => this.use(), {class: "main"});
    this.again = button("Start over", () => { this.given = []; this.look(true); }, {class: "plain"});
    const close = button("Close", () => { this.close(); this.begin.focus(); }, {class: "plain"});
    this.box = make("div", {id: `${id}-box`, class: "box", hidden: ""},
      make("div", {class: "head"}, this.title, this.again, close),
      this.progress, this.prompt, this.offers,
      make("div", {class: "row"}, this.same, this.skip, this.undoing, this.using),
      make("p", {class: "hint muted"}, "The dials show the weights that your answers say so far, with 90% intervals. The mix stays as it was until you use them."));
    this.closed = make("div", {class: "bar-of"}, this.begin,
      make("span", {class: "muted"}, `Up to ${number(this.known.questions, 0, 0)} choices set the weights.`));
    place.append(this.closed, this.box);
    place.hidden = false;
  }
  open(focus = true) {
    this.closed.hidden = true;
    this.box.hidden = false;
    this.begin.setAttribute("aria-expanded", "true");
    this.save(true);
    this.look(focus);
  }
  close() {
    this.box.hidden = true;
    this.closed.hidden = false;
    this.begin.setAttribute("aria-expanded", "false");
    this.controller?.abort();
    this.dials.look(undefined);
    this.save(false);
  }
  take(answer) {
    if (!this.found?.question) return;
    this.given.push({question: this.found.question.key, answer});
    this.look(true);
  }
  undo() {
    this.given.pop();
    this.look(true);
  }
  use() {
    const {weights, intervals} = this.found, {dials} = this;
    dials.estimate = {weights, intervals};
    this.close();
    dials.set(dials.names.map(name => weights[name]));
    this.begin.focus();
  }
  save(open) {
    saved.write({[`${this.name}-interview`]: {pool: this.known.pool, given: this.given, open, estimate: this.dials.estimate}});
  }
  // The state of the page is that of the answers: the last request is the one that counts.
  async look(focus) {
    this.controller?.abort();
    const own = this.controller = new AbortController();
    this.save(true);
    this.found = undefined;
    this.enable();
    const answers = this.given.filter(one => one.answer !== null);
    const skipped = this.given.filter(one => one.answer === null).map(one => one.question);
    try {
      const answer = await ask("/pluralign/ask", {answers, skipped}, own.signal, words => { this.progress.textContent = words; });
      const found = await answer.json();
      if (own.signal.aborted) return;
      this.found = found;
      complain("", this);
    } catch (error) {
      if (own.signal.aborted) return;
      complain(error.message, this);
      this.progress.textContent = "The questions did not arrive.";
      this.enable();
      return;
    }
    this.show();
    if (focus) (this.found.question ? this.prompt : this.using).focus();
  }
  show() {
    const {question, end, answers, weights, intervals} = this.found;
    this.dials.look({weights, intervals});
    this.progress.textContent = question ? `Question ${number(answers + 1, 0, 0)} of at most ${number(this.known.questions, 0, 0)}`
      : `${ENDS[end]} In all: ${described(weights)}.`;
    this.title.textContent = question ? "Your choice" : "Your weights";
    this.prompt.textContent = question?.prompt ?? "";
    this.prompt.hidden = !question;
    const options = question?.options ?? [], two = options.length === 2;
    this.offers.classList.toggle("two", two);
    this.offers.replaceChildren(...options.map((option, i) => {
      const text = option.trimStart() || "(empty)", id = `${this.name}-offer-${i}`;
      if (!two) return button(text, () => this.take(i), {class: "option"});
      return make("div", {class: "offer"}, make("div", {class: "answer prose", id}, text),
        button(["First", "Second"][i], () => this.take(i), {"aria-describedby": id}));
    }));
    this.same.hidden = !question?.may_tie;
    this.skip.hidden = !question;
    this.enable();
  }
  enable() {
    this.box.setAttribute("aria-busy", String(!this.found));
    for (const one of [this.same, this.skip, ...this.offers.querySelectorAll("button")]) one.disabled = !this.found?.question;
    this.undoing.disabled = this.again.disabled = !this.given.length;
    this.using.disabled = !this.found?.answers;
  }
}
