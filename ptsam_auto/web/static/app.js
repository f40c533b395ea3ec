// The page of `ptsam-auto serve` and `ptsam-auto annotate`.

import { bytes, json, maskOf, Refused, runsOf, send, unpacked, useToken } from "./api.js";
import { Editor } from "./editor.js";

const MOST_KEPT = 6; // predictions of images that are kept, to go back to them
const POLL = 1000; // ms between two looks at a fit
const SLOW_POLL = 4000; // ms between two looks at the list of images
const COUNT_AFTER = 350; // ms after a change until objects are counted

const $ = (id) => document.getElementById(id);
const editor = new Editor($("canvas"));
let about = null; // what the server says of itself
let items = []; // images: {name, file, page, state, ...}
let current = null; // the one that is open
let busy = 0; // requests that the page waits for
let counting = null, countTimer = 0;

// --- messages ---

function say(text, bad = false) {
  $("message").textContent = text;
  $("message").classList.toggle("bad", bad);
}

function failed(error) {
  if (error.name === "AbortError") return;
  if (error instanceof Refused && error.status === 401) {
    $("ask").showModal();
    return;
  }
  if (!(error instanceof Refused)) console.error(error);
  say(error.message, true);
}

async function waiting(text, work) {
  busy++;
  $("busy-text").textContent = text;
  $("busy").hidden = false;
  try {
    return await work();
  } finally {
    busy--;
    $("busy").hidden = busy === 0;
  }
}

const annotating = () => about?.mode === "annotate";
const specialist = () => about?.specialists.find((one) => one.name === $("specialist").value) || null;
const query = (values) => new URLSearchParams(Object.entries(values).filter(([, value]) => value !== null && value !== undefined && value !== ""));

// --- the list of images ---

function showList() {
  const list = $("list");
  const focused = list.contains(document.activeElement) ? document.activeElement.dataset.name : null;
  list.replaceChildren(
    ...items.map((item) => {
      const button = document.createElement("button");
      button.type = "button";
      button.dataset.name = item.name;
      button.title = item.name;
      if (item === current) button.setAttribute("aria-current", "true");
      const name = document.createElement("span");
      name.className = "name";
      name.textContent = item.name;
      const state = document.createElement("span");
      state.className = "state";
      const [symbol, words] = stateOf(item);
      const hidden = element("span", ` ${words}`);
      hidden.className = "hidden";
      state.append(symbol, hidden);
      if (words) button.title += `: ${words}`;
      button.append(name, state);
      button.addEventListener("click", () => open(item).catch(failed));
      const entry = document.createElement("li");
      entry.append(button);
      return entry;
    }),
  );
  if (focused) [...list.querySelectorAll("button")].find((one) => one.dataset.name === focused)?.focus();
  list.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
}

function stateOf(item) {
  if (item.state === "done") return ["✓", "done"];
  if (item.state === "draft") return ["✎", "draft"];
  if (item.saved) return ["✓", "saved"];
  if (item.rank) return [`${item.rank}.`, "in the order in which to paint"];
  return ["", ""];
}

let listedBefore = "";

async function loadList() {
  const listed = await json("api/images");
  const news = JSON.stringify(listed);
  if (news === listedBefore) return;
  listedBefore = news;
  const known = new Map(items.map((item) => [item.name, item]));
  items = listed.images.map((image) => Object.assign(known.get(image.name) || { name: image.name }, image));
  current = current && items.find((item) => item.name === current.name);
  $("left-out").hidden = !listed.left_out.length;
  $("left-out").querySelector("summary").textContent = `${listed.left_out.length} files are left out`;
  $("left-out").querySelector("ul").replaceChildren(...listed.left_out.map((text) => element("li", text)));
  const done = items.filter((item) => item.state === "done").length;
  const looking = listed.to_look_at && listed.looked_at < listed.to_look_at;
  $("ranking").hidden = false;
  $("ranking").textContent = `${done} of ${items.length} images are done. ` +
    (looking ? `The specialist looks at the others, to order them: ${listed.looked_at} of ${listed.to_look_at}.`
      : items.some((item) => item.rank) ? "What the specialist is least sure of, and what differs most, comes first." : "");
  showList();
}

