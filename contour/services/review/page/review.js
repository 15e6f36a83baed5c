// The review: a worklist, a case with its findings and structures, and the decisions on them.

import { asked, askedBytes, changed, openSession, putWords } from "/static/server.js";
import { Polygons, SliceView, greyLookup } from "/static/views.js";
import { SurfaceView } from "/static/surfaces.js";

// Centre and width in HU, by the keys 1 to 4.
const WINDOWS = [
  ["soft_tissue", [40, 400]],
  ["lung", [-600, 1500]],
  ["bone", [400, 1800]],
  ["brain", [40, 80]],
];
const PAGE_STEP = 10;
const KEYS = ["↑ ↓", "PgUp PgDn", "Space", "J K", "A E R", "1 2 3 4", "V", "C", "M", "Esc", "Ctrl+↵"];
const KEY_WORDS = [
  "key_slice", "key_slices", "key_finding", "key_structure", "key_decide", "key_window", "key_visible", "key_contours",
  "key_enlarge", "key_leave", "key_save",
];

const $ = (id) => document.getElementById(id);
const session = await openSession();
const words = session.words.page;
let scene = null; // the case that is open
let views = [];
let surfaces = null;
let under = null; // the view under the pointer
let opened = 0; // counts openings, so that what comes late for an earlier one is dropped

putWords(session.words);
$("user").textContent = session.name;
$("key-list").replaceChildren(...KEYS.flatMap((key, i) => [made("dt", "", key), made("dd", "", words[KEY_WORDS[i]])]));
const ready = attachViews();
ready.catch(fail);
listen();
await route();

// ---------------------------------------------------------------- worklist

async function route() {
  const key = location.hash.slice(1);
  $("banner").hidden = true;
  delete document.body.dataset.open;
  $("worklist").hidden = Boolean(key);
  $("case").hidden = !key;
  $("to-worklist").hidden = !key;
  if (key) await openCase(key).catch(fail);
  else await showWorklist().catch(fail);
}

async function showWorklist() {
  scene = null;
  $("who").textContent = "";
  $("standing").textContent = "";
  document.title = `contour: ${words.worklist}`;
  const lines = await asked("/api/worklist");
  $("no-cases").hidden = lines.length > 0;
  $("cases").replaceChildren(...lines.map(worklistRow));
}

function worklistRow(line) {
  const row = made("tr");
  const name = made("td");
  if (["not-released", "unreadable"].includes(line.state)) name.append(made("span", "", line.folder_name));
  else {
    const link = made("a", "", line.folder_name);
    link.href = `#${line.key}`;
    name.append(link);
    row.addEventListener("click", () => (location.hash = line.key));
    row.className = "opens";
  }
  if (line.problem) name.append(made("div", "facts", line.problem));
  const findings = made("td");
  if (line.stops) findings.append(badge("stop", `${line.stops} ${words.stop}`));
  if (line.checks) findings.append(badge("check", `${line.checks} ${words.check}`));
  findings.append(made("div", "facts", line.first_findings.map(findingTitle).join(" · ")));
  const state = made("td");
  state.append(badge(line.state, words[`state_${line.state.replaceAll("-", "_")}`]));
  const decided = made("td", "number", line.structures ? `${line.decided} / ${line.structures}` : "");
  const drawn = line.drawn_at ? new Date(line.drawn_at).toLocaleString(document.documentElement.lang) : "";
  row.append(name, made("td", "", line.protocol), findings, state, decided, made("td", "facts", drawn));
  return row;
}

// ---------------------------------------------------------------- opening a case

async function openCase(key) {
  const mine = ++opened;
  const began = performance.now();
  $("opening").hidden = false;
  $("opening").textContent = words.opening;
  scene = null;
  const { case: found, decided } = await asked(`/api/cases/${key}`);
  if (mine !== opened) return;
  const next = sceneOf(found, decided);
  showPatient(next);
  showLists(next);
  const at = `/api/cases/${key}`;
  const [voxels, polygons] = await Promise.all([
    askedBytes(`${at}/voxels/${found.rtstruct_sha256}`),
    askedBytes(`${at}/polygons/${found.rtstruct_sha256}`),
    ready,
  ]);
  if (mine !== opened) return;
  next.voxels = new Int16Array(voxels);
  next.polygons = new Polygons(polygons);
  scene = next;
  setWindow(found.grid.window);
  const titles = { axial: words.axial, coronal: words.coronal, sagittal: words.sagittal };
  await Promise.all(views.map((view, i) => view.open(scene, found.grid.views[i], titles[found.grid.views[i].name])));
  const first = scene.findings.find((finding) => finding.roi_number !== null) ?? null;
  if (first) jumpTo(first);
  else if (scene.structures.length) select(scene.structures[0].roi_number, { jump: true });
  $("opening").hidden = true;
  drawAll();
  scene.opened = performance.now();
  $("speed").textContent = `${words.opened_in} ${((scene.opened - began) / 1000).toFixed(1)} s`;
  document.body.dataset.open = key;
  // The view in space can wait until the slices stand.
  setTimeout(() => mine === opened && openSurfaces().catch(fail), 50);
}

