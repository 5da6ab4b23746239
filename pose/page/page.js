// The page of one scan. Places are (row, column) of the array, as prompts have them; what is drawn is upright.
"use strict";

const $ = (id) => document.getElementById(id);
const FILL = 48;
const CLICK = 5; // pixels of the screen that a click may wander
const KEPT_SLICES = 80;
const POINT = "#00d68f", NOT_POINT = "#ff6a13", BOX = "#f0e442", TRUTH = "#e69f00";

let scan = null;
let state = null;
let slice = 0;
let object = 1;
let tool = "inside";
let shown = { level: 0, width: 1 };
let zoom = 1, moved = { x: 0, y: 0 };
let cross = null, corner = null;
let drag = null, hover = null;
let following = true, cameFrom = null;
let pending = Promise.resolve();
let failures = 0, timer = null, waiting = 0;
const pixels = new Map(), labels = new Map(), truths = new Map();
const grey = document.createElement("canvas"), tint = document.createElement("canvas");

// ---- the server

async function ask(path, options) {
  const answer = await fetch(path, options);
  if (answer.status === 403) throw new Error("another program answers here; open the address that yours has printed");
  if (!answer.ok) {
    const said = await answer.json().catch(() => ({ error: `the program answers ${answer.status}` }));
    const error = new Error(said.error);
    error.said = true;
    throw error;
  }
  return answer;
}

async function refresh() {
  clearTimeout(timer);
  try {
    if (!scan) scan = await (await ask("scan")).json();
    take(await (await ask("state")).json());
  } catch (error) {
    lose(error);
  }
  timer = setTimeout(refresh, state && state.task ? 200 : 2000);
}

// one after the other: what comes next may depend on what the one before has brought
function act(action, given = {}) {
  pending = pending.then(() => perform(action, given));
  return pending;
}

async function perform(action, given) {
  if (!state) return;
  waiting += 1;
  say("");
  $("canvas").classList.add("busy");
  try {
    const options = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(given) };
    const answer = await (await ask(`do/${action}`, options)).json();
    take(answer);
    const idle = action === "point" && !scan.takes_points && here().some((one) => one.box && one.points.length);
    if (idle) say(`${scan.model} takes boxes alone: points beside a box do nothing`, true);
    if (answer.task) refresh();
  } catch (error) {
    if (error.said) say(error.message, true);
    else lose(error);
  } finally {
    waiting -= 1;
    if (!waiting) $("canvas").classList.remove("busy");
  }
}

function lose(error) {
  failures += 1;
  const why = error instanceof TypeError ? "The program has ended, or the tunnel to it. What was not saved is lost if it "
    + "has ended; start it again in its terminal, and open the address that it prints." : error.message;
  $("lost").textContent = why;
  $("lost").hidden = false;
  document.body.dataset.lost = "yes";
  enable();
}

async function bytes(path, kind) {
  const buffer = await (await ask(path)).arrayBuffer();
  return kind === "int16" ? new Int16Array(buffer) : kind === "float32" ? new Float32Array(buffer) : new Uint16Array(buffer);
}

function take(fresh) {
  const first = !state;
  const before = state;
  // an answer that was overtaken by a later one
  if (before && fresh.changes < before.changes) return;
  state = fresh;
  if (failures) {
    failures = 0;
    $("lost").hidden = true;
    delete document.body.dataset.lost;
  }
  if (first) begin();
  if (!state.objects.some((one) => one.id === object)) object = state.objects[0].id;
  if (state.message) say(state.message, !state.message.startsWith("cancelled"));
  // a short task may begin and end between two answers
  const ended = before && before.ended.length < state.ended.length;
  const saved = ended && !state.message && state.ended.at(-1) === "save";
  if (ended) {
    if (following && cameFrom !== null) slice = cameFrom;
    if (saved) say("saved");
    else if (!state.message) say(`carried through ${scan.slices} slices in ${state.seconds_carried.toFixed(1)} s`);
  }
  if (first || before.changes !== state.changes) {
    labels.clear();
    if (state.task && following && state.task.done.length) slice = state.task.done[state.task.done.length - 1];
    load();
  }
  tell();
  if (saved) $("title-saved").scrollIntoView({ block: "start" });
}