function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

function addFiles(files) {
  const added = [...files].map((file) => ({ name: file.name, file, page: 0, state: "", corrected: false }));
  if (!added.length) return;
  items.push(...added);
  showList();
  open(added[0]).catch(failed);
}

// --- open an image ---

function leave() {
  if (!current || !editor.isOpen) return;
  if (annotating()) current.prediction = null; // The server has the draft.
  else keep();
  const kept = items.filter((item) => item.prediction);
  for (const item of kept.slice(0, Math.max(0, kept.length - MOST_KEPT))) {
    if (item !== current) item.prediction = null;
  }
}

/** Keep the corrections of the open image; each page and each class has its own. */
function keep() {
  if (!current?.prediction || !editor.isOpen) return;
  (current.kept ||= {})[keyOf(current.prediction)] = { edits: editor.edits, undone: editor.undone, done: editor.done };
}

const keyOf = ({ page, shown_class: one }) => `${page} ${one || ""}`;

async function open(item) {
  leave();
  current = item;
  editor.close();
  editor.locked = false;
  showUncertaintyNote();
  $("objects").textContent = "No mask yet.";
  $("expected").textContent = "";
  $("histogram").toggleAttribute("hidden", true);
  $("areas").hidden = true;
  $("saved").textContent = $("saved-as").textContent = "";
  $("empty").hidden = true;
  say("");
  showList();
  showButtons();
  try {
    await (annotating() ? openToPaint(item) : predict(item));
  } catch (error) {
    if (item === current) $("empty").hidden = false;
    $("empty-text").textContent = error instanceof Refused ? error.message : "";
    throw error;
  }
}

/** Show another page, class or specialist of the open image. */
function look(page = current.page) {
  keep();
  current.page = page;
  if (current.prediction && keyOf(current.prediction) !== keyOf({ page, shown_class: chosenClass() })) {
    current.prediction = null;
    editor.close();
  }
  return predict(current, editor.showUncertainty && specialist()?.uncertainty);
}

/** The class that is shown, of a specialist with several; null for one. */
const chosenClass = () => (specialist()?.classes.length ? $("class").value : null);

async function predict(item, uncertainty = false) {
  const name = $("specialist").value, one = chosenClass();
  const has = item.prediction?.specialist === name && item.prediction.shown_class === one;
  if (!has || (uncertainty && !item.prediction.unsure)) {
    const body = new FormData();
    body.append("image", item.file, item.name);
    const asked = query({ answer: "view", page: item.page, specialist: name, class: one, uncertainty });
    const found = await waiting("Predicting", () => json(`api/predict?${asked}`, { method: "POST", body }));
    item.prediction = {
      ...found,
      picture: await createImageBitmap(new Blob([bytes(found.image)], { type: "image/png" })),
      steps: await unpacked(found.probability),
      unsure: found.uncertainty && (await unpacked(found.uncertainty)),
      image: null,
    };
  }
  if (item !== current) return;
  const { prediction } = item;
  if (editor.isOpen && editor.item === item && editor.probability?.length === prediction.steps.length) {
    editor.propose(prediction.steps);
  } else {
    const kept = item.kept?.[keyOf(prediction)];
    const fits = kept?.edits?.length === prediction.steps.length;
    editor.open(prediction.picture, {
      probability: prediction.steps,
      edits: fits ? kept.edits : null,
      undone: fits ? kept.undone : [],
      done: fits ? kept.done : [],
    });
    editor.item = item;
  }
  editor.setUncertainty(prediction.unsure);
  $("pages").hidden = prediction.pages === 1;
  $("page").max = prediction.pages;
  $("page").value = prediction.page + 1;
  $("pages-of").textContent = `of ${prediction.pages}`;
  showExpected(prediction);
  showButtons();
  count();
}

