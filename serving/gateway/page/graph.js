"use strict";
// The things that a question names and their neighbours: columns where there is room, else a tree.
const MOST_ASKED = 4, MOST_NODES = 24, NARROW = 640, MOST_LETTERS = 120;
const pen = document.createElement("canvas").getContext("2d"); // measures

const bare = (uid) => uid.slice(uid.indexOf(":") + 1);
const spoken = (predicate) => predicate.toLowerCase().replaceAll("_", " ");
const plural = (count, one, many) => `${count} ${count === 1 ? one : many}`;

// In the middle: names that begin alike often differ at their end.
function cut(text, width, font) {
  const letters = [...text], shorter = (most) => {
    const kept = Math.ceil((most - 1) * 0.6);
    return `${letters.slice(0, kept).join("").trimEnd()}…${letters.slice(letters.length - (most - 1 - kept)).join("").trimStart()}`;
  };
  pen.font = `${font} system-ui, sans-serif`; // as know.css has it
  if (letters.length <= MOST_LETTERS && pen.measureText(text).width <= width) return text;
  let most = Math.min(letters.length - 1, MOST_LETTERS);
  while (most > 4 && pen.measureText(shorter(most)).width > width) most -= 1;
  return shorter(most);
}

// Nodes and edges to draw: equal relations are one edge with their number; whose ends have no room are left out.
// A relation between two things of the question comes once for each of them and counts once.
function subgraph(entities, neighbours) {
  const names = new Map(entities.map((entity) => [entity.uid, entity.name || bare(entity.uid)]));
  for (const row of neighbours) if (row.uid && !names.has(row.uid)) names.set(row.uid, row.name || bare(row.uid));
  const joined = new Map(), kinds = new Map();
  for (const { source, predicate, target, properties, uid, of } of neighbours) {
    const key = JSON.stringify([source, predicate, target]), from = source === uid ? target : source;
    const edge = joined.get(key) || { source, predicate, target, properties, from, times: 0 };
    if (edge.from === from) edge.times += 1;
    joined.set(key, edge);
    const kind = kinds.get(`${predicate} ${from}`) || { from, predicate, of, told: 0 };
    kind.told += 1;
    kinds.set(`${predicate} ${from}`, kind);
  }
  const partial = [...kinds.values()].filter((kind) => kind.told < kind.of);
  const edges = [...joined.values()], touched = new Set(edges.flatMap((edge) => [edge.source, edge.target]));
  const things = entities.filter((entity) => !entity.uid.startsWith("phrase:")).map((entity) => entity.uid);
  const asked = [...new Set([...things.filter((uid) => touched.has(uid)), ...things])].slice(0, MOST_ASKED);
  const around = [];
  for (const { source, target } of edges) {
    for (const [one, other] of [[source, target], [target, source]]) {
      const room = asked.length + around.length < MOST_NODES;
      if (room && asked.includes(one) && !asked.includes(other) && !around.includes(other)) around.push(other);
    }
  }
  const kept = new Set([...asked, ...around]);
  const drawn = edges.filter((edge) => kept.has(edge.source) && kept.has(edge.target));
  const name = (uid) => names.get(uid) || bare(uid);
  const left = touched.size - [...touched].filter((uid) => kept.has(uid)).length;
  return { asked, around, edges: drawn, all: edges, left, partial, name };
}