// ---- slices

async function load() {
  const wanted = slice;
  try {
    await Promise.all([
      once(pixels, wanted, () => bytes(`pixels/${wanted}`, scan.type)),
      once(labels, wanted, () => bytes(`labels/${wanted}`)),
      scan.truth && once(truths, wanted, () => bytes(`truth/${wanted}`)),
    ]);
    if (wanted === slice) {
      draw();
      tellReadout();
    }
    for (const near of [wanted + 1, wanted - 1]) {
      if (near >= 0 && near < scan.slices) {
        once(pixels, near, () => bytes(`pixels/${near}`, scan.type)).catch(lose);
      }
    }
  } catch (error) {
    lose(error);
  }
}

async function once(kept, key, get) {
  if (!kept.has(key)) {
    const promise = get();
    kept.set(key, promise);
    promise.then((value) => { if (kept.get(key) === promise) kept.set(key, value); },
      () => { if (kept.get(key) === promise) kept.delete(key); });
    while (kept.size > KEPT_SLICES) kept.delete(kept.keys().next().value);
  }
  return kept.get(key);
}

function go(to) {
  following = false;
  const there = Math.max(0, Math.min(scan.slices - 1, to));
  if (there === slice) return;
  slice = there;
  corner = null;
  load();
  tell();
  draw();
}

// which way is up: towards the head where slices run from head to feet or back
function up() {
  return scan.slices_towards === "I" ? -1 : 1;
}

// ---- places

function size() {
  const { rows, columns, spacing, turn } = scan;
  const mm = spacing || [1, 1];
  return turn.transpose ? { down: columns, across: rows, high: mm[1], wide: mm[0] }
    : { down: rows, across: columns, high: mm[0], wide: mm[1] };
}

function upright([row, column]) {
  const { rows, columns, turn } = scan;
  let [down, across] = turn.transpose ? [column, row] : [row, column];
  const [deep, broad] = turn.transpose ? [columns, rows] : [rows, columns];
  if (turn.flip_rows) down = deep - 1 - down;
  if (turn.flip_columns) across = broad - 1 - across;
  return [down, across];
}

function inArray([down, across]) {
  const { turn } = scan, { down: deep, across: broad } = size();
  if (turn.flip_rows) down = deep - 1 - down;
  if (turn.flip_columns) across = broad - 1 - across;
  return turn.transpose ? [across, down] : [down, across];
}

function boxOf(first, second) {
  const [a, b] = [inArray(first), inArray(second)];
  return { row_min: Math.min(a[0], b[0]), column_min: Math.min(a[1], b[1]),
    row_max: Math.max(a[0], b[0]), column_max: Math.max(a[1], b[1]) };
}

function layout() {
  const canvas = $("canvas"), { down, across, high, wide } = size();
  const scale = Math.min(canvas.clientWidth / (across * wide), canvas.clientHeight / (down * high)) * zoom;
  const x = scale * wide, y = scale * high;
  return { x, y, left: (canvas.clientWidth - across * x) / 2 + moved.x, top: (canvas.clientHeight - down * y) / 2 + moved.y };
}

function pixelAt(event, clamp) {
  const frame = $("canvas").getBoundingClientRect(), at = layout(), { down, across } = size();
  let row = Math.floor((event.clientY - frame.top - at.top) / at.y);
  let column = Math.floor((event.clientX - frame.left - at.left) / at.x);
  if (clamp) {
    row = Math.max(0, Math.min(down - 1, row));
    column = Math.max(0, Math.min(across - 1, column));
  }
  return row >= 0 && column >= 0 && row < down && column < across ? [row, column] : null;
}

// ---- drawing