async function openToPaint(item) {
  const opened = await waiting("Opening", () => json(`api/images/${encodeURIComponent(item.name)}`));
  const picture = await createImageBitmap(new Blob([bytes(opened.image)], { type: "image/png" }));
  if (item !== current) return;
  editor.open(picture, { base: opened.mask && maskOf(opened.mask) });
  item.state = opened.state;
  showList();
  showButtons();
  if (opened.state === "open" && specialist()) await propose(false);
  else count();
}

/** Let the specialist propose the mask of the open image. */
async function propose(byHand = true, uncertainty = false) {
  const item = current;
  const asked = query({ specialist: $("specialist").value, uncertainty });
  const found = await waiting("Predicting", () => json(`api/proposals/${encodeURIComponent(item.name)}?${asked}`));
  const steps = await unpacked(found.probability);
  const unsure = found.uncertainty && (await unpacked(found.uncertainty));
  if (item !== current || !editor.isOpen) return;
  item.prediction = { ...found, unsure };
  if (!uncertainty || !editor.probability) {
    const touched = item.state !== "open" || editor.done.length > 0;
    if (byHand) editor.propose(steps, { keepEdits: false, undoable: true });
    else if (!touched) editor.propose(steps);
  }
  editor.setUncertainty(unsure);
  showExpected(found);
  showButtons();
  count();
}

/** Let the server find the object in a box, and add it to the mask of the open image. */
async function findInBox(box) {
  const item = current;
  const runs = await waiting("Looking into the box", () => json(`api/boxes/${encodeURIComponent(item.name)}`, {
    method: "POST", body: JSON.stringify(box), headers: { "content-type": "application/json" },
  }));
  if (item !== current || !editor.isOpen) return;
  const mask = maskOf(runs);
  if (mask.some(Boolean)) editor.add(mask);
  else say("Nothing was found in the box. Draw it closer around the object, or paint.");
}

function showExpected({ expected_dice: dice, expected_dice_error: error }) {
  $("expected").textContent = dice === null || dice === undefined ? ""
    : `Expected Dice of the prediction: ${(100 * dice).toFixed(0)} ± ${(100 * error).toFixed(0)} %.`;
}

// --- objects ---

function count() {
  clearTimeout(countTimer);
  countTimer = setTimeout(() => countNow().catch(failed), COUNT_AFTER);
}

function maskPart() {
  return new Blob([JSON.stringify(runsOf(editor.mask, editor.width, editor.height))], { type: "application/json" });
}

function objectQuery(more = {}) {
  const size = current?.prediction?.pixel_size;
  const sizes = { pixel_width: size?.width, pixel_height: size?.height };
  return query({ specialist: $("specialist").value, class: chosenClass(), ...sizes, ...more });
}

async function countNow() {
  if (!editor.isOpen) return;
  counting?.abort();
  counting = new AbortController();
  const body = new FormData();
  body.append("mask", maskPart());
  const found = await json(`api/objects?${objectQuery()}`, { method: "POST", body, signal: counting.signal });
  const areas = found.areas_um2 || found.areas_px;
  const unit = found.areas_um2 ? "µm²" : "px";
  const sorted = [...areas].sort((a, b) => a - b);
  const middle = sorted.length ? sorted[sorted.length >> 1] : 0;
  $("objects").textContent = found.objects
    ? `${found.objects} object${found.objects > 1 ? "s" : ""}, median area ${short(middle)} ${unit}. ` +
      `${found.touching_border} touch the border. Mask: ${(100 * found.foreground_share).toFixed(1)} % of the image.`
    : "No objects" + (specialist()?.smallest ? ` (of at least ${specialist().smallest} px).` : ".");
  showHistogram(sorted, unit);
  $("areas").hidden = !found.objects;
  $("areas").querySelector("ol").replaceChildren(
    ...areas.slice(0, 1000).map((area) => element("li", `${short(area)} ${unit}`)),
  );
}

function short(number) {
  return number >= 100 ? Math.round(number).toLocaleString("en") : number.toPrecision(3).replace(/\.?0+$/, "");
}