function sceneOf(found, decided) {
  const structures = found.structures.map((structure) => ({
    ...structure,
    visible: !structure.problem,
    color: `rgb(${structure.color_rgb.join(",")})`,
    worst: worstOf(found.findings.filter((f) => f.roi_number === structure.roi_number)),
  }));
  const urgency = { stop: 0, check: 1 };
  structures.sort((a, b) => (urgency[a.worst] ?? 2) - (urgency[b.worst] ?? 2)); // stable: then the file's order
  return {
    ...found,
    structures,
    decided: new Map(decided.map((d) => [d.roi_number, d])),
    position: found.grid.shape_zyx.map((count) => Math.floor(count / 2)),
    selected: null,
    finding: -1,
    lookup: null,
    opened: performance.now(),
  };
}

function worstOf(findings) {
  return ["stop", "check", "info"].find((severity) => findings.some((f) => f.severity === severity)) ?? "";
}

function showPatient(of) {
  const { patient } = of;
  const name = patient.name.split("=")[0].split("^").filter(Boolean).join(" ");
  const parts = [patient.patient_id, dateOf(patient.birth_date), patient.sex].filter(Boolean);
  const study = [dateOf(patient.study_date), patient.study_description, patient.series_description].filter(Boolean);
  $("who").replaceChildren(
    made("strong", "", name || words.no_name),
    made("span", "", parts.join(" · ")),
    made("span", "facts", `${[...study, of.protocol].join(" · ")}`),
  );
  document.title = `contour: ${of.folder_name}`;
}

function dateOf(text) {
  return /^\d{8}$/.test(text) ? `${text.slice(0, 4)}-${text.slice(4, 6)}-${text.slice(6)}` : text;
}

// ---------------------------------------------------------------- lists

function showLists(of) {
  $("findings").replaceChildren(...of.findings.map((finding, i) => findingItem(of, finding, i)));
  $("finding-count").textContent = of.findings.length;
  $("structures").replaceChildren(...of.structures.map(structureItem));
  $("all-visible").checked = true;
  showDecisions(of);
}

function findingItem(of, finding, i) {
  const item = made("li", `finding ${finding.severity}`);
  item.dataset.index = i;
  item.tabIndex = 0;
  const structure = of.structures.find((s) => s.roi_number === finding.roi_number);
  const title = made("div", "title");
  title.append(badge(finding.severity, words[finding.severity]), made("b", "", findingTitle(finding.code)));
  if (finding.structure) title.append(made("span", "", structure?.local_name ?? finding.structure));
  item.append(title, made("div", "facts", finding.message));
  if (finding.slices.length) {
    const places = made("div", "places");
    for (const z of finding.slices) {
      const button = made("button", "chip", `${words.slice} ${z + 1}`);
      button.addEventListener("click", (event) => {
        event.stopPropagation();
        jumpTo(finding, z);
      });
      places.append(button);
    }
    item.append(places);
  }
  item.addEventListener("click", () => jumpTo(finding));
  return item;
}

function structureItem(structure) {
  const item = made("li", "structure");
  item.dataset.roi = structure.roi_number;
  const eye = made("input");
  eye.type = "checkbox";
  eye.checked = structure.visible;
  eye.disabled = Boolean(structure.problem);
  eye.title = words.visible;
  eye.setAttribute("aria-label", `${words.visible}: ${structure.name}`);
  eye.addEventListener("click", (event) => event.stopPropagation());
  eye.addEventListener("change", () => setVisible(structure, eye.checked));
  const swatch = made("span", "swatch");
  swatch.style.backgroundColor = structure.color;
  const name = made("span", "name");
  name.append(made("b", "", structure.name));
  if (structure.local_name) name.append(made("span", "local", structure.local_name));
  if (structure.problem) name.append(made("span", "alarm", structure.problem));
  const volume = made("span", "volume", structure.volume_ml === null ? "" : `${millilitres(structure.volume_ml)} ${words.ml}`);
  const marks = made("span", "marks");
  if (structure.worst && structure.worst !== "info") marks.append(badge(structure.worst, "!"));
  item.append(eye, swatch, name, volume, marks, made("span", "verdict"));
  item.addEventListener("click", () => select(structure.roi_number, { jump: true }));
  return item;
}