function paintGrey(values) {
  const { down, across } = size();
  grey.width = across;
  grey.height = down;
  const image = new ImageData(across, down), to = new Uint32Array(image.data.buffer);
  const black = shown.level - shown.width / 2, factor = 255 / shown.width;
  for (let i = 0; i < to.length; i++) {
    const level = Math.max(0, Math.min(255, Math.floor((values[i] - black) * factor + 0.5)));
    to[i] = 0xff000000 | (level << 16) | (level << 8) | level;
  }
  grey.getContext("2d").putImageData(image, 0, 0);
}

function paintLabels(values) {
  const { down, across } = size();
  tint.width = across;
  tint.height = down;
  const image = new ImageData(across, down), to = new Uint32Array(image.data.buffer), colours = {};
  for (const one of state.objects) {
    const rgb = parseInt(one.colour.slice(1), 16);
    colours[one.id] = (FILL << 24) | ((rgb & 255) << 16) | (rgb & 0xff00) | (rgb >> 16);
  }
  for (let i = 0; i < to.length; i++) to[i] = values[i] ? colours[values[i]] || 0 : 0;
  tint.getContext("2d").putImageData(image, 0, 0);
}

// the border of the pixels of one value, as lines between pixels
function outline(values, value) {
  const { down, across } = size(), path = new Path2D();
  const is = (r, c) => r >= 0 && c >= 0 && r < down && c < across && values[r * across + c] === value;
  for (let r = 0; r <= down; r++) {
    for (let c = 0; c < across; c++) {
      if (is(r - 1, c) !== is(r, c)) {
        const start = c;
        while (c < across && is(r - 1, c) !== is(r, c)) c++;
        path.moveTo(start, r);
        path.lineTo(c, r);
      }
    }
  }
  for (let c = 0; c <= across; c++) {
    for (let r = 0; r < down; r++) {
      if (is(r, c - 1) !== is(r, c)) {
        const start = r;
        while (r < down && is(r, c - 1) !== is(r, c)) r++;
        path.moveTo(c, start);
        path.lineTo(c, r);
      }
    }
  }
  return path;
}

function stroke(pen, at, path, colour) {
  pen.save();
  pen.translate(at.left, at.top);
  pen.scale(at.x, at.y);
  const placed = new Path2D();
  placed.addPath(path);
  pen.lineWidth = 1.6 / Math.sqrt(at.x * at.y);
  pen.strokeStyle = colour;
  pen.stroke(placed);
  pen.restore();
}

function draw() {
  if (!state) return;
  const canvas = $("canvas"), ratio = window.devicePixelRatio || 1;
  const [wide, high] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
  if (canvas.width !== wide || canvas.height !== high) [canvas.width, canvas.height] = [wide, high];
  const pen = canvas.getContext("2d"), at = layout(), { down, across } = size();
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.fillStyle = "#000";
  pen.fillRect(0, 0, canvas.clientWidth, canvas.clientHeight);
  const values = pixels.get(slice), found = labels.get(slice), truth = truths.get(slice);
  if (!values || values instanceof Promise) return;
  paintGrey(values);
  pen.imageSmoothingEnabled = true;
  pen.imageSmoothingQuality = "high";
  pen.drawImage(grey, at.left, at.top, across * at.x, down * at.y);
  if (found && !(found instanceof Promise) && $("masks").checked) {
    paintLabels(found);
    pen.imageSmoothingEnabled = false;
    pen.drawImage(tint, at.left, at.top, across * at.x, down * at.y);
    for (const one of state.objects) stroke(pen, at, outline(found, one.id), one.colour);
  }
  if (truth && !(truth instanceof Promise) && $("truth").checked) stroke(pen, at, outline(truth, 1), TRUTH);
  drawPrompts(pen, at);
  drawCross(pen, at);
  drawEdges(pen, canvas.clientWidth, canvas.clientHeight);
}

function screen(at, [down, across]) {
  return [at.left + (across + 0.5) * at.x, at.top + (down + 0.5) * at.y];
}

