"use strict";
// One question at a time, as with metrics. What is found is anybody's text: only textContent takes it.
const MANY = 6; // sentences of a query's answer before the others fold
const COMMON = new Set(("the and for was were are who what which when where how why did does has had have with from that this "
  + "they their its not but all any can into about than then them there").split(" "));
const back = element("button", "", "back"); // it moves to what a citation leads to
back.type = "button";
let turn = 0, current = null, sized = 0;

const stem = (word) => word.toLowerCase().replace(/(?<=\w{3})(?:es|s)$/, "");
const asked = (question) => new Set((question.match(/[\p{L}\p{N}]+/gu) || []).filter((word) => word.length > 2 && !COMMON.has(word.toLowerCase())).map(stem));

function marked(text, words) {
  const made = element("p");
  for (const part of text.split(/([\p{L}\p{N}]+)/u)) made.append(words.has(stem(part)) ? element("mark", part) : part);
  return made;
}

function go(target, from, number) {
  for (let up = target.parentElement; up; up = up.parentElement) if (up.tagName === "DETAILS") up.open = true;
  back.textContent = `back to [${number}]`;
  back.onclick = () => { from.focus(); from.scrollIntoView({ block: "nearest" }); };
  (target.querySelector(".spot") || target).append(" ", back);
  target.scrollIntoView({ block: "nearest" });
  target.focus({ preventScroll: true });
}

// A sentence whose [n] are buttons, as far as n is cited.
function cited(sentence, cites) {
  const made = element("p");
  for (const part of sentence.split(/(\[\d+\])/)) {
    const citation = cites.get(part);
    if (!citation) { made.append(part); continue; }
    const button = element("button", part, "cite");
    button.type = "button";
    button.title = citation.title;
    button.setAttribute("aria-label", `Source ${citation.number}: ${citation.title || citation.uid}`);
    button.addEventListener("click", () => go(target(citation), button, citation.number));
    made.append(button);
  }
  return made;
}

function target({ number, uid }) {
  const row = current.query && $("rows").tBodies[0].rows[number - 1];
  return row || [...document.querySelectorAll("[data-uid]")].find((one) => one.dataset.uid === uid) || $("headline");
}

function folded(summary, parts) {
  const made = element("details");
  made.append(element("summary", summary), ...parts);
  return made;
}

function answer(found) {
  const cites = new Map(found.citations.map((citation) => [`[${citation.number}]`, citation]));
  const lines = found.answer.split("\n").map((one) => cited(one, cites));
  const last = lines.length > MANY && !lines.at(-1).querySelector("button") ? lines.slice(-1) : []; // tells of what is not said
  const told = last.length ? lines.slice(0, -1) : lines;
  const more = told.slice(MANY);
  $("text").replaceChildren(...told.slice(0, MANY), ...(more.length ? [folded(`${more.length} more sentences`, more)] : []), ...last,
    ...(found.dropped.length ? [folded(`${plural(found.dropped.length, "sentence", "sentences")} of the model left out: not borne out by what is cited`,
      found.dropped.map((one) => element("p", one)))] : []));
}

function how(found, model) {
  if (found.query) return `Answered by the declared query ${found.query.query}`;
  if (found.by !== "extracts") return `Written by ${found.by} from the passages below; each sentence was checked against what it cites`;
  const said = found.citations.length ? "sentences taken from the passages below" : "nothing was found";
  return model ? `Extracts, for nothing that ${model} wrote is borne out: ${said}` : `Extracts: ${said}`;
}

function query(found) {
  $("why").hidden = !found;
  $("table").hidden = !found || !found.rows.length;
  $("rows").replaceChildren();
  if (!found) return "";
  $("why").open = false;
  $("description").textContent = found.description;
  const said = Object.entries(found.parameters).flatMap(([name, value]) => [element("dt", name), element("dd", shown(value))]);
  $("parameters").replaceChildren(element("dt", "The question is like"), element("dd", `${found.phrase} (${Math.round(found.score * 100)}%)`), ...said);
  $("cypher").textContent = found.cypher;
  const names = found.columns;
  const count = rows(["", ...names], found.rows.map((row, i) => [`${i + 1}`, ...names.map((name) => row[name])]));
  for (const row of $("rows").tBodies[0].rows) { row.tabIndex = -1; row.cells[0].className = "spot"; }
  return `${count}${found.truncated ? ", cut" : ""}`;
}