function showHistogram(sorted, unit) {
  const picture = $("histogram");
  const few = sorted.length < 5;
  picture.toggleAttribute("hidden", few); // An SVG has no property of this name.
  if (few) return;
  const largest = sorted.at(-1), bins = new Array(16).fill(0);
  for (const area of sorted) bins[Math.min(15, Math.floor((16 * area) / largest))]++;
  const highest = Math.max(...bins);
  const draw = (name, attributes, text = "") => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.textContent = text;
    return made;
  };
  picture.replaceChildren(
    ...bins.map((number, place) => draw("rect", {
      x: 15 * place + 1, width: 13, y: 52 - (50 * number) / highest, height: (50 * number) / highest,
    })),
    draw("text", { x: 0, y: 66 }, `0 ${unit}`),
    draw("text", { x: 240, y: 66, "text-anchor": "end" }, `${short(largest)} ${unit}`),
  );
  picture.setAttribute("aria-label", `Histogram of the areas, from 0 to ${short(largest)} ${unit}`);
}

// --- drafts: saved after each stroke, one request at a time ---

const drafts = { item: null, runs: null, running: false };

function saveDraft() {
  if (!annotating() || !current || !editor.isOpen) return;
  drafts.item = current;
  drafts.runs = JSON.stringify(runsOf(editor.mask, editor.width, editor.height));
  if (current.state !== "draft") {
    current.state = "draft";
    showList();
  }
  $("saved").textContent = "Saving the draft.";
  sendDraft();
}

async function sendDraft() {
  if (drafts.running || !drafts.item) return;
  drafts.running = true;
  const { item, runs } = drafts;
  drafts.item = null;
  try {
    await json(`api/images/${encodeURIComponent(item.name)}/draft`, {
      method: "PUT", body: runs, headers: { "content-type": "application/json" }, keepalive: runs.length < 60000,
    });
    if (item === current && !drafts.item) $("saved").textContent = "The draft is saved. It is used only when it is done.";
  } catch (error) {
    if (!drafts.item) Object.assign(drafts, { item, runs });
    $("saved").textContent = "The draft is not saved yet; it is tried again.";
    failed(error);
    setTimeout(sendDraft, 3000);
  } finally {
    drafts.running = false;
  }
  if (drafts.item && drafts.item !== item) sendDraft();
  else if (drafts.item === item && drafts.runs !== runs) sendDraft();
}

/** Wait until no draft is being saved; one that waits is not needed any more. */
async function withoutDrafts() {
  drafts.item = null;
  while (drafts.running) await new Promise((resolve) => setTimeout(resolve, 50));
}

async function done() {
  const item = current;
  if (!editor.isOpen || editor.locked) return;
  if (!editor.mask.some(Boolean) && !confirm("Nothing is painted. Is there really nothing to be found on this image?")) return;
  say("");
  editor.locked = true; // Until the next image is open, so that no stroke gets onto this one.
  showButtons();
  try {
    const runs = JSON.stringify(runsOf(editor.mask, editor.width, editor.height));
    await withoutDrafts();
    const saved = await waiting("Saving", () => json(`api/images/${encodeURIComponent(item.name)}/mask`, {
      method: "PUT", body: runs, headers: { "content-type": "application/json" },
    }));
    item.state = "done";
    item.rank = null;
    watchFit().catch(failed);
    await loadList();
    await openNext(item);
    const all = items.every((one) => one.state === "done") ? " All images are done." : "";
    say(`Saved as ${saved.mask}.${saved.fit_started ? " A fit has started." : ""}${all}`);
  } finally {
    editor.locked = false;
    showButtons();
  }
}

async function openNext(after = current) {
  const left = items.filter((item) => item.state !== "done" && item !== after);
  const place = after ? items.indexOf(after) : -1;
  const next = after && after.state !== "done" ? left.find((item) => items.indexOf(item) > place) || left[0] : left[0];
  if (next) {
    await open(next);
  } else if (!after) {
    await open(items[0]);
  }
}

// --- training images and fits ---