function rectangle(pen, at, first, second) {
  const top = Math.min(first[0], second[0]), left = Math.min(first[1], second[1]);
  const high = Math.abs(first[0] - second[0]) + 1, wide = Math.abs(first[1] - second[1]) + 1;
  for (const [width, colour] of [[3.5, "rgba(0,0,0,.65)"], [1.6, BOX]]) {
    pen.lineWidth = width;
    pen.strokeStyle = colour;
    pen.strokeRect(at.left + left * at.x, at.top + top * at.y, wide * at.x, high * at.y);
  }
}

function drawPrompts(pen, at) {
  for (const prompt of state.prompts.filter((one) => one.slice === slice)) {
    pen.globalAlpha = prompt.object === object ? 1 : 0.45;
    if (prompt.box) {
      const [top, left, bottom, right] = prompt.box;
      rectangle(pen, at, upright([top, left]), upright([bottom, right]));
    }
    for (const [row, column, inside] of prompt.points) {
      const [x, y] = screen(at, upright([row, column]));
      const arms = inside ? [[-6, 0, 6, 0], [0, -6, 0, 6]] : [[-5, -5, 5, 5], [-5, 5, 5, -5]];
      for (const [width, colour] of [[5, "#000"], [2.4, inside ? POINT : NOT_POINT]]) {
        pen.lineWidth = width;
        pen.strokeStyle = colour;
        pen.lineCap = "round";
        pen.beginPath();
        for (const [x0, y0, x1, y1] of arms) {
          pen.moveTo(x + x0, y + y0);
          pen.lineTo(x + x1, y + y1);
        }
        pen.stroke();
      }
    }
    pen.globalAlpha = 1;
    if (prompt.absent && prompt.object === object) text(pen, "not here", $("canvas").clientWidth / 2, 40);
  }
  if (drag && drag.kind === "box" && drag.now) rectangle(pen, at, drag.start, drag.now);
  if (corner && cross) rectangle(pen, at, corner, cross);
}

function drawCross(pen, at) {
  if (!cross) return;
  const [x, y] = screen(at, cross);
  pen.lineWidth = 1;
  for (const [shift, colour] of [[1, "rgba(0,0,0,.8)"], [0, "#fff"]]) {
    pen.strokeStyle = colour;
    pen.beginPath();
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      pen.moveTo(x + shift + 4 * dx, y + shift + 4 * dy);
      pen.lineTo(x + shift + 16 * dx, y + shift + 16 * dy);
    }
    pen.stroke();
  }
}

function text(pen, words, x, y) {
  pen.font = "600 15px system-ui, sans-serif";
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  pen.lineWidth = 4;
  pen.lineJoin = "round";
  pen.strokeStyle = "#000";
  pen.strokeText(words, x, y);
  pen.fillStyle = "#fff";
  pen.fillText(words, x, y);
}

function drawEdges(pen, wide, high) {
  const edges = scan.edges;
  if (!edges) {
    text(pen, "no orientation: left and right are unknown", wide / 2, 16);
    return;
  }
  text(pen, edges.top, wide / 2, 16);
  text(pen, edges.bottom, wide / 2, high - 16);
  text(pen, edges.left, 16, high / 2);
  text(pen, edges.right, wide - 16, high / 2);
}

