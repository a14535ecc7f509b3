"use strict";
// One question at a time: the newest answer wins, an older one that comes late is dropped.
let answered = "", turn = 0; // the question whose answer is shown

function written(query) { // a line for each part
  return `{\n${Object.entries(query).map(([name, value]) => ` ${JSON.stringify(name)}: ${JSON.stringify(value)}`).join(",\n")}\n}`;
}

function lineage(metrics) {
  const list = element("dl");
  for (const metric of metrics) {
    list.append(element("dt", `${metric.label} (${metric.name})`), element("dd", metric.description));
    if (metric.made_of.length) list.append(element("dd", `made of ${metric.made_of.join(", ")}`));
    for (const model of metric.models) {
      const when = model.built_at ? `built ${model.built_at.slice(0, 16).replace("T", " ")} UTC` : "age not known";
      list.append(element("dd", `from ${model.name}, ${when}${model.newest_period ? `, up to ${model.newest_period.slice(0, 7)}` : ""}`));
    }
  }
  $("lineage").replaceChildren(list);
}

function show(found, question) {
  $("answer").hidden = false;
  $("headline").textContent = question || "Your query";
  $("query").value = found.query ? written(found.query) : "";
  if (question) {
    answered = question;
    if (found.reply !== undefined) $("query").value = found.reply;
    $("right").checked = false;
  }
  $("chart").replaceChildren();
  $("wrong").hidden = !answered;
  const by = found.model_version ? `query written by version ${found.model_version}; ` : "";
  if (found.refused) {
    $("rows").replaceChildren();
    $("sql").textContent = "";
    $("lineage").replaceChildren();
    $("meta").textContent = `${by}no number was computed`;
    say(`Not answered: ${found.refused.message}.`, true);
  } else {
    const count = rows(found.columns, found.rows);
    const days = found.since || found.until ? `; days from ${found.since || "the first"} to before ${found.until || "the end"}` : "";
    $("meta").textContent = `${by}${count}${found.truncated ? ", cut" : ""}${days}`;
    $("sql").textContent = found.sql;
    lineage(found.metrics);
    if (found.picture) { // drawn by the gateway of its own specification
      const parsed = new DOMParser().parseFromString(found.picture, "image/svg+xml").documentElement;
      if (parsed.nodeName === "svg") $("chart").append(document.importNode(parsed, true));
    }
    say("");
  }
  $("headline").focus();
}

async function run(body, question) {
  const mine = ++turn;
  for (const id of ["go", "again"]) $(id).disabled = true;
  say(question ? "The copilot writes the query…" : "The query runs…");
  const began = performance.now();
  try {
    const found = await call("/v1/metrics/query", { ...body, picture: "svg" });
    if (mine !== turn) return;
    show(found, question);
    if (!found.refused) say(`${((performance.now() - began) / 1000).toFixed(1)} s`);
  } catch (error) {
    if (mine !== turn) return;
    if (question && error.content && error.content.reply !== undefined) {
      show({ refused: { message: error.message }, reply: error.content.reply, model_version: error.content.model_version }, question);
    }
    say(error.message, true);
  } finally {
    if (mine === turn) for (const id of ["go", "again"]) $(id).disabled = false;
  }
}

$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const asked = $("question").value.trim();
  if (asked) run({ question: asked }, asked);
});

function edited() {
  try { return JSON.parse($("query").value); } catch (error) { say(`The query is no JSON: ${error.message}`, true); $("query").focus(); return null; }
}
$("edit").addEventListener("submit", (event) => {
  event.preventDefault();
  const query = edited();
  if (query) run({ query }, "");
});
$("query").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); $("edit").requestSubmit(); }
});
$("wrong").addEventListener("click", async () => {
  const right = $("right").checked;
  const query = right ? edited() : null;
  if (right && !query) return;
  try {
    await call("/v1/metrics/wrong", { question: answered, ...(right ? { query } : {}) });
    say(right ? "Marked wrong, with the query above as the right one. Thank you." : "Marked wrong. Thank you.");
  } catch (error) { say(error.message, true); }
});

async function known() {
  if (!$("key").value.trim()) return;
  try {
    const found = await call("/v1/metrics");
    const list = element("dl");
    for (const metric of found.metrics) {
      list.append(element("dt", `${metric.label} (${metric.name})`), element("dd", metric.description),
        element("dd", `by ${metric.dimensions.map((d) => d.name).join(", ") || "time only"}`, "quiet"));
    }
    $("metrics").replaceChildren(list);
    const first = found.metrics.find((metric) => metric.dimensions.length);
    if (first) $("question").placeholder = `${first.label.toLowerCase()} by ${first.dimensions[0].label.toLowerCase()} in July`;
    if (found.days) $("known").textContent = `Data from ${found.days.first} to ${found.days.last}. Numbers come from the semantic layer; the model only writes the query.`;
  } catch (error) { say(error.message, true); }
}
known();