async function save() {
  const body = new FormData();
  body.append("image", current.file, current.name);
  body.append("mask", maskPart());
  const saved = await waiting("Saving", () => json(`api/training-images?${query({ page: current.page })}`, { method: "POST", body }));
  current.saved = true;
  $("saved-as").textContent = `Saved as ${saved.image} and ${saved.mask}.`;
  showList();
  showMasks(saved.masks);
}

function showMasks(number) {
  $("masks").textContent = `${number} image${number === 1 ? " has" : "s have"} a mask in ${about.folder}/.` +
    (annotating() && about.fit_every ? ` A fit starts after every ${about.fit_every} new ones.` : "");
  $("fit").disabled = number < 2;
  $("fit").title = number < 2 ? "A fit needs at least two images with masks" : "";
}

let watching = 0, lastState = "none";

async function watchFit() {
  clearTimeout(watching);
  if (!about?.fits) return;
  const progress = await json("api/fits/current");
  const isNew = progress.state === "done" && lastState !== "done" && lastState !== "none";
  lastState = progress.state === "none" ? lastState : progress.state;
  if (isNew) {
    await loadAbout();
    $("specialist").value = progress.specialist;
    showSpecialist();
  }
  const running = progress.state === "running" || progress.state === "loading";
  showMasks(progress.masks_now);
  $("fit").hidden = running;
  $("stop").hidden = progress.state !== "running";
  $("fit-progress").hidden = progress.state === "none";
  $("fit-bar").hidden = !running;
  if (progress.total) {
    $("fit-bar").max = progress.total;
    $("fit-bar").value = progress.done;
  } else {
    $("fit-bar").removeAttribute("value");
  }
  const minutes = `${Math.floor(progress.seconds / 60)}:${String(Math.floor(progress.seconds % 60)).padStart(2, "0")}`;
  const stage = progress.stage ? `${progress.stage} ${progress.done}${progress.total ? ` of ${progress.total}` : ""}. ` : "";
  const texts = {
    none: "",
    running: `Fitting on ${progress.masks} images for ${minutes} min. ${stage}${progress.note}`,
    loading: "Loading the new specialist.",
    done: `${progress.specialist} is ready, after ${minutes} min. It is chosen above; no earlier one was replaced.`,
    failed: `The fit has failed. ${progress.lines.at(-1) || ""}`,
    stopped: "The fit was stopped. Earlier specialists are as they were.",
  };
  if ($("fit-state").textContent !== texts[progress.state]) $("fit-state").textContent = texts[progress.state];
  $("fit-lines").textContent = progress.lines.join("\n");
  if (isNew) await useNewSpecialist();
  if (running) watching = setTimeout(() => watchFit().catch(failed), POLL);
}

/** Show what the new specialist finds on the open image. */
async function useNewSpecialist() {
  say(`${$("specialist").value} is ready.`);
  if (!current) return;
  if (!annotating()) await predict(current, false);
  else if (current.state === "open" && editor.isOpen && !editor.done.length) await propose(false);
}

async function startFit() {
  const progress = await json("api/fits", { method: "POST" });
  lastState = progress.state;
  await watchFit();
}

// --- the specialist ---

async function loadAbout() {
  about = await json("api/about");
  const chosen = $("specialist").value;
  $("specialist").replaceChildren(...about.specialists.map((one) => {
    const option = element("option", one.name);
    option.value = one.name;
    return option;
  }));
  if (about.specialists.some((one) => one.name === chosen)) $("specialist").value = chosen;
  else if (about.chosen) $("specialist").value = about.chosen;
  showSpecialist();
}

function showSpecialist() {
  const one = specialist(), before = $("class").value;
  $("specialist").hidden = !one;
  $("classes").hidden = !one?.classes.length;
  $("class").replaceChildren(...(one?.classes || []).map((name) => element("option", name)));
  if (one?.classes.includes(before)) $("class").value = before;
  $("about").textContent = one ? one.about : "There is none yet. Paint a few masks; then one is fitted and proposes the next.";
  showUncertaintyNote();
  showButtons();
}