function drawMarks() {
  const canvas = $("marks"), ratio = window.devicePixelRatio || 1, wide = canvas.clientWidth, high = canvas.clientHeight;
  canvas.width = Math.round(wide * ratio);
  canvas.height = Math.round(high * ratio);
  const pen = canvas.getContext("2d"), style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(`--${name}`);
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  const count = scan.slices, step = (wide - 12) / Math.max(1, count - 1);
  const x = (index) => count > 1 ? 6 + index * step : wide / 2;
  const mark = (index, draws) => { pen.beginPath(); draws(x(index)); pen.fill(); };
  pen.fillStyle = colour("found");
  for (const key of Object.keys(state.held).filter((one) => state.held[one].length)) {
    pen.globalAlpha = state.task || state.carried ? 1 : 0.45;
    pen.fillRect(x(+key) - Math.max(1.5, step / 2), high - 5, Math.max(3, step + 0.5), 4);
  }
  pen.globalAlpha = 1;
  pen.fillStyle = colour("doubt");
  for (const index of state.review) {
    mark(index, (at) => { pen.moveTo(at, 7); pen.lineTo(at + 4, 11); pen.lineTo(at, 15); pen.lineTo(at - 4, 11); });
  }
  for (const prompt of state.prompts) {
    if (prompt.absent) {
      pen.strokeStyle = colour("none");
      pen.lineWidth = 2;
      pen.beginPath();
      pen.moveTo(x(prompt.slice) - 3, 1); pen.lineTo(x(prompt.slice) + 3, 7);
      pen.moveTo(x(prompt.slice) + 3, 1); pen.lineTo(x(prompt.slice) - 3, 7);
      pen.stroke();
    } else {
      pen.fillStyle = colour("prompted");
      mark(prompt.slice, (at) => { pen.moveTo(at - 4, 0); pen.lineTo(at + 4, 0); pen.lineTo(at, 7); });
    }
  }
}

// ---- words

function say(words, wrong = false) {
  $("message").textContent = words;
  $("message").classList.toggle("error", wrong);
}

function begin() {
  const about = `${scan.rows} × ${scan.columns} × ${scan.slices}`;
  const mm = scan.spacing ? `, ${scan.spacing.map((one) => +one.toPrecision(3)).join(" × ")} mm` : "";
  document.title = `${scan.name} – POSE`;
  $("name").textContent = scan.name;
  $("about").textContent = `${about}${mm}; ${scan.model}`;
  $("slice").max = scan.slices - 1;
  $("truth-label").hidden = !scan.truth;
  for (const name of Object.keys(scan.windows)) $("window").add(new Option(name, name));
  $("window").add(new Option("own", ""));
  setWindow(scan.windows[Object.keys(scan.windows)[0]]);
  const prompted = state.prompts.filter((one) => !one.absent);
  slice = prompted.length ? prompted[0].slice : Math.floor(scan.slices / 2);
  if (!scan.takes_points) say(`${scan.model} takes boxes: from points alone a box is grown; points beside a box do nothing.`);
}

function setWindow([level, width]) {
  shown = { level, width: Math.max(width, 1e-6) };
  $("level").value = +level.toPrecision(5);
  $("width").value = +shown.width.toPrecision(5);
  const named = Object.entries(scan.windows).find(([, one]) => one[0] === level && one[1] === width);
  $("window").value = named ? named[0] : "";
  draw();
}

function here() {
  return state.prompts.filter((one) => one.slice === slice && one.object === object);
}

function enable() {
  const lost = Boolean(document.body.dataset.lost), busy = lost || Boolean(state && state.task);
  for (const id of ["add", "carry", "save", "clear", "absent"]) $(id).disabled = busy;
  for (const one of document.querySelectorAll("#objects .remove, #objects input[type=text]")) one.disabled = busy;
  if (!state) return;
  $("undo").disabled = busy || !state.can_undo;
  $("clear").disabled = busy || !here().length;
  $("carry").disabled = busy || !state.prompts.length || state.carried;
  $("save").disabled = busy || !state.prompts.length;
}

