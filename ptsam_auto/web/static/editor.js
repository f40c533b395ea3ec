// Shows an image with its mask, and lets the mask be painted with mouse, pen, fingers or keys.
//
// The mask is what the specialist finds at a threshold, or what was painted before (the base), with corrections on top:
// edits[i] is 0 (as the base), 1 (painted) or 2 (erased). So the threshold can be moved after corrections.

const MASK = [60, 150, 255]; // blue, as in the report
const UNSURE = [255, 150, 0]; // orange
const MOST_UNDONE = 200; // steps
const MOST_BYTES = 200_000_000; // of all steps
const LARGEST_SCALE = 40; // screen pixels of one pixel of the image
const CLOSE = 12; // screen pixels from the first corner of a polygon at which a click closes it

export class Editor extends EventTarget {
  /**
   * Events: "change" when the mask has changed by the user's hand, "threshold", "history", "position", "view", and "box"
   * when a box was drawn, with left, top, right and bottom as its detail.
   */
  constructor(canvas) {
    super();
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.tool = "brush";
    this.radius = 10;
    this.opacity = 0.4;
    this.threshold = 128;
    this.showMask = true;
    this.showUncertainty = false;
    this.view = { scale: 1, x: 0, y: 0 };
    this.locked = false; // while its mask is saved
    this.pointers = new Map();
    this.polygon = [];
    this.corner = null; // the first corner of a box that is being drawn
    this.close();
    this.#listen();
    new ResizeObserver(() => this.#resized()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  /** Whether an image is open. */
  get isOpen() {
    return this.picture !== null;
  }

  /** Show nothing. */
  close() {
    Object.assign(this, { item: null, picture: null, width: 0, height: 0, probability: null, base: null, edits: null, mask: null });
    Object.assign(this, { overlay: null, unsure: null, undone: [], done: [], stroke: null, cursor: null, key: null });
    this.polygon = [];
    this.corner = null;
    this.draw();
  }

  /**
   * Show an image.
   * @param picture ImageBitmap.
   * @param layers base (a mask of 0 and 1, or null), probability (0 to 255, or null), edits (or null).
   */
  open(picture, { base = null, probability = null, edits = null, undone = [], done = [] } = {}) {
    this.close();
    this.picture = picture;
    this.width = picture.width;
    this.height = picture.height;
    const size = this.width * this.height;
    this.base = base || new Uint8Array(size);
    this.edits = edits || new Uint8Array(size);
    this.mask = new Uint8Array(size);
    this.probability = probability;
    Object.assign(this, { undone, done });
    this.overlay = document.createElement("canvas");
    this.overlay.width = this.width;
    this.overlay.height = this.height;
    this.#rebase();
    this.fit();
    this.dispatchEvent(new Event("history"));
    this.draw();
  }

  /** Take a new probability, for example of another specialist; corrections stay. It can be undone where asked. */
  propose(probability, { keepEdits = true, undoable = false } = {}) {
    const before = { probability: this.probability, base: this.base, edits: this.edits };
    const after = { probability, base: new Uint8Array(this.base.length) };
    after.edits = keepEdits ? this.edits : new Uint8Array(this.edits.length);
    const take = (layers) => {
      Object.assign(this, layers);
      this.#rebase();
    };
    take(after);
    if (undoable) this.#remember({ undo: () => take(before), redo: () => take(after), bytes: 3 * this.base.length });
  }

  /** Take the map of the uncertainty, 0 to 255, or null. */
  setUncertainty(values) {
    this.unsure = null;
    if (values) {
      this.unsure = document.createElement("canvas");
      this.unsure.width = this.width;
      this.unsure.height = this.height;
      const pixels = new ImageData(this.width, this.height);
      for (let i = 0; i < values.length; i++) {
        pixels.data.set(UNSURE, 4 * i);
        pixels.data[4 * i + 3] = Math.min(255, 1.6 * values[i]);
      }
      this.unsure.getContext("2d").putImageData(pixels, 0, 0);
    }
    this.draw();
  }

  /** Remove everything from the mask; it can be undone. */
  clear() {
    if (!this.isOpen || this.locked) return;
    this.#edit(() => {
      this.edits.fill(2);
      this.#recompose(0, 0, this.width, this.height);
      return [0, 0, this.width, this.height];
    });
  }