function millilitres(volume) {
  return volume >= 100 ? volume.toFixed(0) : volume.toFixed(1);
}

function showDecisions(of) {
  for (const item of $("structures").children) {
    const decided = of.decided.get(Number(item.dataset.roi));
    const mark = item.querySelector(".verdict");
    mark.className = `verdict ${decided?.decision ?? ""}`;
    mark.textContent = { accept: "✓", "needs-editing": "✎", reject: "✗" }[decided?.decision] ?? "○";
    mark.title = decided ? words[`decision_${decided.decision.replaceAll("-", "_")}`] : words.undecided;
  }
  $("structure-count").textContent = `${of.decided.size} / ${of.structures.length}`;
  $("standing").replaceChildren(
    badge(of.decided.size < of.structures.length ? "begun" : "done", `${words.decided} ${of.decided.size} / ${of.structures.length}`),
  );
  showSelected(of);
}

function showSelected(of) {
  const structure = of.structures.find((s) => s.roi_number === of.selected);
  $("decision").hidden = !structure;
  for (const item of $("structures").children) {
    item.classList.toggle("selected", Number(item.dataset.roi) === of.selected);
    if (Number(item.dataset.roi) === of.selected) item.scrollIntoView({ block: "nearest" });
  }
  if (!structure) return;
  const swatch = made("span", "swatch");
  swatch.style.backgroundColor = structure.color;
  $("selected").replaceChildren(swatch, structure.name, made("span", "local", structure.local_name ?? ""));
  const facts = [`${structure.contours} ${words.contours}`];
  if (structure.confidence !== null) facts.push(`${words.confidence} ${structure.confidence.toFixed(2)}`);
  $("selected-facts").replaceChildren(facts.join(" · "), ...structure.doses.map((dose) => made("div", "", dose)));
  const decided = of.decided.get(structure.roi_number);
  for (const [id, decision] of [["accept", "accept"], ["edit", "needs-editing"], ["reject", "reject"]]) {
    $(id).classList.toggle("chosen", decided?.decision === decision);
  }
  $("recorded").textContent = decided
    ? `${words.recorded}: ${words[`decision_${decided.decision.replaceAll("-", "_")}`]}, ${decided.name}, ` +
      new Date(decided.when).toLocaleString(document.documentElement.lang) +
      (decided.comment ? ` — ${decided.comment}` : "")
    : words.undecided;
}

// ---------------------------------------------------------------- moving about

function jumpTo(finding, z) {
  scene.finding = scene.findings.indexOf(finding);
  for (const item of $("findings").children) {
    const here = Number(item.dataset.index) === scene.finding;
    item.classList.toggle("selected", here);
    if (here) item.scrollIntoView({ block: "nearest" });
  }
  const slice = z ?? finding.slices[0];
  if (finding.roi_number !== null) {
    const structure = scene.structures.find((s) => s.roi_number === finding.roi_number);
    if (!structure.visible && !structure.problem) setVisible(structure, true);
    select(finding.roi_number, { jump: true, z: slice });
  } else if (slice !== undefined) {
    moveTo([slice, scene.position[1], scene.position[2]]);
  }
}

function select(roi, { jump = false, z } = {}) {
  if (scene.selected !== roi) {
    $("comment").value = "";
    scene.selected = roi;
    if (scene === surfaces?.scene) showInSpace();
  }
  showSelected(scene);
  if (jump) moveTo(middleOf(roi, z));
  drawAll({ contours: true });
}

// The middle of a structure's polygons on slice z; without z, on the slice where they are largest.
function middleOf(roi, z) {
  const { polygons, position } = scene;
  const area = (polygon) => (polygon.right - polygon.left) * (polygon.bottom - polygon.top);
  let slice = z;
  if (slice === undefined) {
    const sizes = polygons.slicesOf(roi).map((s) => [polygons.onSlice(roi, s).reduce((sum, p) => sum + area(p), 0), s]);
    if (!sizes.length) return position;
    slice = sizes.reduce((best, next) => (next[0] > best[0] ? next : best))[1];
  }
  const largest = polygons.onSlice(roi, slice).reduce((best, p) => (!best || area(p) > area(best) ? p : best), null);
  if (!largest) return [slice, position[1], position[2]];
  return [slice, (largest.top + largest.bottom) / 2, (largest.left + largest.right) / 2];
}