function showUncertaintyNote() {
  const one = specialist();
  $("show-uncertainty").disabled = !one?.uncertainty;
  $("uncertainty-note").hidden = !one || one.uncertainty;
  $("uncertainty-note").textContent = one ? `${one.name} has no models of a cross-fit, so no uncertainty.` : "";
  if (!one?.uncertainty) $("show-uncertainty").checked = editor.showUncertainty = false;
}

async function toggleUncertainty() {
  editor.showUncertainty = $("show-uncertainty").checked;
  if (editor.showUncertainty && editor.isOpen && !editor.unsure) {
    await (annotating() ? propose(false, true) : predict(current, true));
  }
  editor.draw();
}

async function download() {
  const form = $("format").value;
  const body = new FormData();
  body.append("mask", maskPart());
  const name = current.prediction?.name || current.name;
  const answer = await send(`api/objects?${objectQuery({ answer: form, name })}`, { method: "POST", body });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await answer.blob());
  link.download = /filename="([^"]+)"/.exec(answer.headers.get("content-disposition") || "")?.[1] || form;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// --- controls ---

function showButtons() {
  const isOpen = editor.isOpen && !editor.locked;
  for (const id of ["done", "clear", "download", "save", "zoom-in", "zoom-out", "zoom-fit"]) $(id).disabled = !isOpen;
  $("propose").disabled = !isOpen || !specialist();
  $("undo").disabled = !editor.done.length;
  $("redo").disabled = !editor.undone.length;
  $("threshold").disabled = !editor.probability;
  $("save").disabled ||= Boolean(chosenClass());
  $("save").title = chosenClass() ? "Masks of one class are saved; this specialist finds several" : "";
}

function chooseTool(name) {
  editor.setTool(name);
  for (const button of document.querySelectorAll("[data-tool]")) {
    button.setAttribute("aria-pressed", String(button.dataset.tool === name));
  }
  $("position").textContent = { polygon: "Click corners; Enter or a click on the first corner closes.",
    fill: "A click fills an outline, or removes an object.",
    box: "Draw a box around an object; what is in it is found and added to the mask." }[name] || "";
}

function showValues() {
  $("size-value").textContent = `${$("size").value} px`;
  $("threshold-value").textContent = `${((100 * $("threshold").value) / 256).toFixed(0)} %`;
  $("opacity-value").textContent = `${$("opacity").value} %`;
}

function resize(change) {
  const size = $("size");
  size.value = Number(size.value) + change * Math.max(1, Math.round(0.15 * size.value));
  size.dispatchEvent(new Event("input"));
}

function on(id, what, event = "click") {
  $(id).addEventListener(event, () => {
    try {
      Promise.resolve(what()).catch(failed);
    } catch (error) {
      failed(error);
    }
  });
}