  /** Add a mask of 0 and 1 of the whole image; it can be undone. */
  add(mask) {
    if (!this.isOpen || this.locked || mask.length !== this.mask.length) return;
    const inside = (x, y) => mask[Math.floor(y) * this.width + Math.floor(x)];
    this.#edit(() => this.#set(0, 0, this.width, this.height, 1, inside));
  }

  setThreshold(value) {
    this.threshold = value;
    if (this.probability) {
      this.#rebase();
      this.dispatchEvent(new Event("threshold"));
    }
  }

  setOpacity(value) {
    this.opacity = value;
    if (this.isOpen) this.#paintOverlay(0, 0, this.width, this.height);
    this.draw();
  }

  setTool(name) {
    if (name !== "polygon") this.polygon = [];
    this.corner = null;
    this.tool = name;
    this.canvas.style.cursor = name === "move" ? "grab" : "crosshair";
    this.draw();
  }

  setRadius(value) {
    this.radius = value;
    this.draw();
  }

  undo() {
    this.#step(this.done, this.undone, "undo");
  }

  redo() {
    this.#step(this.undone, this.done, "redo");
  }

  /** Show the whole image. */
  fit() {
    const { width, height } = this.#size();
    this.fitted = width > 0 && height > 0;
    if (!this.isOpen || !this.fitted) return;
    const scale = Math.min(LARGEST_SCALE, 0.97 * Math.min(width / this.width, height / this.height));
    this.view = { scale, x: (width - scale * this.width) / 2, y: (height - scale * this.height) / 2 };
    this.whole = true;
    this.draw();
  }

  /** Enlarge or reduce about a point of the canvas, by default its centre. */
  zoom(factor, point = null) {
    if (!this.isOpen) return;
    const { width, height } = this.#size();
    const at = point || { x: width / 2, y: height / 2 };
    const smallest = 0.2 * Math.min(width / this.width, height / this.height);
    const scale = Math.max(Math.min(smallest, 1), Math.min(LARGEST_SCALE, this.view.scale * factor));
    const ratio = scale / this.view.scale;
    this.view = { scale, x: at.x - ratio * (at.x - this.view.x), y: at.y - ratio * (at.y - this.view.y) };
    this.whole = false;
    this.draw();
  }

  /** Draw at the next frame. */
  draw() {
    if (this.scheduled) return;
    this.scheduled = true;
    requestAnimationFrame(() => {
      this.scheduled = false;
      this.#drawNow();
    });
  }

