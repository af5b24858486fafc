"use strict";
// The page of the assistant. It shows the coarse picture, takes what a finger draws, and asks.
const words = JSON.parse(document.getElementById("words").textContent);
const $ = (id) => document.getElementById(id);
const canvas = $("view"), pen = canvas.getContext("2d");
const picture = new Image();
const drawn = { lines: [], zones: [], floor: [] };
const history = [];
let tool = "line", stroke = null, seen = null, asking = false, unasked = false;

async function ask(path, body) {
  const answer = await fetch(path, body === undefined ? {} : {
    method: "POST", headers: { "Content-Type": "application/json", "X-Dizaine": "1" },
    body: JSON.stringify(body),
  });
  return answer.json();
}

function paint() {
  pen.clearRect(0, 0, canvas.width, canvas.height);
  if (picture.naturalWidth) pen.drawImage(picture, 0, 0, canvas.width, canvas.height);
  const at = ([x, y]) => [x * canvas.width, y * canvas.height];
  pen.lineWidth = 5; pen.lineCap = "round"; pen.font = "bold 22px system-ui";
  const path = (points, closed) => {
    pen.beginPath();
    points.map(at).forEach(([x, y], i) => (i ? pen.lineTo(x, y) : pen.moveTo(x, y)));
    if (closed) pen.closePath();
    pen.strokeStyle = "#000"; pen.lineWidth = 9; pen.stroke();
    pen.strokeStyle = "#ffd400"; pen.lineWidth = 5; pen.stroke();
  };
  for (const [a, b] of drawn.lines) {
    path([a, b]);
    const [ax, ay] = at(a), [bx, by] = at(b), mx = (ax + bx) / 2, my = (ay + by) / 2;
    // Forward is to the right hand of somebody who walks from a to b; y grows downwards.
    const long = Math.hypot(bx - ax, by - ay) || 1, nx = -(by - ay) / long, ny = (bx - ax) / long;
    const tip = [mx + 40 * nx, my + 40 * ny], to = ([x, y]) => [x / canvas.width, y / canvas.height];
    path([to([mx, my]), to(tip)]);
    path([to([tip[0] - 14 * nx + 10 * ny, tip[1] - 14 * ny - 10 * nx]), to(tip),
          to([tip[0] - 14 * nx - 10 * ny, tip[1] - 14 * ny + 10 * nx])]);
  }
  drawn.zones.forEach((zone) => path(zone, true));
  if (drawn.floor.length) path(drawn.floor, drawn.floor.length === 4);
  if (stroke) path(stroke, tool === "zone");
}

function place(event) {
  const box = canvas.getBoundingClientRect();
  const clip = (v) => Math.min(1, Math.max(0, v));
  return [clip((event.clientX - box.left) / box.width), clip((event.clientY - box.top) / box.height)];
}

canvas.addEventListener("pointerdown", (event) => {
  if ($("draw").hidden) return;
  canvas.setPointerCapture(event.pointerId);
  const point = place(event);
  if (tool === "floor") {
    remember();
    if (drawn.floor.length === 4) drawn.floor = [];
    drawn.floor.push(point);
    changed();
  } else stroke = [point, point];
});
canvas.addEventListener("pointermove", (event) => {
  if (!stroke) return;
  const point = place(event);
  if (tool === "line") stroke[1] = point;
  else stroke.push(point);
  paint();
});
canvas.addEventListener("pointerup", () => {
  if (!stroke) return;
  remember();
  if (tool === "line") drawn.lines.push(stroke);
  else drawn.zones.push(corners(stroke));
  stroke = null;
  changed();
});

// A finger's way round, reduced to eight corners at most.
function corners(points) {
  const few = 8, step = points.length / few;
  return points.length <= few ? points : Array.from({ length: few }, (_, i) => points[Math.floor(i * step)]);
}

function remember() { history.push(JSON.stringify(drawn)); }
// One question at a time, and always about the newest drawing: answers could overtake each other.
async function changed() {
  paint();
  unasked = true;
  if (asking) return;
  asking = true;
  try {
    while (unasked) {
      unasked = false;
      const { warnings } = await ask("/api/geometry", drawn);
      $("warnings").replaceChildren(...warnings.map((name) => item("", words[name])));
    }
  } catch (gone) {
    $("left").textContent = words.closed;
  } finally {
    asking = false;
  }
}
$("undo").onclick = () => {
  if (!history.length) return;
  Object.assign(drawn, JSON.parse(history.pop()));
  changed();
};
$("turn").onclick = () => {
  if (!drawn.lines.length) return;
  remember();
  drawn.lines[drawn.lines.length - 1].reverse();
  changed();
};
document.querySelectorAll("[data-tool]").forEach((button) => {
  button.onclick = () => {
    tool = button.dataset.tool;
    document.querySelectorAll("[data-tool]").forEach((b) => b.setAttribute("aria-pressed", b === button));
  };
});

const tabs = [...document.querySelectorAll("[role=tab]")];
tabs.forEach((tab) => {
  tab.onclick = () => tabs.forEach((t) => {
    t.setAttribute("aria-selected", t === tab);
    $(t.getAttribute("aria-controls")).hidden = t !== tab;
  });
});

$("walk-begin").onclick = async () => {
  if (!drawn.lines.length) { $("walk-says").textContent = words.warn_none; return; }
  $("walk-says").textContent = "";
  await ask("/api/walk", { deed: "begin", ...drawn });
  $("walk-begin").disabled = true;
  $("walk-end").disabled = false;
};
$("walk-end").onclick = async () => {
  $("walk-end").disabled = true;
  await ask("/api/walk", { deed: "end" });
  $("walk-begin").disabled = false;
};

$("send-now").onclick = async () => {
  if (!drawn.lines.length) { $("send-says").textContent = words.warn_none; return; }
  if (!confirm(words.send_confirm)) return;
  $("send-now").disabled = true;
  const { says, why } = await ask("/api/send", drawn);
  $("send-says").textContent = words[says].replace("{why}", why || "");
  $("send-now").disabled = says === "sent";
};

function item(kind, text) {
  const line = document.createElement("li");
  line.className = kind;
  line.textContent = text;
  return line;
}

async function look() {
  try {
    const state = await ask("/api/state");
    $("left").textContent = words.left.replace("{n}", state.minutes_left);
    $("coarse").hidden = !state.coarse;
    $("checks").replaceChildren(...state.checks.map(({ name, works }) => item(
      works === null ? "unknown" : works ? "good" : "bad",
      words[name] + (works === null ? ". " + words.unknown : works ? "" : ". " + (words["help_" + name] || "")),
    )));
    if (state.aspect) canvas.height = Math.round(canvas.width / state.aspect);
    if (seen !== null && seen !== state.seen) $("dot").classList.toggle("on");
    seen = state.seen;
    if (state.walk === "passed") $("walk-says").textContent = words.walk_passed;
    if (state.walk === "failed") $("walk-says").textContent = words["walk_" + state.why];
    picture.src = "/picture.jpg?" + Date.now();
  } catch (gone) {
    $("left").textContent = words.closed;
  }
  setTimeout(look, 400);
}
picture.onload = paint;
look();