function tell() {
  const { task, dice } = state;
  $("slice").value = slice;
  const marks = [
    state.prompts.some((one) => one.slice === slice && !one.absent) && "prompted",
    state.review.includes(slice) && "to review",
    here().some((one) => one.absent) && "not here",
  ].filter(Boolean).join(", ");
  const where = `slice ${slice} of 0 to ${scan.slices - 1}${marks ? `, ${marks}` : ""}`;
  $("slice").setAttribute("aria-valuetext", where);
  $("canvas").setAttribute("aria-label", where);
  tellReadout();
  tellObjects();
  $("absent").setAttribute("aria-pressed", here().some((one) => one.absent));
  $("carry").textContent = state.has_masks ? "Carry again" : "Carry";
  $("cancel").hidden = !task;
  $("progress-label").hidden = !task;
  if (task) {
    $("progress").max = task.slices;
    $("progress").value = task.done.length;
    const saving = task.kind === "save" && (state.carried || task.done.length === task.slices);
    $("progress-words").textContent = task.cancelled ? "cancelling …" : saving ? "saving …"
      : `carrying: ${task.done.length} of ${task.slices} slices`;
    $("cancel").disabled = task.cancelled;
  }
  $("review").hidden = !state.review.length;
  $("review").textContent = `Next to review (${state.review.length})`;
  $("dice").hidden = !dice;
  if (dice) {
    const words = (value) => value === null ? "none" : value.toFixed(3);
    $("dice").textContent = `Dice: this slice ${words(dice.slices[slice])}, volume ${words(dice.volume)}`;
  }
  tellSaved();
  enable();
  drawMarks();
}

function tellReadout() {
  const words = [`slice ${slice} of 0 to ${scan.slices - 1}`];
  const values = pixels.get(slice), pixel = hover || cross;
  if (pixel && values && !(values instanceof Promise)) {
    const [row, column] = inArray(pixel);
    words.push(`row ${row}, column ${column}: ${+values[pixel[0] * size().across + pixel[1]].toPrecision(5)}`);
  }
  $("readout").textContent = words.join("   ·   ");
}

function tellObjects() {
  const list = $("objects"), known = [...list.children].map((one) => one.dataset.id).join();
  if (known !== state.objects.map((one) => one.id).join()) {
    list.replaceChildren(...state.objects.map((one) => {
      const item = document.createElement("li");
      item.dataset.id = one.id;
      const choice = Object.assign(document.createElement("input"), { type: "radio", name: "object", value: one.id });
      choice.setAttribute("aria-label", `Object ${one.id}`);
      choice.addEventListener("change", () => { object = one.id; tell(); draw(); });
      const swatch = Object.assign(document.createElement("span"), { className: "swatch" });
      const name = Object.assign(document.createElement("input"), { type: "text", maxLength: 60 });
      name.setAttribute("aria-label", `Name of object ${one.id}`);
      name.placeholder = `object ${one.id}`;
      name.addEventListener("change", () => act("name", { object: one.id, name: name.value }));
      const remove = Object.assign(document.createElement("button"), { className: "remove", textContent: "×" });
      remove.setAttribute("aria-label", `Remove object ${one.id}`);
      remove.addEventListener("click", () => act("remove", { object: one.id }));
      item.append(choice, swatch, name, remove);
      return item;
    }));
  }
  state.objects.forEach((one, index) => {
    const [choice, swatch, name] = list.children[index].children;
    choice.checked = one.id === object;
    swatch.style.background = one.colour;
    if (document.activeElement !== name) name.value = one.name;
  });
}

function tellSaved() {
  const { saved } = state;
  $("saved").hidden = !saved;
  if (!saved || $("command").textContent === saved.command) return;
  $("folder").textContent = saved.folder;
  $("command").textContent = saved.command;
  $("sheet").src = `contact_sheet.png?${state.changes}`;
  $("sheet-link").href = $("sheet").src;
  const lines = [...saved.words, ...saved.warnings.map((one) => `Warning: ${one}`)];
  $("found").replaceChildren(...lines.map((one) => Object.assign(document.createElement("li"), { textContent: one })));
}

// ---- mouse

function click(pixel, inside) {
  const [row, column] = inArray(pixel);
  act("point", { object, slice, row, column, inside });
}

