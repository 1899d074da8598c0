// ---- The tabs, and the beginning ----
function select(name) {
  for (const one of ["chat", "story"]) {
    const tab = $(`tab-${one}`), is = one === name;
    tab.setAttribute("aria-selected", String(is));
    tab.tabIndex = is ? 0 : -1;
    $(one).hidden = !is;
  }
  saved.write({tab: name});
}
for (const [name, other] of [["chat", "story"], ["story", "chat"]]) {
  $(`tab-${name}`).addEventListener("click", () => select(name));
  $(`tab-${name}`).addEventListener("keydown", event => {
    if (!["ArrowLeft", "ArrowRight"].includes(event.key)) return;
    select(other);
    $(`tab-${other}`).focus();
  });
}

// Default weights with their intervals, if they were inferred from choices.
const inferredOf = ({steering_weights: weights, steering_intervals: intervals}) => intervals ? {weights, intervals} : undefined;

async function begin() {
  let config;
  try {
    config = await (await ask("/pluralign/config")).json();
  } catch (error) {
    if (error.status !== 401) { complain(error.message); return; }
    if (token) complain("This token is wrong.");
    $("login").hidden = false;
    $("token").focus();
    return;
  }
  complain("");
  $("login").hidden = true;
  $("about").textContent = `${config.model}: ${config.objectives.map(words).join(", ")}`;
  const units = new Units(config.fronts.chat), chat = new Chat(config, units);
  new Interview("chat", config.ask, chat.dials, inferredOf(config));
  new Wish($("chat-wish"), config.suggest, chat.dials, units);
  if (config.story) {
    $("tabs").hidden = false;
    const story = new Story(config.story, new Units(config.fronts.story));
    new Interview("story", config.ask, story.dials, inferredOf(config.story));
    story.look();
  } else {
    $("chat").removeAttribute("role");
  }
  const {tab} = saved.read();
  select(config.story && tab === "story" ? "story" : "chat");
}
$("dismiss").addEventListener("click", () => complain(""));
$("login").addEventListener("submit", async event => {
  event.preventDefault();
  token = $("token").value;
  // A second press would begin a second page.
  $("enter").disabled = true;
  try { await begin(); } finally { $("enter").disabled = false; }
});
begin();