function passage(one, place, words, name) {
  const made = element("li", undefined, "passage"), title = element("h4", `${place}. ${one.title}`, "spot");
  made.tabIndex = -1;
  made.dataset.uid = one.uid;
  made.append(title, marked(one.text, words));
  const ranks = Object.entries(one.ranks).sort((a, b) => a[1] - b[1]).map(([method, rank]) => `${method} ${rank}`);
  if (ranks.length) made.append(element("p", `Found by, and at which place: ${ranks.join(", ")}`, "quiet"));
  if (one.path.length > 1) {
    const path = element("p", "Because the question names ", "quiet");
    one.path.forEach((uid, i) => {
      const last = i === one.path.length - 1, chip = element("span", last ? "this passage" : name(uid), "chip");
      chip.title = last ? one.title : `${name(uid)} (${uid})`;
      if (i) path.append(element("span", "→", "arrow"));
      path.append(chip);
    });
    made.append(path);
  }
  return made;
}

function report(one) {
  const made = element("article", undefined, "passage");
  made.tabIndex = -1;
  made.dataset.uid = one.uid;
  made.append(element("h4", one.title, "spot"), element("p", one.text));
  return made;
}

function draw() {
  const picture = current && drawn(current.graph, $("drawing").clientWidth);
  $("drawing").replaceChildren(...(picture ? [picture] : []));
}

function graph(found) {
  const made = subgraph(found.entities, found.neighbours), things = found.entities.filter((one) => !one.uid.startsWith("phrase:"));
  const named = things.map((one) => `${one.name || bare(one.uid)} (${one.kind}, by its ${one.how} “${one.matched}”)`);
  $("graph").hidden = !things.length;
  const left = made.left ? [`${plural(made.left, "further neighbour is", "further neighbours are")} in the list alone`] : [];
  const part = made.partial.map((kind) => `${spoken(kind.predicate)}, ${kind.told} of ${shown(kind.of)}${things.length > 1 ? ` at ${made.name(kind.from)}` : ""}`);
  $("named").textContent = [named.join("; "), ...left, ...(part.length ? [`Of many relations some are told: ${part.join("; ")}`] : [])].join(". ");
  $("listed").replaceChildren(...listed(made));
  $("edges").hidden = !made.all.length;
  return made;
}

function show(found, model) {
  const graphed = graph(found), words = asked(found.question);
  current = { ...found, graph: graphed };
  $("answer").hidden = false;
  $("headline").textContent = found.question;
  const told = [how(found, model), query(found.query), `version ${found.version}`];
  $("meta").textContent = told.filter(Boolean).join("; ");
  $("degraded").hidden = !found.degraded.length;
  $("degraded").textContent = `Not everything could be asked; this is what the rest gives. ${found.degraded.join("; ")}`;
  answer(found);
  draw();
  $("passages").replaceChildren(...found.passages.map((one, i) => passage(one, i + 1, words, graphed.name)));
  $("found-name").textContent = found.query ? `Passages that search finds as well (${found.passages.length})` : `Passages (${found.passages.length})`;
  $("found").hidden = !found.passages.length;
  $("found").open = !found.query;
  $("reports").replaceChildren(...found.reports.map(report));
  $("more-name").textContent = `Reports on communities (${found.reports.length})`;
  $("more").hidden = !found.reports.length;
  $("more").open = false;
  $("headline").focus();
}

$("ask").addEventListener("submit", async (event) => {
  event.preventDefault();
  const question = $("question").value.trim(), model = $("by").value, mine = ++turn;
  if (!question) return;
  $("go").disabled = true;
  say(model ? `${model} answers from what is found…` : "Searching…");
  const began = performance.now();
  try {
    const found = await call("/v1/retrieval/answer", { question, ...(model ? { model } : {}) });
    if (mine !== turn) return;
    show(found, model);
    say(`${((performance.now() - began) / 1000).toFixed(1)} s`);
  } catch (error) {
    if (mine !== turn) return;
    $("answer").hidden = true;
    say(error.message, true);
  } finally {
    if (mine === turn) $("go").disabled = false;
  }
});

new ResizeObserver(() => {
  const width = $("drawing").clientWidth;
  if (width && width !== sized) { sized = width; draw(); }
}).observe($("drawing"));

// A phrase with its {parameters} to fill in: the first of them is selected.
function phrase(text) {
  const made = element("button", text, "phrase"), hole = text.match(/\{\w+\}/);
  made.type = "button";
  made.addEventListener("click", () => {
    $("question").value = text;
    $("question").focus();
    if (hole) $("question").setSelectionRange(hole.index, hole.index + hole[0].length);
  });
  return made;
}

async function known() {
  if (!$("key").value.trim()) return;
  try {
    const { data } = await call("/v1/models");
    $("by").replaceChildren(...["", ...data.map((model) => model.id)].map((name) => new Option(name || "extracts", name)));
    $("composing").hidden = !data.length;
    const { queries } = await call("/v1/graph/queries");
    const list = element("dl");
    for (const one of queries) {
      const asks = element("dd");
      asks.append(...(one.questions || []).map(phrase));
      list.append(element("dt", one.description), asks);
    }
    $("queries").replaceChildren(list);
  } catch (error) { say(error.message, true); }
}
known();