function listenToMouse() {
  const canvas = $("canvas");
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("pointerdown", (event) => {
    if (!state) return;
    const start = pixelAt(event), button = event.button;
    const kind = button === 2 || tool === "window" ? "window" : button === 1 || tool === "move" ? "move" : "box";
    drag = { kind, button, start, x: event.clientX, y: event.clientY, from: { ...shown }, at: { ...moved }, far: false };
    canvas.setPointerCapture(event.pointerId);
    if (button === 1) event.preventDefault();
    cross = null;
    corner = null;
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!state) return;
    hover = pixelAt(event);
    if (drag) {
      const dx = event.clientX - drag.x, dy = event.clientY - drag.y;
      drag.far = drag.far || Math.hypot(dx, dy) > CLICK;
      if (drag.far && drag.kind === "window") {
        setWindow([drag.from.level - dy * drag.from.width / 300, drag.from.width * Math.exp(dx / 200)]);
      } else if (drag.far && drag.kind === "move") {
        moved = { x: drag.at.x + dx, y: drag.at.y + dy };
        draw();
      } else if (drag.far && drag.start) {
        drag.now = pixelAt(event, true);
        draw();
      }
    }
    tellReadout();
  });
  canvas.addEventListener("pointerup", (event) => {
    const done = drag;
    drag = null;
    if (!done || !done.start || state.task) { draw(); return; }
    if (!done.far && done.button === 2) click(done.start, false);
    else if (!done.far && done.kind === "box" && tool !== "box") click(done.start, tool === "inside");
    else if (!done.far && done.kind === "box") say("drag from one corner of the box to the other", true);
    else if (done.kind === "box" && done.now) {
      act("box", { object, slice, further: event.shiftKey, ...boxOf(done.start, done.now) });
    }
    draw();
  });
  canvas.addEventListener("pointercancel", () => { drag = null; draw(); });
  canvas.addEventListener("pointerleave", () => { hover = null; if (state) tellReadout(); });
  let rolled = 0;
  canvas.addEventListener("wheel", (event) => {
    if (!state) return;
    event.preventDefault();
    if (event.ctrlKey) {
      zoomBy(Math.exp(-event.deltaY / 300), event);
      return;
    }
    // touchpads send many small steps
    rolled += event.deltaMode ? Math.sign(event.deltaY) * 40 : Math.max(-40, Math.min(40, event.deltaY));
    const steps = Math.trunc(rolled / 40);
    if (steps) {
      rolled -= 40 * steps;
      go(slice - steps * up());
    }
  }, { passive: false });
}

function zoomBy(factor, event) {
  const canvas = $("canvas"), frame = canvas.getBoundingClientRect();
  const x = event ? event.clientX - frame.left : frame.width / 2, y = event ? event.clientY - frame.top : frame.height / 2;
  const next = Math.max(0.5, Math.min(20, zoom * factor)), ratio = next / zoom;
  // what lies under the mouse stays there
  moved = { x: (x - frame.width / 2) * (1 - ratio) + moved.x * ratio, y: (y - frame.height / 2) * (1 - ratio) + moved.y * ratio };
  zoom = next;
  draw();
}

function fit() {
  zoom = 1;
  moved = { x: 0, y: 0 };
  draw();
}

// ---- keys

function choose(name) {
  tool = name;
  corner = null;
  document.querySelector(`#tools [value=${name}]`).checked = true;
}

function nextToReview() {
  const next = state.review.find((index) => index > slice);
  go(next === undefined ? state.review[0] : next);
}

function moveCross(down, across) {
  const { down: deep, across: broad } = size(), from = cross || [deep >> 1, broad >> 1];
  cross = [Math.max(0, Math.min(deep - 1, from[0] + down)), Math.max(0, Math.min(broad - 1, from[1] + across))];
  hover = null;
  draw();
  tellReadout();
  const [row, column] = inArray(cross);
  say(`cross at row ${row}, column ${column}`);
}

function clickAtCross() {
  if (!cross || state.task) return;
  if (tool === "inside" || tool === "outside") click(cross, tool === "inside");
  else if (tool === "box" && corner) {
    act("box", { object, slice, further: false, ...boxOf(corner, cross) });
    corner = null;
  } else if (tool === "box") {
    corner = cross;
    say("one corner of the box; move the cross to the other, and press Enter");
  }
}