  #drawNow() {
    const { context, canvas, view } = this;
    const ratio = devicePixelRatio || 1;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (!this.isOpen) return;
    context.setTransform(ratio * view.scale, 0, 0, ratio * view.scale, ratio * view.x, ratio * view.y);
    context.imageSmoothingEnabled = view.scale * ratio < 2;
    context.drawImage(this.picture, 0, 0);
    if (this.showUncertainty && this.unsure) context.drawImage(this.unsure, 0, 0);
    if (this.showMask) context.drawImage(this.overlay, 0, 0);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.#drawPolygon();
    this.#drawBox();
    this.#drawCursor();
  }

  #drawBox() {
    const tip = this.key || this.cursor;
    if (!this.corner || !tip) return;
    const { context } = this, a = this.#toScreen(this.corner), b = this.#toScreen(tip);
    for (const [colour, width] of [["#000", 4], ["#fff", 2]]) {
      context.strokeStyle = colour;
      context.lineWidth = width;
      context.strokeRect(a.x, a.y, b.x - a.x, b.y - a.y);
    }
  }

  #drawPolygon() {
    if (!this.polygon.length) return;
    const { context } = this;
    const corners = this.polygon.map((corner) => this.#toScreen(corner));
    const tip = this.key || this.cursor;
    for (const [colour, width] of [["#000", 4], ["#fff", 2]]) {
      context.strokeStyle = colour;
      context.lineWidth = width;
      context.beginPath();
      for (const corner of corners) context.lineTo(corner.x, corner.y);
      if (tip) context.lineTo(...Object.values(this.#toScreen(tip)));
      context.stroke();
    }
    context.fillStyle = "#fff";
    for (const corner of corners) context.fillRect(corner.x - 3, corner.y - 3, 6, 6);
  }

  #drawCursor() {
    const { context } = this;
    const at = this.key || this.cursor;
    if (!at || this.tool === "move") return;
    const { x, y } = this.#toScreen(at);
    const round = this.tool === "brush" || this.tool === "eraser";
    for (const [colour, width] of [["#000", 3], ["#fff", 1.25]]) {
      context.strokeStyle = colour;
      context.lineWidth = width;
      context.beginPath();
      if (round) context.arc(x, y, Math.max(1, this.radius * this.view.scale), 0, 7);
      if (this.key || !round) {
        context.moveTo(x - 9, y);
        context.lineTo(x + 9, y);
        context.moveTo(x, y - 9);
        context.lineTo(x, y + 9);
      }
      context.stroke();
    }
  }

  #size() {
    return { width: this.canvas.clientWidth, height: this.canvas.clientHeight };
  }

  #resized() {
    const ratio = devicePixelRatio || 1;
    const { width, height } = this.#size();
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    if (this.whole || !this.fitted) this.fit();
    this.draw();
  }

  #toScreen({ x, y }) {
    return { x: x * this.view.scale + this.view.x, y: y * this.view.scale + this.view.y };
  }

  #toImage(event) {
    const box = this.canvas.getBoundingClientRect();
    return {
      x: (event.clientX - box.left - this.view.x) / this.view.scale,
      y: (event.clientY - box.top - this.view.y) / this.view.scale,
    };
  }

  // --- the mask ---

  #rebase() {
    if (this.probability) {
      const { probability, base, threshold } = this;
      for (let i = 0; i < base.length; i++) base[i] = probability[i] >= threshold ? 1 : 0;
    }
    this.#recompose(0, 0, this.width, this.height);
    this.draw();
  }

  /** Compute the mask of a part of the image, and its colours. */
  #recompose(left, top, right, bottom) {
    const { base, edits, mask, width } = this;
    for (let y = top; y < bottom; y++) {
      for (let i = y * width + left; i < y * width + right; i++) {
        mask[i] = edits[i] ? (edits[i] === 1 ? 1 : 0) : base[i];
      }
    }
    this.#paintOverlay(left, top, right, bottom);
  }

  /** Colour a part of the overlay, and one pixel around it, because outlines change there. */
  #paintOverlay(left, top, right, bottom) {
    const { mask, width, height } = this;
    left = Math.max(0, left - 1);
    top = Math.max(0, top - 1);
    right = Math.min(width, right + 1);
    bottom = Math.min(height, bottom + 1);
    if (right <= left || bottom <= top) return;
    const pixels = new ImageData(right - left, bottom - top);
    const inside = Math.round(255 * this.opacity);
    let at = 0;
    for (let y = top; y < bottom; y++) {
      for (let x = left; x < right; x++, at += 4) {
        const i = y * width + x;
        if (!mask[i]) continue;
        const edge = (x > 0 && !mask[i - 1]) || (x < width - 1 && !mask[i + 1]) ||
          (y > 0 && !mask[i - width]) || (y < height - 1 && !mask[i + width]);
        pixels.data[at] = MASK[0];
        pixels.data[at + 1] = MASK[1];
        pixels.data[at + 2] = MASK[2];
        pixels.data[at + 3] = edge ? Math.max(inside, 235) : inside;
      }
    }
    this.overlay.getContext("2d").putImageData(pixels, left, top);
  }

  /** Set pixels in a part of the image that a test accepts. Returns the part. */
  #set(left, top, right, bottom, value, test) {
    left = Math.max(0, Math.floor(left));
    top = Math.max(0, Math.floor(top));
    right = Math.min(this.width, Math.ceil(right));
    bottom = Math.min(this.height, Math.ceil(bottom));
    if (right <= left || bottom <= top) return null;
    for (let y = top; y < bottom; y++) {
      for (let x = left; x < right; x++) if (test(x + 0.5, y + 0.5)) this.edits[y * this.width + x] = value;
    }
    this.#recompose(left, top, right, bottom);
    return [left, top, right, bottom];
  }

  /** Paint everything within the radius of a line. */
  #line(from, to, value) {
    const r = Math.max(0.5, this.radius);
    const dx = to.x - from.x, dy = to.y - from.y;
    const length = dx * dx + dy * dy;
    const inside = (x, y) => {
      const t = length ? Math.max(0, Math.min(1, ((x - from.x) * dx + (y - from.y) * dy) / length)) : 0;
      const a = x - from.x - t * dx, b = y - from.y - t * dy;
      return a * a + b * b <= r * r;
    };
    const [left, right] = [Math.min(from.x, to.x) - r, Math.max(from.x, to.x) + r];
    const [top, bottom] = [Math.min(from.y, to.y) - r, Math.max(from.y, to.y) + r];
    return this.#set(left, top, right + 1, bottom + 1, value, inside);
  }

  /** Paint the inside of the polygon: pixels whose centre is inside, by the even-odd rule. */
  closePolygon() {
    const corners = this.polygon;
    this.polygon = [];
    if (corners.length >= 3) {
      const xs = corners.map((corner) => corner.x), ys = corners.map((corner) => corner.y);
      const inside = (x, y) => {
        let odd = false;
        for (let i = 0, j = corners.length - 1; i < corners.length; j = i++) {
          const a = corners[i], b = corners[j];
          if (a.y > y !== b.y > y && x < ((b.x - a.x) * (y - a.y)) / (b.y - a.y) + a.x) odd = !odd;
        }
        return odd;
      };
      this.#edit(() => this.#set(Math.min(...xs), Math.min(...ys), Math.max(...xs) + 1, Math.max(...ys) + 1, 1, inside));
    }
    this.draw();
  }

  /** Forget a polygon or a box that is not finished. */
  dropOutline() {
    this.polygon = [];
    this.corner = null;
    this.draw();
  }

  #closeBox(to) {
    const from = this.corner, inside = (value, most) => Math.max(0, Math.min(most, value));
    this.corner = null;
    const [left, right] = [from.x, to.x].map((x) => inside(x, this.width)).sort((a, b) => a - b);
    const [top, bottom] = [from.y, to.y].map((y) => inside(y, this.height)).sort((a, b) => a - b);
    if (right - left >= 1 && bottom - top >= 1) {
      this.dispatchEvent(new CustomEvent("box", { detail: { left, top, right, bottom } }));
    }
    this.draw();
  }

  /** Fill the area around a point: what is inside an outline becomes mask, and an object is removed. */
  #fill(point) {
    const { width, height, mask, edits } = this;
    const x0 = Math.floor(point.x), y0 = Math.floor(point.y);
    if (x0 < 0 || y0 < 0 || x0 >= width || y0 >= height) return;
    const old = mask[y0 * width + x0], value = old ? 2 : 1;
    this.#edit(() => {
      const seen = new Uint8Array(mask.length);
      const stack = [y0 * width + x0];
      seen[stack[0]] = 1;
      let left = x0, right = x0, top = y0, bottom = y0;
      while (stack.length) {
        const i = stack.pop(), x = i % width, y = (i - x) / width;
        edits[i] = value;
        left = Math.min(left, x);
        right = Math.max(right, x);
        top = Math.min(top, y);
        bottom = Math.max(bottom, y);
        for (const [next, ok] of [[i - 1, x > 0], [i + 1, x < width - 1], [i - width, y > 0], [i + width, y < height - 1]]) {
          if (ok && !seen[next] && mask[next] === old) {
            seen[next] = 1;
            stack.push(next);
          }
        }
      }
      this.#recompose(left, top, right + 1, bottom + 1);
      return [left, top, right + 1, bottom + 1];
    });
  }

  // --- undo ---

  /** Change the mask in one step that can be undone; `change` returns the part of the image that it changed. */
  #edit(change) {
    this.#begin();
    this.#grow(change());
    this.#end();
  }

  #begin() {
    this.stroke = { before: this.edits.slice(), part: null };
  }

  #grow(part) {
    if (!part || !this.stroke) return;
    const old = this.stroke.part || part;
    this.stroke.part = [
      Math.min(old[0], part[0]), Math.min(old[1], part[1]), Math.max(old[2], part[2]), Math.max(old[3], part[3]),
    ];
    this.draw();
  }

  #end() {
    const { stroke } = this;
    this.stroke = null;
    if (!stroke?.part) return;
    const [left, top, right, bottom] = stroke.part;
    const cut = (source) => {
      const kept = new Uint8Array((right - left) * (bottom - top));
      for (let y = top; y < bottom; y++) {
        kept.set(source.subarray(y * this.width + left, y * this.width + right), (y - top) * (right - left));
      }
      return kept;
    };
    const before = cut(stroke.before), after = cut(this.edits);
    const put = (kept) => {
      for (let y = top; y < bottom; y++) {
        this.edits.set(kept.subarray((y - top) * (right - left), (y - top + 1) * (right - left)), y * this.width + left);
      }
      this.#recompose(left, top, right, bottom);
      this.draw();
    };
    this.#remember({ undo: () => put(before), redo: () => put(after), bytes: 2 * before.length });
  }

  #remember(step) {
    this.done.push(step);
    this.undone.length = 0;
    let bytes = this.done.reduce((sum, one) => sum + one.bytes, 0);
    while (this.done.length > MOST_UNDONE || (bytes > MOST_BYTES && this.done.length > 1)) bytes -= this.done.shift().bytes;
    this.dispatchEvent(new Event("history"));
    this.dispatchEvent(new Event("change"));
  }

  #step(from, to, way) {
    if (!this.isOpen || this.locked || this.stroke || !from.length) return;
    const step = from.pop();
    step[way]();
    to.push(step);
    this.dispatchEvent(new Event("history"));
    this.dispatchEvent(new Event("change"));
  }

  // --- mouse, pen and fingers ---

  #listen() {
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#moved(event));
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => this.#up(event));
    canvas.addEventListener("pointerleave", () => {
      this.cursor = null;
      this.dispatchEvent(new Event("position"));
      this.draw();
    });
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      const box = canvas.getBoundingClientRect();
      this.zoom(Math.exp(-0.0015 * event.deltaY), { x: event.clientX - box.left, y: event.clientY - box.top });
    }, { passive: false });
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("keydown", (event) => this.#key(event));
    canvas.addEventListener("blur", () => {
      this.#penUp();
      this.key = null;
      this.draw();
    });
  }

  #down(event) {
    if (!this.isOpen || this.locked) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    this.#penUp();
    this.key = null;
    if (this.pointers.size === 2) { // Two fingers move and zoom; what the first one has begun is undone.
      if (this.stroke) {
        this.#end();
        this.undo();
      }
      this.corner = null;
      this.pinch = this.#fingers();
      return;
    }
    const at = this.#toImage(event);
    if (event.button === 1 || this.tool === "move") {
      this.panning = { x: event.clientX, y: event.clientY };
      return;
    }
    if (event.button !== 0) return;
    this.#press(at);
  }

  /** Use the tool at a point of the image. */
  #press(at) {
    if (this.tool === "fill") {
      this.#fill(at);
    } else if (this.tool === "polygon") {
      this.#corner(at);
    } else if (this.tool === "box") {
      if (this.corner) this.#closeBox(at);
      else this.corner = at;
    } else {
      this.#begin();
      this.last = at;
      this.#grow(this.#line(at, at, this.tool === "brush" ? 1 : 2));
    }
  }

  #corner(at) {
    const first = this.polygon[0];
    if (first && this.polygon.length >= 3) {
      const a = this.#toScreen(first), b = this.#toScreen(at);
      if (Math.hypot(a.x - b.x, a.y - b.y) < CLOSE) {
        this.closePolygon();
        return;
      }
    }
    this.polygon.push(at);
    this.draw();
  }

  #moved(event) {
    if (!this.isOpen) return;
    const finger = this.pointers.get(event.pointerId);
    if (finger) Object.assign(finger, { x: event.clientX, y: event.clientY });
    if (this.pointers.size >= 2 && this.pinch) {
      const now = this.#fingers(), box = this.canvas.getBoundingClientRect();
      this.view.x += now.x - this.pinch.x;
      this.view.y += now.y - this.pinch.y;
      this.zoom(now.distance / this.pinch.distance, { x: now.x - box.left, y: now.y - box.top });
      this.pinch = now;
      return;
    }
    if (this.panning) {
      this.view.x += event.clientX - this.panning.x;
      this.view.y += event.clientY - this.panning.y;
      this.panning = { x: event.clientX, y: event.clientY };
      this.whole = false;
      this.draw();
      return;
    }
    const at = this.#toImage(event);
    this.cursor = event.pointerType === "touch" && !this.stroke && !this.corner ? null : at;
    this.dispatchEvent(new Event("position"));
    if (this.stroke && finger) {
      for (const one of event.getCoalescedEvents?.() || [event]) {
        const next = this.#toImage(one);
        this.#grow(this.#line(this.last, next, this.tool === "brush" ? 1 : 2));
        this.last = next;
      }
    }
    this.draw();
  }

  #up(event) {
    this.pointers.delete(event.pointerId);
    this.panning = null;
    if (this.pointers.size < 2) this.pinch = null;
    if (this.stroke && !this.key) this.#end();
    if (this.corner && !this.key && event.type === "pointerup") this.#closeBox(this.#toImage(event));
  }

  #fingers() {
    const [a, b] = [...this.pointers.values()];
    return { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2, distance: Math.max(1, Math.hypot(a.x - b.x, a.y - b.y)) };
  }

  // --- keys ---

  #key(event) {
    if (!this.isOpen || this.locked || event.ctrlKey || event.metaKey || event.altKey) return;
    const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (ways[event.key]) {
      event.preventDefault();
      const step = event.shiftKey ? 1 : Math.max(1, Math.round(8 / this.view.scale));
      this.#moveKey(ways[event.key][0] * step, ways[event.key][1] * step);
    } else if (event.key === " ") {
      event.preventDefault();
      if (event.repeat) return;
      this.key ||= this.#centre();
      if (this.stroke) this.#penUp();
      else if (this.tool !== "move") this.#press({ ...this.key });
      this.draw();
    } else if (event.key === "Enter" && this.polygon.length) {
      event.preventDefault();
      this.closePolygon();
    } else if (event.key === "Backspace" && this.polygon.length) {
      event.preventDefault();
      this.polygon.pop();
      this.draw();
    }
  }

  #moveKey(dx, dy) {
    if (this.tool === "move") {
      this.view.x -= dx * this.view.scale * 4;
      this.view.y -= dy * this.view.scale * 4;
      this.whole = false;
      this.draw();
      return;
    }
    const from = this.key || this.#centre();
    const to = { x: Math.max(0, Math.min(this.width, from.x + dx)), y: Math.max(0, Math.min(this.height, from.y + dy)) };
    this.key = to;
    if (this.stroke) this.#grow(this.#line(from, to, this.tool === "brush" ? 1 : 2));
    const { x, y } = this.#toScreen(to), { width, height } = this.#size();
    this.view.x -= x < 20 ? x - 20 : x > width - 20 ? x - width + 20 : 0;
    this.view.y -= y < 20 ? y - 20 : y > height - 20 ? y - height + 20 : 0;
    this.dispatchEvent(new Event("position"));
    this.draw();
  }

  #centre() {
    const { width, height } = this.#size();
    const { scale, x, y } = this.view;
    return {
      x: Math.max(0, Math.min(this.width, (width / 2 - x) / scale)),
      y: Math.max(0, Math.min(this.height, (height / 2 - y) / scale)),
    };
  }

  /** End a stroke that was begun with the keyboard. */
  #penUp() {
    if (this.stroke && this.key) this.#end();
  }
}