function svg(name, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function box(graph, uid, place, asked) {
  const group = svg("g", { class: asked ? "node asked" : "node" });
  group.append(svg("title", {}, `${graph.name(uid)} (${uid})`),
    svg("rect", { x: place.x, y: place.y - 13, width: place.width, height: 26, rx: 6 }),
    svg("text", { x: place.x + 8, y: place.y + 4.5 }, cut(graph.name(uid), place.width - 16, asked ? "600 13px" : "13px")));
  return group;
}

// An edge's line and its label; ``at`` is the label's place and room, null when it stands there already.
function line(graph, edge, back, d, at, anchor) {
  const said = `${spoken(edge.predicate)}${edge.times > 1 ? ` ×${edge.times}` : ""}`, group = svg("g");
  group.append(svg("title", {}, `${graph.name(edge.source)} ${said} ${graph.name(edge.target)}`),
    svg("path", { class: "edge", d, [back ? "marker-start" : "marker-end"]: "url(#tip)" }));
  const label = svg("text", { class: "predicate", x: at.x, y: at.y, "text-anchor": anchor }, cut(said, at.room, "11px"));
  return { group, label };
}

// Labels over all lines, boxes over all.
function assembled(made, graph, places, lines) {
  const labels = new Map(lines.map(({ label }) => [["x", "y"].map((name) => label.getAttribute(name)) + label.textContent, label]));
  made.append(...lines.map((one) => one.group), ...labels.values());
  for (const [uid, place] of places) made.append(box(graph, uid, place, graph.asked.includes(uid)));
  return made;
}

// The edge seen from the question: its thing of the question, the other end, and whether it points back.
function ends(graph, { source, target }) {
  return graph.asked.includes(source) ? { middle: source, other: target, back: false } : { middle: target, other: source, back: true };
}

function canvas(graph, width, height) {
  const made = svg("svg", { role: "img", width, height, viewBox: `0 0 ${width} ${height}` });
  const told = `${plural(graph.asked.length, "thing", "things")} of the question and ${plural(graph.around.length, "neighbour", "neighbours")}; the list below says the same`;
  made.setAttribute("aria-label", told);
  const marker = svg("marker", { id: "tip", viewBox: "0 0 8 8", refX: 8, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto-start-reverse" });
  marker.append(svg("path", { d: "M0 0.5L8 4L0 7.5z" }));
  made.append(svg("defs"));
  made.lastChild.append(marker);
  return made;
}

// The question's things in the middle column, half of the neighbours on each side.
function columns(graph, width) {
  const wide = Math.min(250, Math.floor(width * 0.27)), gap = (width - 3 * wide) / 2, step = 36;
  const right = graph.around.slice(0, Math.ceil(graph.around.length / 2)), left = graph.around.slice(right.length);
  const most = Math.max(right.length, left.length, 2 * graph.asked.length - 1, 1), height = most * step + 4, places = new Map();
  const stand = (uids, x, room) => uids.forEach((uid, i) => places.set(uid, { x, width: wide, y: 2 + height * (i + 0.5) / uids.length * room + height * (1 - room) / 2 }));
  stand(left, 1, left.length / most);
  stand(graph.asked, wide + gap, Math.min(1, 2 * graph.asked.length / most));
  stand(right, width - wide - 1, right.length / most);
  const kinds = new Map(); // of the relations of a neighbour: each has a height of its own at its box
  for (const edge of graph.edges) {
    const { other } = ends(graph, edge);
    kinds.set(other, [...new Set([...(kinds.get(other) || []), edge.predicate])]);
  }
  const lines = graph.edges.map((edge) => {
    const { middle, other, back } = ends(graph, edge), a = places.get(middle), b = places.get(other);
    if (a.x === b.x) return between(graph, edge, a, b, gap);
    const toRight = b.x > a.x, from = toRight ? a.x + wide : a.x, to = toRight ? b.x : b.x + wide, own = kinds.get(other);
    const y = b.y + Math.max(-12, Math.min(12, (own.indexOf(edge.predicate) - (own.length - 1) / 2) * 12));
    const hold = toRight ? to - gap * 0.75 : to + gap * 0.75, x = toRight ? to - 10 : to + 10;
    const d = `M${from} ${a.y}C${(from + hold) / 2} ${y} ${hold} ${y} ${to} ${y}`;
    return line(graph, edge, back, d, { x, y: y + 3.5, room: gap - 12 }, toRight ? "end" : "start");
  });
  return assembled(canvas(graph, width, height + 4), graph, places, lines);
}

// Two things of the question: straight where one stands below the other, else around what stands between.
function between(graph, edge, a, b, gap) {
  const down = b.y > a.y, near = Math.abs(graph.asked.indexOf(edge.source) - graph.asked.indexOf(edge.target)) === 1;
  const y = (a.y + b.y) / 2, x = near ? a.x + a.width / 2 : a.x + a.width, out = x + Math.min(gap - 10, 40), side = down ? 13 : -13;
  const d = near ? `M${x} ${a.y + side}L${x} ${b.y - side}` : `M${x} ${a.y}C${out} ${a.y} ${out} ${b.y} ${x} ${b.y}`;
  return line(graph, edge, false, d, { x: near ? x + 8 : x + 6, y: y + 4, room: near ? 110 : gap }, "start");
}

// Each of the question's things with its neighbours below it; a line runs down from it on the left.
function tree(graph, width) {
  const places = new Map(), start = 14 + 10 * graph.asked.length;
  let y = 16;
  for (const one of graph.asked) {
    places.set(one, { x: 1, y, width: width - 2 });
    y += 34;
    for (const edge of graph.edges) {
      const other = edge.source === one ? edge.target : edge.target === one ? edge.source : null;
      if (other === null || places.has(other) || graph.asked.includes(other)) continue;
      places.set(other, { x: start, y: y + 14, width: width - start - 1 });
      y += 46;
    }
    y += 6;
  }
  const said = new Map();
  const lines = graph.edges.map((edge) => {
    const { middle, other, back } = ends(graph, edge), a = places.get(middle), b = places.get(other);
    const x = 8 + 10 * graph.asked.indexOf(middle), side = b.y < a.y ? -13 : 13;
    const own = [...new Set([...(said.get(other) || []), edge.predicate])];
    said.set(other, own);
    const end = b.x === 1 ? `V${b.y - side}` : `V${b.y}H${b.x}`; // beside it when it is below, else at its edge
    const at = { x: start + 6 + own.indexOf(edge.predicate) * 110, y: b.y - 17, room: 104 };
    return line(graph, edge, back, `M${x} ${a.y + side}${end}`, at, "start");
  });
  return assembled(canvas(graph, width, y), graph, places, lines);
}

function drawn(graph, width) {
  return graph.edges.length && width >= 200 ? (width < NARROW ? tree : columns)(graph, Math.floor(width)) : null;
}

function listed(graph) {
  return graph.all.map(({ source, predicate, target, properties, times }) => {
    const more = times > 1 ? `${times} times` : Object.entries(properties || {}).map(([name, value]) => `${name} ${shown(value)}`).join(", ");
    return element("li", `${graph.name(source)} ${spoken(predicate)} ${graph.name(target)}${more ? ` (${more})` : ""}`);
  });
}