const KEYS = {
  p: () => choose("inside"), n: () => choose("outside"), b: () => choose("box"), w: () => choose("window"),
  h: () => choose("move"), "+": () => zoomBy(1.25), "=": () => zoomBy(1.25), "-": () => zoomBy(0.8), 0: fit,
  a: () => $("absent").click(), Delete: () => $("clear").click(), c: () => pending.then(() => $("carry").click()),
  s: () => pending.then(() => $("save").click()), r: () => $("review").hidden || nextToReview(), m: () => $("masks").click(),
  t: () => $("truth-label").hidden || $("truth").click(), Enter: clickAtCross, Escape: () => $("cancel").hidden || act("cancel"),
  o: () => {
    const place = state.objects.findIndex((one) => one.id === object);
    object = state.objects[(place + 1) % state.objects.length].id;
    tell();
    draw();
  },
  ArrowUp: () => go(slice + up()), ArrowDown: () => go(slice - up()), PageUp: () => go(slice + 5 * up()),
  PageDown: () => go(slice - 5 * up()), Home: () => go(0), End: () => go(scan.slices - 1),
};
const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

function listenToKeys() {
  document.addEventListener("keydown", (event) => {
    if (!state) return;
    const at = event.target, writes = at.matches("input[type=text], input[type=number], select");
    const own = at.matches("input[type=range], input[type=radio]") && event.key.startsWith("Arrow");
    const presses = at.matches("button, summary, a, input") && event.key === "Enter";
    if (writes || own || presses || event.altKey) return;
    const ctrl = event.ctrlKey || event.metaKey;
    if (event.shiftKey && ARROWS[event.key]) {
      const far = ctrl ? 10 : 1;
      moveCross(...ARROWS[event.key].map((one) => one * far));
    } else if (ctrl && event.key.toLowerCase() === "z") $("undo").click();
    else if (ctrl && event.key.toLowerCase() === "s") KEYS.s();
    else if (!ctrl && KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key]) {
      KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key]();
    } else return;
    event.preventDefault();
  });
}

// ---- buttons

function listenToButtons() {
  const on = (id, does, kind = "click") => $(id).addEventListener(kind, () => state && does());
  on("slice", () => go(+$("slice").value), "input");
  on("add", async () => {
    const free = [...Array(99).keys()].map((one) => one + 1).find((id) => !state.objects.some((one) => one.id === id));
    if (!free) { say("there are 99 objects already", true); return; }
    await act("name", { object: free, name: "" });
    object = free;
    tell();
    draw();
  });
  for (const one of document.querySelectorAll("#tools input")) one.addEventListener("change", () => choose(one.value));
  on("undo", () => act("undo"));
  on("clear", () => act("clear", { object, slice }));
  on("absent", () => act("absent", { object, slice, absent: !here().some((one) => one.absent) }));
  on("window", () => $("window").value && setWindow(scan.windows[$("window").value]), "change");
  for (const id of ["level", "width"]) {
    on(id, () => {
      const level = parseFloat($("level").value), width = parseFloat($("width").value);
      setWindow(Number.isFinite(level) && width > 0 ? [level, width] : [shown.level, shown.width]);
    }, "change");
  }
  on("smaller", () => zoomBy(0.8));
  on("larger", () => zoomBy(1.25));
  on("fit", fit);
  on("masks", draw, "change");
  on("truth", draw, "change");
  for (const id of ["carry", "save"]) {
    on(id, () => {
      [following, cameFrom] = [true, slice];
      act(id);
    });
  }
  on("cancel", () => act("cancel"));
  on("review", nextToReview);
  on("copy", async () => {
    await navigator.clipboard.writeText($("command").textContent).then(() => say("copied"), () => {
      getSelection().selectAllChildren($("command"));
      say("the browser does not let a page copy; it is selected, press Ctrl C");
    });
  });
}

listenToMouse();
listenToKeys();
listenToButtons();
new ResizeObserver(() => { if (state) { draw(); drawMarks(); } }).observe($("frame"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => state && drawMarks());
refresh();