function listen() {
  for (const button of document.querySelectorAll("[data-tool]")) {
    button.addEventListener("click", () => chooseTool(button.dataset.tool));
  }
  on("size", () => { editor.setRadius(Number($("size").value) / 2); showValues(); }, "input");
  on("threshold", () => { editor.setThreshold(Number($("threshold").value)); showValues(); }, "input");
  on("opacity", () => { editor.setOpacity(Number($("opacity").value) / 100); showValues(); }, "input");
  on("show-mask", () => { editor.showMask = $("show-mask").checked; editor.draw(); }, "change");
  on("show-uncertainty", toggleUncertainty, "change");
  on("undo", () => editor.undo());
  on("redo", () => editor.redo());
  on("zoom-in", () => editor.zoom(1.5));
  on("zoom-out", () => editor.zoom(1 / 1.5));
  on("zoom-fit", () => editor.fit());
  on("specialist", () => {
    showSpecialist();
    return current && !annotating() ? look() : null;
  }, "change");
  on("class", () => (current ? look() : null), "change");
  on("page", () => {
    const page = Math.min(Number($("page").max), Math.max(1, Number($("page").value) || 1)) - 1;
    return page === current.page ? null : look(page);
  }, "change");
  on("download", download);
  on("save", save);
  on("fit", startFit);
  on("stop", async () => { await json("api/fits/current", { method: "DELETE" }); await watchFit(); });
  on("done", done);
  on("next", () => openNext());
  on("propose", () => propose());
  on("clear", () => editor.clear());
  $("files").addEventListener("change", (event) => { addFiles(event.target.files); event.target.value = ""; });

  editor.addEventListener("change", () => { saveDraft(); count(); if (current) current.saved = false; });
  editor.addEventListener("threshold", () => {
    if (current?.state === "draft") saveDraft();
    count();
  });
  editor.addEventListener("history", showButtons);
  editor.addEventListener("box", (event) => findInBox(event.detail).catch(failed));
  editor.addEventListener("position", () => {
    const at = editor.key || editor.cursor;
    if (!at || !editor.isOpen || editor.polygon.length) return;
    const x = Math.floor(at.x), y = Math.floor(at.y), inside = x >= 0 && y >= 0 && x < editor.width && y < editor.height;
    const share = inside && editor.probability ? `, probability ${((100 * (editor.probability[y * editor.width + x] + 1)) / 256).toFixed(0)} %` : "";
    $("position").textContent = inside ? `x ${x}, y ${y}${share}` : "";
  });

  document.addEventListener("keydown", (event) => {
    const typing = event.target.matches("select, textarea, input:not([type=range]):not([type=checkbox])") || $("ask").open;
    if (typing) return;
    const control = event.ctrlKey || event.metaKey;
    if (control && event.key.toLowerCase() === "z") {
      event.preventDefault();
      if (event.shiftKey) editor.redo();
      else editor.undo();
    } else if (control && event.key.toLowerCase() === "y") {
      event.preventDefault();
      editor.redo();
    } else if (!control && !event.altKey) {
      const tools = { b: "brush", e: "eraser", p: "polygon", f: "fill", h: "move", ...(about?.boxes ? { x: "box" } : {}) };
      if (tools[event.key]) chooseTool(tools[event.key]);
      else if (event.key === "[") resize(-1);
      else if (event.key === "]") resize(1);
      else if (event.key === "+" || event.key === "=") editor.zoom(1.25);
      else if (event.key === "-") editor.zoom(0.8);
      else if (event.key === "0") editor.fit();
      else if (event.key === "Escape") editor.dropOutline();
      else if (event.key === "d" && annotating()) done().catch(failed);
    }
  });

  const stage = $("stage");
  for (const name of ["dragover", "dragenter"]) {
    addEventListener(name, (event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      stage.classList.toggle("dragging", !annotating());
    });
  }
  addEventListener("dragleave", () => stage.classList.remove("dragging"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    stage.classList.remove("dragging");
    if (about && !annotating()) addFiles(event.dataTransfer.files);
  });
  addEventListener("beforeunload", (event) => {
    if (drafts.running || drafts.item) event.preventDefault();
  });
  $("ask").addEventListener("close", () => {
    useToken($("token").value);
    start().catch(failed);
  });
}

async function start() {
  await loadAbout();
  const painting = annotating();
  document.title = `${painting ? "Annotate" : "Try specialists"} - PTSAM-auto`;
  $("mode").textContent = painting ? `· annotate ${about.folder}` : "· try specialists";
  $("drop").hidden = painting;
  $("finish-card").hidden = !painting;
  $("training-card").hidden = !about.fits;
  $("save-part").hidden = painting;
  $("folder").textContent = `${about.folder}/`;
  $("fit").textContent = painting ? "Fit now" : "Fit again";
  for (const one of document.querySelectorAll(".of-annotate")) one.hidden = !painting;
  document.querySelector("[data-tool=box]").hidden = !about.boxes;
  $("empty-text").textContent = painting ? "" : "Drop images here: PNG, JPEG, TIFF, CZI and others.";
  showValues();
  editor.setRadius(Number($("size").value) / 2);
  if (painting) {
    await loadList();
    setInterval(() => {
      if (document.visibilityState === "visible") loadList().catch(failed);
    }, SLOW_POLL);
    setInterval(() => watchFit().catch(failed), 4 * SLOW_POLL);
  }
  await watchFit();
  if (painting && !current) await openNext(null);
}

listen();
start().catch(failed);