function moveTo(indices) {
  const before = scene.position;
  scene.position = indices.map((at, axis) => Math.max(0, Math.min(scene.grid.shape_zyx[axis] - 1, Math.round(at))));
  for (const view of views) {
    const axis = view.view.normal_axis;
    draw(view, before[axis] !== scene.position[axis] ? { image: true } : {});
  }
}

function step(view, by) {
  const indices = [...scene.position];
  // Downwards goes to the feet, to the left side, to the back: as the slices are numbered on most consoles.
  indices[view.view.normal_axis] += by;
  moveTo(indices);
}

function setWindow(window) {
  scene.window = window;
  scene.lookup = greyLookup(scene.grid, window);
  $("window-now").textContent = `${words.level} ${Math.round(window[0])} ${words.width} ${Math.round(window[1])}`;
  for (const button of $("windows").children) {
    const preset = WINDOWS[Number(button.dataset.index)][1];
    button.classList.toggle("chosen", preset[0] === window[0] && preset[1] === window[1]);
    button.hidden = scene.grid.modality !== "CT";
  }
  drawAll();
}

function setVisible(structure, visible) {
  structure.visible = visible;
  const item = [...$("structures").children].find((li) => Number(li.dataset.roi) === structure.roi_number);
  item.querySelector("input").checked = visible;
  showInSpace();
  drawAll({ contours: true });
}

function setAllVisible(visible) {
  $("all-visible").checked = visible;
  for (const structure of scene.structures) if (!structure.problem) structure.visible = visible;
  for (const item of $("structures").children) {
    const eye = item.querySelector("input");
    if (!eye.disabled) eye.checked = visible;
  }
  showInSpace();
  drawAll({ contours: true });
}

// ---------------------------------------------------------------- drawing: once a frame, whatever asked for it

const due = new Map();

function draw(view, { image = false, contours = false } = {}) {
  if (!scene?.lookup) return;
  if (!due.size) requestAnimationFrame(drawDue);
  const asked = due.get(view) ?? { image: false, contours: false };
  due.set(view, { image: asked.image || image, contours: asked.contours || contours });
}

function drawAll(what = { image: true }) {
  for (const view of views) draw(view, what);
}

function drawDue() {
  const now = [...due];
  due.clear();
  if (scene) for (const [view, what] of now) view.draw(what);
}

async function attachViews() {
  if (!document.createElement("canvas").getContext("webgl2")) throw new Error("no-webgl");
  const told = {
    changed: (view) => draw(view, { contours: true }),
    placed: (indices) => scene && indices && moveTo(indices),
    stepped: (view, by) => scene && step(view, by),
    entered: (view) => (under = view),
    enlarged: (view) => enlarge(view.host),
    hovered: showValue,
    windowed: (dx, dy) =>
      scene && setWindow([scene.window[0] + dy * 2, Math.max(2, scene.window[1] + dx * 4)]),
  };
  views = ["axial", "coronal", "sagittal"].map((name) => new SliceView($(`view-${name}`), told));
  under = views[0];
  for (const view of views) await view.attach();
}

async function openSurfaces() {
  if (!surfaces) {
    surfaces = new SurfaceView($("view-surfaces"));
    await surfaces.attach();
    $("view-surfaces").addEventListener("dblclick", () => enlarge($("view-surfaces")));
  }
  surfaces.open(scene, words.in_space);
}

function showInSpace() {
  if (scene === surfaces?.scene) surfaces.show(scene);
}

function enlarge(host) {
  const was = host.classList.contains("large");
  for (const view of document.querySelectorAll(".view")) view.classList.remove("large");
  host.classList.toggle("large", !was);
  $("views").classList.toggle("one", !was);
}

function showValue(indices) {
  const at = indices?.map(Math.round);
  const shape = scene?.grid.shape_zyx;
  if (!at || !shape || at.some((i, axis) => i < 0 || i >= shape[axis])) {
    $("value").textContent = "";
    return;
  }
  const value = scene.voxels[(at[0] * shape[1] + at[1]) * shape[2] + at[2]] * scene.grid.slope + scene.grid.intercept;
  $("value").textContent = `${Math.round(value)}${scene.grid.modality === "CT" ? " HU" : ""}`;
}

// ---------------------------------------------------------------- decisions

async function decide(decision) {
  if (!scene || scene.selected === null) return;
  const of = scene;
  const comment = $("comment").value.trim();
  if (decision === "reject" && !comment) {
    $("comment").dataset.pending = decision;
    $("comment").placeholder = words.comment_needed;
    $("comment").focus();
    return;
  }
  const form = {
    roi_number: of.selected,
    decision,
    comment,
    rtstruct_sha256: of.rtstruct_sha256,
    seconds_open: (performance.now() - of.opened) / 1000,
  };
  try {
    const decided = await changed(`/api/cases/${of.key}/decisions`, form);
    of.decided.set(decided.roi_number, decided);
    if (scene !== of) return;
    if (of.selected === decided.roi_number) {
      $("comment").value = "";
      $("comment").blur();
      delete $("comment").dataset.pending;
      $("comment").placeholder = words.comment;
    }
    showDecisions(of);
  } catch (error) {
    fail(error);
  }
}

function nextStructure(by) {
  const at = scene.structures.findIndex((s) => s.roi_number === scene.selected);
  const next = scene.structures[(at + by + scene.structures.length) % scene.structures.length];
  if (next) select(next.roi_number, { jump: true });
}

function nextFinding(by) {
  const count = scene.findings.length;
  if (count) jumpTo(scene.findings[(scene.finding + by + count) % count]);
}

function fail(error) {
  $("opening").hidden = true;
  $("banner").hidden = false;
  $("banner").textContent = words[`error_${error.message.replaceAll("-", "_")}`] ?? `${words.error}: ${error.message}`;
}

// ---------------------------------------------------------------- what people do

function listen() {
  addEventListener("hashchange", route);
  $("to-worklist").addEventListener("click", () => (location.hash = ""));
  $("log-out").addEventListener("click", () => changed("/api/logout").finally(() => location.assign("/login")));
  $("keys").addEventListener("click", () => $("key-help").showModal());
  $("all-visible").addEventListener("change", (event) => setAllVisible(event.target.checked));
  for (const [id, decision] of [["accept", "accept"], ["edit", "needs-editing"], ["reject", "reject"]]) {
    $(id).addEventListener("click", () => decide(decision));
  }
  WINDOWS.forEach(([name, window], i) => {
    const button = made("button", "chip", words[name]);
    button.append(made("kbd", "", `${i + 1}`));
    button.dataset.index = i;
    button.addEventListener("click", () => scene && setWindow(window));
    $("windows").append(button);
  });
  $("comment").addEventListener("keydown", (event) => {
    if (event.key === "Escape") $("comment").blur();
    if (event.key === "Enter" && event.ctrlKey) decide($("comment").dataset.pending ?? "needs-editing");
    event.stopPropagation();
  });
  addEventListener("keydown", pressed);
}

// Keys go by their place, so that A, E, R are the same under a Russian or Kazakh layout.
function pressed(event) {
  if (!scene || event.ctrlKey || event.altKey || event.metaKey || $("key-help").open) return;
  const view = under?.view ? under : views[0];
  const actions = {
    ArrowUp: () => step(view, 1),
    ArrowDown: () => step(view, -1),
    PageUp: () => step(view, PAGE_STEP),
    PageDown: () => step(view, -PAGE_STEP),
    Home: () => step(view, 100000),
    End: () => step(view, -100000),
    Space: () => nextFinding(event.shiftKey ? -1 : 1),
    KeyJ: () => nextStructure(1),
    KeyK: () => nextStructure(-1),
    KeyA: () => decide("accept"),
    KeyE: () => decide("needs-editing"),
    KeyR: () => decide("reject"),
    KeyV: () => toggleSelected(),
    KeyC: () => setAllVisible(!$("all-visible").checked),
    KeyM: () => enlarge(view.host),
    Escape: () => (location.hash = ""),
  };
  const preset = /^(?:Digit|Numpad)([1-4])$/.exec(event.code);
  const action = preset ? () => setWindow(WINDOWS[preset[1] - 1][1]) : actions[event.code];
  if (!action || event.repeat && event.code.startsWith("Key")) return;
  event.preventDefault();
  action();
}

function toggleSelected() {
  const structure = scene.structures.find((s) => s.roi_number === scene.selected);
  if (structure && !structure.problem) setVisible(structure, !structure.visible);
}

// ---------------------------------------------------------------- elements

function made(tag, kind = "", text = "") {
  const element = document.createElement(tag);
  if (kind) element.className = kind;
  if (text) element.textContent = text;
  return element;
}

function badge(kind, text) {
  return made("span", `badge ${kind}`, text);
}

function findingTitle(code) {
  return session.words.findings[code] ?? code;
}
